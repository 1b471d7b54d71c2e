//! Ctrl-C while a thread waits.

use std::cell::{Cell, RefCell};

use andiron::engine;
use andiron_sys::interrupt;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::marker::Ungil;
use pyo3::prelude::*;

use crate::ending::detached;

thread_local! {
    /// What a signal handler raised in this thread's wait, or in what ran meanwhile.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// In how many waits this thread is: each but the first is in what it ran in the one before.
    static WAITS: Cell<u32> = const { Cell::new(0) };
}

/// Has signals end waits where their handlers raise something.
pub(crate) fn watch() {
    interrupt::watch(|| {
        if RAISED.with_borrow(Option::is_some) {
            return true;
        }
        Python::try_attach(|py| match py.check_signals() {
            Ok(()) => false,
            Err(raised) => {
                RAISED.set(Some(raised));
                true
            }
        })
        .unwrap_or(true) // the interpreter ends, and nobody wants what is waited for
    });
}

/// Has threads that run methods keep what the interpreter knows of them from call to call: to make that anew for each takes longer than a small call.
pub(crate) fn keep_threads() {
    // Where the interpreter ends there are no methods to run.
    engine::run_threads_within(|work| Python::try_attach(|py| py.detach(work)).unwrap_or_default());
}

/// Waits without the interpreter, and may run calls of the other end meanwhile. A Ctrl-C that came in one of them is this thread's, not that of who called: [`check`] is asked behind it.
pub(crate) fn waiting<R: Ungil>(py: Python<'_>, wait: impl FnOnce() -> R + Ungil) -> R {
    WAITS.set(WAITS.get() + 1);
    let done = detached(py, wait);
    WAITS.set(WAITS.get() - 1);
    done
}

/// Raises what ended this thread's wait, or was raised in what ran meanwhile.
pub(crate) fn check() -> PyResult<()> {
    raised().map_or(Ok(()), Err)
}

/// A method raised this, while its thread may be in a wait.
pub(crate) fn note(py: Python<'_>, error: &PyErr) {
    if WAITS.get() > 0 && error.is_instance_of::<PyKeyboardInterrupt>(py) {
        RAISED.set(Some(error.clone_ref(py)));
    }
}

/// What ended this thread's wait, if it was a signal.
pub(crate) fn raised() -> Option<PyErr> {
    RAISED.take()
}
