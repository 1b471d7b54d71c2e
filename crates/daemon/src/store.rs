//! The store as an object that is called (`spec/PROTOCOL.md`, section 10).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use andiron::{Blob, Error, ErrorKind, PassedDescriptor, Result, Stream};
use andiron_store::{
    Codec, DEFAULT_AUTHOR, Discarded, Effects, KeyRef, Now, Op, Page as EnginePage, Put, Reply,
    Store as Engine, StoreError,
};

use crate::answers::{Answer, Change, Counted, Figures, Page, Stamp, Wanted, Written};
use crate::housekeeper::Housekeeper;
use crate::kept::Kept;
use crate::stamps::Stamps;
use crate::watch::{Filter, Watch, Watchers};

/// Entries on a page of a listing where the caller does not say.
const PAGE: u64 = 1000;
/// What a message that carries a value takes beside it: the longest key, and the head.
const ROOM_BESIDE_VALUE: u64 = 128 << 10;

/// Entries that are taken out at a time when they expired.
const EXPIRED_AT_ONCE: usize = 256;
/// Freeing so many entries takes longer than an operation may.
const MANY: usize = 4096;

/// The engine, locked for one operation at a time, and who wants to know what it did.
#[derive(Debug)]
pub(crate) struct Shared {
    engine: Mutex<Engine<Kept>>,
    stamps: Stamps,
    pub(crate) watchers: Watchers,
    housekeeper: Arc<Housekeeper>,
}

impl Shared {
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine<Kept>> {
        // The engine finds out whether an operation may happen before it changes anything.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does an operation. What it changes is told under the same lock, so that everybody hears of changes in their order.
    fn apply(&self, op: Op<'_, Kept>) -> Result<Reply<Kept>> {
        self.apply_stamped(op, None).map(|(reply, _)| reply)
    }

    /// The same; with the stamp that belongs to what is said of this key.
    fn apply_stamped(&self, op: Op<'_, Kept>, key: Option<KeyRef<'_>>) -> Result<(Reply<Kept>, Stamp)> {
        let may_expire_sooner = match &op {
            Op::Set(put) => put.ttl.is_some(),
            Op::SetMany(_) | Op::Expire { .. } => true,
            _ => false,
        };
        let mut engine = self.engine();
        let watchers = (!self.watchers.is_empty()).then_some(&self.watchers);
        let stamps = &self.stamps;
        let mut told = Told { stamps, watchers, woken: Vec::new(), discarded: Vec::new() };
        let reply = engine.apply(op, now(), &mut told);
        let stamp = key.map_or(Stamp::default(), |key| self.stamps.stamp(key));
        let next_expiry = if may_expire_sooner { engine.next_expiry() } else { None };
        drop(engine);
        if let Some(time) = next_expiry {
            self.housekeeper.wake_at(time);
        }
        told.woken.into_iter().for_each(Waker::wake);
        for discarded in told.discarded {
            if discarded.entries() >= MANY {
                self.housekeeper.free(discarded);
            }
        }
        reply.map(|reply| (reply, stamp)).map_err(refused)
    }

    /// The engine when nothing is in it whose time is over, and that time.
    pub(crate) fn swept_engine(&self) -> (MutexGuard<'_, Engine<Kept>>, Now) {
        loop {
            let (engine, now) = (self.engine(), now());
            let is_due = engine.next_expiry().is_some_and(|time| time <= now.steady);
            // Without a version left nothing can be taken out.
            if !is_due || engine.version() == u64::MAX {
                return (engine, now);
            }
            drop(engine);
            self.expire();
        }
    }

    /// Takes out what expired, in pieces, so that nobody waits long for the engine.
    pub(crate) fn expire(&self) {
        loop {
            match self.apply(Op::Expire { limit: EXPIRED_AT_ONCE }) {
                Ok(Reply::Expired { count: EXPIRED_AT_ONCE }) => {}
                _ => return,
            }
        }
    }
}

/// What an operation does besides changing the engine.
struct Told<'s> {
    stamps: &'s Stamps,
    /// `None` where nobody watches.
    watchers: Option<&'s Watchers>,
    /// To be woken once the engine is free.
    woken: Vec<Waker>,
    /// To be freed then.
    discarded: Vec<Discarded<Kept>>,
}

impl Effects<Kept> for Told<'_> {
    fn change(&mut self, key: KeyRef<'_>, version: u64) {
        // First this: from here on nobody takes what was read before for current.
        self.stamps.bump(key, version);
        if let Some(watchers) = self.watchers {
            watchers.note(key, version, &mut self.woken);
        }
    }

    fn discard(&mut self, discarded: Discarded<Kept>) {
        self.discarded.push(discarded);
    }
}

/// The store as others call it.
pub(crate) struct Store {
    shared: Arc<Shared>,
    /// No value has more bytes.
    most: u64,
    /// The process that it was made in.
    generation: u32,
}

impl Drop for Store {
    fn drop(&mut self) {
        // A forked child has no housekeeper to wait for.
        if self.generation == andiron_sys::fork::generation() {
            self.shared.housekeeper.end();
        }
    }
}

impl Store {
    /// Of values that fit a message of this length, so that each can be sent to whoever cannot take it by reference.
    pub(crate) fn new(engine: Engine<Kept>, message: u64) -> Store {
        let most = message.saturating_sub(ROOM_BESIDE_VALUE.min(message / 16));
        let shared = Arc::new_cyclic(|shared| Shared {
            stamps: Stamps::new(engine.incarnation()),
            engine: Mutex::new(engine),
            watchers: Watchers::default(),
            housekeeper: Housekeeper::new(shared.clone()),
        });
        Store { shared, most, generation: andiron_sys::fork::generation() }
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

    fn write(&self, op: Op<'_, Kept>) -> Result<Written> {
        match self.apply(op)? {
            Reply::Set { version, timestamp } => Ok(Written(version, timestamp)),
            _ => Err(unexpected()),
        }
    }

    fn kept(&self, value: Blob) -> Result<Kept> {
        let (length, most) = (value.len() as u64, self.most);
        if length > most {
            let text = format!(
                "the value has {length} bytes, and {most} is the most that a value may have: set it in several entries"
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok(Kept::of(value, &self.shared.housekeeper))
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

    fn remove(&self, author: Option<&str>) -> Result<u64> {
        match self.apply(Op::Clear { author })? {
            Reply::Cleared { count } => Ok(count as u64),
            _ => Err(unexpected()),
        }
    }
}

/// Values by author and name that all processes share. A value is bytes and the number of their codec: 1 native, 2 JSON, 3 bytes as they are.
/// The author is `default` where none is given. Every write takes a larger version than all before.
#[andiron::expose]
impl Store {
    /// Sets a value, for `ttl` microseconds or for good; with `if_version` only if the entry has that version, with 0 only if there is none. Returns an
    /// array: version, timestamp in seconds since 1970.
    fn set(
        &self,
        name: &str,
        value: Blob,
        codec: u8,
        author: Option<&str>,
        ttl: Option<u64>,
        if_version: Option<u64>,
    ) -> Result<Written> {
        check(Use::Write, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        let (key, value, ttl) = (key(author, name), self.kept(value)?, time_to_live(ttl)?);
        self.write(Op::Set(Put { key, codec: Codec(codec), value, ttl, if_version }))
    }

    /// Sets several values under one version: all of them or none. Each is an array: name, value, codec, author, ttl, if_version, as for `set`.
    fn set_many(&self, entries: Vec<Wanted>) -> Result<Written> {
        let puts = entries.iter().map(|Wanted(name, value, codec, author, ttl, if_version)| {
            let author = author.as_deref().unwrap_or(DEFAULT_AUTHOR);
            check(Use::Write, Some(author))?;
            let (key, codec, if_version) = (KeyRef::new(author, name), Codec(*codec), *if_version);
            Ok(Put { key, codec, value: self.kept(value.clone())?, ttl: time_to_live(*ttl)?, if_version })
        });
        self.write(Op::SetMany(puts.collect::<Result<_>>()?))
    }

    /// Reads an entry. Returns an array: 0, 0, slot, stamp if it is missing; 2, version, slot, stamp, ttl if that is the version `known`; else 1,
    /// version, slot, stamp, ttl, timestamp, codec, value. `ttl` is what is left of it in microseconds, or 0. `hits`: so many reads the caller
    /// answered itself since it told last.
    #[expose(idempotent)]
    fn get(&self, name: &str, known: Option<u64>, author: Option<&str>, hits: Option<u64>) -> Result<Answer> {
        check(Use::Read, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        let (known, hits) = (known.filter(|&version| version != 0), hits.unwrap_or(0));
        let key = key(author, name);
        let (reply, stamp) = self.shared.apply_stamped(Op::Get { key, known, hits }, Some(key))?;
        match reply {
            Reply::Missing => Ok(Answer::missing(stamp)),
            Reply::NotModified { version, ttl_left } => Ok(Answer::not_modified(version, ttl_left, stamp)),
            Reply::Found(entry) => Ok(Answer::found(entry, stamp)),
            _ => Err(unexpected()),
        }
    }

    /// Takes an entry out, with `if_version` only if it has that version. Returns what was there, as `get` does.
    fn delete(&self, name: &str, author: Option<&str>, if_version: Option<u64>) -> Result<Answer> {
        check(Use::Write, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        let stamp = Stamp::default();
        match self.apply(Op::Delete { key: key(author, name), if_version })? {
            Reply::Deleted(Some(entry)) => Ok(Answer::found(entry, stamp)),
            Reply::Deleted(None) => Ok(Answer::missing(stamp)),
            _ => Err(unexpected()),
        }
    }

    /// Adds `by` (1) to a whole number in the native codec; to 0 where there is no entry. What is left of its time stays. Returns an array: version,
    /// timestamp, the number that it is now.
    fn incr(&self, name: &str, by: Option<i64>, author: Option<&str>) -> Result<Counted> {
        check(Use::Write, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        match self.apply(Op::Increment { key: key(author, name), by: by.unwrap_or(1) })? {
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
    /// themselves, as they told) and questions (reads that came here).
    #[expose(idempotent)]
    fn stats(&self) -> Result<Figures> {
        if check(Use::Read, None)?.is_some() {
            let text = "the secret of this connection gives a right to entries of some authors, and this is about all of them";
            return Err(Error::new(ErrorKind::Denied, text));
        }
        Ok(self.shared.engine().stats().into())
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

    /// Tells of changes: a stream of arrays 0 (removed) or 1, author, name, version, how many earlier changes of the same entry were skipped,
    /// and with 1 timestamp, codec, value. `pattern` is for names, with `*` and `?`. First come the entries that are there (`present`, true).
    #[expose(idempotent)]
    fn watch(
        &self,
        pattern: Option<&str>,
        author: Option<&str>,
        present: Option<bool>,
    ) -> Result<Stream<Change>> {
        let allowed = check(Use::Read, author)?;
        let authors = author.map(|author| BTreeSet::from([author.to_owned()])).or(allowed);
        let filter = Filter::new(pattern.unwrap_or("*"), authors);
        Ok(Stream::wrap(Watch::new(self.shared.clone(), filter, present.unwrap_or(true))))
    }

    /// Removes all entries of one author or of all. Returns their number.
    fn clear(&self, author: Option<&str>) -> Result<u64> {
        match check(Use::Write, author)? {
            Some(authors) => authors.iter().map(|author| self.remove(Some(author))).sum(),
            None => self.remove(author),
        }
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
        StoreError::VersionsExhausted => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

/// The engine answers each operation with its own kind of reply.
#[cold]
fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "the store answered something else than was asked for")
}
