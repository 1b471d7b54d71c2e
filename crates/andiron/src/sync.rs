//! Locks without poison: a handler that panicked has answered an error and hurts nobody else.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs code of users (a drop, a handler, a hook), whose panic must not end the thread that serves others. `None` if it panicked; the
/// panic hook has told about it.
pub(crate) fn contained<R>(code: impl FnOnce() -> R) -> Option<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).ok()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
