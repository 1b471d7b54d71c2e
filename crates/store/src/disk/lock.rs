//! What keeps a second daemon from the same files.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::DiskError;
use super::schema::refuse_other_than_file;

const LOCK: &str = "lock of a store";

/// A lock that this process holds until it drops it or ends, however it ends.
///
/// It is an empty database in an exclusive transaction that never ends. SQLite's locks are record locks, which the kernel frees and a forked child does not
/// inherit, and SQLite keeps the threads of one process apart as well, which record locks alone do not.
#[derive(Debug)]
pub(super) struct Lock {
    _connection: Connection,
}

impl Lock {
    /// Waits at most so long for another process to let go of it.
    pub(super) fn take(path: &Path, wait: Duration) -> Result<Self, DiskError> {
        refuse_other_than_file(path, LOCK)?;
        // A file that is there is not opened here: closing it would free a lock that this process has on it.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(DiskError::of_io("make", path, error));
            }
            _ => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let locked = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(wait)?;
            // Nothing is written, so there is nothing to write a journal of.
            connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
            connection.execute_batch("BEGIN EXCLUSIVE")?;
            Ok(connection)
        });
        match locked {
            Ok(connection) => Ok(Self { _connection: connection }),
            Err(error) => Err(match DiskError::of_sqlite("lock", path, error) {
                DiskError::Damaged { path, .. } => DiskError::NotOurs { path, wanted: LOCK },
                other => other,
            }),
        }
    }
}
