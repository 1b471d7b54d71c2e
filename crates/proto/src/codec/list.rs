//! The serializer for what must be a list: the arguments of a call, and the one array that an extension holds.

use serde::ser::Impossible;
use serde::{Serialize, Serializer};

use super::encode::{Compound, Encoder, Shape};
use super::error::EncodeError;

type Result<T = ()> = std::result::Result<T, EncodeError>;

/// Writes tuples and sequences as a plain array and refuses everything else.
pub(super) struct List<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    /// The levels of nesting that the list counts for.
    levels: usize,
}

impl<'e, 'a> List<'e, 'a> {
    #[inline]
    pub(super) fn arguments(encoder: &'e mut Encoder<'a>) -> Self {
        List { encoder, levels: 0 }
    }

    pub(super) fn payload(encoder: &'e mut Encoder<'a>) -> Self {
        List { encoder, levels: 1 }
    }
}

macro_rules! refuse {
    ($($method:ident ( $($arg:ty),* ) -> $ok:ty;)*) => {$(
        fn $method(self, $(_: $arg),*) -> Result<$ok> {
            Err(EncodeError::NotAList)
        }
    )*};
}

impl<'e, 'a> Serializer for List<'e, 'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'e, 'a>;
    type SerializeTuple = Compound<'e, 'a>;
    type SerializeTupleStruct = Compound<'e, 'a>;
    type SerializeTupleVariant = Impossible<(), EncodeError>;
    type SerializeMap = Impossible<(), EncodeError>;
    type SerializeStruct = Impossible<(), EncodeError>;
    type SerializeStructVariant = Impossible<(), EncodeError>;

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'e, 'a>> {
        self.encoder.open(Shape::Array, len, self.levels)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Compound<'e, 'a>> {
        self.serialize_seq(Some(len))
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Compound<'e, 'a>> {
        self.serialize_seq(Some(len))
    }

    #[inline]
    fn serialize_unit(self) -> Result {
        self.serialize_seq(Some(0))?.close()
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result {
        if name.starts_with('$') { Err(EncodeError::NotAList) } else { value.serialize(self) }
    }

    refuse! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Result {
        Err(EncodeError::NotAList)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result {
        Err(EncodeError::NotAList)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
