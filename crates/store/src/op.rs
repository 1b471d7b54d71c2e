//! What can be asked of the store, and what it answers.

use bytes::Bytes;

use crate::key::{Key, KeyRef};

/// How the bytes of a value are encoded: a number that travels with the value and means something only to the
/// ends that encode and decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec(pub u8);

/// One operation on the store. Keys are borrowed, so that an operation can point into the message it came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Op<'a> {
    /// Puts a value, over what is there. A write. Answered by [`Reply::Set`].
    Set {
        /// Where.
        key: KeyRef<'a>,
        /// How `value` is encoded.
        codec: Codec,
        /// The value. Above [`COPIED_UP_TO`](crate::COPIED_UP_TO) bytes it is kept as it is, so it should then
        /// have a buffer of its own: a slice keeps all of its buffer in memory.
        value: Bytes,
    },
    /// Reads an entry. Answered by [`Reply::Missing`], [`Reply::NotModified`] or [`Reply::Found`].
    Get {
        /// Which.
        key: KeyRef<'a>,
        /// The version the reader already has; no value is sent when that is current.
        known: Option<u64>,
    },
    /// Takes an entry out. A write if it was there. Answered by [`Reply::Deleted`].
    Delete {
        /// Which.
        key: KeyRef<'a>,
    },
    /// Names entries in the order of their keys, a page at a time. Answered by [`Reply::Listed`].
    List {
        /// Only this author's entries; `None` for those of all.
        author: Option<&'a str>,
        /// Start behind this key, whether or not it exists: the last key of the page before.
        after: Option<KeyRef<'a>>,
        /// Entries at most. The store's own limits on a page hold as well ([`Limits`](crate::Limits)).
        limit: usize,
    },
    /// Takes out all entries of one author, or all. One write if there were any. Answered by [`Reply::Cleared`].
    Clear {
        /// Only this author's entries; `None` for those of all.
        author: Option<&'a str>,
    },
}

/// The answer to an [`Op`]. After a write the version that it took is also [`Store::version`](crate::Store::version).
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The value is set.
    Set {
        /// The entry's version from now on.
        version: u64,
        /// Time of the write, seconds since the Unix epoch.
        timestamp: f64,
    },
    /// There is no such entry.
    Missing,
    /// The entry is still the one the reader knows.
    NotModified {
        /// Its version.
        version: u64,
    },
    /// The entry.
    Found(Entry),
    /// What was taken out; `None` if there was nothing, and then nothing was written.
    Deleted(Option<Entry>),
    /// Entries in the order of their keys.
    Listed(Page),
    /// The entries are gone.
    Cleared {
        /// How many there were; if none, nothing was written.
        count: usize,
    },
}

/// A value and what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The encoded value. A clone shares the bytes.
    pub value: Bytes,
    /// How the value is encoded.
    pub codec: Codec,
    /// The version of the write that set it. Of two entries the one with the larger version was written later.
    pub version: u64,
    /// Time of that write, seconds since the Unix epoch. For people; only versions order writes.
    pub timestamp: f64,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Page {
    /// The entries, sorted by author, then by name.
    pub entries: Vec<Listed>,
    /// Whether there are entries behind the last one. Ask again with `after` set to its key.
    pub more: bool,
}

/// An entry in a listing: all but the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The entry's key.
    pub key: Key,
    /// Its version.
    pub version: u64,
    /// Time of its last write, seconds since the Unix epoch.
    pub timestamp: f64,
    /// Length of its encoded value in bytes.
    pub size: usize,
}
