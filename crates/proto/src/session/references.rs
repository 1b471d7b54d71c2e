//! Who holds references to whose objects, counted at both ends (`spec/PROTOCOL.md`, section 5).

use super::ids::IdMap;
use crate::message::Ref;

#[derive(Debug, Default)]
pub(crate) struct References {
    /// Own objects that were shown to the peer: how often, less what it released.
    shown: IdMap<u64>,
    last_shown: u64,
    /// Objects of the peer: how often they were shown, less what was released.
    held: IdMap<u64>,
}

impl References {
    /// A new id for an own object, which counts once it is sent.
    pub(crate) fn show(&mut self, most: u32) -> Result<u64, ()> {
        if self.shown.len() >= most as usize {
            return Err(());
        }
        self.last_shown += 1;
        self.shown.insert(self.last_shown, 0);
        Ok(self.last_shown)
    }

    /// Counts what a frame that is being sent shows.
    pub(crate) fn sent(&mut self, refs: &[Ref]) {
        for entry in refs {
            if let Ref::Local(id) = entry
                && let Some(count) = self.shown.get_mut(id)
            {
                *count += 1;
            }
        }
    }

    /// Forgets an own object if the peer holds no reference to it; true if it did.
    pub(crate) fn forget_unsent(&mut self, object: u64) -> bool {
        let unsent = self.shown.get(&object) == Some(&0);
        if unsent {
            self.shown.remove(&object);
        }
        unsent
    }

    /// Counts what an arriving frame shows; the error is the sentence for the peer.
    pub(crate) fn received(&mut self, refs: &[Ref], most: u32) -> Result<(), String> {
        for entry in refs {
            match *entry {
                Ref::Remote(0) | Ref::Local(0) => return Err("the root object is no reference".to_owned()),
                Ref::Remote(id) => *self.held.entry(id).or_insert(0) += 1,
                Ref::Local(_) => {}
            }
        }
        if self.held.len() > most as usize {
            return Err(format!("more than {most} objects were shown at once"));
        }
        Ok(())
    }

    /// The peer gives back `count` of an own object: true if none is left.
    pub(crate) fn released(&mut self, object: u64, count: u64) -> Result<bool, String> {
        let held = self.shown.get_mut(&object).filter(|held| **held >= count && count > 0);
        let held =
            held.ok_or_else(|| format!("object {object} was released more often than it was shown"))?;
        *held -= count;
        let gone = *held == 0;
        if gone {
            self.shown.remove(&object);
        }
        Ok(gone)
    }

    /// This end gives back `count` of a peer's object: how many are to be told.
    pub(crate) fn release(&mut self, object: u64, count: u64) -> u64 {
        let Some(held) = self.held.get_mut(&object) else { return 0 };
        let told = count.min(*held);
        *held -= told;
        if *held == 0 {
            self.held.remove(&object);
        }
        told
    }
}
