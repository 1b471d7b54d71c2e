//! What is read from the store.

use andiron_proto::codec;
use andiron_proto::wire::codecs;
use serde::de::DeserializeOwned;

use super::wire::{Figures, Open, Told};
use crate::{Blob, Error, ErrorKind, Result};

/// A stored value as it is kept: encoded, with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The encoded value.
    pub bytes: Blob,
    /// How it is encoded: 1 the native codec, 2 JSON, 3 bytes as they are.
    pub codec: u8,
    /// The version of the write that set it; a later write has a larger one.
    pub version: u64,
    /// When it was set, in seconds since the Unix epoch.
    pub timestamp: f64,
    /// It was known here to be current, and the store was not asked.
    pub cached: bool,
}

impl Entry {
    /// The value.
    ///
    /// # Errors
    /// `Encoding` where it is of another type, or not in the native codec.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        if self.codec != codecs::NATIVE {
            let text = format!("the value is in codec {}, not in the native one; read its bytes", self.codec);
            return Err(Error::new(ErrorKind::Encoding, text));
        }
        codec::from_slice(&self.bytes).map_err(|error| {
            Error::new(ErrorKind::Encoding, format!("the value is of another type: {error}"))
                .with_source(error)
        })
    }
}

/// What [`Store::get_if_changed`](crate::Store::get_if_changed) found.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// The known version is current.
    No,
    /// There is no such entry.
    Missing,
    /// A newer one.
    Yes(Entry),
}

/// An entry in a listing.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Listed {
    /// Whose entry it is.
    pub author: String,
    /// Its name.
    pub name: String,
    /// The version of the write that set it.
    pub version: u64,
    /// When it was set, in seconds since the Unix epoch.
    pub timestamp: f64,
    /// Length of the encoded value in bytes.
    pub size: u64,
    /// It outlives the daemon.
    pub persistent: bool,
}

/// A change of an entry, or an entry that was there when a [watch](crate::Store::watch) began.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(from = "Open<Told>")]
pub struct Change {
    /// Whose entry it is.
    pub author: String,
    /// Its name.
    pub name: String,
    /// What it is now; `None`: it was removed.
    pub entry: Option<Entry>,
    /// The version of the write or the removal.
    pub version: u64,
    /// So many changes of the same entry came before this one and are told by it, because they were not read in time.
    pub skipped: u64,
    /// All changes up to this version are told: from here [`watch_since`](crate::Store::watch_since) resumes. It can be less than what
    /// [`version`](Change::version) is, where other entries changed before that and come later. `None` where more of the entries follow that were there when the watch
    /// began, or the daemon is of an earlier version.
    pub resume_from: Option<u64>,
}

/// What a store holds, and what it was asked; see [`Store::stats`](crate::Store::stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Stats {
    /// Entries.
    pub entries: u64,
    /// Bytes that they count for, of those that the store may hold.
    pub bytes: u64,
    /// Authors who have entries.
    pub authors: u64,
    /// Reads that clients answered from their own memory, as far as they told.
    pub hits: u64,
    /// Reads that came to the store.
    pub questions: u64,
    /// Entries that were removed to make room for others.
    pub evicted: u64,
}

impl Stats {
    pub(crate) fn of(figures: Figures) -> Stats {
        let Figures(entries, bytes, authors, hits, questions, evicted) = figures;
        Stats { entries, bytes, authors, hits, questions, evicted }
    }
}
