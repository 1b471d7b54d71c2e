//! The engine behind its lock, with all that has to happen around an operation: who is told of it, and what a disk has to know first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use andiron::{Error, ErrorKind, PassedDescriptor, Result};
use andiron_store::disk::{Disk, Durability};
use andiron_store::{Discarded, Effects, Key, KeyRef, Now, Op, Reply, Store as Engine, StoreError, ToDisk};

use crate::answers::Stamp;
use crate::archive;
use crate::durable::{self, Batch, Durable};
use crate::housekeeper::Housekeeper;
use crate::kept::Kept;
use crate::stamps::Stamps;
use crate::state;
use crate::waiting::{Answer, Job, Restored, UnderWay, Waiting, changed_of};
use crate::watch::Watchers;

/// Entries that are taken out at a time when they expired.
const EXPIRED_AT_ONCE: usize = 256;
/// What could not be made durable is tried again after this time, where nobody waits for it.
const AGAIN: Duration = Duration::from_secs(1);
/// Freeing so many entries takes longer than an operation may.
const MANY: usize = 4096;

/// The engine, locked for one operation at a time, and who wants to know what it did.
#[derive(Debug)]
pub(crate) struct Shared {
    this: Weak<Shared>,
    state: Mutex<State>,
    stamps: Stamps,
    pub(crate) watchers: Watchers,
    housekeeper: Arc<Housekeeper>,
    /// `None`: nothing is kept beyond the life of the daemon.
    durable: Option<Arc<Durable>>,
}

/// What is locked for one operation at a time.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) engine: Engine<Kept>,
    under_way: UnderWay,
    /// What the disk has and cannot give. Who writes it takes it from the disk, so that it cannot come back.
    unreadable: HashSet<Key>,
    /// No version above it was given out, as the disk knows.
    high_water: u64,
}

/// What came of an operation.
pub(crate) enum Applied {
    Done(Reply<Kept>, Stamp),
    /// A disk has to know of it first.
    Waits(Arc<Answer<Reply<Kept>>>),
}

impl Shared {
    pub(crate) fn new(engine: Engine<Kept>, disk: Option<Box<dyn Disk>>) -> Arc<Shared> {
        let durable = disk.map(|disk| Arc::new(Durable::new(disk)));
        let (under_way, unreadable) = (UnderWay::default(), HashSet::new());
        let state = State { engine, under_way, unreadable, high_water: u64::MAX };
        Arc::new_cyclic(|this| Shared {
            this: this.clone(),
            stamps: Stamps::new(state.engine.incarnation()),
            state: Mutex::new(state),
            watchers: Watchers::default(),
            housekeeper: Housekeeper::new(this.clone()),
            durable,
        })
    }

    /// Fills the engine with what the disk has, before anybody uses it.
    pub(crate) fn fill(&self) -> Result<()> {
        let Some(durable) = &self.durable else { return Ok(()) };
        let next_expiry = durable.with_disk(|disk| {
            let mut state = self.state();
            let (high_water, unreadable) = state::load(&mut state.engine, disk, &self.housekeeper)?;
            (state.high_water, state.unreadable) = (high_water, unreadable);
            state.engine.hold_versions(Some(high_water.saturating_add(1)));
            Ok(state.engine.next_expiry())
        })?;
        // All whose time is over before anybody is told so: a clock that is set back would bring what is left back, after one more restart.
        self.expire_on_disk(usize::MAX);
        self.tell(self.told(), next_expiry);
        Ok(())
    }

    /// Says by the board that nothing is current any more.
    pub(crate) fn close(&self) {
        self.stamps.close();
    }

    pub(crate) fn board(&self) -> Option<PassedDescriptor> {
        self.stamps.board()
    }

    /// Ends its threads, when what waits for the disk is done, and closes that.
    pub(crate) fn end(&self) {
        self.housekeeper.end();
        self.durable.iter().for_each(|durable| durable.end());
    }

    pub(crate) fn housekeeper(&self) -> &Arc<Housekeeper> {
        &self.housekeeper
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // The engine finds out whether an operation may happen before it changes anything.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does an operation that no disk has to know of. What it changes is told under the same lock, so that everybody hears of changes in their order.
    pub(crate) fn apply(&self, op: Op<'_, Kept>) -> Result<Reply<Kept>> {
        match self.begin(op, Durability::Relaxed, None)? {
            Applied::Done(reply, _) => Ok(reply),
            Applied::Waits(_) => Err(unexpected()),
        }
    }

    /// Does an operation; where a disk has to know of it first, when that does. With the stamp that belongs to what is said of this key.
    pub(crate) async fn apply_durably(
        &self,
        op: Op<'_, Kept>,
        durability: Durability,
    ) -> Result<Reply<Kept>> {
        match self.begin(op, durability, None)? {
            Applied::Done(reply, _) => Ok(reply),
            Applied::Waits(answer) => answer.wait().await,
        }
    }

    pub(crate) fn begin(
        &self,
        op: Op<'_, Kept>,
        durability: Durability,
        key: Option<KeyRef<'_>>,
    ) -> Result<Applied> {
        let may_expire_sooner = match &op {
            Op::Set(put) => put.ttl.is_some(),
            Op::SetMany(_) | Op::Expire { .. } => true,
            _ => false,
        };
        let mut state = self.state();
        let forgets = !state.unreadable.is_empty() && !changed_of(&state.unreadable, &op).is_empty();
        if forgets || state.under_way.concerns(&op) || state.engine.concerns_disk(&op) {
            let wanted = Waiting::of(op).ok_or_else(unexpected)?;
            return self.queue(state, wanted, durability).map(Applied::Waits);
        }
        let retry = self.durable.is_some().then(|| op.clone());
        let mut told = self.told();
        let reply = state.engine.apply(op, now(), &mut told);
        if let (Err(StoreError::VersionsHeld), Some(op)) = (&reply, retry) {
            let wanted = Waiting::of(op).ok_or_else(unexpected)?;
            return self.queue(state, wanted, durability).map(Applied::Waits);
        }
        let stamp = key.map_or(Stamp::default(), |key| self.stamps.stamp(key));
        let next_expiry = if may_expire_sooner { state.engine.next_expiry() } else { None };
        drop(state);
        self.tell(told, next_expiry);
        reply.map(|reply| Applied::Done(reply, stamp)).map_err(refused)
    }

    /// Leaves an operation to who makes it durable, which may be this thread, now.
    fn queue(
        &self,
        mut state: MutexGuard<'_, State>,
        wanted: Waiting,
        durability: Durability,
    ) -> Result<Arc<Answer<Reply<Kept>>>> {
        let durable = self.durable()?;
        state.under_way.begin(&wanted.op());
        let answer: Arc<Answer<Reply<Kept>>> = Arc::default();
        durable.push(Job { wanted, durability, answer: answer.clone() });
        drop(state);
        self.make_durable(false);
        Ok(answer)
    }

    /// What makes writes durable.
    pub(crate) fn durable(&self) -> Result<&Arc<Durable>> {
        self.durable.as_ref().ok_or_else(|| {
            let text = "this daemon keeps nothing beyond its life: start it with a folder for its state";
            Error::new(ErrorKind::Unsupported, text)
        })
    }

    /// Sets entries as they once were.
    pub(crate) async fn restore(&self, restored: Restored) -> Result<u64> {
        let answer = self.queue(self.state(), Waiting::Restore(restored), Durability::Sync)?;
        match answer.wait().await? {
            Reply::Set { version, .. } => Ok(version),
            _ => Err(unexpected()),
        }
    }

    /// Has the thread of the disk do something with it that takes long.
    pub(crate) async fn with_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &mut dyn Disk) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let durable = self.durable()?;
        let (answer, this) = (Arc::<Answer<T>>::default(), self.this.clone());
        let place = answer.clone();
        durable.push_task(Box::new(move || {
            let work = || {
                let shared = this.upgrade().ok_or_else(archive::over)?;
                shared.durable()?.with_disk(|disk| work(&shared, disk))
            };
            place.give(archive::contained(work));
        }));
        self.make_durable(false);
        answer.wait().await
    }

    /// Makes durable what waits for it. `on_thread`: by the thread of the disk, else only what is soon done.
    fn make_durable(&self, on_thread: bool) {
        let Some(durable) = &self.durable else { return };
        let more = durable.take(on_thread).is_some_and(|jobs| self.work_off(durable, jobs));
        if !on_thread && (more || durable.has_work()) {
            let this = self.this.clone();
            let called = durable.call(move || {
                if let Some(shared) = this.upgrade() {
                    shared.make_durable(true);
                }
            });
            if !called {
                // There can be no thread: by this one, then.
                self.make_durable(true);
                durable.run_tasks();
            }
        }
    }

    /// True where the thread of the disk has to look for what comes of it.
    fn work_off(&self, durable: &Durable, jobs: Vec<Job>) -> bool {
        let now = now();
        let durability = match jobs.iter().any(|job| job.durability == Durability::Sync) {
            true => Durability::Sync,
            false => Durability::Relaxed,
        };
        let (mut told, mut batch) = (self.told(), Batch::default());
        let mut state = self.state();
        let floor = state.engine.version_for_plan(durable::ROOM);
        let version = self.plan(&mut state, jobs, now, floor, &mut told, &mut batch);
        // Whatever is written meanwhile stays below, and below what the disk knows.
        let ceiling = (floor + 1).min(state.high_water.saturating_add(1));
        state.engine.hold_versions(Some(ceiling));
        let high_water = version.saturating_add(durable::ROOM);
        let unreadable = |(job, _): &(Job, _)| changed_of(&state.unreadable, &job.wanted.op());
        let forgotten: Vec<Key> = batch.planned.iter().flat_map(unreadable).collect();
        let forget = forgotten.iter().map(|key| ToDisk::Forget(key.into()));
        let planned = batch.planned.iter().flat_map(|(_, plan)| state.engine.to_disk(plan));
        let changes: Vec<_> = forget.chain(planned).collect();
        drop(state);
        let needed = !changes.is_empty() || version > floor || !batch.held.is_empty();
        let outcome = match needed {
            true => durable.commit(&batch.planned, &changes, now.wall, high_water, durability).map(Some),
            false => Ok(None),
        };
        drop(changes);
        let mut answers = Vec::new();
        let mut state = self.state();
        for (job, plan) in batch.planned {
            let answer = match &outcome {
                Ok(_) => Ok(state.engine.publish(plan, &mut told)),
                Err(error) => {
                    state.engine.abandon(plan);
                    Err(error.into())
                }
            };
            state.under_way.end(&job.wanted.op());
            answers.push((job.answer, answer));
        }
        for (job, error) in batch.refused {
            state.under_way.end(&job.wanted.op());
            answers.push((job.answer, Err(error)));
        }
        let mut left = batch.left;
        match &outcome {
            Ok(known) => {
                left.splice(0..0, batch.held);
                state.unreadable.retain(|key| !forgotten.contains(key));
                state.high_water = known.unwrap_or(state.high_water);
            }
            Err(error) => {
                for job in batch.held {
                    state.under_way.end(&job.wanted.op());
                    answers.push((job.answer, Err(error.into())));
                }
            }
        }
        let ceiling = state.high_water.saturating_add(1);
        state.engine.hold_versions(Some(ceiling));
        let next_expiry = state.engine.next_expiry();
        let more = durable.done(left, needed && outcome.is_ok());
        drop(state);
        self.tell(told, next_expiry);
        if outcome.is_err() {
            // What could not be forgotten now is tried again then.
            self.housekeeper.wake_at(steady() + AGAIN);
        }
        answers.into_iter().for_each(|(place, answer)| place.give(answer));
        more
    }

    /// Has the engine plan what can be done together. Gives the last version that is taken.
    fn plan(
        &self,
        state: &mut State,
        jobs: Vec<Job>,
        now: Now,
        floor: u64,
        told: &mut Told<'_>,
        batch: &mut Batch,
    ) -> u64 {
        let mut taken = UnderWay::default();
        let mut version = floor;
        for job in jobs {
            let op = job.wanted.op();
            let waits = taken.concerns(&op);
            taken.begin(&op); // also of one that waits: what comes later waits behind it
            if waits {
                drop(op);
                batch.left.push(job);
                continue;
            }
            let planned = state.engine.plan(op, now, version + 1, told);
            match planned {
                Ok(plan) => {
                    version += u64::from(plan.version().is_some());
                    batch.planned.push((job, plan));
                }
                // It has to take others out for which no version is left: when the disk knows of more it is tried again.
                Err(StoreError::VersionsHeld) => batch.held.push(job),
                Err(error) => batch.refused.push((job, refused(error))),
            }
        }
        version
    }

    fn told(&self) -> Told<'_> {
        Told { stamps: &self.stamps, watchers: &self.watchers, woken: Vec::new(), discarded: Vec::new() }
    }

    /// Does what an operation leaves to be done without the lock.
    fn tell(&self, told: Told<'_>, next_expiry: Option<Duration>) {
        if let Some(time) = next_expiry {
            self.housekeeper.wake_at(time);
        }
        told.woken.into_iter().for_each(Waker::wake);
        for discarded in told.discarded {
            if discarded.entries() >= MANY {
                self.housekeeper.free(discarded);
            }
        }
    }

    /// The engine when nothing is in it whose time is over, but for what waits for the disk, and that time.
    pub(crate) fn swept(&self) -> (MutexGuard<'_, State>, Now) {
        loop {
            let (state, now) = (self.state(), now());
            // Without a version left nothing can be taken out.
            if !state.engine.has_expired(now) || state.engine.version() == u64::MAX {
                return (state, now);
            }
            drop(state);
            self.expire();
        }
    }

    /// Takes out what expired, in pieces, so that nobody waits long for the engine.
    pub(crate) fn expire(&self) {
        let some = Op::Expire { limit: EXPIRED_AT_ONCE };
        while let Ok(Reply::Expired { count: EXPIRED_AT_ONCE }) = self.apply(some.clone()) {}
        self.expire_on_disk(EXPIRED_AT_ONCE);
    }

    /// Begins to take out so many of those that the disk has to forget first.
    fn expire_on_disk(&self, limit: usize) {
        let Some(durable) = &self.durable else { return };
        let mut state = self.state();
        for key in state.engine.due_on_disk(limit) {
            let op = Op::ExpireOne { key: (&key).into() };
            if !state.under_way.concerns(&op) {
                state.under_way.begin(&op);
                let (wanted, durability) = (Waiting::ExpireOne(key), Durability::Relaxed);
                durable.push(Job { wanted, durability, answer: Arc::default() });
            }
        }
        drop(state);
        self.make_durable(false);
    }
}

/// What an operation does besides changing the engine.
struct Told<'s> {
    stamps: &'s Stamps,
    watchers: &'s Watchers,
    /// To be woken once the engine is free.
    woken: Vec<Waker>,
    /// To be freed then.
    discarded: Vec<Discarded<Kept>>,
}

impl Effects<Kept> for Told<'_> {
    fn change(&mut self, key: KeyRef<'_>, version: u64) {
        // First this: from here on nobody takes what was read before for current.
        self.stamps.bump(key, version);
        self.watchers.note(key, version, &mut self.woken);
    }

    fn discard(&mut self, discarded: Discarded<Kept>) {
        self.discarded.push(discarded);
    }
}

/// What time it is. A clock that stands before 1970 is taken as standing there.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { wall, steady: steady() }
}

/// The time by the clock that nobody sets, which goes on while the machine sleeps.
pub(crate) fn steady() -> Duration {
    andiron_sys::clock::since_boot()
}

fn refused(error: StoreError) -> Error {
    let kind = match error {
        StoreError::KeyTooLong { .. } | StoreError::EntryTooLarge { .. } => ErrorKind::TooLarge,
        StoreError::Full { .. } => ErrorKind::Quota,
        StoreError::VersionMismatch { .. } => ErrorKind::Conflict,
        StoreError::KeyTwice | StoreError::Overflow { .. } => ErrorKind::BadArguments,
        StoreError::NotANumber => ErrorKind::Encoding,
        StoreError::VersionsHeld => ErrorKind::Overloaded,
        StoreError::VersionsExhausted => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

/// The engine answers each operation with its own kind of reply.
#[cold]
pub(crate) fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "the store answered something else than was asked for")
}
