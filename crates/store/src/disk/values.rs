//! Big values, each in a file of its own.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::DiskError;
use super::schema::{make_folder, remove_if_there, sync};

/// Where they are, in the store's folder.
pub(super) const FOLDER: &str = "values";
/// What their names end with. Other files in the folder are not touched.
const ENDING: &str = ".value";

/// The folder of big values.
///
/// A file is written once, under a number that no other has, and never changed. One that a record on the disk may still name after a power cut is kept, though no record names it any
/// more: it is garbage from then on, and removed when the disk has what was committed since.
#[derive(Debug)]
pub(super) struct Values {
    folder: PathBuf,
    next: u64,
    /// Files that a power cut may take, with their folder's entries.
    unsynced: Vec<u64>,
    garbage: Vec<u64>,
    /// Bytes that were written since the last time that all was synced and removed.
    backlog: u64,
    /// Who holds a clone reads files, so none is removed.
    pin: Arc<()>,
}

impl Values {
    /// Removes the files that nothing names, which needs these names to be on the disk, and makes the others safe from a power cut.
    pub(super) fn open(store: &Path, named: &HashSet<u64>) -> Result<Self, DiskError> {
        let folder = store.join(FOLDER);
        make_folder(&folder)?;
        let next = named.iter().max().map_or(1, |last| last + 1);
        let pin = Arc::new(());
        Ok(Self { folder, next, unsynced: Vec::new(), garbage: Vec::new(), backlog: 0, pin })
    }

    /// Removes what a crash left over: the files that nothing names, which has to be true after a power cut as well.
    pub(super) fn sweep(&self, named: &HashSet<u64>) -> Result<(), DiskError> {
        let failed = |error| DiskError::of_io("read", &self.folder, error);
        for file in fs::read_dir(&self.folder).map_err(failed)? {
            let file = file.map_err(failed)?;
            let number = file.file_name().to_str().and_then(number_of);
            if number.is_some_and(|number| !named.contains(&number)) {
                remove_if_there(&file.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, value: &[u8]) -> Result<u64, DiskError> {
        let (number, path) = (self.next, path_of(&self.folder, self.next));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(value));
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(DiskError::of_io("write", &path, error));
        }
        self.next += 1;
        self.unsynced.push(number);
        self.backlog += value.len() as u64;
        Ok(number)
    }

    /// Makes what was written safe from a power cut.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        for number in &self.unsynced {
            sync(&path_of(&self.folder, *number))?;
        }
        sync(&self.folder)?;
        self.unsynced.clear();
        Ok(())
    }

    /// The same for files of which it is not known.
    pub(super) fn sync_all(&self, numbers: &HashSet<u64>) -> Result<(), DiskError> {
        for number in numbers {
            match open_file(&path_of(&self.folder, *number)).and_then(|file| file.sync_all()) {
                // Told when it is read.
                Err(error) if is_missing(&error) => {}
                synced => synced.map_err(|error| DiskError::of_io("sync", &self.folder, error))?,
            }
        }
        if numbers.is_empty() { Ok(()) } else { sync(&self.folder) }
    }

    /// A file that no record names, and none will: it was never committed.
    pub(super) fn take_back(&mut self, numbers: &[u64]) {
        self.unsynced.retain(|number| !numbers.contains(number));
        self.garbage.extend(numbers);
        let kept = self.garbage.len() - numbers.len();
        self.remove_garbage_from(kept);
    }

    /// A file that no record names any more.
    pub(super) fn discard(&mut self, number: u64) {
        self.unsynced.retain(|unsynced| *unsynced != number);
        self.garbage.push(number);
    }

    /// Removes what was discarded. The disk has what was committed since.
    pub(super) fn remove_garbage(&mut self) {
        self.remove_garbage_from(0);
        if self.garbage.is_empty() && self.unsynced.is_empty() {
            self.backlog = 0;
        }
    }

    fn remove_garbage_from(&mut self, start: usize) {
        if self.is_pinned() {
            return;
        }
        let folder = &self.folder;
        let garbage = self.garbage.split_off(start);
        // One that cannot be removed now is tried again, at the next start at the latest.
        let kept = garbage.into_iter().filter(|number| remove_if_there(&path_of(folder, *number)).is_err());
        self.garbage.extend(kept);
    }

    pub(super) fn backlog(&self) -> u64 {
        self.backlog
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }

    /// While it is held no file is removed.
    pub(super) fn pin(&self) -> Arc<()> {
        Arc::clone(&self.pin)
    }
}

/// Reads a file over what is in the buffer.
pub(super) fn read(folder: &Path, number: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    open_file(&path_of(folder, number))?.read_to_end(buffer).map(drop)
}

/// Whether an error of [`open_file`] says that there is no such file.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

/// Opens what is a file. To open something else, as a pipe, may take until somebody writes to it.
pub(super) fn open_file(path: &Path) -> io::Result<fs::File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    fs::File::open(path)
}

pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}{ENDING}"))
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}
