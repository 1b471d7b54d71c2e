//! What the store keeps.

use bytes::Bytes;

/// A value as the owner of a store keeps it: bytes, or whatever holds them elsewhere.
///
/// A clone is the same value, and costs nothing that depends on its size.
pub trait Value: Clone {
    /// Its length in bytes.
    fn size(&self) -> u64;

    /// Its bytes, where they are at hand. Of short ones the store keeps a copy and not the value itself, which takes less memory and lets go of the
    /// buffer they are in. They are as many as [`size`](Value::size) says.
    fn bytes(&self) -> Option<&[u8]>;

    /// The value that has these bytes.
    fn from_bytes(bytes: &[u8]) -> Self;
}

/// A long slice is kept as it is, and with it all of the buffer that it is a part of.
impl Value for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes)
    }
}
