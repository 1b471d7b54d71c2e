//! A handle of an entry that is read often.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::cache::{Cached, Key};
use super::{Entry, Store};
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
pub struct StoreCell {
    store: Store,
    name: Arc<str>,
    held: Option<Arc<Cached>>,
    /// What `held` says, for the reader.
    entry: Option<Entry>,
    /// Reads that needed no question, since that was told.
    hits: u64,
}

impl StoreCell {
    pub(super) fn new(store: Store, name: &str) -> StoreCell {
        StoreCell { store, name: name.into(), held: None, entry: None, hits: 0 }
    }

    /// The value; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::get`].
    pub fn get<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.entry()?.map(Entry::value).transpose()
    }

    /// The entry; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Store::entry`].
    pub fn entry(&mut self) -> Result<Option<&Entry>> {
        if let Some(held) = &self.held
            && self.store.common.cache().is_current(held, self.store.max_staleness)
        {
            self.hits += 1;
            self.entry.iter_mut().for_each(|entry| entry.cached = true);
        } else {
            self.ask()?;
        }
        Ok(self.entry.as_ref())
    }

    #[cold]
    fn ask(&mut self) -> Result<()> {
        let cache = self.store.common.cache();
        cache.count(std::mem::take(&mut self.hits));
        let key = Key { author: &self.store.author, name: &self.name };
        let held = self.store.ask(key, cache.ask_again(key, self.held.as_ref()))?;
        self.entry = held.entry(false);
        self.held = Some(held);
        Ok(())
    }
}

impl Clone for StoreCell {
    fn clone(&self) -> StoreCell {
        StoreCell {
            store: self.store.clone(),
            name: self.name.clone(),
            held: self.held.clone(),
            entry: self.entry.clone(),
            hits: 0,
        }
    }
}

impl Drop for StoreCell {
    fn drop(&mut self) {
        self.store.common.cache().count(self.hits);
    }
}

impl fmt::Debug for StoreCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreCell({})", self.name)
    }
}
