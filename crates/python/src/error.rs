//! Errors on their way into Python, and exceptions on their way out.

use andiron::{Error, ErrorKind};
use andiron_proto::codec;
use andiron_proto::{Failure, FailureDetail};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::ending::called;
use crate::{decode, encode, hooks, signals};

/// The names of the kinds, as the package knows them.
pub(crate) const KINDS: [(ErrorKind, &str); 19] = [
    (ErrorKind::Application, "application"),
    (ErrorKind::NoObject, "no object"),
    (ErrorKind::NoMethod, "no method"),
    (ErrorKind::BadArguments, "bad arguments"),
    (ErrorKind::Encoding, "encoding"),
    (ErrorKind::TooLarge, "too large"),
    (ErrorKind::Overloaded, "overloaded"),
    (ErrorKind::Deadline, "deadline"),
    (ErrorKind::Cancelled, "cancelled"),
    (ErrorKind::Reentrant, "reentrant"),
    (ErrorKind::Denied, "denied"),
    (ErrorKind::Internal, "internal"),
    (ErrorKind::Unavailable, "unavailable"),
    (ErrorKind::Unknown, "unknown"),
    (ErrorKind::Conflict, "conflict"),
    (ErrorKind::Quota, "quota"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::Protocol, "protocol"),
    (ErrorKind::Authentication, "authentication"),
];

fn name_of(kind: ErrorKind) -> &'static str {
    KINDS.iter().find(|(of, _)| *of == kind).map_or("internal", |(_, name)| name)
}

/// The exception for what a call ended with.
#[cold]
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    signals::raised().unwrap_or_else(|| made(py, error).unwrap_or_else(|raised| raised))
}

fn made(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let context = PyDict::new(py);
    for (key, value) in error.context() {
        context.set_item(key, value)?;
    }
    let args = PyList::empty(py);
    for value in error.remote_args() {
        // What was read can be written.
        let bytes = codec::to_vec(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        args.append(decode::from_bytes(py, &bytes)?)?;
    }
    let attributes = PyDict::new(py);
    for (name, value) in error.remote_attributes() {
        let bytes = codec::to_vec(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        attributes.set_item(name, decode::from_bytes(py, &bytes)?)?;
    }
    let trace = PyList::new(py, error.remote_trace())?;
    let (message, operation) = (error.message(), error.operation());
    let error =
        (name_of(error.kind()), message, operation, context, error.remote_type(), trace, args, attributes);
    Ok(PyErr::from_value(called(hooks::hooks(py)?.error.bind(py), error)?))
}

/// An error of this engine.
#[cold]
pub(crate) fn of_kind(py: Python<'_>, kind: ErrorKind, message: impl Into<String>) -> PyErr {
    let error = Error::new(kind, message.into());
    made(py, &error).unwrap_or_else(|raised| raised)
}

/// What the caller is told of what a handler raised.
#[cold]
pub(crate) fn of_handler(
    py: Python<'_>,
    raised: &PyErr,
    handler: Option<&Bound<'_, PyAny>>,
    arguments: (&Bound<'_, PyTuple>, Option<&Bound<'_, PyDict>>),
) -> Error {
    told(py, raised, handler, arguments).unwrap_or_else(|failed| {
        Error::new(ErrorKind::Internal, format!("the method raised {raised}; {failed}"))
    })
}

/// What is told of an exception where no method was called.
pub(crate) fn of_exception(py: Python<'_>, raised: &PyErr) -> Error {
    of_handler(py, raised, None, (&PyTuple::empty(py), None))
}

/// Kind, message, type, trace, arguments and attributes.
type Told<'py> = (String, String, String, Vec<String>, Bound<'py, PyAny>, Bound<'py, PyAny>);

fn told(
    py: Python<'_>,
    raised: &PyErr,
    handler: Option<&Bound<'_, PyAny>>,
    (args, kwargs): (&Bound<'_, PyTuple>, Option<&Bound<'_, PyDict>>),
) -> PyResult<Error> {
    let raised = raised.clone_ref(py).into_value(py); // which has its traceback
    let failure = called(hooks::hooks(py)?.failure.bind(py), (raised, handler, args, kwargs))?;
    let (kind, message, type_name, trace, args, attributes): Told<'_> = failure.extract()?;
    let kind = KINDS.iter().find(|(_, name)| *name == kind).map_or(ErrorKind::Internal, |(kind, _)| *kind);
    // What cannot travel was left out by the package.
    let args = encode::to_bytes(&args).ok().and_then(|bytes| codec::from_slice(&bytes).ok());
    let attributes = match attributes.is_truthy()? {
        true => encode::to_bytes(&attributes).ok().and_then(|bytes| codec::from_slice(&bytes).ok()),
        false => None,
    };
    let detail = FailureDetail {
        message: message.into(),
        type_name: type_name.into(),
        trace,
        args: args.unwrap_or_default(),
        attributes,
    };
    Ok(Failure { kind, detail }.into())
}
