//! What the Python package gives the engine.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Functions of the package, by name in one object.
#[derive(FromPyObject)]
pub(crate) struct Hooks {
    /// `reduce(value)`: what stands for a value that the engine does not know: a tuple of extension code and payload (bytes, or a list that it holds), a
    /// `Target`, a `Remote` or an `Outflow`.
    pub(crate) reduce: Py<PyAny>,
    /// `restore(code, payload)`: the value of an extension.
    pub(crate) restore: Py<PyAny>,
    /// `foreign(codec, data)`: a stored value in another codec.
    pub(crate) foreign: Py<PyAny>,
    /// `unreadable(error, name, data)`: the error where the value of an entry cannot be read; `data`: its bytes, where it was taken out of the store.
    pub(crate) unreadable: Py<PyAny>,
    /// `proxy(remote)`: what users see of an object of another process.
    pub(crate) proxy: Py<PyAny>,
    /// `stream(inflow)`: what users see of a stream that came.
    pub(crate) stream: Py<PyAny>,
    /// `failure(exception, handler, args, kwargs)`: kind, message, type, trace and arguments of what a handler raised.
    pub(crate) failure: Py<PyAny>,
    /// `coroutine(coroutine, answer)`: has a method that waits go on, and answers by the `Answer`.
    pub(crate) coroutine: Py<PyAny>,
    /// `error(kind, message, operation, context, type, trace, args)`: the exception for what a call ended with.
    pub(crate) error: Py<PyAny>,
    /// `log(level, text, exception)`: tells what nobody asked for and somebody should know.
    pub(crate) log: Py<PyAny>,
    /// A context variable: what calls that are made now say beside their arguments, as an encoded map.
    pub(crate) annotations: Py<PyAny>,
    /// A context variable: until when, by `time.monotonic()`, calls that are made now may take.
    pub(crate) deadline: Py<PyAny>,
}

static HOOKS: PyOnceLock<Hooks> = PyOnceLock::new();

pub(crate) fn install(py: Python<'_>, hooks: Hooks) {
    let _ = HOOKS.set(py, hooks); // the first ones stay: there is one package
}

pub(crate) fn hooks(py: Python<'_>) -> PyResult<&Hooks> {
    HOOKS
        .get(py)
        .ok_or_else(|| PyRuntimeError::new_err("the engine is used by the package `andiron`: import that"))
}
