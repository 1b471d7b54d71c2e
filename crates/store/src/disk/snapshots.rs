//! Named snapshots: some records of one author, kept under a name until they are deleted.

use rusqlite::Connection;

use super::error::DiskError;
use super::rows::{self, BigValues, columns, is_big};
use super::sqlite::Sqlite;
use super::{Durability, Loaded, Record};

const PUT: &str = concat!(
    "INSERT OR REPLACE INTO snapshot_records (",
    columns!(),
    ", snapshot) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
);
const ALL: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM snapshot_records WHERE author = ?1 AND snapshot = ?2 ORDER BY name"
);
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

impl Sqlite {
    /// Keeps these records of `author` as a snapshot of that name, in place of an earlier one, safe from a power cut. Nothing that happens to the entries later
    /// changes it. Author and name are any text: they are rows, never a path.
    ///
    /// ```
    /// # use andiron_store::{Codec, KeyRef, disk::{Record, Sqlite}};
    /// # let folder = tempfile::tempdir()?;
    /// # let mut disk = Sqlite::open(folder.path())?;
    /// let key = KeyRef::new("film", "position");
    /// let record = Record { key, version: 17, timestamp: 1.7e9, codec: Codec(1), expires_at: None, value: b"20" };
    /// let now = 1_700_000_000_000_000; // microseconds since the Unix epoch
    /// disk.save_snapshot("film", "before the update", now, &[record])?;
    ///
    /// let mut values = Vec::new();
    /// disk.load_snapshot("film", "before the update", &mut |record| values.push(record.value.to_vec()))?;
    /// assert_eq!(values, [b"20"]);
    /// assert_eq!(disk.snapshots()?[0].saved_at, now);
    ///
    /// disk.delete_snapshot("film", "before the update")?;
    /// assert_eq!(disk.snapshots()?, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The earlier one is as it was.
    ///
    /// # Panics
    /// A record is another author's.
    pub fn save_snapshot(
        &mut self,
        author: &str,
        name: &str,
        saved_at: u64,
        records: &[Record<'_>],
    ) -> Result<(), DiskError> {
        assert!(records.iter().all(|record| record.key.author == author), "a record is another author's");
        let written = self.write_values(records.iter())?;
        let old = self.transact(Durability::Sync, &written, |connection| {
            let old = remove(connection, author, name)?;
            let mut put = connection.prepare_cached(PUT)?;
            let mut written = written.iter();
            for record in records {
                put.raw_bind_parameter(10, name)?;
                let file = is_big(record).then(|| *written.next().expect("a file for each big value"));
                rows::put(&mut put, record, file)?;
            }
            let bytes: u64 = records.iter().map(|record| record.value.len() as u64).sum();
            let insert = "INSERT INTO snapshots VALUES (?1, ?2, ?3, ?4, ?5)";
            let (count, bytes) = (records.len() as i64, bytes.cast_signed());
            connection.prepare_cached(insert)?.execute((
                author,
                name,
                saved_at.cast_signed(),
                count,
                bytes,
            ))?;
            Ok(old)
        })?;
        self.discard(old.unwrap_or_default());
        Ok(())
    }

    /// Gives each record of a snapshot, in the order of their names.
    ///
    /// # Errors
    /// [`DiskError::NoSnapshot`] where there is none of that name; for the others see there.
    pub fn load_snapshot(
        &self,
        author: &str,
        name: &str,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<Loaded, DiskError> {
        let loaded = load(self.connection(), author, name, self.big_values(), each);
        loaded.map_err(|error| self.unreadable(error))?.ok_or_else(|| missing(author, name))
    }

    /// Which snapshots there are, in the order of authors and names.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, DiskError> {
        list(self.connection()).map_err(|error| self.unreadable(error))
    }

    /// Deletes a snapshot. Safe from a power cut.
    ///
    /// # Errors
    /// [`DiskError::NoSnapshot`] where there is none of that name; for the others see there.
    pub fn delete_snapshot(&mut self, author: &str, name: &str) -> Result<(), DiskError> {
        let old = self.transact(Durability::Sync, &[], |connection| remove(connection, author, name))?;
        self.discard(old.ok_or_else(|| missing(author, name))?);
        Ok(())
    }

    /// Removes the files of a snapshot that is not there any more, and that no power cut can bring back.
    fn discard(&mut self, files: Vec<u64>) {
        files.into_iter().for_each(|number| self.values().discard(number));
        self.values().remove_garbage();
        self.tidy_if_due();
    }
}

/// Gives each record of a snapshot; `None` where there is none.
pub(super) fn load(
    connection: &Connection,
    author: &str,
    name: &str,
    big: BigValues<'_>,
    each: &mut dyn FnMut(Record<'_>),
) -> rusqlite::Result<Option<Loaded>> {
    let exists = "SELECT 1 FROM snapshots WHERE author = ?1 AND snapshot = ?2";
    if !connection.prepare_cached(exists)?.exists([author, name])? {
        return Ok(None);
    }
    rows::visit(&mut *connection.prepare_cached(ALL)?, [author, name], big, each).map(Some)
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

pub(super) fn missing(author: &str, name: &str) -> DiskError {
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
