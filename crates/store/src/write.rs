//! The operations that write.
//!
//! A write first finds out, changing nothing, whether it may happen and under which version. From there on it cannot fail. What must happen between the two
//! (making it durable, telling of it) has its place there.

use std::sync::Arc;
use std::time::Duration;

use crate::ages::Ages;
use crate::counter;
use crate::effects::{Discarded, Effects};
use crate::entry::{Stored, Written};
use crate::error::StoreError;
use crate::expiry::{Expiring, nanos};
use crate::key::{Key, KeyRef};
use crate::limits::author_cost;
use crate::op::{Put, Reply};
use crate::shelf::Shelf;
use crate::store::Store;
use crate::value::Value;

impl<V: Value> Store<V> {
    pub(crate) fn set<'a>(
        &mut self,
        puts: impl AsRef<[Put<'a, V>]> + IntoIterator<Item = Put<'a, V>>,
        wall: Duration,
        effects: &mut impl Effects<V>,
    ) -> Result<Reply<V>, StoreError> {
        puts.as_ref().iter().for_each(|put| self.expire_if_due(put.key, effects));
        self.admit_with_room(puts.as_ref(), false, effects)?;
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
        let stored = self.live(key);
        let old = stored.as_ref().map_or(Ok(0), |stored| counter::read(stored.codec, stored.bytes()))?;
        let value = old.checked_add(by).ok_or(StoreError::Overflow { value: old, by })?;
        let put = Put::new(key, counter::CODEC, V::from_bytes(&counter::write(value)));
        Ok((stored.map_or(put.clone(), |stored| self.staying(put, &stored)), value))
    }

    /// What is set in place of an entry that is there.
    pub(crate) fn replacing<'a>(&self, put: Put<'a, V>) -> Result<Put<'a, V>, StoreError> {
        let stored = self.live(put.key).ok_or(StoreError::VersionMismatch { current: None })?;
        Ok(self.staying(put, &stored))
    }

    /// With the time and the place on a disk that an entry has.
    fn staying<'a>(&self, put: Put<'a, V>, stored: &Stored<'_, V>) -> Put<'a, V> {
        let ttl = stored.expiry.map(|expiry| Duration::from_nanos(expiry - self.steady));
        Put { ttl, persist: stored.persistent, ..put }
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

    pub(crate) fn delete_first(
        &mut self,
        author: &str,
        effects: &mut impl Effects<V>,
    ) -> Result<Reply<V>, StoreError> {
        let Some(first) = self.first(author) else { return Ok(Reply::DeletedFirst(None)) };
        let key = Key::from(KeyRef::new(author, first.name));
        match self.delete((&key).into(), None, effects)? {
            Reply::Deleted(entry) => Ok(Reply::DeletedFirst(entry.map(|entry| (key, entry)))),
            other => Ok(other),
        }
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
        let over = self.due_of(author, self.steady);
        let version = self.next_version()?;
        self.clear_at(author, version, effects);
        Ok(Reply::Cleared { count: len - over })
    }

    /// How many entries of an author, or all, are there although their time is over at that moment.
    pub(crate) fn due_of(&self, author: Option<&str>, now: u64) -> usize {
        let due = self.expiries.all_due(now);
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
                let ages = self.ages.as_mut().map(Ages::clear_all);
                let (shelves, expiries) =
                    (std::mem::take(&mut self.shelves), std::mem::take(&mut self.expiries));
                shelves.keys().for_each(|author| self.reserved.author_goes(author));
                effects.discard(Discarded::all(shelves, expiries, ages));
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
        self.reserved.author_goes(&author);
        if let Some(ages) = &mut self.ages {
            ages.clear(&author);
        }
        if !self.expiries.is_empty() {
            for stored in shelf.stored_after(None) {
                if let Some(expiry) = stored.timed() {
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
            && self.stored(key).is_some_and(|stored| stored.is_due(self.steady) && stored.age().is_some())
            && let Ok(version) = self.next_version()
        {
            effects.change(key, version);
            self.version = version;
            self.remove(key, effects);
        }
    }

    pub(crate) fn check_version(&self, key: KeyRef<'_>, wanted: Option<u64>) -> Result<(), StoreError> {
        let Some(wanted) = wanted else { return Ok(()) };
        let current = self.live(key).map(|stored| stored.version);
        if current.unwrap_or(0) == wanted { Ok(()) } else { Err(StoreError::VersionMismatch { current }) }
    }

    pub(crate) fn next_version(&self) -> Result<u64, StoreError> {
        self.versions_left(1)
    }

    /// Whether so many versions can be taken; gives the last of them.
    pub(crate) fn versions_left(&self, count: u64) -> Result<u64, StoreError> {
        let last = self.version.checked_add(count).ok_or(StoreError::VersionsExhausted)?;
        if self.ceiling.is_none_or(|ceiling| last < ceiling) {
            Ok(last)
        } else {
            Err(StoreError::VersionsHeld)
        }
    }

    pub(crate) fn put(&mut self, key: KeyRef<'_>, written: Written<V>, effects: &mut impl Effects<V>) {
        self.forget(key);
        let (expires, persistent) = (written.expiry.is_some(), written.persistent);
        self.persistent -= usize::from(self.stored(key).is_some_and(|stored| stored.persistent));
        self.persistent += usize::from(persistent);
        if !self.shelves.contains_key(key.author) {
            self.shelves.insert(key.author.into(), Shelf::new(key.author));
            self.bytes += author_cost(key.author);
            self.reserved.author_comes(key.author);
        }
        let shelf = self.shelves.get_mut(key.author).expect("it was put there if it was not there");
        let bytes_before = shelf.bytes();
        let (is_new, old) = shelf.put(key.name, written);
        self.bytes = self.bytes - bytes_before + shelf.bytes();
        self.len += usize::from(is_new);
        if expires || self.ages.is_some() {
            self.remember(key);
        }
        if let Some(old) = old {
            effects.discard(Discarded::value(old));
        }
    }

    pub(crate) fn remove(&mut self, key: KeyRef<'_>, effects: &mut impl Effects<V>) {
        self.forget(key);
        self.persistent -= usize::from(self.stored(key).is_some_and(|stored| stored.persistent));
        let Some(shelf) = self.shelves.get_mut(key.author) else { return };
        let bytes_before = shelf.bytes();
        let (was_there, old) = shelf.remove(key.name);
        let mut bytes_after = shelf.bytes();
        if shelf.len() == 0 {
            self.shelves.remove(key.author);
            self.reserved.author_goes(key.author);
            bytes_after = 0;
        }
        self.len -= usize::from(was_there);
        self.bytes = self.bytes - bytes_before + bytes_after;
        if let Some(old) = old {
            effects.discard(Discarded::value(old));
        }
    }

    /// Takes the entry out of the orders of expiry and age.
    pub(crate) fn forget(&mut self, key: KeyRef<'_>) {
        if self.expiries.is_empty() && self.ages.is_none() {
            return;
        }
        let Some((author, shelf)) = self.shelves.get_key_value(key.author) else { return };
        let Some(stored) = shelf.stored(key.name) else { return };
        if let Some(expiry) = stored.timed() {
            let expiring = Expiring { expiry, author: Arc::clone(author), name: key.name.into() };
            self.expiries.remove(&expiring, stored.persistent);
        }
        if let Some(ages) = &mut self.ages {
            ages.remove(author, stored.age(), stored.cost());
        }
    }

    /// Puts the entry into the orders of expiry and age.
    pub(crate) fn remember(&mut self, key: KeyRef<'_>) {
        let Some((author, shelf)) = self.shelves.get_key_value(key.author) else { return };
        let Some(stored) = shelf.stored(key.name) else { return };
        if let Some(expiry) = stored.timed() {
            let expiring = Expiring { expiry, author: Arc::clone(author), name: key.name.into() };
            self.expiries.insert(expiring, stored.persistent);
        }
        if let Some(ages) = &mut self.ages {
            ages.insert(author, stored.age(), stored.cost());
        }
    }
}
