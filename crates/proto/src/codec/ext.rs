//! How extension values pass through serde, which knows nothing of them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer, forward_to_deserialize_any};

use super::decode::Decoder;
use super::error::DecodeError;
use super::marker::code;

/// The name of a newtype struct that holds a tuple `(i8, bytes)`: code and payload of any extension. Its
/// `Deserialize` gets the same; values that are no extensions come to its visitor as what they are. The payload
/// is not checked when writing.
pub const EXT_NAME: &str = "$andiron.ext";

/// The name of a newtype struct that holds a `u16`: a reference to the object at that place of the message's
/// table of references.
pub const REF_NAME: &str = "$andiron.ref";

/// The names under which [`Value`](super::Value) writes the extensions that hold one array.
pub(super) const SET_NAME: &str = "$andiron.set";
pub(super) const FROZENSET_NAME: &str = "$andiron.frozenset";
pub(super) const EXCEPTION_NAME: &str = "$andiron.exception";
pub(super) const RECORD_NAME: &str = "$andiron.record";
pub(super) const BUFFER_NAME: &str = "$andiron.buffer";
pub(super) const ENUM_NAME: &str = "$andiron.enum";

/// The name by which [`Value`](super::Value) asks for the payload of such an extension as a sequence.
const LIST_NAME: &str = "$andiron.list";

pub(super) fn container_code(name: &str) -> Option<i8> {
    Some(match name {
        SET_NAME => code::SET,
        FROZENSET_NAME => code::FROZENSET,
        EXCEPTION_NAME => code::EXCEPTION,
        RECORD_NAME => code::RECORD,
        BUFFER_NAME => code::BUFFER,
        ENUM_NAME => code::ENUM,
        _ => return None,
    })
}

/// A reference to an object: its place in the message's table of references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ref(pub u16);

/// The one encoding of a value that is nothing but the first object of its message.
pub const FIRST_REFERENCE: &[u8] = &[0xd5, 0x0d, 0, 0];

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(REF_NAME, &self.0)
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RefVisitor;
        impl<'de> Visitor<'de> for RefVisitor {
            type Value = Ref;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object reference")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Ref, D::Error> {
                u16::deserialize(deserializer).map(Ref)
            }
        }
        deserializer.deserialize_newtype_struct(REF_NAME, RefVisitor)
    }
}

/// A type that is one extension, the payload of which is no MessagePack.
pub(super) trait Scalar: Sized {
    /// What it is called in errors.
    const NAME: &'static str;

    /// Code and payload.
    fn to_ext(&self) -> (i8, Cow<'_, [u8]>);

    /// Reads a payload of that code. `None` if extensions of that code are something else.
    fn from_ext(code: i8, payload: &[u8]) -> Option<Result<Self, &'static str>>;

    /// Such a value from a plain integer, where that is a form of it.
    fn from_int(_v: i128) -> Option<Self> {
        None
    }
}

pub(super) fn serialize_scalar<T: Scalar, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (code, payload) = value.to_ext();
    serialize_ext(code, &payload, serializer)
}

pub(super) fn serialize_ext<S: Serializer>(
    code: i8,
    payload: &[u8],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(EXT_NAME, &(code, Bytes(payload)))
}

pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

pub(super) fn deserialize_scalar<'de, T: Scalar, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(EXT_NAME, ScalarVisitor(PhantomData))
}

/// The error of a payload that breaks the rules of its extension.
pub(super) fn malformed<E: de::Error>(name: &str, why: &str) -> E {
    E::custom(format_args!("malformed {name}: {why}"))
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of type ")?;
        f.write_str(T::NAME)
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<T, E> {
        T::from_int(v.into()).ok_or_else(|| E::invalid_type(de::Unexpected::Unsigned(v), &self))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<T, E> {
        T::from_int(v.into()).ok_or_else(|| E::invalid_type(de::Unexpected::Signed(v), &self))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_tuple(2, self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ext: A) -> Result<T, A::Error> {
        let (code, payload): (i8, Payload<'de>) = match (ext.next_element()?, ext.next_element()?) {
            (Some(code), Some(payload)) => (code, payload),
            _ => return Err(de::Error::invalid_length(0, &self)),
        };
        match T::from_ext(code, &payload.0) {
            Some(value) => value.map_err(|why| malformed(T::NAME, why)),
            None => Err(de::Error::invalid_type(de::Unexpected::Other(super::marker::ext_name(code)), &self)),
        }
    }
}

/// The payload of an extension, borrowed if it can be.
pub(super) struct Payload<'de>(pub(super) Cow<'de, [u8]>);

impl<'de> Deserialize<'de> for Payload<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PayloadVisitor;
        impl<'de> Visitor<'de> for PayloadVisitor {
            type Value = Payload<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the payload of an extension")
            }

            fn visit_borrowed_bytes<E>(self, v: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Payload(Cow::Borrowed(v)))
            }

            fn visit_bytes<E>(self, v: &[u8]) -> Result<Self::Value, E> {
                Ok(Payload(Cow::Owned(v.to_vec())))
            }

            fn visit_byte_buf<E>(self, v: Vec<u8>) -> Result<Self::Value, E> {
                Ok(Payload(Cow::Owned(v)))
            }
        }
        deserializer.deserialize_bytes(PayloadVisitor)
    }
}

/// Reads the payload of an extension that holds one array, as a sequence for the visitor.
pub(super) struct ListSeed<V> {
    pub(super) code: i8,
    pub(super) visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for ListSeed<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_newtype_struct(LIST_NAME, self)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for ListSeed<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(items)
    }

    // The rest is for serde's own buffers (of untagged enums and the like), which keep payloads as bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_borrowed_bytes<E: de::Error>(self, v: &'de [u8]) -> Result<V::Value, E> {
        Decoder::new(v).list(self.code, v.len(), 0, self.visitor).map_err(E::custom)
    }
}

/// An extension as serde sees it: a sequence of its code and its payload.
pub(super) struct ExtAccess<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
    pub(super) code: i8,
    pub(super) len: usize,
    pub(super) at: usize,
}

impl<'de> Deserializer<'de> for ExtAccess<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(ExtParts { ext: self, given: 0 })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct ExtParts<'a, 'de> {
    ext: ExtAccess<'a, 'de>,
    given: u8,
}

impl<'de> SeqAccess<'de> for ExtParts<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let ExtAccess { decoder, code, len, at } = &mut self.ext;
        self.given += 1;
        match self.given {
            1 => seed.deserialize(IntoDeserializer::<DecodeError>::into_deserializer(*code)).map(Some),
            2 => seed.deserialize(PayloadAccess { decoder, code: *code, len: *len, at: *at }).map(Some),
            _ => Ok(None),
        }
    }
}

/// The payload of an extension: bytes, or if asked for by [`LIST_NAME`], the elements of the array in it.
struct PayloadAccess<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    code: i8,
    len: usize,
    at: usize,
}

impl<'de> Deserializer<'de> for PayloadAccess<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_bytes(self.decoder.take(self.len)?)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == LIST_NAME {
            self.decoder.list(self.code, self.len, self.at, visitor)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
