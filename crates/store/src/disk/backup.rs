//! Backups: all records and snapshots in one file.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::backup::StepResult;
use rusqlite::{Connection, OpenFlags};

use super::error::DiskError;
use super::rows::{self, BigValues, PIECES};
use super::schema::{self, Kind};
use super::snapshots::{self, Snapshot};
use super::sqlite::{ALL, Sqlite};
use super::{Loaded, Progress, Record, values, whole};

/// Pages that are copied at a time, and bytes of a big value.
const PAGES: i32 = 256;
const PIECE: usize = 1 << 20;

const ALL_FILES: &str = "
    SELECT file FROM records WHERE file IS NOT NULL
    UNION ALL SELECT file FROM snapshot_records WHERE file IS NOT NULL";

impl Sqlite {
    /// See [`Disk::backup`](super::Disk::backup).
    pub(super) fn copying(&mut self) -> Result<Copying, DiskError> {
        self.settle()?;
        self.share(true)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.path(), flags).and_then(|connection| {
            // It is the first read that fixes what is seen.
            connection.execute_batch("BEGIN; SELECT high_water FROM state")?;
            Ok(connection)
        });
        Ok(Copying {
            connection: connection.map_err(|error| self.unreadable(error))?,
            path: self.path().into(),
            values: self.values_folder().into(),
            _pin: self.pin(),
        })
    }
}

/// A backup that is to be written: what was committed when [`Disk::backup`](super::Disk::backup) was called.
///
/// ```
/// use andiron_store::disk::{Backup, Change, Disk, Durability, Record, Sqlite};
/// # use andiron_store::{Codec, KeyRef};
///
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("copy");
/// # let mut disk = Sqlite::open(&folder.path().join("store"))?;
/// # let key = KeyRef::named("volume");
/// # let record = Record { key, version: 17, timestamp: 1.7e9, codec: Codec(1), expires_at: None, value: b"20" };
/// disk.commit(&[Change::Put(record)], 17, Durability::Relaxed)?;
/// let copying = disk.backup()?;
/// disk.commit(&[Change::Clear(None)], 18, Durability::Relaxed)?;
/// copying.write(&file, &mut |progress| assert!(progress.done <= progress.total))?;
///
/// let backup = Backup::open(&file, &mut |_| {})?;
/// let mut changes = Vec::new();
/// backup.load(&mut |record| changes.push(record.value.to_vec()))?;
/// assert_eq!(changes, [b"20"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Copying {
    /// In a transaction that reads.
    connection: Connection,
    path: PathBuf,
    values: PathBuf,
    _pin: Arc<()>,
}

impl Copying {
    /// Writes the backup, with mode 0600, and tells how far it is. It is written under another name beside `to`, made safe from a power cut and then given its name, in place of a
    /// file that is there. Before that all of it is read, as [`Backup::open`] does. What was restored from it needs nothing else: big values are in it.
    ///
    /// # Errors
    /// `to` is as it was. [`DiskError::Unreadable`] where a record cannot be read, without which the backup would not be whole; for the others see there.
    pub fn write(self, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), DiskError> {
        let new = new_beside(to)?;
        let written = self.write_new(&new, progress).and_then(|()| {
            schema::sync(&new)?;
            fs::rename(&new, to).map_err(|error| DiskError::of_io("make", to, error))
        });
        if written.is_err() {
            for ending in ["", "-wal", "-journal"] {
                let _ = fs::remove_file(schema::beside(&new, ending));
            }
            return written;
        }
        schema::sync(folder_of(to))
    }

    fn write_new(&self, new: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), DiskError> {
        let failed = |error| DiskError::of_sqlite("write", new, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(new, flags).map_err(failed)?;
        let ready = copy
            .pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))
            .and_then(|()| copy.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(())))
            .and_then(|()| copy.pragma_update(None, "synchronous", "OFF"));
        ready.map_err(failed)?;
        let files = self.files().map_err(|error| DiskError::of_sqlite("read", &self.path, error))?;
        let big: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        // It is written, and then read.
        let mut writing = |Progress { done, total }| progress(Progress { done, total: total * 2 });
        self.copy_pages(&mut copy, big, &mut writing).map_err(failed)?;
        self.copy_values(&copy, new, &files, &mut writing)?;
        let length = fs::metadata(new).map_err(|error| DiskError::of_io("look at", new, error))?.len();
        let mut reading =
            |Progress { done, total }| progress(Progress { done: total + done, total: total * 2 });
        whole::seal(&copy, new, length, &mut reading).map_err(|error| match error {
            // What was copied is not better than what is there.
            DiskError::Damaged { what, .. } => DiskError::damaged(&self.path, what),
            error => error,
        })?;
        let finish = || {
            copy.pragma_update(None, "application_id", Kind::Backup as i64)?;
            copy.close().map_err(|(_, error)| error)
        };
        finish().map_err(failed)
    }

    /// The database as it is.
    fn copy_pages(
        &self,
        copy: &mut Connection,
        big: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> rusqlite::Result<()> {
        let page = rows::number(&self.connection, "PRAGMA page_size")?;
        let copying = rusqlite::backup::Backup::new(&self.connection, copy)?;
        loop {
            let step = copying.step(PAGES)?;
            let (left, all) = (copying.progress().remaining, copying.progress().pagecount);
            let pages = |pages: i32| u64::from(pages.cast_unsigned()) * page;
            progress(Progress { done: pages(all - left), total: pages(all) + big });
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                // Nobody else has the copy, and the original is being read.
                _ => {
                    return Err(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                        None,
                    ));
                }
            }
        }
        drop(copying);
        // The original has a log; a backup is one file.
        copy.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))
    }

    fn copy_values(
        &self,
        copy: &Connection,
        new: &Path,
        files: &[(u64, u64)],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), DiskError> {
        let failed = |error| DiskError::of_sqlite("write", new, error);
        copy.execute_batch(PIECES).map_err(failed)?;
        let pages = rows::number(copy, "PRAGMA page_count").map_err(failed)?
            * rows::number(copy, "PRAGMA page_size").map_err(failed)?;
        let total = pages + files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let (mut done, mut buffer) = (pages, Vec::new());
        let mut insert = copy.prepare("INSERT INTO pieces VALUES (?1, ?2, ?3)").map_err(failed)?;
        for (number, _) in files {
            let path = values::path_of(&self.values, *number);
            let reading = |error| DiskError::of_io("read", &path, error);
            let mut file = match values::open_file(&path) {
                // What cannot be read in the store cannot be read in the backup, where it is told of which record it is.
                Err(error) if values::is_missing(&error) => continue,
                file => file.map_err(reading)?,
            };
            for piece in 0_i64.. {
                buffer.clear();
                (&mut file).take(PIECE as u64).read_to_end(&mut buffer).map_err(reading)?;
                if buffer.is_empty() {
                    break;
                }
                insert.execute((number.cast_signed(), piece, &buffer[..])).map_err(failed)?;
                done += buffer.len() as u64;
                progress(Progress { done, total });
            }
        }
        Ok(())
    }

    /// The numbers of the big values' files, and their lengths.
    fn files(&self) -> rusqlite::Result<Vec<(u64, u64)>> {
        let mut select = self.connection.prepare(ALL_FILES)?;
        let numbers = select.query_map([], |row| row.get::<_, i64>(0))?;
        numbers
            .map(|number| {
                let number = number?.cast_unsigned();
                let length =
                    fs::metadata(values::path_of(&self.values, number)).map_or(0, |found| found.len());
                Ok((number, length))
            })
            .collect()
    }
}

/// A backup that was looked through: all of it is as it was written.
#[derive(Debug)]
pub struct Backup {
    connection: Connection,
    path: PathBuf,
}

impl Backup {
    /// Opens a backup and looks through all of it, which takes as long as reading it. Nothing is changed by that.
    ///
    /// # Errors
    /// It is none, or of a later format, or anything in it is damaged or missing.
    pub fn open(from: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Self, DiskError> {
        let file = fs::metadata(from).map_err(|error| DiskError::of_io("read", from, error))?;
        schema::refuse_other_than_file(from, Kind::Backup.name())?;
        let connection = schema::open_untouched(from, Kind::Backup)?;
        whole::check(&connection, from, file.len(), progress).map_err(|error| match error {
            DiskError::Unreadable { key, why, .. } => {
                DiskError::damaged(from, format!("{:?} of {:?}: {why}", key.name, key.author))
            }
            error => error,
        })?;
        Ok(Self { connection, path: from.into() })
    }

    /// As [`Disk::load`](super::Disk::load).
    ///
    /// # Errors
    /// The file changed since it was opened, or cannot be read any more.
    pub fn load(&self, each: &mut dyn FnMut(Record<'_>)) -> Result<Loaded, DiskError> {
        let all = self.connection.prepare_cached(ALL);
        all.and_then(|mut all| rows::visit(&mut all, [], BigValues::Pieces(&self.connection), each))
            .map_err(|error| self.unreadable(error))
    }

    /// As [`Disk::high_water`](super::Disk::high_water), of the store that it is a backup of.
    ///
    /// # Errors
    /// As [`Backup::load`].
    pub fn high_water(&self) -> Result<u64, DiskError> {
        let found = rows::number(&self.connection, "SELECT high_water FROM state");
        found.map_err(|error| self.unreadable(error))
    }

    /// As [`Disk::snapshots`](super::Disk::snapshots).
    ///
    /// # Errors
    /// As [`Backup::load`].
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, DiskError> {
        snapshots::list(&self.connection).map_err(|error| self.unreadable(error))
    }

    /// As [`Disk::load_snapshot`](super::Disk::load_snapshot).
    ///
    /// # Errors
    /// As there, and as [`Backup::load`].
    pub fn load_snapshot(
        &self,
        author: &str,
        name: &str,
        each: &mut dyn FnMut(Record<'_>, bool),
    ) -> Result<Loaded, DiskError> {
        let big = BigValues::Pieces(&self.connection);
        snapshots::load(&self.connection, &self.path, author, name, big, each)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn unreadable(&self, error: rusqlite::Error) -> DiskError {
        DiskError::of_sqlite("read", &self.path, error)
    }
}

/// Makes an empty file beside `to` that is nobody else's.
fn new_beside(to: &Path) -> Result<PathBuf, DiskError> {
    let Some(name) = to.file_name() else {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
        return Err(DiskError::of_io("write", to, error));
    };
    let mut number = 0;
    loop {
        let mut new = std::ffi::OsString::from(".");
        new.push(name);
        new.push(format!(".new{number}"));
        let new = folder_of(to).join(new);
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new) {
            Ok(_) => return Ok(new),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(DiskError::of_io("write", &new, error)),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
