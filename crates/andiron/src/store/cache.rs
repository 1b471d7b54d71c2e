//! What this process has read of a store, and how it knows that it is still current.
//!
//! Most reads end here, without a message: an entry is current while the stamp of its slot on the version board is the one that came with it
//! (`spec/PROTOCOL.md`, section 12). Where there is no board, or the stamp is another, the store is asked, with the version that is here, and sends no value
//! if that is the current one. What stands here is never changed, only replaced, so a reader never sees what another one does with it.
//!
//! Locking rules: one shard at a time, and nothing is freed or sent while it is locked.

use std::any::Any;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use andiron_sys::board::{BoardView, Slot};
use andiron_sys::clock::since_boot;
use hashbrown::HashTable;
use parking_lot::RwLock;

use super::Entry;
use super::wire::Answer;
use crate::blob::PassedDescriptor;
use crate::link::Link;
use crate::sync::lock;
use crate::{Error, ErrorKind, Result};

/// How much is kept where nobody says.
pub(crate) const DEFAULT_LIMIT: usize = 64 << 20;

/// Threads that read different entries seldom meet at one lock.
const SHARDS: usize = 16;

/// What an entry counts for beside its value and its key.
const OVERHEAD: usize = 256;

/// Whose entry, and which.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) author: &'a str,
    pub(crate) name: &'a str,
}

/// A life of a store, and its board where this process can see it.
#[derive(Debug, Default)]
pub(crate) struct Source {
    incarnation: Option<[u8; 16]>,
    board: Option<BoardView>,
    /// Which of the lives that were seen here it is, in their order.
    life: u64,
}

/// What an answer said of an entry, or of there being none. It is replaced, never changed.
#[derive(Debug)]
pub(crate) struct Cached {
    author: Box<str>,
    name: Box<str>,
    pub(super) entry: Option<Entry>,
    /// What an engine made of that.
    pub(super) made: OnceLock<Box<dyn Any + Send + Sync>>,
    source: Arc<Source>,
    slot: Option<Slot>,
    stamp: u64,
    /// By the clock of [`since_boot`], as the other times here. Counted from when the question was sent, so that nothing outlives its time because an answer was slow.
    expires: Option<Duration>,
    /// When the question was sent.
    asked: Duration,
    /// It was read again since it was looked at whether it is.
    used: AtomicBool,
    hash: u64,
}

#[derive(Default)]
struct Shard {
    entries: HashTable<Arc<Cached>>,
    /// Own writes that began or ended. What was asked before one is not kept behind it.
    writes: u64,
}

pub(crate) struct Cache {
    /// In bytes; 0: nothing is kept.
    limit: usize,
    bytes: AtomicUsize,
    shards: [RwLock<Shard>; SHARDS],
    hasher: foldhash::fast::RandomState,
    /// Reads that were answered from memory, and that the store was not told of.
    hits: AtomicU64,
    closed: AtomicBool,
    /// The fork generation in which it was made: a child could find the locks held by threads that it has not.
    generation: u32,
    /// Of the connection that was asked last.
    source: Mutex<Option<(Weak<Link>, Arc<Source>)>>,
    /// The latest life of a store that was seen.
    life: AtomicU64,
}

/// What came of looking.
pub(crate) enum Look {
    /// It is current; `None`: that there is no such entry is.
    Current(Option<Entry>),
    Ask(Ask),
}

/// A question that is about to be sent.
pub(crate) struct Ask {
    hash: u64,
    known: Option<Arc<Cached>>,
    writes: u64,
    sent: Duration,
}

impl Cached {
    /// Whether the board says that nobody wrote it since.
    fn is_current(&self) -> bool {
        self.slot
            .zip(self.source.board.as_ref())
            .is_some_and(|(slot, board)| board.is_current(slot, self.stamp))
            && self.expires.is_none_or(|expires| since_boot() < expires)
    }

    /// Whether it was asked for not longer ago than this.
    fn is_younger(&self, staleness: Duration) -> bool {
        let now = since_boot();
        now.saturating_sub(self.asked) <= staleness && self.expires.is_none_or(|expires| now < expires)
    }

    /// What it says; `cached`: without a question.
    pub(crate) fn entry(&self, cached: bool) -> Option<Entry> {
        self.entry.as_ref().map(|entry| Entry { cached, ..entry.clone() })
    }

    fn size(&self) -> usize {
        let value = self.entry.as_ref().map_or(0, |entry| entry.bytes.len());
        value + self.author.len() + self.name.len() + OVERHEAD
    }

    fn is_of(&self, key: Key<'_>) -> bool {
        *self.name == *key.name && *self.author == *key.author
    }
}

impl Ask {
    /// The version that is here already, of the store that is asked; 0: none.
    pub(crate) fn version(&self, source: &Source) -> u64 {
        let same = |known: &&Arc<Cached>| {
            known.source.incarnation.is_some() && known.source.incarnation == source.incarnation
        };
        let known = self.known.as_ref().filter(same);
        known.and_then(|known| known.entry.as_ref()).map_or(0, |entry| entry.version)
    }
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Cache {
        Cache {
            limit,
            bytes: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: foldhash::fast::RandomState::default(),
            hits: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            generation: andiron_sys::fork::generation(),
            source: Mutex::default(),
            life: AtomicU64::new(0),
        }
    }

    /// The entry if it is known to be current, else what to ask.
    pub(crate) fn look(&self, key: Key<'_>, staleness: Option<Duration>) -> Look {
        let hash = self.hash(key);
        if self.limit == 0 || !self.is_open() {
            return Look::Ask(Ask { hash, known: None, writes: 0, sent: since_boot() });
        }
        let shard = self.shard(hash).read();
        let known = shard.entries.find(hash, |cached| cached.is_of(key));
        match known.filter(|known| self.gives(known, staleness)) {
            Some(known) => Look::Current(known.entry(true)),
            None => Look::Ask(Ask { hash, known: known.cloned(), writes: shard.writes, sent: since_boot() }),
        }
    }

    /// What is here of the entry if it is known to be current.
    pub(crate) fn kept(&self, key: Key<'_>, staleness: Option<Duration>) -> Option<Arc<Cached>> {
        if self.limit == 0 || !self.is_open() {
            return None;
        }
        let hash = self.hash(key);
        let shard = self.shard(hash).read();
        let known = shard.entries.find(hash, |cached| cached.is_of(key));
        known.filter(|known| self.gives(known, staleness)).cloned()
    }

    /// Whether it can be given out without a question; it is counted then.
    fn gives(&self, known: &Cached, staleness: Option<Duration>) -> bool {
        let gives = known.is_current() || self.may_be_old(known, staleness);
        if gives {
            // Relaxed, here and below: hints and counts that order nothing.
            if !known.used.load(Ordering::Relaxed) {
                known.used.store(true, Ordering::Relaxed);
            }
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        gives
    }

    /// Whether what is here may be given out although it may be old: not beyond the life of its store.
    fn may_be_old(&self, cached: &Cached, staleness: Option<Duration>) -> bool {
        staleness.is_some_and(|staleness| cached.is_younger(staleness))
            && cached.source.life == self.life.load(Ordering::Relaxed)
    }

    /// Whether what is held outside of the cache may be given out. It may be old only as long as it is here too: else there was a newer one, or an own write.
    pub(crate) fn is_current(&self, held: &Arc<Cached>, staleness: Option<Duration>) -> bool {
        let is_here = || {
            let shard = self.shard(held.hash).read();
            shard.entries.find(held.hash, |cached| Arc::ptr_eq(cached, held)).is_some()
        };
        self.is_open() && (held.is_current() || self.may_be_old(held, staleness) && is_here())
    }

    /// What to ask for an entry of which this is held outside of the cache.
    pub(crate) fn ask_again(&self, key: Key<'_>, held: Option<&Arc<Cached>>) -> Ask {
        let hash = self.hash(key);
        let writes = if self.is_open() { self.shard(hash).read().writes } else { 0 };
        Ask { hash, known: held.cloned(), writes, sent: since_boot() }
    }

    /// Keeps an answer. `source`: the store that gave it; where that is not certain, `None`, and nobody takes the answer for current later.
    ///
    /// # Errors
    /// The store says that a version is current which it was not asked about.
    pub(crate) fn learn(
        &self,
        key: Key<'_>,
        ask: Ask,
        source: Option<Arc<Source>>,
        answer: Answer,
    ) -> Result<Arc<Cached>> {
        let keep = source.is_some();
        let source = source.unwrap_or_default();
        let Ask { hash, known, writes, sent } = ask;
        let (slot, stamp, ttl) = answer.currency();
        let entry = match answer.not_modified() {
            None => answer.entry(),
            Some(version) => {
                let known = known.and_then(|known| known.entry(false));
                let known = known.filter(|entry| entry.version == version);
                let text = "the store says that a version is current which it was not asked about";
                Some(known.ok_or_else(|| Error::new(ErrorKind::Protocol, text))?)
            }
        };
        let cached = Arc::new(Cached {
            author: key.author.into(),
            name: key.name.into(),
            entry,
            made: OnceLock::new(),
            source,
            slot,
            stamp,
            expires: ttl.map(|ttl| sent.saturating_add(ttl)),
            asked: sent,
            used: AtomicBool::new(false),
            hash,
        });
        if keep && cached.size() <= self.limit && self.is_open() {
            self.insert(hash, writes, &cached);
        } else {
            self.forget(key); // what is here is older
        }
        Ok(cached)
    }

    fn insert(&self, hash: u64, writes: u64, cached: &Arc<Cached>) {
        let key = Key { author: &cached.author, name: &cached.name };
        let mut shard = self.shard(hash).write();
        if shard.writes != writes {
            return;
        }
        let found = shard.entries.find_entry(hash, |other| other.is_of(key));
        let before = match found {
            Ok(mut found) => Some(std::mem::replace(found.get_mut(), cached.clone())),
            Err(_) => {
                let hasher = &self.hasher;
                shard.entries.insert_unique(hash, cached.clone(), |cached| {
                    hash_of(hasher, Key { author: &cached.author, name: &cached.name })
                });
                None
            }
        };
        drop(shard);
        let removed = before.as_ref().map_or(0, |before| before.size());
        self.bytes.fetch_add(cached.size(), Ordering::Relaxed);
        let total = self.bytes.fetch_sub(removed, Ordering::Relaxed) - removed;
        if total > self.limit {
            self.make_room(hash);
        }
    }

    /// Lets go of what was not read lately, and if that is too little, of anything, until an eighth is free; where room was taken last it looks last.
    fn make_room(&self, hash: u64) {
        let enough = self.limit - self.limit / 8;
        let first = shard_of(hash);
        for round in 0..2 {
            for index in 0..SHARDS {
                let mut freed = Vec::new();
                let mut shard = self.shards[(first + 1 + index) % SHARDS].write();
                shard.entries.retain(|cached| {
                    let stays = self.bytes.load(Ordering::Relaxed) <= enough
                        || round == 0 && cached.used.swap(false, Ordering::Relaxed);
                    if !stays {
                        self.bytes.fetch_sub(cached.size(), Ordering::Relaxed);
                        freed.push(cached.clone());
                    }
                    stays
                });
                drop(shard);
                drop(freed);
                if self.bytes.load(Ordering::Relaxed) <= enough {
                    return;
                }
            }
        }
    }

    /// This process writes the entry, or has: what was read before is not given out any more, nor kept when its answer comes.
    pub(crate) fn wrote(&self, key: Key<'_>) {
        if self.limit == 0 || !self.is_open() {
            return;
        }
        self.shard(self.hash(key)).write().writes += 1;
        self.forget(key);
    }

    fn forget(&self, key: Key<'_>) {
        if self.limit == 0 || !self.is_open() {
            return;
        }
        let hash = self.hash(key);
        let mut shard = self.shard(hash).write();
        let removed =
            shard.entries.find_entry(hash, |cached| cached.is_of(key)).ok().map(|found| found.remove().0);
        drop(shard);
        self.bytes.fetch_sub(removed.map_or(0, |removed| removed.size()), Ordering::Relaxed);
    }

    /// The same of all entries of an author, or all.
    pub(crate) fn wrote_all(&self, author: Option<&str>) {
        if self.limit == 0 || !self.is_open() {
            return;
        }
        for shard in &self.shards {
            let mut freed = Vec::new();
            let mut shard = shard.write();
            shard.writes += 1;
            shard.entries.retain(|cached| {
                let stays = author.is_some_and(|author| *cached.author != *author);
                if !stays {
                    freed.push(cached.clone());
                }
                stays
            });
            drop(shard);
            let bytes: usize = freed.iter().map(|cached| cached.size()).sum();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// The store at the other end of this connection, if it was asked before.
    pub(crate) fn source(&self, link: &Arc<Link>) -> Option<Arc<Source>> {
        let source = lock(&self.source);
        let (of, source) = source.as_ref()?;
        std::ptr::eq(of.as_ptr(), Arc::as_ptr(link)).then(|| source.clone())
    }

    /// Whether the other end of this connection is to be asked for its board.
    pub(crate) fn wants_board(&self, link: &Link) -> bool {
        self.limit != 0 && self.is_open() && link.passes_descriptors() && link.store().is_some()
    }

    /// What the other end of this connection gave when it was asked for its board. Without one, or with one that is none, entries are asked for.
    pub(crate) fn set_source(&self, link: &Arc<Link>, board: Option<PassedDescriptor>) -> Arc<Source> {
        let incarnation = link.store();
        let board = board
            .zip(incarnation)
            .and_then(|(board, incarnation)| BoardView::open(board.0.try_clone().ok()?, incarnation).ok());
        let mut latest = lock(&self.source);
        let life = self.life.load(Ordering::Relaxed) + u64::from(!is_of(latest.as_ref(), incarnation));
        let source = Arc::new(Source { incarnation, board, life });
        let before = latest.replace((Arc::downgrade(link), source.clone()));
        // Relaxed: what is given out although it may be old is so by a moment more.
        self.life.store(life, Ordering::Relaxed);
        drop(latest);
        drop(before);
        source
    }

    /// The hub has another connection now: what was read from another store is not given out any more.
    pub(crate) fn moved_to(&self, link: &Link) {
        let incarnation = link.store();
        let mut latest = lock(&self.source);
        if !is_of(latest.as_ref(), incarnation) {
            self.life.fetch_add(1, Ordering::Relaxed);
            let before = latest.take();
            drop(latest);
            drop(before);
        }
    }

    /// Reads that were answered here since this was asked last.
    pub(crate) fn take_hits(&self) -> u64 {
        match self.hits.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.hits.swap(0, Ordering::Relaxed),
        }
    }

    /// So many reads were answered from what is held outside.
    pub(crate) fn count(&self, hits: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
    }

    /// The hub is closed: nothing is answered from here any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// False in a forked child, and once the hub is closed.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) && self.generation == andiron_sys::fork::generation()
    }

    fn hash(&self, key: Key<'_>) -> u64 {
        hash_of(&self.hasher, key)
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[shard_of(hash)]
    }
}

/// Whether a store that was seen has this incarnation.
fn is_of(seen: Option<&(Weak<Link>, Arc<Source>)>, incarnation: Option<[u8; 16]>) -> bool {
    incarnation.is_some() && seen.is_some_and(|(_, source)| source.incarnation == incarnation)
}

fn hash_of(hasher: &foldhash::fast::RandomState, key: Key<'_>) -> u64 {
    hasher.hash_one((key.name, key.author))
}

/// By bits that the table within does not look at first.
fn shard_of(hash: u64) -> usize {
    (hash >> 48) as usize % SHARDS
}
