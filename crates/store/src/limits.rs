//! How much a store may hold, and how that is counted.

/// Bytes counted for an entry on top of its name and value: what is known about it, its share of what finds and orders entries, and what the
/// allocator adds for a value of its own, rounded up.
pub const ENTRY_OVERHEAD: u64 = 128;

/// Bytes counted, with the name once more, for an entry that expires: its place among those that do.
pub const TTL_OVERHEAD: u64 = 128;

/// Bytes counted for an author that has entries, on top of the author's text, which its entries share.
pub const AUTHOR_OVERHEAD: u64 = 1024;

/// What a store may hold. What would pass a limit is refused and changes nothing, unless the store makes room ([`Evict`]).
///
/// The defaults are generous for a daemon that serves one user. A limit may be zero: then nothing fits.
///
/// ```
/// use andiron_store::Limits;
///
/// let small = Limits { max_bytes: 16 << 20, ..Limits::default() };
/// assert_eq!(small.max_key_bytes, 64 << 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the store. Default 4,000,000.
    pub max_entries: usize,
    /// Bytes of all names and values and of each author once, with [`ENTRY_OVERHEAD`] for each entry and
    /// [`AUTHOR_OVERHEAD`] for each author; of an entry that expires also its name and
    /// [`TTL_OVERHEAD`]. A name of more than 256 bytes counts twice. Default 2 GiB.
    pub max_bytes: u64,
    /// Entries that one author may have. Default: as many as fit.
    pub max_author_entries: usize,
    /// Bytes that one author may have, counted as those of the store: the author once, and all of the author's entries. Default: as many as fit.
    pub max_author_bytes: u64,
    /// What is done about a write that would pass one of the limits above. Default: it is refused.
    pub evict: Evict,
    /// Bytes of one key: author and name together, in UTF-8. Default 64 KiB; above 512 MiB as 512 MiB.
    pub max_key_bytes: usize,
    /// Entries on one page of a listing. Default 1,000.
    pub max_page_entries: usize,
    /// Bytes of the keys on one page of a listing; a page has at least one entry, whatever the length of its key.
    /// Default 256 KiB.
    pub max_page_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_entries: 4_000_000,
            max_bytes: 2 << 30,
            max_author_entries: usize::MAX,
            max_author_bytes: u64::MAX,
            evict: Evict::None,
            max_key_bytes: 64 << 10,
            max_page_entries: 1_000,
            max_page_bytes: 256 << 10,
        }
    }
}

/// What a store does about a write for which it has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evict {
    /// It refuses it ([`StoreError::Full`](crate::StoreError::Full)).
    #[default]
    None,
    /// It takes out what was written longest ago: where an author has too much, of that author, else of all. Never what a disk has, or what the write itself sets. If
    /// all that were not enough, the write is refused and nothing is taken out. Each is a write of its own.
    ///
    /// For this order an entry takes up to 100 bytes more, and those of its name, which no limit counts.
    Oldest,
}

/// So many entries, and bytes that they count for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) entries: usize,
    pub(crate) bytes: u64,
}

impl Room {
    pub(crate) fn plus(self, other: Room) -> Room {
        Room { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }

    pub(crate) fn minus(self, other: Room) -> Room {
        Room { entries: self.entries - other.entries, bytes: self.bytes - other.bytes }
    }

    /// What is left of it, if anything is.
    pub(crate) fn less(self, other: Room) -> Room {
        let entries = self.entries.saturating_sub(other.entries);
        Room { entries, bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

/// A longer name counts twice: it may be kept a second time, to find its neighbours by it.
const LONG_NAME: usize = 256;

/// No key is longer, whatever the limits say: places within a few entries are kept in 32 bits.
pub(crate) const LONGEST_KEY: usize = 1 << 29;

/// Bytes counted for one entry of an author who is counted already.
pub(crate) fn entry_cost(name: &str, size: u64, expires: bool) -> u64 {
    let length = name.len() as u64;
    let ttl = if expires { length + TTL_OVERHEAD } else { 0 };
    let again = if name.len() > LONG_NAME { length } else { 0 };
    size.saturating_add(length + again + ENTRY_OVERHEAD + ttl)
}

/// Bytes counted for an author before the first entry.
pub(crate) fn author_cost(author: &str) -> u64 {
    author.len() as u64 + AUTHOR_OVERHEAD
}
