//! Room that is kept for writes under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::{Room, author_cost};

/// Room that is kept for plans, of each author and together.
///
/// What an author counts for is kept only while the author has no entries: else it is counted with these.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    authors: BTreeMap<Arc<str>, Author>,
    all: Room,
}

#[derive(Debug, Default)]
struct Author {
    room: Room,
    plans: usize,
}

impl Reserved {
    /// Keeps room for entries of an author, who has some now or has not.
    pub(crate) fn keep(&mut self, author: &Arc<str>, room: Room, has_entries: bool) {
        let of = self.authors.entry(Arc::clone(author)).or_default();
        of.plans += 1;
        of.room = of.room.plus(room);
        self.all = self.all.plus(room);
        if of.plans == 1 && !has_entries {
            self.all.bytes += author_cost(author);
        }
    }

    /// Gives it back.
    pub(crate) fn give_back(&mut self, author: &Arc<str>, room: Room, has_entries: bool) {
        let Some(of) = self.authors.get_mut(author) else { return };
        of.plans -= 1;
        of.room = of.room.minus(room);
        self.all = self.all.minus(room);
        if of.plans == 0 {
            self.authors.remove(author);
            self.all.bytes -= if has_entries { 0 } else { author_cost(author) };
        }
    }

    /// The author has entries from now on.
    pub(crate) fn author_comes(&mut self, author: &str) {
        self.all.bytes -= if self.keeps_for(author) { author_cost(author) } else { 0 };
    }

    /// The author has no entries any more.
    pub(crate) fn author_goes(&mut self, author: &str) {
        self.all.bytes += if self.keeps_for(author) { author_cost(author) } else { 0 };
    }

    /// Whether there is room for an author.
    pub(crate) fn keeps_for(&self, author: &str) -> bool {
        self.authors.contains_key(author)
    }

    /// What is kept for one author's entries, or for all with their authors.
    pub(crate) fn room(&self, author: Option<&str>) -> Room {
        match author {
            None => self.all,
            Some(author) => self.authors.get(author).map_or(Room::default(), |of| of.room),
        }
    }
}
