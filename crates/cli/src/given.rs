//! What a method gives, with the objects that it names.

use std::collections::BTreeMap;
use std::time::Duration;

use andiron::{Blob, Proxy, Value};
use andiron_proto::codec;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// How long an object has to tell what it is.
pub(crate) const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A value and the objects in it, by their places.
pub(crate) struct Given {
    pub(crate) value: Value,
    objects: BTreeMap<u16, Proxy>,
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Given, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let (mut places, mut objects) = (Vec::new(), BTreeMap::new());
        for_each_object(&mut value, &mut |object| {
            match object {
                Value::Ref(place) => places.push(*place),
                // The bytes came beside the value, and go where they are named.
                buffer => {
                    let alone = codec::to_vec(buffer).ok();
                    let blob = alone.and_then(|alone| codec::from_slice::<Blob>(&alone).ok());
                    blob.into_iter().for_each(|blob| *buffer = Value::Bytes(blob.to_vec()));
                }
            }
        });
        for place in places {
            // As if it stood alone: the table beside the value is at hand while that is read.
            let alone = codec::to_vec(&Value::Ref(place)).map_err(D::Error::custom)?;
            objects.insert(place, codec::from_slice(&alone).map_err(D::Error::custom)?);
        }
        Ok(Given { value, objects })
    }
}

impl Given {
    /// As JSON. An object cannot outlive the command that was given it, so only what it is stands there.
    pub(crate) fn into_json(mut self) -> String {
        let Given { value, objects } = &mut self;
        for_each_object(value, &mut |object| {
            let Value::Ref(place) = object else { return };
            let interface =
                objects.get(place).and_then(|found| found.with_timeout(DESCRIBE_TIMEOUT).describe().ok());
            let name = interface.map_or_else(String::new, |interface| format!(" {}", interface.name));
            *object = Value::Str(format!("<object{name}>"));
        });
        value.to_json().to_string()
    }
}

/// Does something with each object and each buffer that a value names.
fn for_each_object(value: &mut Value, with: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Ref(_) | Value::Buffer(_) => with(value),
        Value::Array(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items.iter_mut().for_each(|item| for_each_object(item, with));
        }
        Value::Map(pairs) => pairs.iter_mut().for_each(|(key, value)| {
            for_each_object(key, with);
            for_each_object(value, with);
        }),
        Value::Record(record) => record.fields.iter_mut().for_each(|(_, value)| for_each_object(value, with)),
        Value::Exception(exception) => {
            exception.args.iter_mut().for_each(|value| for_each_object(value, with));
            exception.attributes.iter_mut().for_each(|(_, value)| for_each_object(value, with));
        }
        Value::Enum(member) => for_each_object(&mut member.value, with),
        _ => {}
    }
}
