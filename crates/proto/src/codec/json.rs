//! Values as JSON, for people and browsers, both ways and without loss.
//!
//! What JSON has is itself. The rest is an object with one key:
//!
//! | value | JSON |
//! | --- | --- |
//! | bytes | `{"$bytes": "base64"}` |
//! | tuple, set, frozenset | `{"$tuple": [1, 2]}`, `{"$set": [..]}`, `{"$frozenset": [..]}` |
//! | int beyond 64 bits | `{"$int": "18446744073709551616"}`; above 1 KiB in hexadecimal, `"0x.."` |
//! | float that is no number | `{"$float": "nan"}`, `"inf"`, `"-inf"` |
//! | complex | `{"$complex": [re, im]}` |
//! | decimal | `{"$decimal": "1.50"}` |
//! | datetime | `{"$datetime": "2026-10-25T02:30:00.5+01:00[Europe/Berlin] fold=1"}` |
//! | date | `{"$date": "2026-10-25"}` |
//! | time | `{"$time": "02:30:00+01:00"}` |
//! | timedelta | `{"$timedelta": [days, seconds, microseconds]}` |
//! | UUID | `{"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}` |
//! | exception | `{"$exception": {"type": "ValueError", "args": [..], "attributes": {..}}}` |
//! | object reference | `{"$ref": 0}` |
//! | record | `{"$record": {"name": "Point", "fields": {..}}}` |
//! | buffer | `{"$buffer": {"format": "<f8", "shape": [2], "data": "base64"}}`, or `"attachment": 0` for `"data"` |
//! | enum member | `{"$enum": ["Color", "RED", 1]}` |
//! | other extension | `{"$ext": [code, "base64"]}` |
//! | map with a key that is no string, with a key twice, or with a single key that begins with `$` | `{"$map": [[key, value], ..]}` |
//!
//! An object with one key that begins with `$` and is not in the table is a plain map. Whole numbers beyond 64 bits
//! that stand in JSON without `$int` become floats.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};

use super::MAX_DEPTH;
use super::bigint::BigInt;
use super::decimal::Decimal;
use super::marker::is_known;
use super::time::{Date, DateTime, Time, TimeDelta};
use super::value::{Buffer, BufferData, EnumMember, Exception, Record, Value};
use super::value_serde::names;

/// How deep the JSON of a value of [`MAX_DEPTH`] may be nested: a `$map` has three brackets a level.
const MAX_JSON_DEPTH: usize = 3 * MAX_DEPTH + 3;

/// Why a JSON text is no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is nested too deep.
    #[error("the value is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// An object with a `$` key does not hold what that key asks for.
    #[error("{key} must hold {expected}")]
    Invalid {
        /// The `$` key.
        key: &'static str,
        /// What belongs there.
        expected: String,
    },
}

impl Value {
    /// Reads a value from its JSON text.
    ///
    /// ```
    /// use andiron_proto::codec::Value;
    ///
    /// let value = Value::from_json(r#"{"$tuple": [1, "a"]}"#)?;
    /// assert_eq!(value, Value::Tuple(vec![1.into(), "a".into()]));
    /// assert_eq!(value.to_json().to_string(), r#"{"$tuple":[1,"a"]}"#);
    /// # Ok::<(), andiron_proto::codec::json::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is not JSON, is nested deeper than a value may be, or has a wrong `$` object.
    pub fn from_json(text: &str) -> Result<Value, JsonError> {
        if json_depth(text) > MAX_JSON_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.disable_recursion_limit();
        let json = Json::deserialize(&mut reader)?;
        reader.end()?;
        from_json(json, 0)
    }

    /// Reads a value from JSON that is parsed already.
    ///
    /// # Errors
    /// As [`from_json`](Value::from_json).
    pub fn from_json_value(json: Json) -> Result<Value, JsonError> {
        from_json(json, 0)
    }

    /// The value as JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Nil => Json::Null,
            Value::Bool(v) => json!(v),
            Value::Int(v) => json!(v),
            Value::UInt(v) => json!(v),
            Value::BigInt(v) => tagged("$int", json!(v.to_string())),
            Value::Float(v) => float_to_json(*v),
            Value::Str(v) => json!(v),
            Value::Bytes(v) => tagged("$bytes", json!(BASE64.encode(v))),
            Value::Array(v) => array_to_json(v),
            Value::Map(v) => map_to_json(v),
            Value::Tuple(v) => tagged("$tuple", array_to_json(v)),
            Value::Set(v) => tagged("$set", array_to_json(v)),
            Value::FrozenSet(v) => tagged("$frozenset", array_to_json(v)),
            Value::Complex(re, im) => tagged("$complex", json!([float_to_json(*re), float_to_json(*im)])),
            Value::Decimal(v) => tagged("$decimal", json!(v.as_str())),
            Value::DateTime(v) => tagged("$datetime", json!(v.to_string())),
            Value::Date(v) => tagged("$date", json!(v.to_string())),
            Value::Time(v) => tagged("$time", json!(v.to_string())),
            Value::TimeDelta(v) => tagged("$timedelta", json!([v.days(), v.seconds(), v.micros()])),
            Value::Uuid(v) => tagged("$uuid", json!(uuid_to_text(v))),
            Value::Exception(v) => tagged(
                "$exception",
                json!({
                    "type": v.type_name,
                    "args": array_to_json(&v.args),
                    "attributes": fields_to_json(&v.attributes),
                }),
            ),
            Value::Ref(v) => tagged("$ref", json!(v)),
            Value::Record(v) => {
                tagged("$record", json!({"name": v.name, "fields": fields_to_json(&v.fields)}))
            }
            Value::Buffer(v) => tagged(
                "$buffer",
                match &v.data {
                    BufferData::Inline(bytes) => {
                        json!({"format": v.format, "shape": v.shape, "data": BASE64.encode(bytes)})
                    }
                    BufferData::Attachment(i) => {
                        json!({"format": v.format, "shape": v.shape, "attachment": i})
                    }
                },
            ),
            Value::Enum(v) => tagged("$enum", json!([v.type_name, v.member, v.value.to_json()])),
            Value::Ext(code, payload) => tagged("$ext", json!([code, BASE64.encode(payload)])),
        }
    }
}

fn tagged(key: &str, content: Json) -> Json {
    Json::Object(Map::from_iter([(key.to_owned(), content)]))
}

fn float_to_json(v: f64) -> Json {
    match serde_json::Number::from_f64(v) {
        Some(number) => Json::Number(number),
        None if v.is_nan() => tagged("$float", json!("nan")),
        None => tagged("$float", json!(if v > 0.0 { "inf" } else { "-inf" })),
    }
}

fn array_to_json(v: &[Value]) -> Json {
    v.iter().map(Value::to_json).collect()
}

fn map_to_json(map: &[(Value, Value)]) -> Json {
    let named: Option<Vec<(&str, &Value)>> = map
        .iter()
        .map(|(key, value)| if let Value::Str(key) = key { Some((key.as_str(), value)) } else { None })
        .collect();
    named.and_then(|named| object(&named)).unwrap_or_else(|| {
        tagged("$map", map.iter().map(|(key, value)| json!([key.to_json(), value.to_json()])).collect())
    })
}

fn fields_to_json(fields: &[(String, Value)]) -> Json {
    let named: Vec<(&str, &Value)> = fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
    object(&named).unwrap_or_else(|| {
        tagged("$map", named.iter().map(|(key, value)| json!([key, value.to_json()])).collect())
    })
}

/// These entries as an object, unless they would not be read back as the same.
fn object(entries: &[(&str, &Value)]) -> Option<Json> {
    if let [(key, _)] = entries
        && key.starts_with('$')
    {
        return None;
    }
    let object: Map<String, Json> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.to_json())).collect();
    (object.len() == entries.len()).then_some(Json::Object(object))
}

fn uuid_to_text(uuid: &[u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(*uuid));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn uuid_from_text(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hex = groups.concat();
    if lengths != [8, 4, 4, 4, 12] || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some(u128::from_str_radix(&hex, 16).ok()?.to_be_bytes())
}

/// The deepest nesting of brackets in a text that may be JSON.
fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn from_json(json: Json, depth: usize) -> Result<Value, JsonError> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(v) => v.into(),
        Json::Number(v) => match (v.as_i64(), v.as_u64()) {
            (Some(v), _) => v.into(),
            (_, Some(v)) => v.into(),
            _ => Value::Float(v.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(v) => v.into(),
        Json::Array(v) => array(v, depth)?.into(),
        Json::Object(v) => {
            if v.len() == 1
                && let Some(tag) = v.keys().next().and_then(|key| Tag::of(key))
            {
                return tag.read(v.into_values().next().unwrap_or_default(), depth);
            }
            let depth = deeper(depth)?;
            let entries: Result<_, JsonError> =
                v.into_iter().map(|(key, value)| Ok((key.into(), from_json(value, depth)?))).collect();
            Value::Map(entries?)
        }
    })
}

fn deeper(depth: usize) -> Result<usize, JsonError> {
    if depth == MAX_DEPTH { Err(JsonError::TooDeep) } else { Ok(depth + 1) }
}

fn array(items: Vec<Json>, depth: usize) -> Result<Vec<Value>, JsonError> {
    let depth = deeper(depth)?;
    items.into_iter().map(|item| from_json(item, depth)).collect()
}

/// A `$` key that stands for a type.
struct Tag(&'static str);

const TAGS: &[&str] = &[
    "$bytes",
    "$tuple",
    "$set",
    "$frozenset",
    "$int",
    "$float",
    "$complex",
    "$decimal",
    "$datetime",
    "$date",
    "$time",
    "$timedelta",
    "$uuid",
    "$exception",
    "$ref",
    "$record",
    "$buffer",
    "$enum",
    "$ext",
    "$map",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExceptionJson {
    r#type: String,
    args: Vec<Json>,
    attributes: Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordJson {
    name: String,
    fields: Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BufferJson {
    format: String,
    shape: Vec<u64>,
    data: Option<String>,
    attachment: Option<u64>,
}

impl Tag {
    fn of(key: &str) -> Option<Tag> {
        TAGS.iter().find(|tag| **tag == key).map(|tag| Tag(tag))
    }

    /// The value of an object that has this key and that content.
    fn read(&self, content: Json, depth: usize) -> Result<Value, JsonError> {
        Ok(match self.0 {
            "$bytes" => self.base64(&self.text(content)?)?.into(),
            "$tuple" => Value::Tuple(array(self.parts(content, "an array")?, depth)?),
            "$set" => Value::Set(array(self.parts(content, "an array")?, depth)?),
            "$frozenset" => Value::FrozenSet(array(self.parts(content, "an array")?, depth)?),
            "$int" => self.parse::<BigInt>(content)?.into(),
            "$float" => match self.text(content)?.as_str() {
                "nan" => f64::NAN.into(),
                "inf" => f64::INFINITY.into(),
                "-inf" => f64::NEG_INFINITY.into(),
                _ => return Err(self.must_hold("\"nan\", \"inf\" or \"-inf\"")),
            },
            "$complex" => {
                let (re, im) = self.parts(content, "two numbers")?;
                Value::Complex(self.float(re)?, self.float(im)?)
            }
            "$decimal" => self.parse::<Decimal>(content)?.into(),
            "$datetime" => self.parse::<DateTime>(content)?.into(),
            "$date" => self.parse::<Date>(content)?.into(),
            "$time" => self.parse::<Time>(content)?.into(),
            "$timedelta" => {
                let (days, seconds, micros) = self.parts(content, "days, seconds and microseconds")?;
                TimeDelta::new(days, seconds, micros).map_err(|e| self.must_hold(e))?.into()
            }
            "$uuid" => {
                let uuid = uuid_from_text(&self.text(content)?);
                Value::Uuid(uuid.ok_or_else(|| self.must_hold("32 hexadecimal digits as 8-4-4-4-12"))?)
            }
            "$ref" => Value::Ref(self.parts(content, "a number from 0 to 65535")?),
            "$ext" => {
                let (code, payload): (i8, String) =
                    self.parts(content, "a code from -128 to 127 and base64")?;
                if is_known(code) {
                    return Err(
                        self.must_hold("the code of an unknown extension, this one has a form of its own")
                    );
                }
                Value::Ext(code, self.base64(&payload)?)
            }
            _ => return self.read_structure(content, deeper(depth)?),
        })
    }

    /// The same for what has other values in it.
    fn read_structure(&self, content: Json, depth: usize) -> Result<Value, JsonError> {
        Ok(match self.0 {
            "$exception" => {
                let v: ExceptionJson = self.parts(content, "\"type\", \"args\" and \"attributes\"")?;
                let (args, attributes) = (array(v.args, depth)?, self.fields(v.attributes, depth)?);
                Exception { type_name: v.r#type, args, attributes }.into()
            }
            "$record" => {
                let v: RecordJson = self.parts(content, "\"name\" and \"fields\"")?;
                Record { name: v.name, fields: self.fields(v.fields, depth)? }.into()
            }
            "$buffer" => {
                let expected = "\"format\", \"shape\" and either \"data\" or \"attachment\"";
                let v: BufferJson = self.parts(content, expected)?;
                let data = match (v.data, v.attachment) {
                    (Some(data), None) => BufferData::Inline(self.base64(&data)?),
                    (None, Some(index)) => BufferData::Attachment(index),
                    _ => return Err(self.must_hold(expected)),
                };
                Buffer { format: v.format, shape: v.shape, data }.into()
            }
            "$enum" => {
                let (type_name, member, value) =
                    self.parts(content, "the names of type and member, and a value")?;
                EnumMember { type_name, member, value: from_json(value, depth)? }.into()
            }
            _ => {
                let entries: Vec<(Json, Json)> = self.parts(content, "an array of pairs, key and value")?;
                let entry = |(key, value)| Ok((from_json(key, depth)?, from_json(value, depth)?));
                Value::Map(entries.into_iter().map(entry).collect::<Result<_, JsonError>>()?)
            }
        })
    }

    fn must_hold(&self, expected: impl ToString) -> JsonError {
        JsonError::Invalid { key: self.0, expected: expected.to_string() }
    }

    fn parts<T: DeserializeOwned>(&self, content: Json, expected: &str) -> Result<T, JsonError> {
        serde_json::from_value(content).map_err(|_| self.must_hold(expected))
    }

    fn text(&self, content: Json) -> Result<String, JsonError> {
        self.parts(content, "a string")
    }

    fn parse<T: FromStr<Err: ToString>>(&self, content: Json) -> Result<T, JsonError> {
        self.text(content)?
            .parse()
            .map_err(|e: T::Err| self.must_hold(format!("a valid text: {}", e.to_string())))
    }

    fn base64(&self, text: &str) -> Result<Vec<u8>, JsonError> {
        BASE64.decode(text).map_err(|_| self.must_hold("base64"))
    }

    fn float(&self, json: Json) -> Result<f64, JsonError> {
        match (json.as_f64(), from_json(json, 0)?) {
            (Some(v), _) | (None, Value::Float(v)) => Ok(v),
            _ => Err(self.must_hold("two numbers")),
        }
    }

    fn fields(&self, json: Json, depth: usize) -> Result<Vec<(String, Value)>, JsonError> {
        match from_json(json, depth)? {
            Value::Map(map) => names(map).ok_or_else(|| self.must_hold("fields with string keys")),
            _ => Err(self.must_hold("fields as an object")),
        }
    }
}
