//! The store as asynchronous programs see it.

use std::sync::Arc;
use std::time::Duration;

use andiron_proto::wire::codecs;
use futures_core::Stream as FutureStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Hub, Proxy};
use crate::store::whole::{self, Row, Rows};
use crate::store::wire::{Answer, Open};
use crate::store::{
    Ask, Cached, Common, DEFAULT_AUTHOR, Held, Key, Look, STORE, Writes, WritesAll, encode, no_board,
    no_store,
};
use crate::sync::lock;
use crate::{Blob, Change, Changed, Entry, Put, Result, Snapshot, Stats, Stream};

/// Values by author and name that all processes at a server share; see [`Store`](crate::Store), whose methods these are.
#[derive(Clone, Debug)]
pub struct Store {
    hub: Hub,
    common: Arc<Common>,
    author: Arc<str>,
    max_staleness: Option<Duration>,
}

impl Store {
    pub(super) fn of(hub: Hub) -> Store {
        let common = hub.common().clone();
        Store { hub, common, author: DEFAULT_AUTHOR.into(), max_staleness: None }
    }

    /// The entries of another author. Without this the author is `default`.
    pub fn author(&self, author: &str) -> Store {
        Store { author: author.into(), ..self.clone() }
    }

    /// The same entries, of which what was read may be given out for so long without a question; see
    /// [`Store::max_staleness`](crate::Store::max_staleness).
    pub fn max_staleness(&self, longest: Duration) -> Store {
        Store { max_staleness: Some(longest), ..self.clone() }
    }

    /// A handle for an entry that is read often.
    pub fn cell(&self, name: &str) -> StoreCell {
        StoreCell { store: self.clone(), name: name.into(), held: Held::new(self.common.clone()) }
    }

    /// Sets a value. Gives its version.
    ///
    /// # Errors
    /// As for [`Store::set`](crate::Store::set).
    pub async fn set(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<u64> {
        self.set_bytes(name, encode(value)?, codecs::NATIVE).await
    }

    /// Sets a value that is encoded already, or bytes as they are (`codec` 3). A [`Blob`] goes by reference, and
    /// [`entry`](Store::entry) reads it back so.
    ///
    /// # Errors
    /// As for [`set`](Store::set).
    pub async fn set_bytes(&self, name: &str, bytes: impl Into<Blob>, codec: u8) -> Result<u64> {
        self.set_with(Put::bytes(name, bytes, codec)).await
    }

    /// Sets a value with a time to live, or only over a certain version. Gives its version.
    ///
    /// # Errors
    /// As for [`Store::set_with`](crate::Store::set_with).
    pub async fn set_with(&self, put: Put) -> Result<u64> {
        let put = self.outgoing(put);
        let _writes = self.writes(vec![put.key(&self.author)]);
        let Open((version, _timestamp)): Open<(u64, f64)> =
            self.call("set", &put.wanted(&self.author, true)).await?;
        Ok(version)
    }

    /// Sets another value of an entry that is there, which keeps what is left of its time and is persistent if it was. Gives its version.
    ///
    /// # Errors
    /// As for [`Store::replace`](crate::Store::replace).
    pub async fn replace(&self, put: Put) -> Result<u64> {
        let put = self.outgoing(put);
        let _writes = self.writes(vec![put.key(&self.author)]);
        let Open((version, _timestamp)): Open<(u64, f64)> =
            self.call("replace", &put.replacing(&self.author)).await?;
        Ok(version)
    }

    /// Sets a value where there is none of that name, and gives `None`; else gives the entry that is there.
    ///
    /// # Errors
    /// As for [`Store::set_default`](crate::Store::set_default).
    pub async fn set_default(&self, put: Put) -> Result<Option<Entry>> {
        let put = self.outgoing(put);
        let _writes = self.writes(vec![put.key(&self.author)]);
        let Open(answer): Open<Answer> = self.call("set_default", &put.default(&self.author)).await?;
        Ok(answer.entry())
    }

    /// Sets several values at once: all of them, under one version, or none. Gives that version, of no values that of the last write.
    ///
    /// # Errors
    /// As for [`Store::set_many`](crate::Store::set_many).
    pub async fn set_many(&self, puts: impl IntoIterator<Item = Put>) -> Result<u64> {
        let puts: Vec<Put> = puts.into_iter().map(|put| self.outgoing(put)).collect();
        let _writes = self.writes(puts.iter().map(|put| put.key(&self.author)).collect());
        let entries: Vec<_> = puts.iter().map(|put| put.wanted(&self.author, false)).collect();
        let Open((version, _timestamp)): Open<(u64, f64)> =
            self.call("set_many", &(entries, Put::strongest(&puts))).await?;
        Ok(version)
    }

    /// Has the entry be there again after the end of the daemon, or not any more. Gives whether there is such an entry.
    ///
    /// # Errors
    /// As for [`Store::persist`](crate::Store::persist).
    pub async fn persist(&self, name: &str, persist: bool) -> Result<bool> {
        self.call("persist", &(name, persist, &*self.author)).await
    }

    /// Adds to a whole number; where there is no entry, to 0. Gives what it is now.
    ///
    /// # Errors
    /// As for [`Store::incr`](crate::Store::incr).
    pub async fn incr(&self, name: &str, by: i64) -> Result<i64> {
        let _writes = self.writes(vec![self.key(name)]);
        let Open((_version, _timestamp, value)): Open<(u64, f64, i64)> =
            self.call("incr", &(name, by, &*self.author)).await?;
        Ok(value)
    }

    /// Has the daemon keep the entries of this author as a snapshot of that name. Gives their number.
    ///
    /// # Errors
    /// As for [`Store::save`](crate::Store::save).
    pub async fn save(&self, snapshot: &str) -> Result<u64> {
        self.call("save", &(snapshot, &*self.author)).await
    }

    /// Sets the entries of this author that a snapshot has as they were. Gives their number.
    ///
    /// # Errors
    /// As for [`Store::load`](crate::Store::load).
    pub async fn load(&self, snapshot: &str) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), Some(&self.author));
        self.call("load", &(snapshot, &*self.author)).await
    }

    /// The snapshots of this author, sorted by name.
    ///
    /// # Errors
    /// As for [`Store::snapshots`](crate::Store::snapshots).
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.read("snapshots", &(&*self.author,)).await.map(Snapshot::listed)
    }

    /// The snapshots of all authors, sorted by author and name.
    ///
    /// # Errors
    /// As for [`Store::snapshots`](crate::Store::snapshots).
    pub async fn all_snapshots(&self) -> Result<Vec<Snapshot>> {
        self.read("snapshots", &(None::<&str>,)).await.map(Snapshot::listed)
    }

    /// Deletes a snapshot of this author.
    ///
    /// # Errors
    /// As for [`Store::delete_snapshot`](crate::Store::delete_snapshot).
    pub async fn delete_snapshot(&self, snapshot: &str) -> Result<()> {
        self.call("delete_snapshot", &(snapshot, &*self.author)).await
    }

    /// All that is persistent, of all authors, with the snapshots, as it is at one moment: the bytes of a file, in pieces.
    ///
    /// # Errors
    /// As for [`Store::backup`](crate::Store::backup).
    pub async fn backup(&self) -> Result<Stream<Blob>> {
        self.read("backup", &()).await
    }

    /// Has all that is persistent, and the snapshots, be as it was at a backup, whose bytes come in pieces. Gives the number of entries in it.
    ///
    /// # Errors
    /// As for [`Store::restore`](crate::Store::restore).
    pub async fn restore(&self, pieces: Stream<Blob>) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), None);
        self.call("restore", &(pieces,)).await
    }

    /// What the store holds, of all authors, and what it was asked.
    ///
    /// # Errors
    /// As for [`Store::stats`](crate::Store::stats).
    pub async fn stats(&self) -> Result<Stats> {
        self.read("stats", &()).await.map(|Open(stats)| Stats::of(stats))
    }

    /// The value of this name; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::get`](crate::Store::get).
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let value = self.entry(name).await?.map(|entry| entry.value()).transpose();
        value.map_err(|error| error.during("store.get").with_context("name", name))
    }

    /// The entry of this name; `None` where there is none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let key = self.key(name);
        match self.common.cache().look(key, self.max_staleness) {
            Look::Current(entry) => Ok(entry),
            Look::Ask(ask) => Ok(self.ask(key, ask).await?.entry(false)),
        }
    }

    async fn ask(&self, key: Key<'_>, ask: Ask) -> Result<Arc<Cached>> {
        let cache = self.common.cache();
        if !cache.is_open() {
            let Open(answer): Open<Answer> = self.read("get", &(key.name, 0u64, key.author)).await?;
            return cache.learn(key, ask, None, answer);
        }
        let link = self.hub.alive().await.map_err(|error| error.during("store.get"))?;
        let source = match cache.source(&link) {
            Some(source) => source,
            None => {
                let board = match cache.wants_board(&link) {
                    true => {
                        let board = self.read("board", &()).await;
                        no_board(board.map_err(|error| error.without_operation().during("store.get")))?
                    }
                    false => None,
                };
                cache.set_source(&link, board)
            }
        };
        let known = ask.version(&source);
        let Open(answer): Open<Answer> =
            self.read("get", &(key.name, known, key.author, cache.take_hits())).await?;
        let now = self.hub.link();
        let same = Arc::ptr_eq(&link, &now);
        if !same {
            cache.moved_to(&now);
        }
        cache.learn(key, ask, same.then_some(source), answer)
    }

    fn key<'a>(&'a self, name: &'a str) -> Key<'a> {
        Key { author: &self.author, name }
    }

    fn outgoing(&self, put: Put) -> Put {
        if self.hub.link().passes_descriptors() { put.by_reference() } else { put }
    }

    fn writes<'a>(&'a self, keys: Vec<Key<'a>>) -> Writes<'a> {
        Writes::new(self.common.cache(), keys)
    }

    /// The entry of this name unless it still has this version, which the caller has.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn get_if_changed(&self, name: &str, version: u64) -> Result<Changed> {
        let Open(answer): Open<Answer> = self.read("get", &(name, version, &*self.author)).await?;
        Ok(answer.changed())
    }

    /// Takes an entry out and gives it back; `None` where there was none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn delete(&self, name: &str) -> Result<Option<Entry>> {
        let _writes = self.writes(vec![self.key(name)]);
        let Open(answer): Open<Answer> = self.call("delete", &(name, &*self.author)).await?;
        Ok(answer.entry())
    }

    /// Takes an entry out if it has this version, and gives it back.
    ///
    /// # Errors
    /// As for [`Store::delete_if_version`](crate::Store::delete_if_version).
    pub async fn delete_if_version(&self, name: &str, version: u64) -> Result<Option<Entry>> {
        let _writes = self.writes(vec![self.key(name)]);
        let Open(answer): Open<Answer> = self.call("delete", &(name, &*self.author, version)).await?;
        Ok(answer.entry())
    }

    /// How many entries this author has.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn count(&self) -> Result<u64> {
        self.read("count", &(&*self.author,)).await
    }

    /// All entries of this author with their names, sorted by name, as they are at one moment. A stream, as that of a [`watch`](Store::watch).
    ///
    /// # Errors
    /// As for [`Store::entries`](crate::Store::entries).
    pub async fn entries(&self) -> Result<impl FutureStream<Item = Result<(String, Entry)>> + Send + use<>> {
        let pages = self.read("entries", &(&*self.author, true)).await?;
        Ok(Rows::<Stream<_>, _>::new(pages, Row::entry))
    }

    /// The names of all entries of this author; otherwise as [`entries`](Store::entries).
    ///
    /// # Errors
    /// As there.
    pub async fn names(&self) -> Result<impl FutureStream<Item = Result<String>> + Send + use<>> {
        let pages = self.read("entries", &(&*self.author, false)).await?;
        Ok(Rows::<Stream<_>, _>::new(pages, Row::name))
    }

    /// Takes out the entry whose name comes first, and gives both back; `None` where there is none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn delete_first(&self) -> Result<Option<(String, Entry)>> {
        let _writes = WritesAll::new(self.common.cache(), Some(&self.author));
        self.call("delete_first", &(&*self.author,)).await.map(whole::first)
    }

    /// Tells of the entries of this author whose name fits `pattern`, as [`Store::watch`](crate::Store::watch) does: first those that are
    /// there, then each change. A stream for `futures::StreamExt` and the like; where its connection is lost it ends with an error, and
    /// [`watch_since`](Store::watch_since) resumes it.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn watch(&self, pattern: &str) -> Result<Stream<Change>> {
        self.read("watch", &(pattern, &*self.author, true)).await
    }

    /// As [`watch`](Store::watch): with `all` of the entries of all authors; without `present` only of what changes from now on.
    ///
    /// # Errors
    /// As there.
    pub async fn watch_with(&self, pattern: &str, all: bool, present: bool) -> Result<Stream<Change>> {
        let author = (!all).then_some(&*self.author);
        self.read("watch", &(pattern, author, present)).await
    }

    /// As [`watch`](Store::watch), and with `all` of the entries of all authors: first what changed since this version, as
    /// [`Store::watch_since`](crate::Store::watch_since) tells it.
    ///
    /// # Errors
    /// As there.
    pub async fn watch_since(&self, pattern: &str, all: bool, version: u64) -> Result<Stream<Change>> {
        let author = (!all).then_some(&*self.author);
        self.read("watch", &(pattern, author, false, version)).await
    }

    /// Removes the entries of this author. Gives their number.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn clear(&self) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), Some(&self.author));
        self.call("clear", &(&*self.author,)).await
    }

    /// Removes the entries of all authors. Gives their number.
    ///
    /// # Errors
    /// As for [`clear`](Store::clear).
    pub async fn clear_all(&self) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), None);
        self.call("clear", &(None::<&str>,)).await
    }

    async fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        self.object().await?.call(method, args).await
    }

    /// What only reads may be asked once more over the next connection.
    async fn read<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        self.object().await?.idempotent().call(method, args).await
    }

    async fn object(&self) -> Result<Proxy> {
        self.hub.link().check_fork()?;
        let known = lock(&self.common.object).clone();
        match known {
            Some(object) => Ok(object.into()),
            None => {
                let found: Proxy = self.hub.object(STORE).await.map_err(no_store)?;
                *lock(&self.common.object) = Some(found.clone().into());
                Ok(found)
            }
        }
    }
}

/// One entry of a store, for who reads it often; see [`StoreCell`](crate::StoreCell).
///
/// ```no_run
/// # async fn example() -> andiron::Result<()> {
/// let store = andiron::aio::connect().await?.store();
/// let mut volume = store.cell("volume");
/// let volume: Option<f64> = volume.get().await?; // mostly there at once
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct StoreCell {
    store: Store,
    name: Arc<str>,
    held: Held,
}

impl StoreCell {
    /// The value; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::get`].
    pub async fn get<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let value = self.entry().await?.map(Entry::value).transpose();
        value.map_err(|error| error.during("store.get").with_context("name", &*self.name))
    }

    /// The entry; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::entry`].
    pub async fn entry(&mut self) -> Result<Option<&Entry>> {
        if !self.held.is_current(self.store.max_staleness) {
            let key = Key { author: &self.store.author, name: &self.name };
            let answer = self.store.ask(key, self.held.ask_again(key)).await?;
            self.held.set(answer);
        }
        Ok(self.held.entry())
    }
}

impl std::fmt::Debug for StoreCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreCell({})", self.name)
    }
}
