//! How [`Value`] is written and read by serde.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, SerializeMap, SerializeTuple};
use serde::{Deserialize, Serialize, Serializer};

use super::bigint::BigInt;
use super::decimal::Decimal;
use super::ext::{self, Bytes, EXT_NAME, ListSeed, Payload, Ref, Scalar, malformed};
use super::marker::{code, ext_name, is_known};
use super::time::{Date, DateTime, Time, TimeDelta};
use super::value::{Buffer, BufferData, EnumMember, Exception, Record, Value};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nil => s.serialize_unit(),
            Value::Bool(v) => s.serialize_bool(*v),
            Value::Int(v) => s.serialize_i64(*v),
            Value::UInt(v) => s.serialize_u64(*v),
            Value::BigInt(v) => v.serialize(s),
            Value::Float(v) => s.serialize_f64(*v),
            Value::Str(v) => s.serialize_str(v),
            Value::Bytes(v) => s.serialize_bytes(v),
            Value::Array(v) => v.serialize(s),
            Value::Map(v) => {
                let mut map = s.serialize_map(Some(v.len()))?;
                v.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
            Value::Tuple(v) => {
                let mut tuple = s.serialize_tuple(v.len())?;
                v.iter().try_for_each(|value| tuple.serialize_element(value))?;
                tuple.end()
            }
            Value::Set(v) => s.serialize_newtype_struct(ext::SET_NAME, v),
            Value::FrozenSet(v) => s.serialize_newtype_struct(ext::FROZENSET_NAME, v),
            Value::Complex(re, im) => {
                ext::serialize_ext(code::COMPLEX, &[re.to_be_bytes(), im.to_be_bytes()].concat(), s)
            }
            Value::Decimal(v) => v.serialize(s),
            Value::DateTime(v) => v.serialize(s),
            Value::Date(v) => v.serialize(s),
            Value::Time(v) => v.serialize(s),
            Value::TimeDelta(v) => v.serialize(s),
            Value::Uuid(v) => ext::serialize_ext(code::UUID, v, s),
            Value::Exception(v) => s.serialize_newtype_struct(
                ext::EXCEPTION_NAME,
                &(&v.type_name, &v.args, Fields(&v.attributes)),
            ),
            Value::Ref(v) => Ref(*v).serialize(s),
            Value::Record(v) => s.serialize_newtype_struct(ext::RECORD_NAME, &(&v.name, Fields(&v.fields))),
            Value::Buffer(v) => s.serialize_newtype_struct(ext::BUFFER_NAME, &(&v.format, &v.shape, &v.data)),
            Value::Enum(v) => {
                s.serialize_newtype_struct(ext::ENUM_NAME, &(&v.type_name, &v.member, &v.value))
            }
            Value::Ext(code, _) if is_known(*code) => Err(ser::Error::custom(format_args!(
                "extension code {code} is a {}, not a Value::Ext",
                ext_name(*code)
            ))),
            Value::Ext(code, payload) => ext::serialize_ext(*code, payload, s),
        }
    }
}

struct Fields<'a>(&'a [(String, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for BufferData {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            BufferData::Inline(bytes) => Bytes(bytes).serialize(s),
            BufferData::Attachment(index) => s.serialize_u64(*index),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(EXT_NAME, ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i128<E>(self, v: i128) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u128<E>(self, v: u128) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_bytes<E>(self, v: &[u8]) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_byte_buf<E>(self, v: Vec<u8>) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value, A::Error> {
        ItemsVisitor.visit_seq(items).map(Value::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::with_capacity(capacity(entries.size_hint()));
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_tuple(2, ExtVisitor)
    }
}

/// What to allocate for an announced number of elements. Each of `MAX_DEPTH` nested arrays may announce as many as
/// the input has bytes, so little is taken on trust.
fn capacity(announced: Option<usize>) -> usize {
    announced.unwrap_or(0).min(256)
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Value>, A::Error> {
        let mut array = Vec::with_capacity(capacity(items.size_hint()));
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(array)
    }
}

struct ExtVisitor;

impl<'de> Visitor<'de> for ExtVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("code and payload of an extension")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ext: A) -> Result<Value, A::Error> {
        let missing = || de::Error::invalid_length(0, &ExtVisitor);
        let code: i8 = ext.next_element()?.ok_or_else(missing)?;
        let list: fn(Vec<Value>) -> Result<Value, &'static str> = match code {
            code::TUPLE => |items| Ok(Value::Tuple(items)),
            code::SET => |items| Ok(Value::Set(items)),
            code::FROZENSET => |items| Ok(Value::FrozenSet(items)),
            code::EXCEPTION => exception,
            code::RECORD => record,
            code::BUFFER => buffer,
            code::ENUM => enum_member,
            _ => {
                let payload: Payload<'de> = ext.next_element()?.ok_or_else(missing)?;
                return scalar(code, &payload.0).map_err(|why| malformed(ext_name(code), why));
            }
        };
        let seed = ListSeed { code, visitor: ItemsVisitor };
        let items = ext.next_element_seed(seed)?.ok_or_else(missing)?;
        list(items).map_err(|why| malformed(ext_name(code), why))
    }
}

fn scalar(code: i8, payload: &[u8]) -> Result<Value, &'static str> {
    fn read<T: Scalar + Into<Value>>(code: i8, payload: &[u8]) -> Option<Result<Value, &'static str>> {
        T::from_ext(code, payload).map(|read| read.map(Into::into))
    }
    let readers =
        [read::<BigInt>, read::<Decimal>, read::<DateTime>, read::<Date>, read::<Time>, read::<TimeDelta>];
    if let Some(value) = readers.iter().find_map(|read| read(code, payload)) {
        return value;
    }
    match code {
        code::COMPLEX => {
            let parts: &[u8; 16] = payload.try_into().map_err(|_| "it has not 16 bytes")?;
            let both = u128::from_be_bytes(*parts);
            Ok(Value::Complex(f64::from_bits((both >> 64) as u64), f64::from_bits(both as u64)))
        }
        code::UUID => Ok(Value::Uuid(payload.try_into().map_err(|_| "it has not 16 bytes")?)),
        code::REF => {
            Ok(Value::Ref(u16::from_be_bytes(payload.try_into().map_err(|_| "it has not 2 bytes")?)))
        }
        _ => Ok(Value::Ext(code, payload.to_vec())),
    }
}

fn exception(items: Vec<Value>) -> Result<Value, &'static str> {
    const SHAPE: &str = "it is not an array of a type name, an array and a map with string keys";
    let Ok([Value::Str(type_name), Value::Array(args), Value::Map(attributes)]) =
        <[Value; 3]>::try_from(items)
    else {
        return Err(SHAPE);
    };
    Ok(Exception { type_name, args, attributes: names(attributes).ok_or(SHAPE)? }.into())
}

fn record(items: Vec<Value>) -> Result<Value, &'static str> {
    const SHAPE: &str = "it is not an array of a name and a map with string keys";
    let Ok([Value::Str(name), Value::Map(fields)]) = <[Value; 2]>::try_from(items) else { return Err(SHAPE) };
    Ok(Record { name, fields: names(fields).ok_or(SHAPE)? }.into())
}

fn buffer(items: Vec<Value>) -> Result<Value, &'static str> {
    const SHAPE: &str = "it is not an array of a format, a shape, and bytes or the index of an attachment";
    let Ok([Value::Str(format), Value::Array(shape), data]) = <[Value; 3]>::try_from(items) else {
        return Err(SHAPE);
    };
    let shape: Option<Vec<u64>> = shape.iter().map(unsigned).collect();
    let data = match data {
        Value::Bytes(bytes) => BufferData::Inline(bytes),
        index => BufferData::Attachment(unsigned(&index).ok_or(SHAPE)?),
    };
    Ok(Buffer { format, shape: shape.ok_or(SHAPE)?, data }.into())
}

fn enum_member(items: Vec<Value>) -> Result<Value, &'static str> {
    let Ok([Value::Str(type_name), Value::Str(member), value]) = <[Value; 3]>::try_from(items) else {
        return Err("it is not an array of two names and a value");
    };
    Ok(EnumMember { type_name, member, value }.into())
}

/// The entries of a map whose keys are all strings.
pub(super) fn names(map: Vec<(Value, Value)>) -> Option<Vec<(String, Value)>> {
    let named = |(key, value)| if let Value::Str(name) = key { Some((name, value)) } else { None };
    map.into_iter().map(named).collect()
}

pub(super) fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Int(v) => (*v).try_into().ok(),
        Value::UInt(v) => Some(*v),
        _ => None,
    }
}
