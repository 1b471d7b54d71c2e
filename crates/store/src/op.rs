//! What can be asked of the store, and what it answers.

use std::time::Duration;

use bytes::Bytes;

use crate::entry::Entry;
use crate::key::{Key, KeyRef};

/// How the bytes of a value are encoded: a number that travels with the value and means something only to the
/// ends that encode and decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec(pub u8);

/// What time it is, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch, for timestamps. It may be behind an earlier one.
    pub wall: Duration,
    /// Since any moment, by a clock that nobody sets, for expiry. One that is behind an earlier one counts as that one.
    pub steady: Duration,
}

/// One operation on the store. Keys are borrowed, so that an operation can point into the message it came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Op<'a, V = Bytes> {
    /// Puts a value, over what is there. A write. Answered by [`Reply::Set`].
    Set(Put<'a, V>),
    /// Puts several values at once: all of them, under one version, or none. One write; of nothing none, which is answered with the version of the store.
    /// Answered by [`Reply::Set`].
    SetMany(Vec<Put<'a, V>>),
    /// Adds to a whole number; where there is no entry, to 0. A write. The entry keeps its expiry: a counter that is to be gone after a minute is gone
    /// after a minute, however often it counts. Answered by [`Reply::Counted`].
    Increment {
        /// Which.
        key: KeyRef<'a>,
        /// How much.
        by: i64,
    },
    /// Reads an entry. Answered by [`Reply::Missing`], [`Reply::NotModified`] or [`Reply::Found`].
    Get {
        /// Which.
        key: KeyRef<'a>,
        /// The version the reader already has; no value is sent when that is current.
        known: Option<u64>,
        /// Reads that the reader answered from its own memory since it last told. They are added to [`Stats::hits`](crate::Stats::hits), and that is all.
        hits: u64,
    },
    /// Takes an entry out. A write if it was there. Answered by [`Reply::Deleted`].
    Delete {
        /// Which.
        key: KeyRef<'a>,
        /// As [`Put::if_version`].
        if_version: Option<u64>,
    },
    /// Takes out the entry of an author whose name comes first. A write if there was one. Answered by [`Reply::DeletedFirst`].
    DeleteFirst {
        /// Whose.
        author: &'a str,
    },
    /// Puts a value in place of one that is there, which stays as long as it would have, and on a disk if one has it: its ttl and whether it persists
    /// are those that the entry has. A write. Answered by [`Reply::Set`].
    Replace(Put<'a, V>),
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
    /// Has a disk keep an entry, or forget it. No write: the entry stays as it is. Answered by [`Reply::Kept`].
    Persist {
        /// Which.
        key: KeyRef<'a>,
        /// Whether it is to be kept.
        persist: bool,
    },
    /// Sets entries as they once were, with their timestamps, and under a new version: all of them, or none. A write. Answered by [`Reply::Set`].
    Restore {
        /// Where, and what. Of the entries all counts but their versions.
        entries: &'a [(Key, Entry<V>)],
        /// Also take out all that a disk has and that is not among them.
        all: bool,
    },
    /// Takes out an entry that a disk has, if its time is over. A write then. Answered by [`Reply::Expired`].
    ExpireOne {
        /// Which.
        key: KeyRef<'a>,
    },
    /// Takes out entries whose time is over and that no disk has, the longest first. Each is a write. Answered by [`Reply::Expired`].
    Expire {
        /// Entries at most.
        limit: usize,
    },
}

/// An entry that is to be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Put<'a, V = Bytes> {
    /// Where.
    pub key: KeyRef<'a>,
    /// How `value` is encoded.
    pub codec: Codec,
    /// The value. A short one is copied; another is kept as it is, so it should then have a buffer of its own: a slice keeps all of its buffer in memory.
    pub value: V,
    /// After this time the entry is gone. `None`: it stays, whatever an earlier write said.
    pub ttl: Option<Duration>,
    /// Only if the entry has this version; 0: only if there is none. `None`: in any case.
    pub if_version: Option<u64>,
    /// A disk is to have it as well: such a write is [planned](crate::Store::plan).
    pub persist: bool,
}

impl<'a, V> Put<'a, V> {
    /// A value that is put in any case and stays.
    pub fn new(key: KeyRef<'a>, codec: Codec, value: V) -> Self {
        Put { key, codec, value, ttl: None, if_version: None, persist: false }
    }
}

/// The answer to an [`Op`]. After a write the version that it took is also [`Store::version`](crate::Store::version).
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<V = Bytes> {
    /// The value is set.
    Set {
        /// The version of the entry, or entries, from now on.
        version: u64,
        /// Time of the write, seconds since the Unix epoch.
        timestamp: f64,
    },
    /// The number is changed.
    Counted {
        /// The entry's version from now on.
        version: u64,
        /// Time of the write, seconds since the Unix epoch.
        timestamp: f64,
        /// The number that it is now.
        value: i64,
    },
    /// There is no such entry.
    Missing,
    /// The entry is still the one the reader knows.
    NotModified {
        /// Its version.
        version: u64,
        /// After this time it is gone; `None`: it stays.
        ttl_left: Option<Duration>,
    },
    /// The entry.
    Found(Entry<V>),
    /// What was taken out; `None` if there was nothing, and then nothing was written.
    Deleted(Option<Entry<V>>),
    /// What was taken out, and where; `None` if there was nothing, and then nothing was written.
    DeletedFirst(Option<(Key, Entry<V>)>),
    /// Entries in the order of their keys.
    Listed(Page),
    /// The entries are gone.
    Cleared {
        /// How many there were, not counting those whose time was over.
        count: usize,
    },
    /// Whether the entry is there, and so kept by a disk now, or not any more.
    Kept(bool),
    /// Entries whose time was over are gone.
    Expired {
        /// How many.
        count: usize,
    },
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
    pub size: u64,
    /// A disk has it as well.
    pub persistent: bool,
}
