//! Values as a daemon keeps them.

use std::sync::Arc;

use andiron::Blob;
use andiron_store::Value;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::housekeeper::Housekeeper;

/// So many bytes are kept in memory that is passed on by reference, and freeing them takes longer than an operation may.
const BIG: usize = 1 << 20;

/// A value in the store, or on its way out of it.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// Bytes that whoever has them last may free.
    Bytes(Bytes),
    /// Bytes that the housekeeper frees, whoever has them last.
    Big(Arc<Big>),
}

#[derive(Debug)]
pub(crate) struct Big {
    blob: Blob,
    housekeeper: Arc<Housekeeper>,
}

impl Kept {
    /// A short value is copied: it would keep a whole message in memory, or a descriptor.
    pub(crate) fn of(value: Blob, housekeeper: &Arc<Housekeeper>) -> Kept {
        if value.len() < BIG {
            return Kept::Bytes(Bytes::copy_from_slice(&value));
        }
        // Where no descriptor is left for it the bytes are kept as they came.
        let blob = value.shared().unwrap_or(value);
        Kept::Big(Arc::new(Big { blob, housekeeper: housekeeper.clone() }))
    }

    pub(crate) fn all(&self) -> &[u8] {
        match self {
            Kept::Bytes(bytes) => bytes,
            Kept::Big(big) => &big.blob,
        }
    }
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::Bytes(Bytes::new())
    }
}

impl Drop for Big {
    fn drop(&mut self) {
        self.housekeeper.free(std::mem::take(&mut self.blob));
    }
}

impl Value for Kept {
    fn size(&self) -> u64 {
        self.all().len() as u64
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self.all())
    }

    fn from_bytes(bytes: &[u8]) -> Kept {
        Kept::Bytes(Bytes::copy_from_slice(bytes))
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Kept::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Kept::Big(big) => big.blob.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kept, D::Error> {
        Blob::deserialize(deserializer).map(|blob| Kept::Bytes(Bytes::copy_from_slice(&blob)))
    }
}
