//! The native codec into Python objects.

use std::sync::Arc;

use andiron::{Blob, Error, ErrorKind, engine};
use andiron_proto::codec::{DecodeError, Decoder, Token};
use pyo3::prelude::*;
use pyo3::types::{
    PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
};

use crate::error::{of_kind, to_python};
use crate::hooks;
use crate::hub::{Inner, Makes};
use crate::memory::{BY_REFERENCE_FROM, Memory};
use crate::object;
use crate::remote::{Inflow, Remote};

const BIGINT: i8 = 1;
const TUPLE: i8 = 2;
const SET: i8 = 3;
const FROZENSET: i8 = 4;
const COMPLEX: i8 = 5;
const EXCEPTION: i8 = 12;
const REF: i8 = 13;
const RECORD: i8 = 14;
const BUFFER: i8 = 15;
const ENUM: i8 = 16;

/// One value, which names no objects.
pub(crate) fn from_bytes<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    read(py, data, None)
}

/// One value that lies in this memory, which names no objects.
pub(crate) fn from_blob<'py>(py: Python<'py>, blob: &Blob) -> PyResult<Bound<'py, PyAny>> {
    read(py, blob, blob.memory().map(|_| blob))
}

fn read<'py>(py: Python<'py>, data: &[u8], blob: Option<&Blob>) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = Reader { blob, ..Reader::new(py, data) };
    reader.whole().map_err(|fault| fault.raise(py))
}

/// The value of a message that came over this connection.
pub(crate) fn message<'py>(
    py: Python<'py>,
    message: &engine::Message,
    connection: Option<&Arc<Inner>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (stream, makes) = (message.has_stream(), connection.and_then(|connection| connection.makes(py)));
    let value =
        message.decode(|bytes| Reader { connection, makes, stream, ..Reader::new(py, bytes) }.whole());
    value.map_err(|fault: Fault| fault.raise(py))
}

/// Positional and keyword arguments.
pub(crate) type CallArguments<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

/// The arguments of a call, in which this makes proxies and streams, where it is not what the package gave.
pub(crate) fn arguments<'py>(
    py: Python<'py>,
    message: &engine::Message,
    makes: Option<&Makes>,
) -> Result<CallArguments<'py>, Error> {
    let stream = message.has_stream();
    let read = message.decode(|bytes| {
        if bytes == [0xc0] {
            return Ok((PyTuple::empty(py), None)); // nothing at all: no arguments
        }
        Reader { makes, stream, ..Reader::new(py, bytes) }.arguments()
    });
    read.map_err(|fault: Fault| match fault {
        Fault::Engine(error) => error,
        Fault::Malformed(why) => Error::new(ErrorKind::BadArguments, format!("malformed arguments: {why}")),
        Fault::Raised(raised) => {
            Error::new(ErrorKind::BadArguments, format!("malformed arguments: {raised}"))
        }
    })
}

/// Why a value cannot be read.
pub(crate) enum Fault {
    Malformed(String),
    Raised(PyErr),
    Engine(Error),
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Fault {
        Fault::Malformed(error.to_string())
    }
}

impl From<PyErr> for Fault {
    fn from(raised: PyErr) -> Fault {
        Fault::Raised(raised)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Engine(error)
    }
}

impl Fault {
    #[cold]
    fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Fault::Malformed(why) => {
                of_kind(py, ErrorKind::Encoding, format!("the value cannot be read: {why}"))
            }
            Fault::Raised(raised) => raised,
            Fault::Engine(error) => to_python(py, &error),
        }
    }
}

fn malformed(why: &str) -> Fault {
    Fault::Malformed(why.to_owned())
}

type Read<'py> = Result<Bound<'py, PyAny>, Fault>;

struct Reader<'py, 'de, 'c> {
    py: Python<'py>,
    input: Decoder<'de>,
    connection: Option<&'c Arc<Inner>>,
    makes: Option<&'c Makes>,
    /// The first nil stands for a stream.
    stream: bool,
    /// All of the input, where that lies in memory that can be mapped.
    blob: Option<&'c Blob>,
}

impl<'py, 'de> Reader<'py, 'de, '_> {
    fn new(py: Python<'py>, data: &'de [u8]) -> Self {
        Reader { py, input: Decoder::new(data), connection: None, makes: None, stream: false, blob: None }
    }

    fn whole(&mut self) -> Read<'py> {
        let value = self.value()?;
        self.input.finish()?;
        Ok(value)
    }

    fn arguments(&mut self) -> Result<CallArguments<'py>, Fault> {
        let count = self.input.array_len()?;
        let args = self.elements(count)?;
        let args = PyTuple::new(self.py, args)?;
        if self.input.is_empty() {
            return Ok((args, None));
        }
        let Token::Map(count) = self.input.token()? else {
            return Err(malformed("no map of keyword arguments follows"));
        };
        // As the array ahead of it, it is no level of the values.
        let kwargs = self.entries(count)?;
        self.input.finish()?;
        if kwargs.keys().iter().any(|name| name.cast::<PyString>().is_err()) {
            return Err(malformed("the name of a keyword argument is no text"));
        }
        Ok((args, Some(kwargs)))
    }

    fn value(&mut self) -> Read<'py> {
        let py = self.py;
        let at = self.input.position();
        Ok(match self.input.token()? {
            Token::Nil if self.stream => self.inflow()?,
            Token::Nil => py.None().into_bound(py),
            Token::Bool(truth) => pyo3::types::PyBool::new(py, truth).to_owned().into_any(),
            Token::Uint(number) => PyInt::new(py, number).into_any(),
            Token::Int(number) => PyInt::new(py, number).into_any(),
            Token::F32(number) => PyFloat::new(py, number.into()).into_any(),
            Token::F64(number) => PyFloat::new(py, number).into_any(),
            Token::Str(text) => PyString::new(py, text).into_any(),
            Token::Bin(bytes) => PyBytes::new(py, bytes).into_any(),
            Token::Array(count) => {
                self.input.enter(at)?;
                let elements = self.elements(count)?;
                self.input.leave();
                PyList::new(py, elements)?.into_any()
            }
            Token::Map(count) => {
                self.input.enter(at)?;
                let entries = self.entries(count)?;
                self.input.leave();
                entries.into_any()
            }
            Token::Ext { code, len } => self.extension(code, len, at)?,
        })
    }

    fn elements(&mut self, count: usize) -> Result<Vec<Bound<'py, PyAny>>, Fault> {
        // Each takes a byte of the input at least, so a count is not believed beyond that.
        (0..count).map(|_| self.value()).collect()
    }

    fn entries(&mut self, count: usize) -> Result<Bound<'py, PyDict>, Fault> {
        let dict = PyDict::new(self.py);
        for _ in 0..count {
            let key = self.value()?;
            let value = self.value()?;
            dict.set_item(&key, value).map_err(|_| self.unhashable(&key))?;
        }
        Ok(dict)
    }

    fn unhashable(&self, key: &Bound<'py, PyAny>) -> Fault {
        let name = key.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        Fault::Malformed(format!("a {name} cannot be the key of a dict or in a set"))
    }

    /// The elements of the one array that is the payload.
    fn held(&mut self, len: usize, at: usize) -> Result<Vec<Bound<'py, PyAny>>, Fault> {
        let end = self.input.position() + len;
        self.input.enter(at)?;
        let Token::Array(count) = self.input.token()? else {
            return Err(malformed("an extension holds no array"));
        };
        let elements = self.elements(count)?;
        self.input.leave();
        if self.input.position() != end {
            return Err(malformed("an extension is longer or shorter than what it holds"));
        }
        Ok(elements)
    }

    fn extension(&mut self, code: i8, len: usize, at: usize) -> Read<'py> {
        let py = self.py;
        match code {
            TUPLE => Ok(PyTuple::new(py, self.held(len, at)?)?.into_any()),
            SET => {
                let set = PySet::empty(py)?;
                for element in self.held(len, at)? {
                    set.add(&element).map_err(|_| self.unhashable(&element))?;
                }
                Ok(set.into_any())
            }
            FROZENSET => {
                let elements = self.held(len, at)?;
                Ok(PyFrozenSet::new(py, elements)
                    .map_err(|_| malformed("a set holds what cannot be in one"))?
                    .into_any())
            }
            BIGINT => {
                let bytes = self.input.take(len)?;
                if bytes.is_empty() || bytes.len() > 65536 {
                    return Err(malformed("an int has 1 to 65536 bytes"));
                }
                let signed = PyDict::new(py);
                signed.set_item("signed", true)?;
                let int = py.get_type::<PyInt>();
                Ok(int.call_method("from_bytes", (PyBytes::new(py, bytes), "big"), Some(&signed))?)
            }
            COMPLEX => {
                let bytes: [u8; 16] = self
                    .input
                    .take(len)?
                    .try_into()
                    .map_err(|_| malformed("a complex number has 16 bytes"))?;
                let [re, im] =
                    [0, 8].map(|at| f64::from_be_bytes(std::array::from_fn(|index| bytes[at + index])));
                Ok(PyComplex::from_doubles(py, re, im).into_any())
            }
            REF => self.reference(len),
            BUFFER => {
                let held = self.buffer(len, at)?;
                self.restored(code, held.into_any())
            }
            EXCEPTION | RECORD | ENUM => {
                let held = PyList::new(py, self.held(len, at)?)?;
                self.restored(code, held.into_any())
            }
            code => {
                let payload = PyBytes::new(py, self.input.take(len)?);
                self.restored(code, payload.into_any())
            }
        }
    }

    /// Format, shape and bytes, which may lie in memory that can be mapped.
    fn buffer(&mut self, len: usize, at: usize) -> Result<Bound<'py, PyList>, Fault> {
        let end = self.input.position() + len;
        self.input.enter(at)?;
        if !matches!(self.input.token()?, Token::Array(3)) {
            return Err(malformed("a buffer is an array of three"));
        }
        let (form, shape) = (self.value()?, self.value()?);
        let bytes = match self.input.token()? {
            Token::Bin(bytes) => match self.blob {
                Some(blob) if bytes.len() >= BY_REFERENCE_FROM => {
                    let offset = self.input.position() - bytes.len();
                    Bound::new(self.py, Memory::part(blob.clone(), offset, bytes.len()))?.into_any()
                }
                _ => PyBytes::new(self.py, bytes).into_any(),
            },
            Token::Uint(position) => {
                let missing = || malformed("the memory of a buffer did not come with it");
                let blob = engine::blob(position).ok_or_else(missing)??;
                let length = blob.len();
                Bound::new(self.py, Memory::part(blob, 0, length))?.into_any()
            }
            _ => return Err(malformed("a buffer has bytes, or their position")),
        };
        self.input.leave();
        if self.input.position() != end {
            return Err(malformed("an extension is longer or shorter than what it holds"));
        }
        Ok(PyList::new(self.py, [form, shape, bytes])?)
    }

    fn restored(&self, code: i8, payload: Bound<'py, PyAny>) -> Read<'py> {
        Ok(hooks::hooks(self.py)?.restore.bind(self.py).call1((code, payload))?)
    }

    fn reference(&mut self, len: usize) -> Read<'py> {
        let position: [u8; 2] =
            self.input.take(len)?.try_into().map_err(|_| malformed("an object reference has 2 bytes"))?;
        let missing = || malformed("an object reference that is not in the message");
        let proxy = engine::object(u16::from_be_bytes(position)).ok_or_else(missing)?;
        if let Some(own) = object::own(self.py, &proxy) {
            return Ok(own);
        }
        let remote = Bound::new(self.py, Remote::new(proxy, self.connection.cloned()))?;
        let made = match self.makes {
            Some((proxy, _)) => proxy.bind(self.py),
            None => hooks::hooks(self.py)?.proxy.bind(self.py),
        };
        Ok(made.call1((remote,))?)
    }

    fn inflow(&mut self) -> Read<'py> {
        self.stream = false;
        let items =
            engine::stream().ok_or_else(|| malformed("a stream that did not come with the message"))?;
        let inflow = Bound::new(self.py, Inflow::new(items, self.connection.cloned()))?;
        let made = match self.makes {
            Some((_, stream)) => stream.bind(self.py),
            None => hooks::hooks(self.py)?.stream.bind(self.py),
        };
        Ok(made.call1((inflow,))?)
    }
}
