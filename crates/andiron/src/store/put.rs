//! What is set, and how.

use std::str::FromStr;
use std::time::Duration;

use andiron_proto::wire::codecs;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use super::cache::Key;
use super::{by_reference, encode};
use crate::{Blob, Error, ErrorKind, Result};

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
    persist: bool,
    durability: Option<Durability>,
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
        Put {
            name: name.to_owned(),
            bytes: bytes.into(),
            codec,
            author: None,
            ttl: None,
            if_version: None,
            persist: false,
            durability: None,
        }
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

    /// The entry is there again when the daemon has ended, by whatever, and been started anew; see [`Durability`]. Without this it is not, also if it was
    /// before. A daemon that keeps no state refuses it with the kind `Unsupported`.
    pub fn persist(self) -> Put {
        Put { persist: true, ..self }
    }

    /// What it is to survive when its setting was answered, where that is not what the daemon was started with. Of several entries that are set at once the strongest
    /// counts.
    pub fn durability(self, durability: Durability) -> Put {
        Put { durability: Some(durability), ..self }
    }

    /// What these are to survive.
    pub(crate) fn strongest(puts: &[Put]) -> Option<&'static str> {
        puts.iter().filter_map(|put| put.durability).max().map(Durability::name)
    }

    /// Whose entry it will be, from a store of this author, and its name.
    pub(crate) fn key<'p>(&'p self, author: &'p str) -> Key<'p> {
        Key { author: self.author.as_deref().unwrap_or(author), name: &self.name }
    }

    /// A big value in memory that is passed on by reference.
    pub(crate) fn by_reference(self) -> Put {
        Put { bytes: by_reference(self.bytes), ..self }
    }

    /// The arguments of `replace`, from a store of this author.
    pub(crate) fn replacing<'p>(&'p self, author: &'p str) -> impl Serialize + use<'p> {
        let durability = self.durability.map(Durability::name);
        (
            &self.name,
            &self.bytes,
            self.codec,
            self.author.as_deref().unwrap_or(author),
            self.if_version,
            durability,
        )
    }

    /// The arguments of `set_default`, from a store of this author.
    pub(crate) fn default<'p>(&'p self, author: &'p str) -> impl Serialize + use<'p> {
        let (author, ttl) = (self.author.as_deref().unwrap_or(author), self.ttl.map(micros));
        let durability = self.durability.map(Durability::name);
        (&self.name, &self.bytes, self.codec, author, ttl, self.persist, durability)
    }

    /// As it travels, from a store of this author; `alone`: or else with others.
    pub(crate) fn wanted<'p>(&'p self, author: &'p str, alone: bool) -> Wanted<'p> {
        Wanted { put: self, author: self.author.as_deref().unwrap_or(author), alone }
    }
}

/// What a persistent write survives once it was answered.
///
/// ```
/// use andiron::Durability;
/// assert_eq!("sync".parse::<Durability>()?, Durability::Sync);
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The end of the daemon, however it ends: `kill -9`, a crash. After a power cut the last writes may be missing, the latest first.
    #[default]
    Relaxed,
    /// A power cut as well, where the disk keeps what it says it has written.
    Sync,
}

impl Durability {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Relaxed => "relaxed",
            Durability::Sync => "sync",
        }
    }
}

impl FromStr for Durability {
    type Err = Error;

    /// # Errors
    /// `BadArguments`: it is neither `relaxed` nor `sync`.
    fn from_str(text: &str) -> Result<Durability> {
        match text {
            "relaxed" => Ok(Durability::Relaxed),
            "sync" => Ok(Durability::Sync),
            other => {
                let text = format!("there is no durability {other:?}: it is `relaxed` or `sync`");
                Err(Error::new(ErrorKind::BadArguments, text))
            }
        }
    }
}

/// The arguments of `set`, which are also an entry of `set_many`, but for the last one: a plain array.
pub(crate) struct Wanted<'p> {
    put: &'p Put,
    author: &'p str,
    /// What it is to survive is said with it.
    alone: bool,
}

impl Serialize for Wanted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Put { name, bytes, codec, ttl, if_version, persist, durability, .. } = self.put;
        let durability = durability.filter(|_| self.alone).map(Durability::name);
        // What need not be said is not said: it costs, and an earlier server does not know it.
        let length = if durability.is_some() { 8 } else { 6 + usize::from(*persist) };
        let mut array = serializer.serialize_seq(Some(length))?;
        array.serialize_element(name)?;
        array.serialize_element(bytes)?;
        array.serialize_element(codec)?;
        array.serialize_element(self.author)?;
        array.serialize_element(&ttl.map(micros))?;
        array.serialize_element(if_version)?;
        if length > 6 {
            array.serialize_element(persist)?;
        }
        if length > 7 {
            array.serialize_element(&durability)?;
        }
        array.end()
    }
}

fn micros(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX).max(1)
}
