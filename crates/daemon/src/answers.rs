//! What the methods of the store return. The protocol knows plain arrays, where serde would write tuples.

use std::sync::Arc;

use bytes::Bytes;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

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

/// The answer to `get` and `delete`: state, version, timestamp, codec and value. Only the parts that the state has are written.
#[derive(Deserialize)]
pub(crate) struct Answer(
    u8,
    #[serde(default)] u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Bytes,
);

impl Answer {
    const MISSING: u8 = 0;
    const FOUND: u8 = 1;
    const NOT_MODIFIED: u8 = 2;

    pub(crate) fn missing() -> Answer {
        Answer(Answer::MISSING, 0, 0.0, 0, Bytes::new())
    }

    pub(crate) fn not_modified(version: u64) -> Answer {
        Answer(Answer::NOT_MODIFIED, version, 0.0, 0, Bytes::new())
    }

    pub(crate) fn found(entry: andiron_store::Entry) -> Answer {
        Answer(Answer::FOUND, entry.version, entry.timestamp, entry.codec.0, entry.value)
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answer(state, version, timestamp, codec, value) = self;
        let length = match *state {
            Answer::MISSING => 1,
            Answer::NOT_MODIFIED => 2,
            _ => 5,
        };
        let mut array = serializer.serialize_seq(Some(length))?;
        array.serialize_element(state)?;
        if length > 1 {
            array.serialize_element(version)?;
        }
        if length > 2 {
            array.serialize_element(timestamp)?;
            array.serialize_element(codec)?;
            array.serialize_element(value)?;
        }
        array.end()
    }
}

/// The answer to `list`: whether more follow, and the rows.
#[derive(Deserialize)]
pub(crate) struct Page(bool, Vec<Row>);

written_as_array!(Page, 2, 0 1);

/// Author, name, version, timestamp and size.
#[derive(Deserialize)]
struct Row(Arc<str>, Arc<str>, u64, f64, u64);

written_as_array!(Row, 5, 0 1 2 3 4);

impl From<andiron_store::Page> for Page {
    fn from(page: andiron_store::Page) -> Page {
        let row = |listed: andiron_store::Listed| {
            let andiron_store::Listed { key, version, timestamp, size } = listed;
            Row(key.author, key.name, version, timestamp, size as u64)
        };
        Page(page.more, page.entries.into_iter().map(row).collect())
    }
}

/// An item of `watch`: 0 or 1, author, name, version, skipped changes, and with 1 timestamp, codec, value.
#[derive(Deserialize)]
pub(crate) struct Change(
    u8,
    Arc<str>,
    Arc<str>,
    u64,
    u64,
    #[serde(default)] f64,
    #[serde(default)] u8,
    #[serde(default)] Bytes,
);

impl Change {
    /// What an entry is now; `version` is that of its last change where it is not there.
    pub(crate) fn of(
        key: andiron_store::Key,
        entry: Option<andiron_store::Entry>,
        version: u64,
        skipped: u64,
    ) -> Change {
        let andiron_store::Key { author, name } = key;
        match entry {
            None => Change(0, author, name, version, skipped, 0.0, 0, Bytes::new()),
            Some(entry) => {
                Change(1, author, name, entry.version, skipped, entry.timestamp, entry.codec.0, entry.value)
            }
        }
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Change(state, author, name, version, skipped, timestamp, codec, value) = self;
        let mut array = serializer.serialize_seq(Some(if *state == 0 { 5 } else { 8 }))?;
        array.serialize_element(state)?;
        array.serialize_element(author)?;
        array.serialize_element(name)?;
        array.serialize_element(version)?;
        array.serialize_element(skipped)?;
        if *state != 0 {
            array.serialize_element(timestamp)?;
            array.serialize_element(codec)?;
            array.serialize_element(value)?;
        }
        array.end()
    }
}
