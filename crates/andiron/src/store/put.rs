//! What is set, and how.

use std::time::Duration;

use andiron_proto::wire::codecs;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use super::cache::Key;
use super::{by_reference, encode};
use crate::{Blob, Result};

/// A value that is to be set, and how: for [`Store::set_with`](crate::Store::set_with) and
/// [`Store::set_many`](crate::Store::set_many).
///
/// ```no_run
/// use andiron::Put;
/// use std::time::Duration;
///
/// let store = andiron::connect()?.store();
/// let version = store.set_with(Put::new("session", &"abc")?.ttl(Duration::from_secs(300)))?;
/// store.set_many([Put::new("x", &1)?, Put::new("y", &2)?, Put::new("session", &"def")?.if_version(version)])?;
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    name: String,
    bytes: Blob,
    codec: u8,
    author: Option<String>,
    ttl: Option<Duration>,
    if_version: Option<u64>,
}

impl Put {
    /// This value, in any case and for good. It is encoded, so a [`Blob`] is copied: [`bytes`](Put::bytes) takes it as it is.
    ///
    /// # Errors
    /// `Encoding` for what cannot be encoded.
    pub fn new(name: &str, value: &(impl Serialize + ?Sized)) -> Result<Put> {
        Ok(Put::bytes(name, encode(value)?, codecs::NATIVE))
    }

    /// A value that is encoded already, or bytes as they are (`codec` 3). A [`Blob`] goes by reference to a daemon on this machine.
    pub fn bytes(name: &str, bytes: impl Into<Blob>, codec: u8) -> Put {
        Put { name: name.to_owned(), bytes: bytes.into(), codec, author: None, ttl: None, if_version: None }
    }

    /// As an entry of another author than that of the [`Store`](crate::Store) that sets it.
    pub fn author(self, author: &str) -> Put {
        Put { author: Some(author.to_owned()), ..self }
    }

    /// After this time the entry is gone. Of less than a microsecond one is made.
    pub fn ttl(self, ttl: Duration) -> Put {
        Put { ttl: Some(ttl), ..self }
    }

    /// Only if the entry has this version; 0: only if there is none. Otherwise it fails with the kind `Conflict`.
    pub fn if_version(self, version: u64) -> Put {
        Put { if_version: Some(version), ..self }
    }

    /// Whose entry it will be, from a store of this author, and its name.
    pub(crate) fn key<'p>(&'p self, author: &'p str) -> Key<'p> {
        Key { author: self.author.as_deref().unwrap_or(author), name: &self.name }
    }

    /// A big value in memory that is passed on by reference.
    pub(crate) fn by_reference(self) -> Put {
        Put { bytes: by_reference(self.bytes), ..self }
    }

    /// As it travels, from a store of this author.
    pub(crate) fn wanted<'p>(&'p self, author: &'p str) -> Wanted<'p> {
        Wanted { put: self, author: self.author.as_deref().unwrap_or(author) }
    }
}

/// The arguments of `set`, which are also an entry of `set_many`: a plain array.
pub(crate) struct Wanted<'p> {
    put: &'p Put,
    author: &'p str,
}

impl Serialize for Wanted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Put { name, bytes, codec, ttl, if_version, .. } = self.put;
        let micros = |ttl: Duration| u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX).max(1);
        let mut array = serializer.serialize_seq(Some(6))?;
        array.serialize_element(name)?;
        array.serialize_element(bytes)?;
        array.serialize_element(codec)?;
        array.serialize_element(self.author)?;
        array.serialize_element(&ttl.map(micros))?;
        array.serialize_element(if_version)?;
        array.end()
    }
}
