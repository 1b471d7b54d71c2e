//! The engine: all entries, their versions and their limits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ages::Ages;
use crate::effects::Effects;
use crate::entry::{Entry, Stored};
use crate::error::StoreError;
use crate::expiry::{Expiries, nanos};
use crate::key::{Key, KeyRef};
use crate::limits::{Evict, Limits};
use crate::op::{Listed, Now, Op, Page, Reply};
use crate::reserved::Reserved;
use crate::shelf::Shelf;
use crate::value::Value;
use crate::view::View;

/// What a store starts with.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStart {
    /// Random bytes that name this life of the store. Who cached something under another incarnation drops it.
    pub incarnation: [u8; 16],
    /// A version that no earlier life of the store went beyond; zero where nothing is kept.
    pub high_water: u64,
    /// The time, since the Unix epoch.
    pub now: Duration,
    /// How much the store may hold.
    pub limits: Limits,
}

/// What a store holds, and what it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries. One whose time is over counts until it is taken out.
    pub entries: usize,
    /// How much of [`Limits::max_bytes`] they take.
    pub bytes: u64,
    /// Authors who have entries.
    pub authors: usize,
    /// Reads that came to the store since it began.
    pub questions: u64,
    /// Reads that readers answered from their own memory, as far as they told ([`Op::Get`]).
    pub hits: u64,
    /// Entries that were taken out to make room for others ([`Evict::Oldest`]).
    pub evicted: u64,
}

/// All entries, in memory. See the [crate documentation](crate).
///
/// Every operation costs at most the logarithm of the number of entries for each entry that it concerns; a clear is told of all that it removes, and gives
/// them back to be freed elsewhere.
#[derive(Debug)]
pub struct Store<V = Bytes> {
    /// Only authors who have entries.
    pub(crate) shelves: BTreeMap<Arc<str>, Shelf<V>>,
    /// Exactly the entries that have an expiry, but for those that a plan is to change and no disk has.
    pub(crate) expiries: Expiries,
    /// All entries; `None`: the store evicts none.
    pub(crate) ages: Option<Ages>,
    /// The version of the last write, or where counting started.
    pub(crate) version: u64,
    /// No version from here on is taken, except by a plan.
    pub(crate) ceiling: Option<u64>,
    /// Entries that a disk has.
    pub(crate) persistent: usize,
    /// Room that is kept for plans.
    pub(crate) reserved: Reserved,
    /// The sum over all shelves; above the limit only where that much was loaded. So is `bytes`.
    pub(crate) len: usize,
    pub(crate) bytes: u64,
    /// The latest time of the steady clock, in nanoseconds.
    pub(crate) steady: u64,
    pub(crate) evicted: u64,
    questions: u64,
    hits: u64,
    incarnation: [u8; 16],
    pub(crate) limits: Limits,
}

impl<V: Value> Store<V> {
    /// An empty store. Its first version is above both the high-water mark and the time in microseconds.
    pub fn new(start: StoreStart) -> Self {
        let micros = u64::try_from(start.now.as_micros()).unwrap_or(u64::MAX);
        Self {
            shelves: BTreeMap::new(),
            expiries: Expiries::default(),
            ages: (start.limits.evict == Evict::Oldest).then(Ages::default),
            version: start.high_water.max(micros),
            ceiling: None,
            persistent: 0,
            reserved: Reserved::default(),
            len: 0,
            bytes: 0,
            steady: 0,
            evicted: 0,
            questions: 0,
            hits: 0,
            incarnation: start.incarnation,
            limits: start.limits,
        }
    }

    /// Does one operation, all of it or nothing. One that [concerns a disk](Store::concerns_disk) is to be [planned](Store::plan) instead: here it is done
    /// as if there were none.
    ///
    /// An entry whose time is over is never found, counted or listed. Where an operation meets one, or needs its room, it is taken out first, which
    /// is a write of its own and stays done where the operation itself is refused. What is [evicted](Evict::Oldest) for one is a write of its own as well.
    ///
    /// # Errors
    ///
    /// [`StoreError`], if a set would pass a limit or its condition does not hold, or a write finds no version left. Reads do not fail.
    pub fn apply(
        &mut self,
        op: Op<'_, V>,
        now: Now,
        effects: &mut impl Effects<V>,
    ) -> Result<Reply<V>, StoreError> {
        self.steady = self.steady.max(nanos(now.steady));
        match op {
            Op::Get { key, known, hits } => {
                self.expire_if_due(key, effects);
                Ok(self.get(key, known, hits))
            }
            Op::Set(put) => self.set([put], now.wall, effects),
            Op::SetMany(puts) => self.set(puts, now.wall, effects),
            Op::Increment { key, by } => self.increment(key, by, now.wall, effects),
            Op::Delete { key, if_version } => self.delete(key, if_version, effects),
            Op::DeleteFirst { author } => self.delete_first(author, effects),
            Op::Replace(put) => {
                self.expire_if_due(put.key, effects);
                let put = self.replacing(put)?;
                self.set([put], now.wall, effects)
            }
            Op::List { author, after, limit } => Ok(Reply::Listed(self.list(author, after, limit))),
            Op::Clear { author } => self.clear(author, effects),
            Op::Expire { limit } => Ok(Reply::Expired { count: self.expire(limit, effects) }),
            Op::Persist { key, .. } => Ok(Reply::Kept(self.live(key).is_some())),
            Op::ExpireOne { .. } => Ok(Reply::Expired { count: 0 }),
            op @ Op::Restore { .. } => {
                let version = self.next_version()?;
                let plan = self.plan(op, now, version, effects)?;
                Ok(self.publish(plan, effects))
            }
        }
    }

    /// The entry as a read gives it; changes nothing, and is no question.
    pub fn peek(&self, key: KeyRef<'_>, now: Now) -> Option<Entry<V>> {
        let now = self.steady.max(nanos(now.steady));
        Some(self.stored(key).filter(|stored| !stored.is_due(now))?.entry(now))
    }

    /// How many entries there are of one author, or of all; changes nothing.
    pub fn count(&self, author: Option<&str>, now: Now) -> usize {
        let now = self.steady.max(nanos(now.steady));
        self.held_by(author).0 - self.due_of(author, now)
    }

    /// The entries of one author as they are now, whatever is written later. Changes nothing, and costs a reference for every few dozen of them.
    pub fn view(&self, author: &str, now: Now) -> View<V> {
        let leaves = self.shelves.get(author).map(Shelf::leaves).unwrap_or_default();
        View::new(leaves, self.steady.max(nanos(now.steady)))
    }

    /// When the next entry expires, by the steady clock, unless it is set again. [`Op::Expire`] takes it out then, or [`Op::ExpireOne`] where a disk has it.
    pub fn next_expiry(&self) -> Option<Duration> {
        self.expiries.next(self.steady).map(Duration::from_nanos)
    }

    /// Whether an entry is here whose time is over and that [`Op::Expire`] takes out.
    pub fn has_expired(&self, now: Now) -> bool {
        self.expiries.due(self.steady.max(nanos(now.steady))).is_some()
    }

    /// The version of the last write; before the first one, where counting started.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The random bytes that name this life of the store.
    pub fn incarnation(&self) -> [u8; 16] {
        self.incarnation
    }

    /// How many entries there are, with those that expired and are not taken out yet.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How much of [`Limits::max_bytes`] is taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much the store may hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it holds and was asked.
    pub fn stats(&self) -> Stats {
        let Store { len, bytes, questions, hits, evicted, .. } = *self;
        Stats { entries: len, bytes, authors: self.shelves.len(), questions, hits, evicted }
    }

    fn get(&mut self, key: KeyRef<'_>, known: Option<u64>, hits: u64) -> Reply<V> {
        self.questions = self.questions.saturating_add(1);
        self.hits = self.hits.saturating_add(hits);
        match self.live(key) {
            None => Reply::Missing,
            Some(stored) if known == Some(stored.version) => {
                Reply::NotModified { version: stored.version, ttl_left: stored.ttl_left(self.steady) }
            }
            Some(stored) => Reply::Found(stored.entry(self.steady)),
        }
    }

    fn list(&self, author: Option<&str>, after: Option<KeyRef<'_>>, limit: usize) -> Page {
        let limit = limit.min(self.limits.max_page_entries);
        let mut page = Page::default();
        let mut key_bytes = 0;
        for (author, stored) in self.stored_after(author, after) {
            if stored.is_due(self.steady) {
                continue;
            }
            key_bytes += author.len() + stored.name.len();
            let too_long = key_bytes > self.limits.max_page_bytes && !page.entries.is_empty();
            if page.entries.len() == limit || too_long {
                page.more = true;
                break;
            }
            page.entries.push(Listed {
                key: Key { author: Arc::clone(author), name: stored.name.into() },
                version: stored.version,
                timestamp: stored.timestamp,
                size: stored.size(),
                persistent: stored.persistent,
            });
        }
        page
    }

    pub(crate) fn stored(&self, key: KeyRef<'_>) -> Option<Stored<'_, V>> {
        self.shelves.get(key.author)?.stored(key.name)
    }

    /// The entry of an author whose name comes first, of those whose time is not over.
    pub(crate) fn first(&self, author: &str) -> Option<Stored<'_, V>> {
        self.shelves.get(author)?.stored_after(None).find(|stored| !stored.is_due(self.steady))
    }

    /// The entry, unless its time is over.
    pub(crate) fn live(&self, key: KeyRef<'_>) -> Option<Stored<'_, V>> {
        self.stored(key).filter(|stored| !stored.is_due(self.steady))
    }

    /// The entries of one author, or of all, behind `after`, in the order of their keys.
    pub(crate) fn stored_after<'s>(
        &'s self,
        author: Option<&'s str>,
        after: Option<KeyRef<'s>>,
    ) -> impl Iterator<Item = (&'s Arc<str>, Stored<'s, V>)> {
        let first = author.max(after.map(|after| after.author));
        // A range that ends before it starts would panic: `after` may lie behind all of the author's entries.
        let some_may_follow = author.is_none() || first == author;
        let start = first.map_or(Bound::Unbounded, Bound::Included);
        let end = author.map_or(Bound::Unbounded, Bound::Included);
        some_may_follow.then(|| self.shelves.range::<str, _>((start, end))).into_iter().flatten().flat_map(
            move |(author, shelf)| {
                let after = after.filter(|after| *after.author == **author).map(|after| after.name);
                shelf.stored_after(after).map(move |stored| (author, stored))
            },
        )
    }
}
