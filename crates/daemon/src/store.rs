//! The store as an object that is called (`spec/PROTOCOL.md`, section 10).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use andiron::{Error, ErrorKind, Result, Stream};
use andiron_store::{
    Codec, DEFAULT_AUTHOR, Key, KeyRef, Op, Page as EnginePage, Reply, Store as Engine, StoreError,
};
use bytes::Bytes;

use crate::answers::{Answer, Change, Page, Written};
use crate::watch::{Filter, Watch, Watchers};

/// Entries on a page of a listing where the caller does not say.
const PAGE: u64 = 1000;

/// The engine, locked for one operation at a time, and who wants to know what it did.
pub(crate) struct Shared {
    engine: Mutex<Engine>,
    pub(crate) watchers: Watchers,
}

impl Shared {
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        // The engine finds out whether an operation may happen before it changes anything.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does an operation. What it changes is told under the same lock, so that everybody hears of changes in their order.
    fn apply(&self, op: Op<'_>) -> Result<Reply> {
        let now = now();
        let mut engine = self.engine();
        if matches!(op, Op::Get { .. } | Op::List { .. }) || self.watchers.is_empty() {
            return engine.apply(op, now).map_err(refused);
        }
        let mut woken = Vec::new();
        let reply = match op {
            Op::Clear { author } => {
                let keys = keys(&mut engine, author, now);
                let reply = engine.apply(op, now);
                keys.iter().for_each(|key| self.watchers.note(key.into(), engine.version(), &mut woken));
                reply
            }
            Op::Set { key, .. } | Op::Delete { key } => {
                let reply = engine.apply(op, now);
                if matches!(reply, Ok(Reply::Set { .. } | Reply::Deleted(Some(_)))) {
                    self.watchers.note(key, engine.version(), &mut woken);
                }
                reply
            }
            Op::Get { .. } | Op::List { .. } => engine.apply(op, now),
        };
        drop(engine);
        woken.into_iter().for_each(Waker::wake);
        reply.map_err(refused)
    }
}

/// All keys of an author, or all.
fn keys(engine: &mut Engine, author: Option<&str>, now: Duration) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let after = keys.last().cloned();
        let list = Op::List { author, after: after.as_ref().map(KeyRef::from), limit: usize::MAX };
        let Ok(Reply::Listed(page)) = engine.apply(list, now) else { return keys };
        let done = !page.more || page.entries.is_empty();
        keys.extend(page.entries.into_iter().map(|listed| listed.key));
        if done {
            return keys;
        }
    }
}

/// The store as others call it.
pub(crate) struct Store {
    shared: Arc<Shared>,
}

impl Store {
    pub(crate) fn new(engine: Engine) -> Store {
        Store { shared: Arc::new(Shared { engine: Mutex::new(engine), watchers: Watchers::default() }) }
    }

    fn apply(&self, op: Op<'_>) -> Result<Reply> {
        self.shared.apply(op)
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
    /// Sets a value. Returns an array: version, timestamp in seconds since 1970.
    fn set(&self, name: &str, value: &[u8], codec: u8, author: Option<&str>) -> Result<Written> {
        check(Use::Write, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        // A buffer of its own: a slice would keep the whole message in memory.
        let value = Bytes::copy_from_slice(value);
        match self.apply(Op::Set { key: key(author, name), codec: Codec(codec), value })? {
            Reply::Set { version, timestamp } => Ok(Written(version, timestamp)),
            _ => Err(unexpected()),
        }
    }

    /// Reads an entry. Returns an array: 0 if it is missing; 2, version if that is the version `known`; else 1, version, timestamp, codec, value.
    fn get(&self, name: &str, known: Option<u64>, author: Option<&str>) -> Result<Answer> {
        check(Use::Read, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        let known = known.filter(|&version| version != 0);
        match self.apply(Op::Get { key: key(author, name), known })? {
            Reply::Missing => Ok(Answer::missing()),
            Reply::NotModified { version } => Ok(Answer::not_modified(version)),
            Reply::Found(entry) => Ok(Answer::found(entry)),
            _ => Err(unexpected()),
        }
    }

    /// Takes an entry out. Returns what was there, as `get` does.
    fn delete(&self, name: &str, author: Option<&str>) -> Result<Answer> {
        check(Use::Write, Some(author.unwrap_or(DEFAULT_AUTHOR)))?;
        match self.apply(Op::Delete { key: key(author, name) })? {
            Reply::Deleted(entry) => Ok(entry.map_or_else(Answer::missing, Answer::found)),
            _ => Err(unexpected()),
        }
    }

    /// Names entries, sorted by author and name: those of one author or of all, at most `limit` (1000), behind `after` (author, name). Returns an
    /// array: whether more follow, and an array for each: author, name, version, timestamp, size in bytes.
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

/// The time since 1970; a clock that stands before that is taken as standing there.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn key<'a>(author: Option<&'a str>, name: &'a str) -> KeyRef<'a> {
    KeyRef::new(author.unwrap_or(DEFAULT_AUTHOR), name)
}

fn refused(error: StoreError) -> Error {
    let kind = match error {
        StoreError::KeyTooLong { .. } | StoreError::EntryTooLarge { .. } => ErrorKind::TooLarge,
        StoreError::Full { .. } => ErrorKind::Quota,
        StoreError::VersionsExhausted => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

/// The engine answers each operation with its own kind of reply.
#[cold]
fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "the store answered something else than was asked for")
}
