//! What a disk may have after a power cut.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::files::Note;

/// A disk writes so many bytes at once, or none of them.
const SECTOR: usize = 512;

/// What became of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unsynced {
    Lost,
    Kept,
    /// Of writes some sectors are kept, of changed names the first ones.
    Some,
    /// The same, but what was written to a file is kept or lost together.
    SomeFiles,
}

/// A disk that is told what is done to it, and has of it for certain only what was synced.
#[derive(Clone, Default)]
pub(crate) struct Image {
    files: HashMap<usize, File>,
    /// Names that are certain, `None` for folders; and the changes of the names in a folder that are not.
    names: BTreeMap<PathBuf, Option<usize>>,
    unsure: BTreeMap<PathBuf, Vec<Note>>,
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    unsure: Vec<Note>,
}

impl Image {
    pub(crate) fn note(&mut self, note: &Note) {
        match note {
            Note::Made { path, .. } | Note::MadeFolder(path) | Note::Removed(path) => {
                self.unsure.entry(folder_of(path)).or_default().push(note.clone());
            }
            Note::Renamed { from, to } => {
                assert_eq!(folder_of(from), folder_of(to), "a file is moved to another folder");
                self.unsure.entry(folder_of(from)).or_default().push(note.clone());
            }
            Note::Wrote { file, .. } | Note::Cut { file, .. } => {
                self.files.entry(*file).or_default().unsure.push(note.clone());
            }
            Note::Synced(file) => {
                let File { bytes, unsure } = self.files.entry(*file).or_default();
                unsure.drain(..).for_each(|note| write(bytes, &note, |_| true));
            }
            Note::SyncedFolder(folder) => {
                for note in self.unsure.remove(folder).unwrap_or_default() {
                    rename(&mut self.names, &note);
                }
            }
            Note::Acknowledged { .. } => {}
        }
    }

    /// Makes in `to` what may be there of the folder `from` when the power goes now.
    pub(crate) fn after_power_cut(&self, unsynced: Unsynced, rng: &mut Rng, from: &Path, to: &Path) {
        let mut names = self.names.clone();
        for notes in self.unsure.values() {
            let kept = match unsynced {
                Unsynced::Lost => 0,
                Unsynced::Kept => notes.len(),
                Unsynced::Some | Unsynced::SomeFiles => rng.usize(..=notes.len()),
            };
            notes[..kept].iter().for_each(|note| rename(&mut names, note));
        }
        fs::create_dir_all(to).unwrap();
        for (path, file) in &names {
            let place = to.join(path.strip_prefix(from).unwrap());
            match file {
                _ if !place.parent().unwrap().is_dir() => {}
                // The index of the log is memory that processes share, and of the lock nothing but its name matters.
                _ if path.to_str().unwrap().ends_with("-shm") => {}
                None => fs::create_dir_all(place).unwrap(),
                Some(file) => {
                    let File { mut bytes, unsure } = self.files.get(file).cloned().unwrap_or_default();
                    let file_is_kept = rng.bool();
                    for note in &unsure {
                        write(&mut bytes, note, |_| match unsynced {
                            Unsynced::Lost => false,
                            Unsynced::Kept => true,
                            Unsynced::Some => rng.bool(),
                            Unsynced::SomeFiles => file_is_kept,
                        });
                    }
                    fs::write(place, bytes).unwrap();
                }
            }
        }
    }
}

/// Does to bytes what the note says, as far as its sectors are kept.
fn write(bytes: &mut Vec<u8>, note: &Note, mut keep: impl FnMut(usize) -> bool) {
    match note {
        Note::Wrote { at, bytes: written, .. } => {
            let mut start = *at;
            while start < at + written.len() {
                let end = (start / SECTOR + 1) * SECTOR;
                let end = end.min(at + written.len());
                if keep(start) {
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                    bytes[start..end].copy_from_slice(&written[start - at..end - at]);
                }
                start = end;
            }
        }
        Note::Cut { length, .. } if keep(*length) => bytes.resize(*length, 0),
        _ => {}
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Option<usize>>, note: &Note) {
    match note {
        Note::Made { path, file } => {
            names.insert(path.clone(), Some(*file));
        }
        Note::MadeFolder(path) => {
            names.insert(path.clone(), None);
        }
        Note::Removed(path) => {
            names.remove(path);
        }
        Note::Renamed { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        _ => {}
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap().into()
}
