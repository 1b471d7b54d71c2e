//! The end of the interpreter, while other threads are at it.
//!
//! CPython before 3.14 ends a thread that comes back to an interpreter that ends by unwinding its stack. The frames of this engine would then release what they do not hold, and the process
//! would abort: so such a thread stands still where it comes back, until the process is gone.

use pyo3::marker::Ungil;
use pyo3::prelude::*;

/// Ends nothing and lets nobody by.
struct Stand;

impl Drop for Stand {
    fn drop(&mut self) {
        // A panic is somebody else's affair.
        while !std::thread::panicking() {
            std::thread::park();
        }
    }
}

/// Runs something that may run Python's code.
pub(crate) fn attached<R>(run: impl FnOnce() -> R) -> R {
    let stand = Stand;
    let result = run();
    std::mem::forget(stand);
    result
}

/// Runs something without the interpreter, and comes back to it.
pub(crate) fn detached<R: Ungil>(py: Python<'_>, run: impl FnOnce() -> R + Ungil) -> R {
    attached(|| py.detach(run))
}
