//! What all sessions of a server may hold together of what they received and did not work off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that several sessions share.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// So many bytes for all.
    pub fn new(bytes: u64) -> Arc<Budget> {
        Arc::new(Budget { left: AtomicU64::new(bytes) })
    }

    /// Bytes that nobody has taken.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    // Relaxed, here and below: a count that orders nothing.
    fn take(&self, bytes: u64) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Taken at a time, so that small calls seldom touch what all share; and kept by who has called once.
const PIECE: u64 = 16 << 10;
/// What a call costs beside its body.
const OVERHEAD: u64 = 256;

/// One session's part of a budget, given back with it.
#[derive(Debug, Default)]
pub(super) struct Share {
    budget: Option<Arc<Budget>>,
    taken: u64,
    used: u64,
}

impl Share {
    pub(super) fn of(budget: Option<Arc<Budget>>) -> Share {
        Share { budget, taken: 0, used: 0 }
    }

    /// Takes what a call of this cost needs; false where too little is left.
    pub(super) fn take(&mut self, cost: u64) -> bool {
        let Some(budget) = &self.budget else { return true };
        let used = self.used + cost + OVERHEAD;
        if used > self.taken {
            let pieces = (used - self.taken).next_multiple_of(PIECE);
            if !budget.take(pieces) {
                return false;
            }
            self.taken += pieces;
        }
        self.used = used;
        true
    }

    /// A call of this cost is worked off.
    pub(super) fn give_back(&mut self, cost: u64) {
        let Some(budget) = &self.budget else { return };
        self.used = self.used.saturating_sub(cost + OVERHEAD);
        let kept = self.used.next_multiple_of(PIECE).max(PIECE);
        if self.taken > kept {
            budget.give_back(self.taken - kept);
            self.taken = kept;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give_back(self.taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_no_more_is_taken_than_there_is() {
        let budget = Budget::new(4 * PIECE);
        let mut one = Share::of(Some(budget.clone()));
        let mut two = Share::of(Some(budget.clone()));
        assert!(one.take(10) && one.take(10));
        assert_eq!(budget.left(), 3 * PIECE, "small calls share a piece");
        assert!(!two.take(3 * PIECE), "with its overhead it is too much");
        assert!(two.take(2 * PIECE));
        assert_eq!(budget.left(), 0);
        assert!(one.take(10) && !one.take(2 * PIECE));
        two.give_back(2 * PIECE);
        assert_eq!(budget.left(), 2 * PIECE);
        drop(one);
        drop(two);
        assert_eq!(budget.left(), 4 * PIECE);
        assert!(Share::of(None).take(u64::MAX / 2), "without a budget there is no limit");
    }
}
