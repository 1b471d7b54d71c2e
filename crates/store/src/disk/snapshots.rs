//! Named snapshots: some records of one author, kept under a name until they are deleted.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Statement};

use super::error::DiskError;
use super::rows::{self, BigValues, columns, is_big};
use super::sqlite::Sqlite;
use super::{Backup, Change, Durability, Loaded, Record, SNAPSHOT_NAME};

const PUT: &str = concat!(
    "INSERT OR REPLACE INTO snapshot_records (",
    columns!(),
    ", snapshot, persistent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
);
const ALL: &str = concat!(
    "SELECT ",
    columns!(),
    ", persistent FROM snapshot_records WHERE author = ?1 AND snapshot = ?2 ORDER BY name"
);
const WHOLE: &str = concat!(
    "SELECT ",
    columns!(),
    ", persistent, snapshot FROM snapshot_records ORDER BY author, snapshot, name"
);
/// Behind the columns of the record.
const PERSISTENT: usize = 9;
const SNAPSHOT: usize = 10;
const ALL_FILES: &str = "SELECT file FROM snapshot_records WHERE file IS NOT NULL";
const REMOVE_ALL: &str = "DELETE FROM snapshots; DELETE FROM snapshot_records";
const FILES: &str =
    "SELECT file FROM snapshot_records WHERE file IS NOT NULL AND author = ?1 AND snapshot = ?2";
const LIST: &str =
    "SELECT author, snapshot, saved_at, records, bytes FROM snapshots ORDER BY author, snapshot";

/// What is known about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose records it has.
    pub author: String,
    /// Its name.
    pub name: String,
    /// When it was saved, in microseconds since the Unix epoch.
    pub saved_at: u64,
    /// Records in it.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// See [`Disk`](super::Disk), whose methods these are.
impl Sqlite {
    pub(super) fn keep_snapshot(
        &mut self,
        author: &str,
        name: &str,
        saved_at: u64,
        records: &[(Record<'_>, bool)],
    ) -> Result<(), DiskError> {
        assert!(
            records.iter().all(|(record, _)| record.key.author == author),
            "a record is another author's"
        );
        let length = author.len() + name.len();
        if length > SNAPSHOT_NAME {
            return Err(DiskError::LongName(length));
        }
        let written = self.write_values(records.iter().map(|(record, _)| record))?;
        let old = self.transact(Durability::Sync, &written, |connection| {
            let old = remove(connection, author, name)?;
            let mut put = connection.prepare_cached(PUT)?;
            let mut written = written.iter();
            for (record, persistent) in records {
                put_record(&mut put, name, record, *persistent, &mut written)?;
            }
            let bytes = records.iter().map(|(record, _)| record.value.len() as u64).sum();
            let (author, name) = (author.to_owned(), name.to_owned());
            put_about(
                connection,
                &Snapshot { author, name, saved_at, records: records.len() as u64, bytes },
            )?;
            Ok(old)
        })?;
        self.discard(old.unwrap_or_default());
        Ok(())
    }

    pub(super) fn drop_snapshot(&mut self, author: &str, name: &str) -> Result<(), DiskError> {
        let old = self.transact(Durability::Sync, &[], |connection| remove(connection, author, name))?;
        self.discard(old.ok_or_else(|| missing(author, name))?);
        Ok(())
    }

    pub(super) fn take_over(
        &mut self,
        changes: &[Change<'_>],
        high_water: u64,
        backup: &Backup,
    ) -> Result<(), DiskError> {
        let (mut files, mut failed) = (Vec::new(), None);
        let looked = visit_all(backup.connection(), &mut |_, record, _| {
            if failed.is_none() && is_big(&record) {
                match self.values().write(record.value) {
                    Ok(number) => files.push(number),
                    Err(error) => failed = Some(error),
                }
            }
            Ok(())
        });
        if let Some(error) = looked.map_err(|error| backup.unreadable(error)).err().or(failed) {
            self.values().take_back(&files);
            return Err(error);
        }
        let old = self.commit_with(changes, high_water, Durability::Sync, &files, |connection| {
            let old: Vec<i64> = {
                let mut select = connection.prepare(ALL_FILES)?;
                select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
            };
            connection.execute_batch(REMOVE_ALL)?;
            let (mut put, mut files) = (connection.prepare_cached(PUT)?, files.iter());
            visit_all(backup.connection(), &mut |snapshot, record, persistent| {
                put_record(&mut put, snapshot, &record, persistent, &mut files)
            })?;
            for about in list(backup.connection())? {
                put_about(connection, &about)?;
            }
            Ok(old)
        })?;
        self.discard(old.into_iter().map(i64::cast_unsigned).collect());
        Ok(())
    }

    /// Removes the files of a snapshot that is not there any more, and that no power cut can bring back.
    fn discard(&mut self, files: Vec<u64>) {
        files.into_iter().for_each(|number| self.values().discard(number));
        self.values().remove_garbage();
        self.tidy_if_due();
    }
}

/// Gives each record of all snapshots of a backup, with the name of its snapshot and whether it was persistent.
fn visit_all(
    connection: &Connection,
    each: &mut dyn FnMut(&str, Record<'_>, bool) -> rusqlite::Result<()>,
) -> rusqlite::Result<Loaded> {
    let each = |record: Record<'_>, row: &Row<'_>| {
        each(row.get_ref(SNAPSHOT)?.as_str()?, record, row.get(PERSISTENT)?)
    };
    rows::visit_rows(&mut *connection.prepare_cached(WHOLE)?, [], BigValues::Pieces(connection), each)
}

fn put_record(
    put: &mut Statement<'_>,
    snapshot: &str,
    record: &Record<'_>,
    persistent: bool,
    files: &mut std::slice::Iter<'_, u64>,
) -> rusqlite::Result<()> {
    put.raw_bind_parameter(10, snapshot)?;
    put.raw_bind_parameter(11, persistent)?;
    let file = if is_big(record) { files.next().copied() } else { None };
    rows::put(put, record, file)
}

fn put_about(connection: &Connection, about: &Snapshot) -> rusqlite::Result<()> {
    let Snapshot { author, name, saved_at, records, bytes } = about;
    let numbers = [*saved_at, *records, *bytes].map(u64::cast_signed);
    let insert = "INSERT INTO snapshots VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(insert)?.execute((author, name, numbers[0], numbers[1], numbers[2])).map(drop)
}

/// Gives each record of a snapshot of the database `path`.
pub(super) fn load(
    connection: &Connection,
    path: &Path,
    author: &str,
    name: &str,
    big: BigValues<'_>,
    each: &mut dyn FnMut(Record<'_>, bool),
) -> Result<Loaded, DiskError> {
    let found = (|| {
        let records = "SELECT records FROM snapshots WHERE author = ?1 AND snapshot = ?2";
        let mut records = connection.prepare_cached(records)?;
        let records = records.query_row([author, name], |row| row.get::<_, i64>(0)).optional()?;
        let each = |record: Record<'_>, row: &Row<'_>| {
            each(record, row.get(PERSISTENT)?);
            Ok(())
        };
        let Some(records) = records else { return Ok(None) };
        let loaded = rows::visit_rows(&mut *connection.prepare_cached(ALL)?, [author, name], big, each)?;
        Ok(Some((loaded, records.cast_unsigned())))
    })();
    let found = found.map_err(|error| DiskError::of_sqlite("read", path, error))?;
    let (loaded, records) = found.ok_or_else(|| missing(author, name))?;
    // That a row is not there no checksum of a row tells.
    match loaded.records + loaded.unreadable.len() as u64 {
        there if there == records => Ok(loaded),
        there => {
            let what = format!("the snapshot {name:?} of {author:?} has {there} of {records} records");
            Err(DiskError::damaged(path, what))
        }
    }
}

pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Snapshot>> {
    let mut list = connection.prepare_cached(LIST)?;
    let rows = list.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let (author, name) = (row.get(0)?, row.get(1)?);
        Ok(Snapshot { author, name, saved_at: number(2)?, records: number(3)?, bytes: number(4)? })
    })?;
    rows.collect()
}

fn missing(author: &str, name: &str) -> DiskError {
    DiskError::NoSnapshot { author: author.to_owned(), name: name.to_owned() }
}

/// Removes the rows of a snapshot and gives its files; `None` if there is none.
fn remove(connection: &Connection, author: &str, name: &str) -> rusqlite::Result<Option<Vec<u64>>> {
    let delete = "DELETE FROM snapshots WHERE author = ?1 AND snapshot = ?2";
    if connection.prepare_cached(delete)?.execute([author, name])? == 0 {
        return Ok(None);
    }
    let files = connection
        .prepare_cached(FILES)?
        .query_map([author, name], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))?
        .collect::<rusqlite::Result<_>>()?;
    let delete = "DELETE FROM snapshot_records WHERE author = ?1 AND snapshot = ?2";
    connection.prepare_cached(delete)?.execute([author, name])?;
    Ok(Some(files))
}
