//! Python objects into the native codec.

use andiron::{Blob, ErrorKind, engine};
use andiron_proto::codec::{EncodeError, Encoder};
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyMemoryView, PySet, PyString, PyTuple,
};

use crate::error::of_kind;
use crate::hooks;
use crate::memory::{self, BY_REFERENCE_FROM, Memory, Source};
use crate::object::{Feed, Outflow, Target};
use crate::remote::Remote;

/// The extensions that are containers of their own.
const TUPLE: i8 = 2;
const SET: i8 = 3;
const FROZENSET: i8 = 4;
const COMPLEX: i8 = 5;
const REF: i8 = 13;
const EXCEPTION: i8 = 12;
const RECORD: i8 = 14;
const ENUM: i8 = 16;

/// Characters of a key in what is said of a value that cannot be sent.
const LONGEST_SHOWN: usize = 40;
/// Parts in what is said of where it stands.
const MOST_PARTS: usize = 16;

/// The longest value, in bytes: no message is longer. One whose parts are shared over and over is not written to its end.
const LONGEST: usize = 1 << 30;
/// After so many values, or KiB of texts and bytes, it is looked for signals, and how long it has become.
const LOOKED_AFTER: usize = 4096;

/// The longest integer, in bytes.
const LONGEST_INT: usize = 65536;

/// One value, which names no objects.
pub(crate) fn to_bytes(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    let mut writer = Writer { place: Place::Within, ..Writer::new(&mut out) };
    writer.value(value).map_err(|fault| fault.raise(value.py(), "the value"))?;
    Ok(out)
}

/// The same, of which big buffers are copied once only, into memory that is passed on by reference.
///
/// `what` is what it is called where it cannot be sent.
pub(crate) fn to_blob(value: &Bound<'_, PyAny>, what: impl FnOnce() -> String) -> PyResult<Blob> {
    let (mut out, py) = (Vec::with_capacity(64), value.py());
    let mut writer = Writer { place: Place::Later, ..Writer::new(&mut out) };
    writer.value(value).map_err(|fault| fault.raise(py, &what()))?;
    let Writer { out: encoder, later, .. } = writer;
    let absent = encoder.absent();
    match absent.is_empty() {
        true => Ok(out.into()),
        false => memory::assembled(py, &out, &absent, &later),
    }
}

/// Raises what is in the way of sending a value in a call. Big buffers are not copied for that.
pub(crate) fn check(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let checked = engine::Message::encode(|out| {
        let mut writer = Writer { place: Place::Nowhere, ..Writer::new(out) };
        writer.value(value)
    });
    checked.map(drop).map_err(|fault: Fault| fault.raise(value.py(), "the value"))
}

/// A result, or an item of a stream.
pub(crate) fn result(value: &Bound<'_, PyAny>, what: &str) -> PyResult<engine::Message> {
    engine::Message::encode(|out| Writer::new(out).value(value))
        .map_err(|fault: Fault| fault.raise(value.py(), what))
}

/// The arguments of a call. Tells whether an object of this process is among them.
pub(crate) fn arguments(
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<(engine::Message, bool)> {
    let mut exports = false;
    let message = engine::Message::encode(|out| {
        let mut writer = Writer::new(out);
        writer.arguments(args, kwargs)?;
        exports = writer.exports;
        Ok(())
    });
    let message = message.map_err(|fault: Fault| fault.raise(args.py(), "an argument"))?;
    Ok((message, exports))
}

/// Why a value cannot be encoded, and which part of it.
struct Fault {
    why: Why,
    /// From the inside to the outside.
    path: Vec<String>,
}

enum Why {
    Say(String),
    Raised(PyErr),
}

impl From<PyErr> for Fault {
    fn from(raised: PyErr) -> Fault {
        Fault { why: Why::Raised(raised), path: Vec::new() }
    }
}

impl From<EncodeError> for Fault {
    fn from(error: EncodeError) -> Fault {
        say(error.to_string())
    }
}

fn say(why: impl Into<String>) -> Fault {
    Fault { why: Why::Say(why.into()), path: Vec::new() }
}

impl Fault {
    #[cold]
    fn at(mut self, part: String) -> Fault {
        self.path.push(part);
        self
    }

    #[cold]
    fn raise(self, py: Python<'_>, what: &str) -> PyErr {
        let mut place = shortened(&self.path);
        if !place.is_empty() {
            place = format!("at {place}: ");
        }
        match self.why {
            Why::Say(why) => of_kind(py, ErrorKind::Encoding, format!("{what} cannot be sent: {place}{why}")),
            Why::Raised(raised) => raised,
        }
    }
}

type Written = Result<(), Fault>;

struct Writer<'a> {
    out: Encoder<'a>,
    exports: bool,
    /// Where big buffers go.
    place: Place,
    /// Those that are to be put where they are absent.
    later: Vec<Source>,
    /// A nil was written: a stream behind it could not be told from it.
    nil: bool,
    /// Values and KiB since it was looked for signals.
    since: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Beside the value: it is that of a call.
    Beside,
    /// Where it stands, when the rest is written.
    Later,
    /// Nowhere: it is only asked whether it could be sent in a call.
    Nowhere,
    Within,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer {
            out: Encoder::new(out),
            exports: false,
            place: Place::Beside,
            later: Vec::new(),
            nil: false,
            since: 0,
        }
    }

    fn arguments(&mut self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Written {
        self.out.array_header(length(args.len())?);
        for (index, value) in args.iter_borrowed().enumerate() {
            self.value(&value).map_err(|fault| fault.at(format!("argument {}", index + 1)))?;
        }
        if let Some(kwargs) = kwargs.filter(|kwargs| !kwargs.is_empty()) {
            self.out.map_header(length(kwargs.len())?);
            for (name, value) in kwargs.iter() {
                self.value(&name)?;
                self.value(&value).map_err(|fault| fault.at(format!("argument `{name}`")))?;
            }
        }
        Ok(())
    }

    fn value(&mut self, value: &Bound<'_, PyAny>) -> Written {
        self.since += 1;
        if self.since >= LOOKED_AFTER {
            self.look(value.py())?;
        }
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.text(text);
        }
        if let Ok(number) = value.cast_exact::<PyInt>() {
            return self.int(number);
        }
        if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.out.float(number.value());
        } else if value.is_none() {
            self.nil = true;
            self.out.nil();
        } else if let Ok(truth) = value.cast_exact::<PyBool>() {
            self.out.bool(truth.is_true());
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            self.bytes(bytes)?;
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.list(list)?;
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(dict)?;
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.tuple(tuple)?;
        } else if value.cast_exact::<PySet>().is_ok() {
            self.set(SET, value)?;
        } else if value.cast_exact::<PyFrozenSet>().is_ok() {
            self.set(FROZENSET, value)?;
        } else if let Ok(number) = value.cast_exact::<pyo3::types::PyComplex>() {
            self.out.ext(COMPLEX, &[number.real().to_be_bytes(), number.imag().to_be_bytes()].concat())?;
        } else {
            self.other(value)?;
        }
        Ok(())
    }

    #[cold]
    fn look(&mut self, py: Python<'_>) -> Written {
        self.since = 0;
        if self.out.written() > LONGEST {
            return Err(say("it is longer than 1 GiB, maybe since parts are in it many times"));
        }
        Ok(py.check_signals()?)
    }

    fn bytes(&mut self, bytes: &Bound<'_, PyBytes>) -> Written {
        if self.place == Place::Later && bytes.as_bytes().len() >= BY_REFERENCE_FROM {
            self.later.push(Source::Buffer(bytes.clone().into_any().unbind()));
            return Ok(self.out.absent_bytes(bytes.as_bytes().len())?);
        }
        self.since += bytes.as_bytes().len() / 1024;
        Ok(self.out.bytes(bytes.as_bytes())?)
    }

    fn text(&mut self, text: &Bound<'_, PyString>) -> Written {
        let text =
            text.to_str().map_err(|_| say("a str that holds half of a surrogate pair, which is no text"))?;
        self.since += text.len() / 1024;
        Ok(self.out.str(text)?)
    }

    fn int(&mut self, number: &Bound<'_, PyInt>) -> Written {
        if let Ok(small) = number.extract::<i64>() {
            self.out.int(small);
        } else if let Ok(large) = number.extract::<u64>() {
            self.out.uint(large);
        } else {
            let bits: usize = number.call_method0("bit_length")?.extract()?;
            let length = bits / 8 + 1;
            if length > LONGEST_INT {
                return Err(say(format!("an int of {length} bytes; it may have {LONGEST_INT}")));
            }
            let signed = PyDict::new(number.py());
            signed.set_item("signed", true)?;
            let bytes = number.call_method("to_bytes", (length, "big"), Some(&signed))?;
            self.out.wide_int(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes())?;
        }
        Ok(())
    }

    fn list(&mut self, list: &Bound<'_, PyList>) -> Written {
        self.out.enter()?;
        let count = list.len();
        self.out.array_header(length(count)?);
        for index in 0..count {
            let element = list.get_item(index).map_err(|_| changed())?;
            self.value(&element).map_err(|fault| fault.at(format!("[{index}]")))?;
        }
        self.out.leave();
        Ok(())
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>) -> Written {
        self.out.enter()?;
        let began = self.out.open_ext(TUPLE);
        self.out.array_header(length(tuple.len())?);
        for (index, element) in tuple.iter_borrowed().enumerate() {
            self.value(&element).map_err(|fault| fault.at(format!("[{index}]")))?;
        }
        self.out.close_ext(began)?;
        self.out.leave();
        Ok(())
    }

    fn set(&mut self, code: i8, set: &Bound<'_, PyAny>) -> Written {
        self.out.enter()?;
        let began = self.out.open_ext(code);
        let count = set.len()?;
        self.out.array_header(length(count)?);
        let mut written = 0;
        for element in set.try_iter()? {
            self.value(&element.map_err(|_| changed())?).map_err(|fault| fault.at("{element}".to_owned()))?;
            written += 1;
        }
        if written != count {
            return Err(changed());
        }
        self.out.close_ext(began)?;
        self.out.leave();
        Ok(())
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>) -> Written {
        self.entries(dict, |key| format!("[{}]", shown(key)))
    }

    /// A copy of the items is gone over, since what is written may run anything, also what changes the dict.
    fn entries(&mut self, dict: &Bound<'_, PyDict>, part: impl Fn(&Bound<'_, PyAny>) -> String) -> Written {
        self.out.enter()?;
        let items = dict.items();
        self.out.map_header(length(items.len())?);
        for item in items.iter() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            self.value(&key).map_err(|fault| fault.at(format!("{{key {}}}", shown(&key))))?;
            self.value(&value).map_err(|fault| fault.at(part(&key)))?;
        }
        self.out.leave();
        Ok(())
    }

    /// What the package has to say what it is.
    fn other(&mut self, value: &Bound<'_, PyAny>) -> Written {
        if let Some(written) = self.known_object(value) {
            return written;
        }
        let py = value.py();
        let reduced = hooks::hooks(py)?.reduce.bind(py).call1((value,));
        let reduced = reduced.map_err(|raised| refused(py, raised))?;
        if let Some(written) = self.known_object(&reduced) {
            return written;
        }
        if let Ok(outflow) = reduced.cast_exact::<Outflow>() {
            let items = outflow.get().items()?;
            return self.stream(|| engine::place_stream(items));
        }
        if let Ok(feed) = reduced.cast_exact::<Feed>() {
            let items = feed.get().items(py)?;
            return self.stream(|| engine::place_awaited_stream(items));
        }
        let Ok((code, payload)) = reduced.extract::<(i8, Bound<'_, PyAny>)>() else {
            return Err(say(reduced.extract::<String>()?));
        };
        if let Ok(bytes) = payload.cast::<PyBytes>() {
            return Ok(self.out.ext(code, bytes.as_bytes())?);
        }
        self.holder(code, payload.cast::<PyList>().map_err(PyErr::from)?)
    }

    /// An object as the engine has it.
    fn known_object(&mut self, value: &Bound<'_, PyAny>) -> Option<Written> {
        if let Ok(remote) = value.cast_exact::<Remote>() {
            return Some(self.object(&remote.get().proxy));
        }
        let target = value.cast_exact::<Target>().ok()?;
        self.exports = true;
        Some(self.object(&target.get().proxy))
    }

    /// An extension that holds an array, whose lists are plain, and whose elements are one level deeper.
    fn holder(&mut self, code: i8, parts: &Bound<'_, PyList>) -> Written {
        self.out.enter()?;
        let began = self.out.open_ext(code);
        self.out.array_header(length(parts.len())?);
        for (index, part) in parts.iter().enumerate() {
            match part.cast_exact::<PyDict>() {
                _ if part.is_exact_instance_of::<PyMemoryView>() => {
                    self.memory(part.cast::<PyMemoryView>().map_err(PyErr::from)?)?;
                }
                _ if part.is_exact_instance_of::<Memory>() => {
                    self.sealed(part.cast::<Memory>().map_err(PyErr::from)?.get())?;
                }
                Ok(fields) if matches!(code, RECORD | EXCEPTION) => {
                    self.entries(fields, |name| format!(".{name}"))?;
                }
                _ => {
                    let part_of = |fault: Fault| match (code, index) {
                        (EXCEPTION, 1) => fault.at(".args".to_owned()),
                        (ENUM, 2) => fault.at(".value".to_owned()),
                        _ => fault,
                    };
                    self.value(&part).map_err(part_of)?;
                }
            }
        }
        self.out.close_ext(began)?;
        self.out.leave();
        Ok(())
    }

    /// Bytes of a buffer: beside the value where they are many, and where it is one of a call.
    fn memory(&mut self, view: &Bound<'_, PyMemoryView>) -> Written {
        let length = view.len()?;
        if self.place == Place::Beside && length >= BY_REFERENCE_FROM {
            let blob = memory::frozen(view)?;
            if let Some(position) = engine::place_blob(blob) {
                self.out.uint(position);
                return Ok(());
            }
        }
        if self.place == Place::Nowhere && length >= BY_REFERENCE_FROM {
            return Ok(self.out.absent_bytes(length)?);
        }
        if self.place == Place::Later && length >= BY_REFERENCE_FROM {
            self.later.push(Source::Buffer(view.clone().into_any().unbind()));
            return Ok(self.out.absent_bytes(length)?);
        }
        self.since += length / 1024;
        let bytes = view.call_method0("tobytes")?;
        Ok(self.out.bytes(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes())?)
    }

    /// Bytes that are sealed already, and go by reference as they are.
    fn sealed(&mut self, memory: &Memory) -> Written {
        let bytes = memory.bytes();
        match (self.place, memory.as_whole()) {
            (Place::Beside, Some(blob)) if bytes.len() >= BY_REFERENCE_FROM => {
                if let Some(position) = engine::place_blob(blob.clone()) {
                    self.out.uint(position);
                    return Ok(());
                }
            }
            (Place::Nowhere, _) if bytes.len() >= BY_REFERENCE_FROM => {
                return Ok(self.out.absent_bytes(bytes.len())?);
            }
            (Place::Later, Some(blob)) if bytes.len() >= BY_REFERENCE_FROM => {
                self.later.push(Source::Blob(blob.clone()));
                return Ok(self.out.absent_bytes(bytes.len())?);
            }
            _ => {}
        }
        Ok(self.out.bytes(bytes)?)
    }

    fn object(&mut self, proxy: &andiron::Proxy) -> Written {
        if matches!(self.place, Place::Later | Place::Within) {
            return Err(say("what others call can be sent in a call or its result, and cannot be stored"));
        }
        let position = engine::place(proxy).map_err(say)?;
        Ok(self.out.ext(REF, &position.to_be_bytes())?)
    }

    fn stream(&mut self, place: impl FnOnce() -> Result<(), String>) -> Written {
        if self.nil {
            return Err(say("a stream behind a None: they could not be told apart; put the stream first"));
        }
        place().map_err(say)?;
        self.out.nil();
        Ok(())
    }
}

/// What the package says why it makes nothing of a value. What was raised for other reasons goes on.
#[cold]
fn refused(py: Python<'_>, raised: PyErr) -> Fault {
    let is_why = raised.is_instance_of::<PyTypeError>(py)
        || raised.is_instance_of::<PyValueError>(py)
        || raised.is_instance_of::<PyAttributeError>(py);
    match is_why {
        true => say(raised.value(py).to_string()),
        false => raised.into(),
    }
}

/// All parts from the outside to the inside, or of many the first and the last ones.
#[cold]
fn shortened(path: &[String]) -> String {
    let parts = path.iter().rev().map(String::as_str);
    match path.len().checked_sub(MOST_PARTS) {
        None | Some(0) => parts.collect(),
        Some(_) => {
            parts.clone().take(MOST_PARTS / 2).chain(["..."]).chain(parts.skip(path.len() - 2)).collect()
        }
    }
}

/// A key as it is written, or its beginning.
#[cold]
fn shown(key: &Bound<'_, PyAny>) -> String {
    let Ok(text) = key.repr() else { return "..".to_owned() };
    let text = text.to_string_lossy();
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.into_owned(),
    }
}

fn length(count: usize) -> Result<u32, Fault> {
    u32::try_from(count).map_err(|_| say("it has more elements than can be sent"))
}

fn changed() -> Fault {
    say("it was changed by another thread meanwhile")
}
