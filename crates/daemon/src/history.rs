//! What changed lately in a store, so that who watched it may resume.

use std::collections::VecDeque;

use andiron_store::Key;

/// So many changes are kept,
pub(crate) const MOST_CHANGES: usize = 65_536;
/// with keys of so many bytes in all.
pub(crate) const MOST_BYTES: usize = 16 << 20;

/// The latest changes, in the order in which they happened. To be used under the lock of the store, as they happen.
#[derive(Debug)]
pub(crate) struct History {
    changes: VecDeque<(u64, Key)>,
    /// Of their keys.
    bytes: usize,
    /// Of the changes up to this version not all are here; of those after it, all.
    floor: u64,
    /// So many are not here any more.
    gone: u64,
}

impl History {
    /// That of a store which has this version now.
    pub(crate) fn from(version: u64) -> History {
        History { changes: VecDeque::new(), bytes: 0, floor: version, gone: 0 }
    }

    pub(crate) fn add(&mut self, version: u64, key: Key) {
        self.bytes += length(&key);
        self.changes.push_back((version, key));
        while self.changes.len() > MOST_CHANGES || self.bytes > MOST_BYTES {
            let Some((version, key)) = self.changes.pop_front() else { break };
            self.bytes -= length(&key);
            self.floor = version;
            self.gone += 1;
        }
    }

    /// How many changes there were, as counted here, up to this version; `None` where not all after it are here.
    pub(crate) fn place(&self, version: u64) -> Option<u64> {
        let known = version >= self.floor;
        known.then(|| self.gone + self.changes.partition_point(|(change, _)| *change <= version) as u64)
    }

    /// What came behind so many changes; `None` where not all of it is here any more.
    pub(crate) fn behind(&self, place: u64) -> Option<impl ExactSizeIterator<Item = &(u64, Key)>> {
        let from = usize::try_from(place.checked_sub(self.gone)?).ok()?;
        (from <= self.changes.len()).then(|| self.changes.range(from..))
    }
}

/// Bytes of author and name together.
pub(crate) fn length(key: &Key) -> usize {
    key.author.len() + key.name.len()
}

#[cfg(test)]
mod tests {
    use andiron_store::KeyRef;

    use super::*;

    #[test]
    fn who_reads_it_in_pieces_finds_its_place_while_more_comes_or_learns_that_it_is_lost() {
        let mut history = History::from(100);
        let add = |history: &mut History, versions: std::ops::Range<u64>| {
            versions.for_each(|version| history.add(version, KeyRef::named("x").into()));
        };
        let first =
            |history: &History, place| history.behind(place).map(|mut changes| changes.next().unwrap().0);
        let most = MOST_CHANGES as u64;
        add(&mut history, 101..101 + most);
        let place = history.place(110).unwrap();
        assert_eq!(first(&history, place), Some(111));
        add(&mut history, 101 + most..111 + most);
        assert_eq!((first(&history, place), first(&history, place + 5)), (Some(111), Some(116)));
        assert_eq!((history.place(110), history.place(109)), (Some(place), None));
        add(&mut history, 111 + most..112 + most);
        assert_eq!((first(&history, place), first(&history, place + 5)), (None, Some(116)));
    }
}
