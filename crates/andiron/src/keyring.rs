//! The secrets that an end has: one that it was given, or those of a file, which may change while it runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use andiron_proto::Key;

use crate::sync::lock;
use crate::{Error, ErrorKind, Result, Secret};

/// The secrets of one end.
pub(crate) struct Keyring {
    /// `None` for a secret that was given as such.
    path: Option<PathBuf>,
    read: Mutex<Read>,
}

/// What the file said when it was last read.
struct Read {
    stamp: Option<Stamp>,
    keys: Arc<[Key]>,
}

/// Which file it was, and which of its states: device, inode, size, time of the last change.
type Stamp = (u64, u64, u64, i64, i64);

impl Keyring {
    pub(crate) fn of(secret: Secret) -> Keyring {
        let read = Read { stamp: None, keys: [secret.key()].into() };
        Keyring { path: None, read: Mutex::new(read) }
    }

    /// The secrets in this file.
    pub(crate) fn open(path: PathBuf) -> Result<Keyring> {
        let read = Read { stamp: stamp(&path)?, keys: keys(&path)? };
        Ok(Keyring { path: Some(path), read: Mutex::new(read) })
    }

    /// Those that hold now. Reads the file again where it has changed.
    pub(crate) fn current(&self) -> Result<Arc<[Key]>> {
        let mut read = lock(&self.read);
        if let Some(path) = &self.path {
            // The stamp first: what changes behind it is read again the next time.
            let stamp = stamp(path)?;
            if stamp != read.stamp {
                *read = Read { stamp, keys: keys(path)? };
            }
        }
        Ok(read.keys.clone())
    }
}

fn stamp(path: &PathBuf) -> Result<Option<Stamp>> {
    let found = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    Ok(Some((found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec())))
}

fn keys(path: &PathBuf) -> Result<Arc<[Key]>> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let secret: Secret = text.trim().parse().map_err(|error: Error| unreadable(path, error.message()))?;
    Ok([secret.key()].into())
}

fn unreadable(path: &std::path::Path, why: &(impl std::fmt::Display + ?Sized)) -> Error {
    Error::new(ErrorKind::Authentication, format!("cannot read the secret in {}: {why}", path.display()))
}
