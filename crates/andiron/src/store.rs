//! The store as its users see it.

use std::sync::Arc;
use std::time::Duration;

use andiron_proto::codec;
use andiron_proto::wire::codecs;
use serde::de::DeserializeOwned;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use crate::sync::lock;
use crate::{Error, ErrorKind, Hub, Proxy, Result, Stream, StreamIter};

/// The name of the object that is the store.
pub(crate) const STORE: &str = "store";
/// Whose entries are meant where nobody chose an author.
pub(crate) const DEFAULT_AUTHOR: &str = "default";

/// Values by author and name that all processes at a server share. Made by [`Hub::store`]; a clone is the same.
///
/// All that is done here concerns the entries of one author, which is `default` until [`author`](Store::author) chooses another;
/// only [`list_all`](Store::list_all) and [`clear_all`](Store::clear_all) go over those of everyone.
///
/// ```no_run
/// let store = andiron::connect()?.store();
/// store.set("x", &20)?;
/// assert_eq!(store.get::<i64>("x")?, Some(20));
/// store.author("weather").set("rain", &vec![0.5, 1.5])?;
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    hub: Hub,
    /// Found at the first use.
    object: Arc<std::sync::Mutex<Option<Proxy>>>,
    author: Arc<str>,
}

/// A stored value as it is kept: encoded, with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The encoded value.
    pub bytes: Vec<u8>,
    /// How it is encoded: 1 the native codec, 2 JSON, 3 bytes as they are.
    pub codec: u8,
    /// The version of the write that set it; a later write has a larger one.
    pub version: u64,
    /// When it was set, in seconds since the Unix epoch.
    pub timestamp: f64,
}

impl Entry {
    /// The value.
    ///
    /// # Errors
    /// `Encoding` where it is of another type, or not in the native codec.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        if self.codec != codecs::NATIVE {
            let text = format!("the value is in codec {}, not in the native one; read its bytes", self.codec);
            return Err(Error::new(ErrorKind::Encoding, text));
        }
        codec::from_slice(&self.bytes).map_err(|error| {
            Error::new(ErrorKind::Encoding, format!("the value is of another type: {error}"))
                .with_source(error)
        })
    }
}

/// A value that is to be set, and how: for [`Store::set_with`] and [`Store::set_many`].
///
/// ```no_run
/// use andiron::Put;
/// use std::time::Duration;
///
/// let store = andiron::connect()?.store();
/// let version = store.set_with(Put::new("session", &"abc")?.ttl(Duration::from_secs(300)))?;
/// store.set_many([Put::new("x", &1)?, Put::new("y", &2)?, Put::new("session", &"def")?.if_version(version)])?;
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    name: String,
    bytes: Vec<u8>,
    codec: u8,
    author: Option<String>,
    ttl: Option<Duration>,
    if_version: Option<u64>,
}

impl Put {
    /// This value, in any case and for good.
    ///
    /// # Errors
    /// `Encoding` for what cannot be encoded.
    pub fn new(name: &str, value: &(impl Serialize + ?Sized)) -> Result<Put> {
        Ok(Put::bytes(name, encode(value)?, codecs::NATIVE))
    }

    /// A value that is encoded already, or bytes as they are (`codec` 3).
    pub fn bytes(name: &str, bytes: Vec<u8>, codec: u8) -> Put {
        Put { name: name.to_owned(), bytes, codec, author: None, ttl: None, if_version: None }
    }

    /// As an entry of another author than that of the [`Store`] that sets it.
    pub fn author(self, author: &str) -> Put {
        Put { author: Some(author.to_owned()), ..self }
    }

    /// After this time the entry is gone. Of less than a microsecond one is made.
    pub fn ttl(self, ttl: Duration) -> Put {
        Put { ttl: Some(ttl), ..self }
    }

    /// Only if the entry has this version; 0: only if there is none. Otherwise it fails with the kind `Conflict`.
    pub fn if_version(self, version: u64) -> Put {
        Put { if_version: Some(version), ..self }
    }

    /// As it travels, from a store of this author.
    pub(crate) fn wanted<'p>(&'p self, author: &'p str) -> Wanted<'p> {
        Wanted { put: self, author: self.author.as_deref().unwrap_or(author) }
    }
}

/// The arguments of `set`, which are also an entry of `set_many`: a plain array.
pub(crate) struct Wanted<'p> {
    put: &'p Put,
    author: &'p str,
}

impl Serialize for Wanted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Put { name, bytes, codec, ttl, if_version, .. } = self.put;
        let micros = |ttl: Duration| u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX).max(1);
        let mut array = serializer.serialize_seq(Some(6))?;
        array.serialize_element(name)?;
        array.serialize_element(&crate::__private::Bytes(bytes))?;
        array.serialize_element(codec)?;
        array.serialize_element(self.author)?;
        array.serialize_element(&ttl.map(micros))?;
        array.serialize_element(if_version)?;
        array.end()
    }
}

/// What a store holds, and what it was asked; see [`Store::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Stats {
    /// Entries.
    pub entries: u64,
    /// Bytes that they count for, of those that the store may hold.
    pub bytes: u64,
    /// Authors who have entries.
    pub authors: u64,
    /// Reads that clients answered from their own memory, as far as they told.
    pub hits: u64,
    /// Reads that came to the store.
    pub questions: u64,
}

impl Stats {
    pub(crate) fn of((entries, bytes, authors, hits, questions): (u64, u64, u64, u64, u64)) -> Stats {
        Stats { entries, bytes, authors, hits, questions }
    }
}

/// What [`Store::get_if_changed`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// The known version is current.
    No,
    /// There is no such entry.
    Missing,
    /// A newer one.
    Yes(Entry),
}

/// An entry in a listing.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Listed {
    /// Whose entry it is.
    pub author: String,
    /// Its name.
    pub name: String,
    /// The version of the write that set it.
    pub version: u64,
    /// When it was set, in seconds since the Unix epoch.
    pub timestamp: f64,
    /// Length of the encoded value in bytes.
    pub size: u64,
}

/// A change of an entry, or an entry that was there when a [watch](Store::watch) began.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(from = "Told")]
pub struct Change {
    /// Whose entry it is.
    pub author: String,
    /// Its name.
    pub name: String,
    /// What it is now; `None`: it was removed.
    pub entry: Option<Entry>,
    /// The version of the write or the removal.
    pub version: u64,
    /// So many changes of the same entry came before this one and are told by it, because they were not read in time.
    pub skipped: u64,
}

/// A change as it travels: state, author, name, version, skipped, and of an entry that is there timestamp, codec and value.
#[derive(serde::Deserialize)]
pub(crate) struct Told(
    u8,
    String,
    String,
    u64,
    u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Blob,
);

impl From<Told> for Change {
    fn from(row: Told) -> Change {
        let Told(state, author, name, version, skipped, timestamp, codec, Blob(bytes)) = row;
        let entry = (state == Answer::VALUE).then_some(Entry { bytes, codec, version, timestamp });
        Change { author, name, entry, version, skipped }
    }
}

/// The answer to a read as it travels: see `spec/PROTOCOL.md`, section 10.
#[derive(serde::Deserialize)]
pub(crate) struct Answer(
    u8,
    u64,
    Option<u32>,
    u64,
    #[serde(default)] u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Blob,
);

impl Answer {
    const VALUE: u8 = 1;
    const NOT_MODIFIED: u8 = 2;

    pub(crate) fn entry(self) -> Option<Entry> {
        let Answer(state, version, _slot, _stamp, _ttl, timestamp, codec, Blob(bytes)) = self;
        (state == Answer::VALUE).then_some(Entry { bytes, codec, version, timestamp })
    }

    pub(crate) fn changed(self) -> Changed {
        match self.0 {
            Answer::NOT_MODIFIED => Changed::No,
            _ => self.entry().map_or(Changed::Missing, Changed::Yes),
        }
    }
}

/// Bytes that are read as such.
#[derive(Default)]
struct Blob(Vec<u8>);

impl<'de> serde::Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

impl Store {
    pub(crate) fn of(hub: Hub) -> Store {
        Store { hub, object: Arc::default(), author: DEFAULT_AUTHOR.into() }
    }

    /// The entries of another author. Without this the author is `default`.
    pub fn author(&self, author: &str) -> Store {
        Store { author: author.into(), ..self.clone() }
    }

    /// Sets a value. Gives its version.
    ///
    /// # Errors
    /// `Encoding` for what cannot be encoded, `TooLarge` or `Quota` where the store refuses it, or why the store could not be reached.
    pub fn set(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<u64> {
        self.set_bytes(name, &encode(value)?, codecs::NATIVE)
    }

    /// Sets a value that is encoded already, or bytes as they are (`codec` 3).
    ///
    /// # Errors
    /// As for [`set`](Store::set).
    pub fn set_bytes(&self, name: &str, bytes: &[u8], codec: u8) -> Result<u64> {
        let bytes = crate::__private::Bytes(bytes);
        let (version, _timestamp): (u64, f64) = self.call("set", &(name, bytes, codec, &*self.author))?;
        Ok(version)
    }

    /// Sets a value with a time to live, or only over a certain version. Gives its version.
    ///
    /// # Errors
    /// `Conflict` where the entry has not the version that it was to have, and as for [`set`](Store::set).
    pub fn set_with(&self, put: Put) -> Result<u64> {
        let (version, _timestamp): (u64, f64) = self.call("set", &put.wanted(&self.author))?;
        Ok(version)
    }

    /// Sets several values at once: all of them, under one version, or none. Gives that version.
    ///
    /// # Errors
    /// `BadArguments` where an entry stands among them twice, and as for [`set_with`](Store::set_with).
    pub fn set_many(&self, puts: impl IntoIterator<Item = Put>) -> Result<u64> {
        let puts: Vec<Put> = puts.into_iter().collect();
        let entries: Vec<_> = puts.iter().map(|put| put.wanted(&self.author)).collect();
        let (version, _timestamp): (u64, f64) = self.call("set_many", &(entries,))?;
        Ok(version)
    }

    /// Adds to a whole number; where there is no entry, to 0. Gives what it is now. An entry that expires expires when it did before.
    ///
    /// # Errors
    /// `Encoding` where the entry is no whole number, `BadArguments` where the sum is beyond 64 bits, and as for [`set`](Store::set).
    pub fn incr(&self, name: &str, by: i64) -> Result<i64> {
        let (_version, _timestamp, value): (u64, f64, i64) = self.call("incr", &(name, by, &*self.author))?;
        Ok(value)
    }

    /// What the store holds, of all authors, and what it was asked.
    ///
    /// # Errors
    /// `Denied` to who may use the entries of some authors only, or why the store could not be reached.
    pub fn stats(&self) -> Result<Stats> {
        self.call("stats", &()).map(Stats::of)
    }

    /// The value of this name; `None` where there is none.
    ///
    /// # Errors
    /// `Encoding` where it is of another type, or why the store could not be reached.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.entry(name)?.map(|entry| entry.value()).transpose()
    }

    /// The entry of this name; `None` where there is none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let answer: Answer = self.call("get", &(name, 0u64, &*self.author))?;
        Ok(answer.entry())
    }

    /// The entry of this name unless it still has this version, which the caller has: then nothing is sent.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn get_if_changed(&self, name: &str, version: u64) -> Result<Changed> {
        let answer: Answer = self.call("get", &(name, version, &*self.author))?;
        Ok(answer.changed())
    }

    /// Takes an entry out and gives it back; `None` where there was none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn delete(&self, name: &str) -> Result<Option<Entry>> {
        let answer: Answer = self.call("delete", &(name, &*self.author))?;
        Ok(answer.entry())
    }

    /// Takes an entry out if it has this version, and gives it back.
    ///
    /// # Errors
    /// `Conflict` where it has another or is missing, or why the store could not be reached.
    pub fn delete_if_version(&self, name: &str, version: u64) -> Result<Option<Entry>> {
        let answer: Answer = self.call("delete", &(name, &*self.author, version))?;
        Ok(answer.entry())
    }

    /// The entries of this author, sorted by name. They are asked for in pages as the iterator goes on.
    pub fn list(&self) -> impl Iterator<Item = Result<Listed>> + use<> {
        self.pages(Some(self.author.clone()))
    }

    /// The entries of all authors, sorted by author and name; otherwise as [`list`](Store::list).
    pub fn list_all(&self) -> impl Iterator<Item = Result<Listed>> + use<> {
        self.pages(None)
    }

    fn pages(&self, author: Option<Arc<str>>) -> Pages {
        Pages { store: self.clone(), author, page: Vec::new().into_iter(), after: None, more: true }
    }

    /// Tells of the entries of this author whose name fits `pattern`, in which `*` stands for any characters, `?` for one, and a character
    /// behind `\` for itself: first those that are there, then each that is set or removed, as long as the iterator lives.
    ///
    /// Nobody waits for a slow reader. Of an entry that changed several times before it was read the latest state comes, with the number of
    /// changes that were [skipped](Change::skipped); with changes of more than 65,536 entries unread the watch ends with the kind `Overloaded`.
    /// Over a connection that [retries](crate::Connector::retry) the watch begins anew when a connection was lost, with the entries that are
    /// there then, so that no value is missed; what was removed meanwhile it does not tell.
    ///
    /// ```no_run
    /// let store = andiron::connect()?.store();
    /// for change in store.watch("room *")? {
    ///     let change = change?;
    ///     println!("{} is {:?}", change.name, change.entry.map(|entry| entry.bytes));
    /// }
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn watch(&self, pattern: &str) -> Result<Watch> {
        self.watch_from(pattern, Some(self.author.clone()), true)
    }

    /// As [`watch`](Store::watch): with `all` of the entries of all authors; without `present` only of what changes from now on.
    ///
    /// # Errors
    /// As there.
    pub fn watch_with(&self, pattern: &str, all: bool, present: bool) -> Result<Watch> {
        self.watch_from(pattern, (!all).then(|| self.author.clone()), present)
    }

    fn watch_from(&self, pattern: &str, author: Option<Arc<str>>, present: bool) -> Result<Watch> {
        let rows: Stream<Change> = self.call("watch", &(pattern, author.as_deref(), present))?;
        let store = self.clone();
        Ok(Watch { store, author, pattern: pattern.to_owned(), rows: Some(rows.into_iter()) })
    }

    /// Removes the entries of this author. Gives their number.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn clear(&self) -> Result<u64> {
        self.call("clear", &(&*self.author,))
    }

    /// Removes the entries of all authors. Gives their number.
    ///
    /// # Errors
    /// As for [`clear`](Store::clear).
    pub fn clear_all(&self) -> Result<u64> {
        self.call("clear", &(None::<&str>,))
    }

    fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        let known = lock(&self.object).clone();
        let object = match known {
            Some(object) => object,
            None => {
                let found: Proxy = self.hub.object(STORE).map_err(no_store)?;
                lock(&self.object).insert(found).clone()
            }
        };
        object.call(method, args)
    }
}

pub(crate) fn encode(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
    codec::to_vec(value).map_err(|error| {
        Error::new(ErrorKind::Encoding, format!("the value cannot be encoded: {error}")).with_source(error)
    })
}

/// Why the object that is the store could not be found.
pub(crate) fn no_store(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NoObject => {
            let text = "this server has no store; a daemon (`andiron serve`) has one";
            Error::new(ErrorKind::Unsupported, text)
        }
        _ => error,
    }
}

/// See [`Store::watch`]. Ends behind the first error.
pub struct Watch {
    store: Store,
    author: Option<Arc<str>>,
    pattern: String,
    rows: Option<StreamIter<Change>>,
}

impl Watch {
    /// The same watch over the next connection, where this one was lost and the hub retries.
    fn begin_anew(&mut self, lost: &Error) -> Option<Result<()>> {
        let is_lost = matches!(lost.kind(), ErrorKind::Unknown | ErrorKind::Unavailable);
        if !is_lost || !self.store.hub.retries() {
            return None;
        }
        let anew = self.store.watch_from(&self.pattern, self.author.clone(), true);
        Some(anew.map(|watch| self.rows = watch.rows))
    }
}

impl Iterator for Watch {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Result<Change>> {
        loop {
            match self.rows.as_mut()?.next() {
                Some(Ok(change)) => return Some(Ok(change)),
                Some(Err(error)) => match self.begin_anew(&error) {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        self.rows = None;
                        return Some(Err(error));
                    }
                    None => {
                        self.rows = None;
                        return Some(Err(error.during("watch")));
                    }
                },
                None => {
                    self.rows = None;
                    return None;
                }
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({})", self.pattern)
    }
}

type Row = (String, String, u64, f64, u64);

struct Pages {
    store: Store,
    /// `None`: all of them.
    author: Option<Arc<str>>,
    page: std::vec::IntoIter<Row>,
    after: Option<(String, String)>,
    more: bool,
}

impl Iterator for Pages {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((author, name, version, timestamp, size)) = self.page.next() {
                self.after = Some((author.clone(), name.clone()));
                return Some(Ok(Listed { author, name, version, timestamp, size }));
            }
            if !self.more {
                return None;
            }
            let page: Result<(bool, Vec<Row>)> =
                self.store.call("list", &(self.author.as_deref(), &self.after));
            match page {
                Ok((more, rows)) => {
                    self.more = more && !rows.is_empty();
                    self.page = rows.into_iter();
                }
                Err(error) => {
                    self.more = false;
                    return Some(Err(error));
                }
            }
        }
    }
}
