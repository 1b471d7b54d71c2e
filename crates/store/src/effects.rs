//! What an operation does outside of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ages::Ages;
use crate::expiry::Expiries;
use crate::key::KeyRef;
use crate::shelf::Shelf;
use crate::value::Value;

/// What an operation tells its caller while it is done. `()` does nothing with it.
pub trait Effects<V> {
    /// A key that the operation is about to set or remove, and the version that this takes. Called when it is certain that the operation succeeds, and before
    /// anything of it can be seen in the store, for each of its keys once.
    fn change(&mut self, key: KeyRef<'_>, version: u64) {
        let _ = (key, version);
    }

    /// What the operation took out and nobody is answered with. Freeing it may take long, so whoever holds a lock around the store does that elsewhere.
    fn discard(&mut self, discarded: Discarded<V>) {
        drop(discarded);
    }
}

impl<V> Effects<V> for () {}

/// What was in the store, to be dropped.
#[derive(Debug)]
pub struct Discarded<V>(What<V>);

#[derive(Debug)]
enum What<V> {
    Value(V),
    Author(Box<Shelf<V>>),
    All { shelves: BTreeMap<Arc<str>, Shelf<V>>, _orders: (Expiries, Option<Ages>) },
}

impl<V: Value> Discarded<V> {
    pub(crate) fn value(value: V) -> Self {
        Discarded(What::Value(value))
    }

    pub(crate) fn author(shelf: Shelf<V>) -> Self {
        Discarded(What::Author(Box::new(shelf)))
    }

    pub(crate) fn all(shelves: BTreeMap<Arc<str>, Shelf<V>>, expiries: Expiries, ages: Option<Ages>) -> Self {
        Discarded(What::All { shelves, _orders: (expiries, ages) })
    }

    /// How many entries it was, which tells how long dropping it takes.
    pub fn entries(&self) -> usize {
        match &self.0 {
            What::Value(_) => 1,
            What::Author(shelf) => shelf.len(),
            What::All { shelves, .. } => shelves.values().map(Shelf::len).sum(),
        }
    }
}
