//! Whether there is room for a write, and how it is made.
//!
//! What expired goes first. Where the store evicts, the entries follow that were written longest ago; whether that is enough is known before the first one goes.

use std::sync::Arc;

use crate::ages::Aged;
use crate::effects::Effects;
use crate::error::{Resource, StoreError};
use crate::key::KeyRef;
use crate::limits::{LONGEST_KEY, Limits, Room, author_cost, entry_cost};
use crate::op::Put;
use crate::shelf::Shelf;
use crate::store::Store;
use crate::value::Value;

/// Expired entries that are taken out at a time to make room.
const EXPIRED_FOR_ROOM: usize = 64;

/// What a set adds: to one author, not counting the author, or to the store.
#[derive(Clone, Copy, Default)]
pub(crate) struct Growth {
    entries: usize,
    /// Bytes that the new values count for, and those that the old ones counted for.
    added: u64,
    freed: u64,
}

impl Growth {
    /// The most that it takes, whichever part of it is done: what one author gives up is not for another.
    fn most(self) -> Growth {
        Growth { added: self.added.saturating_sub(self.freed), freed: 0, ..self }
    }

    /// How much more there is than fits. What does not grow always fits, since more may have been loaded than fits.
    fn lacks(self, held: Room, reserved: Room, max: Room) -> Room {
        let beyond = |taken: u64, more: u64, max: u64| match taken.checked_sub(max) {
            Some(too_much) => more.saturating_add(too_much),
            None => more.saturating_sub(max - taken),
        };
        let mut lack = Room::default();
        if self.entries > 0 {
            let taken = (held.entries + reserved.entries) as u64;
            lack.entries = beyond(taken, self.entries as u64, max.entries as u64) as usize;
        }
        if self.added > self.freed {
            let taken = (held.bytes - self.freed).saturating_add(reserved.bytes);
            lack.bytes = beyond(taken, self.added, max.bytes);
        }
        lack
    }
}

impl<V: Value> Store<V> {
    /// Whether these may be set, where room is made for them. `planned`: not now, so that the room has to be there whatever happens meanwhile.
    pub(crate) fn admit_with_room(
        &mut self,
        puts: &[Put<'_, V>],
        planned: bool,
        effects: &mut impl Effects<V>,
    ) -> Result<(), StoreError> {
        loop {
            match self.admit(puts, planned) {
                Err(StoreError::Full { .. }) if self.expire(EXPIRED_FOR_ROOM, effects) > 0 => {}
                Err(StoreError::Full { .. }) if self.ages.is_some() => {
                    return self.evict_for(puts, planned, effects);
                }
                admitted => return admitted,
            }
        }
    }

    /// Whether the limits allow these values, and what is there now is what they may replace.
    fn admit(&self, puts: &[Put<'_, V>], planned: bool) -> Result<(), StoreError> {
        let Limits { max_bytes, max_author_bytes, max_key_bytes, .. } = self.limits;
        let max_key_bytes = max_key_bytes.min(LONGEST_KEY);
        let max_bytes = max_bytes.min(max_author_bytes);
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
        let nothing = Room::default();
        let growth = self.growth(puts, planned, |author, growth| {
            self.refuse(Some(author), self.author_lacks(author, growth), nothing)
        })?;
        self.refuse(None, self.lacks(growth), nothing)
    }

    /// Says what there is too much of, if there is more than can be made room for.
    fn refuse(&self, author: Option<&str>, lack: Room, evictable: Room) -> Result<(), StoreError> {
        let resource = if lack.entries > evictable.entries {
            Resource::Entries
        } else if lack.bytes > evictable.bytes {
            Resource::Bytes
        } else {
            return Ok(());
        };
        let Limits { max_entries, max_bytes, max_author_entries, max_author_bytes, .. } = self.limits;
        let max = match (resource, author) {
            (Resource::Entries, None) => max_entries as u64,
            (Resource::Entries, Some(_)) => max_author_entries as u64,
            (Resource::Bytes, None) => max_bytes,
            (Resource::Bytes, Some(_)) => max_author_bytes,
        };
        Err(StoreError::Full { resource, max, author: author.map(Arc::from) })
    }

    /// What the store lacks.
    fn lacks(&self, growth: Growth) -> Room {
        let Limits { max_entries, max_bytes, .. } = self.limits;
        let held = Room { entries: self.len, bytes: self.bytes };
        growth.lacks(held, self.reserved.room(None), Room { entries: max_entries, bytes: max_bytes })
    }

    /// What an author lacks. What the author counts for is there in any case, so it is left out on both sides.
    fn author_lacks(&self, author: &str, growth: Growth) -> Room {
        let Limits { max_author_entries, max_author_bytes, .. } = self.limits;
        if (max_author_entries, max_author_bytes) == (usize::MAX, u64::MAX) {
            return Room::default();
        }
        let cost = author_cost(author);
        let shelf = self.shelves.get(author);
        let held =
            shelf.map_or(Room::default(), |shelf| Room { entries: shelf.len(), bytes: shelf.bytes() - cost });
        let max = Room { entries: max_author_entries, bytes: max_author_bytes.saturating_sub(cost) };
        growth.lacks(held, self.reserved.room(Some(author)), max)
    }

    /// By how much the store would grow, with what is told of each author.
    fn growth(
        &self,
        puts: &[Put<'_, V>],
        planned: bool,
        mut of_author: impl FnMut(&str, Growth) -> Result<(), StoreError>,
    ) -> Result<Growth, StoreError> {
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
        if puts.windows(2).any(|two| two[0].key == two[1].key) {
            return Err(StoreError::KeyTwice);
        }
        for puts in puts.chunk_by(|one, next| one.key.author == next.key.author) {
            let author = puts[0].key.author;
            let shelf = self.shelves.get(author);
            let of = growth_of(shelf, puts);
            let of = if planned { of.most() } else { of };
            of_author(author, of)?;
            let is_new = shelf.is_none() && !self.reserved.keeps_for(author);
            let cost = if is_new { author_cost(author) } else { 0 };
            growth.entries += of.entries;
            growth.added = growth.added.saturating_add(of.added).saturating_add(cost);
            growth.freed += of.freed;
        }
        Ok(growth)
    }

    /// Keeps room for these, which were admitted. Gives what it is, by author.
    pub(crate) fn reserve(&mut self, puts: &[Put<'_, V>]) -> Result<Vec<(Arc<str>, Room)>, StoreError> {
        let mut rooms = Vec::new();
        self.growth(puts, true, |author, Growth { entries, added, .. }| {
            rooms.push((self.author(author), Room { entries, bytes: added }));
            Ok(())
        })?;
        for (author, room) in &rooms {
            self.reserved.keep(author, *room, self.shelves.contains_key(author));
            self.hold(author, true);
        }
        Ok(rooms)
    }

    pub(crate) fn give_back(&mut self, rooms: &[(Arc<str>, Room)]) {
        for (author, room) in rooms {
            self.reserved.give_back(author, *room, self.shelves.contains_key(author));
            self.hold(author, false);
        }
    }

    fn hold(&mut self, author: &Arc<str>, hold: bool) {
        if let Some(ages) = &mut self.ages {
            ages.hold(author, hold);
        }
    }

    fn author(&self, author: &str) -> Arc<str> {
        let known = self.shelves.get_key_value(author);
        known.map_or_else(|| author.into(), |(author, _)| Arc::clone(author))
    }

    /// Takes out what was written longest ago, until there is room. All that is needed for that, or nothing.
    fn evict_for(
        &mut self,
        puts: &[Put<'_, V>],
        planned: bool,
        effects: &mut impl Effects<V>,
    ) -> Result<(), StoreError> {
        // What is to be set is not evicted for it, and its authors stay.
        let pinned: Vec<KeyRef<'_>> =
            puts.iter().map(|put| put.key).filter(|key| self.pin(*key, true)).collect();
        let authors: Vec<Arc<str>> = puts.iter().map(|put| self.author(put.key.author)).collect();
        authors.iter().for_each(|author| self.hold(author, true));
        let victims = self.choose(puts, planned);
        authors.iter().for_each(|author| self.hold(author, false));
        for key in pinned {
            self.pin(key, false);
        }
        for Aged { author, name, .. } in victims? {
            let (key, version) = (KeyRef::new(&author, &name), self.version + 1);
            effects.change(key, version);
            self.version = version;
            self.evicted += 1;
            self.remove(key, effects);
        }
        Ok(())
    }

    /// Takes the entries that have to go out of the order of age: first where an author has too much, then of all.
    fn choose(&mut self, puts: &[Put<'_, V>], planned: bool) -> Result<Vec<Aged>, StoreError> {
        let evictable =
            |author: Option<&str>| self.ages.as_ref().map_or(Room::default(), |ages| ages.room(author));
        let mut lacks: Vec<(Option<Arc<str>>, Room)> = Vec::new();
        let growth = self.growth(puts, planned, |author, growth| {
            let lack = self.author_lacks(author, growth);
            lacks.push((Some(author.into()), lack));
            self.refuse(Some(author), lack, evictable(Some(author)))
        })?;
        let mut all = self.lacks(growth);
        self.refuse(None, all, evictable(None))?;
        let mut victims = Vec::new();
        for (author, mut lack) in lacks {
            while lack != Room::default()
                && let Some((victim, freed)) = self.next_victim(author.as_deref())
            {
                (lack, all) = (lack.less(freed), all.less(freed));
                victims.push(victim);
            }
        }
        while all != Room::default()
            && let Some((victim, freed)) = self.next_victim(None)
        {
            all = all.less(freed);
            victims.push(victim);
        }
        // With the write itself, which takes one more.
        if let Err(error) = self.versions_left(victims.len() as u64 + 1) {
            for Aged { author, name, .. } in victims {
                self.remember(KeyRef::new(&author, &name));
            }
            return Err(error);
        }
        Ok(victims)
    }

    /// Takes the oldest entry out of the order of age, with the room that it leaves.
    fn next_victim(&mut self, author: Option<&str>) -> Option<(Aged, Room)> {
        let victim = self.ages.as_ref()?.first(author)?;
        let cost = self.stored(KeyRef::new(&victim.author, &victim.name))?.cost();
        let ages = self.ages.as_mut()?;
        let before = ages.room(None);
        ages.remove(&victim.author, Some((victim.version, &victim.name)), cost);
        Some((victim, before.minus(ages.room(None))))
    }
}

/// By how much an author's entries would grow.
fn growth_of<V: Value>(shelf: Option<&Shelf<V>>, puts: &[&Put<'_, V>]) -> Growth {
    let mut growth = Growth::default();
    for Put { key, value, ttl, .. } in puts {
        growth.added = growth.added.saturating_add(entry_cost(key.name, value.size(), ttl.is_some()));
        match shelf.and_then(|shelf| shelf.stored(key.name)) {
            Some(old) => growth.freed += old.cost(),
            None => growth.entries += 1,
        }
    }
    growth
}
