//! What a disk itself takes for what Andiron keeps on it: bytes at the end of a file, and SQLite alone, both in the process that writes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use andiron_bench::{Client, LOG_FILLED, Laps, WRITERS, Workload, say_ready};
use andiron_store::disk;
use anyhow::{Context, Result};
use rusqlite::{Connection, params};

/// The bytes of a record: a name, its numbers and a small value.
const RECORD: usize = 64;
/// As the store does it; the tables are the store's own.
const PUT: &str = "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
/// Pages in the log at which it is moved to its place, as the store does.
const LONG_LOG: i64 = 2048;

/// Nobody is asked here.
pub(crate) fn serve() -> Result<()> {
    say_ready()?;
    loop {
        std::thread::park(); // until the harness is gone
    }
}

/// The file system that a folder is on: its kind and its device.
pub(crate) fn file_system(folder: &Path) -> Result<(String, String)> {
    let (folder, mounts) = (folder.canonicalize()?, fs::read_to_string("/proc/self/mounts")?);
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, point, kind) = (fields.next()?, PathBuf::from(fields.next()?), fields.next()?);
        folder.starts_with(&point).then(|| (point.components().count(), kind, device))
    });
    // Of two at one place the later one is on top.
    let (_, kind, device) = mounts.max_by_key(|mount| mount.0).context("no file system")?;
    Ok((kind.to_owned(), device.to_owned()))
}

/// Appends records to a file and has them survive a power cut.
pub(crate) struct Append(File);

impl Append {
    pub(crate) fn new(folder: &Path) -> Result<Append> {
        fs::create_dir_all(folder)?;
        Ok(Append(File::create(folder.join("appended"))?))
    }

    fn append(&mut self, records: usize) -> Result<()> {
        self.0.write_all(&[7; RECORD * WRITERS][..RECORD * records])?;
        Ok(self.0.sync_data()?)
    }
}

impl Client for Append {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        while laps.next() {
            self.append(1)?;
        }
        Ok(())
    }

    /// All writers' records at once.
    fn pipelined(&mut self, writers: usize, calls: usize) -> Result<()> {
        (0..calls / writers).try_for_each(|_| self.append(writers))
    }
}

/// Writes rows as the store does, with nobody asking for it.
pub(crate) struct Sqlite {
    connection: Connection,
    version: i64,
}

impl Sqlite {
    pub(crate) fn new(folder: &Path, workload: Workload) -> Result<Sqlite> {
        drop(disk::Sqlite::open(folder)?); // makes the tables
        let connection = Connection::open(folder.join("store.sqlite"))?;
        let synchronous = if workload.is_synced() { "FULL" } else { "NORMAL" };
        connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LONG_LOG)?;
        let mut sqlite = Sqlite { connection, version: 0 };
        (0..LOG_FILLED).try_for_each(|_| sqlite.put(0))?;
        sqlite.connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(sqlite)
    }

    fn put(&mut self, writer: usize) -> Result<()> {
        self.version += 1;
        let (name, value) = (format!("value:{writer}"), [7_u8; 24]);
        let row = params!["default", name, self.version, 1.7e9, 3, None::<i64>, value, None::<i64>, 7];
        self.connection.prepare_cached(PUT)?.execute(row)?;
        Ok(())
    }
}

impl Client for Sqlite {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        while laps.next() {
            self.put(0)?;
        }
        Ok(())
    }

    /// All writers' rows in one transaction.
    fn pipelined(&mut self, writers: usize, calls: usize) -> Result<()> {
        for _ in 0..calls / writers {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            (0..writers).try_for_each(|writer| self.put(writer))?;
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}
