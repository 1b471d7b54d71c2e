//! The store as an object that is called (`spec/PROTOCOL.md`, section 10).

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use andiron::{Blob, Error, ErrorKind, PassedDescriptor, Result, Stream};
use andiron_store::disk::{Disk, Durability};
use andiron_store::{
    Codec, DEFAULT_AUTHOR, Discarded, Effects, KeyRef, Now, Op, Page as EnginePage, Put, Reply,
    Store as Engine, StoreError,
};
use futures_core::Stream as _;

use crate::answers::{Answer, Change, Counted, Figures, Page, Saved, Stamp, Wanted, Written};
use crate::archive::{self, Archive, Leaving};
use crate::durable::{self, Batch, Durable, Job, Restored, UnderWay, Waiting};
use crate::housekeeper::Housekeeper;
use crate::kept::Kept;
use crate::stamps::Stamps;
use crate::state;
use crate::watch::{Beginning, Filter, Watch, Watchers};

/// Entries on a page of a listing where the caller does not say.
const PAGE: u64 = 1000;

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
    /// No version above it was given out, as the disk knows.
    high_water: u64,
}

/// What came of an operation.
enum Applied {
    Done(Reply<Kept>, Stamp),
    /// A disk has to know of it first.
    Waits(Arc<durable::Answer<Reply<Kept>>>),
}

impl Shared {
    pub(crate) fn housekeeper(&self) -> &Arc<Housekeeper> {
        &self.housekeeper
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // The engine finds out whether an operation may happen before it changes anything.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does an operation that no disk has to know of. What it changes is told under the same lock, so that everybody hears of changes in their order.
    fn apply(&self, op: Op<'_, Kept>) -> Result<Reply<Kept>> {
        match self.begin(op, Durability::Relaxed, None)? {
            Applied::Done(reply, _) => Ok(reply),
            Applied::Waits(_) => Err(unexpected()),
        }
    }

    /// Does an operation; where a disk has to know of it first, when that does. With the stamp that belongs to what is said of this key.
    async fn apply_durably(&self, op: Op<'_, Kept>, durability: Durability) -> Result<Reply<Kept>> {
        match self.begin(op, durability, None)? {
            Applied::Done(reply, _) => Ok(reply),
            Applied::Waits(answer) => answer.wait().await,
        }
    }

    fn begin(&self, op: Op<'_, Kept>, durability: Durability, key: Option<KeyRef<'_>>) -> Result<Applied> {
        let may_expire_sooner = match &op {
            Op::Set(put) => put.ttl.is_some(),
            Op::SetMany(_) | Op::Expire { .. } => true,
            _ => false,
        };
        let mut state = self.state();
        if state.under_way.concerns(&op) || state.engine.concerns_disk(&op) {
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
    ) -> Result<Arc<durable::Answer<Reply<Kept>>>> {
        let durable = self.durable()?;
        state.under_way.begin(&wanted.op());
        let answer: Arc<durable::Answer<Reply<Kept>>> = Arc::default();
        durable.push(Job { wanted, durability, answer: answer.clone() });
        drop(state);
        self.make_durable(false);
        Ok(answer)
    }

    /// What makes writes durable.
    fn durable(&self) -> Result<&Arc<Durable>> {
        self.durable.as_ref().ok_or_else(|| {
            let text = "this daemon keeps nothing beyond its life: start it with a folder for its state, or set entries without `persist`";
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
        let (answer, this) = (Arc::<durable::Answer<T>>::default(), self.this.clone());
        let place = answer.clone();
        durable.push_task(Box::new(move || {
            let work = || {
                let shared = this.upgrade().ok_or_else(crate::archive::over)?;
                shared.durable()?.with_disk(|disk| work(&shared, disk))
            };
            place.give(crate::archive::contained(work));
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
                self.make_durable(true); // there can be no thread: by this one, then
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
        let changes: Vec<_> = batch.planned.iter().flat_map(|(_, plan)| state.engine.to_disk(plan)).collect();
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

/// The store as others call it.
pub(crate) struct Store {
    shared: Arc<Shared>,
    /// Where there is a disk.
    archive: Option<Archive>,
    /// How durable a persistent write is where its caller does not say.
    default: Durability,
    /// The process that it was made in.
    generation: u32,
}

impl Drop for Store {
    fn drop(&mut self) {
        // A forked child has no housekeeper to wait for.
        if self.generation == andiron_sys::fork::generation() {
            self.shared.housekeeper.end();
            self.shared.durable.iter().for_each(|durable| durable.end());
        }
    }
}

impl Store {
    /// One that is empty. `disk` is to have its persistent entries, in this folder; `default`: how durable a write is where its caller does not say.
    pub(crate) fn new(
        engine: Engine<Kept>,
        disk: Option<(Box<dyn Disk>, PathBuf)>,
        default: Durability,
    ) -> Store {
        let (disk, folder) = disk.unzip();
        let archive = folder.map(|folder| Archive::new(&folder));
        let durable = disk.map(|disk| Arc::new(Durable::new(disk)));
        let state = State { engine, under_way: UnderWay::default(), high_water: u64::MAX };
        let shared = Arc::new_cyclic(|shared| Shared {
            this: shared.clone(),
            stamps: Stamps::new(state.engine.incarnation()),
            state: Mutex::new(state),
            watchers: Watchers::default(),
            housekeeper: Housekeeper::new(shared.clone()),
            durable,
        });
        Store { shared, archive, default, generation: andiron_sys::fork::generation() }
    }

    /// Fills it with what its disk has, before anybody uses it.
    pub(crate) fn fill(&self) -> Result<()> {
        let Some(durable) = &self.shared.durable else { return Ok(()) };
        let next_expiry = durable.with_disk(|disk| {
            let mut state = self.shared.state();
            let high_water = state::load(&mut state.engine, disk, &self.shared.housekeeper)?;
            state.high_water = high_water;
            state.engine.hold_versions(Some(high_water.saturating_add(1)));
            Ok(state.engine.next_expiry())
        })?;
        // All whose time is over before anybody is told so: a clock that is set back would bring what is left back, after one more restart.
        self.shared.expire_on_disk(usize::MAX);
        self.shared.tell(self.shared.told(), next_expiry);
        Ok(())
    }

    /// What ends its board: nobody takes what was read for current any more.
    pub(crate) fn closing(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.stamps.close();
            }
        }
    }

    fn apply(&self, op: Op<'_, Kept>) -> Result<Reply<Kept>> {
        self.shared.apply(op)
    }

    async fn write(&self, op: Op<'_, Kept>, durability: Option<String>) -> Result<Written> {
        match self.shared.apply_durably(op, self.durability(durability)?).await? {
            Reply::Set { version, timestamp } => Ok(Written(version, timestamp)),
            _ => Err(unexpected()),
        }
    }

    fn kept(&self, value: Blob) -> Kept {
        Kept::of(value, &self.shared.housekeeper)
    }

    fn page(&self, author: Option<&str>, after: Option<KeyRef<'_>>, limit: usize) -> Result<EnginePage> {
        match self.apply(Op::List { author, after, limit })? {
            Reply::Listed(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    /// What comes next of the entries of these authors: those of one author at a time.
    fn page_of(
        &self,
        authors: &BTreeSet<String>,
        after: Option<KeyRef<'_>>,
        limit: usize,
    ) -> Result<EnginePage> {
        let first = after.map_or("", |after| after.author);
        let mut found = EnginePage::default();
        for author in authors.iter().filter(|author| author.as_str() >= first) {
            // Behind a page that is not empty it only matters whether anything follows.
            let limit = if found.entries.is_empty() { limit } else { 0 };
            let page = self.page(Some(author), after, limit)?;
            found.entries.extend(page.entries);
            found.more = page.more;
            if found.more {
                break;
            }
        }
        Ok(found)
    }

    fn archive(&self) -> Result<&Archive> {
        self.shared.durable()?;
        self.archive.as_ref().ok_or_else(unexpected)
    }

    fn durability(&self, wanted: Option<String>) -> Result<Durability> {
        let Some(wanted) = wanted else { return Ok(self.default) };
        wanted.parse().map(state::survives)
    }

    async fn remove(&self, author: Option<&str>) -> Result<u64> {
        match self.shared.apply_durably(Op::Clear { author }, self.default).await? {
            Reply::Cleared { count } => Ok(count as u64),
            _ => Err(unexpected()),
        }
    }
}

/// Values by author and name that all processes share. A value is bytes and the number of their codec: 1 native, 2 JSON, 3 bytes as they are.
/// The author is `default` where none is given. Every write takes a larger version than all before.
#[andiron::expose]
impl Store {
    /// Sets a value, for `ttl` microseconds or for good; with `if_version` only if the entry has that version, with 0 only if there is none; with `persist` it is there
    /// again when the daemon was ended, `durability` says by what: `relaxed`, or `sync`, also a power cut. Returns an array: version, timestamp in seconds since 1970.
    #[expect(clippy::too_many_arguments, reason = "callers may leave out all but three")]
    async fn set(
        &self,
        name: String,
        value: Blob,
        codec: u8,
        author: Option<String>,
        ttl: Option<u64>,
        if_version: Option<u64>,
        persist: Option<bool>,
        durability: Option<String>,
    ) -> Result<Written> {
        check(Use::Write, Some(author.as_deref().unwrap_or(DEFAULT_AUTHOR)))?;
        let (key, value, ttl) = (key(author.as_deref(), &name), self.kept(value), time_to_live(ttl)?);
        let (codec, persist) = (Codec(codec), persist.unwrap_or(false));
        self.write(Op::Set(Put { key, codec, value, ttl, if_version, persist }), durability).await
    }

    /// Sets several values under one version: all of them or none. Each is an array: name, value, codec, author, ttl, if_version, persist, as for `set`.
    async fn set_many(&self, entries: Vec<Wanted>, durability: Option<String>) -> Result<Written> {
        let puts = entries.iter().map(|wanted| {
            let Wanted(name, value, codec, author, ttl, if_version, persist) = wanted;
            let author = author.as_deref().unwrap_or(DEFAULT_AUTHOR);
            check(Use::Write, Some(author))?;
            let (key, codec, if_version) = (KeyRef::new(author, name), Codec(*codec), *if_version);
            let (value, ttl, persist) =
                (self.kept(value.clone()), time_to_live(*ttl)?, persist.unwrap_or(false));
            Ok(Put { key, codec, value, ttl, if_version, persist })
        });
        self.write(Op::SetMany(puts.collect::<Result<_>>()?), durability).await
    }

    /// Has an entry be there again when the daemon was ended, or not any more. Returns whether there is such an entry.
    async fn persist(
        &self,
        name: String,
        persist: Option<bool>,
        author: Option<String>,
        durability: Option<String>,
    ) -> Result<bool> {
        check(Use::Write, Some(author.as_deref().unwrap_or(DEFAULT_AUTHOR)))?;
        let op = Op::Persist { key: key(author.as_deref(), &name), persist: persist.unwrap_or(true) };
        match self.shared.apply_durably(op, self.durability(durability)?).await? {
            Reply::Kept(kept) => Ok(kept),
            _ => Err(unexpected()),
        }
    }

    /// Reads an entry. Returns an array: 0, 0, slot, stamp if it is missing; 2, version, slot, stamp, ttl if that is the version `known`; else 1,
    /// version, slot, stamp, ttl, timestamp, codec, value. `ttl` is what is left of it in microseconds, or 0. `hits`: so many reads the caller
    /// answered itself since it told last.
    #[expose(idempotent)]
    fn get(&self, name: &str, known: Option<u64>, author: Option<&str>, hits: Option<u64>) -> Result<Answer> {
        check(Use::Read, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        let (known, hits) = (known.filter(|&version| version != 0), hits.unwrap_or(0));
        let key = key(author, name);
        let read = self.shared.begin(Op::Get { key, known, hits }, Durability::Relaxed, Some(key))?;
        let Applied::Done(reply, stamp) = read else { return Err(unexpected()) };
        match reply {
            Reply::Missing => Ok(Answer::missing(stamp)),
            Reply::NotModified { version, ttl_left } => Ok(Answer::not_modified(version, ttl_left, stamp)),
            Reply::Found(entry) => Ok(Answer::found(entry, stamp)),
            _ => Err(unexpected()),
        }
    }

    /// Takes an entry out, with `if_version` only if it has that version. Returns what was there, as `get` does.
    async fn delete(&self, name: String, author: Option<String>, if_version: Option<u64>) -> Result<Answer> {
        check(Use::Write, Some(author.as_deref().unwrap_or(DEFAULT_AUTHOR)))?;
        let stamp = Stamp::default();
        let op = Op::Delete { key: key(author.as_deref(), &name), if_version };
        match self.shared.apply_durably(op, self.default).await? {
            Reply::Deleted(Some(entry)) => Ok(Answer::found(entry, stamp)),
            Reply::Deleted(None) => Ok(Answer::missing(stamp)),
            _ => Err(unexpected()),
        }
    }

    /// Adds `by` (1) to a whole number in the native codec; to 0 where there is no entry. What is left of its time stays. Returns an array: version,
    /// timestamp, the number that it is now.
    async fn incr(&self, name: String, by: Option<i64>, author: Option<String>) -> Result<Counted> {
        check(Use::Write, Some(author.as_deref().unwrap_or(DEFAULT_AUTHOR)))?;
        let op = Op::Increment { key: key(author.as_deref(), &name), by: by.unwrap_or(1) };
        match self.shared.apply_durably(op, self.default).await? {
            Reply::Counted { version, timestamp, value } => Ok(Counted(version, timestamp, value)),
            _ => Err(unexpected()),
        }
    }

    /// The version board, by which processes of this machine know without a question whether what they read is current: a descriptor of memory; nil where
    /// there is none.
    #[expose(idempotent)]
    fn board(&self) -> Result<Option<PassedDescriptor>> {
        // It tells when anything is written, by whomever.
        let all = check(Use::Read, None)?.is_none();
        Ok(if all { self.shared.stamps.board() } else { None })
    }

    /// What the store holds and was asked. Returns an array: entries, bytes that they count for, authors, hits (reads that clients answered
    /// themselves, as they told), questions (reads that came here) and evicted (entries that were removed to make room).
    #[expose(idempotent)]
    fn stats(&self) -> Result<Figures> {
        check_all(Use::Read)?;
        Ok(self.shared.state().engine.stats().into())
    }

    /// Names entries, sorted by author and name: those of one author or of all, at most `limit` (1000), behind `after` (author, name). Returns an
    /// array: whether more follow, and an array for each: author, name, version, timestamp, size in bytes.
    #[expose(idempotent)]
    fn list(&self, author: Option<&str>, after: Option<(&str, &str)>, limit: Option<u64>) -> Result<Page> {
        let after = after.map(|(author, name)| KeyRef::new(author, name));
        let limit = usize::try_from(limit.unwrap_or(PAGE)).unwrap_or(usize::MAX);
        let page = match check(Use::Read, author)? {
            Some(authors) => self.page_of(&authors, after, limit),
            None => self.page(author, after, limit),
        };
        Ok(page?.into())
    }

    /// Tells of changes: a stream of arrays 0 (removed) or 1, author, name, version, how many earlier changes of the same entry were skipped, timestamp,
    /// codec, value, and up to which version all changes were told (0: it cannot be said). `pattern` is for names, with `*` and `?`. First come the entries
    /// that are there (`present`, true), or with `since` what changed after that version.
    #[expose(idempotent)]
    fn watch(
        &self,
        pattern: Option<&str>,
        author: Option<&str>,
        present: Option<bool>,
        since: Option<u64>,
    ) -> Result<Stream<Change>> {
        let allowed = check(Use::Read, author)?;
        let authors = author.map(|author| BTreeSet::from([author.to_owned()])).or(allowed);
        let filter = Filter::new(pattern.unwrap_or("*"), authors);
        let beginning = match (present, since) {
            (Some(true), Some(_)) => {
                let text = "a watch begins with the entries that are there or with what changed since a version: leave out `present` or `since`";
                return Err(Error::new(ErrorKind::BadArguments, text));
            }
            (_, Some(version)) => Beginning::Since(version),
            (Some(false), None) => Beginning::Now,
            (_, None) => Beginning::Present,
        };
        Ok(Stream::wrap(Watch::new(self.shared.clone(), filter, beginning)?))
    }

    /// Keeps all entries of an author as they are now, as a snapshot of this name, in place of an earlier one. Returns their number.
    async fn save(&self, snapshot: String, author: Option<String>) -> Result<u64> {
        let author = author.unwrap_or_else(|| DEFAULT_AUTHOR.to_owned());
        check(Use::Write, Some(&author))?;
        self.shared.with_disk(move |shared, disk| archive::save(shared, disk, &author, &snapshot)).await
    }

    /// Sets the entries of an author that a snapshot has as they were, all or none; the others stay. Returns their number.
    async fn load(&self, snapshot: String, author: Option<String>) -> Result<u64> {
        let author = author.unwrap_or_else(|| DEFAULT_AUTHOR.to_owned());
        check(Use::Write, Some(&author))?;
        let load =
            move |shared: &Shared, disk: &mut dyn Disk| archive::load(shared, disk, &author, &snapshot);
        let restored = self.shared.with_disk(load).await?;
        let count = restored.entries.len() as u64;
        self.shared.restore(restored).await?;
        Ok(count)
    }

    /// Names snapshots, sorted by author and name: those of one author or of all. Returns an array for each: author, name, when it was saved in seconds since
    /// 1970, entries, bytes of their values.
    async fn snapshots(&self, author: Option<String>) -> Result<Vec<Saved>> {
        let allowed = check(Use::Read, author.as_deref())?;
        let all = self.shared.with_disk(|_, disk| archive::snapshots(disk)).await?;
        let wanted = all.into_iter().filter(|snapshot| {
            author.as_ref().is_none_or(|author| *author == snapshot.author)
                && allowed.as_ref().is_none_or(|authors| authors.contains(&snapshot.author))
        });
        Ok(wanted.map(Saved::from).collect())
    }

    /// Deletes a snapshot of an author.
    async fn delete_snapshot(&self, snapshot: String, author: Option<String>) -> Result<()> {
        let author = author.unwrap_or_else(|| DEFAULT_AUTHOR.to_owned());
        check(Use::Write, Some(&author))?;
        self.shared.with_disk(move |_, disk| archive::delete(disk, &author, &snapshot)).await
    }

    /// Gives all that is persistent, with the snapshots, as it is now: the bytes of a file that `restore` takes, in pieces.
    async fn backup(&self) -> Result<Stream<Blob>> {
        check_all(Use::Read)?;
        let passing = self.archive()?.leaving()?;
        let copying = self.shared.with_disk(|_, disk| archive::backup(disk)).await?;
        Ok(Stream::try_iter(Leaving::new(passing, copying)))
    }

    /// Has all that is persistent, and the snapshots, be as they were at a backup, all or none. Returns how many entries it had.
    async fn restore(&self, mut pieces: Stream<Blob>) -> Result<u64> {
        check_all(Use::Write)?;
        let passing = self.archive()?.coming()?;
        let mut file = passing.create()?;
        while let Some(piece) = poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await {
            passing.write(&mut file, &piece?)?;
        }
        drop(file);
        let restored = archive::read(self.shared.clone(), &passing).await?;
        let count = restored.entries.len() as u64;
        self.shared.restore(restored).await?;
        Ok(count)
    }

    /// Removes all entries of one author or of all. Returns their number.
    async fn clear(&self, author: Option<String>) -> Result<u64> {
        let author = author.as_deref();
        let Some(authors) = check(Use::Write, author)? else { return self.remove(author).await };
        let mut count = 0;
        for author in &authors {
            count += self.remove(Some(author)).await?;
        }
        Ok(count)
    }
}

/// What a method does with entries.
#[derive(PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

/// Refuses what the secret of the caller's connection gives no right to. Where all authors are meant and the caller may use only some: these.
fn check(wanted: Use, author: Option<&str>) -> Result<Option<BTreeSet<String>>> {
    let Some(call) = andiron::current() else { return Ok(None) };
    let rights = call.rights();
    if rights.read_only_store && wanted == Use::Write {
        let text = "the secret of this connection gives the right to read the store, and not to change it";
        return Err(Error::new(ErrorKind::Denied, text));
    }
    match author {
        None => Ok(rights.authors.clone()),
        Some(author) if rights.may_use(author) => Ok(None),
        Some(author) => {
            let text =
                format!("the secret of this connection gives no right to entries of the author '{author}'");
            Err(Error::new(ErrorKind::Denied, text))
        }
    }
}

/// Refuses what is about the entries of all authors to who may use only some.
fn check_all(wanted: Use) -> Result<()> {
    if check(wanted, None)?.is_none() {
        return Ok(());
    }
    let text = "the secret of this connection gives a right to entries of some authors, and this is about all of them";
    Err(Error::new(ErrorKind::Denied, text))
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

/// How long an entry is to stay.
fn time_to_live(micros: Option<u64>) -> Result<Option<Duration>> {
    if micros == Some(0) {
        let text =
            "an entry that stays for no time cannot be set: give a ttl above 0 (microseconds), or none";
        return Err(Error::new(ErrorKind::BadArguments, text));
    }
    Ok(micros.map(Duration::from_micros))
}

fn key<'a>(author: Option<&'a str>, name: &'a str) -> KeyRef<'a> {
    KeyRef::new(author.unwrap_or(DEFAULT_AUTHOR), name)
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
fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "the store answered something else than was asked for")
}
