//! The store as an object that is called (`spec/PROTOCOL.md`, section 10).

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use andiron::{Blob, Error, ErrorKind, PassedDescriptor, Result, Stream};
use andiron_store::disk::{Disk, Durability};
use andiron_store::{Codec, DEFAULT_AUTHOR, KeyRef, Op, Page as EnginePage, Put, Reply, Store as Engine};
use futures_core::Stream as _;

use crate::answers::{Answer, Change, Counted, Entries, Figures, First, Page, Saved, Stamp, Wanted, Written};
use crate::archive::{self, Archive, Leaving};
use crate::kept::Kept;
use crate::listing::{Listing, MOST_LISTINGS};
use crate::places::Places;
use crate::shared::{Applied, Shared, now, unexpected};
use crate::state;
use crate::watch::{Beginning, Filter, Watch};

/// Entries on a page of a listing where the caller does not say.
const PAGE: u64 = 1000;
/// What a message that carries a value takes beside it: the longest key, and the head.
const ROOM_BESIDE_VALUE: u64 = 128 << 10;

/// The store as others call it.
pub(crate) struct Store {
    shared: Arc<Shared>,
    /// No value has more bytes.
    most: u64,
    /// Where there is a disk.
    archive: Option<Archive>,
    /// Of all entries of an author, where they are more than one message takes.
    listings: Places,
    /// How durable a persistent write is where its caller does not say.
    default: Durability,
    /// The process that it was made in.
    generation: u32,
}

impl Drop for Store {
    fn drop(&mut self) {
        // A forked child has no housekeeper to wait for.
        if self.generation == andiron_sys::fork::generation() {
            self.shared.end();
        }
    }
}

impl Store {
    /// One that is empty, of values that fit a message of this length, so that each can be sent to whoever cannot take it by reference. `disk` is to have its
    /// persistent entries, in this folder; `default`: how durable a write is where its caller does not say.
    pub(crate) fn new(
        engine: Engine<Kept>,
        message: u64,
        disk: Option<(Box<dyn Disk>, PathBuf)>,
        default: Durability,
    ) -> Store {
        let most = message.saturating_sub(ROOM_BESIDE_VALUE.min(message / 16));
        let (disk, folder) = disk.unzip();
        let archive = folder.map(|folder| Archive::new(&folder));
        let shared = Shared::new(engine, disk);
        let listings = Places::new(MOST_LISTINGS);
        Store { shared, most, archive, listings, default, generation: andiron_sys::fork::generation() }
    }

    /// Fills it with what its disk has, before anybody uses it.
    pub(crate) fn fill(&self) -> Result<()> {
        self.shared.fill()
    }

    /// What ends its board: nobody takes what was read for current any more.
    pub(crate) fn closing(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.close();
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

    fn kept(&self, value: Blob) -> Result<Kept> {
        let (length, most) = (value.len() as u64, self.most);
        if length > most {
            let text = format!(
                "the value has {length} bytes, and {most} is the most that a value may have: set it in several entries"
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok(Kept::of(value, self.shared.housekeeper()))
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
        let (key, value, ttl) = (key(author.as_deref(), &name), self.kept(value)?, time_to_live(ttl)?);
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
                (self.kept(value.clone())?, time_to_live(*ttl)?, persist.unwrap_or(false));
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

    /// Takes out the entry of an author whose name comes first. Returns an array: its name, and what was there, as `get` does; of none nil.
    async fn delete_first(&self, author: Option<String>) -> Result<Option<First>> {
        let author = author.as_deref().unwrap_or(DEFAULT_AUTHOR);
        check(Use::Write, Some(author))?;
        match self.shared.apply_durably(Op::DeleteFirst { author }, self.default).await? {
            Reply::DeletedFirst(deleted) => Ok(deleted.map(First::from)),
            _ => Err(unexpected()),
        }
    }

    /// Sets the value of an entry that is not there, as `set` does. Returns the entry that is there, as `get` does, or where it was set 0 and its version.
    #[expect(clippy::too_many_arguments, reason = "callers may leave out all but three")]
    async fn set_default(
        &self,
        name: String,
        value: Blob,
        codec: u8,
        author: Option<String>,
        ttl: Option<u64>,
        persist: Option<bool>,
        durability: Option<String>,
    ) -> Result<Answer> {
        let author = author.as_deref().unwrap_or(DEFAULT_AUTHOR);
        check(Use::Write, Some(author))?;
        let (key, value, ttl) = (KeyRef::new(author, &name), self.kept(value)?, time_to_live(ttl)?);
        let (codec, persist, if_version) = (Codec(codec), persist.unwrap_or(false), Some(0));
        let durability = self.durability(durability)?;
        loop {
            if let Reply::Found(entry) = self.apply(Op::Get { key, known: None, hits: 0 })? {
                return Ok(Answer::found(entry, Stamp::default()));
            }
            let put = Put { key, codec, value: value.clone(), ttl, if_version, persist };
            match self.shared.apply_durably(Op::Set(put), durability).await {
                Ok(Reply::Set { version, .. }) => return Ok(Answer::set(version)),
                Err(error) if error.kind() == ErrorKind::Conflict => {} // somebody else set it meanwhile
                Ok(_) => return Err(unexpected()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sets another value of an entry that is there, with `if_version` only if it has that version. What is left of its time stays, and it is persistent if it was.
    /// Returns as `set` does.
    async fn replace(
        &self,
        name: String,
        value: Blob,
        codec: u8,
        author: Option<String>,
        if_version: Option<u64>,
        durability: Option<String>,
    ) -> Result<Written> {
        check(Use::Write, Some(author.as_deref().unwrap_or(DEFAULT_AUTHOR)))?;
        let put = Put::new(key(author.as_deref(), &name), Codec(codec), self.kept(value)?);
        self.write(Op::Replace(Put { if_version, ..put }), durability).await
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
        Ok(if all { self.shared.board() } else { None })
    }

    /// What the store holds and was asked. Returns an array: entries, bytes that they count for, authors, hits (reads that clients answered
    /// themselves, as they told), questions (reads that came here) and evicted (entries that were removed to make room).
    #[expose(idempotent)]
    fn stats(&self) -> Result<Figures> {
        check_all(Use::Read)?;
        Ok(self.shared.state().engine.stats().into())
    }

    /// How many entries one author has, or all have together.
    #[expose(idempotent)]
    fn count(&self, author: Option<&str>) -> Result<u64> {
        let authors = check(Use::Read, author)?;
        let (engine, now) = (&self.shared.state().engine, now());
        Ok(match authors {
            Some(authors) => authors.iter().map(|author| engine.count(Some(author), now) as u64).sum(),
            None => engine.count(author, now) as u64,
        })
    }

    /// All entries of an author as they are at one moment, sorted by name. Returns an array: an array for each of the first ones, and nil, or where more follow a
    /// stream of such arrays. Each entry is an array: name, version, timestamp, persistent (bool), ttl, as `get` has it, and with `values` (true) codec and value.
    #[expose(idempotent)]
    fn entries(&self, author: Option<&str>, values: Option<bool>) -> Result<Entries> {
        let author = author.unwrap_or(DEFAULT_AUTHOR);
        check(Use::Read, Some(author))?;
        let view = self.shared.state().engine.view(author, now());
        let mut listing = Listing::new(view, values.unwrap_or(true), self.shared.housekeeper());
        let first = listing.page();
        let rest = if listing.is_over() { None } else { Some(listing.stream(&self.listings)?) };
        Ok(Entries(first, rest))
    }

    /// Names entries, sorted by author and name: those of one author or of all, at most `limit` (1000), behind `after` (author, name). Returns an
    /// array: whether more follow, and an array for each: author, name, version, timestamp, size in bytes, persistent (bool).
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
        let filter = Filter::new(pattern.unwrap_or("*"), authors)?;
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

    /// Sets the entries of an author that a snapshot has as they were, all or none, but for those whose time is over; the others stay. Returns their number.
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
        // It has everything, so whoever may not have everything gets none of it.
        check_all(Use::Write)?;
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
