//! The store as asynchronous programs see it.

use std::sync::{Arc, Mutex};

use andiron_proto::wire::codecs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Hub, Proxy};
use crate::store::{Answer, DEFAULT_AUTHOR, STORE, encode, no_store};
use crate::sync::lock;
use crate::{Change, Changed, Entry, Put, Result, Stats, Stream};

/// Values by author and name that all processes at a server share; see [`Store`](crate::Store), whose methods these are.
#[derive(Clone, Debug)]
pub struct Store {
    hub: Hub,
    /// Found at the first use.
    object: Arc<Mutex<Option<Proxy>>>,
    author: Arc<str>,
}

impl Store {
    pub(super) fn of(hub: Hub) -> Store {
        Store { hub, object: Arc::default(), author: DEFAULT_AUTHOR.into() }
    }

    /// The entries of another author. Without this the author is `default`.
    pub fn author(&self, author: &str) -> Store {
        Store { author: author.into(), ..self.clone() }
    }

    /// Sets a value. Gives its version.
    ///
    /// # Errors
    /// As for [`Store::set`](crate::Store::set).
    pub async fn set(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<u64> {
        self.set_bytes(name, &encode(value)?, codecs::NATIVE).await
    }

    /// Sets a value that is encoded already, or bytes as they are (`codec` 3).
    ///
    /// # Errors
    /// As for [`set`](Store::set).
    pub async fn set_bytes(&self, name: &str, bytes: &[u8], codec: u8) -> Result<u64> {
        let bytes = crate::__private::Bytes(bytes);
        let (version, _timestamp): (u64, f64) =
            self.call("set", &(name, bytes, codec, &*self.author)).await?;
        Ok(version)
    }

    /// Sets a value with a time to live, or only over a certain version. Gives its version.
    ///
    /// # Errors
    /// As for [`Store::set_with`](crate::Store::set_with).
    pub async fn set_with(&self, put: Put) -> Result<u64> {
        let (version, _timestamp): (u64, f64) = self.call("set", &put.wanted(&self.author)).await?;
        Ok(version)
    }

    /// Sets several values at once: all of them, under one version, or none. Gives that version.
    ///
    /// # Errors
    /// As for [`Store::set_many`](crate::Store::set_many).
    pub async fn set_many(&self, puts: impl IntoIterator<Item = Put>) -> Result<u64> {
        let puts: Vec<Put> = puts.into_iter().collect();
        let entries: Vec<_> = puts.iter().map(|put| put.wanted(&self.author)).collect();
        let (version, _timestamp): (u64, f64) = self.call("set_many", &(entries,)).await?;
        Ok(version)
    }

    /// Adds to a whole number; where there is no entry, to 0. Gives what it is now.
    ///
    /// # Errors
    /// As for [`Store::incr`](crate::Store::incr).
    pub async fn incr(&self, name: &str, by: i64) -> Result<i64> {
        let (_version, _timestamp, value): (u64, f64, i64) =
            self.call("incr", &(name, by, &*self.author)).await?;
        Ok(value)
    }

    /// What the store holds, of all authors, and what it was asked.
    ///
    /// # Errors
    /// As for [`Store::stats`](crate::Store::stats).
    pub async fn stats(&self) -> Result<Stats> {
        self.call("stats", &()).await.map(Stats::of)
    }

    /// The value of this name; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::get`](crate::Store::get).
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.entry(name).await?.map(|entry| entry.value()).transpose()
    }

    /// The entry of this name; `None` where there is none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let answer: Answer = self.call("get", &(name, 0u64, &*self.author)).await?;
        Ok(answer.entry())
    }

    /// The entry of this name unless it still has this version, which the caller has.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn get_if_changed(&self, name: &str, version: u64) -> Result<Changed> {
        let answer: Answer = self.call("get", &(name, version, &*self.author)).await?;
        Ok(answer.changed())
    }

    /// Takes an entry out and gives it back; `None` where there was none.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn delete(&self, name: &str) -> Result<Option<Entry>> {
        let answer: Answer = self.call("delete", &(name, &*self.author)).await?;
        Ok(answer.entry())
    }

    /// Takes an entry out if it has this version, and gives it back.
    ///
    /// # Errors
    /// As for [`Store::delete_if_version`](crate::Store::delete_if_version).
    pub async fn delete_if_version(&self, name: &str, version: u64) -> Result<Option<Entry>> {
        let answer: Answer = self.call("delete", &(name, &*self.author, version)).await?;
        Ok(answer.entry())
    }

    /// Tells of the entries of this author whose name fits `pattern`, as [`Store::watch`](crate::Store::watch) does: first those that are
    /// there, then each change. A stream for `futures::StreamExt` and the like; where its connection is lost it ends with an error.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn watch(&self, pattern: &str) -> Result<Stream<Change>> {
        self.call("watch", &(pattern, &*self.author, true)).await
    }

    /// As [`watch`](Store::watch): with `all` of the entries of all authors; without `present` only of what changes from now on.
    ///
    /// # Errors
    /// As there.
    pub async fn watch_with(&self, pattern: &str, all: bool, present: bool) -> Result<Stream<Change>> {
        let author = (!all).then_some(&*self.author);
        self.call("watch", &(pattern, author, present)).await
    }

    /// Removes the entries of this author. Gives their number.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub async fn clear(&self) -> Result<u64> {
        self.call("clear", &(&*self.author,)).await
    }

    /// Removes the entries of all authors. Gives their number.
    ///
    /// # Errors
    /// As for [`clear`](Store::clear).
    pub async fn clear_all(&self) -> Result<u64> {
        self.call("clear", &(None::<&str>,)).await
    }

    async fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        let known = lock(&self.object).clone();
        let object = match known {
            Some(object) => object,
            None => {
                let found: Proxy = self.hub.object(STORE).await.map_err(no_store)?;
                lock(&self.object).insert(found).clone()
            }
        };
        object.call(method, args).await
    }
}
