//! Snapshots of an author's entries, and backups of all that is persistent.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use andiron::{Blob, Error, ErrorKind, Result};
use andiron_store::disk::{Backup, Copying, Disk, DiskError, Record, Snapshot};
use andiron_store::{ENTRY_OVERHEAD, Entry, Key, KeyRef, Op, Reply};

use crate::kept::Kept;
use crate::places::{Place, Places};
use crate::shared::{Shared, now};
use crate::state;
use crate::waiting::{Answer, Restored};

/// Bytes of a backup that travel at a time.
const PIECE: usize = 1 << 20;
/// Entries that are looked up at a time.
const PAGE: usize = 1000;

/// Where backups are while they travel, and how many of them there may be.
#[derive(Debug)]
pub(crate) struct Archive {
    /// In the folder of the state; made when it is needed. What a crash left there is removed at the next start.
    folder: PathBuf,
    leaving: Places,
    coming: Places,
    last: AtomicU64,
}

impl Archive {
    pub(crate) fn new(state: &Path) -> Archive {
        let folder = state.join("transfer");
        let _ = fs::remove_dir_all(&folder); // what is left of it is found by who needs it
        Archive { folder, leaving: Places::new(4), coming: Places::new(1), last: AtomicU64::new(0) }
    }

    /// A file in which a backup is on its way out.
    pub(crate) fn leaving(&self) -> Result<Passing> {
        self.passing("backup", &self.leaving)
    }

    /// A file in which one comes.
    pub(crate) fn coming(&self) -> Result<Passing> {
        self.passing("restore", &self.coming)
    }

    fn passing(&self, what: &str, places: &Places) -> Result<Passing> {
        let place = places.take().ok_or_else(|| {
            let text = format!("another {what} is under way at this daemon: try again when it is done");
            Error::new(ErrorKind::Conflict, text)
        })?;
        let number = self.last.fetch_add(1, Ordering::Relaxed); // another one than before, and nothing else
        let passing = Passing { path: self.folder.join(format!("{what}.{number}")), place };
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(refused("make", &self.folder, &error))
            }
            _ => Ok(passing),
        }
    }
}

/// A file that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Passing {
    path: PathBuf,
    place: Arc<Place>,
}

impl Passing {
    /// An empty file of that name.
    pub(crate) fn create(&self) -> Result<fs::File> {
        let file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path);
        file.map_err(|error| refused("write", &self.path, &error))
    }

    pub(crate) fn write(&self, file: &mut fs::File, bytes: &[u8]) -> Result<()> {
        self.place.moves()?;
        file.write_all(bytes).map_err(|error| refused("write", &self.path, &error))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // where it cannot be removed it is at the next start
    }
}

/// The bytes of a backup, piece by piece; it is made when the first one is asked for, which takes long.
pub(crate) struct Leaving {
    /// Given up at the end, before that is told.
    passing: Option<Passing>,
    copying: Option<Copying>,
    file: Option<fs::File>,
}

impl Leaving {
    pub(crate) fn new(passing: Passing, copying: Copying) -> Leaving {
        Leaving { passing: Some(passing), copying: Some(copying), file: None }
    }

    fn piece(&mut self) -> Result<Option<Blob>> {
        let Some(Passing { path, place }) = &self.passing else { return Ok(None) };
        place.moves()?;
        if let Some(copying) = self.copying.take() {
            copying.write(path, &mut |_| drop(place.moves())).map_err(|error| failed(&error))?;
            self.file = Some(fs::File::open(path).map_err(|error| refused("read", path, &error))?);
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut piece = Vec::new();
        let read = file.take(PIECE as u64).read_to_end(&mut piece);
        read.map_err(|error| refused("read", path, &error))?;
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

impl Iterator for Leaving {
    type Item = Result<Blob>;

    fn next(&mut self) -> Option<Result<Blob>> {
        let piece = self.piece().transpose();
        if !matches!(piece, Some(Ok(_))) {
            (self.passing, self.file) = (None, None);
        }
        piece
    }
}

/// Looks through a backup and reads what it has, on a thread of its own, since that takes long.
pub(crate) async fn read(shared: Arc<Shared>, passing: &Passing) -> Result<Restored> {
    let (answer, path) = (Arc::<Answer<Restored>>::default(), passing.path.clone());
    let place = answer.clone();
    let read = move || {
        let backup = Backup::open(&path, &mut |_| {}).map_err(|error| bad_backup(&error))?;
        let (wall, mut entries) = (now().wall, Vec::new());
        let each = &mut |record: Record<'_>| entries.extend(entry(&shared, &record, true, wall));
        backup.load(each).map_err(|error| bad_backup(&error))?;
        Ok(Restored { entries, backup: Some(backup) })
    };
    let thread = std::thread::Builder::new().name("andiron-restore".to_owned());
    let started = thread.spawn(move || place.give(contained(read)));
    started.map_err(|error| {
        Error::new(ErrorKind::Overloaded, format!("no thread is left to read the backup: {error}"))
    })?;
    answer.wait().await
}

/// Keeps the entries of an author as a snapshot. Gives their number.
pub(crate) fn save(shared: &Shared, disk: &mut dyn Disk, author: &str, name: &str) -> Result<u64> {
    let time = now();
    let entries = shared.entries_of(author)?;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let records: Vec<_> = entries
        .iter()
        .map(|(key, entry)| {
            let Entry { value, codec, version, timestamp, ttl_left, persistent } = entry;
            let expires_at = ttl_left.map(|left| micros(time.wall.saturating_add(left)));
            let (version, timestamp, codec, value) = (*version, *timestamp, *codec, value.all());
            (Record { key: key.into(), version, timestamp, codec, expires_at, value }, *persistent)
        })
        .collect();
    within_limits(shared, disk, author, name, &records)?;
    disk.save_snapshot(author, name, micros(time.wall), &records).map_err(|error| failed(&error))?;
    Ok(records.len() as u64)
}

/// The snapshots of an author, and of all, may have as much as the entries.
fn within_limits(
    shared: &Shared,
    disk: &mut dyn Disk,
    author: &str,
    name: &str,
    records: &[(Record<'_>, bool)],
) -> Result<()> {
    let limits = *shared.state().engine.limits();
    let cost = |records: u64, bytes: u64| bytes.saturating_add(records.saturating_mul(ENTRY_OVERHEAD));
    let bytes = records.iter().map(|(record, _)| record.value.len() as u64).sum();
    let (mut own, mut all) = (cost(records.len() as u64, bytes), cost(records.len() as u64, bytes));
    for other in snapshots(disk)? {
        let cost = cost(other.records, other.bytes);
        if other.author != author {
            all = all.saturating_add(cost);
        } else if other.name != name {
            (own, all) = (own.saturating_add(cost), all.saturating_add(cost));
        }
    }
    let text = match (own > limits.max_author_bytes, all > limits.max_bytes) {
        (false, false) => return Ok(()),
        (true, _) => format!(
            "the snapshots of the author {author:?} would have {own} bytes, one author may have {}",
            limits.max_author_bytes
        ),
        (false, true) => format!("the snapshots would have {all} bytes, all may have {}", limits.max_bytes),
    };
    Err(Error::new(ErrorKind::Quota, format!("{text}: delete some, or start the daemon with a larger limit")))
}

/// What a snapshot has.
pub(crate) fn load(shared: &Shared, disk: &mut dyn Disk, author: &str, name: &str) -> Result<Restored> {
    let (wall, mut entries) = (now().wall, Vec::new());
    let each = &mut |record: Record<'_>, persistent| entries.extend(entry(shared, &record, persistent, wall));
    let loaded = disk.load_snapshot(author, name, each).map_err(|error| failed(&error))?;
    match loaded.unreadable.first() {
        None => Ok(Restored { entries, backup: None }),
        Some(bad) => {
            let text = format!(
                "the snapshot {name:?} is damaged and nothing was changed: the entry {:?}: {}",
                bad.key.name, bad.why
            );
            Err(Error::new(ErrorKind::Unavailable, text))
        }
    }
}

/// An entry as a snapshot or backup has it, unless its time is over.
fn entry(
    shared: &Shared,
    record: &Record<'_>,
    persistent: bool,
    wall: Duration,
) -> Option<(Key, Entry<Kept>)> {
    let entry = Entry { persistent, ..state::entry(record, wall, shared.housekeeper()) };
    let is_over = entry.ttl_left.is_some_and(|left| left.is_zero());
    (!is_over).then(|| (record.key.into(), entry))
}

pub(crate) fn snapshots(disk: &mut dyn Disk) -> Result<Vec<Snapshot>> {
    disk.snapshots().map_err(|error| failed(&error))
}

pub(crate) fn delete(disk: &mut dyn Disk, author: &str, name: &str) -> Result<()> {
    disk.delete_snapshot(author, name).map_err(|error| failed(&error))
}

pub(crate) fn backup(disk: &mut dyn Disk) -> Result<Copying> {
    disk.backup().map_err(|error| failed(&error))
}

impl Shared {
    /// All entries of an author, as they are in one moment.
    fn entries_of(&self, author: &str) -> Result<Vec<(Key, Entry<Kept>)>> {
        let time = now();
        let (mut entries, mut after): (Vec<(Key, Entry<Kept>)>, Option<Key>) = (Vec::new(), None);
        let mut state = self.state();
        loop {
            let list =
                Op::List { author: Some(author), after: after.as_ref().map(KeyRef::from), limit: PAGE };
            let Ok(Reply::Listed(page)) = state.engine.apply(list, time, &mut ()) else { return Ok(entries) };
            after = page.entries.last().map(|listed| listed.key.clone());
            let keys = page.entries.into_iter().map(|listed| listed.key);
            entries
                .extend(keys.filter_map(|key| Some((key.clone(), state.engine.peek((&key).into(), time)?))));
            if !page.more {
                return Ok(entries);
            }
        }
    }
}

/// What a piece of work on a thread of its own gives; a panic of it is an error of who waits.
pub(crate) fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Internal, "what this takes panicked in the daemon; its log says where"))
    })
}

/// The store is no longer there.
pub(crate) fn over() -> Error {
    Error::new(ErrorKind::Unavailable, "the store has ended")
}

/// Why a backup is not taken. Where it lies for now says nothing to who sent it.
fn bad_backup(error: &DiskError) -> Error {
    let why = match error {
        DiskError::NotOurs { wanted, .. } => format!("what was sent is no {wanted}"),
        DiskError::Newer { format, .. } => {
            format!("the backup has format {format}, which only a later version of andiron knows")
        }
        DiskError::Damaged { what, .. } => {
            format!("the backup is damaged or cut off ({what}); take another one")
        }
        other => return failed(other),
    };
    Error::new(ErrorKind::BadArguments, format!("{why}; nothing was changed"))
}

fn failed(error: &DiskError) -> Error {
    Error::new(state::kind(error), error.to_string())
}

fn refused(doing: &'static str, path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {doing} {}: {error}", path.display()))
}
