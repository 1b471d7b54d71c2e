//! The end of the interpreter, while other threads are at it.
//!
//! CPython before 3.14 ends a thread that comes back to an interpreter that ends by unwinding its stack. The frames of this engine would then release what they do not hold, and the process
//! would abort: so such a thread stands still where it comes back, until the process is gone.

use pyo3::marker::Ungil;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

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

/// Calls what is Python's with these arguments. They are dropped where the call came back, and not in a stack that is unwound.
pub(crate) fn called<'py, A>(function: &Bound<'py, PyAny>, arguments: A) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
{
    let arguments = arguments.into_pyobject(function.py())?;
    attached(|| function.call(&arguments, None))
}
