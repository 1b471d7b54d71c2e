//! What a daemon keeps for the time after it: where that is, and how it comes back.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use andiron::{Address, Blob, Error, ErrorKind, Result};
use andiron_store::disk::{Disk, DiskError, Durability, Record, Sqlite};
use andiron_store::{Entry, Key, Store as Engine};

use crate::durable::ROOM;
use crate::housekeeper::Housekeeper;
use crate::kept::Kept;
use crate::shared::now;

/// How long the files are waited for: the daemon before this one finishes its calls, for five seconds at most, when its address is free already.
const HANDOVER: Duration = Duration::from_secs(7);
/// So many entries that cannot be read are named in the log.
const NAMED: usize = 8;

/// Where a daemon of this user keeps its persistent entries where nobody says: `andiron/NAME` in `XDG_STATE_HOME` or `~/.local/state`; `None` for one that has an
/// address of another kind than a name.
///
/// ```
/// let folder = andiron_daemon::state_folder("player")?;
/// assert!(folder.is_some_and(|folder| folder.ends_with("andiron/player")));
/// assert_eq!(andiron_daemon::state_folder("unix:/run/player.sock")?, None);
/// # Ok::<(), andiron::Error>(())
/// ```
///
/// # Errors
/// `BadArguments`: that is no address; `Unavailable`: neither of the variables `XDG_STATE_HOME` and `HOME` says where.
pub fn state_folder(address: &str) -> Result<Option<PathBuf>> {
    let Address::Name(name) = address.parse()? else { return Ok(None) };
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let state = state.ok_or_else(|| {
        let text =
            "neither XDG_STATE_HOME nor HOME says where this user's programs keep their state: set one of them to a folder";
        Error::new(ErrorKind::Unavailable, text)
    })?;
    Ok(Some(state.join("andiron").join(name.to_string())))
}

/// Opens what is kept in a folder.
pub(crate) fn open(folder: &Path) -> Result<Sqlite> {
    Sqlite::open_when_free(folder, HANDOVER).map_err(|error| {
        let text = format!("the persistent entries cannot be had: {error}");
        Error::new(kind(&error), text).with_source(error)
    })
}

/// Fills a store that is only just made with what is kept. Gives the version above which none is to be given out before the disk is told of a higher one, and
/// which entries are on the disk but cannot be read.
pub(crate) fn load(
    engine: &mut Engine<Kept>,
    disk: &mut dyn Disk,
    housekeeper: &Arc<Housekeeper>,
) -> Result<(u64, HashSet<Key>)> {
    let time = now();
    let loaded =
        disk.load(&mut |record| engine.load(record.key, entry(&record, time.wall, housekeeper), time));
    let loaded = loaded.map_err(|error| {
        let text = format!("the persistent entries cannot be read: {error}");
        Error::new(kind(&error), text).with_source(error)
    })?;
    for unreadable in loaded.unreadable.iter().take(NAMED) {
        let (author, name) = (&unreadable.key.author, &unreadable.key.name);
        andiron::engine::line(format!(
            "the entry {name:?} of {author:?} cannot be read and is left as it is until it is set again or deleted: {}",
            unreadable.why
        ));
    }
    if let Some(more) = loaded.unreadable.len().checked_sub(NAMED + 1) {
        andiron::engine::line(format!("nor can {} others", more + 1));
    }
    // So that what is written from now on need not wait for that. Where it fails the first write tries again.
    let high_water = engine.version().saturating_add(ROOM);
    let _ = disk.commit(&[], high_water, Durability::Relaxed);
    Ok((disk.high_water(), loaded.unreadable.into_iter().map(|unreadable| unreadable.key).collect()))
}

/// An entry as a disk gives it back. What is left of its time is told by the wall clock: the steady one does not know what it said before the machine was started.
pub(crate) fn entry(record: &Record<'_>, wall: Duration, housekeeper: &Arc<Housekeeper>) -> Entry<Kept> {
    let Record { version, timestamp, codec, expires_at, value, .. } = *record;
    let ttl_left = expires_at.map(|at| Duration::from_micros(at).saturating_sub(wall));
    let value = Kept::of(Blob::from(value), housekeeper);
    Entry { value, codec, version, timestamp, ttl_left, persistent: true }
}

/// As the disk calls it.
pub(crate) fn survives(durability: andiron::Durability) -> Durability {
    match durability {
        andiron::Durability::Relaxed => Durability::Relaxed,
        andiron::Durability::Sync => Durability::Sync,
    }
}

/// Whose fault it is that a disk refuses.
pub(crate) fn kind(error: &DiskError) -> ErrorKind {
    match error {
        DiskError::Full(_) => ErrorKind::Quota,
        DiskError::InUse(_) => ErrorKind::Conflict,
        DiskError::NoSnapshot { .. } => ErrorKind::NoObject,
        DiskError::LongName(_) => ErrorKind::BadArguments,
        _ => ErrorKind::Unavailable,
    }
}
