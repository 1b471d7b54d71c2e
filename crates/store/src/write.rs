//! The operations that write.
//!
//! A write first finds out, changing nothing, whether it may happen and under which version. From there on it cannot fail. What must happen between the two
//! (making it durable, telling of it) has its place there.

use std::sync::Arc;
use std::time::Duration;

use crate::counter;
use crate::effects::{Discarded, Effects};
use crate::entry::Written;
use crate::error::{Resource, StoreError};
use crate::expiry::{Expiring, nanos};
use crate::key::KeyRef;
use crate::limits::{LONGEST_KEY, Limits, author_cost, entry_cost};
use crate::op::{Put, Reply};
use crate::plan::Reserved;
use crate::shelf::Shelf;
use crate::store::Store;
use crate::value::Value;

/// Expired entries that are taken out at a time to make room.
const EXPIRED_FOR_ROOM: usize = 64;

impl<V: Value> Store<V> {
    pub(crate) fn set<'a>(
        &mut self,
        puts: impl AsRef<[Put<'a, V>]> + IntoIterator<Item = Put<'a, V>>,
        wall: Duration,
        effects: &mut impl Effects<V>,
    ) -> Result<Reply<V>, StoreError> {
        puts.as_ref().iter().for_each(|put| self.expire_if_due(put.key, effects));
        self.admit_with_room(puts.as_ref(), effects)?;
        let timestamp = wall.as_secs_f64();
        if puts.as_ref().is_empty() {
            return Ok(Reply::Set { version: self.version, timestamp });
        }
        let version = self.next_version()?;
        puts.as_ref().iter().for_each(|put| effects.change(put.key, version));
        self.version = version;
        for Put { key, codec, value, ttl, .. } in puts {
            let expiry = ttl.map(|ttl| self.steady.saturating_add(nanos(ttl)));
            self.put(key, Written { version, timestamp, codec, expiry, persistent: false, value }, effects);
        }
        Ok(Reply::Set { version, timestamp })
    }

    pub(crate) fn increment(
        &mut self,
        key: KeyRef<'_>,
        by: i64,
        wall: Duration,
        effects: &mut impl Effects<V>,
    ) -> Result<Reply<V>, StoreError> {
        self.expire_if_due(key, effects);
        let (put, value) = self.incremented(key, by)?;
        match self.set([put], wall, effects)? {
            Reply::Set { version, timestamp } => Ok(Reply::Counted { version, timestamp, value }),
            other => Ok(other),
        }
    }

    /// What an increment sets, and the number that this is.
    pub(crate) fn incremented<'a>(&self, key: KeyRef<'a>, by: i64) -> Result<(Put<'a, V>, i64), StoreError> {
        let (old, expiry, persist) = match self.live(key) {
            None => (0, None, false),
            Some(stored) => (counter::read(stored.codec, stored.bytes())?, stored.expiry, stored.persistent),
        };
        let value = old.checked_add(by).ok_or(StoreError::Overflow { value: old, by })?;
        let ttl = expiry.map(|expiry| Duration::from_nanos(expiry - self.steady));
        let bytes = V::from_bytes(&counter::write(value));
        Ok((Put { ttl, persist, ..Put::new(key, counter::CODEC, bytes) }, value))
    }

    /// What these would take at most, with their authors, whatever becomes of other entries meanwhile.
    pub(crate) fn reserve(&self, puts: &[Put<'_, V>]) -> Result<Reserved, StoreError> {
        let Growth { entries, added, freed } = self.growth(puts)?;
        let authors: u64 = puts.iter().map(|put| author_cost(put.key.author)).sum();
        Ok(Reserved { entries, bytes: added.saturating_sub(freed).saturating_add(authors) })
    }

    pub(crate) fn delete(
        &mut self,
        key: KeyRef<'_>,
        if_version: Option<u64>,
        effects: &mut impl Effects<V>,
    ) -> Result<Reply<V>, StoreError> {
        self.expire_if_due(key, effects);
        self.check_version(key, if_version)?;
        let Some(stored) = self.live(key) else { return Ok(Reply::Deleted(None)) };
        let entry = stored.entry(self.steady);
        let version = self.next_version()?;
        effects.change(key, version);
        self.version = version;
        self.remove(key, effects);
        Ok(Reply::Deleted(Some(entry)))
    }

    pub(crate) fn clear(
        &mut self,
        author: Option<&str>,
        effects: &mut impl Effects<V>,
    ) -> Result<Reply<V>, StoreError> {
        let (len, _) = self.held_by(author);
        if len == 0 {
            return Ok(Reply::Cleared { count: 0 });
        }
        let over = self.due_of(author);
        let version = self.next_version()?;
        self.clear_at(author, version, effects);
        Ok(Reply::Cleared { count: len - over })
    }

    /// How many entries of an author, or all, are there although their time is over.
    pub(crate) fn due_of(&self, author: Option<&str>) -> usize {
        let due = self.expiries.all_due(self.steady);
        due.filter(|expiring| author.is_none_or(|author| author == &*expiring.author)).count()
    }

    pub(crate) fn clear_at(&mut self, author: Option<&str>, version: u64, effects: &mut impl Effects<V>) {
        let (len, bytes) = self.held_by(author);
        let mut persistent = 0;
        for (author, stored) in self.stored_after(author, None) {
            persistent += usize::from(stored.persistent);
            effects.change(KeyRef::new(author, stored.name), version);
        }
        self.persistent -= persistent;
        self.version = version;
        match author {
            None => {
                let (shelves, expiries) = (&mut self.shelves, &mut self.expiries);
                effects.discard(Discarded::all(std::mem::take(shelves), std::mem::take(expiries)));
            }
            Some(author) => self.clear_author(author, effects),
        }
        self.len -= len;
        self.bytes -= bytes;
    }

    /// Entries and bytes of an author, or all.
    pub(crate) fn held_by(&self, author: Option<&str>) -> (usize, u64) {
        match author {
            None => (self.len, self.bytes),
            Some(author) => self.shelves.get(author).map_or((0, 0), |shelf| (shelf.len(), shelf.bytes())),
        }
    }

    fn clear_author(&mut self, author: &str, effects: &mut impl Effects<V>) {
        let Some((author, shelf)) = self.shelves.remove_entry(author) else { return };
        if !self.expiries.is_empty() {
            for stored in shelf.stored_after(None) {
                if let Some(expiry) = stored.expiry {
                    let author = Arc::clone(&author);
                    let expiring = Expiring { expiry, author, name: stored.name.into() };
                    self.expiries.remove(&expiring, stored.persistent);
                }
            }
        }
        effects.discard(Discarded::author(shelf));
    }

    /// Takes out so many of the entries whose time is over. Gives how many there were.
    pub(crate) fn expire(&mut self, limit: usize, effects: &mut impl Effects<V>) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(first) = self.expiries.due(self.steady)
            && let Ok(version) = self.next_version()
        {
            let Expiring { author, name, .. } = first.clone();
            let key = KeyRef::new(&author, &name);
            effects.change(key, version);
            self.version = version;
            self.remove(key, effects);
            count += 1;
        }
        count
    }

    /// Takes an entry out whose time is over. Without a version left it stays where it is, and nobody is given it.
    pub(crate) fn expire_if_due(&mut self, key: KeyRef<'_>, effects: &mut impl Effects<V>) {
        // Most stores have no entry that expires, and need not be asked for this one.
        let some_are_due = self.expiries.due(self.steady).is_some();
        if some_are_due
            && self.stored(key).is_some_and(|stored| stored.is_due(self.steady) && !stored.persistent)
            && let Ok(version) = self.next_version()
        {
            effects.change(key, version);
            self.version = version;
            self.remove(key, effects);
        }
    }

    /// Whether these may be set, where room is made by what has expired.
    pub(crate) fn admit_with_room(
        &mut self,
        puts: &[Put<'_, V>],
        effects: &mut impl Effects<V>,
    ) -> Result<(), StoreError> {
        loop {
            match self.admit(puts) {
                Err(StoreError::Full { .. }) if self.expire(EXPIRED_FOR_ROOM, effects) > 0 => {}
                admitted => return admitted,
            }
        }
    }

    /// Whether the limits allow these values, and what is there now is what they may replace.
    fn admit(&self, puts: &[Put<'_, V>]) -> Result<(), StoreError> {
        let Limits { max_entries, max_bytes, max_key_bytes, .. } = self.limits;
        let max_key_bytes = max_key_bytes.min(LONGEST_KEY);
        for Put { key, value, ttl, if_version, .. } in puts {
            if key.len() > max_key_bytes {
                return Err(StoreError::KeyTooLong { bytes: key.len(), max: max_key_bytes });
            }
            let entry = entry_cost(key.name, value.size(), ttl.is_some());
            let alone = entry.saturating_add(author_cost(key.author));
            if alone > max_bytes {
                return Err(StoreError::EntryTooLarge { bytes: alone, max: max_bytes });
            }
            self.check_version(*key, *if_version)?;
        }
        let Growth { entries, added, freed } = self.growth(puts)?;
        if entries > max_entries.saturating_sub(self.len + self.reserved.entries) {
            return Err(StoreError::Full { resource: Resource::Entries, max: max_entries as u64 });
        }
        // Where more was loaded than fits, what takes no more than before may still be set.
        if added > freed && added > max_bytes.saturating_sub(self.bytes - freed + self.reserved.bytes) {
            return Err(StoreError::Full { resource: Resource::Bytes, max: max_bytes });
        }
        Ok(())
    }

    /// By how much the store would grow.
    fn growth(&self, puts: &[Put<'_, V>]) -> Result<Growth, StoreError> {
        let mut growth = Growth::default();
        let mut sorted: Vec<&Put<'_, V>>;
        let puts = match puts {
            [put] => &[put][..],
            _ => {
                sorted = puts.iter().collect();
                sorted.sort_unstable_by_key(|put| put.key);
                &sorted[..]
            }
        };
        let mut before: Option<KeyRef<'_>> = None;
        for Put { key, value, ttl, .. } in puts {
            if before == Some(*key) {
                return Err(StoreError::KeyTwice);
            }
            let new_author = before.is_none_or(|before| before.author != key.author);
            before = Some(*key);
            growth.added = growth.added.saturating_add(entry_cost(key.name, value.size(), ttl.is_some()));
            let shelf = self.shelves.get(key.author);
            if shelf.is_none() && new_author {
                growth.added = growth.added.saturating_add(author_cost(key.author));
            }
            match shelf.and_then(|shelf| shelf.stored(key.name)) {
                Some(old) => growth.freed += old.cost(),
                None => growth.entries += 1,
            }
        }
        Ok(growth)
    }

    pub(crate) fn check_version(&self, key: KeyRef<'_>, wanted: Option<u64>) -> Result<(), StoreError> {
        let Some(wanted) = wanted else { return Ok(()) };
        let current = self.live(key).map(|stored| stored.version);
        if current.unwrap_or(0) == wanted { Ok(()) } else { Err(StoreError::VersionMismatch { current }) }
    }

    fn next_version(&self) -> Result<u64, StoreError> {
        let next = self.version.checked_add(1).ok_or(StoreError::VersionsExhausted)?;
        if self.ceiling.is_none_or(|ceiling| next < ceiling) {
            Ok(next)
        } else {
            Err(StoreError::VersionsHeld)
        }
    }

    pub(crate) fn put(&mut self, key: KeyRef<'_>, written: Written<V>, effects: &mut impl Effects<V>) {
        self.forget_expiry(key);
        let (expiry, persistent) = (written.expiry, written.persistent);
        self.persistent -= usize::from(self.stored(key).is_some_and(|stored| stored.persistent));
        self.persistent += usize::from(persistent);
        if !self.shelves.contains_key(key.author) {
            self.shelves.insert(key.author.into(), Shelf::new(key.author));
            self.bytes += author_cost(key.author);
        }
        let shelf = self.shelves.get_mut(key.author).expect("it was put there if it was not there");
        let bytes_before = shelf.bytes();
        let (is_new, old) = shelf.put(key.name, written);
        self.bytes = self.bytes - bytes_before + shelf.bytes();
        self.len += usize::from(is_new);
        if let Some(expiry) = expiry {
            let (author, _) = self.shelves.get_key_value(key.author).expect("it has this entry");
            let expiring = Expiring { expiry, author: Arc::clone(author), name: key.name.into() };
            self.expiries.insert(expiring, persistent);
        }
        if let Some(old) = old {
            effects.discard(Discarded::value(old));
        }
    }

    pub(crate) fn remove(&mut self, key: KeyRef<'_>, effects: &mut impl Effects<V>) {
        self.forget_expiry(key);
        self.persistent -= usize::from(self.stored(key).is_some_and(|stored| stored.persistent));
        let Some(shelf) = self.shelves.get_mut(key.author) else { return };
        let bytes_before = shelf.bytes();
        let (was_there, old) = shelf.remove(key.name);
        let mut bytes_after = shelf.bytes();
        if shelf.len() == 0 {
            self.shelves.remove(key.author);
            bytes_after = 0;
        }
        self.len -= usize::from(was_there);
        self.bytes = self.bytes - bytes_before + bytes_after;
        if let Some(old) = old {
            effects.discard(Discarded::value(old));
        }
    }

    /// Takes the entry out of those that expire.
    pub(crate) fn forget_expiry(&mut self, key: KeyRef<'_>) {
        if self.expiries.is_empty() {
            return;
        }
        let stored = self.stored(key).map(|stored| (stored.expiry, stored.persistent));
        let Some((Some(expiry), persistent)) = stored else { return };
        let Some((author, _)) = self.shelves.get_key_value(key.author) else { return };
        let expiring = Expiring { expiry, author: Arc::clone(author), name: key.name.into() };
        self.expiries.remove(&expiring, persistent);
    }
}

/// What a set adds to a store.
#[derive(Default)]
struct Growth {
    entries: usize,
    /// Bytes that the new values count for, with their authors, and those that the old ones counted for.
    added: u64,
    freed: u64,
}
