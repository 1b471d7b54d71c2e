//! Objects of other processes, calls under way, and streams that come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andiron::engine::{self, Message, Messages};
use andiron::{Error, ErrorKind, Proxy};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyTuple};

use crate::error::{of_kind, to_python};
use crate::hub::{Inner, seconds};
use crate::store::Question;
use crate::{decode, encode, hooks};

/// The context variable of deadlines was set at some time, and is looked at from then on.
static DEADLINES: AtomicBool = AtomicBool::new(false);

/// Deadlines are used from now on.
#[pyfunction]
pub(crate) fn use_deadlines() {
    DEADLINES.store(true, Ordering::Relaxed);
}

/// How long a call may take that is made now.
fn time_left(py: Python<'_>) -> PyResult<Option<Duration>> {
    if !DEADLINES.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let deadline = hooks::hooks(py)?.deadline.bind(py).call_method1("get", (py.None(),))?;
    if deadline.is_none() {
        return Ok(None);
    }
    let now: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
    Ok(Some(seconds(deadline.extract::<f64>()? - now)))
}

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
            py.detach(|| connection.exported()).map_err(|error| to_python(py, &error))?;
        }
        Ok(message)
    }

    /// Runs something with the proxy as it is to be used now.
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        run: impl FnOnce(&Proxy) -> Result<R, Error> + Send,
    ) -> PyResult<R> {
        let done = match time_left(py)? {
            None => py.detach(|| run(&self.proxy)),
            Some(left) => py.detach(|| run(&self.proxy.with_timeout(left))),
        };
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
        Ok(Pending::new(pending, self.connection.clone(), None))
    }

    /// Calls it one way.
    #[pyo3(signature = (*args, **kwargs))]
    fn notify(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let message = self.arguments(args, kwargs)?;
        self.with(args.py(), |proxy| proxy.notify_encoded(&self.name, message))
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

/// A call under way.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Pending {
    state: Mutex<State>,
    connection: Option<Arc<Inner>>,
    /// It asks for an entry of the store.
    question: Mutex<Option<Question>>,
}

enum State {
    UnderWay(andiron::Pending<Message>),
    Done(PyResult<Py<PyAny>>),
    /// Somebody waits for it, or it was given up.
    Taken,
}

impl Pending {
    pub(crate) fn new(
        pending: andiron::Pending<Message>,
        connection: Option<Arc<Inner>>,
        question: Option<Question>,
    ) -> Pending {
        Pending { state: Mutex::new(State::UnderWay(pending)), connection, question: Mutex::new(question) }
    }

    fn outcome(&self, py: Python<'_>, answer: Result<Message, Error>) -> PyResult<Py<PyAny>> {
        if let Some(question) =
            self.question.lock_py_attached(py).ok().and_then(|mut question| question.take())
        {
            return question.answered(py, answer);
        }
        let answer = answer.map_err(|error| to_python(py, &error))?;
        decode::message(py, &answer, self.connection.as_ref()).map(Bound::unbind)
    }

    fn swap(&self, py: Python<'_>, state: State) -> State {
        let mut held = self.state.lock_py_attached(py).unwrap_or_else(|held| held.into_inner());
        std::mem::replace(&mut *held, state)
    }

    /// Whether the result is there; else the waker is told when it is.
    pub(crate) fn poll(&self, py: Python<'_>, waker: &Waker) -> bool {
        let mut pending = match self.swap(py, State::Taken) {
            State::UnderWay(pending) => pending,
            other => {
                self.swap(py, other);
                return true;
            }
        };
        let (polled, pending) =
            py.detach(move || (pending.poll_encoded(&mut Context::from_waker(waker)), pending));
        match polled {
            Poll::Pending => {
                self.swap(py, State::UnderWay(pending));
                false
            }
            Poll::Ready(answer) => {
                let outcome = self.outcome(py, answer);
                self.swap(py, State::Done(outcome));
                true
            }
        }
    }
}

#[pymethods]
impl Pending {
    /// Waits for the result.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = match self.swap(py, State::Taken) {
            State::UnderWay(pending) => {
                let answer = py.detach(|| pending.wait_encoded());
                self.outcome(py, answer)
            }
            State::Done(outcome) => outcome,
            State::Taken => {
                let text = "the result of this call is waited for by another thread, or it was given up";
                return Err(of_kind(py, ErrorKind::Cancelled, text));
            }
        };
        let again = match &outcome {
            Ok(value) => Ok(value.clone_ref(py)),
            Err(raised) => Err(raised.clone_ref(py)),
        };
        self.swap(py, State::Done(again));
        outcome
    }

    /// Gives the call up.
    fn cancel(&self, py: Python<'_>) {
        match self.swap(py, State::Taken) {
            State::UnderWay(pending) => py.detach(|| pending.cancel()),
            other => drop(self.swap(py, other)),
        }
    }
}

/// The items of a stream that came.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Inflow {
    items: Mutex<Option<Messages>>,
    /// An item that was polled.
    polled: Mutex<Option<Option<Result<Message, Error>>>>,
    connection: Option<Arc<Inner>>,
}

impl Inflow {
    pub(crate) fn new(items: Messages, connection: Option<Arc<Inner>>) -> Inflow {
        Inflow { items: Mutex::new(Some(items)), polled: Mutex::default(), connection }
    }

    /// It is taken out while it is waited for, so that nobody waits for the lock.
    fn take(&self, py: Python<'_>) -> Option<Messages> {
        self.items.lock_py_attached(py).ok().and_then(|mut items| items.take())
    }

    fn put_back(&self, py: Python<'_>, items: Messages) {
        if let Ok(mut place) = self.items.lock_py_attached(py) {
            *place = Some(items);
        }
    }

    /// Whether the next item, or the end, is there; else the waker is told when it is.
    pub(crate) fn poll(&self, py: Python<'_>, waker: &Waker) -> bool {
        let Some(mut items) = self.take(py) else { return true };
        let (polled, items) = py.detach(move || (items.poll_next(&mut Context::from_waker(waker)), items));
        self.put_back(py, items);
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
                let Some(mut items) = self.take(py) else { return Ok(None) };
                let (item, items) = py.detach(move || (items.next(), items));
                self.put_back(py, items);
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
        let items = self.take(py);
        py.detach(|| drop(items));
    }
}
