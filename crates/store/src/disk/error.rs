//! Why a disk refuses.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi;

use super::SNAPSHOT_NAME;
use super::schema::FORMAT;
use crate::key::Key;

/// Why something could not be kept or read. Whatever it is, it made nothing worse: what was on the disk is there.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file is something else. It was not touched.
    #[error("{} is no {wanted}: name another one, or move this file away", path.display())]
    NotOurs {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A later version wrote the file. It was not touched.
    #[error(
        "{} has format {format}, and this version of andiron knows those up to {FORMAT}: use the version that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// What it says.
        format: i64,
    },
    /// What is in the file is not what was written there.
    #[error("{} is damaged ({what}): keep a copy, move it away and restore the last backup", path.display())]
    Damaged {
        /// Which file or folder.
        path: PathBuf,
        /// What shows it.
        what: String,
    },
    /// The disk is full, or the user has no more of it.
    #[error("there is no room left for {}: make room on its disk, then write again", .0.display())]
    Full(PathBuf),
    /// This user may not write there, or nobody may.
    #[error("{} cannot be written: mount its disk writable and give this user the right to write there", .0.display())]
    ReadOnly(PathBuf),
    /// Another process has it.
    #[error("{} is in use: end the other daemon or program that has it open, or choose another folder", .0.display())]
    InUse(PathBuf),
    /// Somebody took the files away while they were used.
    #[error(
        "{} was removed or replaced while it was in use, and what is written to it now would be lost: put it back and open it again, or open it anew \
         and write everything once more",
        .0.display()
    )]
    Gone(PathBuf),
    /// There is no such snapshot.
    #[error("{author:?} has no snapshot {name:?}: list those there are, or save one under this name")]
    NoSnapshot {
        /// Whose it was to be.
        author: String,
        /// Which.
        name: String,
    },
    /// The names say too much.
    #[error(
        "the author and the name of a snapshot have {0} bytes together, and {SNAPSHOT_NAME} are the most: choose a shorter name"
    )]
    LongName(usize),
    /// A record cannot be read, and without it a backup would not be whole.
    #[error(
        "there is no backup without {}, which cannot be read ({why}): {}, then back up again",
        which(key, snapshot),
        way_out(snapshot)
    )]
    Unreadable {
        /// Which entry.
        key: Key,
        /// The name of the author's snapshot that it is in, where it is in one.
        snapshot: Option<String>,
        /// What is wrong with it.
        why: String,
    },
    /// The system, or the database, says something else.
    #[error("cannot {doing} {}: {source}", path.display())]
    Failed {
        /// What failed, for the message.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What is said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl DiskError {
    pub(super) fn of_io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.into()),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly(path.into())
            }
            _ => Self::Failed { doing, path: path.into(), source: source.into() },
        }
    }

    pub(super) fn of_sqlite(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = &source else {
            return match source {
                // A table or column of ours is not there, or holds something else.
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::SqlInputError { .. } => Self::damaged(path, source.to_string()),
                source => Self::Failed { doing, path: path.into(), source: source.into() },
            };
        };
        match failure.code {
            ErrorCode::DiskFull => Self::Full(path.into()),
            // The index of the log is as long as it has to be, unless there is no room.
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => {
                Self::Full(path.into())
            }
            ErrorCode::ReadOnly if failure.extended_code == ffi::SQLITE_READONLY_DBMOVED => {
                Self::Gone(path.into())
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly(path.into()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::InUse(path.into()),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::damaged(path, source.to_string()),
            // Nor is a statement of ours wrong, unless its table is.
            ErrorCode::Unknown if failure.extended_code == ffi::SQLITE_ERROR => {
                Self::damaged(path, source.to_string())
            }
            _ => Self::Failed { doing, path: path.into(), source: source.into() },
        }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), what: what.into() }
    }
}

fn which(Key { author, name }: &Key, snapshot: &Option<String>) -> String {
    match snapshot {
        None => format!("the entry {name:?} of {author:?}"),
        Some(snapshot) => format!("the entry {name:?} of {author:?} in the snapshot {snapshot:?}"),
    }
}

fn way_out(snapshot: &Option<String>) -> &'static str {
    match snapshot {
        None => "set it anew or delete it",
        Some(_) => "delete this snapshot",
    }
}
