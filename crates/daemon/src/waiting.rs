//! Operations that wait for a disk, and what has to wait behind them.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use andiron::Result;
use andiron_store::disk::{Backup, Durability};
use andiron_store::{Codec, Entry, Key, KeyRef, Op, Put, Reply};

use crate::kept::Kept;
use crate::sync::lock;

/// Writing so many bytes takes long.
const SLOW: usize = 1 << 18;

/// An operation that waits.
#[derive(Debug)]
pub(crate) enum Waiting {
    Set(Vec<OwnedPut>, bool),
    Increment(Key, i64),
    Delete(Key, Option<u64>),
    DeleteFirst(Arc<str>),
    Replace(OwnedPut),
    Clear(Option<Arc<str>>),
    Persist(Key, bool),
    ExpireOne(Key),
    Restore(Restored),
}

/// Entries that are set as they once were.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) entries: Vec<(Key, Entry<Kept>)>,
    /// All that is persistent is to be as it is there.
    pub(crate) backup: Option<Backup>,
}

#[derive(Debug)]
pub(crate) struct OwnedPut {
    key: Key,
    codec: Codec,
    value: Kept,
    ttl: Option<Duration>,
    if_version: Option<u64>,
    persist: bool,
}

impl From<Put<'_, Kept>> for OwnedPut {
    fn from(put: Put<'_, Kept>) -> OwnedPut {
        let Put { key, codec, value, ttl, if_version, persist } = put;
        OwnedPut { key: key.into(), codec, value, ttl, if_version, persist }
    }
}

impl OwnedPut {
    fn put(&self) -> Put<'_, Kept> {
        let OwnedPut { key, codec, value, ttl, if_version, persist } = self;
        Put {
            key: key.into(),
            codec: *codec,
            value: value.clone(),
            ttl: *ttl,
            if_version: *if_version,
            persist: *persist,
        }
    }
}

impl Waiting {
    /// What it takes all snapshots of, too.
    pub(crate) fn backup(&self) -> Option<&Backup> {
        match self {
            Waiting::Restore(restored) => restored.backup.as_ref(),
            _ => None,
        }
    }

    /// `None` for what only reads, and for what is not asked for in this way.
    pub(crate) fn of(op: Op<'_, Kept>) -> Option<Waiting> {
        Some(match op {
            Op::Set(put) => Waiting::Set(vec![put.into()], false),
            Op::SetMany(puts) => Waiting::Set(puts.into_iter().map(OwnedPut::from).collect(), true),
            Op::Increment { key, by } => Waiting::Increment(key.into(), by),
            Op::Delete { key, if_version } => Waiting::Delete(key.into(), if_version),
            Op::DeleteFirst { author } => Waiting::DeleteFirst(author.into()),
            Op::Replace(put) => Waiting::Replace(put.into()),
            Op::Clear { author } => Waiting::Clear(author.map(Arc::from)),
            Op::Persist { key, persist } => Waiting::Persist(key.into(), persist),
            Op::ExpireOne { key } => Waiting::ExpireOne(key.into()),
            Op::Get { .. } | Op::List { .. } | Op::Expire { .. } | Op::Restore { .. } => return None,
        })
    }

    pub(crate) fn op(&self) -> Op<'_, Kept> {
        match self {
            Waiting::Set(puts, true) => Op::SetMany(puts.iter().map(OwnedPut::put).collect()),
            Waiting::Set(puts, false) => Op::Set(puts[0].put()),
            Waiting::Increment(key, by) => Op::Increment { key: key.into(), by: *by },
            Waiting::Delete(key, if_version) => Op::Delete { key: key.into(), if_version: *if_version },
            Waiting::DeleteFirst(author) => Op::DeleteFirst { author },
            Waiting::Replace(put) => Op::Replace(put.put()),
            Waiting::Clear(author) => Op::Clear { author: author.as_deref() },
            Waiting::Persist(key, persist) => Op::Persist { key: key.into(), persist: *persist },
            Waiting::ExpireOne(key) => Op::ExpireOne { key: key.into() },
            Waiting::Restore(Restored { entries, backup }) => Op::Restore { entries, all: backup.is_some() },
        }
    }
}

/// The keys that an operation changes.
enum Scope<'o> {
    Keys(Vec<KeyRef<'o>>),
    /// All of an author, or all.
    All(Option<&'o str>),
    Nothing,
}

fn scope<'o>(op: &Op<'o, Kept>) -> Scope<'o> {
    match op {
        Op::Set(put) | Op::Replace(put) => Scope::Keys(vec![put.key]),
        Op::SetMany(puts) => Scope::Keys(puts.iter().map(|put| put.key).collect()),
        Op::Increment { key, .. }
        | Op::Delete { key, .. }
        | Op::Persist { key, .. }
        | Op::ExpireOne { key } => Scope::Keys(vec![*key]),
        Op::Clear { author } => Scope::All(*author),
        // Which one it is depends on all that is done before.
        Op::DeleteFirst { author } => Scope::All(Some(author)),
        Op::Restore { all: true, .. } => Scope::All(None),
        Op::Restore { entries, .. } => Scope::Keys(entries.iter().map(|(key, _)| key.into()).collect()),
        Op::Get { .. } | Op::List { .. } | Op::Expire { .. } => Scope::Nothing,
    }
}

/// Which of these keys an operation changes.
pub(crate) fn changed_of(keys: &HashSet<Key>, op: &Op<'_, Kept>) -> Vec<Key> {
    let only_what_is_there =
        matches!(op, Op::Persist { .. } | Op::ExpireOne { .. } | Op::DeleteFirst { .. } | Op::Replace(_));
    if keys.is_empty() || only_what_is_there {
        return Vec::new();
    }
    match scope(op) {
        Scope::Nothing => Vec::new(),
        Scope::Keys(changed) => changed.into_iter().map(Key::from).filter(|key| keys.contains(key)).collect(),
        Scope::All(author) => {
            keys.iter().filter(|key| author.is_none_or(|author| author == &*key.author)).cloned().collect()
        }
    }
}

/// What is under way: later writes of the same keys have to wait.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    keys: HashMap<Key, usize>,
    /// Authors of whose entries any may be changed; `None`: all of them.
    clears: Vec<Option<Arc<str>>>,
}

impl UnderWay {
    /// Whether an operation has to wait.
    pub(crate) fn concerns(&self, op: &Op<'_, Kept>) -> bool {
        if self.keys.is_empty() && self.clears.is_empty() {
            return false; // as mostly
        }
        let cleared =
            |author: &str| self.clears.iter().any(|clear| clear.as_deref().is_none_or(|of| of == author));
        match scope(op) {
            Scope::Nothing => false,
            Scope::Keys(keys) => {
                keys.iter().any(|key| cleared(key.author) || self.keys.contains_key(&Key::from(*key)))
            }
            Scope::All(None) => true,
            Scope::All(Some(author)) => cleared(author) || self.keys.keys().any(|key| *key.author == *author),
        }
    }

    pub(crate) fn begin(&mut self, op: &Op<'_, Kept>) {
        match scope(op) {
            Scope::Nothing => {}
            Scope::Keys(keys) => {
                keys.iter().for_each(|key| *self.keys.entry((*key).into()).or_default() += 1);
            }
            Scope::All(author) => self.clears.push(author.map(Arc::from)),
        }
    }

    pub(crate) fn end(&mut self, op: &Op<'_, Kept>) {
        match scope(op) {
            Scope::Nothing => {}
            Scope::Keys(keys) => {
                for key in keys {
                    let key = Key::from(key);
                    if let Some(count) = self.keys.get_mut(&key) {
                        *count -= 1;
                        if *count == 0 {
                            self.keys.remove(&key);
                        }
                    }
                }
            }
            Scope::All(author) => {
                if let Some(at) = self.clears.iter().position(|clear| clear.as_deref() == author) {
                    self.clears.swap_remove(at);
                }
            }
        }
    }
}

/// An operation that waits, who waits for it, and how durable it is to be.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) wanted: Waiting,
    pub(crate) durability: Durability,
    pub(crate) answer: Arc<Answer<Reply<Kept>>>,
}

impl Job {
    /// Whether it takes longer than who makes a write should have to see to others.
    pub(crate) fn is_slow(&self) -> bool {
        let bytes = match &self.wanted {
            Waiting::Set(puts, _) => puts.iter().map(|put| put.value.all().len()).sum(),
            Waiting::Replace(put) => put.value.all().len(),
            _ => 0,
        };
        self.durability == Durability::Sync || bytes > SLOW
    }
}

/// Where an answer is put that somebody waits for.
#[derive(Debug)]
pub(crate) struct Answer<T>(Mutex<(Option<Result<T>>, Option<Waker>)>);

impl<T> Default for Answer<T> {
    fn default() -> Answer<T> {
        Answer(Mutex::new((None, None)))
    }
}

impl<T> Answer<T> {
    pub(crate) fn give(&self, answer: Result<T>) {
        let mut place = lock(&self.0);
        place.0 = Some(answer);
        let waker = place.1.take();
        drop(place);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) async fn wait(&self) -> Result<T> {
        poll_fn(|context| {
            let mut place = lock(&self.0);
            match place.0.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    place.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
