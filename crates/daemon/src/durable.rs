//! Writes that a disk has to know of before anybody sees them: many of them together, and nobody else waits.
//!
//! Such a write waits in a queue. Whoever finds nobody at the disk takes all that wait: it has the engine plan them, makes them durable in one go, and has the engine
//! publish them; what comes meanwhile is the next batch. A write that concerns the same keys as one that waits, waits behind it; everything else
//! goes on. Writes that are to survive a power cut are left to a thread of their own, since that takes long; the others are done by who made them.
//!
//! Locking rules: the engine's lock may be held when the queue is locked, not the other way round; neither is held while the disk works.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use andiron::{Error, ErrorKind, Result};
use andiron_store::disk::{Change, Disk, Durability, Record};
use andiron_store::{Plan, ToDisk};

use crate::housekeeper::join;
use crate::kept::Kept;
use crate::state;
use crate::sync::lock;
use crate::waiting::Job;

/// Versions that other writes may take while a batch becomes durable.
pub(crate) const ROOM: u64 = 1 << 17;
/// So long nothing is written before the disk is tidied up.
const QUIET: Duration = Duration::from_secs(1);

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

    /// Does what is left to the thread of the disk, where there is none.
    pub(crate) fn run_tasks(&self) {
        while let Some(task) = { lock(&self.queue).tasks.pop_front() } {
            task();
        }
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
        thread.into_iter().for_each(join);
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
