//! Calls under way.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use andiron::engine::{self, Canceller, Message};
use andiron::{Error, ErrorKind, Proxy};
use pyo3::exceptions::{PyBaseException, PyTimeoutError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::ending::{called, detached};
use crate::error::{of_kind, to_python};
use crate::hub::{Inner, seconds};
use crate::store::Question;
use crate::{decode, log, signals};

/// The longest wait for another thread that does not look for signals.
const SLICE: Duration = Duration::from_millis(50);

type Call = andiron::Pending<Message>;

/// A call under way, in the terms of `concurrent.futures.Future`: the result is waited for when it is wanted, by any thread and as often as one likes.
///
/// Where nobody keeps it the call goes on, and nobody hears what came of it.
#[pyclass(frozen, weakref, module = "andiron")]
pub(crate) struct Pending {
    state: Mutex<State>,
    /// Nobody is at it any more.
    free: Condvar,
    given_up: AtomicBool,
    /// Who is told of its end.
    callbacks: Mutex<Vec<Py<PyAny>>>,
    /// The object that is called.
    far: Option<Proxy>,
    /// Where it was got by a hub of this process, and not as an argument.
    connection: Option<Arc<Inner>>,
    /// It asks for an entry of the store.
    question: Mutex<Option<Question>>,
}

enum State {
    UnderWay(Call),
    /// A thread waits for it, or looks.
    Taken(Canceller),
    /// What came of it; an exception is kept as an object, which the collector can look into: with its traceback it may hold this one.
    Done(Result<Py<PyAny>, Py<PyBaseException>>),
}

impl Pending {
    pub(crate) fn new(
        call: Call,
        far: Option<Proxy>,
        connection: Option<Arc<Inner>>,
        question: Option<Question>,
    ) -> Pending {
        Pending {
            state: Mutex::new(State::UnderWay(call)),
            free: Condvar::new(),
            given_up: AtomicBool::new(false),
            callbacks: Mutex::default(),
            far,
            connection,
            question: Mutex::new(question),
        }
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn is_done(&self, py: Python<'_>) -> bool {
        matches!(*self.lock(py), State::Done(_))
    }

    /// The call, for a thread that waits for it or looks; `None` where another does, or it is over.
    fn take(&self, py: Python<'_>) -> Option<Call> {
        let mut state = self.lock(py);
        let State::UnderWay(call) = &*state else { return None };
        let taken = State::Taken(call.canceller());
        match std::mem::replace(&mut *state, taken) {
            State::UnderWay(call) => Some(call),
            _ => None,
        }
    }

    /// It is not over.
    fn put_back(slf: &Bound<'_, Self>, call: Call) {
        let this = slf.get();
        *this.lock(slf.py()) = State::UnderWay(call);
        this.free.notify_all();
        let wanted = this.callbacks.lock_py_attached(slf.py()).is_ok_and(|callbacks| !callbacks.is_empty());
        if wanted && let Err(raised) = Self::watch(slf) {
            log::raised(slf.py(), "a call cannot be watched", &raised);
        }
    }

    fn settle(slf: &Bound<'_, Self>, outcome: PyResult<Py<PyAny>>) {
        let (py, this) = (slf.py(), slf.get());
        *this.lock(py) = State::Done(outcome.map_err(|raised| raised.into_value(py)));
        this.free.notify_all();
        let callbacks =
            this.callbacks.lock_py_attached(py).map(|mut callbacks| std::mem::take(&mut *callbacks));
        for callback in callbacks.unwrap_or_default() {
            Self::call_back(slf, callback.bind(py));
        }
    }

    fn call_back(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>) {
        if let Err(raised) = called(callback, (slf,)) {
            log::raised(slf.py(), &format!("the callback {callback} of a call raised"), &raised);
        }
    }

    fn outcome(&self, py: Python<'_>, answer: Result<Message, Error>) -> PyResult<Py<PyAny>> {
        let question = self.question.lock_py_attached(py).ok().and_then(|mut question| question.take());
        if let Some(question) = question {
            return question.answered(py, answer);
        }
        let answer = answer.map_err(|error| to_python(py, &error))?;
        decode::message(py, &answer, self.connection.as_ref()).map(Bound::unbind)
    }

    /// Waits until it is over, or that time. Whether it is over.
    fn wait(slf: &Bound<'_, Self>, until: Option<Instant>) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            if let Some(mut call) = this.take(py) {
                let (waited, call) = signals::waiting(py, move || (call.wait_encoded_until(until), call));
                return match waited {
                    Ok(Some(answer)) => {
                        let outcome = this.outcome(py, answer);
                        Self::settle(slf, outcome);
                        signals::check()?;
                        Ok(true)
                    }
                    Ok(None) => {
                        Self::put_back(slf, call);
                        signals::check()?;
                        Ok(this.is_done(py))
                    }
                    Err(error) => {
                        Self::put_back(slf, call);
                        Err(to_python(py, &error))
                    }
                };
            }
            if this.is_done(py) {
                return Ok(true);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            detached(py, || this.doze(left.map_or(SLICE, |left| left.min(SLICE))));
            py.check_signals()?;
        }
    }

    /// Sleeps while another thread is at it.
    fn doze(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _woken = self.free.wait_timeout_while(state, time, |state| matches!(state, State::Taken(_)));
    }

    /// Waits for the end, and fails where it does not come in time.
    fn finish(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<()> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(seconds(timeout)));
        if Self::wait(slf, until)? {
            return Ok(());
        }
        let text = format!("no result came within {} s; the call goes on", timeout.unwrap_or_default());
        Err(PyTimeoutError::new_err(text))
    }

    /// Whether it is over, or another thread waits for it; else the waker is told when there is something new.
    pub(crate) fn poll(slf: &Bound<'_, Self>, waker: &Waker) -> bool {
        let (py, this) = (slf.py(), slf.get());
        let Some(mut call) = this.take(py) else { return true };
        let (polled, call) = detached(py, move || (call.poll_encoded(&mut Context::from_waker(waker)), call));
        match polled {
            Poll::Pending => {
                *this.lock(py) = State::UnderWay(call);
                this.free.notify_all();
                false
            }
            Poll::Ready(answer) => {
                let outcome = this.outcome(py, answer);
                Self::settle(slf, outcome);
                true
            }
        }
    }

    /// Has the callbacks called when the answer comes, whoever reads it.
    fn watch(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let Pending { far: Some(far), connection, .. } = slf.get() else { return Ok(()) };
        let pending = slf.clone().unbind();
        let watched = poll_fn(move |context| {
            let over = Python::try_attach(|py| Self::poll(pending.bind(py), context.waker()));
            if over.unwrap_or(true) { Poll::Ready(()) } else { Poll::Pending }
        });
        let begun = detached(py, || {
            match connection {
                Some(connection) => {
                    connection.exported()?;
                    engine::go_on(&connection.hub, watched);
                }
                None => engine::go_on_at(far, watched),
            }
            Ok(())
        });
        begun.map_err(|error| to_python(py, &error))
    }
}

#[pymethods]
impl Pending {
    /// The result of the call, waited for so many seconds at most; raises what it failed with, or `TimeoutError`, and then the call goes on.
    #[pyo3(signature = (timeout=None))]
    fn result(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        Self::finish(slf, timeout)?;
        match &*slf.get().lock(slf.py()) {
            State::Done(Ok(value)) => Ok(value.clone_ref(slf.py())),
            State::Done(Err(raised)) => Err(PyErr::from_value(raised.bind(slf.py()).clone().into_any())),
            _ => Err(of_kind(slf.py(), ErrorKind::Internal, "the call began anew")),
        }
    }

    /// What the call failed with, or `None`; otherwise as `result`.
    #[pyo3(signature = (timeout=None))]
    fn exception(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        Self::finish(slf, timeout)?;
        match &*slf.get().lock(slf.py()) {
            State::Done(Err(raised)) => Ok(Some(raised.clone_ref(slf.py()).into_any())),
            _ => Ok(None),
        }
    }

    /// Whether the call is over.
    fn done(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::wait(slf, Some(Instant::now()))
    }

    /// Gives the call up: the other end is told, and the method can learn it. False where it was over already.
    fn cancel(slf: &Bound<'_, Self>) -> bool {
        let (py, this) = (slf.py(), slf.get());
        if let Some(call) = this.take(py) {
            this.given_up.store(true, Ordering::Relaxed);
            detached(py, || call.cancel());
            let text = "the call was given up; the method may have run";
            Self::settle(slf, Err(of_kind(py, ErrorKind::Cancelled, text)));
            return true;
        }
        let canceller = match &*this.lock(py) {
            State::Taken(canceller) => canceller.clone(),
            _ => return false,
        };
        this.given_up.store(true, Ordering::Relaxed);
        detached(py, || canceller.cancel()); // whoever waits for it hears that
        true
    }

    /// Whether the call was given up before it was over.
    fn cancelled(&self, py: Python<'_>) -> bool {
        self.given_up.load(Ordering::Relaxed) && matches!(*self.lock(py), State::Done(Err(_)))
    }

    /// Has `callback(self)` called when the call is over, at once if it is: by a thread that runs methods of this process, or by one that waits for the result.
    fn add_done_callback(slf: &Bound<'_, Self>, callback: Bound<'_, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let state = this.lock(py);
        if matches!(*state, State::Done(_)) {
            drop(state);
            Self::call_back(slf, &callback);
            return Ok(());
        }
        // Under the lock, so that whoever settles it finds this.
        let first = this.callbacks.lock_py_attached(py).is_ok_and(|mut callbacks| {
            callbacks.push(callback.unbind());
            callbacks.len() == 1
        });
        drop(state);
        if first { Self::watch(slf) } else { Ok(()) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Who holds a lock is attached, and then nobody collects, or holds it while it gives the interpreter to others, and then it is looked at another time.
        if let Ok(state) = self.state.try_lock() {
            match &*state {
                State::Done(Ok(value)) => visit.call(value)?,
                State::Done(Err(raised)) => visit.call(raised)?,
                _ => {}
            }
        }
        if let Ok(callbacks) = self.callbacks.try_lock() {
            callbacks.iter().try_for_each(|callback| visit.call(callback))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let over = self.state.try_lock().map(|mut state| match *state {
            State::Done(_) => Some(std::mem::replace(&mut *state, State::Taken(Canceller::default()))),
            _ => None,
        });
        let callbacks = self.callbacks.try_lock().map(|mut callbacks| std::mem::take(&mut *callbacks));
        drop((over, callbacks)); // with no lock held
    }

    fn __repr__(&self, py: Python<'_>) -> &'static str {
        match &*self.lock(py) {
            State::Done(Ok(_)) => "<andiron.Pending: there is a result>",
            State::Done(Err(_)) => "<andiron.Pending: it failed>",
            _ => "<andiron.Pending: under way>",
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let over = State::Taken(Canceller::default());
        if let State::UnderWay(call) = std::mem::replace(state, over) {
            call.leave();
        }
    }
}
