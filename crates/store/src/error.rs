//! Why the store refuses an operation.

use std::fmt;

/// Why an operation was refused. A refused operation changes nothing and takes no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The key is longer than any key may be.
    #[error("the key is {bytes} bytes long (author and name), at most {max} are allowed: use a shorter key")]
    KeyTooLong {
        /// Length of author and name together.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The entry would not fit even into an empty store.
    #[error(
        "the entry needs {bytes} bytes, the whole store may hold {max}: store a smaller value or raise max_bytes"
    )]
    EntryTooLarge {
        /// What the entry counts for.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The store has no room for the entry now.
    #[error("the store is full, it may hold {max} {resource}: delete entries or raise max_{resource}")]
    Full {
        /// What there is too much of.
        resource: Resource,
        /// The limit.
        max: u64,
    },
    /// The last version is taken. Counting from the clock this is half a million years off, so the high-water mark
    /// or the clock that the store was started with was wrong.
    #[error(
        "the store has no version left to write with: it was started with a damaged high-water mark or a wrong \
         clock; mend that and start it anew"
    )]
    VersionsExhausted,
}

/// What a store can run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// [`Limits::max_entries`](crate::Limits::max_entries).
    Entries,
    /// [`Limits::max_bytes`](crate::Limits::max_bytes).
    Bytes,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Entries => "entries",
            Resource::Bytes => "bytes",
        })
    }
}
