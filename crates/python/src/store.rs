//! The store.

use std::borrow::Cow;
use std::ops::Deref;

use andiron::engine::Message;
use andiron::{Change, Durability, Entry, Error, ErrorKind, Put};
use andiron_proto::wire::codecs;
use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::ending::detached;
use crate::error::{of_kind, to_python};
use crate::file::PythonFile;
use crate::flow::Flow;
use crate::hub::seconds;
use crate::options::time_left;
use crate::pending::Pending;
use crate::remote::Remote;
use crate::template::Template;
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

    /// It, for a question that is asked now: a block may say how long that may take.
    fn now(&self, py: Python<'_>) -> PyResult<Cow<'_, andiron::Store>> {
        Ok(match time_left(py)? {
            None => Cow::Borrowed(&self.0),
            Some(left) => Cow::Owned(self.0.with_timeout(left)),
        })
    }

    /// The value of this name, if there is one: what was made of it before, where it is current.
    fn value<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(kept) = self.0.kept(name) else {
            let store = self.now(py)?;
            let entry = detached(py, || store.entry(name)).map_err(|error| to_python(py, &error))?;
            return entry.map(|entry| value(py, &entry)).transpose();
        };
        if let Some(made) = kept.made::<Template>() {
            return made.value(py).map(Some);
        }
        let Some(entry) = kept.entry() else { return Ok(None) };
        let (template, value) = Template::of(value(py, entry)?, entry.bytes.len())?;
        if let Some(template) = template {
            kept.make(template);
        }
        Ok(Some(value))
    }

    fn read(&self, py: Python<'_>, name: &str) -> PyResult<Option<Entry>> {
        match self.0.current(name) {
            Some(entry) => Ok(entry),
            None => {
                let store = self.now(py)?;
                detached(py, || store.entry(name)).map_err(|error| to_python(py, &error))
            }
        }
    }
}

/// The name of an entry, a snapshot or an author: a str that is text.
pub(crate) struct Name<'a>(&'a str);

impl Deref for Name<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Name<'a> {
    type Error = PyErr;

    fn extract(name: Borrowed<'a, 'py, PyAny>) -> PyResult<Name<'a>> {
        let text = <&'a str as FromPyObject<'a, 'py>>::extract(name).map_err(|_| {
            if name.is_instance_of::<PyString>() {
                let text = "a name in the store is text, and this one holds half of a surrogate pair";
                return of_kind(name.py(), ErrorKind::Encoding, text);
            }
            PyTypeError::new_err(format!("a name in the store is a str, not {}", kind_of(&name)))
        })?;
        Ok(Name(text))
    }
}

fn kind_of(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string())
}

fn put(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Put> {
    Ok(Put::bytes(name, encode::to_blob(value, || format!("the value of `{name}`"))?, codecs::NATIVE))
}

fn value<'py>(py: Python<'py>, entry: &Entry) -> PyResult<Bound<'py, PyAny>> {
    if entry.codec == codecs::NATIVE {
        return decode::from_blob(py, &entry.bytes);
    }
    let bytes = PyBytes::new(py, &entry.bytes);
    hooks::hooks(py)?.foreign.bind(py).call1((entry.codec, bytes))
}

fn tuple<'py>(py: Python<'py>, entry: &Entry) -> PyResult<EntryTuple<'py>> {
    Ok((value(py, entry)?, entry.version, entry.timestamp, entry.cached))
}

/// The same of one that is among others, or that is in the store no more: then its bytes come with the error where it cannot be read.
fn named<'py>(py: Python<'py>, name: &str, entry: &Entry, taken: bool) -> PyResult<EntryTuple<'py>> {
    tuple(py, entry).map_err(|raised| {
        let data = taken.then(|| PyBytes::new(py, &entry.bytes));
        let unreadable = hooks::hooks(py)
            .and_then(|hooks| hooks.unreadable.bind(py).call1((raised.value(py), name, data)));
        unreadable.map_or_else(|failed| failed, PyErr::from_value)
    })
}

fn durability(py: Python<'_>, name: Option<&str>) -> PyResult<Option<Durability>> {
    name.map(str::parse).transpose().map_err(|error: Error| to_python(py, &error))
}

#[pymethods]
impl Store {
    /// The value of this name. Raises `KeyError`.
    fn get<'py>(&self, py: Python<'py>, name: Name<'_>) -> PyResult<Bound<'py, PyAny>> {
        self.value(py, &name)?.ok_or_else(|| PyKeyError::new_err(name.0.to_owned()))
    }

    /// The value of this name, or the other one.
    fn get_or<'py>(
        &self,
        py: Python<'py>,
        name: Name<'_>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.value(py, &name)?.unwrap_or(default))
    }

    /// Value, version, timestamp and whether the store was not asked; or `None`.
    fn entry<'py>(&self, py: Python<'py>, name: Name<'_>) -> PyResult<Option<EntryTuple<'py>>> {
        self.read(py, &name)?.map(|entry| tuple(py, &entry)).transpose()
    }

    /// Has this be the object that is the store, and asks for what shows its writes, where that was not done: then this has to be awaited, and nothing later has to wait.
    fn look(&self, py: Python<'_>, remote: &Remote) -> PyResult<Option<Pending>> {
        let object = remote.proxy.clone();
        let store = self.now(py)?;
        let begun = detached(py, || store.look(object)).map_err(|error| to_python(py, &error))?;
        Ok(begun.map(|(looking, pending)| {
            Pending::new(pending, None, None, Some(Question::Board(self.0.clone(), looking)))
        }))
    }

    /// Begins to ask for an entry, whether it is known here or not; the result is what `entry` gives.
    fn start(&self, py: Python<'_>, name: Name<'_>) -> PyResult<Pending> {
        let store = self.now(py)?;
        let begun = detached(py, || store.begin(&name));
        let (asking, pending) = begun.map_err(|error| to_python(py, &error))?;
        let question = Question::Entry(self.0.clone(), name.0.to_owned(), asking);
        Ok(Pending::new(pending, None, None, Some(question)))
    }

    /// The entry where it is known here to be current, in a tuple of one; else `None`.
    fn known<'py>(&self, py: Python<'py>, name: Name<'_>) -> PyResult<Option<(Option<EntryTuple<'py>>,)>> {
        let Some(known) = self.0.current(&name) else { return Ok(None) };
        Ok(Some((known.map(|entry| tuple(py, &entry)).transpose()?,)))
    }

    /// Whether there is such an entry.
    fn has(&self, py: Python<'_>, name: Name<'_>) -> PyResult<bool> {
        Ok(self.read(py, &name)?.is_some())
    }

    /// Sets a value; gives its version.
    #[pyo3(signature = (name, value, *, persist=false, ttl=None, if_version=None, durability=None))]
    #[allow(clippy::too_many_arguments)] // as the arguments of `set` on the wire
    fn set(
        &self,
        py: Python<'_>,
        name: Name<'_>,
        value: &Bound<'_, PyAny>,
        persist: bool,
        ttl: Option<f64>,
        if_version: Option<u64>,
        durability: Option<&str>,
    ) -> PyResult<u64> {
        let mut put = put(&name, value)?;
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
        let store = self.now(py)?;
        detached(py, || store.set_with(put)).map_err(|error| to_python(py, &error))
    }

    /// Sets the value of an entry that is there, and leaves it as it is otherwise; gives its version.
    fn replace(
        &self,
        py: Python<'_>,
        name: Name<'_>,
        value: &Bound<'_, PyAny>,
        if_version: u64,
    ) -> PyResult<u64> {
        let put = put(&name, value)?.if_version(if_version);
        let store = self.now(py)?;
        detached(py, || store.replace(put)).map_err(|error| to_python(py, &error))
    }

    /// Sets a value where there is none; gives the entry that is there.
    fn set_default<'py>(
        &self,
        py: Python<'py>,
        name: Name<'_>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<EntryTuple<'py>>> {
        let put = put(&name, value)?;
        let store = self.now(py)?;
        let found = detached(py, || store.set_default(put)).map_err(|error| to_python(py, &error))?;
        found.map(|entry| tuple(py, &entry)).transpose()
    }

    /// Sets several values at once; gives their version.
    fn set_many(&self, py: Python<'_>, items: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>) -> PyResult<u64> {
        let puts = items.iter().map(|(name, value)| put(&name.extract::<Name<'_>>()?, value));
        let puts: Vec<Put> = puts.collect::<PyResult<_>>()?;
        let store = self.now(py)?;
        detached(py, || store.set_many(puts)).map_err(|error| to_python(py, &error))
    }

    /// Takes an entry out and gives it back.
    #[pyo3(signature = (name, if_version=None))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        name: Name<'_>,
        if_version: Option<u64>,
    ) -> PyResult<Option<EntryTuple<'py>>> {
        let store = self.now(py)?;
        let deleted = detached(py, || match if_version {
            None => store.delete(&name),
            Some(version) => store.delete_if_version(&name, version),
        });
        let deleted = deleted.map_err(|error| to_python(py, &error))?;
        deleted.map(|entry| named(py, &name, &entry, true)).transpose()
    }

    /// Adds to a whole number; gives what it is now.
    fn incr(&self, py: Python<'_>, name: Name<'_>, by: &Bound<'_, PyAny>) -> PyResult<i64> {
        let by = by.extract::<i64>().map_err(|error| match error.is_instance_of::<PyOverflowError>(py) {
            true => {
                let text = "counting goes by 64 bits: use `change` to add more than that";
                of_kind(py, ErrorKind::BadArguments, text)
            }
            false => error,
        })?;
        let store = self.now(py)?;
        detached(py, || store.incr(&name, by)).map_err(|error| to_python(py, &error))
    }

    /// Has an entry outlive the server, or not any more; whether there is one.
    fn persist(&self, py: Python<'_>, name: Name<'_>, persist: bool) -> PyResult<bool> {
        let store = self.now(py)?;
        detached(py, || store.persist(&name, persist)).map_err(|error| to_python(py, &error))
    }

    /// How many entries there are.
    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        let store = self.now(py)?;
        detached(py, || store.count()).map_err(|error| to_python(py, &error))
    }

    /// The names as they are at one moment, sorted.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let store = self.now(py)?;
        let names = detached(py, || store.names()?.collect::<Result<_, Error>>());
        names.map_err(|error| to_python(py, &error))
    }

    /// All entries as they are at one moment, sorted by name.
    fn entries(&self, py: Python<'_>) -> PyResult<Entries> {
        let store = self.now(py)?;
        let entries = detached(py, || store.entries()).map_err(|error| to_python(py, &error))?;
        Ok(Entries(Flow::new(Box::new(entries))))
    }

    /// Takes out the entry whose name comes first.
    fn delete_first<'py>(&self, py: Python<'py>) -> PyResult<Option<(String, EntryTuple<'py>)>> {
        let store = self.now(py)?;
        let deleted = detached(py, || store.delete_first()).map_err(|error| to_python(py, &error))?;
        deleted
            .map(|(name, entry)| {
                let entry = named(py, &name, &entry, true)?;
                Ok((name, entry))
            })
            .transpose()
    }

    /// Has the server keep the entries as they are, under this name; how many there were.
    fn save(&self, py: Python<'_>, snapshot: Name<'_>) -> PyResult<u64> {
        let store = self.now(py)?;
        detached(py, || store.save(&snapshot)).map_err(|error| to_python(py, &error))
    }

    /// Sets entries as a snapshot has them; how many there were.
    fn load(&self, py: Python<'_>, snapshot: Name<'_>) -> PyResult<u64> {
        let store = self.now(py)?;
        detached(py, || store.load(&snapshot)).map_err(|error| to_python(py, &error))
    }

    /// The snapshots: name, when it was saved, entries and bytes.
    fn snapshots(&self, py: Python<'_>) -> PyResult<Vec<(String, f64, u64, u64)>> {
        let store = self.now(py)?;
        let snapshots = detached(py, || store.snapshots()).map_err(|error| to_python(py, &error))?;
        let rows = snapshots.into_iter().map(|row| (row.name, row.timestamp, row.entries, row.bytes));
        Ok(rows.collect())
    }

    /// Deletes a snapshot.
    fn delete_snapshot(&self, py: Python<'_>, snapshot: Name<'_>) -> PyResult<()> {
        let store = self.now(py)?;
        detached(py, || store.delete_snapshot(&snapshot)).map_err(|error| to_python(py, &error))
    }

    /// Writes all that is persistent, of all authors, to a file; how many bytes that were.
    fn backup(&self, py: Python<'_>, file: Py<PyAny>) -> PyResult<u64> {
        let mut file = PythonFile::new(file);
        let store = self.now(py)?;
        let written = detached(py, || store.backup(&mut file));
        file.outcome(py, written)
    }

    /// Has all that is persistent be as a file says that it was; how many entries that were.
    fn restore(&self, py: Python<'_>, file: Py<PyAny>) -> PyResult<u64> {
        let file = PythonFile::new(file);
        let store = self.now(py)?;
        let restored = detached(py, || store.restore(file.clone()));
        file.outcome(py, restored)
    }

    /// Entries, bytes, authors, hits, questions and evicted of the whole store.
    fn stats(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, u64, u64, u64)> {
        let store = self.now(py)?;
        let stats = detached(py, || store.stats()).map_err(|error| to_python(py, &error))?;
        let andiron::Stats { entries, bytes, authors, hits, questions, evicted } = stats;
        Ok((entries, bytes, authors, hits, questions, evicted))
    }

    /// Removes the entries; how many there were.
    fn clear(&self, py: Python<'_>) -> PyResult<u64> {
        let store = self.now(py)?;
        detached(py, || store.clear()).map_err(|error| to_python(py, &error))
    }

    /// Changes of entries whose name fits.
    #[pyo3(signature = (pattern, present=true, since=None))]
    fn watch(&self, py: Python<'_>, pattern: Name<'_>, present: bool, since: Option<u64>) -> PyResult<Watch> {
        let store = self.now(py)?;
        let watch = detached(py, || match since {
            Some(version) => store.watch_since(&pattern, false, version),
            None => store.watch_with(&pattern, false, present),
        });
        let watch = watch.map_err(|error| to_python(py, &error))?;
        Ok(Watch(Flow::new(watch)))
    }
}

/// Entries with their names as they come.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Entries(Flow<Listed>);

type Listed = Box<dyn Iterator<Item = Result<(String, Entry), Error>> + Send>;

#[pymethods]
impl Entries {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<(String, EntryTuple<'py>)>> {
        let Some(mut entries) = self.0.take(py)? else { return Ok(None) };
        let (next, entries) = detached(py, move || (entries.next(), entries));
        let Some(Ok((name, entry))) = next else {
            self.0.close(py);
            return next.transpose().map(|_| None).map_err(|error| to_python(py, &error));
        };
        self.0.put_back(py, entries);
        let entry = named(py, &name, &entry, false)?;
        Ok(Some((name, entry)))
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
            Question::Entry(store, name, asking) => {
                answer.and_then(|answer| store.finish(&name, asking, answer))
            }
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
pub(crate) struct Watch(Flow<andiron::Watch>);

/// Name, entry or `None`, version, how many changes were skipped, and from where it may be resumed.
type ChangeTuple<'py> = (String, Option<EntryTuple<'py>>, u64, u64, Option<u64>);

#[pymethods]
impl Watch {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<ChangeTuple<'py>>> {
        let Some(mut watch) = self.0.take(py)? else { return Ok(None) };
        let (change, watch) = detached(py, move || (watch.next(), watch));
        let Some(Ok(change)) = change else {
            self.0.close(py);
            return change.transpose().map(|_| None).map_err(|error| to_python(py, &error));
        };
        self.0.put_back(py, watch);
        let Change { name, entry, version, skipped, resume_from, .. } = change;
        let entry = entry.map(|entry| named(py, &name, &entry, false)).transpose()?;
        Ok(Some((name, entry, version, skipped, resume_from)))
    }

    /// Ends it.
    fn close(&self, py: Python<'_>) {
        self.0.close(py);
    }
}
