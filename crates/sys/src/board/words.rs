//! The rules of the board: which words are read and written, and in what order.
//!
//! They are written for any kind of atomic word, so the model checker of the tests runs these very lines.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The bit that the kernel sets in an owner word when its thread ends without giving it up.
pub(super) const OWNER_DIED: u32 = libc::FUTEX_OWNER_DIED;

/// The bits of an owner word that name its thread.
const OWNER: u32 = libc::FUTEX_TID_MASK;

/// A word that several processes look at.
///
/// All accesses are sequentially consistent: every process sees the writes of all words in one order, which is also that of the messages
/// and locks between them, and no access is moved behind another. On the machines that boards are used on such a load is a plain one.
pub(super) trait Word<T> {
    fn get(&self) -> T;
    fn set(&self, value: T);
}

impl Word<u64> for AtomicU64 {
    fn get(&self) -> u64 {
        // SeqCst: pairs with the store of a bump, by the daemon's process.
        self.load(Ordering::SeqCst)
    }

    fn set(&self, value: u64) {
        // SeqCst: pairs with the loads of those who check what they have; it is done before anything that follows, above all before the
        // lock is given back under which the write is published.
        self.store(value, Ordering::SeqCst);
    }
}

impl Word<u32> for AtomicU32 {
    fn get(&self) -> u32 {
        // SeqCst: pairs with the stores of an owner that closes, and with the kernel's own where an owner died.
        self.load(Ordering::SeqCst)
    }

    fn set(&self, value: u32) {
        // SeqCst: pairs with the loads of those who ask whether the board is alive; it is done before the owner's name is given back.
        self.store(value, Ordering::SeqCst);
    }
}

/// The two words that say whether a board is kept.
#[derive(Clone, Copy)]
pub(super) struct Life<'a, W> {
    /// The thread that keeps it; 0 before and after. The kernel marks it when that thread is killed.
    pub(super) owner: &'a W,
    /// Not 0 once it is closed.
    pub(super) closed: &'a W,
}

impl<W: Word<u32>> Life<'_, W> {
    /// Whether the owner still says of every write that there was one. The number of its thread is not compared with anything: it is
    /// that of the owner's own namespace.
    pub(super) fn is_live(&self) -> bool {
        let owner = self.owner.get();
        owner & OWNER != 0 && owner & OWNER_DIED == 0 && self.closed.get() == 0
    }

    pub(super) fn close(&self) {
        self.closed.set(1);
    }
}

/// Says that there is a write. After this and before the lock of the store is given back, the write is published.
pub(super) fn bump(stamp: &impl Word<u64>, version: u64) {
    stamp.set(version);
}

/// Whether what was read with the stamp `known` is still what a question would be answered with.
///
/// First the stamp, then whether the board is alive. If it is alive at the second look then no other owner has served before, so the first
/// look told of every write that was answered or seen by anybody until then: at that moment what is cached was current.
pub(super) fn is_current<W: Word<u32>>(stamp: &impl Word<u64>, known: u64, life: &Life<'_, W>) -> bool {
    stamp.get() == known && life.is_live()
}
