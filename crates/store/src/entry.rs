//! Entries as they are written, kept and given out.

use std::time::Duration;

use bytes::Bytes;

use crate::limits::entry_cost;
use crate::op::Codec;
use crate::value::Value;

/// A value and what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<V = Bytes> {
    /// The encoded value. A clone shares the bytes.
    pub value: V,
    /// How the value is encoded.
    pub codec: Codec,
    /// The version of the write that set it. Of two entries the one with the larger version was written later.
    pub version: u64,
    /// Time of that write, seconds since the Unix epoch. For people; only versions order writes.
    pub timestamp: f64,
    /// After this time it is gone; `None`: it stays.
    pub ttl_left: Option<Duration>,
    /// A disk has it as well.
    pub persistent: bool,
}

/// An entry as it is written. Expiries are in nanoseconds of the steady clock.
#[derive(Debug)]
pub(crate) struct Written<V> {
    pub(crate) version: u64,
    pub(crate) timestamp: f64,
    pub(crate) codec: Codec,
    pub(crate) expiry: Option<u64>,
    pub(crate) persistent: bool,
    pub(crate) value: V,
}

/// An entry where it is kept.
#[derive(Debug)]
pub(crate) struct Stored<'s, V> {
    pub(crate) name: &'s str,
    pub(crate) version: u64,
    pub(crate) timestamp: f64,
    pub(crate) codec: Codec,
    pub(crate) expiry: Option<u64>,
    pub(crate) persistent: bool,
    /// A write of it is planned: until that is done nothing else takes it out.
    pub(crate) planned: bool,
    /// The value, unless it is kept as it came.
    pub(crate) packed: &'s [u8],
    pub(crate) kept: Option<&'s V>,
}

impl<V: Value> Stored<'_, V> {
    pub(crate) fn size(&self) -> u64 {
        self.kept.map_or(self.packed.len() as u64, V::size)
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.kept.map_or(Some(self.packed), V::bytes)
    }

    pub(crate) fn cost(&self) -> u64 {
        entry_cost(self.name, self.size(), self.expiry.is_some())
    }

    /// Where it stands in the order of age, if it may be evicted.
    pub(crate) fn age(&self) -> Option<(u64, &str)> {
        (!self.persistent && !self.planned).then_some((self.version, self.name))
    }

    /// Its expiry, where it is to be taken out then. One that is planned waits for that.
    pub(crate) fn timed(&self) -> Option<u64> {
        self.expiry.filter(|_| self.persistent || !self.planned)
    }

    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }

    pub(crate) fn ttl_left(&self, now: u64) -> Option<Duration> {
        self.expiry.map(|expiry| Duration::from_nanos(expiry.saturating_sub(now)))
    }

    pub(crate) fn entry(&self, now: u64) -> Entry<V> {
        let value = self.kept.cloned().unwrap_or_else(|| V::from_bytes(self.packed));
        let Stored { codec, version, timestamp, persistent, .. } = *self;
        Entry { value, codec, version, timestamp, ttl_left: self.ttl_left(now), persistent }
    }
}
