//! Snapshots of an author's entries, and backups of all that is persistent.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use super::wire::Open;
use super::{Store, WritesAll};
use crate::sync::lock;
use crate::{Blob, Error, ErrorKind, Result, Stream};

/// Bytes of a backup that travel at a time.
const PIECE: usize = 1 << 20;

/// A snapshot that a daemon keeps; see [`Store::save`].
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// Whose entries it has.
    pub author: String,
    /// Its name.
    pub name: String,
    /// When it was saved, in seconds since the Unix epoch.
    pub timestamp: f64,
    /// How many entries it has.
    pub entries: u64,
    /// Length of their encoded values in bytes.
    pub bytes: u64,
}

/// A snapshot as it travels.
type Row = (String, String, f64, u64, u64);

impl Snapshot {
    pub(crate) fn listed(rows: Vec<Open<Row>>) -> Vec<Snapshot> {
        let snapshot = |Open((author, name, timestamp, entries, bytes))| Snapshot {
            author,
            name,
            timestamp,
            entries,
            bytes,
        };
        rows.into_iter().map(snapshot).collect()
    }
}

impl Store {
    /// Has the daemon keep the entries of this author as they are now, as a snapshot of that name, in place of an earlier one; it survives a power cut. Gives
    /// their number. A name is any text: it is no path.
    ///
    /// ```no_run
    /// let store = andiron::connect()?.store().author("player");
    /// store.save("before the update")?;
    /// store.set("volume", &11)?;
    /// store.load("before the update")?;
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` where the daemon keeps no state, `Quota` where its disk is full, or why the store could not be reached.
    pub fn save(&self, snapshot: &str) -> Result<u64> {
        self.call("save", &(snapshot, &*self.author))
    }

    /// Sets the entries of this author that a snapshot has as they were, with their timestamps and persistent if they were; all of them in one write, or none, but for
    /// those whose time is over. The others stay. Gives their number.
    ///
    /// # Errors
    /// `NoObject` where there is no such snapshot, and as for [`save`](Store::save).
    pub fn load(&self, snapshot: &str) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), Some(&self.author));
        self.call("load", &(snapshot, &*self.author))
    }

    /// The snapshots of this author, sorted by name.
    ///
    /// # Errors
    /// As for [`save`](Store::save).
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.snapshots_of(Some(&self.author))
    }

    /// The snapshots of all authors, sorted by author and name.
    ///
    /// # Errors
    /// As for [`save`](Store::save).
    pub fn all_snapshots(&self) -> Result<Vec<Snapshot>> {
        self.snapshots_of(None)
    }

    fn snapshots_of(&self, author: Option<&str>) -> Result<Vec<Snapshot>> {
        self.read("snapshots", &(author,)).map(Snapshot::listed)
    }

    /// Deletes a snapshot of this author.
    ///
    /// # Errors
    /// As for [`load`](Store::load).
    pub fn delete_snapshot(&self, snapshot: &str) -> Result<()> {
        self.call("delete_snapshot", &(snapshot, &*self.author))
    }

    /// Writes all that is persistent, of all authors, with the snapshots, as it is at one moment. The daemon goes on meanwhile. Gives the number of bytes.
    ///
    /// ```no_run
    /// let mut file = std::fs::File::create("andiron.backup")?;
    /// andiron::connect()?.store().backup(&mut file)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Denied` to who may not use and change the entries of all authors, `Conflict` where four others are under way (one restore), `Unavailable` where `to` refuses something, and as for
    /// [`save`](Store::save). What was written then is no backup.
    pub fn backup(&self, to: &mut impl Write) -> Result<u64> {
        let pieces: Stream<Blob> = self.read("backup", &())?;
        let mut bytes = 0;
        for piece in pieces {
            let piece = piece.map_err(|error| error.during("store.backup"))?;
            to.write_all(&piece).map_err(|error| unwritten(&error))?;
            bytes += piece.len() as u64;
        }
        to.flush().map_err(|error| unwritten(&error))?;
        Ok(bytes)
    }

    /// Has all that is persistent, and the snapshots, be as it was at a backup: all of it, or nothing is changed. Entries that are not persistent stay, unless
    /// the backup has one of the same name. Gives the number of entries in the backup.
    ///
    /// # Errors
    /// `Unavailable` where that is no backup, is damaged or cannot be read, and as for [`backup`](Store::backup).
    pub fn restore(&self, from: impl Read + Send + 'static) -> Result<u64> {
        let _writes = WritesAll::new(self.common.cache(), None);
        let failed = Arc::new(Mutex::new(None));
        let pieces = Pieces { from: Some(from), failed: failed.clone() };
        let restored = self.call("restore", &(Stream::try_iter(pieces),));
        // The daemon only knows that the stream failed.
        match lock(&failed).take() {
            Some(error) => Err(error),
            None => restored,
        }
    }
}

/// A backup piece by piece.
struct Pieces<R> {
    from: Option<R>,
    failed: Arc<Mutex<Option<Error>>>,
}

impl<R: Read> Iterator for Pieces<R> {
    type Item = Result<Blob>;

    fn next(&mut self) -> Option<Result<Blob>> {
        let mut piece = Vec::new();
        match self.from.as_mut()?.take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(error) => {
                self.from = None;
                let told =
                    || Error::new(ErrorKind::Unavailable, format!("the backup cannot be read: {error}"));
                *lock(&self.failed) = Some(told());
                Some(Err(told()))
            }
        }
    }
}

fn unwritten(error: &io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the backup cannot be written: {error}"))
}
