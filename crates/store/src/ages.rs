//! Which entries were written longest ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::limits::{Room, author_cost};

/// An entry that may be evicted.
#[derive(Clone, Debug)]
pub(crate) struct Aged {
    pub(crate) version: u64,
    pub(crate) author: Arc<str>,
    pub(crate) name: Box<str>,
}

/// The entries that may be evicted, in the order of their versions, of each author and of all.
///
/// A disk's entries are not here, nor those that a plan is about to change. They are counted: with the last entry of an author goes what the author counts for.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    authors: BTreeMap<Arc<str>, Author>,
    /// The authors who have such entries, by the version of the oldest.
    oldest: BTreeSet<(u64, Arc<str>)>,
    /// What there would be less if all of them went.
    all: Room,
}

#[derive(Debug, Default)]
struct Author {
    order: BTreeSet<(u64, Box<str>)>,
    /// What those count for.
    bytes: u64,
    /// Entries that are not to be evicted.
    fixed: usize,
    /// Writes under way that keep room for the author.
    holds: usize,
}

impl Author {
    fn oldest(&self) -> Option<u64> {
        self.order.first().map(|(version, _)| *version)
    }

    fn room(&self, author: &str) -> Room {
        let goes = !self.order.is_empty() && self.fixed == 0 && self.holds == 0;
        let bytes = self.bytes + if goes { author_cost(author) } else { 0 };
        Room { entries: self.order.len(), bytes }
    }

    fn is_vacant(&self) -> bool {
        self.order.is_empty() && self.fixed == 0 && self.holds == 0
    }
}

impl Ages {
    /// An entry is there now; `None`: one that is not to be evicted.
    pub(crate) fn insert(&mut self, author: &Arc<str>, evictable: Option<(u64, &str)>, cost: u64) {
        self.change(author, |of| match evictable {
            None => of.fixed += 1,
            Some((version, name)) => {
                of.bytes += if of.order.insert((version, name.into())) { cost } else { 0 };
            }
        });
    }

    /// An entry is not there any more, as it was inserted.
    pub(crate) fn remove(&mut self, author: &Arc<str>, evictable: Option<(u64, &str)>, cost: u64) {
        self.change(author, |of| match evictable {
            None => of.fixed = of.fixed.saturating_sub(1),
            Some((version, name)) => {
                of.bytes -= if of.order.remove(&(version, name.into())) { cost } else { 0 };
            }
        });
    }

    /// What the author counts for stays, whichever entries go, until as many holds are given back.
    pub(crate) fn hold(&mut self, author: &Arc<str>, hold: bool) {
        self.change(author, |of| match hold {
            true => of.holds += 1,
            false => of.holds = of.holds.saturating_sub(1),
        });
    }

    /// The entries of an author, or all, are gone.
    pub(crate) fn clear(&mut self, author: &Arc<str>) {
        self.change(author, |of| *of = Author { holds: of.holds, ..Author::default() });
    }

    /// All entries are gone. Gives what is left of them, to be dropped.
    pub(crate) fn clear_all(&mut self) -> Ages {
        let mut gone = std::mem::take(self);
        for (author, of) in gone.authors.iter_mut().filter(|(_, of)| of.holds > 0) {
            self.authors.insert(Arc::clone(author), Author { holds: of.holds, ..Author::default() });
        }
        gone
    }

    /// The oldest, of one author or of all.
    pub(crate) fn first(&self, author: Option<&str>) -> Option<Aged> {
        let author = author.or_else(|| self.oldest.first().map(|(_, author)| &**author))?;
        let (author, of) = self.authors.get_key_value(author)?;
        let (version, name) = of.order.first()?.clone();
        Some(Aged { version, author: Arc::clone(author), name })
    }

    /// How much room there would be if all of one author's went, or all.
    pub(crate) fn room(&self, author: Option<&str>) -> Room {
        match author {
            None => self.all,
            Some(author) => self.authors.get(author).map_or(Room::default(), |of| of.room(author)),
        }
    }

    fn change(&mut self, author: &Arc<str>, change: impl FnOnce(&mut Author)) {
        let of = self.authors.entry(Arc::clone(author)).or_default();
        let (oldest, room) = (of.oldest(), of.room(author));
        change(of);
        let (oldest_now, room_now) = (of.oldest(), of.room(author));
        if of.is_vacant() {
            self.authors.remove(author);
        }
        self.all.entries = self.all.entries - room.entries + room_now.entries;
        self.all.bytes = self.all.bytes - room.bytes + room_now.bytes;
        if oldest == oldest_now {
            return;
        }
        if let Some(version) = oldest {
            self.oldest.remove(&(version, Arc::clone(author)));
        }
        if let Some(version) = oldest_now {
            self.oldest.insert((version, Arc::clone(author)));
        }
    }
}
