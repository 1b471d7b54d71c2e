//! What gives items one after the other, to one thread at a time.

use std::sync::Mutex;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::ending::detached;
use pyo3::sync::MutexExt;

/// A source of items. It is taken out while one is waited for, so that nobody waits for the lock.
pub(crate) struct Flow<T>(Mutex<Place<T>>);

enum Place<T> {
    There(T),
    /// A thread waits for an item.
    Taken,
    Over,
}

impl<T: Send> Flow<T> {
    pub(crate) fn new(source: T) -> Flow<T> {
        Flow(Mutex::new(Place::There(source)))
    }

    /// The source, for who puts it back; `None` where it is over. Raises where another thread has it.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Option<T>> {
        match self.swap(py, Place::Taken) {
            Some(Place::There(source)) => Ok(Some(source)),
            Some(Place::Taken) => Err(PyRuntimeError::new_err(
                "another thread waits for the next item of this: take them by one",
            )),
            Some(Place::Over) | None => {
                self.swap(py, Place::Over);
                Ok(None)
            }
        }
    }

    /// It goes on, where nobody closed it meanwhile.
    pub(crate) fn put_back(&self, py: Python<'_>, source: T) {
        if let Ok(mut place) = self.0.lock_py_attached(py)
            && matches!(*place, Place::Taken)
        {
            *place = Place::There(source);
            return;
        }
        detached(py, || drop(source));
    }

    /// There are no more items.
    pub(crate) fn close(&self, py: Python<'_>) {
        let before = self.swap(py, Place::Over);
        detached(py, || drop(before));
    }

    fn swap(&self, py: Python<'_>, place: Place<T>) -> Option<Place<T>> {
        let mut held = self.0.lock_py_attached(py).ok()?;
        Some(std::mem::replace(&mut *held, place))
    }
}
