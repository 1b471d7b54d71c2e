//! Keys: an author and a name.

use std::sync::Arc;

/// The author of an entry where the caller gives none.
pub const DEFAULT_AUTHOR: &str = "default";

/// A key as an operation borrows it, so that looking something up allocates nothing.
///
/// Both parts are any Unicode, the empty string included, and compare byte by byte: nothing is normalised, joined
/// or reserved. Keys are ordered by author, then by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef<'a> {
    /// Whose entry it is.
    pub author: &'a str,
    /// Which of the author's entries it is.
    pub name: &'a str,
}

impl<'a> KeyRef<'a> {
    /// The key `name` of `author`.
    pub fn new(author: &'a str, name: &'a str) -> Self {
        Self { author, name }
    }

    /// The key `name` of [`DEFAULT_AUTHOR`].
    pub fn named(name: &'a str) -> Self {
        Self::new(DEFAULT_AUTHOR, name)
    }

    /// Bytes of author and name together.
    pub(crate) fn len(self) -> usize {
        // Each is at most isize::MAX long, so the sum fits.
        self.author.len() + self.name.len()
    }
}

impl<'a> From<&'a Key> for KeyRef<'a> {
    fn from(key: &'a Key) -> Self {
        Self::new(&key.author, &key.name)
    }
}

/// A key that owns its text, as a listing gives it. A clone copies none of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose entry it is.
    pub author: Arc<str>,
    /// Which of the author's entries it is.
    pub name: Arc<str>,
}

impl From<KeyRef<'_>> for Key {
    fn from(key: KeyRef<'_>) -> Self {
        Self { author: key.author.into(), name: key.name.into() }
    }
}
