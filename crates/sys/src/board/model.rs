//! A model checker goes through every order in which the threads of these small worlds can run, and through every value that their loads
//! may give. It does so over the rules in `words.rs`, as they are, and each rule is shown to be needed: with the order swapped it
//! finds a reader that is wrong.
//!
//! The checker (loom) knows only orderings weaker than sequential consistency: it takes what is SeqCst for acquire and release. What it
//! finds to hold therefore holds for the boards.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use loom::thread;

use super::words::{self, Life, OWNER_DIED, Word};

impl Word<u64> for AtomicU64 {
    fn get(&self) -> u64 {
        self.load(Ordering::SeqCst)
    }

    fn set(&self, value: u64) {
        self.store(value, Ordering::SeqCst);
    }
}

impl Word<u32> for AtomicU32 {
    fn get(&self) -> u32 {
        self.load(Ordering::SeqCst)
    }

    fn set(&self, value: u32) {
        self.store(value, Ordering::SeqCst);
    }
}

/// The versions of the entry before and after the write.
const OLD: u64 = 1;
const NEW: u64 = 2;

/// A number of a thread.
const THREAD: u32 = 77;

struct Board {
    stamp: AtomicU64,
    owner: AtomicU32,
    closed: AtomicU32,
}

impl Board {
    fn new() -> Self {
        Self { stamp: AtomicU64::new(OLD), owner: AtomicU32::new(THREAD), closed: AtomicU32::new(0) }
    }

    fn life(&self) -> Life<'_, AtomicU32> {
        Life { owner: &self.owner, closed: &self.closed }
    }

    fn is_current(&self, known: u64) -> bool {
        words::is_current(&self.stamp, known, &self.life())
    }
}

/// A store with one entry, which is its own version.
struct Store {
    board: Board,
    entry: Mutex<u64>,
    /// That the write was answered: by a message, so whoever knows it has received what the daemon sent.
    answered: AtomicBool,
}

impl Store {
    fn new() -> Self {
        Self { board: Board::new(), entry: Mutex::new(OLD), answered: AtomicBool::new(false) }
    }

    /// A read that asks: the entry with its stamp.
    fn ask(&self) -> (u64, u64) {
        let entry = self.entry.lock().unwrap();
        (*entry, self.board.stamp.get())
    }
}

/// How a write is done.
#[derive(Clone, Copy)]
enum Write {
    /// As it has to be.
    BumpThenPublish,
    /// Others see the write and still find the old stamp.
    PublishThenBump,
    /// Others find the new stamp and still read the old entry.
    BumpOutsideOfTheLock,
}

impl Write {
    fn run(self, store: &Store) {
        match self {
            Self::BumpThenPublish => {
                let mut entry = store.entry.lock().unwrap();
                words::bump(&store.board.stamp, NEW);
                *entry = NEW;
            }
            Self::PublishThenBump => {
                *store.entry.lock().unwrap() = NEW;
                words::bump(&store.board.stamp, NEW);
            }
            Self::BumpOutsideOfTheLock => {
                words::bump(&store.board.stamp, NEW);
                *store.entry.lock().unwrap() = NEW;
            }
        }
        store.answered.store(true, Ordering::Release);
    }
}

/// A writer, a reader that asks and tells what it saw, and one that serves from its cache: once the new entry was seen by anybody, or
/// the write was answered, the old one is never served.
fn nobody_is_served_the_old_after_the_new(write: Write) {
    loom::model(move || {
        let store = Arc::new(Store::new());
        let told = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let store = store.clone();
            move || write.run(&store)
        });
        let asking = thread::spawn({
            let (store, told) = (store.clone(), told.clone());
            move || {
                let (entry, stamp) = store.ask();
                told.store(entry == NEW, Ordering::Release);
                // It caches what it read, and serves it again.
                let answered = store.answered.load(Ordering::Acquire);
                if store.board.is_current(stamp) {
                    assert!(entry == NEW || !answered, "served the old entry after the write was answered");
                }
            }
        });
        let seen = told.load(Ordering::Acquire) || store.answered.load(Ordering::Acquire);
        if store.board.is_current(OLD) {
            assert!(!seen, "served the old entry after somebody saw the new one");
        }
        writer.join().unwrap();
        asking.join().unwrap();
        assert!(!store.board.is_current(OLD), "served the old entry for ever");
    });
}

#[test]
fn a_bump_before_publishing_under_one_lock_is_never_stale() {
    nobody_is_served_the_old_after_the_new(Write::BumpThenPublish);
}

#[test]
#[should_panic(expected = "served the old entry after somebody saw the new one")]
fn a_bump_after_publishing_is_found_to_be_stale() {
    nobody_is_served_the_old_after_the_new(Write::PublishThenBump);
}

#[test]
#[should_panic(expected = "served the old entry after the write was answered")]
fn a_bump_outside_of_the_lock_is_found_to_be_stale() {
    nobody_is_served_the_old_after_the_new(Write::BumpOutsideOfTheLock);
}

/// How an owner ends.
#[derive(Clone, Copy)]
enum End {
    /// It closes the board and then gives its name back.
    Close,
    /// The kernel marks the board and then gives the name back.
    Kill,
    /// Neither is done before the name is free.
    NameFirst,
}

/// An owner that ends, the next one, which takes the name and answers a write that the old board knows nothing of, and a reader with the
/// old board: once that write was answered, the old entry is never served.
fn nobody_is_served_by_a_board_whose_owner_is_gone(end: End) {
    loom::model(move || {
        let old = Arc::new(Board::new());
        let name_is_free = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicBool::new(false));
        let ending = thread::spawn({
            let (old, name_is_free) = (old.clone(), name_is_free.clone());
            move || match end {
                End::Close => {
                    old.life().close();
                    name_is_free.store(true, Ordering::Release);
                }
                End::Kill => {
                    old.owner.set(OWNER_DIED);
                    name_is_free.store(true, Ordering::Release);
                }
                End::NameFirst => {
                    name_is_free.store(true, Ordering::Release);
                    old.owner.set(OWNER_DIED);
                }
            }
        });
        let next = thread::spawn({
            let (name_is_free, answered) = (name_is_free, answered.clone());
            move || {
                if name_is_free.load(Ordering::Acquire) {
                    answered.store(true, Ordering::Release);
                }
            }
        });
        let seen = answered.load(Ordering::Acquire);
        if old.is_current(OLD) {
            assert!(!seen, "served by a board whose owner is gone");
        }
        ending.join().unwrap();
        next.join().unwrap();
        assert!(!old.is_current(OLD));
    });
}

#[test]
fn a_board_that_is_closed_before_its_name_is_free_is_never_stale() {
    nobody_is_served_by_a_board_whose_owner_is_gone(End::Close);
}

#[test]
fn a_board_that_is_marked_before_its_name_is_free_is_never_stale() {
    nobody_is_served_by_a_board_whose_owner_is_gone(End::Kill);
}

#[test]
#[should_panic(expected = "served by a board whose owner is gone")]
fn a_name_that_is_free_before_the_board_is_marked_is_found_to_be_stale() {
    nobody_is_served_by_a_board_whose_owner_is_gone(End::NameFirst);
}
