//! Who watches which entries, and what of their changes was not told yet.
//!
//! A watcher who reads slowly is told less, not late: of an entry that changed several times meanwhile it gets the latest state, and how many
//! changes that stands for. So what is kept for it is at most one note for each entry, and their number is bounded.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use andiron::{Error, ErrorKind, Result};
use andiron_store::{Key, KeyRef, Op, Reply};
use futures_core::Stream;

use crate::answers::Change;
use crate::store::{Shared, now};

/// Of so many entries a watcher may have changes untold.
const MOST_NOTES: usize = 65_536;
/// How many of the entries that are there from the start are looked up at a time.
const PAGE: usize = 256;

/// Which entries are watched.
#[derive(Debug)]
pub(crate) struct Filter {
    pattern: String,
    /// Only those of these authors.
    authors: Option<BTreeSet<String>>,
}

impl Filter {
    pub(crate) fn new(pattern: &str, authors: Option<BTreeSet<String>>) -> Filter {
        Filter { pattern: pattern.to_owned(), authors }
    }

    /// The one author whose entries are watched, if it is one.
    fn only_author(&self) -> Option<&str> {
        let authors = self.authors.as_ref().filter(|authors| authors.len() == 1)?;
        authors.first().map(String::as_str)
    }

    fn takes(&self, key: KeyRef<'_>) -> bool {
        self.authors.as_ref().is_none_or(|authors| authors.contains(key.author))
            && matches(&self.pattern, key.name)
    }
}

/// Whether a name fits a pattern, in which `*` stands for any characters, `?` for one, and a character behind `\\` for itself.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where to go on if what follows the last star does not fit here.
    let mut back: Option<(usize, usize)> = None;
    while of < name.len() {
        let fits = match pattern.get(at) {
            Some('*') => {
                back = Some((at + 1, of));
                at += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('\\') if at + 1 < pattern.len() => (pattern[at + 1] == name[of]).then_some(2),
            Some(char) => (*char == name[of]).then_some(1),
            None => None,
        };
        match (fits, back) {
            (Some(length), _) => {
                at += length;
                of += 1;
            }
            (None, Some((behind, from))) => {
                back = Some((behind, from + 1));
                (at, of) = (behind, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|char| *char == '*')
}

/// The watchers of a store. Their lock is taken under that of the engine, so that they learn of changes in the order in which these happen.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Vec<Weak<Watcher>>>);

impl Watchers {
    /// An entry changed. Gives who is to be woken, once the engine is free.
    pub(crate) fn note(&self, key: KeyRef<'_>, version: u64, woken: &mut Vec<Waker>) {
        lock(&self.0).retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                if watcher.filter.takes(key) {
                    woken.extend(watcher.note(key, version));
                }
                true
            }
            None => false,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    fn add(&self, watcher: &Arc<Watcher>) {
        lock(&self.0).push(Arc::downgrade(watcher));
    }
}

#[derive(Debug)]
struct Watcher {
    filter: Filter,
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    /// In the order in which they changed first.
    order: VecDeque<Key>,
    notes: HashMap<Key, Note>,
    /// There were more than can be kept.
    overrun: bool,
    waker: Option<Waker>,
}

impl Untold {
    /// The entry that changed first and was not told since.
    fn next(&mut self) -> Option<(Key, Note)> {
        while let Some(key) = self.order.pop_front() {
            if let Some(note) = self.notes.remove(&key) {
                return Some((key, note));
            }
        }
        None
    }
}

#[derive(Debug)]
struct Note {
    /// Of the last write or removal.
    version: u64,
    /// How many changes came before that and are told by it.
    skipped: u64,
}

impl Watcher {
    fn note(&self, key: KeyRef<'_>, version: u64) -> Option<Waker> {
        let mut untold = lock(&self.untold);
        let key = Key::from(key);
        if let Some(note) = untold.notes.get_mut(&key) {
            note.version = version;
            note.skipped += 1;
            return None; // it was woken for the first
        }
        if untold.notes.len() == MOST_NOTES {
            untold.overrun = true;
        } else {
            untold.order.push_back(key.clone());
            untold.notes.insert(key, Note { version, skipped: 0 });
        }
        untold.waker.take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one watcher is told: the entries that are there, if it asked for them, and every change from then on.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    present: Option<Present>,
}

/// How far the entries that were there from the start are told.
struct Present {
    after: Option<Key>,
    page: VecDeque<Key>,
    more: bool,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, filter: Filter, present: bool) -> Watch {
        let watcher = Arc::new(Watcher { filter, untold: Mutex::default() });
        shared.watchers.add(&watcher);
        let present = present.then(|| Present { after: None, page: VecDeque::new(), more: true });
        Watch { shared, watcher, present }
    }

    /// The next entry that was there from the start. What changed meanwhile is told by its change.
    fn next_present(&mut self) -> Option<Change> {
        let present = self.present.as_mut()?;
        loop {
            // Given back after each page: where nothing fits, this goes through all there is.
            let mut state = self.shared.state();
            let engine = &mut state.engine;
            while let Some(key) = present.page.pop_front() {
                if let Some(entry) = engine.peek((&key).into(), now()) {
                    // It is the newest: what changed before is told by it.
                    lock(&self.watcher.untold).notes.remove(&key);
                    return Some(Change::of(key, Some(entry), 0, 0));
                }
            }
            if !present.more {
                break;
            }
            let after = present.after.as_ref().map(KeyRef::from);
            let author = self.watcher.filter.only_author();
            let list = Op::List { author, after, limit: PAGE };
            let Ok(Reply::Listed(page)) = engine.apply(list, now(), &mut ()) else { break };
            present.more = page.more && !page.entries.is_empty();
            present.after = page.entries.last().map(|listed| listed.key.clone());
            let keys = page.entries.into_iter().map(|listed| listed.key);
            present.page = keys.filter(|key| self.watcher.filter.takes(key.into())).collect();
        }
        self.present = None;
        None
    }

    fn next_change(&self, context: &Context<'_>) -> Poll<Result<Change>> {
        // What expired is taken out first: else it would be told here as removed, and once more when it is. The locks in this order, as those who
        // change something have it.
        let (state, now) = self.shared.swept();
        let mut untold = lock(&self.watcher.untold);
        let Some((key, note)) = untold.next() else {
            if untold.overrun {
                let text = format!(
                    "more than {MOST_NOTES} entries changed before this watcher read of them: begin anew, and read faster \
                     or watch less"
                );
                return Poll::Ready(Err(Error::new(ErrorKind::Overloaded, text)));
            }
            untold.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let Note { version, skipped } = note;
        let entry = state.engine.peek((&key).into(), now);
        Poll::Ready(Ok(Change::of(key, entry, version, skipped)))
    }
}

impl Stream for Watch {
    type Item = Result<Change>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Change>>> {
        match self.next_present() {
            Some(change) => Poll::Ready(Some(Ok(change))),
            None => self.next_change(context).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, fits, others) in [
            ("*", &["", "x", "a/b"][..], &[][..]),
            ("room", &["room"], &["rooms", "Room", ""]),
            ("room*", &["room", "room 1"], &["bedroom"]),
            ("*room", &["room", "bedroom", "roomroom"], &["rooms"]),
            ("r*m?", &["rooms", "rmm1", "r-m-m-"], &["room", "rm"]),
            ("?", &["x", "é"], &["", "xy"]),
            ("a\\*b", &["a*b"], &["axb", "a\\*b"]),
            ("**a*", &["a", "bab"], &["b"]),
            ("\\", &["\\"], &["x"]),
        ] {
            for name in fits {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in others {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
        let long = "a".repeat(10_000);
        assert!(!matches(&"*a".repeat(200).replace("a", "ab"), &long), "and in no time");
    }
}
