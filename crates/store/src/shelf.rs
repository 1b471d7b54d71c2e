//! The entries of one author.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::entry::{Stored, Written};
use crate::leaf::{Leaf, MOST_BYTES, MOST_RECORDS};
use crate::limits::{author_cost, entry_cost};
use crate::value::Value;

/// The entries of one author, sorted by name, in leaves of some dozens.
///
/// One structure finds and lists them, and no write moves more than a leaf, however many entries there are. A leaf that somebody goes over is not changed: the
/// write that would has one of its own made.
///
/// Invariants: each leaf is filed under a name that none of its names is before, and all names before the next leaf's are in it; the first is filed under the
/// empty name, and no other is empty. `len` and `bytes` are what is in the leaves, and what author and entries count for.
#[derive(Debug)]
pub(crate) struct Shelf<V> {
    leaves: BTreeMap<Box<str>, Arc<Leaf<V>>>,
    len: usize,
    bytes: u64,
}

impl<V: Value> Shelf<V> {
    pub(crate) fn new(author: &str) -> Self {
        let leaves = BTreeMap::from([("".into(), Arc::default())]);
        Self { leaves, len: 0, bytes: author_cost(author) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn stored(&self, name: &str) -> Option<Stored<'_, V>> {
        let (_, leaf) = self.leaves.range::<str, _>(up_to(name)).next_back()?;
        Some(leaf.stored(leaf.find(name)?))
    }

    /// Puts an entry. True if there was none in its place, and the value that was there, where that was kept as it came.
    pub(crate) fn put(&mut self, name: &str, written: Written<V>) -> (bool, Option<V>) {
        self.bytes += entry_cost(name, written.value.size(), written.expiry.is_some());
        let leaf = leaf_of(&mut self.leaves, name);
        match leaf.find(name) {
            Some(at) => {
                self.bytes -= leaf.stored(at).cost();
                (false, leaf.replace(at, written))
            }
            None => {
                let at = leaf.before(name);
                self.len += 1;
                let full = leaf.len() >= MOST_RECORDS || leaf.packed_bytes() + name.len() > MOST_BYTES;
                if full && leaf.len() > 0 {
                    self.insert_into_full(name, at, written);
                } else {
                    leaf.insert(at, name, written);
                }
                (true, None)
            }
        }
    }

    /// Splits the leaf that is full. Where names come in their order, only the new one goes to the new leaf, and the full one stays full.
    fn insert_into_full(&mut self, name: &str, at: usize, written: Written<V>) {
        let leaf = leaf_of(&mut self.leaves, name);
        if at == leaf.len() {
            leaf.give_back_room();
            let mut next = Leaf::default();
            next.insert(0, name, written);
            self.leaves.insert(name.into(), Arc::new(next));
            return;
        }
        // Of a few long names none is to be put beside another needlessly.
        let middle = if leaf.len() < 4 { at } else { leaf.len().div_ceil(2) };
        let mut next = leaf.split_off(middle);
        if at <= middle {
            leaf.insert(at, name, written);
        } else {
            next.insert(at - middle, name, written);
        }
        self.leaves.insert(next.name(0).into(), Arc::new(next));
    }

    /// Says whether a disk has the entry as well, and whether a write of it is planned.
    pub(crate) fn mark(&mut self, name: &str, persistent: bool, planned: bool) {
        let leaf = leaf_of(&mut self.leaves, name);
        if let Some(at) = leaf.find(name) {
            leaf.mark(at, persistent, planned);
        }
    }

    /// Takes an entry out. True if it was there, and its value, where that was kept as it came.
    pub(crate) fn remove(&mut self, name: &str) -> (bool, Option<V>) {
        let leaf = leaf_of(&mut self.leaves, name);
        let Some(at) = leaf.find(name) else { return (false, None) };
        self.bytes -= leaf.stored(at).cost();
        self.len -= 1;
        let kept = leaf.remove(at);
        if leaf.len() <= MOST_RECORDS / 4 {
            self.merge(name);
        }
        (true, kept)
    }

    /// Puts a leaf with few entries together with a neighbour, where both are still far from full then. Else a store that was emptied but for
    /// some entries would take much more memory than is counted for these.
    fn merge(&mut self, name: &str) {
        let fits = |a: &Leaf<V>, b: &Leaf<V>| {
            a.len() + b.len() <= MOST_RECORDS * 3 / 4
                && a.packed_bytes() + b.packed_bytes() <= MOST_BYTES * 3 / 4
        };
        let mut before = self.leaves.range::<str, _>(up_to(name)).rev();
        let Some((filed, leaf)) = before.next() else { return };
        let next = self.leaves.range::<str, _>((Bound::Excluded(&**filed), Bound::Unbounded)).next();
        let taken = if let Some((next, other)) = next
            && fits(leaf, other)
        {
            next.clone()
        } else if let Some((_, other)) = before.next()
            && (fits(other, leaf) || leaf.len() == 0)
        {
            filed.clone()
        } else {
            return;
        };
        let leaf = self.leaves.remove(&taken).expect("it was just found");
        leaf_of(&mut self.leaves, &taken).append(Arc::unwrap_or_clone(leaf));
    }

    /// All that is here as it is now, in the order of the names.
    pub(crate) fn leaves(&self) -> Vec<Arc<Leaf<V>>> {
        self.leaves.values().cloned().collect()
    }

    /// The entries behind `after`, all if it is `None`, in the order of their names.
    pub(crate) fn stored_after<'s>(&'s self, after: Option<&'s str>) -> impl Iterator<Item = Stored<'s, V>> {
        let first = after.and_then(|after| {
            let (filed, leaf) = self.leaves.range::<str, _>(up_to(after)).next_back()?;
            Some((&**filed, leaf.find(after).map_or_else(|| leaf.before(after), |at| at + 1)))
        });
        let start = first.map_or(Bound::Unbounded, |(filed, _)| Bound::Included(filed));
        let mut skip = first.map_or(0, |(_, skip)| skip);
        self.leaves
            .range::<str, _>((start, Bound::Unbounded))
            .flat_map(move |(_, leaf)| (std::mem::take(&mut skip)..leaf.len()).map(|at| leaf.stored(at)))
    }
}

fn up_to(name: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Unbounded, Bound::Included(name))
}

/// The leaf that a name belongs to.
fn leaf_of<'l, V: Value>(leaves: &'l mut BTreeMap<Box<str>, Arc<Leaf<V>>>, name: &str) -> &'l mut Leaf<V> {
    let (_, leaf) =
        leaves.range_mut::<str, _>(up_to(name)).next_back().expect("the first leaf is before all names");
    Arc::make_mut(leaf)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fastrand::Rng;

    use super::*;
    use crate::op::Codec;

    fn written(version: u64, value: &[u8]) -> Written<Bytes> {
        let (value, expiry) = (Bytes::copy_from_slice(value), version.is_multiple_of(3).then_some(version));
        Written { version, timestamp: 0.5, codec: Codec(version as u8), expiry, persistent: false, value }
    }

    fn names(shelf: &Shelf<Bytes>, after: Option<&str>) -> Vec<String> {
        shelf.stored_after(after).map(|stored| stored.name.to_owned()).collect()
    }

    fn random_name(rng: &mut Rng) -> String {
        let number = rng.u32(..600);
        if number.is_multiple_of(29) { format!("{number:0>5000}") } else { format!("é{number}") }
    }

    fn random_value(rng: &mut Rng) -> Vec<u8> {
        let longest = [0, 8, 20, 128, 129, 300][rng.usize(..6)];
        vec![rng.u8(..); longest]
    }

    #[test]
    fn entries_of_any_length_in_any_order_are_found_and_listed_as_in_a_map() {
        for seed in 0..4 {
            let mut rng = Rng::with_seed(seed);
            let mut shelf = Shelf::new("a");
            let mut map: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
            for version in 0..8_000 {
                let name = random_name(&mut rng);
                // It grows, then shrinks, then grows.
                let growing = (version / 2_000) % 2 == 0;
                if rng.u32(..10) < if growing { 8 } else { 2 } {
                    let value = random_value(&mut rng);
                    let (is_new, _) = shelf.put(&name, written(version, &value));
                    assert_eq!(is_new, map.insert(name.clone(), (version, value)).is_none(), "{seed}");
                } else {
                    let (was_there, _) = shelf.remove(&name);
                    assert_eq!(was_there, map.remove(&name).is_some(), "{seed}");
                }
                let (stored, expected) = (shelf.stored(&name), map.get(&name));
                let stored = stored.map(|stored| (stored.version, stored.expiry, stored.entry(0).value));
                let expected = expected.map(|(version, value)| {
                    (*version, version.is_multiple_of(3).then_some(*version), Bytes::copy_from_slice(value))
                });
                assert_eq!(stored, expected, "{seed}");
                if version % 100 == 0 {
                    let cost = |(name, (version, value)): (&String, &(u64, Vec<u8>))| {
                        entry_cost(name, value.len() as u64, version.is_multiple_of(3))
                    };
                    assert_eq!(shelf.bytes(), author_cost("a") + map.iter().map(cost).sum::<u64>(), "{seed}");
                    assert!(names(&shelf, None).iter().eq(map.keys()), "{seed}");
                    let after = random_name(&mut rng);
                    let behind = map.range::<String, _>((Bound::Excluded(&after), Bound::Unbounded));
                    assert!(names(&shelf, Some(&after)).iter().eq(behind.map(|(name, _)| name)), "{seed}");
                    assert_eq!(shelf.len(), map.len(), "{seed}");
                }
            }
        }
    }

    #[test]
    fn leaves_are_full_where_names_come_in_their_order_and_few_where_entries_go() {
        let mut shelf = Shelf::new("a");
        for number in 0..10_000 {
            shelf.put(&format!("{number:05}"), written(1, b"v"));
        }
        assert_eq!(shelf.leaves.len(), 10_000 / MOST_RECORDS + 1);
        for number in (0..10_000).filter(|number| number % 100 != 0) {
            shelf.remove(&format!("{number:05}"));
        }
        assert_eq!(shelf.len(), 100);
        assert!(shelf.leaves.len() <= 100 / (MOST_RECORDS / 4) + 1, "{} leaves are left", shelf.leaves.len());
        (0..100).for_each(|number| assert!(shelf.remove(&format!("{number:03}00")).0));
        assert_eq!((shelf.len(), shelf.leaves.len(), shelf.bytes()), (0, 1, author_cost("a")));
    }

    #[test]
    fn an_entry_that_is_set_again_and_again_takes_no_more_room() {
        let mut shelf = Shelf::new("a");
        for round in 0..100_u64 {
            for number in 0..MOST_RECORDS {
                shelf.put(&number.to_string(), written(round, &vec![1; (round as usize * number) % 128]));
            }
        }
        let leaf = &shelf.leaves[""];
        assert_eq!((shelf.leaves.len(), leaf.len()), (1, MOST_RECORDS));
        assert!(leaf.packed_bytes() <= MOST_RECORDS * (2 + 128 + 8));

        // Neither values that were once packed nor those that were not leave room behind.
        for len in [128, 500, 1] {
            for number in 0..MOST_RECORDS {
                shelf.put(&number.to_string(), written(1, &vec![1; len]));
            }
        }
        assert!(shelf.leaves[""].room() < MOST_RECORDS * 64, "{}", shelf.leaves[""].room());
    }
}
