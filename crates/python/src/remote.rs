//! Objects of other processes, calls under way, and streams that come.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use andiron::engine::{self, Message, Messages};
use andiron::{Error, Proxy};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyTuple};

use crate::ending::detached;
use crate::error::to_python;
use crate::flow::Flow;
use crate::hub::Inner;
use crate::options::{annotations, time_left};
use crate::pending::Pending;
use crate::{decode, encode, signals};

/// An object of another process.
#[pyclass(frozen, weakref, module = "andiron._native")]
pub(crate) struct Remote {
    pub(crate) proxy: Proxy,
    connection: Option<Arc<Inner>>,
}

impl Remote {
    pub(crate) fn new(proxy: Proxy, connection: Option<Arc<Inner>>) -> Remote {
        Remote { proxy, connection }
    }
}

#[pymethods]
impl Remote {
    /// A method of it, whether there is one or not.
    fn method(&self, name: String) -> Method {
        Method { proxy: self.proxy.clone(), name, connection: self.connection.clone() }
    }

    /// The same object, whose calls may be repeated although they may have run.
    fn idempotent(&self) -> Remote {
        Remote::new(self.proxy.idempotent(), self.connection.clone())
    }

    /// True for the same object of the same process.
    fn same(&self, other: &Bound<'_, Remote>) -> bool {
        self.proxy == other.get().proxy
    }

    fn __hash__(&self) -> u64 {
        let (place, number) = self.proxy.identity();
        place as u64 ^ number.rotate_left(32)
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.proxy)
    }
}

/// A method of an object of another process.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Method {
    proxy: Proxy,
    name: String,
    connection: Option<Arc<Inner>>,
}

impl Method {
    fn arguments(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Message> {
        let py = args.py();
        let (message, exports) = encode::arguments(args, kwargs)?;
        if let (true, Some(connection)) = (exports, &self.connection) {
            detached(py, || connection.exported()).map_err(|error| to_python(py, &error))?;
        }
        Ok(message)
    }

    /// Runs something with the proxy as it is to be used now.
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        run: impl FnOnce(&Proxy) -> Result<R, Error> + Send,
    ) -> PyResult<R> {
        let done = match (time_left(py)?, annotations(py)?) {
            (None, None) => signals::waiting(py, || run(&self.proxy)),
            (left, annotations) => {
                let proxy = left.map_or_else(|| self.proxy.clone(), |left| self.proxy.with_timeout(left));
                let proxy = match annotations {
                    Some(annotations) => proxy.with_encoded_annotations(annotations),
                    None => proxy,
                };
                signals::waiting(py, || run(&proxy))
            }
        };
        signals::check()?;
        done.map_err(|error| to_python(py, &error))
    }
}

#[pymethods]
impl Method {
    /// Calls it and waits for the result.
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = args.py();
        let message = self.arguments(args, kwargs)?;
        let answer = self.with(py, |proxy| proxy.call_encoded(&self.name, message))?;
        decode::message(py, &answer, self.connection.as_ref())
    }

    /// Calls it; the result is asked for later.
    #[pyo3(signature = (*args, **kwargs))]
    fn start(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Pending> {
        let message = self.arguments(args, kwargs)?;
        let pending = self.with(args.py(), |proxy| proxy.start_encoded(&self.name, message))?;
        Ok(Pending::new(pending, Some(self.proxy.clone()), self.connection.clone(), None))
    }

    /// Calls it one way.
    #[pyo3(signature = (*args, **kwargs))]
    fn notify(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let (py, message) = (args.py(), self.arguments(args, kwargs)?);
        if let Some(connection) = &self.connection {
            // Somebody has to read that it failed.
            detached(py, || connection.exported()).map_err(|error| to_python(py, &error))?;
        }
        self.with(py, |proxy| proxy.notify_encoded(&self.name, message))
    }

    /// Whether a call would have to wait for the next connection first.
    fn is_lost(&self) -> bool {
        engine::is_lost(&self.proxy)
    }

    /// Waits for the next connection, and the object there. `failed`: a call did not reach it, so it may be another one. Whether another call is worth it.
    fn renew(&self, py: Python<'_>, failed: bool) -> PyResult<bool> {
        self.with(py, |proxy| engine::renew(proxy, failed))
    }

    /// Its name.
    #[getter]
    fn __name__(&self) -> &str {
        &self.name
    }

    fn __repr__(&self) -> String {
        format!("<remote method {} of {:?}>", self.name, self.proxy)
    }
}

/// The items of a stream that came.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Inflow {
    items: Flow<Messages>,
    /// An item that was polled.
    polled: Mutex<Option<Option<Result<Message, Error>>>>,
    connection: Option<Arc<Inner>>,
}

impl Inflow {
    pub(crate) fn new(items: Messages, connection: Option<Arc<Inner>>) -> Inflow {
        Inflow { items: Flow::new(items), polled: Mutex::default(), connection }
    }

    /// Whether the next item, or the end, is there; else the waker is told when it is.
    pub(crate) fn poll(&self, py: Python<'_>, waker: &Waker) -> bool {
        let Ok(Some(mut items)) = self.items.take(py) else { return true }; // who takes it hears why
        let (polled, items) = detached(py, move || (items.poll_next(&mut Context::from_waker(waker)), items));
        self.items.put_back(py, items);
        let Poll::Ready(item) = polled else { return false };
        if let Ok(mut place) = self.polled.lock_py_attached(py) {
            *place = Some(item);
        }
        true
    }
}

#[pymethods]
impl Inflow {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let polled = self.polled.lock_py_attached(py).ok().and_then(|mut polled| polled.take());
        let item = match polled {
            Some(item) => item,
            None => {
                let Some(mut items) = self.items.take(py)? else { return Ok(None) };
                let (item, items) = signals::waiting(py, move || (items.next(), items));
                self.items.put_back(py, items);
                signals::check()?;
                item
            }
        };
        match item {
            None => Ok(None),
            Some(Err(error)) => Err(to_python(py, &error)),
            Some(Ok(item)) => decode::message(py, &item, self.connection.as_ref()).map(Some),
        }
    }

    /// Wants no more items.
    fn close(&self, py: Python<'_>) {
        self.items.close(py);
    }
}
