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
    /// A new id for an own object, which counts once it is in a message.
    pub(crate) fn show(&mut self, most: u32) -> Result<u64, ()> {
        if self.shown.len() >= most as usize {
            return Err(());
        }
        self.last_shown += 1;
        self.shown.insert(self.last_shown, 0);
        Ok(self.last_shown)
    }

    /// True for an own object that can stand in a message.
    pub(crate) fn is_shown(&self, object: u64) -> bool {
        self.shown.contains_key(&object)
    }

    /// Counts what a message shows that is about to be sent, also if it is held back first: nobody shall forget the object meanwhile.
    pub(crate) fn count(&mut self, refs: &[Ref]) {
        for entry in refs {
            if let Ref::Local(id) = entry
                && let Some(count) = self.shown.get_mut(id)
            {
                *count += 1;
            }
        }
    }

    /// Takes back what `count` counted for a message that was not sent.
    pub(crate) fn uncount(&mut self, refs: &[Ref]) {
        for entry in refs {
            if let Ref::Local(id) = entry
                && let Some(count) = self.shown.get_mut(id)
            {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// True where an own object stands in no message and the peer holds no reference to it (any more).
    pub(crate) fn is_unused(&self, object: u64) -> bool {
        self.shown.get(&object) == Some(&0)
    }

    /// Forgets an own object that is not used; true if it was there. It stays usable until then.
    pub(crate) fn forget_unused(&mut self, object: u64) -> bool {
        let unused = self.is_unused(object);
        if unused {
            self.shown.remove(&object);
        }
        unused
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

    /// The peer gives back `count` of an own object: true if none is left. The object stays until [`forget_unused`](Self::forget_unused).
    pub(crate) fn released(&mut self, object: u64, count: u64) -> Result<bool, String> {
        let held = self.shown.get_mut(&object).filter(|held| **held >= count && count > 0);
        let held =
            held.ok_or_else(|| format!("object {object} was released more often than it was shown"))?;
        *held -= count;
        Ok(*held == 0)
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
