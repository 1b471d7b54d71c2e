//! Reads as they travel: see `spec/PROTOCOL.md`, section 10.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use andiron_sys::board::Slot;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Change, Changed, Entry};
use crate::Blob;

/// What an array begins with. What stands behind it is of a later version, and skipped.
pub(crate) struct Open<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Open<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Beginning<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Beginning<T> {
            type Value = Open<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Open<T>, A::Error> {
                let beginning = T::deserialize(SeqAccessDeserializer::new(&mut elements))?;
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Open(beginning))
            }
        }

        deserializer.deserialize_seq(Beginning(PhantomData))
    }
}

/// What the store tells of itself: entries, bytes, authors, hits, questions and evicted.
#[derive(Deserialize)]
pub(crate) struct Figures(
    pub(crate) u64,
    pub(crate) u64,
    pub(crate) u64,
    pub(crate) u64,
    pub(crate) u64,
    #[serde(default)] pub(crate) u64,
);

/// The state of an entry that is there, with its value.
const VALUE: u8 = 1;

/// A change as it travels: state, author, name, version, skipped, of an entry that is there timestamp, codec and value, and up to which version all
/// changes are told.
#[derive(Deserialize)]
pub(crate) struct Told(
    u8,
    String,
    String,
    u64,
    u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Blob,
    #[serde(default)] u64,
);

impl From<Open<Told>> for Change {
    fn from(Open(row): Open<Told>) -> Change {
        let Told(state, author, name, version, skipped, timestamp, codec, bytes, told_to) = row;
        let entry = (state == VALUE).then_some(Entry { bytes, codec, version, timestamp, cached: false });
        Change { author, name, entry, version, skipped, resume_from: (told_to > 0).then_some(told_to) }
    }
}

/// The answer to a read as it travels: state, version, slot, stamp, what is left of its time in µs, and of a value timestamp, codec and bytes.
#[derive(Deserialize)]
struct Row(
    u8,
    u64,
    Option<u32>,
    u64,
    #[serde(default)] u64,
    #[serde(default)] Option<f64>,
    #[serde(default)] Option<u8>,
    #[serde(default)] Option<Blob>,
);

/// The answer to a read.
#[derive(Deserialize)]
#[serde(try_from = "Row")]
pub(crate) struct Answer {
    found: Found,
    slot: Option<u32>,
    stamp: u64,
    ttl: u64,
}

enum Found {
    Missing,
    Value(Entry),
    /// The version that was asked about is current; which one that is.
    NotModified(u64),
}

/// What is said is nothing that a store says.
impl TryFrom<Row> for Answer {
    type Error = &'static str;

    fn try_from(row: Row) -> Result<Answer, &'static str> {
        let Row(state, version, slot, stamp, ttl, timestamp, codec, bytes) = row;
        let found = match (state, timestamp, codec, bytes) {
            (0, ..) => Found::Missing,
            (VALUE, Some(timestamp), Some(codec), Some(bytes)) => {
                Found::Value(Entry { bytes, codec, version, timestamp, cached: false })
            }
            (VALUE, ..) => return Err("the answer of the store lacks the value that it announces"),
            (2, ..) => Found::NotModified(version),
            _ => return Err("the answer of the store is of a kind that this program does not know"),
        };
        Ok(Answer { found, slot, stamp, ttl })
    }
}

impl Answer {
    pub(crate) fn entry(self) -> Option<Entry> {
        match self.found {
            Found::Value(entry) => Some(entry),
            Found::Missing | Found::NotModified(_) => None,
        }
    }

    /// The version that it says is current.
    pub(crate) fn not_modified(&self) -> Option<u64> {
        match self.found {
            Found::NotModified(version) => Some(version),
            Found::Missing | Found::Value(_) => None,
        }
    }

    pub(crate) fn changed(self) -> Changed {
        match self.not_modified() {
            Some(_) => Changed::No,
            None => self.entry().map_or(Changed::Missing, Changed::Yes),
        }
    }

    /// How to know that it is current: the slot on the board and the stamp that stood there, and what was left of its time.
    pub(crate) fn currency(&self) -> (Option<Slot>, u64, Option<Duration>) {
        let Answer { slot, stamp, ttl, .. } = *self;
        (slot.and_then(Slot::new), stamp, (ttl > 0).then(|| Duration::from_micros(ttl)))
    }
}
