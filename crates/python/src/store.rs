//! The store.

use std::sync::Mutex;

use andiron::engine::Message;
use andiron::{Change, Durability, Entry, Error, ErrorKind, Put};
use andiron_proto::wire::codecs;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::error::{of_kind, to_python};
use crate::hub::seconds;
use crate::pending::Pending;
use crate::remote::Remote;
use crate::{decode, encode, hooks};

/// The entries of one author.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Store(andiron::Store);

/// Value, version, timestamp, and whether the store was not asked.
type EntryTuple<'py> = (Bound<'py, PyAny>, u64, f64, bool);

impl Store {
    pub(crate) fn new(store: andiron::Store) -> Store {
        Store(store)
    }

    fn read(&self, py: Python<'_>, name: &str) -> PyResult<Option<Entry>> {
        match self.0.current(name) {
            Some(entry) => Ok(entry),
            None => py.detach(|| self.0.entry(name)).map_err(|error| to_python(py, &error)),
        }
    }
}

fn value<'py>(py: Python<'py>, entry: &Entry) -> PyResult<Bound<'py, PyAny>> {
    if entry.codec == codecs::NATIVE {
        return decode::from_blob(py, &entry.bytes);
    }
    let bytes = pyo3::types::PyBytes::new(py, &entry.bytes);
    hooks::hooks(py)?.foreign.bind(py).call1((entry.codec, bytes))
}

fn tuple<'py>(py: Python<'py>, entry: &Entry) -> PyResult<EntryTuple<'py>> {
    Ok((value(py, entry)?, entry.version, entry.timestamp, entry.cached))
}

fn durability(py: Python<'_>, name: Option<&str>) -> PyResult<Option<Durability>> {
    name.map(str::parse).transpose().map_err(|error: Error| to_python(py, &error))
}

#[pymethods]
impl Store {
    /// The value of this name. Raises `KeyError`.
    fn get<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        match self.read(py, name)? {
            Some(entry) => value(py, &entry),
            None => Err(PyKeyError::new_err(name.to_owned())),
        }
    }

    /// The value of this name, or the other one.
    fn get_or<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.read(py, name)? {
            Some(entry) => value(py, &entry),
            None => Ok(default),
        }
    }

    /// Value, version, timestamp and whether the store was not asked; or `None`.
    fn entry<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<EntryTuple<'py>>> {
        self.read(py, name)?.map(|entry| tuple(py, &entry)).transpose()
    }

    /// Has this be the object that is the store, and asks for what shows its writes, where that was not done: then this has to be awaited, and nothing later has to wait.
    fn look(&self, py: Python<'_>, remote: &Remote) -> PyResult<Option<Pending>> {
        let object = remote.proxy.clone();
        let begun = py.detach(|| self.0.look(object)).map_err(|error| to_python(py, &error))?;
        Ok(begun.map(|(looking, pending)| {
            Pending::new(pending, None, Some(Question::Board(self.0.clone(), looking)))
        }))
    }

    /// Begins to ask for an entry, whether it is known here or not; the result is what `entry` gives.
    fn start(&self, py: Python<'_>, name: String) -> PyResult<Pending> {
        let begun = py.detach(|| self.0.begin(&name));
        let (asking, pending) = begun.map_err(|error| to_python(py, &error))?;
        let question = Question::Entry(self.0.clone(), name, asking);
        Ok(Pending::new(pending, None, Some(question)))
    }

    /// The entry where it is known here to be current, in a tuple of one; else `None`.
    fn known<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<(Option<EntryTuple<'py>>,)>> {
        let Some(known) = self.0.current(name) else { return Ok(None) };
        Ok(Some((known.map(|entry| tuple(py, &entry)).transpose()?,)))
    }

    /// Whether there is such an entry.
    fn has(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        Ok(self.read(py, name)?.is_some())
    }

    /// Sets a value; gives its version.
    #[pyo3(signature = (name, value, *, persist=false, ttl=None, if_version=None, durability=None))]
    #[allow(clippy::too_many_arguments)] // as the arguments of `set` on the wire
    fn set(
        &self,
        py: Python<'_>,
        name: &str,
        value: &Bound<'_, PyAny>,
        persist: bool,
        ttl: Option<f64>,
        if_version: Option<u64>,
        durability: Option<&str>,
    ) -> PyResult<u64> {
        let mut put = Put::bytes(name, encode::to_bytes(value)?, codecs::NATIVE);
        if persist {
            put = put.persist();
        }
        if let Some(ttl) = ttl {
            if ttl.is_nan() || ttl <= 0.0 {
                return Err(of_kind(py, ErrorKind::BadArguments, "a ttl is more than 0 seconds"));
            }
            put = put.ttl(seconds(ttl));
        }
        if let Some(version) = if_version {
            put = put.if_version(version);
        }
        if let Some(durability) = self::durability(py, durability)? {
            put = put.durability(durability);
        }
        py.detach(|| self.0.set_with(put)).map_err(|error| to_python(py, &error))
    }

    /// Sets several values at once; gives their version.
    fn set_many(&self, py: Python<'_>, items: Vec<(String, Bound<'_, PyAny>)>) -> PyResult<u64> {
        let puts =
            items.iter().map(|(name, value)| Ok(Put::bytes(name, encode::to_bytes(value)?, codecs::NATIVE)));
        let puts: Vec<Put> = puts.collect::<PyResult<_>>()?;
        py.detach(|| self.0.set_many(puts)).map_err(|error| to_python(py, &error))
    }

    /// Takes an entry out and gives it back.
    #[pyo3(signature = (name, if_version=None))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        if_version: Option<u64>,
    ) -> PyResult<Option<EntryTuple<'py>>> {
        let deleted = py.detach(|| match if_version {
            None => self.0.delete(name),
            Some(version) => self.0.delete_if_version(name, version),
        });
        deleted.map_err(|error| to_python(py, &error))?.map(|entry| tuple(py, &entry)).transpose()
    }

    /// Adds to a whole number; gives what it is now.
    fn incr(&self, py: Python<'_>, name: &str, by: i64) -> PyResult<i64> {
        py.detach(|| self.0.incr(name, by)).map_err(|error| to_python(py, &error))
    }

    /// Has an entry outlive the server, or not any more; whether there is one.
    fn persist(&self, py: Python<'_>, name: &str, persist: bool) -> PyResult<bool> {
        py.detach(|| self.0.persist(name, persist)).map_err(|error| to_python(py, &error))
    }

    /// The names, sorted.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let names =
            py.detach(|| self.0.list().map(|row| row.map(|row| row.name)).collect::<Result<_, Error>>());
        names.map_err(|error| to_python(py, &error))
    }

    /// Removes the entries; how many there were.
    fn clear(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.0.clear()).map_err(|error| to_python(py, &error))
    }

    /// Changes of entries whose name fits.
    #[pyo3(signature = (pattern, present=true, since=None))]
    fn watch(&self, py: Python<'_>, pattern: &str, present: bool, since: Option<u64>) -> PyResult<Watch> {
        let watch = py.detach(|| match since {
            Some(version) => self.0.watch_since(pattern, false, version),
            None => self.0.watch_with(pattern, false, present),
        });
        let watch = watch.map_err(|error| to_python(py, &error))?;
        Ok(Watch(Mutex::new(Some(watch))))
    }
}

/// What the store was asked.
pub(crate) enum Question {
    /// For the entry of this name.
    Entry(andiron::Store, String, andiron::Asking),
    Board(andiron::Store, andiron::Looking),
}

impl Question {
    pub(crate) fn answered(self, py: Python<'_>, answer: Result<Message, Error>) -> PyResult<Py<PyAny>> {
        let entry = match self {
            Question::Entry(store, name, asking) => answer.and_then(|answer| store.finish(&name, asking, answer)),
            Question::Board(store, looking) => store.seen(looking, answer).map(|()| None),
        };
        match entry.map_err(|error| to_python(py, &error))? {
            None => Ok(py.None()),
            Some(entry) => Ok(tuple(py, &entry)?.into_pyobject(py)?.into_any().unbind()),
        }
    }
}

/// Changes as they come.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Watch(Mutex<Option<andiron::Watch>>);

/// Name, entry or `None`, version, how many changes were skipped, and from where it may be resumed.
type ChangeTuple<'py> = (String, Option<EntryTuple<'py>>, u64, u64, Option<u64>);

#[pymethods]
impl Watch {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<ChangeTuple<'py>>> {
        let taken = self.0.lock_py_attached(py).ok().and_then(|mut watch| watch.take());
        let Some(mut watch) = taken else { return Ok(None) };
        let (change, watch) = py.detach(move || (watch.next(), watch));
        let Some(change) = change else { return Ok(None) };
        let Change { name, entry, version, skipped, resume_from, .. } =
            change.map_err(|error| to_python(py, &error))?;
        if let Ok(mut place) = self.0.lock_py_attached(py) {
            *place = Some(watch);
        }
        let entry = entry.map(|entry| tuple(py, &entry)).transpose()?;
        Ok(Some((name, entry, version, skipped, resume_from)))
    }

    /// Ends it.
    fn close(&self, py: Python<'_>) {
        let watch = self.0.lock_py_attached(py).ok().and_then(|mut watch| watch.take());
        py.detach(|| drop(watch));
    }
}
