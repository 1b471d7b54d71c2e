//! The serde serializer.

use serde::{Serialize, Serializer, ser};

use super::encode::{self, Compound, Encoder, Shape};
use super::error::EncodeError;
use super::marker as m;

type Result<T = ()> = std::result::Result<T, EncodeError>;

impl<'e, 'a> Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'e, 'a>;
    type SerializeTuple = Compound<'e, 'a>;
    type SerializeTupleStruct = Compound<'e, 'a>;
    type SerializeTupleVariant = Compound<'e, 'a>;
    type SerializeMap = Compound<'e, 'a>;
    type SerializeStruct = Compound<'e, 'a>;
    type SerializeStructVariant = Compound<'e, 'a>;

    #[inline]
    fn serialize_bool(self, v: bool) -> Result {
        self.out.push(if v { m::TRUE } else { m::FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, v: i8) -> Result {
        self.serialize_i64(v.into())
    }

    #[inline]
    fn serialize_i16(self, v: i16) -> Result {
        self.serialize_i64(v.into())
    }

    #[inline]
    fn serialize_i32(self, v: i32) -> Result {
        self.serialize_i64(v.into())
    }

    #[inline]
    fn serialize_i64(self, v: i64) -> Result {
        encode::int(self.out, v);
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Result {
        if let Ok(v) = i64::try_from(v) {
            encode::int(self.out, v);
        } else if let Ok(v) = u64::try_from(v) {
            encode::uint(self.out, v);
        } else {
            encode::wide_int(self.out, &v.to_be_bytes())?;
        }
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, v: u8) -> Result {
        self.serialize_u64(v.into())
    }

    #[inline]
    fn serialize_u16(self, v: u16) -> Result {
        self.serialize_u64(v.into())
    }

    #[inline]
    fn serialize_u32(self, v: u32) -> Result {
        self.serialize_u64(v.into())
    }

    #[inline]
    fn serialize_u64(self, v: u64) -> Result {
        encode::uint(self.out, v);
        Ok(())
    }

    fn serialize_u128(self, v: u128) -> Result {
        if let Ok(v) = u64::try_from(v) {
            encode::uint(self.out, v);
            return Ok(());
        }
        let mut bytes = [0; 17];
        bytes[1..].copy_from_slice(&v.to_be_bytes());
        encode::wide_int(self.out, &bytes)
    }

    #[inline]
    fn serialize_f32(self, v: f32) -> Result {
        self.out.extend_from_slice(&encode::with_u32(m::F32, v.to_bits()));
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, v: f64) -> Result {
        self.out.extend_from_slice(&encode::with_u64(m::F64, v.to_bits()));
        Ok(())
    }

    #[inline]
    fn serialize_char(self, v: char) -> Result {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result {
        encode::string(self.out, v)
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result {
        encode::bin(self.out, v)
    }

    #[inline]
    fn serialize_none(self) -> Result {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result {
        self.out.push(m::NIL);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result {
        if name.starts_with('$') { self.reserved(name, value) } else { value.serialize(self) }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result {
        self.open_variant(variant)?;
        value.serialize(&mut *self)?;
        self.leave();
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'e, 'a>> {
        self.open(Shape::Array, len, 1)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Compound<'e, 'a>> {
        self.open_tuple(len)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Compound<'e, 'a>> {
        self.open_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'e, 'a>> {
        self.open_variant(variant)?;
        Ok(self.open_tuple(len)?.in_variant())
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'e, 'a>> {
        self.open(Shape::Map, len, 1)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Compound<'e, 'a>> {
        self.open(Shape::Map, Some(len), 1)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'e, 'a>> {
        self.open_variant(variant)?;
        Ok(self.open(Shape::Map, Some(len), 1)?.in_variant())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The serde traits for the compounds that have elements without keys.
macro_rules! elements {
    ($($trait:ident :: $method:ident),*) => {$(
        impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                self.item(value)
            }

            #[inline]
            fn end(self) -> Result {
                self.close()
            }
        }
    )*};
}

elements!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// The serde traits for the compounds that have named fields.
macro_rules! fields {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result {
                self.field(key, value)
            }

            #[inline]
            fn end(self) -> Result {
                self.close()
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.item(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.value(value)
    }

    #[inline]
    fn end(self) -> Result {
        self.close()
    }
}
