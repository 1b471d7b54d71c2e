//! The entries of one author.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::limits::{author_cost, entry_cost};
use crate::op::Entry;

/// The entries of one author: a hash table to find them fast, and the order of their names to list them.
///
/// Invariants: both hold the same names, sharing each name's text; `bytes` is what author and entries count for.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// Boxed, because up to half of the table's places are empty and a table that grows moves them all.
    entries: HashMap<Arc<str>, Box<Entry>>,
    order: BTreeSet<Arc<str>>,
    bytes: u64,
}

impl Shelf {
    pub(crate) fn new(author: &str) -> Self {
        Self { entries: HashMap::new(), order: BTreeSet::new(), bytes: author_cost(author) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).map(|entry| &**entry)
    }

    /// Puts an entry and gives the one that was in its place.
    pub(crate) fn put(&mut self, name: &str, entry: Entry) -> Option<Entry> {
        self.bytes += entry_cost(name, entry.value.len());
        if let Some(place) = self.entries.get_mut(name) {
            self.bytes -= entry_cost(name, place.value.len());
            return Some(std::mem::replace(&mut **place, entry));
        }
        let name: Arc<str> = name.into();
        self.order.insert(Arc::clone(&name));
        self.entries.insert(name, Box::new(entry));
        None
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        let entry = self.entries.remove(name)?;
        self.order.remove(name);
        self.bytes -= entry_cost(name, entry.value.len());
        self.give_back_room();
        Some(*entry)
    }

    /// The entries behind `after`, all if it is `None`, in the order of their names.
    pub(crate) fn entries_after(&self, after: Option<&str>) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.order
            .range::<str, _>((start, Bound::Unbounded))
            .map(|name| (name, self.entry(name).expect("order and entries hold the same names")))
    }

    /// A hash table keeps the room of its fullest time. Without this, filling and emptying one author after the
    /// other would take memory that no limit counts. Halving at a quarter keeps removal at constant cost on average.
    fn give_back_room(&mut self) {
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::op::Codec;

    #[test]
    fn an_emptied_table_gives_back_its_room() {
        let mut shelf = Shelf::new("a");
        let entry = Entry { value: Bytes::new(), codec: Codec(0), version: 1, timestamp: 0.0 };
        for i in 0..10_000 {
            shelf.put(&i.to_string(), entry.clone());
        }
        for i in 10..10_000 {
            shelf.remove(&i.to_string());
        }
        assert_eq!(shelf.len(), 10);
        assert!(shelf.entries.capacity() <= 64, "room for {} is kept", shelf.entries.capacity());
    }
}
