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

/// A change as it travels: state, author, name, version, skipped, and of an entry that is there timestamp, codec and value.
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
);

impl From<Open<Told>> for Change {
    fn from(Open(row): Open<Told>) -> Change {
        let Told(state, author, name, version, skipped, timestamp, codec, bytes) = row;
        let entry =
            (state == Answer::VALUE).then_some(Entry { bytes, codec, version, timestamp, cached: false });
        Change { author, name, entry, version, skipped }
    }
}

/// The answer to a read: state, version, slot, stamp, what is left of its time in µs, and of a value timestamp, codec and bytes.
#[derive(Deserialize)]
pub(crate) struct Answer(
    u8,
    u64,
    Option<u32>,
    u64,
    #[serde(default)] u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Blob,
);

impl Answer {
    const VALUE: u8 = 1;
    const NOT_MODIFIED: u8 = 2;

    pub(crate) fn entry(self) -> Option<Entry> {
        let Answer(state, version, _slot, _stamp, _ttl, timestamp, codec, bytes) = self;
        (state == Answer::VALUE).then_some(Entry { bytes, codec, version, timestamp, cached: false })
    }

    pub(crate) fn is_not_modified(&self) -> bool {
        self.0 == Answer::NOT_MODIFIED
    }

    pub(crate) fn changed(self) -> Changed {
        match self.is_not_modified() {
            true => Changed::No,
            false => self.entry().map_or(Changed::Missing, Changed::Yes),
        }
    }

    /// How to know that it is current: the slot on the board and the stamp that stood there, and what was left of its time.
    pub(crate) fn currency(&self) -> (Option<Slot>, u64, Option<Duration>) {
        let Answer(_, _, slot, stamp, ttl, ..) = *self;
        (slot.and_then(Slot::new), stamp, (ttl > 0).then(|| Duration::from_micros(ttl)))
    }
}
