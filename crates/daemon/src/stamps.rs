//! The version board as the owner of the store keeps it (`spec/PROTOCOL.md`, section 12).

use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::sync::Arc;

use andiron::PassedDescriptor;
use andiron_store::KeyRef;
use andiron_sys::board::{Board, Slot};

use crate::answers::Stamp;

/// Which stamp belongs to which key. To be used under the lock of the store, so that a stamp belongs to what is read with it.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// `None` where the system has none: then clients ask for every value.
    board: Option<Board>,
    /// Keyed at random, so that nobody can make keys that share a stamp with those of others.
    hasher: RandomState,
}

impl Stamps {
    /// Those of the store with this incarnation.
    pub(crate) fn new(incarnation: [u8; 16]) -> Stamps {
        Stamps { board: Board::new(incarnation).ok(), hasher: RandomState::new() }
    }

    /// A write of this key is about to be seen.
    pub(crate) fn bump(&self, key: KeyRef<'_>, version: u64) {
        if let Some(board) = &self.board {
            board.bump(self.slot(key), version);
        }
    }

    /// What a reader keeps with what is said of this key.
    pub(crate) fn stamp(&self, key: KeyRef<'_>) -> Stamp {
        let Some(board) = &self.board else { return Stamp::default() };
        let slot = self.slot(key);
        Stamp { slot: Some(slot.index()), stamp: board.stamp(slot) }
    }

    /// Says that nothing is current by it any more.
    pub(crate) fn close(&self) {
        if let Some(board) = &self.board {
            board.close();
        }
    }

    /// To be passed to clients.
    pub(crate) fn board(&self) -> Option<PassedDescriptor> {
        let descriptor = self.board.as_ref()?.as_fd().try_clone_to_owned().ok()?;
        Some(PassedDescriptor(Arc::new(descriptor)))
    }

    fn slot(&self, key: KeyRef<'_>) -> Slot {
        Slot::of_hash(self.hasher.hash_one(key))
    }
}
