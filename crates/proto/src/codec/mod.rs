//! The native codec: MessagePack and sixteen extension types, as serde formats and as a dynamic [`Value`].
//!
//! Any type that implements serde's traits can be sent; it is written in its shortest form, and any valid form is
//! read. A peer whose types are not known here is read as a [`Value`], which loses nothing.
//!
//! ```
//! use andiron_proto::codec::{from_slice, to_vec, Value};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Track { title: String, seconds: f64, tags: Vec<String> }
//!
//! let track = Track { title: "Embers".into(), seconds: 12.5, tags: vec![] };
//! let bytes = to_vec(&track)?;
//! assert_eq!(from_slice::<Track>(&bytes)?, track);
//!
//! let value: Value = from_slice(&bytes)?;
//! assert_eq!(value.to_json().to_string(), r#"{"title":"Embers","seconds":12.5,"tags":[]}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How serde types are written
//!
//! | Rust | MessagePack |
//! | --- | --- |
//! | integers, also `i128` and `u128` | int; ext 1 (bigint) beyond `i64` and `u64` |
//! | `f32`, `f64`, `bool`, `char`, strings | float 32, float 64, bool, str, str |
//! | `serialize_bytes` (for instance by the `serde_bytes` crate) | bin |
//! | `None`, `()`, unit structs | nil |
//! | `Vec`, slices, sets and other sequences | array |
//! | tuples, tuple structs, `[T; N]` | ext 2 (tuple) |
//! | maps, structs | map (of field names) |
//! | enums | unit variants: str; others: a map of one entry, name to content |
//! | newtype structs | what is inside |
//!
//! When reading, an int is accepted where a float is wanted, arrays, tuples and sets (and bytes, as small ints)
//! where a sequence is wanted, records where a struct or map is wanted, and enum members where a unit variant is
//! wanted. A float is never read as an int. Types that serde buffers (`flatten`, untagged and internally tagged
//! enums) see tuples and sets as arrays.
//!
//! The newtype struct names [`EXT_NAME`] and [`REF_NAME`] let special values pass through serde.

mod bigint;
mod decimal;
mod decode;
mod deserialize;
mod encode;
mod error;
mod ext;
pub mod json;
mod list;
mod marker;
mod serialize;
mod time;
mod time_text;
mod value;
mod value_serde;

#[cfg(test)]
mod tests;

pub use bigint::{BigInt, ParseIntError};
pub use decimal::{Decimal, InvalidDecimal};
pub use decode::{Decoder, Token};
pub use encode::Encoder;
pub use error::{DecodeError, EncodeError, ErrorClass, Reason};
pub use ext::{EXT_NAME, FIRST_REFERENCE, REF_NAME, Ref};
pub use time::{Date, DateTime, InvalidTime, Time, TimeDelta, Zone};
pub use value::{Buffer, BufferData, EnumMember, Exception, Record, Value};

use serde::{Deserialize, Serialize};

/// How deep arrays and maps may be nested within each other, in both directions.
///
/// An extension that holds an array (tuple, set, record, ...) counts as one together with that array. The array
/// that holds the arguments of a call does not count.
pub const MAX_DEPTH: usize = 100;

/// Encodes one value into a new buffer.
///
/// # Errors
/// When the value is nested deeper than [`MAX_DEPTH`], is longer than MessagePack can say, or its `Serialize`
/// fails.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode(value, &mut out)?;
    Ok(out)
}

/// Appends one value to `out`. On error `out` is as it was before.
///
/// # Errors
/// As [`to_vec`].
#[inline]
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    Encoder::new(out).encode(value)
}

/// Appends the argument list of a call: a tuple, tuple struct, sequence or unit, written as a plain array.
/// On error `out` is as it was before.
///
/// ```
/// let mut out = Vec::new();
/// andiron_proto::codec::encode_args(&(1, "a"), &mut out)?;
/// assert_eq!(out, [0x92, 0x01, 0xa1, b'a']);
/// # Ok::<(), andiron_proto::codec::EncodeError>(())
/// ```
///
/// # Errors
/// As [`to_vec`], and when `args` is none of these.
#[inline]
pub fn encode_args<T: Serialize + ?Sized>(args: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    Encoder::new(out).encode_args(args)
}

/// Decodes the one value that `bytes` holds.
///
/// # Errors
/// When the bytes are malformed, when bytes follow the value, or when the value is not what `T` expects;
/// [`DecodeError::class`] tells which.
#[inline]
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode()?;
    decoder.finish()?;
    Ok(value)
}
