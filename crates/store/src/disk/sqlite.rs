//! The disk that is an SQLite database.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::error::DiskError;
use super::lock::Lock;
use super::rows::{self, BigValues, columns, is_big};
use super::schema::{self, LogIndex};
use super::values::Values;
use super::{Backup, Change, Copying, Disk, Durability, Loaded, Record, Snapshot, snapshots};
use crate::key::{Key, KeyRef};

/// So many versions more than were given out are marked as such, so that the mark is seldom to be moved: each commit of the daemon's leaves room for those of others meanwhile.
const HIGH_WATER_AHEAD: u64 = 1 << 24;
/// Pages in the log, of 4 KiB, and bytes in files beside, at which a commit tidies up if nobody did.
const LONG_LOG: u32 = 2048;
const LONG_BACKLOG: u64 = 64 << 20;
/// Pages that are given back at a time, and those that may stay free for what is written next: a part of the file, and so many at least.
const GIVEN_BACK: u64 = 2048;
const FREE_PART: u64 = 8;
const FREE: u64 = 256;

/// In place of one with the same key, where that is: what is inserted anew changes one page more.
const PUT: &str = concat!(
    "INSERT INTO records (",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (author, name) DO UPDATE SET \
     version = ?3, timestamp = ?4, codec = ?5, expires_at = ?6, value = ?7, file = ?8, checksum = ?9"
);
const DELETE: &str = "DELETE FROM records WHERE author = ?1 AND name = ?2";
const CLEAR: &str = "DELETE FROM records WHERE author = ?1";
const CLEAR_ALL: &str = "DELETE FROM records";
pub(super) const ALL: &str = concat!("SELECT ", columns!(), " FROM records ORDER BY author, name");
const HIGH_WATER: &str = "UPDATE state SET high_water = ?1";
/// Something is different each time, for what stays as it is is not written.
const TOUCH: &str = "UPDATE state SET touched = touched + 1";
const FILES: &str = "SELECT author, name, file FROM records WHERE file IS NOT NULL";
const SNAPSHOT_FILES: &str = "SELECT file FROM snapshot_records WHERE file IS NOT NULL";

thread_local! {
    /// Pages in the log after the last commit of this thread.
    static LOG: Cell<u32> = const { Cell::new(0) };
}

/// A [`Disk`] in a folder: an SQLite database, with a file beside it for each big value.
///
/// Snapshots are rows of other tables. A backup is a database of its own, in one file, with pieces of the big values in it.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    values: Values,
    /// The files of records, by their keys.
    files: BTreeMap<Key, u64>,
    path: PathBuf,
    /// Which file the database is, to see that it is still there.
    inode: u64,
    high_water: u64,
    /// How commits are made now.
    durability: Durability,
    /// Until it is settled: the files that anything names.
    unsettled: Option<HashSet<u64>>,
    /// Whether something was committed that is not safe from a power cut.
    is_unsynced: bool,
    /// Whether other connections may read, for which each commit locks and unlocks the file: so only while there is a backup.
    is_shared: bool,
    /// Where the index of the log is; others can read only where it is in a file.
    index: LogIndex,
    /// Whether a commit that failed may stand whole in the log.
    may_be_there: bool,
    /// The length of the log at which a commit tidies up.
    tidy_at: u32,
    /// Freed last.
    _lock: Lock,
}

impl Sqlite {
    /// Opens the store in `folder`, which is made, for this user only, if it is not there. What a crash left over is cleared away.
    ///
    /// # Errors
    /// What is there cannot be used, and is as it was: see [`DiskError`].
    pub fn open(folder: &Path) -> Result<Self, DiskError> {
        Self::open_when_free(folder, Duration::ZERO)
    }

    /// As [`open`](Sqlite::open), and waits at most so long for another process that has the folder open to close it.
    ///
    /// # Errors
    /// As there.
    pub fn open_when_free(folder: &Path, wait: Duration) -> Result<Self, DiskError> {
        schema::make_folder(folder)?;
        let (path, lock) = (folder.join("store.sqlite"), Lock::take(&folder.join("store.lock"), wait)?);
        let (connection, index) = schema::open(&path)?;
        let failed = |error| DiskError::of_sqlite("read", &path, error);
        let (files, named) = named_files(&connection).map_err(failed)?;
        let high_water = rows::number(&connection, "SELECT high_water FROM state").map_err(failed)?;
        let values = Values::open(folder, &named)?;
        connection.wal_hook(Some(|_, pages| {
            LOG.set(pages.cast_unsigned());
            Ok(())
        }));
        let found = fs::symlink_metadata(&path);
        let inode = found.map_err(|error| DiskError::of_io("look at", &path, error))?.ino();
        let (durability, tidy_at) = (Durability::Relaxed, LONG_LOG);
        let unsettled = Some(named);
        Ok(Self {
            connection,
            values,
            files,
            path,
            inode,
            high_water,
            durability,
            unsettled,
            is_unsynced: true,
            is_shared: true,
            index,
            may_be_there: false,
            tidy_at,
            _lock: lock,
        })
    }

    /// Clears away what a crash left over, once. Nothing is changed before it is known that what is there can be read, or something is to be written.
    pub(super) fn settle(&mut self) -> Result<(), DiskError> {
        let Some(named) = &self.unsettled else { return Ok(()) };
        // What was read may not have survived a power cut so far. Only when it has may files go that it does not name.
        self.values.sync_all(named)?;
        let checkpoint =
            self.connection.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()));
        match checkpoint.map_err(|error| DiskError::of_sqlite("tidy", &self.path, error)) {
            // On a disk that is full it stays in the log, from where it is read as well.
            Err(DiskError::Full(_)) => {
                schema::sync(&schema::beside(&self.path, "-wal"))?;
                schema::sync(self.path.parent().expect("a file is in a folder"))?;
            }
            moved => moved?,
        }
        self.values.sweep(named)?;
        match self.share(false) {
            // The first commit for which there is room does it.
            Err(DiskError::Full(_)) => self.is_shared = false,
            shared => shared?,
        }
        schema::keep_log(&self.connection, false).map_err(|error| self.unreadable(error))?;
        self.unsettled = None;
        Ok(())
    }

    /// Lets other connections read, or no more.
    pub(super) fn share(&mut self, is_shared: bool) -> Result<(), DiskError> {
        let set = |name, mode| self.connection.pragma_update_and_check(None, name, mode, |_| Ok(()));
        let mut done = Ok(());
        if is_shared && self.index == LogIndex::InMemory {
            // It comes to be in a file with a log that is begun anew.
            done = set("journal_mode", "DELETE");
        }
        done = done.and_then(|()| set("locking_mode", if is_shared { "NORMAL" } else { "EXCLUSIVE" }));
        if is_shared && self.index == LogIndex::InMemory {
            done = done.and_then(|()| set("journal_mode", "WAL"));
        }
        // It is the next commit that does it.
        done.and_then(|()| self.touch()).map_err(|error| DiskError::of_sqlite("lock", &self.path, error))?;
        self.is_shared = is_shared;
        if is_shared {
            self.index = LogIndex::InFile;
        }
        Ok(())
    }

    /// Runs `transaction` as one, all or nothing, and as durable as asked. `written` are the files that it names; `Ok` says that they are committed.
    pub(super) fn transact<T>(
        &mut self,
        durability: Durability,
        written: &[u64],
        transaction: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DiskError> {
        self.settle()?;
        let done = self.prepare(durability).and_then(|()| {
            let run = || {
                self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                let result = transaction(&self.connection)?;
                if self.is_unsynced && durability == Durability::Sync {
                    // Where nothing is written nothing is synced, and what was committed before is to be.
                    self.touch()?;
                }
                self.connection.prepare_cached("COMMIT")?.execute([])?;
                Ok(result)
            };
            run().map_err(|error| DiskError::of_sqlite("write", &self.path, error))
        });
        let done = done.inspect_err(|error| self.undo(error, written));
        self.still_there()?;
        if done.is_ok() {
            self.is_unsynced = durability == Durability::Relaxed;
        }
        done
    }

    /// Sees to it that the next commit is as durable as asked.
    fn prepare(&mut self, durability: Durability) -> Result<(), DiskError> {
        if durability == Durability::Sync {
            self.values.sync()?;
        }
        if durability != self.durability {
            let synchronous = if durability == Durability::Sync { "FULL" } else { "NORMAL" };
            let set = self.connection.pragma_update(None, "synchronous", synchronous);
            set.map_err(|error| DiskError::of_sqlite("write", &self.path, error))?;
            self.durability = durability;
        }
        if self.may_be_there {
            self.touch().map_err(|error| DiskError::of_sqlite("write", &self.path, error))?;
            self.may_be_there = false;
        }
        Ok(())
    }

    /// Takes back what a failed transaction left. Where it failed at its very end it may stand whole in the log, and would be found there after a crash: something that
    /// changes nothing is committed in its place, now or before the next commit.
    fn undo(&mut self, error: &DiskError, written: &[u64]) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // Where the end of it could not be written it is not there.
        let is_cut = matches!(error, DiskError::Full(_));
        self.may_be_there = self.may_be_there || !is_cut;
        if self.may_be_there && self.touch().is_err() {
            written.iter().for_each(|number| self.values.discard(*number));
        } else {
            self.may_be_there = false;
            self.values.take_back(written);
        }
    }

    /// Commits something that changes nothing of what is kept.
    fn touch(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached(TOUCH)?.execute([]).map(drop)
    }

    /// Whether what was written is where the next start looks for it. Only the database is looked at, which changes seldom: the system notes times more exactly for a file
    /// that is looked at, and to have its log survive a power cut would take half as long again.
    fn still_there(&self) -> Result<(), DiskError> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.ino() != self.inode => Err(DiskError::Gone(self.path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DiskError::Gone(self.path.clone())),
            // A file that cannot be looked at now is not a file that is gone.
            _ => Ok(()),
        }
    }

    /// Writes the big values among these, all or none. Their numbers are in the order of the records.
    pub(super) fn write_values<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record<'a>>,
    ) -> Result<Vec<u64>, DiskError> {
        self.settle()?;
        let mut written = Vec::new();
        for record in records.filter(|record| is_big(record)) {
            match self.values.write(record.value) {
                Ok(number) => written.push(number),
                Err(error) => {
                    self.values.take_back(&written);
                    return Err(self.still_there().err().unwrap_or(error));
                }
            }
        }
        Ok(written)
    }

    /// What [`Disk::commit`] does, and in the same transaction what `more` does, which names the files `beside`.
    pub(super) fn commit_with<T>(
        &mut self,
        changes: &[Change<'_>],
        high_water: u64,
        durability: Durability,
        beside: &[u64],
        more: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DiskError> {
        let records = changes.iter().filter_map(|change| match change {
            Change::Put(record) => Some(record),
            _ => None,
        });
        let written = self.write_values(records);
        let written = written.inspect_err(|_| self.values.take_back(beside))?;
        let is_higher = high_water > self.high_water;
        let mark = if is_higher { high_water.saturating_add(HIGH_WATER_AHEAD) } else { self.high_water };
        let all = [beside, &written].concat();
        let done = self.transact(durability, &all, |connection| {
            make(connection, changes, &written)?;
            if is_higher {
                connection.prepare_cached(HIGH_WATER)?.execute([mark.cast_signed()])?;
            }
            more(connection)
        })?;
        self.high_water = mark;
        self.follow(changes, written);
        if durability == Durability::Sync {
            self.values.remove_garbage();
        }
        self.tidy_if_due();
        Ok(done)
    }

    /// Tidies up where it is time.
    pub(super) fn tidy_if_due(&mut self) {
        if LOG.get() >= self.tidy_at || self.values.backlog() >= LONG_BACKLOG {
            // What was asked for is done. What goes wrong here is told by the next commit that it concerns.
            let _ = self.stop_sharing().and_then(|()| self.checkpoint());
        }
    }

    /// Keeps the database for itself again, if no backup reads it any more.
    fn stop_sharing(&mut self) -> Result<(), DiskError> {
        if self.is_shared && !self.values.is_pinned() { self.share(false) } else { Ok(()) }
    }

    /// Moves what was committed to its place, and removes files that nothing names any more.
    fn checkpoint(&mut self) -> Result<(), DiskError> {
        self.values.sync()?;
        let mut moved = false;
        let checkpoint = self.connection.pragma_query(None, "wal_checkpoint", |row| {
            // Pages in the log, and those of them that are in their place now.
            moved = row.get::<_, i64>(1)? == row.get::<_, i64>(2)?;
            Ok(())
        });
        checkpoint.map_err(|error| DiskError::of_sqlite("tidy", &self.path, error))?;
        if moved {
            LOG.set(0);
            self.is_unsynced = false;
            self.tidy_at = LONG_LOG;
            self.values.remove_garbage();
        } else {
            // A backup reads the log.
            self.tidy_at = LOG.get() + LONG_LOG;
        }
        Ok(())
    }

    /// Gives pages that are free back to the system, with the next checkpoint. Not all at once, for each may have to change places with one that is not free.
    fn give_back(&self) -> Result<(), DiskError> {
        if self.is_shared {
            // A backup keeps the log from being moved, which would only get longer.
            return Ok(());
        }
        let given = (|| {
            let free = rows::number(&self.connection, "PRAGMA freelist_count")?;
            let kept = (rows::number(&self.connection, "PRAGMA page_count")? / FREE_PART).max(FREE);
            let pages = free.saturating_sub(kept).min(GIVEN_BACK);
            if pages > 0 {
                // Each row that it gives is a page.
                let mut give = self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
                let mut given = give.query([])?;
                while given.next()?.is_some() {}
            }
            Ok(())
        })();
        given.map_err(|error| DiskError::of_sqlite("tidy", &self.path, error))
    }

    /// Follows what was committed: which files records have now, and which none has any more.
    fn follow(&mut self, changes: &[Change<'_>], written: Vec<u64>) {
        let mut written = written.into_iter();
        for change in changes {
            match change {
                Change::Put(record) if is_big(record) => {
                    let number = written.next().expect("a file was written for each big value");
                    if let Some(old) = self.files.insert(record.key.into(), number) {
                        self.values.discard(old);
                    }
                }
                Change::Put(Record { key, .. }) | Change::Delete(key) => self.forget_file(*key),
                Change::Clear(author) => {
                    let values = &mut self.values;
                    self.files.retain(|key, old| {
                        let stays = author.is_some_and(|author| author != &*key.author);
                        if !stays {
                            values.discard(*old);
                        }
                        stays
                    });
                }
            }
        }
    }

    fn forget_file(&mut self, key: KeyRef<'_>) {
        // Few stores have big values, and the others need not be asked for this one.
        if !self.files.is_empty()
            && let Some(old) = self.files.remove(&Key::from(key))
        {
            self.values.discard(old);
        }
    }

    pub(super) fn values(&mut self) -> &mut Values {
        &mut self.values
    }

    pub(super) fn big_values(&self) -> BigValues<'_> {
        BigValues::Files(self.values.folder())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pin(&self) -> std::sync::Arc<()> {
        self.values.pin()
    }

    pub(super) fn values_folder(&self) -> &Path {
        self.values.folder()
    }
}

impl Disk for Sqlite {
    fn commit(
        &mut self,
        changes: &[Change<'_>],
        high_water: u64,
        durability: Durability,
    ) -> Result<(), DiskError> {
        self.commit_with(changes, high_water, durability, &[], |_| Ok(()))
    }

    fn load(&mut self, each: &mut dyn FnMut(Record<'_>)) -> Result<Loaded, DiskError> {
        let mut all = self.connection.prepare_cached(ALL).map_err(|error| self.unreadable(error))?;
        let visited = rows::visit(&mut all, [], self.big_values(), each);
        let loaded = visited.map_err(|error| self.unreadable(error))?;
        drop(all);
        self.settle()?;
        Ok(loaded)
    }

    fn high_water(&self) -> u64 {
        self.high_water
    }

    fn tidy(&mut self) -> Result<(), DiskError> {
        self.settle()?;
        self.stop_sharing()?;
        // Where there is no room for that there may be some when the log is in its place.
        let given = self.give_back();
        self.checkpoint()?;
        given
    }

    fn save_snapshot(
        &mut self,
        author: &str,
        name: &str,
        saved_at: u64,
        records: &[(Record<'_>, bool)],
    ) -> Result<(), DiskError> {
        self.keep_snapshot(author, name, saved_at, records)
    }

    fn load_snapshot(
        &self,
        author: &str,
        name: &str,
        each: &mut dyn FnMut(Record<'_>, bool),
    ) -> Result<Loaded, DiskError> {
        snapshots::load(&self.connection, &self.path, author, name, self.big_values(), each)
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>, DiskError> {
        snapshots::list(&self.connection).map_err(|error| self.unreadable(error))
    }

    fn delete_snapshot(&mut self, author: &str, name: &str) -> Result<(), DiskError> {
        self.drop_snapshot(author, name)
    }

    fn backup(&mut self) -> Result<Copying, DiskError> {
        self.copying()
    }

    fn restore(&mut self, changes: &[Change<'_>], high_water: u64, backup: &Backup) -> Result<(), DiskError> {
        self.take_over(changes, high_water, backup)
    }
}

impl Sqlite {
    pub(super) fn unreadable(&self, error: rusqlite::Error) -> DiskError {
        DiskError::of_sqlite("read", &self.path, error)
    }
}

impl Drop for Sqlite {
    /// Closing the database tidies it, but not the values.
    fn drop(&mut self) {
        if self.still_there().is_ok() && self.unsettled.is_none() {
            let _ = self.tidy();
        }
    }
}

fn make(connection: &Connection, changes: &[Change<'_>], written: &[u64]) -> rusqlite::Result<()> {
    let mut written = written.iter();
    for change in changes {
        match change {
            Change::Put(record) => {
                let file = is_big(record).then(|| *written.next().expect("a file for each big value"));
                rows::put(&mut *connection.prepare_cached(PUT)?, record, file)?;
            }
            Change::Delete(key) => {
                connection.prepare_cached(DELETE)?.execute([key.author, key.name])?;
            }
            Change::Clear(Some(author)) => {
                connection.prepare_cached(CLEAR)?.execute([author])?;
            }
            Change::Clear(None) => {
                connection.prepare_cached(CLEAR_ALL)?.execute([])?;
            }
        }
    }
    Ok(())
}

/// The files of records, and all that anything names.
fn named_files(connection: &Connection) -> rusqlite::Result<(BTreeMap<Key, u64>, HashSet<u64>)> {
    let mut files = BTreeMap::new();
    let mut select = connection.prepare(FILES)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let key = KeyRef::new(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        files.insert(key.into(), row.get::<_, i64>(2)?.cast_unsigned());
    }
    let mut named: HashSet<u64> = files.values().copied().collect();
    let mut select = connection.prepare(SNAPSHOT_FILES)?;
    for file in select.query_map([], |row| row.get::<_, i64>(0))? {
        named.insert(file?.cast_unsigned());
    }
    Ok((files, named))
}
