//! Whether a backup is whole: all of it can be read, and is what was written.

use std::path::Path;

use rusqlite::Connection;

use super::error::DiskError;
use super::rows::{self, BigValues, Checksum};
use super::snapshots::{self, Snapshot};
use super::sqlite::ALL;
use super::{Loaded, Progress, Record};

/// Records have checksums of their own. This one is over everything that a backup gives, so that nothing can be missing or be somewhere else either. Part of the format.
const TABLE: &str = "
    CREATE TABLE whole (checksum INTEGER NOT NULL) STRICT;
    INSERT INTO whole VALUES (0);
";
/// Records that are read at a time between two words on the progress.
const RECORDS: u64 = 10_000;

/// Looks through what was written as a backup, and notes in it that it was whole.
pub(super) fn seal(
    copy: &Connection,
    path: &Path,
    total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), DiskError> {
    let failed = |error| DiskError::of_sqlite("write", path, error);
    copy.execute_batch(TABLE).map_err(failed)?;
    let sum = look_through(copy, path, total, progress)?;
    copy.execute("UPDATE whole SET checksum = ?1", [sum.cast_signed()]).map(drop).map_err(failed)
}

/// Looks through a backup: it is as it was when it was sealed.
pub(super) fn check(
    backup: &Connection,
    path: &Path,
    total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), DiskError> {
    let sum = look_through(backup, path, total, progress)?;
    let sealed = rows::number(backup, "SELECT checksum FROM whole");
    match sealed.map_err(|error| DiskError::of_sqlite("read", path, error))? == sum {
        true => Ok(()),
        false => Err(DiskError::damaged(path, "something in it is missing or was changed")),
    }
}

/// Reads everything, and gives the checksum over it. `total`: how long the file is, for the progress.
fn look_through(
    connection: &Connection,
    path: &Path,
    total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, DiskError> {
    let unreadable = |error| DiskError::of_sqlite("read", path, error);
    let found = connection.pragma_query_value(None, "integrity_check", |row| row.get(0));
    let found: String = found.map_err(unreadable)?;
    if found != "ok" {
        return Err(DiskError::damaged(path, found));
    }
    let count = "SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM snapshot_records)";
    let all = rows::number(connection, count).map_err(unreadable)?;
    let mut looking = Looking { sum: Checksum::default(), records: 0, all, total, progress };
    let big = BigValues::Pieces(connection);
    let mut select = connection.prepare(ALL).map_err(unreadable)?;
    let loaded = rows::visit(&mut select, [], big, &mut |record| looking.record(&record));
    refuse_unreadable(loaded.map_err(unreadable)?, None)?;
    looking.sum.mix(0, looking.records);
    for about in snapshots::list(connection).map_err(unreadable)? {
        looking.snapshot(&about);
        let Snapshot { author, name, .. } = about;
        let loaded = snapshots::load(connection, path, &author, &name, big, &mut |record, persistent| {
            looking.record(&record);
            looking.sum.mix(0, persistent.into());
        });
        refuse_unreadable(loaded?, Some(name))?;
    }
    if looking.records != all {
        let left = all - looking.records;
        return Err(DiskError::damaged(
            path,
            format!("{left} of its records are of no snapshot that it has"),
        ));
    }
    looking.sum.mix(0, rows::number(connection, "SELECT high_water FROM state").map_err(unreadable)?);
    Ok(looking.sum.finish())
}

fn refuse_unreadable(loaded: Loaded, snapshot: Option<String>) -> Result<(), DiskError> {
    match loaded.unreadable.into_iter().next() {
        Some(bad) => Err(DiskError::Unreadable { key: bad.key, snapshot, why: bad.why }),
        None => Ok(()),
    }
}

/// What was seen so far.
struct Looking<'a> {
    sum: Checksum,
    records: u64,
    all: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Looking<'_> {
    fn record(&mut self, record: &Record<'_>) {
        self.sum.mix(0, rows::checksum_of(record));
        self.records += 1;
        if self.records.is_multiple_of(RECORDS) || self.records == self.all {
            let part = self.records as f64 / self.all as f64;
            (self.progress)(Progress { done: (self.total as f64 * part) as u64, total: self.total });
        }
    }

    fn snapshot(&mut self, about: &Snapshot) {
        self.sum.add(about.author.as_bytes());
        self.sum.add(about.name.as_bytes());
        [about.saved_at, about.records, about.bytes].into_iter().for_each(|number| self.sum.mix(0, number));
    }
}
