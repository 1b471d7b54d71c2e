//! A handle of an entry that is read often.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::cache::{Ask, Cached, Key};
use super::{Common, Entry, Store};
use crate::Result;

/// One entry of a store, for who reads it often: it holds what it read, and as long as that is current a read is a look at memory. Made by
/// [`Store::cell`]. Each thread takes one of its own; a clone is another.
///
/// ```no_run
/// let store = andiron::connect()?.store();
/// let mut volume = store.cell("volume");
/// for _ in 0..1_000_000 {
///     let volume: Option<f64> = volume.get()?; // what was set last, by whatever process
/// }
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone)]
pub struct StoreCell {
    store: Store,
    name: Arc<str>,
    held: Held,
}

impl StoreCell {
    pub(super) fn new(store: Store, name: &str) -> StoreCell {
        let held = Held::new(store.common.clone());
        StoreCell { store, name: name.into(), held }
    }

    /// The value; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::get`].
    pub fn get<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let value = self.entry()?.map(Entry::value).transpose();
        value.map_err(|error| error.during("store.get").with_context("name", &*self.name))
    }

    /// The entry; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::entry`].
    pub fn entry(&mut self) -> Result<Option<&Entry>> {
        if !self.held.is_current(self.store.max_staleness) {
            self.ask()?;
        }
        Ok(self.held.entry())
    }

    #[cold]
    fn ask(&mut self) -> Result<()> {
        let key = Key { author: &self.store.author, name: &self.name };
        let answer = self.store.ask(key, self.held.ask_again(key))?;
        self.held.set(answer);
        Ok(())
    }
}

/// What a cell holds of its entry, whoever asks for it.
pub(crate) struct Held {
    common: Arc<Common>,
    cached: Option<Arc<Cached>>,
    /// What that says, for the reader.
    entry: Option<Entry>,
    /// Reads that needed no question, since that was told.
    hits: u64,
}

impl Held {
    pub(crate) fn new(common: Arc<Common>) -> Held {
        Held { common, cached: None, entry: None, hits: 0 }
    }

    /// Whether it can be given out without a question; it is counted then.
    pub(crate) fn is_current(&mut self, staleness: Option<Duration>) -> bool {
        let current = match &self.cached {
            Some(cached) => self.common.cache().is_current(cached, staleness),
            None => false,
        };
        if current {
            self.hits += 1;
            self.entry.iter_mut().for_each(|entry| entry.cached = true);
        }
        current
    }

    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// What to ask.
    pub(crate) fn ask_again(&mut self, key: Key<'_>) -> Ask {
        let cache = self.common.cache();
        cache.count(std::mem::take(&mut self.hits));
        cache.ask_again(key, self.cached.as_ref())
    }

    /// What was answered.
    pub(crate) fn set(&mut self, cached: Arc<Cached>) {
        self.entry = cached.entry(false);
        self.cached = Some(cached);
    }
}

impl Clone for Held {
    fn clone(&self) -> Held {
        Held { common: self.common.clone(), cached: self.cached.clone(), entry: self.entry.clone(), hits: 0 }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.common.cache().count(self.hits);
    }
}

impl fmt::Debug for StoreCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreCell({})", self.name)
    }
}
