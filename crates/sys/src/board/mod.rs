//! The version board: shared memory that tells every client of a store, without a message, whether what it has read is still current.
//!
//! The daemon keeps a [`Board`], clients look at it through a [`BoardView`]. It has [`STAMPS`] stamps; a key belongs to one of them, its
//! [`Slot`], and each write of the key puts a number there that was never there before. So a client that kept a stamp with what it read,
//! and finds the same stamp, knows that there was no write since. Two keys with one slot cost a question now and then, never a wrong
//! answer.
//!
//! What makes this true is the order. **A write** bumps the stamps of all that it changes, then publishes it, and both while it holds the
//! lock under which others read; then it answers. **A read** takes value and stamp under that lock. **A check** looks at
//! the stamp and then whether the board is alive ([`BoardView::is_current`] does both).
//!
//! A board dies with the process that keeps it, at once and whatever happens to it: the kernel marks it, before it gives back the name of
//! the daemon (see [`names`](crate::names)). So when a new daemon serves its first write, the old board is dead for everybody.
//!
//! The layout is described in `spec/PROTOCOL.md`, so that others can read it with `mmap`. The kernel lets no client write by any way that
//! the descriptor gives; only who may debug the daemon, and so change anything in it, can do that.
#![allow(unsafe_code)]

mod owner;
mod words;

#[cfg(test)]
mod model;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{SealFlags, fcntl_add_seals};
use rustix::mm::{MapFlags, ProtFlags};

use crate::mapping::Mapping;
use crate::memory::{self, Refused};
use owner::Owner;
use words::{Life, Word};

/// How many stamps a board has.
pub const STAMPS: u32 = 1 << 17;

/// A stamp that no write makes, so that nothing is current by it.
pub const NEVER: u64 = u64::MAX;

/// The version of the layout, which is in the header.
const LAYOUT: u32 = 1;

const MAGIC: [u8; 8] = *b"\xadBOARD\r\n";

/// Where the parts of a board are.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const LAYOUT: usize = 8;
    pub(super) const COUNT: usize = 12;
    pub(super) const INCARNATION: usize = 16;
    /// In a piece of memory of its own, as caches keep it, with nothing that is ever written while the board is alive.
    pub(super) const OWNER: usize = 64;
    pub(super) const CLOSED: usize = 68;
    pub(super) const STAMPS: usize = 4096;
    pub(super) const END: usize = STAMPS + 8 * super::STAMPS as usize;
}

/// The part of the header that never changes.
const FIXED: usize = at::INCARNATION + 16;

/// Only the map that is there when these seals are set can write, and the length is fixed.
const KEPT: SealFlags = SealFlags::FUTURE_WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// Boards are for machines that load 64 bits from memory that is read-only, and write the lowest byte first.
const SUPPORTED: bool = cfg!(all(target_pointer_width = "64", target_endian = "little"));

/// Which stamp of a board; always one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u32);

impl Slot {
    /// The slot with this index; `None` if a board has none, which is to be expected of what a peer says.
    pub fn new(index: u32) -> Option<Self> {
        (index < STAMPS).then_some(Self(index))
    }

    /// The slot of a key with this hash.
    pub fn of_hash(hash: u64) -> Self {
        Self((hash % u64::from(STAMPS)) as u32)
    }

    /// Its index, by which another process finds it.
    pub fn index(self) -> u32 {
        self.0
    }
}

/// Why a board that was received is not used.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The descriptor is not the memory that a board has to be.
    #[error("this is no version board: {0}")]
    Memory(#[from] Refused),
    /// It begins with something else.
    #[error("this is no version board: it does not begin as one")]
    Foreign,
    /// The daemon is of another version.
    #[error(
        "the version board has layout {layout} and {stamps} stamps, and this program reads layout {LAYOUT} \
         with {STAMPS}: use the same release for both"
    )]
    Layout {
        /// The version of its layout.
        layout: u32,
        /// How many stamps it has.
        stamps: u32,
    },
    /// It belongs to another store than the connection that it came by.
    #[error("the version board belongs to another store than the connection that it came by")]
    OtherStore,
    /// This machine cannot use one, or has no memory left to map it.
    #[error("the version board cannot be mapped: {0}")]
    Os(#[from] io::Error),
}

/// A board that this process keeps. Dropping it closes it, and so does the end of the process.
///
/// It keeps a thread, which sleeps. A forked child does not have the board: there nothing happens to it and no stamp is told.
///
/// ```
/// use andiron_sys::board::{Board, BoardView, Slot};
/// # use std::os::fd::AsFd;
/// let incarnation = [7; 16];
/// let board = Board::new(incarnation)?;
/// let passed = board.as_fd().try_clone_to_owned()?;
/// let view = BoardView::open(passed, incarnation)?;
///
/// let slot = Slot::of_hash(0x1234_5678_9abc);
/// let known = board.stamp(slot);
/// assert!(view.is_current(slot, known));
/// board.bump(slot, 42);
/// assert!(!view.is_current(slot, known) && view.is_current(slot, 42));
/// drop(board);
/// assert!(!view.is_current(slot, 42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Board {
    file: OwnedFd,
    words: Arc<Words>,
    _owner: Owner,
}

impl Board {
    /// Makes a board for the store with this incarnation. All stamps are 0.
    ///
    /// # Errors
    /// No memory, descriptor or thread left; `Unsupported` on a machine that has no boards. Without one, clients ask for every value.
    pub fn new(incarnation: [u8; 16]) -> io::Result<Self> {
        if !SUPPORTED {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let file = memory::make("andiron-board", at::END as u64)?;
        write_all(&file, &header(incarnation))?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let mut map = Mapping::new(&file, at::END, access, MapFlags::SHARED)?;
        map.keep_from_children()?;
        // From here on nobody can write but through the map that is there already.
        fcntl_add_seals(&file, KEPT | SealFlags::SEAL)?;
        let words = Arc::new(Words(map));
        let owner = Owner::start(words.clone())?;
        Ok(Self { file, words, _owner: owner })
    }

    /// Says that there is a write of a key with this slot. To be called for every key that an operation changes, then the operation is
    /// published, and both under the lock under which values and stamps are read.
    ///
    /// `version` is the number of the write; a slot never gets the same one twice, nor [`NEVER`].
    pub fn bump(&self, slot: Slot, version: u64) {
        if let Some(words) = self.words() {
            words::bump(words.stamp(slot), version);
        }
    }

    /// The stamp that a reader keeps with what it read, to be taken under the same lock as that.
    pub fn stamp(&self, slot: Slot) -> u64 {
        self.words().map_or(NEVER, |words| words.stamp(slot).get())
    }

    /// Says that nothing here is current any more, for good. To be done before another process can serve the same store.
    pub fn close(&self) {
        if let Some(words) = self.words() {
            words.life().close();
        }
    }

    fn words(&self) -> Option<&Words> {
        self.words.is_here().then_some(&self.words)
    }
}

impl AsFd for Board {
    /// The descriptor to be passed to clients.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.close();
    }
}

/// A board that another process keeps, or this one. Threads share it, and forked children go on with it.
#[derive(Debug)]
pub struct BoardView {
    words: Words,
}

impl BoardView {
    /// Maps a board whose descriptor was received, for the store with this incarnation. The descriptor is closed.
    ///
    /// # Errors
    /// See [`ViewError`]. Without a board every value is asked for; nothing else is lost.
    pub fn open(file: OwnedFd, incarnation: [u8; 16]) -> Result<Self, ViewError> {
        if !SUPPORTED {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        }
        memory::check(&file, FIXED as u64, KEPT)?;
        let mut header = [0; FIXED];
        let read = rustix::io::pread(&file, &mut header, 0).map_err(io::Error::from)?;
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if read < FIXED || header[at::MAGIC..at::LAYOUT] != MAGIC {
            return Err(ViewError::Foreign);
        }
        let (layout, stamps) = (number(at::LAYOUT), number(at::COUNT));
        if (layout, stamps) != (LAYOUT, STAMPS) {
            return Err(ViewError::Layout { layout, stamps });
        }
        if header[at::INCARNATION..FIXED] != incarnation {
            return Err(ViewError::OtherStore);
        }
        memory::check(&file, at::END as u64, KEPT)?;
        Ok(Self { words: Words(Mapping::new(&file, at::END, ProtFlags::READ, MapFlags::SHARED)?) })
    }

    /// Whether what was read with this stamp is what a question would be answered with now. Three loads from memory.
    pub fn is_current(&self, slot: Slot, stamp: u64) -> bool {
        words::is_current(self.words.stamp(slot), stamp, &self.words.life())
    }

    /// The stamp of a slot now. It tells nothing where the board is not [alive](Self::is_live).
    pub fn stamp(&self, slot: Slot) -> u64 {
        self.words.stamp(slot).get()
    }

    /// Whether the board is kept still. Once it is not, it never is again.
    pub fn is_live(&self) -> bool {
        self.words.life().is_live()
    }
}

/// A board that is mapped: at least [`at::END`] bytes.
#[derive(Debug)]
struct Words(Mapping);

impl Words {
    fn is_here(&self) -> bool {
        self.0.is_here()
    }

    fn stamp(&self, slot: Slot) -> &AtomicU64 {
        // SAFETY: a slot is below STAMPS, so the word lies within the map, and its address is a multiple of 8 since the map begins with a
        // page. The map lives as long as `self`. All others access it by atomic operations of this size, or not at all. A view's map is
        // read-only; it only loads, which for 64 bits on a 64-bit machine is an instruction that does not write. No access faults: the
        // pages are there and the seals keep them.
        unsafe { AtomicU64::from_ptr(self.0.start().add(at::STAMPS).cast::<u64>().add(slot.0 as usize)) }
    }

    fn life(&self) -> Life<'_, AtomicU32> {
        Life { owner: self.word(at::OWNER), closed: self.word(at::CLOSED) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset < at::STAMPS && offset.is_multiple_of(4));
        // SAFETY: as in `stamp`; the offset is one of the header's. The kernel, too, accesses the owner word by atomic operations.
        unsafe { AtomicU32::from_ptr(self.0.start().add(offset).cast()) }
    }
}

fn header(incarnation: [u8; 16]) -> [u8; FIXED] {
    let mut header = [0; FIXED];
    header[at::MAGIC..at::LAYOUT].copy_from_slice(&MAGIC);
    header[at::LAYOUT..at::COUNT].copy_from_slice(&LAYOUT.to_le_bytes());
    header[at::COUNT..at::INCARNATION].copy_from_slice(&STAMPS.to_le_bytes());
    header[at::INCARNATION..].copy_from_slice(&incarnation);
    header
}

fn write_all(file: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // A write of so few bytes to memory that is there is never cut short.
    let written = rustix::io::pwrite(file, bytes, 0)?;
    if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
