//! Who watches which entries, and what of their changes was not told yet.
//!
//! A watcher who reads slowly is told less, not late: of an entry that changed several times meanwhile it gets the latest state, and how many
//! changes that stands for. So what is kept for it is at most one note for each entry, and their number is bounded.
//!
//! Whoever watched before may resume from a version: what changed after it, as far as the history has it, counts as untold.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use andiron::{Error, ErrorKind, Result};
use andiron_store::{Key, KeyRef, Op, Reply};
use futures_core::Stream;

use crate::answers::Change;
use crate::history::{History, MOST_BYTES, MOST_CHANGES, length};
use crate::shared::{Shared, now};
use crate::sync::lock;

/// How many of the entries that are there from the start, or of the changes in the history, are looked up at a time.
const PAGE: usize = 256;

/// A pattern may have so many bytes.
const LONGEST_PATTERN: usize = 1024;

/// Which entries are watched.
#[derive(Debug)]
pub(crate) struct Filter {
    pattern: String,
    /// Only those of these authors.
    authors: Option<BTreeSet<String>>,
}

impl Filter {
    /// Each change is held against the pattern while nobody else can write, so a long one is refused.
    pub(crate) fn new(pattern: &str, authors: Option<BTreeSet<String>>) -> Result<Filter> {
        if pattern.len() > LONGEST_PATTERN {
            let text =
                format!("a pattern has at most {LONGEST_PATTERN} bytes, this one has {}", pattern.len());
            return Err(Error::new(ErrorKind::BadArguments, text));
        }
        Ok(Filter { pattern: pattern.to_owned(), authors })
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

/// The watchers of a store and what they may resume from. Their lock is taken under that of the engine, so that they learn of changes in the order in
/// which these happen.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    watchers: Vec<Weak<Watcher>>,
    /// From the first watcher on: nothing is kept where nobody ever watched.
    history: Option<History>,
}

impl Watchers {
    /// An entry changed. Gives who is to be woken, once the engine is free.
    pub(crate) fn note(&self, key: KeyRef<'_>, version: u64, woken: &mut Vec<Waker>) {
        let mut watched = lock(&self.0);
        let Watched { watchers, history: Some(history) } = &mut *watched else { return };
        let key = Key::from(key);
        watchers.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                woken.extend(watcher.note(&key, version));
                true
            }
            None => false,
        });
        history.add(version, key);
    }
}

#[derive(Debug)]
struct Watcher {
    filter: Filter,
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    /// In the order in which they changed first, with the version of that. Some were told otherwise meanwhile.
    order: VecDeque<(u64, Key)>,
    notes: HashMap<Key, Note>,
    /// Of the keys in `notes`.
    bytes: usize,
    /// The version of the first change that was too much to be kept. No other is noted from there on.
    overrun: Option<u64>,
    waker: Option<Waker>,
}

impl Untold {
    /// The entry that changed first and was not told since.
    fn next(&mut self) -> Option<(Key, Note)> {
        self.first()?;
        let (_, key) = self.order.pop_front()?;
        let note = self.take(&key)?;
        Some((key, note))
    }

    /// The version of the first change that was not told, or of one before it.
    fn first(&mut self) -> Option<u64> {
        while let Some((first, key)) = self.order.front() {
            if self.notes.contains_key(key) {
                return Some(*first);
            }
            self.order.pop_front();
        }
        self.overrun
    }

    /// Up to which version all changes are told, in a store that has this version now.
    fn told_to(&mut self, version: u64) -> u64 {
        self.first().map_or(version, |first| first.saturating_sub(1))
    }

    fn take(&mut self, key: &Key) -> Option<Note> {
        let note = self.notes.remove(key)?;
        self.bytes -= length(key);
        Some(note)
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
    fn note(&self, key: &Key, version: u64) -> Option<Waker> {
        if !self.filter.takes(key.into()) {
            return None;
        }
        let mut untold = lock(&self.untold);
        if let Some(note) = untold.notes.get_mut(key) {
            note.version = version;
            note.skipped += 1;
            return None; // it was woken for the first
        }
        if untold.overrun.is_some() {
            return None; // and for this
        }
        if untold.notes.len() == MOST_CHANGES || untold.bytes + length(key) > MOST_BYTES {
            untold.overrun = Some(version);
        } else {
            untold.bytes += length(key);
            untold.order.push_back((version, key.clone()));
            untold.notes.insert(key.clone(), Note { version, skipped: 0 });
        }
        untold.waker.take()
    }
}

/// With what a watch begins.
pub(crate) enum Beginning {
    /// The entries that are there.
    Present,
    /// What changes from now on.
    Now,
    /// What changed after this version.
    Since(u64),
}

/// What one watcher is told: what it begins with, and every change from then on.
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
    pub(crate) fn new(shared: Arc<Shared>, filter: Filter, beginning: Beginning) -> Result<Watch> {
        let watcher = Arc::new(Watcher { filter, untold: Mutex::default() });
        let mut place = None;
        // Given back after each page: nobody waits for who has much to catch up with.
        while !join(&shared, &watcher, &beginning, &mut place)? {}
        let present = matches!(beginning, Beginning::Present);
        let present = present.then(|| Present { after: None, page: VecDeque::new(), more: true });
        Ok(Watch { shared, watcher, present })
    }

    /// The next entry that was there from the start. What changed meanwhile is told by its change.
    fn next_present(&mut self) -> Option<Change> {
        let present = self.present.as_mut()?;
        loop {
            present.look_ahead(&self.shared, &self.watcher.filter);
            let Some(key) = present.page.pop_front() else {
                self.present = None;
                return None;
            };
            let state = self.shared.state();
            if let Some(entry) = state.engine.peek((&key).into(), now()) {
                let mut untold = lock(&self.watcher.untold);
                // It is the newest: what changed before is told by it.
                untold.take(&key);
                // Where one of those that follow is gone by then, its removal is untold.
                let told_to =
                    if present.page.is_empty() { untold.told_to(state.engine.version()) } else { 0 };
                return Some(Change::of(key, Some(entry), 0, 0, told_to));
            }
        }
    }

    fn next_change(&self, context: &Context<'_>) -> Poll<Result<Change>> {
        // What expired is taken out first: else it would be told here as removed, and once more when it is. The locks in this order, as those who
        // change something have it.
        let (state, now) = self.shared.swept();
        let mut untold = lock(&self.watcher.untold);
        let Some((key, note)) = untold.next() else {
            if untold.overrun.is_some() {
                let text = format!(
                    "more than {MOST_CHANGES} entries, or such with names of more than {MOST_BYTES} bytes, changed before \
                     this watcher read of them: begin anew, and read faster or watch less"
                );
                return Poll::Ready(Err(Error::new(ErrorKind::Overloaded, text)));
            }
            untold.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let told_to = untold.told_to(state.engine.version());
        let entry = state.engine.peek((&key).into(), now);
        Poll::Ready(Ok(Change::of(key, entry, note.version, note.skipped, told_to)))
    }
}

impl Present {
    /// Finds out which entries come next, until it is known whether one follows the next.
    fn look_ahead(&mut self, shared: &Shared, filter: &Filter) {
        // The engine is given back after each page: where nothing fits, this goes through all there is.
        while self.more && self.page.len() < 2 {
            let after = self.after.as_ref().map(KeyRef::from);
            let list = Op::List { author: filter.only_author(), after, limit: PAGE };
            let listed = shared.state().engine.apply(list, now(), &mut ());
            let Ok(Reply::Listed(page)) = listed else { return self.more = false };
            self.more = page.more && !page.entries.is_empty();
            self.after = page.entries.last().map(|listed| listed.key.clone());
            let keys = page.entries.into_iter().map(|listed| listed.key);
            self.page.extend(keys.filter(|key| filter.takes(key.into())));
        }
    }
}

/// Has a watcher be told of what changes from now on. One who resumes first gets the next page of what changed before: `false` where more follows, behind
/// `place`.
fn join(
    shared: &Shared,
    watcher: &Arc<Watcher>,
    beginning: &Beginning,
    place: &mut Option<u64>,
) -> Result<bool> {
    let state = shared.state();
    let version = state.engine.version();
    let mut watched = lock(&shared.watchers.0);
    let Watched { watchers, history } = &mut *watched;
    let history = history.get_or_insert_with(|| History::from(version));
    if let Beginning::Since(since) = *beginning {
        let from = place.or_else(|| if since <= version { history.place(since) } else { None });
        let changes = from.and_then(|from| Some((from, history.behind(from)?)));
        let Some((from, changes)) = changes else {
            let text = format!(
                "the changes since version {since} are not known any more: begin anew, with a listing of what is there"
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        };
        let more = changes.len() > PAGE;
        changes.take(PAGE).for_each(|(version, key)| drop(watcher.note(key, *version)));
        if more {
            *place = Some(from + PAGE as u64);
            return Ok(false);
        }
    }
    watchers.push(Arc::downgrade(watcher));
    Ok(true)
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
