//! Objects of this process that others call, and what they stream.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{self, Poll, Waker};

use andiron::engine::{self, Dynamic, Incoming, Message, WeakObject};
use andiron::{Error, ErrorKind, Proxy, Result};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyDict, PyIterator, PyTuple, PyType};

use crate::ending::{attached, detached};
use crate::error::{of_exception, of_handler};
use crate::hub::Context;
use crate::{decode, encode, hooks, log, options, signals};

/// An object that others may call, by `methods`: a dict of name to what is called. `missing(name)` raises the error for another name, or gives what is called. `value` is what this process gets where
/// the object comes back to it.
#[pyclass(frozen, weakref, module = "andiron._native")]
pub(crate) struct Target {
    pub(crate) proxy: Proxy,
}

#[pymethods]
impl Target {
    #[new]
    fn new(value: Py<PyAny>, methods: Py<PyDict>, missing: Py<PyAny>) -> Target {
        let place = value.as_ptr() as usize;
        let proxy = engine::local(Exported(Some(Parts { value, methods, missing })));
        if let (Some(weak), Ok(mut known)) = (engine::downgrade(&proxy), KNOWN.lock()) {
            known.insert(place, weak);
        }
        Target { proxy }
    }

    /// The target that was made of the same object, while somebody has it: so that it is the same for all.
    #[staticmethod]
    fn known(value: &Bound<'_, PyAny>) -> Option<Target> {
        let known = KNOWN.lock().ok()?;
        known.get(&(value.as_ptr() as usize))?.upgrade().map(|proxy| Target { proxy })
    }
}

/// Objects that others have, by where they lie, which is their own place as long as they are kept.
static KNOWN: LazyLock<Mutex<HashMap<usize, WeakObject>>> = LazyLock::new(Mutex::default);

/// `None` while it is dropped.
struct Exported(Option<Parts>);

struct Parts {
    value: Py<PyAny>,
    methods: Py<PyDict>,
    missing: Py<PyAny>,
}

impl Exported {
    fn parts(&self) -> &Parts {
        self.0.as_ref().expect("only its end takes them")
    }
}

/// Attached to the interpreter: a process is forked by who is, so no lock that is taken here is held then, by a thread that the child has not.
impl Drop for Exported {
    fn drop(&mut self) {
        let parts = self.0.take();
        Python::try_attach(|_| {
            let place = parts.as_ref().map_or(0, |parts| parts.value.as_ptr() as usize);
            if let Ok(mut known) = KNOWN.lock()
                && known.get(&place).is_some_and(WeakObject::is_gone)
            {
                known.remove(&place);
            }
            drop(parts);
        });
    }
}

/// What this process knows an own object as.
pub(crate) fn own<'py>(py: Python<'py>, proxy: &Proxy) -> Option<Bound<'py, PyAny>> {
    engine::downcast::<Exported>(proxy).map(|exported| exported.parts().value.bind(py).clone())
}

impl Dynamic for Exported {
    fn call(&self, call: Incoming) {
        let mut call = Some(call);
        Python::try_attach(|py| {
            if let Some(incoming) = call.take() {
                attached(|| options::aside(py, || self.answer(py, incoming)));
            }
        });
        if let Some(call) = call {
            let text = "the process that provides this object ends; the method did not run";
            call.answer(Err(Error::new(ErrorKind::Unavailable, text)));
        }
    }
}

impl Exported {
    fn answer(&self, py: Python<'_>, call: Incoming) {
        match self.result(py, &call) {
            Ok(Outcome::Later(later)) => {
                let answer = Bound::new(py, Answer(Mutex::new(Some(call))));
                let begun = answer.and_then(|answer| {
                    let begun = later.get().0.bind(py).call1((answer.clone(),));
                    // The next call of the same connection may begin behind it.
                    if let Ok(call) = answer.get().0.lock_py_attached(py)
                        && let Some(call) = &*call
                    {
                        call.begin();
                    }
                    begun.inspect_err(|raised| answer.get().fail(py, raised, None))
                });
                drop(begun); // its caller has heard
            }
            Ok(Outcome::Done(result)) if is_coroutine(&result) => {
                let answer = Answer(Mutex::new(Some(call)));
                let later =
                    hooks::hooks(py).and_then(|hooks| hooks.coroutine.bind(py).call1((result, answer)));
                if let Err(raised) = later {
                    log::raised(py, "a method that waits cannot go on", &raised); // and the answer is dropped, which tells the caller
                }
            }
            Ok(Outcome::Done(result)) => call.answer(encoded(&result)),
            Err(error) => call.answer(Err(error)),
        }
    }

    fn result<'py>(&self, py: Python<'py>, call: &Incoming) -> Result<Outcome<'py>> {
        let handler = match self.parts().methods.bind(py).get_item(call.method()) {
            Ok(Some(handler)) => handler,
            Ok(None) => self
                .parts()
                .missing
                .bind(py)
                .call1((call.method(),))
                .map_err(|error| of_exception(py, &error))?,
            Err(error) => return Err(of_exception(py, &error)),
        };
        let handler = match handler.cast_into_exact::<Later>() {
            Ok(later) => return Ok(Outcome::Later(later)),
            Err(other) => other.into_inner(),
        };
        let (args, kwargs) = decode::arguments(py, call.arguments(), None)?;
        call.begin();
        attached(|| handler.call(&args, kwargs.as_ref())).map(Outcome::Done).map_err(|error| {
            signals::note(py, &error);
            if call.is_notify() {
                let text = format!("`{}`, which was called one way, raised", call.method());
                log::raised(py, &text, &error);
            }
            of_handler(py, &error, Some(&handler), (&args, kwargs.as_ref()))
        })
    }
}

/// What comes of a call.
enum Outcome<'py> {
    Done(Bound<'py, PyAny>),
    /// It is answered there.
    Later(Bound<'py, Later>),
}

/// A method that answers by itself: `begin(answer)` is called for each call, and does not wait.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Later(Py<PyAny>);

#[pymethods]
impl Later {
    #[new]
    fn new(begin: Py<PyAny>) -> Later {
        Later(begin)
    }
}

fn encoded(result: &Bound<'_, PyAny>) -> Result<Message> {
    encode::result(result, "the result").map_err(|error| of_exception(result.py(), &error))
}

fn is_coroutine(value: &Bound<'_, PyAny>) -> bool {
    static COROUTINE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    COROUTINE.import(value.py(), "types", "CoroutineType").is_ok_and(|cls| value.get_type().is(cls))
}

/// The duty to answer a call whose method waits.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Answer(Mutex<Option<Incoming>>);

impl Answer {
    fn take(&self, py: Python<'_>) -> Option<Incoming> {
        self.0.lock_py_attached(py).ok().and_then(|mut call| call.take())
    }
}

/// What was called, and with what.
type Called<'py> = (Bound<'py, PyAny>, Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

impl Answer {
    fn fail(&self, py: Python<'_>, raised: &PyErr, called: Option<&Called<'_>>) {
        if let Some(call) = self.take(py) {
            if call.is_notify() {
                log::raised(py, &format!("`{}`, which was called one way, raised", call.method()), raised);
            }
            let error = match called {
                Some((handler, args, kwargs)) => {
                    of_handler(py, raised, Some(handler), (args, kwargs.as_ref()))
                }
                None => of_exception(py, raised),
            };
            detached(py, || call.answer(Err(error)));
        }
    }
}

#[pymethods]
impl Answer {
    /// The arguments of the call, in which `proxy` and `stream` make what users see; `None` where it cannot be called with them, and was told so.
    fn arguments<'py>(
        &self,
        py: Python<'py>,
        proxy: Py<PyAny>,
        stream: Py<PyAny>,
    ) -> Option<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let call = self.take(py)?;
        match decode::arguments(py, call.arguments(), Some(&(proxy, stream))) {
            Ok((args, kwargs)) => {
                if let Ok(mut place) = self.0.lock_py_attached(py) {
                    *place = Some(call);
                }
                Some((args, kwargs.unwrap_or_else(|| PyDict::new(py))))
            }
            Err(error) => {
                detached(py, || call.answer(Err(error)));
                None
            }
        }
    }

    /// The call that is to be answered; `None` behind the answer.
    fn context(&self, py: Python<'_>) -> Option<Context> {
        let call = self.0.lock_py_attached(py).ok()?;
        Some(Context(call.as_ref()?.context()))
    }

    /// The method returned this.
    fn result(&self, py: Python<'_>, result: &Bound<'_, PyAny>) {
        if let Some(call) = self.take(py) {
            let outcome = encoded(result);
            detached(py, || call.answer(outcome));
        }
    }

    /// The method raised this. `called`: what was called, with what, where it may be for not fitting.
    #[pyo3(signature = (error, called=None))]
    fn error(&self, py: Python<'_>, error: Bound<'_, PyAny>, called: Option<Called<'_>>) {
        self.fail(py, &PyErr::from_value(error), called.as_ref());
    }

    /// Has this called when nobody waits for the result any more, on any thread.
    fn on_cancel(&self, py: Python<'_>, hook: Py<PyAny>) {
        if let Ok(call) = self.0.lock_py_attached(py)
            && let Some(call) = &*call
        {
            call.on_cancel(move || call_hook(&hook));
        }
    }
}

/// An iterator whose items are sent as they are taken.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Outflow(Mutex<Option<Py<PyIterator>>>);

#[pymethods]
impl Outflow {
    #[new]
    fn new(items: &Bound<'_, PyAny>) -> PyResult<Outflow> {
        Ok(Outflow(Mutex::new(Some(items.try_iter()?.unbind()))))
    }
}

impl Outflow {
    pub(crate) fn items(&self) -> PyResult<impl Iterator<Item = Result<Message>> + Send + use<>> {
        let items = self.0.lock().ok().and_then(|mut items| items.take());
        items.map(Items).ok_or_else(|| PyRuntimeError::new_err("this stream was sent before"))
    }
}

/// Items that are sent when they are there, and made when they are wanted.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Feed {
    shared: Arc<Mutex<Fed>>,
    /// Called when there is room for more, and when nobody wants any more; on any thread.
    hooks: Mutex<Option<FeedHooks>>,
}

struct FeedHooks {
    wanted: Py<PyAny>,
    closed: Py<PyAny>,
}

#[derive(Default)]
struct Fed {
    items: VecDeque<Result<Message>>,
    over: bool,
    /// Nobody wants any more.
    closed: bool,
    waker: Option<Waker>,
}

/// So many items may wait to be sent.
const MOST_FED: usize = 16;

#[pymethods]
impl Feed {
    #[new]
    fn new(wanted: Py<PyAny>, closed: Py<PyAny>) -> Feed {
        Feed { shared: Arc::default(), hooks: Mutex::new(Some(FeedHooks { wanted, closed })) }
    }

    /// The next item. Whether there is room for another one; else it is told when there is.
    fn item(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> bool {
        let item = encode::result(item, "an item of the stream").map_err(|error| of_exception(py, &error));
        let failed = item.is_err();
        self.push(py, Some(item), failed) && !failed
    }

    /// There is no other item; `error`: for this reason.
    #[pyo3(signature = (error=None))]
    fn end(&self, py: Python<'_>, error: Option<Bound<'_, PyAny>>) {
        let error = error.map(|error| Err(of_exception(py, &PyErr::from_value(error))));
        self.push(py, error, true);
    }
}

impl Feed {
    fn push(&self, py: Python<'_>, item: Option<Result<Message>>, over: bool) -> bool {
        let Ok(mut fed) = self.shared.lock_py_attached(py) else { return false };
        if fed.closed || fed.over {
            return false;
        }
        fed.items.extend(item);
        fed.over = over;
        let room = fed.items.len() < MOST_FED;
        let waker = fed.waker.take();
        drop(fed);
        detached(py, || waker.into_iter().for_each(Waker::wake));
        room
    }

    /// What asks for the items.
    pub(crate) fn items(
        &self,
        py: Python<'_>,
    ) -> PyResult<impl FnMut(&mut task::Context<'_>) -> Poll<Option<Result<Message>>> + Send + use<>> {
        let hooks = self.hooks.lock_py_attached(py).ok().and_then(|mut hooks| hooks.take());
        let hooks = hooks.ok_or_else(|| PyRuntimeError::new_err("this stream was sent before"))?;
        let mut taker = FeedTaker { shared: self.shared.clone(), hooks };
        Ok(move |context: &mut task::Context<'_>| taker.poll(context))
    }
}

struct FeedTaker {
    shared: Arc<Mutex<Fed>>,
    hooks: FeedHooks,
}

impl FeedTaker {
    fn poll(&mut self, context: &mut task::Context<'_>) -> Poll<Option<Result<Message>>> {
        let Ok(mut fed) = self.shared.lock() else { return Poll::Ready(None) };
        let item = fed.items.pop_front();
        let wanted = !fed.over && fed.items.is_empty();
        if item.is_none() && !fed.over {
            fed.waker = Some(context.waker().clone());
        }
        let over = fed.over;
        drop(fed);
        if wanted {
            call_hook(&self.hooks.wanted);
        }
        match item {
            Some(item) => Poll::Ready(Some(item)),
            None if over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Nobody takes any more.
impl Drop for FeedTaker {
    fn drop(&mut self) {
        let rest = self.shared.lock().map(|mut fed| {
            fed.closed = true;
            std::mem::take(&mut fed.items)
        });
        drop(rest);
        call_hook(&self.hooks.closed);
    }
}

fn call_hook(hook: &Py<PyAny>) {
    Python::try_attach(|py| {
        if let Err(raised) = attached(|| hook.call0(py)) {
            log::raised(py, "what was to be called at the end of a call or a stream raised", &raised);
        }
    });
}

struct Items(Py<PyIterator>);

impl Iterator for Items {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Result<Message>> {
        Python::try_attach(|py| {
            let mut items = self.0.bind(py).clone();
            let item = attached(|| items.next())?;
            let encoded = item.and_then(|item| encode::result(&item, "an item of the stream"));
            Some(encoded.map_err(|error| of_exception(py, &error)))
        })
        .flatten()
    }
}

/// What is dropped with nobody to take the rest: a generator's `finally` runs here and not when the collector comes by.
impl Drop for Items {
    fn drop(&mut self) {
        Python::try_attach(|py| {
            if let Ok(close) = self.0.bind(py).getattr("close")
                && let Err(raised) = close.call0()
            {
                log::raised(py, &format!("{} raised when it was closed", self.0.bind(py)), &raised);
            }
        });
    }
}
