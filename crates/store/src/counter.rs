//! The one place where the store reads a value: a counter has to be read, raised and written in one step, which no client can do from outside.

use andiron_proto::codec;
use andiron_proto::wire::codecs;

use crate::error::StoreError;
use crate::op::Codec;

/// How counters are written.
pub(crate) const CODEC: Codec = Codec(codecs::NATIVE);

/// The number that these bytes are.
pub(crate) fn read(codec: Codec, bytes: Option<&[u8]>) -> Result<i64, StoreError> {
    bytes
        .filter(|_| codec == CODEC)
        .and_then(|bytes| codec::from_slice(bytes).ok())
        .ok_or(StoreError::NotANumber)
}

pub(crate) fn write(number: i64) -> Vec<u8> {
    codec::to_vec(&number).expect("a number can always be encoded")
}
