//! The database's format: how it is told from others, made and brought up to date.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::DiskError;

/// The format of the files that this version writes. It reads all earlier ones.
pub const FORMAT: i64 = 1;

/// What a database file is for, which stands in its header: "Andr" and "Andb".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Store = 0x416e_6472,
    Backup = 0x416e_6462,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Store => "store of andiron's",
            Kind::Backup => "backup of a store, made by andiron",
        }
    }
}

/// Short values stand in their record, others have the number of their file there. Versions and checksums are unsigned, written as signed ones.
/// Records are not in the index of their keys, in which a page would have to have room for four of them, and a longer one would take a page more.
const TABLES: &str = "
    CREATE TABLE records (
        author TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, timestamp REAL NOT NULL, codec INTEGER NOT NULL, expires_at INTEGER,
        value BLOB, file INTEGER, checksum INTEGER NOT NULL,
        PRIMARY KEY (author, name)
    ) STRICT;
    CREATE INDEX record_files ON records (file) WHERE file IS NOT NULL;
    CREATE TABLE snapshots (
        author TEXT NOT NULL, snapshot TEXT NOT NULL,
        saved_at INTEGER NOT NULL, records INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (author, snapshot)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshot_records (
        author TEXT NOT NULL, snapshot TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, timestamp REAL NOT NULL, codec INTEGER NOT NULL, expires_at INTEGER,
        value BLOB, file INTEGER, checksum INTEGER NOT NULL, persistent INTEGER NOT NULL,
        PRIMARY KEY (author, snapshot, name)
    ) STRICT;
    CREATE INDEX snapshot_files ON snapshot_records (file) WHERE file IS NOT NULL;
    CREATE TABLE state (high_water INTEGER NOT NULL, touched INTEGER NOT NULL) STRICT;
    INSERT INTO state VALUES (0, 0);
";

/// The header of an SQLite file, and where in it are numbers of four bytes for its owner.
const HEADER: usize = 100;
const USER_VERSION: usize = 60;
const APPLICATION_ID: usize = 68;

/// How much of the log may stay when it was moved to its place.
const KEPT_LOG: i64 = 16 << 20;

/// Opens the store's database, which is made if nothing is there.
pub(super) fn open(path: &Path) -> Result<(Connection, LogIndex), DiskError> {
    for ending in ["", "-wal", "-shm", "-journal"] {
        refuse_other_than_file(&beside(path, ending), Kind::Store.name())?;
    }
    if !exists(path)? {
        create(path)?;
    }
    check_header(path, Kind::Store)?;
    match open_with(path, LogIndex::InFile) {
        // The file needs room that the disk may not have.
        Err(DiskError::Full(_)) => {
            open_with(path, LogIndex::InMemory).map(|connection| (connection, LogIndex::InMemory))
        }
        opened => opened.map(|connection| (connection, LogIndex::InFile)),
    }
}

/// Where the database has the index of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogIndex {
    /// Beside the log, for other connections too.
    InFile,
    /// For this connection alone.
    InMemory,
}

fn open_with(path: &Path, index: LogIndex) -> Result<Connection, DiskError> {
    let failed = |error| DiskError::of_sqlite("open", path, error);
    let connection = Connection::open_with_flags(path, flags()).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        return Err(DiskError::ReadOnly(path.into()));
    }
    if index == LogIndex::InMemory {
        connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(())).map_err(failed)?;
    }
    connection.pragma_update(None, "cell_size_check", true).map_err(failed)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    connection.pragma_update(None, "cache_size", -16_384).map_err(failed)?;
    connection
        .pragma_update_and_check(None, "journal_size_limit", KEPT_LOG, |_| Ok(()))
        .and_then(|()| connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())))
        .map_err(failed)?;
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    keep_log(&connection, has_log).map_err(failed)?;
    // The log may have a later one than the header of the file.
    let format = check_database(&connection, path, Kind::Store)?;
    migrate(&connection, format).map_err(failed)?;
    Ok(connection)
}

/// Whether to close the database leaves its log as it is, and so the file.
pub(super) fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Opens a file that nobody writes, as it is, and changes nothing: no lock, no log, no recovery.
pub(super) fn open_untouched(path: &Path, kind: Kind) -> Result<Connection, DiskError> {
    check_header(path, kind)?;
    let mut uri = b"file:".to_vec();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(byte);
        } else {
            uri.extend(format!("%{byte:02x}").into_bytes());
        }
    }
    uri.extend(b"?immutable=1");
    let uri = String::from_utf8(uri).expect("what is not ASCII was escaped");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(uri, flags).map_err(|error| DiskError::of_sqlite("open", path, error))?;
    check_database(&connection, path, kind)?;
    Ok(connection)
}

/// Whether the header of a file is one of that kind, and of a format that is known. Nothing but the header is looked at: of a store that was killed the rest may have to
/// be put right first.
///
/// Nobody in this process may have the file open, for to close it frees the locks that the process has on it.
fn check_header(path: &Path, kind: Kind) -> Result<(), DiskError> {
    let mut header = [0; HEADER];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        read => read.map_err(|error| DiskError::of_io("read", path, error))?,
    }
    let number = |at| header[at..].first_chunk().map_or(0, |bytes| i64::from(i32::from_be_bytes(*bytes)));
    let application = if header.starts_with(b"SQLite format 3\0") { number(APPLICATION_ID) } else { 0 };
    check(path, kind, application, number(USER_VERSION))
}

/// The same as the database sees it, with what is in its log.
fn check_database(connection: &Connection, path: &Path, kind: Kind) -> Result<i64, DiskError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = pragma("application_id").and_then(|found| Ok((found, pragma("user_version")?)));
    let (application, format) = found.map_err(|error| DiskError::of_sqlite("read", path, error))?;
    check(path, kind, application, format).map(|()| format)
}

fn check(path: &Path, kind: Kind, application: i64, format: i64) -> Result<(), DiskError> {
    match format {
        _ if application != kind as i64 => Err(DiskError::NotOurs { path: path.into(), wanted: kind.name() }),
        1..=FORMAT => Ok(()),
        _ if format > FORMAT => Err(DiskError::Newer { path: path.into(), format }),
        _ => Err(DiskError::damaged(path, "it has no format")),
    }
}

/// Brings a store of an earlier format up to date. Format 1 is the first, so there is nothing to do yet.
fn migrate(_connection: &Connection, format: i64) -> rusqlite::Result<()> {
    debug_assert_eq!(format, FORMAT);
    Ok(())
}

/// Makes an empty store under another name and gives it its own when it is complete. Only who has the lock does this.
fn create(path: &Path) -> Result<(), DiskError> {
    let folder = path.parent().expect("a file is in a folder");
    for left in [beside(path, "-wal"), folder.join(super::values::FOLDER)] {
        let is_empty = fs::read_dir(&left).is_ok_and(|mut files| files.next().is_none());
        if exists(&left)? && !is_empty {
            let left = left.file_name().unwrap_or_default().display();
            return Err(DiskError::damaged(path, format!("it is missing, but {left} is there")));
        }
    }
    let new = beside(path, ".new");
    for left in ["", "-wal", "-shm", "-journal"] {
        remove_if_there(&beside(&new, left))?;
    }
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    made.map_err(|error| DiskError::of_io("make", &new, error))?;
    let fill = || {
        let connection = Connection::open_with_flags(&new, flags())?;
        // What is free can be given back without writing everything anew. Only a database with nothing in it can be told.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch("BEGIN")?;
        connection.pragma_update(None, "application_id", Kind::Store as i64)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        connection.execute_batch(TABLES)?;
        connection.execute_batch("COMMIT")?;
        connection.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    fill().map_err(|error| DiskError::of_sqlite("make", &new, error))?;
    sync(&new)?;
    fs::rename(&new, path).map_err(|error| DiskError::of_io("make", path, error))?;
    sync(folder)
}

/// Makes a folder, for this user only, and those that it is in, unless they are there.
pub(super) fn make_folder(folder: &Path) -> Result<(), DiskError> {
    let Some(parent) = folder.parent().filter(|_| !folder.is_dir()) else { return Ok(()) };
    let parent = if parent == Path::new("") { Path::new(".") } else { parent };
    make_folder(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(DiskError::of_io("make", folder, error)),
        Ok(()) => sync(parent),
    }
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// The file that has the same name with an ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn exists(path: &Path) -> Result<bool, DiskError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DiskError::of_io("look at", path, error)),
    }
}

/// Refuses a pipe, a folder or a device: to read some of them takes until somebody writes to them.
pub(super) fn refuse_other_than_file(path: &Path, wanted: &'static str) -> Result<(), DiskError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(DiskError::NotOurs { path: path.into(), wanted }),
        // What else is wrong is told by who opens it.
        _ => Ok(()),
    }
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DiskError::of_io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Has the content of a file, or the names in a folder, survive a power cut.
pub(super) fn sync(path: &Path) -> Result<(), DiskError> {
    let synced = fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| DiskError::of_io("sync", path, error))
}
