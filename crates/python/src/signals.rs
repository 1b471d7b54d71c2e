//! Ctrl-C while a thread waits.

use std::cell::RefCell;

use andiron::engine;
use andiron_sys::interrupt;
use pyo3::prelude::*;

thread_local! {
    /// What a signal handler raised in this thread's wait.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Has signals end waits where their handlers raise something.
pub(crate) fn watch() {
    interrupt::watch(|| {
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

/// What ended this thread's wait, if it was a signal.
pub(crate) fn raised() -> Option<PyErr> {
    RAISED.take()
}
