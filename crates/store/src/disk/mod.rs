//! The disk: what keeps entries when the daemon does not.
//!
//! A [`Disk`] takes [`Change`]s, all of a commit or none, and after a restart gives back the [`Record`]s that they left. It knows nothing of the store in
//! memory, has no clock and no thread; one thread drives it. [`Sqlite`] is the disk there is: a folder of this user's with
//!
//! - `store.sqlite`, an SQLite database with its log `store.sqlite-wal`. Records, snapshots and the high-water mark are rows of it, and any tool can read them;
//! - `values/`, a file for each value of [`BIG_VALUE`] bytes and more. A file is written before the record that names it is committed, and removed after no
//!   record that could come back names it any more. What a crash leaves over is removed at the next start;
//! - `store.lock`, which the daemon holds locked while it lives, so that no second one opens the same files.
//!
//! Two kinds of promise can be had for a commit, see [`Durability`]. A commit that fails changes nothing, and the next one starts afresh.
//!
//! ```
//! use andiron_store::disk::{Change, Disk, Durability, Record, Sqlite};
//! use andiron_store::{Codec, KeyRef};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("andiron/default");
//! let mut disk = Sqlite::open(&folder)?;
//! let key = KeyRef::named("volume");
//! let record = Record { key, version: 17, timestamp: 1.7e9, codec: Codec(1), expires_at: None, value: b"20" };
//! disk.commit(&[Change::Put(record)], 17, Durability::Sync)?;
//! drop(disk);
//!
//! let mut disk = Sqlite::open(&folder)?;
//! let mut values = Vec::new();
//! disk.load(&mut |record| values.push((record.version, record.value.to_vec())))?;
//! assert_eq!(values, [(17, b"20".to_vec())]);
//! assert!(disk.high_water() >= 17);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backup;
mod error;
mod lock;
mod rows;
mod schema;
mod snapshots;
mod sqlite;
mod values;
mod whole;

use crate::key::{Key, KeyRef};
use crate::op::Codec;

pub use backup::{Backup, Copying};
pub use error::DiskError;
pub use schema::FORMAT;
pub use snapshots::Snapshot;
pub use sqlite::Sqlite;

/// A value of so many bytes gets a file of its own beside the database, which would move it page by page.
pub const BIG_VALUE: usize = 1 << 20;

/// The most bytes that the author and the name of a snapshot have together: each of its records has both.
pub const SNAPSHOT_NAME: usize = 64 << 10;

/// What keeps entries. One thread drives it.
pub trait Disk: Send + std::fmt::Debug {
    /// Makes these changes in their order, all or none; when it returns `Ok` they are as durable as asked. With [`Durability::Sync`] so is all that was committed
    /// before, which makes a commit of no changes a useful one.
    ///
    /// `high_water`: no version above it was given out. What the disk keeps of it never goes back.
    ///
    /// # Errors
    /// None of the changes was made, and the next commit may succeed. Should the daemon end before there was one, and the error was one of the system's while it
    /// made the changes durable, then they may be there after all, all of them.
    fn commit(
        &mut self,
        changes: &[Change<'_>],
        high_water: u64,
        durability: Durability,
    ) -> Result<(), DiskError>;

    /// Gives each record that is there, in the order of their keys, and tells which could not be read.
    ///
    /// # Errors
    /// The files are damaged, or cannot be read now. They are not changed by that.
    fn load(&mut self, each: &mut dyn FnMut(Record<'_>)) -> Result<Loaded, DiskError>;

    /// A number that no version that was given out is above. It may be larger than the largest that was told, by some millions.
    fn high_water(&self) -> u64;

    /// Does what can wait: moves what was committed from the log to its place, so that the log stays short, and removes files that nothing names any more.
    /// What was committed is safe from a power cut then. Good for moments in which there is nothing to commit; where they do not come a commit does it, and takes so much longer.
    ///
    /// # Errors
    /// The system refuses something. Nothing is lost by that, and it is done the next time.
    fn tidy(&mut self) -> Result<(), DiskError>;

    /// Keeps these records of `author` as a snapshot of that name, in place of an earlier one, safe from a power cut; of each with whether it is persistent now. Nothing
    /// that happens to the entries later changes it. Author and name are any text, never a path. `saved_at`: the time, in microseconds since the Unix epoch.
    ///
    /// ```
    /// # use andiron_store::{Codec, KeyRef, disk::{Disk, Record, Sqlite}};
    /// # let folder = tempfile::tempdir()?;
    /// # let mut disk = Sqlite::open(folder.path())?;
    /// let key = KeyRef::new("film", "position");
    /// let record = Record { key, version: 17, timestamp: 1.7e9, codec: Codec(1), expires_at: None, value: b"20" };
    /// let now = 1_700_000_000_000_000;
    /// disk.save_snapshot("film", "before the update", now, &[(record, true)])?;
    ///
    /// let mut values = Vec::new();
    /// disk.load_snapshot("film", "before the update", &mut |record, _persistent| values.push(record.value.to_vec()))?;
    /// assert_eq!(values, [b"20"]);
    /// assert_eq!(disk.snapshots()?[0].saved_at, now);
    ///
    /// disk.delete_snapshot("film", "before the update")?;
    /// assert_eq!(disk.snapshots()?, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The earlier one is as it was. [`DiskError::LongName`] where author and name have more than [`SNAPSHOT_NAME`] bytes; for the others see there.
    ///
    /// # Panics
    /// A record is another author's.
    fn save_snapshot(
        &mut self,
        author: &str,
        name: &str,
        saved_at: u64,
        records: &[(Record<'_>, bool)],
    ) -> Result<(), DiskError>;

    /// Gives each record of a snapshot, in the order of their names, and whether it was persistent.
    ///
    /// # Errors
    /// [`DiskError::NoSnapshot`] where there is none of that name; for the others see there.
    fn load_snapshot(
        &self,
        author: &str,
        name: &str,
        each: &mut dyn FnMut(Record<'_>, bool),
    ) -> Result<Loaded, DiskError>;

    /// Which snapshots there are, in the order of authors and names.
    ///
    /// # Errors
    /// They cannot be read.
    fn snapshots(&self) -> Result<Vec<Snapshot>, DiskError>;

    /// Deletes a snapshot. Safe from a power cut.
    ///
    /// # Errors
    /// [`DiskError::NoSnapshot`] where there is none of that name; for the others see there.
    fn delete_snapshot(&mut self, author: &str, name: &str) -> Result<(), DiskError>;

    /// Begins a backup of what was committed until now. It is written by [`Copying::write`], on any thread, while this disk goes on: it neither waits nor sees any of
    /// what comes later. As long as it is there the log grows, and no file of a big value is removed.
    ///
    /// # Errors
    /// The files cannot be opened once more.
    fn backup(&mut self) -> Result<Copying, DiskError>;

    /// Does what [`commit`](Disk::commit) does, safe from a power cut, and in the same commit replaces all snapshots by those of a backup.
    ///
    /// # Errors
    /// As there; also that the backup changed since it was opened.
    fn restore(&mut self, changes: &[Change<'_>], high_water: u64, backup: &Backup) -> Result<(), DiskError>;
}

/// What a disk keeps of an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'a> {
    /// Which entry.
    pub key: KeyRef<'a>,
    /// The version of the write that set it.
    pub version: u64,
    /// Time of that write, seconds since the Unix epoch. A number, not infinite.
    pub timestamp: f64,
    /// How the value is encoded.
    pub codec: Codec,
    /// When it is over, in microseconds since the Unix epoch by the wall clock; `None`: it stays. The disk only keeps it.
    pub expires_at: Option<u64>,
    /// The encoded value.
    pub value: &'a [u8],
}

/// One change of what is on the disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    /// Keeps this record, in place of one with the same key.
    Put(Record<'a>),
    /// Keeps the record no more, if there is one.
    Delete(KeyRef<'a>),
    /// Keeps no record of this author any more, or none at all.
    Clear(Option<&'a str>),
}

/// What a commit survives. The later of two is the stronger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The end of the process, however it ends. After a power cut the last commits may be missing, the latest first, and each of them wholly.
    #[default]
    Relaxed,
    /// A power cut as well, where the disk keeps what it says it has written.
    Sync,
}

/// What [`Disk::load`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Records that were given.
    pub records: u64,
    /// Records that are there but whose values are not as they were written. They stay as they are until they are set again or deleted.
    pub unreadable: Vec<Unreadable>,
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which entry.
    pub key: Key,
    /// What is wrong with it.
    pub why: String,
}

/// How far something is that takes long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are done.
    pub done: u64,
    /// Bytes to do, as far as that is known now.
    pub total: u64,
}
