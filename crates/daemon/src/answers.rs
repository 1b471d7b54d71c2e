//! What the methods of the store return. The protocol knows plain arrays, where serde would write tuples.

use std::sync::Arc;
use std::time::Duration;

use andiron::{Blob, Stream};
use andiron_store::disk::Snapshot;
use andiron_store::{Entry, Stats};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::kept::Kept;

macro_rules! written_as_array {
    ($type:ident, $length:literal, $($field:tt)+) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut array = serializer.serialize_seq(Some($length))?;
                $(array.serialize_element(&self.$field)?;)+
                array.end()
            }
        }
    };
}

/// The answer to `set`: version and timestamp.
#[derive(Deserialize)]
pub(crate) struct Written(pub(crate) u64, pub(crate) f64);

written_as_array!(Written, 2, 0 1);

/// The answer to `incr`: version, timestamp and the number.
#[derive(Deserialize)]
pub(crate) struct Counted(pub(crate) u64, pub(crate) f64, pub(crate) i64);

written_as_array!(Counted, 3, 0 1 2);

/// The answer to `stats`: entries, bytes, authors, hits, questions and evicted.
#[derive(Deserialize)]
pub(crate) struct Figures(u64, u64, u64, u64, u64, u64);

written_as_array!(Figures, 6, 0 1 2 3 4 5);

impl From<Stats> for Figures {
    fn from(stats: Stats) -> Figures {
        let Stats { entries, bytes, authors, hits, questions, evicted } = stats;
        Figures(entries as u64, bytes, authors as u64, hits, questions, evicted)
    }
}

/// A snapshot in a listing: author, name, when it was saved, entries and bytes.
#[derive(Deserialize)]
pub(crate) struct Saved(String, String, f64, u64, u64);

written_as_array!(Saved, 5, 0 1 2 3 4);

impl From<Snapshot> for Saved {
    fn from(snapshot: Snapshot) -> Saved {
        let Snapshot { author, name, saved_at, records, bytes } = snapshot;
        Saved(author, name, Duration::from_micros(saved_at).as_secs_f64(), records, bytes)
    }
}

/// An entry of `set_many`: name, value, codec, author, ttl in µs, the version that it must have, and whether it is persistent.
#[derive(Deserialize)]
pub(crate) struct Wanted(
    pub(crate) String,
    pub(crate) Blob,
    pub(crate) u8,
    #[serde(default)] pub(crate) Option<String>,
    #[serde(default)] pub(crate) Option<u64>,
    #[serde(default)] pub(crate) Option<u64>,
    #[serde(default)] pub(crate) Option<bool>,
);

written_as_array!(Wanted, 7, 0 1 2 3 4 5 6);

/// Where on the board an entry is stamped, and the stamp that stood there when it was read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stamp {
    pub(crate) slot: Option<u32>,
    pub(crate) stamp: u64,
}

/// The answer to `get` and `delete`: state, version, slot, stamp, ttl left in µs (0: none), timestamp, codec and value. Only the parts that the
/// state has are written.
#[derive(Deserialize)]
pub(crate) struct Answer(
    u8,
    u64,
    Option<u32>,
    u64,
    #[serde(default)] u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Kept,
);

impl Answer {
    const MISSING: u8 = 0;
    const FOUND: u8 = 1;
    const NOT_MODIFIED: u8 = 2;

    pub(crate) fn missing(Stamp { slot, stamp }: Stamp) -> Answer {
        Answer(Answer::MISSING, 0, slot, stamp, 0, 0.0, 0, Kept::default())
    }

    pub(crate) fn not_modified(version: u64, ttl: Option<Duration>, Stamp { slot, stamp }: Stamp) -> Answer {
        Answer(Answer::NOT_MODIFIED, version, slot, stamp, micros_left(ttl), 0.0, 0, Kept::default())
    }

    pub(crate) fn found(entry: Entry<Kept>, Stamp { slot, stamp }: Stamp) -> Answer {
        let Entry { value, codec, version, timestamp, ttl_left, .. } = entry;
        Answer(Answer::FOUND, version, slot, stamp, micros_left(ttl_left), timestamp, codec.0, value)
    }
}

/// Rounded down, so that nobody keeps an entry for too long; but 0 says that it stays.
fn micros_left(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX).max(1))
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answer(state, version, slot, stamp, ttl, timestamp, codec, value) = self;
        let length = match *state {
            Answer::MISSING => 4,
            Answer::NOT_MODIFIED => 5,
            _ => 8,
        };
        let mut array = serializer.serialize_seq(Some(length))?;
        array.serialize_element(state)?;
        array.serialize_element(version)?;
        array.serialize_element(slot)?;
        array.serialize_element(stamp)?;
        if length > 4 {
            array.serialize_element(ttl)?;
        }
        if length > 5 {
            array.serialize_element(timestamp)?;
            array.serialize_element(codec)?;
            array.serialize_element(value)?;
        }
        array.end()
    }
}

impl Answer {
    /// There was none, and `set_default` set it under this version.
    pub(crate) fn set(version: u64) -> Answer {
        let Stamp { slot, stamp } = Stamp::default();
        Answer(Answer::MISSING, version, slot, stamp, 0, 0.0, 0, Kept::default())
    }
}

/// What `delete_first` took out: its name, and what `delete` answers.
#[derive(Deserialize)]
pub(crate) struct First(Arc<str>, Answer);

written_as_array!(First, 2, 0 1);

impl From<(andiron_store::Key, Entry<Kept>)> for First {
    fn from((key, entry): (andiron_store::Key, Entry<Kept>)) -> First {
        First(key.name, Answer::found(entry, Stamp::default()))
    }
}

/// An entry among all of its author: name, version, timestamp, whether it is persistent, ttl left in µs (0: none), codec and value, which are left out where
/// only names are wanted.
#[derive(Deserialize)]
pub(crate) struct Named(Box<str>, u64, f64, bool, u64, #[serde(default)] Option<(u8, Kept)>);

impl Named {
    pub(crate) fn of(name: Box<str>, entry: Entry<Kept>, values: bool) -> Named {
        let Entry { value, codec, version, timestamp, ttl_left, persistent } = entry;
        let value = values.then_some((codec.0, value));
        Named(name, version, timestamp, persistent, micros_left(ttl_left), value)
    }

    /// What it takes in a message, or beside it, but for what is the same for each.
    pub(crate) fn size(&self) -> usize {
        self.0.len() + self.5.as_ref().map_or(0, |(_, value)| value.all().len())
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Named(name, version, timestamp, persistent, ttl, value) = self;
        let mut array = serializer.serialize_seq(Some(if value.is_some() { 7 } else { 5 }))?;
        array.serialize_element(name)?;
        array.serialize_element(version)?;
        array.serialize_element(timestamp)?;
        array.serialize_element(persistent)?;
        array.serialize_element(ttl)?;
        if let Some((codec, value)) = value {
            array.serialize_element(codec)?;
            array.serialize_element(value)?;
        }
        array.end()
    }
}

/// The answer to `entries`: the first of them, and a stream of those that follow where there are more.
#[derive(Deserialize)]
pub(crate) struct Entries(pub(crate) Vec<Named>, pub(crate) Option<Stream<Vec<Named>>>);

written_as_array!(Entries, 2, 0 1);

/// The answer to `list`: whether more follow, and the rows.
#[derive(Deserialize)]
pub(crate) struct Page(bool, Vec<Row>);

written_as_array!(Page, 2, 0 1);

/// Author, name, version, timestamp, size, and whether it is persistent.
#[derive(Deserialize)]
struct Row(Arc<str>, Arc<str>, u64, f64, u64, #[serde(default)] bool);

written_as_array!(Row, 6, 0 1 2 3 4 5);

impl From<andiron_store::Page> for Page {
    fn from(page: andiron_store::Page) -> Page {
        let row = |listed: andiron_store::Listed| {
            let andiron_store::Listed { key, version, timestamp, size, persistent } = listed;
            Row(key.author, key.name, version, timestamp, size, persistent)
        };
        Page(page.more, page.entries.into_iter().map(row).collect())
    }
}

/// An item of `watch`: 0 (removed) or 1, author, name, version, skipped changes, timestamp, codec, value, and up to which version all was told (0: it
/// cannot be said). What is removed has nothing in place of the value, so that readers find the last where they skip what they do not know.
#[derive(Deserialize)]
pub(crate) struct Change(
    u8,
    Arc<str>,
    Arc<str>,
    u64,
    u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Kept,
    #[serde(default)] u64,
);

written_as_array!(Change, 9, 0 1 2 3 4 5 6 7 8);

impl Change {
    /// What an entry is now; `version` is that of its last change where it is not there.
    pub(crate) fn of(
        key: andiron_store::Key,
        entry: Option<Entry<Kept>>,
        version: u64,
        skipped: u64,
        told_to: u64,
    ) -> Change {
        let andiron_store::Key { author, name } = key;
        match entry {
            None => Change(0, author, name, version, skipped, 0.0, 0, Kept::default(), told_to),
            Some(Entry { version, timestamp, codec, value, .. }) => {
                Change(1, author, name, version, skipped, timestamp, codec.0, value, told_to)
            }
        }
    }
}
