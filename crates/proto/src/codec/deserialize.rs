//! The serde deserializer.

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer, U16Deserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::bigint::BigInt;
use super::decode::{Decoder, Token};
use super::error::{DecodeError, elements};
use super::ext::{EXT_NAME, ExtAccess, REF_NAME};
use super::marker::{self, code, ext_name};

type Result<T> = std::result::Result<T, DecodeError>;

macro_rules! numbers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.number(visitor)
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let at = self.position();
            if let Some(v) = self.quick_str() {
                return visitor.visit_borrowed_str(v).map_err(|e: DecodeError| e.at(at));
            }
            match self.token()? {
                Token::Str(v) => visitor.visit_borrowed_str(v).map_err(|e: DecodeError| e.at(at)),
                other => self.visit(other, at, visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    texts! { deserialize_char deserialize_str deserialize_string }

    forward_to_deserialize_any! { bool unit unit_struct }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let at = self.position();
        let token = self.token()?;
        self.visit(token, at, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let at = self.position();
        match self.token()? {
            Token::Ext { code: code::UUID, len: len @ 16 } => {
                visitor.visit_borrowed_bytes(self.take(len)?).map_err(|e: DecodeError| e.at(at))
            }
            other => self.visit(other, at, visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.rest().first() == Some(&marker::NIL) {
            self.take(1)?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name.starts_with('$') { self.reserved(name, visitor) } else { visitor.visit_newtype_struct(self) }
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let at = self.position();
        if let Some(len) = self.quick_len(marker::FIXARRAY) {
            return self.elements("array", len, at, visitor);
        }
        match self.token()? {
            Token::Array(len) => self.elements("array", len, at, visitor),
            Token::Bin(v) => {
                let bytes = SeqDeserializer::<_, DecodeError>::new(v.iter().copied());
                bytes.deserialize_any(visitor).map_err(|e: DecodeError| e.at(at))
            }
            other => self.visit(other, at, visitor),
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let at = self.position();
        if let Some(len) = self.quick_len(marker::FIXMAP) {
            return self.entries(len, at, visitor);
        }
        match self.token()? {
            Token::Map(len) => self.entries(len, at, visitor),
            Token::Ext { code: code::RECORD, len } => self.record_fields(len, at, visitor),
            // Structs would take the elements of a sequence for their fields, in the order of their declaration.
            other
            @ (Token::Array(_) | Token::Ext { code: code::TUPLE | code::SET | code::FROZENSET, .. }) => {
                Err(other.unexpected(&visitor, at))
            }
            other => self.visit(other, at, visitor),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let at = self.position();
        match self.token()? {
            Token::Str(variant) => {
                visitor.visit_enum(BorrowedStrDeserializer::new(variant)).map_err(|e: DecodeError| e.at(at))
            }
            Token::Map(1) => {
                self.enter(at)?;
                let value = visitor.visit_enum(Variant(self)).map_err(|e: DecodeError| e.at(at))?;
                self.leave();
                Ok(value)
            }
            Token::Map(len) => {
                Err(DecodeError::invalid_length(len, &"a map of one entry, variant to content").at(at))
            }
            Token::Ext { code: code::ENUM, len } => {
                let member = self.enum_member(len, at)?;
                visitor.visit_enum(BorrowedStrDeserializer::new(member)).map_err(|e: DecodeError| e.at(at))
            }
            other => self.visit(other, at, visitor),
        }
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let at = self.position();
        if let Some(v) = self.quick_str() {
            return visitor.visit_borrowed_str(v).map_err(|e: DecodeError| e.at(at));
        }
        match self.token()? {
            Token::Str(v) => visitor.visit_borrowed_str(v).map_err(|e: DecodeError| e.at(at)),
            // A number or bytes would be taken for the index or name of a field.
            other => Err(other.unexpected(&"the name of a field or variant, a string", at)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'de> Decoder<'de> {
    #[inline]
    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let at = self.position();
        if let Some(v) = self.quick_uint() {
            return visitor.visit_u64(v).map_err(|e: DecodeError| e.at(at));
        }
        match self.token()? {
            Token::Uint(v) => visitor.visit_u64(v).map_err(|e: DecodeError| e.at(at)),
            Token::Int(v) => visitor.visit_i64(v).map_err(|e: DecodeError| e.at(at)),
            Token::Ext { code: code::BIGINT, len } => self.wide_number(len, at, visitor),
            other => self.visit(other, at, visitor),
        }
    }

    #[cold]
    fn wide_number<V: Visitor<'de>>(&mut self, len: usize, at: usize, visitor: V) -> Result<V::Value> {
        let malformed = |why| DecodeError::malformed(ext_name(code::BIGINT), why, at);
        let int = BigInt::from_payload(self.take(len)?).map_err(malformed)?;
        let visited: Result<_> = match (int.to_i64(), int.to_u64(), int.to_i128(), int.to_u128()) {
            (Some(v), ..) => visitor.visit_i64(v),
            (_, Some(v), ..) => visitor.visit_u64(v),
            (.., Some(v), _) => visitor.visit_i128(v),
            (.., Some(v)) => visitor.visit_u128(v),
            _ => {
                let bytes = int.as_be_bytes().len();
                let found =
                    if bytes > 32 { format!("an int of {bytes} bytes") } else { format!("int {int}") };
                return Err(DecodeError::invalid_value(Unexpected::Other(&found), &visitor).at(at));
            }
        };
        visited.map_err(|e| e.at_int(&int, at))
    }

    /// Hands a token to the visitor as what it is; the visitor refuses it if it wants something else.
    fn visit<V: Visitor<'de>>(&mut self, token: Token<'de>, at: usize, visitor: V) -> Result<V::Value> {
        let visited: Result<_> = match token {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(v) => visitor.visit_bool(v),
            Token::Uint(v) => visitor.visit_u64(v),
            Token::Int(v) => visitor.visit_i64(v),
            Token::F32(v) => visitor.visit_f32(v),
            Token::F64(v) => visitor.visit_f64(v),
            Token::Str(v) => visitor.visit_borrowed_str(v),
            Token::Bin(v) => visitor.visit_borrowed_bytes(v),
            Token::Array(len) => self.elements("array", len, at, visitor),
            Token::Map(len) => self.entries(len, at, visitor),
            Token::Ext { code: code @ (code::TUPLE | code::SET | code::FROZENSET), len } => {
                self.list(code, len, at, visitor)
            }
            Token::Ext { code, len } => self.raw_ext(code, len, at, visitor),
        };
        visited.map_err(|e: DecodeError| e.at(at))
    }

    #[inline]
    fn elements<V: Visitor<'de>>(
        &mut self,
        name: &str,
        len: usize,
        at: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.enter(at)?;
        let mut items = Items { decoder: self, left: len };
        let value = visitor.visit_seq(&mut items).map_err(|e| e.at_ext(name, at))?;
        if items.left > 0 {
            let wanted = elements(len - items.left);
            return Err(DecodeError::invalid_length(len, &wanted.as_str()).at(at));
        }
        self.leave();
        Ok(value)
    }

    #[inline]
    fn entries<V: Visitor<'de>>(&mut self, len: usize, at: usize, visitor: V) -> Result<V::Value> {
        self.enter(at)?;
        let mut items = Items { decoder: self, left: len };
        let value = visitor.visit_map(&mut items).map_err(|e: DecodeError| e.at(at))?;
        if items.left > 0 {
            let wanted = elements(len - items.left);
            return Err(DecodeError::invalid_length(len, &wanted.as_str()).at(at));
        }
        self.leave();
        Ok(value)
    }

    /// Visits the one array that an extension holds.
    pub(super) fn list<V: Visitor<'de>>(
        &mut self,
        code: i8,
        len: usize,
        at: usize,
        visitor: V,
    ) -> Result<V::Value> {
        let after = self.rest().len() - len;
        let items = self.list_header(code, at)?;
        let value = self.elements(ext_name(code), items, at, visitor)?;
        self.list_end(code, after, at)?;
        Ok(value)
    }

    fn list_header(&mut self, code: i8, at: usize) -> Result<usize> {
        match self.token()? {
            Token::Array(items) => Ok(items),
            _ => Err(DecodeError::malformed(ext_name(code), "it holds no array", at)),
        }
    }

    fn list_end(&self, code: i8, after: usize, at: usize) -> Result<()> {
        if self.rest().len() != after {
            return Err(DecodeError::malformed(
                ext_name(code),
                "its array has not the length of its content",
                at,
            ));
        }
        Ok(())
    }

    /// Visits any extension as a newtype struct of its code and its payload.
    fn raw_ext<V: Visitor<'de>>(&mut self, code: i8, len: usize, at: usize, visitor: V) -> Result<V::Value> {
        let after = self.rest().len() - len;
        let access = ExtAccess { decoder: &mut *self, code, len, at };
        let value = visitor.visit_newtype_struct(access).map_err(|e| e.at_ext(ext_name(code), at))?;
        // A visitor may take the code only.
        self.take(self.rest().len().saturating_sub(after))?;
        Ok(value)
    }

    fn reserved<V: Visitor<'de>>(&mut self, name: &'static str, visitor: V) -> Result<V::Value> {
        let at = self.position();
        match (name, self.token()?) {
            (EXT_NAME, Token::Ext { code, len }) => self.raw_ext(code, len, at, visitor),
            (REF_NAME, Token::Ext { code: code::REF, len }) => {
                let index = self.take(len)?;
                let index = index
                    .try_into()
                    .map_err(|_| DecodeError::malformed("object reference", "not 2 bytes", at))?;
                let index: U16Deserializer<DecodeError> = u16::from_be_bytes(index).into_deserializer();
                visitor.visit_newtype_struct(index).map_err(|e: DecodeError| e.at(at))
            }
            (_, other) => self.visit(other, at, visitor),
        }
    }

    /// Visits the fields of a record as a map.
    #[cold]
    fn record_fields<V: Visitor<'de>>(&mut self, len: usize, at: usize, visitor: V) -> Result<V::Value> {
        let shape = || DecodeError::malformed("record", "it is not an array of a name and a map", at);
        let after = self.rest().len() - len;
        if self.list_header(code::RECORD, at)? != 2 || !matches!(self.token()?, Token::Str(_)) {
            return Err(shape());
        }
        self.enter(at)?;
        let Token::Map(fields) = self.token()? else { return Err(shape()) };
        let value = self.entries(fields, at, visitor)?;
        self.leave();
        self.list_end(code::RECORD, after, at)?;
        Ok(value)
    }

    /// Reads the name of an enum member, and past its value.
    #[cold]
    fn enum_member(&mut self, len: usize, at: usize) -> Result<&'de str> {
        let after = self.rest().len() - len;
        let items = self.list_header(code::ENUM, at)?;
        self.enter(at)?;
        let (3, Token::Str(_), Token::Str(member)) = (items, self.token()?, self.token()?) else {
            return Err(DecodeError::malformed(
                "enum member",
                "it is not an array of two names and a value",
                at,
            ));
        };
        self.skip()?;
        self.leave();
        self.list_end(code::ENUM, after, at)?;
        Ok(member)
    }
}

/// The elements of an array or the entries of a map that are left to read.
struct Items<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next_element_seed(seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// An enum written as a map of one entry: the key is the variant, the value its content.
struct Variant<'a, 'de>(&'a mut Decoder<'de>);

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self)> {
        let variant = seed.deserialize(&mut *self.0)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        serde::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.0.deserialize_map(visitor)
    }
}
