//! The entries of an author as they are at one moment.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::entry::Entry;
use crate::leaf::Leaf;
use crate::value::Value;

/// The entries that an author had when it was taken, in the order of their names; see [`Store::view`](crate::Store::view).
///
/// It shares what is in the store, and keeps it from being freed as far as it was not gone over yet: of what is replaced meanwhile there are two.
#[derive(Clone, Debug)]
pub struct View<V> {
    leaves: VecDeque<Arc<Leaf<V>>>,
    /// How many of the first one were given out.
    given: usize,
    /// When it was taken, by the steady clock.
    now: u64,
}

impl<V> View<V> {
    pub(crate) fn new(leaves: Vec<Arc<Leaf<V>>>, now: u64) -> View<V> {
        View { leaves: leaves.into(), given: 0, now }
    }
}

/// Of nobody.
impl<V> Default for View<V> {
    fn default() -> View<V> {
        View::new(Vec::new(), 0)
    }
}

/// Name and entry.
impl<V: Value> Iterator for View<V> {
    type Item = (Box<str>, Entry<V>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let leaf = self.leaves.front()?;
            if self.given == leaf.len() {
                self.leaves.pop_front();
                self.given = 0;
                continue;
            }
            let stored = leaf.stored(self.given);
            self.given += 1;
            if !stored.is_due(self.now) {
                return Some((stored.name.into(), stored.entry(self.now)));
            }
        }
    }
}
