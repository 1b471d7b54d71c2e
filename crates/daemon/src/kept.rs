//! Values as a daemon keeps them.

use std::sync::Arc;

use andiron_store::Value;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::housekeeper::Housekeeper;

/// Freeing so many bytes takes longer than an operation may.
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
    bytes: Bytes,
    housekeeper: Arc<Housekeeper>,
}

impl Kept {
    /// A copy: a slice would keep the whole message in memory.
    pub(crate) fn copy(bytes: &[u8], housekeeper: &Arc<Housekeeper>) -> Kept {
        let bytes = Bytes::copy_from_slice(bytes);
        if bytes.len() < BIG {
            return Kept::Bytes(bytes);
        }
        Kept::Big(Arc::new(Big { bytes, housekeeper: housekeeper.clone() }))
    }

    fn all(&self) -> &[u8] {
        match self {
            Kept::Bytes(bytes) => bytes,
            Kept::Big(big) => &big.bytes,
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
        self.housekeeper.free(std::mem::take(&mut self.bytes));
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
        serializer.serialize_bytes(self.all())
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kept, D::Error> {
        Bytes::deserialize(deserializer).map(Kept::Bytes)
    }
}
