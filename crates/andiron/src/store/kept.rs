//! What an engine keeps beside what was read.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::{Cached, Entry};

/// What was read of an entry and is current, with a place for what an engine made of it: gone with the entry, and replaced with it.
pub struct Kept(Arc<Cached>);

impl Kept {
    pub(super) fn new(cached: Arc<Cached>) -> Kept {
        Kept(cached)
    }

    /// The entry; `None`: there is none.
    pub fn entry(&self) -> Option<&Entry> {
        self.0.entry.as_ref()
    }

    /// What was made of it.
    pub fn made<T: Any>(&self) -> Option<&T> {
        self.0.made.get()?.downcast_ref()
    }

    /// Keeps what was made of it; the first of them stays.
    pub fn make<T: Any + Send + Sync>(&self, made: T) {
        self.0.made.get_or_init(|| Box::new(made));
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.0.entry).finish()
    }
}
