//! Why the store refuses an operation.

use std::fmt;
use std::sync::Arc;

/// Why an operation was refused. A refused operation changes nothing and takes no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The key is longer than any key may be.
    #[error("the key is {bytes} bytes long (author and name), at most {max} are allowed: use a shorter key")]
    KeyTooLong {
        /// Length of author and name together.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The entry would not fit even into an empty store, or be more than one author may have.
    #[error(
        "the entry needs {bytes} bytes with its author, at most {max} are allowed: store a smaller value, or have the program of the store start it with a larger max_bytes or max_author_bytes"
    )]
    EntryTooLarge {
        /// What the entry counts for.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The store has no room for the entry now, or its author has all that one may have.
    #[error("{}", full(*resource, *max, author.as_deref()))]
    Full {
        /// What there is too much of.
        resource: Resource,
        /// The limit.
        max: u64,
        /// Whose entries reached it; `None`: those of all together.
        author: Option<Arc<str>>,
    },
    /// The entry has not the version that the operation was to find.
    #[error("{}", mismatch(*current))]
    VersionMismatch {
        /// The version that it has; `None` where there is no such entry.
        current: Option<u64>,
    },
    /// One operation was to set the same entry twice.
    #[error("the same entry stands twice among those that are to be set together: leave one of them out")]
    KeyTwice,
    /// What was to be counted up or down is no whole number in the native codec, of 64 bits with a sign.
    #[error(
        "the value is no whole number that can be counted up or down: set the entry to one first, or use another"
    )]
    NotANumber,
    /// Counting would go beyond 64 bits.
    #[error("the sum of {value} and {by} is beyond 64 bits: set the entry to a smaller number first")]
    Overflow {
        /// The number that is there.
        value: i64,
        /// What was to be added.
        by: i64,
    },
    /// The versions up to that of a planned write are taken: this one has to wait for it, which is to be done.
    #[error("very many writes were made while one waits for the disk; try again")]
    VersionsHeld,
    /// The last version is taken. Counting from the clock this is half a million years off, so the high-water mark
    /// or the clock that the store was started with was wrong.
    #[error(
        "the store has no version left to write with: it was started with a damaged high-water mark or a wrong \
         clock; mend that and start it anew"
    )]
    VersionsExhausted,
}

fn full(resource: Resource, max: u64, author: Option<&str>) -> String {
    match author {
        None => format!(
            "the store is full, it may hold {max} {resource}: delete entries, or have its program start it with a larger max_{resource}"
        ),
        Some(author) => {
            let start: String = author.chars().take(64).collect();
            format!(
                "the author {start:?} has all that one author may have, {max} {resource}: delete entries of this author, or have the program of the store \
                 start it with a larger max_author_{resource}"
            )
        }
    }
}

fn mismatch(current: Option<u64>) -> String {
    match current {
        Some(version) => {
            format!("the entry was changed meanwhile and has version {version} now: read it, and decide anew")
        }
        None => "the entry that was to be changed is not there any more: read it, and decide anew".to_owned(),
    }
}

/// What a store can run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// [`Limits::max_entries`](crate::Limits::max_entries) or [`Limits::max_author_entries`](crate::Limits::max_author_entries).
    Entries,
    /// [`Limits::max_bytes`](crate::Limits::max_bytes) or [`Limits::max_author_bytes`](crate::Limits::max_author_bytes).
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
