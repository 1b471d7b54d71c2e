//! Objects of this process that others call, and what they stream.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use andiron::engine::{self, Dynamic, Incoming, Message, WeakObject};
use andiron::{Error, ErrorKind, Proxy, Result};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyDict, PyIterator, PyType};

use crate::error::{of_exception, of_handler};
use crate::{decode, encode, hooks, log, options};

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
        let proxy = engine::local(Exported { value, methods, missing });
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

struct Exported {
    value: Py<PyAny>,
    methods: Py<PyDict>,
    missing: Py<PyAny>,
}

impl Drop for Exported {
    fn drop(&mut self) {
        let place = self.value.as_ptr() as usize;
        if let Ok(mut known) = KNOWN.lock()
            && known.get(&place).is_some_and(WeakObject::is_gone)
        {
            known.remove(&place);
        }
    }
}

/// What this process knows an own object as.
pub(crate) fn own<'py>(py: Python<'py>, proxy: &Proxy) -> Option<Bound<'py, PyAny>> {
    engine::downcast::<Exported>(proxy).map(|exported| exported.value.bind(py).clone())
}

impl Dynamic for Exported {
    fn call(&self, call: Incoming) {
        let mut call = Some(call);
        Python::try_attach(|py| {
            if let Some(incoming) = call.take() {
                options::aside(py, || self.answer(py, incoming));
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
            Ok(result) if is_coroutine(&result) => {
                let answer = Answer(Mutex::new(Some(call)));
                let later =
                    hooks::hooks(py).and_then(|hooks| hooks.coroutine.bind(py).call1((result, answer)));
                if let Err(raised) = later {
                    log::raised(py, "a method that waits cannot go on", &raised); // and the answer is dropped, which tells the caller
                }
            }
            Ok(result) => call.answer(encoded(&result)),
            Err(error) => call.answer(Err(error)),
        }
    }

    fn result<'py>(&self, py: Python<'py>, call: &Incoming) -> Result<Bound<'py, PyAny>> {
        let (args, kwargs) = decode::arguments(py, call.arguments(), None)?;
        let handler = match self.methods.bind(py).get_item(call.method()) {
            Ok(Some(handler)) => handler,
            Ok(None) => {
                self.missing.bind(py).call1((call.method(),)).map_err(|error| of_exception(py, &error))?
            }
            Err(error) => return Err(of_exception(py, &error)),
        };
        call.begin();
        handler.call(&args, kwargs.as_ref()).map_err(|error| {
            if call.is_notify() {
                let text = format!("`{}`, which was called one way, raised", call.method());
                log::raised(py, &text, &error);
            }
            of_handler(py, &error, Some(&handler), (&args, kwargs.as_ref()))
        })
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

#[pymethods]
impl Answer {
    /// The method returned this.
    fn result(&self, py: Python<'_>, result: &Bound<'_, PyAny>) {
        if let Some(call) = self.take(py) {
            let outcome = encoded(result);
            py.detach(|| call.answer(outcome));
        }
    }

    /// The method raised this.
    fn error(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        if let Some(call) = self.take(py) {
            let outcome = Err(of_exception(py, &PyErr::from_value(error)));
            py.detach(|| call.answer(outcome));
        }
    }

    /// Has this called when nobody waits for the result any more, on any thread.
    fn on_cancel(&self, py: Python<'_>, hook: Py<PyAny>) {
        if let Ok(call) = self.0.lock_py_attached(py)
            && let Some(call) = &*call
        {
            call.on_cancel(move || {
                Python::try_attach(|py| {
                    if let Err(raised) = hook.call0(py) {
                        log::raised(py, "what was to be called when a call is given up raised", &raised);
                    }
                });
            });
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

struct Items(Py<PyIterator>);

impl Iterator for Items {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Result<Message>> {
        Python::try_attach(|py| {
            let item = self.0.bind(py).clone().next()?;
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
