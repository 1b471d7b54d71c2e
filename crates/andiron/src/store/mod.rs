//! The store as its users see it.

mod archive;
mod cache;
mod cell;
mod entry;
mod kept;
mod list;
mod put;
mod watch;
pub(crate) mod whole;
pub(crate) mod wire;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use andiron_proto::codec;
use andiron_proto::wire::codecs;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::archive::Snapshot;
pub(crate) use self::cache::{Ask, Cache, Cached, DEFAULT_LIMIT, Key, Look, Source};
#[cfg(feature = "tokio")]
pub(crate) use self::cell::Held;
pub use self::cell::StoreCell;
pub use self::entry::{Change, Changed, Entry, Listed, Stats};
pub use self::kept::Kept;
use self::list::Pages;
pub use self::put::{Durability, Put};
use self::watch::Beginning;
pub use self::watch::Watch;
use self::wire::{Answer, Open};
use crate::blob::{BY_REFERENCE_FROM, PassedDescriptor};
use crate::engine::Message;
use crate::link::Link;
use crate::sync::lock;
use crate::{Blob, Error, ErrorKind, Hub, Pending, Proxy, Result, Stream, context};

/// The name of the object that is the store.
pub(crate) const STORE: &str = "store";
/// Whose entries are meant where nobody chose an author.
pub(crate) const DEFAULT_AUTHOR: &str = "default";

/// Values by author and name that all processes at a server share. Made by [`Hub::store`]; a clone is the same.
///
/// All that is done here concerns the entries of one author, which is `default` until [`author`](Store::author) chooses another;
/// only [`list_all`](Store::list_all) and [`clear_all`](Store::clear_all) go over those of everyone.
///
/// What was read is kept, up to a [limit](crate::Connector::cache), and read again without a message as long as it is current: a daemon on this
/// machine shows by shared memory which entries were written, so such a read takes as long as a look at memory and never gives anything old. Over a network each
/// read asks whether what is here is current; [`max_staleness`](Store::max_staleness) can spare that.
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
    common: Arc<Common>,
    author: Arc<str>,
    max_staleness: Option<Duration>,
    timeout: Option<Duration>,
}

/// What all handles of the store of one hub share. Made at its first use: many hubs never ask for it.
pub(crate) struct Common {
    pub(crate) object: Mutex<Option<Proxy>>,
    limit: usize,
    cache: OnceLock<Cache>,
}

impl Common {
    /// With so many bytes for what was read.
    pub(crate) fn new(limit: usize) -> Common {
        Common { object: Mutex::default(), limit, cache: OnceLock::new() }
    }

    pub(crate) fn cache(&self) -> &Cache {
        self.cache.get_or_init(|| Cache::new(self.limit))
    }
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Common")
    }
}

/// A question that was sent; see [`Store::begin`].
#[doc(hidden)]
pub struct Asking {
    ask: Ask,
    source: Option<Arc<Source>>,
}

/// A question for the board of a store; see [`Store::look`].
#[doc(hidden)]
pub struct Looking(Arc<Link>);

impl Store {
    pub(crate) fn of(hub: Hub) -> Store {
        let common = hub.common().clone();
        Store { hub, common, author: DEFAULT_AUTHOR.into(), max_staleness: None, timeout: None }
    }

    /// The entries of another author. Without this the author is `default`.
    pub fn author(&self, author: &str) -> Store {
        Store { author: author.into(), ..self.clone() }
    }

    /// The same entries, of which what was read may be given out for so long without a question, counted from when the store was asked last. It
    /// may be old by then, by no more than this, and own writes of this hub are always seen. For where every read would be a question: over a network.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let hub = andiron::Hub::connect("tls://player.example.org")?;
    /// let store = hub.store().max_staleness(Duration::from_millis(200));
    /// # Ok::<(), andiron::Error>(())
    /// ```
    pub fn max_staleness(&self, longest: Duration) -> Store {
        Store { max_staleness: Some(longest), ..self.clone() }
    }

    /// The same entries with a limit to the time of each question, as [`Proxy::with_timeout`] has it for calls. What comes of a watch is waited for without one.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let store = andiron::connect()?.store().with_timeout(Duration::from_secs(1));
    /// # Ok::<(), andiron::Error>(())
    /// ```
    pub fn with_timeout(&self, timeout: Duration) -> Store {
        Store { timeout: Some(timeout), ..self.clone() }
    }

    /// A handle for an entry that is read often.
    pub fn cell(&self, name: &str) -> StoreCell {
        StoreCell::new(self.clone(), name)
    }

    /// Sets a value. Gives its version. The value is encoded, so a [`Blob`] is copied: [`set_bytes`](Store::set_bytes) sets it by reference.
    ///
    /// # Errors
    /// `Encoding` for what cannot be encoded, `TooLarge` or `Quota` where the store refuses it, or why the store could not be reached.
    pub fn set(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<u64> {
        self.set_bytes(name, encode(value)?, codecs::NATIVE)
    }

    /// Sets a value that is encoded already, or bytes as they are (`codec` 3): of a `&[u8]`, a `Vec<u8>` or a [`Blob`], which goes by
    /// reference to a daemon on this machine. [`entry`](Store::entry) reads it back without a copy.
    ///
    /// # Errors
    /// As for [`set`](Store::set).
    pub fn set_bytes(&self, name: &str, bytes: impl Into<Blob>, codec: u8) -> Result<u64> {
        self.set_with(Put::bytes(name, bytes, codec))
    }

    /// Sets a value with a time to live, or only over a certain version. Gives its version.
    ///
    /// # Errors
    /// `Conflict` where the entry has not the version that it was to have, and as for [`set`](Store::set).
    pub fn set_with(&self, put: Put) -> Result<u64> {
        let put = self.outgoing(put);
        let _writes = self.writes(vec![put.key(&self.author)]);
        let Open((version, _timestamp)): Open<(u64, f64)> =
            self.call("set", &put.wanted(&self.author, true))?;
        Ok(version)
    }

    /// Sets another value of an entry that is there. What is left of its time stays, and it is persistent if it was, whatever the [`Put`] says. Gives its version.
    ///
    /// # Errors
    /// `Conflict` where there is no such entry, or not of the version that it was to have, and as for [`set`](Store::set).
    pub fn replace(&self, put: Put) -> Result<u64> {
        let put = self.outgoing(put);
        let _writes = self.writes(vec![put.key(&self.author)]);
        let Open((version, _timestamp)): Open<(u64, f64)> =
            self.call("replace", &put.replacing(&self.author))?;
        Ok(version)
    }

    /// Sets a value where there is none of that name, and gives `None`; else gives the entry that is there, which stays as it is.
    ///
    /// # Errors
    /// As for [`set`](Store::set).
    pub fn set_default(&self, put: Put) -> Result<Option<Entry>> {
        let put = self.outgoing(put);
        let _writes = self.writes(vec![put.key(&self.author)]);
        let Open(answer): Open<Answer> = self.call("set_default", &put.default(&self.author))?;
        Ok(answer.entry())
    }

    /// Sets several values at once: all of them, under one version, or none. Gives that version; where there are none to set nothing is
    /// written, and it is that of the last write to the store.
    ///
    /// # Errors
    /// `BadArguments` where an entry stands among them twice, and as for [`set_with`](Store::set_with).
    pub fn set_many(&self, puts: impl IntoIterator<Item = Put>) -> Result<u64> {
        let puts: Vec<Put> = puts.into_iter().map(|put| self.outgoing(put)).collect();
        let _writes = self.writes(puts.iter().map(|put| put.key(&self.author)).collect());
        let entries: Vec<_> = puts.iter().map(|put| put.wanted(&self.author, false)).collect();
        let Open((version, _timestamp)): Open<(u64, f64)> =
            self.call("set_many", &(entries, Put::strongest(&puts)))?;
        Ok(version)
    }

    /// Has the entry be there again after the end of the daemon, or not any more, as it is. Gives whether there is such an entry.
    ///
    /// ```no_run
    /// # let store = andiron::connect()?.store();
    /// store.set("volume", &20)?;
    /// assert!(store.persist("volume", true)?);
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` where the daemon keeps no state, `Quota` where its disk is full, or why the store could not be reached.
    pub fn persist(&self, name: &str, persist: bool) -> Result<bool> {
        self.call("persist", &(name, persist, &*self.author))
    }

    /// Adds to a whole number; where there is no entry, to 0. Gives what it is now. An entry that expires expires when it did before.
    ///
    /// # Errors
    /// `Encoding` where the entry is no whole number, `BadArguments` where the sum is beyond 64 bits, and as for [`set`](Store::set).
    pub fn incr(&self, name: &str, by: i64) -> Result<i64> {
        let _writes = self.writes(vec![self.key(name)]);
        let Open((_version, _timestamp, value)): Open<(u64, f64, i64)> =
            self.call("incr", &(name, by, &*self.author))?;
        Ok(value)
    }

    /// What the store holds, of all authors, and what it was asked.
    ///
    /// # Errors
    /// `Denied` to who may use the entries of some authors only, or why the store could not be reached.
    pub fn stats(&self) -> Result<Stats> {
        self.read("stats", &()).map(|Open(stats)| Stats::of(stats))
    }

    /// The value of this name; `None` where there is none. It is decoded: bytes that are not to be copied are in the [`entry`](Store::entry).
    ///
    /// # Errors
    /// `Encoding` where it is of another type, or why the store could not be reached.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let value = self.entry(name)?.map(|entry| entry.value()).transpose();
        value.map_err(|error| error.during("store.get").with_context("name", name))
    }

    /// The entry of this name; `None` where there is none. Whether the store was asked for it is in [`Entry::cached`].
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let key = self.key(name);
        match self.common.cache().look(key, self.max_staleness) {
            Look::Current(entry) => Ok(entry),
            Look::Ask(ask) => Ok(self.ask(key, ask)?.entry(false)),
        }
    }

    /// The entry of this name, or that there is none, where that is known here to be current.
    #[doc(hidden)]
    pub fn current(&self, name: &str) -> Option<Option<Entry>> {
        match self.common.cache().look(self.key(name), self.max_staleness) {
            Look::Current(entry) => Some(entry),
            Look::Ask(_) => None,
        }
    }

    /// The same, with what an engine made of it.
    #[doc(hidden)]
    pub fn kept(&self, name: &str) -> Option<Kept> {
        self.common.cache().kept(self.key(name), self.max_staleness).map(Kept::new)
    }

    /// Asks the store.
    fn ask(&self, key: Key<'_>, ask: Ask) -> Result<Arc<Cached>> {
        let cache = self.common.cache();
        if !cache.is_open() {
            let Open(answer): Open<Answer> = self.read("get", &(key.name, 0u64, key.author))?;
            return cache.learn(key, ask, None, answer);
        }
        let alive =
            context::origin(self.timeout, None).and_then(|origin| self.hub.line().alive(origin.deadline));
        let link = alive.map_err(|error| error.during("store.get"))?;
        let source = match cache.source(&link) {
            Some(source) => source,
            None => cache.set_source(&link, self.board(&link)?),
        };
        let known = ask.version(&source);
        let Open(answer): Open<Answer> =
            self.read("get", &(key.name, known, key.author, cache.take_hits()))?;
        // Over another connection it may have come from another store.
        let now = self.hub.link();
        let same = Arc::ptr_eq(&link, &now);
        if !same {
            cache.moved_to(&now);
        }
        cache.learn(key, ask, same.then_some(source), answer)
    }

    /// Asks for an entry that is not known here to be current; what comes of it is for [`finish`](Store::finish).
    #[doc(hidden)]
    pub fn begin(&self, name: &str) -> Result<(Asking, Pending<Message>)> {
        let cache = self.common.cache();
        let ask = match cache.look(self.key(name), self.max_staleness) {
            Look::Ask(ask) => ask,
            Look::Current(_) => cache.ask_again(self.key(name), None),
        };
        let source = cache.source(&self.hub.link());
        let known = source.as_ref().map_or(0, |source| ask.version(source));
        let args = (name, known, &*self.author, cache.take_hits());
        let args = Message::encode(|out| codec::encode_args(&args, out))
            .map_err(|error| Error::new(ErrorKind::Encoding, error.to_string()).with_source(error))?;
        let pending = self.object()?.start_encoded("get", args)?;
        Ok((Asking { ask, source }, pending))
    }

    /// Has this proxy be the store, and asks for its board where there may be one that was not asked for; what comes of it is for [`seen`](Store::seen). Nothing here waits.
    #[doc(hidden)]
    pub fn look(&self, object: Proxy) -> Result<Option<(Looking, Pending<Message>)>> {
        let (cache, link) = (self.common.cache(), self.hub.link());
        let before = lock(&self.common.object).replace(object.clone());
        drop(before); // outside of the lock: it may be the last handle
        if cache.source(&link).is_some() {
            return Ok(None);
        }
        if !cache.wants_board(&link) {
            cache.set_source(&link, None);
            return Ok(None);
        }
        let args = Message::encode(|out| codec::encode_args(&(), out))
            .map_err(|error| Error::new(ErrorKind::Encoding, error.to_string()).with_source(error))?;
        Ok(Some((Looking(link), object.start_encoded("board", args)?)))
    }

    /// What the store answered.
    #[doc(hidden)]
    pub fn seen(&self, looking: Looking, answer: Result<Message>) -> Result<()> {
        let board = no_board(answer.and_then(|answer| crate::proxy::decode(answer.0)))?;
        self.common.cache().set_source(&looking.0, board);
        Ok(())
    }

    /// The entry of this name, that was asked for.
    #[doc(hidden)]
    pub fn finish(&self, name: &str, asking: Asking, answer: Message) -> Result<Option<Entry>> {
        let Open(answer): Open<Answer> = crate::proxy::decode(answer.0)?;
        let Asking { ask, source } = asking;
        Ok(self.common.cache().learn(self.key(name), ask, source, answer)?.entry(false))
    }

    /// The board of the store, where it has one that can be seen from here.
    fn board(&self, link: &Link) -> Result<Option<PassedDescriptor>> {
        if !self.common.cache().wants_board(link) {
            return Ok(None);
        }
        no_board(self.read("board", &()).map_err(|error| error.without_operation().during("store.get")))
    }

    /// The entry of this name unless it still has this version, which the caller has: then no value is sent. The store is asked in any case.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn get_if_changed(&self, name: &str, version: u64) -> Result<Changed> {
        let Open(answer): Open<Answer> = self.read("get", &(name, version, &*self.author))?;
        Ok(answer.changed())
    }

    /// Takes an entry out and gives it back; `None` where there was none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn delete(&self, name: &str) -> Result<Option<Entry>> {
        let _writes = self.writes(vec![self.key(name)]);
        let Open(answer): Open<Answer> = self.call("delete", &(name, &*self.author))?;
        Ok(answer.entry())
    }

    /// Takes an entry out if it has this version, and gives it back.
    ///
    /// # Errors
    /// `Conflict` where it has another or is missing, or why the store could not be reached.
    pub fn delete_if_version(&self, name: &str, version: u64) -> Result<Option<Entry>> {
        let _writes = self.writes(vec![self.key(name)]);
        let Open(answer): Open<Answer> = self.call("delete", &(name, &*self.author, version))?;
        Ok(answer.entry())
    }

    /// What is known of the entries of this author, sorted by name. It is asked for in pages as the iterator goes on, so what changes meanwhile may or may not be in
    /// it; [`entries`](Store::entries) gives them as they are at one moment.
    pub fn list(&self) -> impl Iterator<Item = Result<Listed>> + use<> {
        self.pages(Some(self.author.clone()))
    }

    /// The entries of all authors, sorted by author and name; otherwise as [`list`](Store::list).
    pub fn list_all(&self) -> impl Iterator<Item = Result<Listed>> + use<> {
        self.pages(None)
    }

    fn pages(&self, author: Option<Arc<str>>) -> Pages {
        Pages::new(self.clone(), author)
    }

    /// Tells of the entries of this author whose name fits `pattern`, in which `*` stands for any characters, `?` for one, and a character
    /// behind `\` for itself: first those that are there, then each that is set or removed, as long as the iterator lives.
    ///
    /// Nobody waits for a slow reader. Of an entry that changed several times before it was read the latest state comes, with the number of
    /// changes that were [skipped](Change::skipped); with changes of more than 65,536 entries unread, or of such with 16 MiB of names, the watch ends with
    /// the kind `Overloaded`. Over a connection that [retries](crate::Connector::retry) the watch goes on when a connection was lost, with what changed meanwhile.
    /// Where the daemon cannot say that, being another one or having seen too many changes since, it begins anew with the entries that
    /// are there then, so that no value is missed; what was removed meanwhile it does not tell in that case.
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
        self.watch_from(pattern, Some(self.author.clone()), Beginning::Present)
    }

    /// As [`watch`](Store::watch): with `all` of the entries of all authors; without `present` only of what changes from now on.
    ///
    /// # Errors
    /// As there.
    pub fn watch_with(&self, pattern: &str, all: bool, present: bool) -> Result<Watch> {
        let beginning = if present { Beginning::Present } else { Beginning::Now };
        self.watch_from(pattern, (!all).then(|| self.author.clone()), beginning)
    }

    /// As [`watch`](Store::watch), and with `all` of the entries of all authors: first what changed since this version, removals too, and then what changes
    /// from now on. The version is where an earlier watch may be [resumed from](Change::resume_from).
    ///
    /// ```no_run
    /// use andiron::ErrorKind;
    /// let store = andiron::connect()?.store();
    /// let known = 1_771_000_000_000_000; // as an earlier watch told
    /// let changes = match store.watch_since("room *", false, known) {
    ///     Err(error) if error.kind() == ErrorKind::Conflict => store.watch("room *")?, // forget what was there, and begin anew
    ///     changes => changes?,
    /// };
    /// # drop(changes);
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Conflict` where the daemon does not know any more what changed since then: it keeps the last 65,536 changes, as long as their names have at most 16 MiB,
    /// and a new daemon knows of none before it. Else why the store could not be reached.
    pub fn watch_since(&self, pattern: &str, all: bool, version: u64) -> Result<Watch> {
        self.watch_from(pattern, (!all).then(|| self.author.clone()), Beginning::Since(version))
    }

    fn watch_from(&self, pattern: &str, author: Option<Arc<str>>, beginning: Beginning) -> Result<Watch> {
        let of = author.as_deref();
        let rows: Stream<Change> = match beginning {
            Beginning::Present => self.read("watch", &(pattern, of, true))?,
            Beginning::Now => self.read("watch", &(pattern, of, false))?,
            Beginning::Since(version) => self.read("watch", &(pattern, of, false, version))?,
        };
        let resume_from = match beginning {
            Beginning::Since(version) => Some(version),
            Beginning::Present | Beginning::Now => None,
        };
        // Where the connection is made anew it is asked again, and nobody waits for that with this limit in mind.
        let (store, pattern) = (Store { timeout: None, ..self.clone() }, pattern.to_owned());
        Ok(Watch { store, author, pattern, rows: Some(rows.into_iter()), resume_from })
    }

    /// Removes the entries of this author. Gives their number.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn clear(&self) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), Some(&self.author));
        self.call("clear", &(&*self.author,))
    }

    /// Removes the entries of all authors. Gives their number.
    ///
    /// # Errors
    /// As for [`clear`](Store::clear).
    pub fn clear_all(&self) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), None);
        self.call("clear", &(None::<&str>,))
    }

    fn key<'a>(&'a self, name: &'a str) -> Key<'a> {
        Key { author: &self.author, name }
    }

    /// A big value as it goes to this store.
    fn outgoing(&self, put: Put) -> Put {
        if self.hub.link().passes_descriptors() { put.by_reference() } else { put }
    }

    fn writes<'a>(&'a self, keys: Vec<Key<'a>>) -> Writes<'a> {
        Writes::new(self.common.cache(), keys)
    }

    fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        self.object()?.call(method, args)
    }

    /// What only reads may be asked once more over the next connection.
    fn read<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        self.object()?.idempotent().call(method, args)
    }

    fn object(&self) -> Result<Proxy> {
        self.hub.line().check_fork()?;
        let known = lock(&self.common.object).clone();
        let object = match known {
            Some(object) => object,
            None => {
                let found = self.hub.find(STORE, self.timeout).map_err(no_store)?;
                lock(&self.common.object).insert(found).clone()
            }
        };
        Ok(self.timeout.map_or_else(|| object.clone(), |timeout| object.with_timeout(timeout)))
    }
}

/// That this process writes entries: what it read of them before is not given out from the beginning of that on, nor kept if it comes before the end.
pub(crate) struct Writes<'a> {
    cache: &'a Cache,
    keys: Vec<Key<'a>>,
}

impl<'a> Writes<'a> {
    pub(crate) fn new(cache: &'a Cache, keys: Vec<Key<'a>>) -> Writes<'a> {
        keys.iter().for_each(|key| cache.wrote(*key));
        Writes { cache, keys }
    }
}

impl Drop for Writes<'_> {
    fn drop(&mut self) {
        self.keys.iter().for_each(|key| self.cache.wrote(*key));
    }
}

/// The same of all entries of an author, or all.
pub(crate) struct WritesAll<'a> {
    cache: &'a Cache,
    author: Option<&'a str>,
}

impl<'a> WritesAll<'a> {
    pub(crate) fn new(cache: &'a Cache, author: Option<&'a str>) -> WritesAll<'a> {
        cache.wrote_all(author);
        WritesAll { cache, author }
    }
}

impl Drop for WritesAll<'_> {
    fn drop(&mut self) {
        self.cache.wrote_all(self.author);
    }
}

/// A value from some length on in memory that is passed on by reference, as far as there is some.
pub(crate) fn by_reference(value: Blob) -> Blob {
    match value.len() >= BY_REFERENCE_FROM {
        true => value.shared().unwrap_or(value),
        false => value,
    }
}

/// A store that has no board, or does not know what that is, is a store all the same.
pub(crate) fn no_board(board: Result<Option<PassedDescriptor>>) -> Result<Option<PassedDescriptor>> {
    match board {
        Err(error)
            if matches!(error.kind(), ErrorKind::NoMethod | ErrorKind::Encoding | ErrorKind::Overloaded) =>
        {
            Ok(None)
        }
        board => board,
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
