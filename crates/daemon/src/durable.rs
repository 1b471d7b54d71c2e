//! Writes that a disk has to know of before anybody sees them: many of them together, and nobody else waits.
//!
//! Such a write waits in a queue. Whoever finds nobody at the disk takes all that wait: it has the engine plan them, makes them durable in one go, and has the engine
//! publish them; what comes meanwhile is the next batch. A write that concerns the same keys as one that waits, waits behind it; everything else
//! goes on. Writes that are to survive a power cut are left to a thread of their own, since that takes long; the others are done by who made them.
//!
//! Locking rules: the engine's lock may be held when the queue is locked, not the other way round; neither is held while the disk works.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use andiron::{Error, ErrorKind, Result};
use andiron_store::disk::{Backup, Change, Disk, Durability, Record};
use andiron_store::{Codec, Entry, Key, KeyRef, Op, Plan, Put, Reply, ToDisk};

use crate::kept::Kept;
use crate::state;

/// Versions that other writes may take while a batch becomes durable.
pub(crate) const ROOM: u64 = 1 << 17;
/// Writing so many bytes takes long.
const SLOW: usize = 1 << 18;
/// So long nothing is written before the disk is tidied up.
const QUIET: Duration = Duration::from_secs(1);

/// An operation that waits.
#[derive(Debug)]
pub(crate) enum Waiting {
    Set(Vec<OwnedPut>, bool),
    Increment(Key, i64),
    Delete(Key, Option<u64>),
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
    fn backup(&self) -> Option<&Backup> {
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
        Op::Set(put) => Scope::Keys(vec![put.key]),
        Op::SetMany(puts) => Scope::Keys(puts.iter().map(|put| put.key).collect()),
        Op::Increment { key, .. }
        | Op::Delete { key, .. }
        | Op::Persist { key, .. }
        | Op::ExpireOne { key } => Scope::Keys(vec![*key]),
        Op::Clear { author } => Scope::All(*author),
        Op::Restore { all: true, .. } => Scope::All(None),
        Op::Restore { entries, .. } => Scope::Keys(entries.iter().map(|(key, _)| key.into()).collect()),
        Op::Get { .. } | Op::List { .. } | Op::Expire { .. } => Scope::Nothing,
    }
}

/// What is under way: later writes of the same keys have to wait.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    keys: HashMap<Key, usize>,
    /// Authors whose entries are cleared; `None`: all of them.
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
    fn is_slow(&self) -> bool {
        let bytes = match &self.wanted {
            Waiting::Set(puts, _) => puts.iter().map(|put| put.value.all().len()).sum(),
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

/// The disk, and what waits for it.
#[derive(Debug)]
pub(crate) struct Durable {
    /// `None` when it has ended.
    disk: Mutex<Option<Box<dyn Disk>>>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// To be done by the thread of the disk.
    tasks: VecDeque<Task>,
    /// Somebody is at the disk.
    busy: bool,
    /// Commits since the disk was tidied up.
    untidy: u64,
    ended: bool,
    thread: Option<JoinHandle<()>>,
}

type Task = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} jobs, {} tasks)", self.jobs.len(), self.tasks.len())
    }
}

impl Durable {
    pub(crate) fn new(disk: Box<dyn Disk>) -> Durable {
        Durable { disk: Mutex::new(Some(disk)), queue: Mutex::default(), changed: Condvar::new() }
    }

    /// Something that takes long, for the thread of the disk.
    pub(crate) fn push_task(&self, task: Task) {
        lock(&self.queue).tasks.push_back(task);
    }

    /// Under the lock of the engine, so that writes of one key wait in their order.
    pub(crate) fn push(&self, job: Job) {
        lock(&self.queue).jobs.push_back(job);
    }

    /// What waits, for who is to make it durable now; `None`: nothing does, or somebody is at it. `on_thread`: by the thread of the disk, which does all of it, where others do
    /// only what is soon done.
    pub(crate) fn take(&self, on_thread: bool) -> Option<Vec<Job>> {
        let mut queue = lock(&self.queue);
        let slow = queue.jobs.iter().any(Job::is_slow);
        if queue.busy || queue.jobs.is_empty() || slow && !on_thread {
            return None;
        }
        queue.busy = true;
        Some(queue.jobs.drain(..).collect())
    }

    /// Whoever took some is done with it; these had to wait for others of the same keys. `committed`: there was something to be made durable. True where the thread
    /// of the disk has to look for what comes of that.
    pub(crate) fn done(&self, left: Vec<Job>, committed: bool) -> bool {
        let mut queue = lock(&self.queue);
        queue.busy = false;
        for job in left.into_iter().rev() {
            queue.jobs.push_front(job);
        }
        queue.untidy += u64::from(committed);
        committed && queue.untidy == 1 || !queue.jobs.is_empty()
    }

    /// Whether something waits that nobody sees to.
    pub(crate) fn has_work(&self) -> bool {
        let queue = lock(&self.queue);
        !queue.busy && !queue.jobs.is_empty() || !queue.tasks.is_empty()
    }

    /// Has the thread of the disk look, which is started if there is none; it does `work` until there is no more. False where there can be no thread.
    pub(crate) fn call(self: &Arc<Self>, work: impl Fn() + Send + 'static) -> bool {
        let mut queue = lock(&self.queue);
        if queue.thread.is_none() && !queue.ended {
            let durable = self.clone();
            let thread = std::thread::Builder::new().name("andiron-disk".to_owned());
            queue.thread = thread.spawn(move || durable.run(work)).ok();
        }
        let there = queue.thread.is_some();
        drop(queue);
        self.changed.notify_one();
        there
    }

    fn run(&self, work: impl Fn()) {
        loop {
            let queue = lock(&self.queue);
            let before = queue.untidy;
            let has_job = |queue: &Queue| !queue.busy && !queue.jobs.is_empty();
            let idle = |queue: &mut Queue| !queue.ended && !has_job(queue) && queue.tasks.is_empty();
            let (mut queue, is_quiet) = if before == 0 {
                let rests = |queue: &mut Queue| idle(queue) && queue.untidy == 0;
                (self.changed.wait_while(queue, rests).unwrap_or_else(PoisonError::into_inner), false)
            } else {
                let waited = self.changed.wait_timeout_while(queue, QUIET, idle);
                let (queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                let is_quiet = waited.timed_out() && queue.untidy == before;
                (queue, is_quiet)
            };
            if queue.ended && queue.jobs.is_empty() && queue.tasks.is_empty() {
                return;
            }
            let (has_job, task) = (has_job(&queue), queue.tasks.pop_front());
            drop(queue);
            if has_job {
                work();
            }
            if let Some(task) = task {
                task();
            } else if is_quiet && !has_job {
                // What goes wrong here is told by the next commit that it concerns.
                let _ = lock(&self.disk).as_mut().map(|disk| disk.tidy());
                lock(&self.queue).untidy -= before;
            }
        }
    }

    /// Ends the thread, when what waits is done, and closes the disk.
    pub(crate) fn end(&self) {
        let mut queue = lock(&self.queue);
        queue.ended = true;
        let thread = queue.thread.take();
        drop(queue);
        self.changed.notify_one();
        if let Some(thread) = thread {
            let _ = thread.join(); // it does not panic, and nothing would be to be done about it
        }
        let disk = lock(&self.disk).take();
        drop(disk);
    }

    /// Does something with the disk while nobody else does.
    pub(crate) fn with_disk<T>(&self, work: impl FnOnce(&mut dyn Disk) -> Result<T>) -> Result<T> {
        match &mut *lock(&self.disk) {
            Some(disk) => work(disk.as_mut()),
            None => Err(Error::new(ErrorKind::Unavailable, "the store has ended")),
        }
    }

    /// Makes these changes durable, all or none.
    /// `planned`: what they are for. Gives the version above which none is to be
    /// given out.
    pub(crate) fn commit(
        &self,
        planned: &[(Job, Plan<Kept>)],
        changes: &[ToDisk<'_, Kept>],
        wall: Duration,
        high_water: u64,
        durability: Durability,
    ) -> std::result::Result<u64, NotDurable> {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let changes: Vec<Change<'_>> = changes
            .iter()
            .map(|change| match change {
                ToDisk::Keep { key, version, timestamp, codec, ttl_left, value } => Change::Put(Record {
                    key: *key,
                    version: *version,
                    timestamp: *timestamp,
                    codec: *codec,
                    expires_at: ttl_left.map(|left| micros(wall.saturating_add(left))),
                    value: value.all(),
                }),
                ToDisk::Forget(key) => Change::Delete(*key),
                ToDisk::ForgetAll(author) => Change::Clear(*author),
            })
            .collect();
        // It concerns all keys, so it is alone.
        let backup = planned.iter().find_map(|(job, _)| job.wanted.backup());
        let commit = |disk: &mut dyn Disk| {
            let done = match backup {
                Some(backup) => disk.restore(&changes, high_water, backup),
                None => disk.commit(&changes, high_water, durability),
            };
            done.map_err(|error| Error::new(state::kind(&error), error.to_string()))?;
            Ok(disk.high_water())
        };
        self.with_disk(commit).map_err(|error| NotDurable(error.kind(), error.message().to_owned()))
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        // It has ended, or this is a forked child, and the disk is its parent's, who goes on using it.
        let disk = self.disk.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        std::mem::forget(disk);
    }
}

/// Why writes did not happen, to be told to everybody who made one of them.
#[derive(Debug)]
pub(crate) struct NotDurable(ErrorKind, String);

impl From<&NotDurable> for Error {
    fn from(NotDurable(kind, why): &NotDurable) -> Error {
        Error::new(*kind, format!("the write did not happen, for it could not be made durable: {why}"))
    }
}

/// What became of the jobs of a batch before it goes to the disk.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) planned: Vec<(Job, Plan<Kept>)>,
    pub(crate) refused: Vec<(Job, Error)>,
    /// These find no version that the disk knows of.
    pub(crate) held: Vec<Job>,
    /// These concern keys of others in the batch.
    pub(crate) left: Vec<Job>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
