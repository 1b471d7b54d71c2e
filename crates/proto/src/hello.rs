//! What the two ends tell each other at the start (`spec/PROTOCOL.md`, section 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec;

/// What one end accepts from the other. Every field has a default that suits small messages between trusted processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame's payload; at least 4096.
    pub frame: u32,
    /// Bytes of one body, all chunks together; at least 4096.
    pub message: u64,
    /// Calls in flight towards this end; at least 1.
    pub calls: u32,
    /// Distinct objects of the peer that this end is ready to hold references to.
    pub objects: u32,
    /// Bytes of calls and notifies that were received and are not finished yet. One message counts as three quarters of it at most.
    pub buffer: u64,
    /// Bytes of a long body that may come before it was given credit.
    pub window: u32,
    /// Descriptors on one frame; 0 where descriptors cannot be received. At most 64.
    pub attachments: u16,
    /// Depth of values in the native codec.
    pub nesting: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame: 256 << 10,
            message: 1 << 30,
            calls: 1024,
            objects: 65536,
            buffer: 64 << 20,
            window: 256 << 10,
            attachments: 0,
            nesting: codec::MAX_DEPTH as u16,
        }
    }
}

impl Limits {
    /// The least `frame` and `message` that an end may announce.
    pub const LEAST_FRAME: u32 = 4096;
    /// The most descriptors on one frame.
    pub const MOST_ATTACHMENTS: u16 = 64;

    /// These limits with every field moved into its allowed range.
    pub fn clamped(mut self) -> Limits {
        self.frame = self.frame.clamp(Limits::LEAST_FRAME, 16 << 20);
        self.message = self.message.max(Limits::LEAST_FRAME.into());
        self.calls = self.calls.max(1);
        self.buffer = self.buffer.max(self.frame.into());
        self.attachments = self.attachments.min(Limits::MOST_ATTACHMENTS);
        self.nesting = self.nesting.clamp(16, codec::MAX_DEPTH as u16);
        self
    }

    fn to_map(&self) -> BTreeMap<String, u64> {
        let fields = [
            ("frame", self.frame.into()),
            ("message", self.message),
            ("calls", self.calls.into()),
            ("objects", self.objects.into()),
            ("buffer", self.buffer),
            ("window", self.window.into()),
            ("attachments", self.attachments.into()),
            ("nesting", self.nesting.into()),
        ];
        fields.into_iter().map(|(name, value): (&str, u64)| (name.to_owned(), value)).collect()
    }

    fn from_map(map: &BTreeMap<String, u64>) -> Limits {
        fn field<T: TryFrom<u64>>(map: &BTreeMap<String, u64>, name: &str, default: T, most: T) -> T {
            map.get(name).map_or(default, |&value| T::try_from(value).unwrap_or(most))
        }
        let default = Limits::default();
        Limits {
            frame: field(map, "frame", default.frame, u32::MAX),
            message: field(map, "message", default.message, u64::MAX),
            calls: field(map, "calls", default.calls, u32::MAX),
            objects: field(map, "objects", default.objects, u32::MAX),
            buffer: field(map, "buffer", default.buffer, u64::MAX),
            window: field(map, "window", default.window, u32::MAX),
            attachments: field(map, "attachments", default.attachments, u16::MAX),
            nesting: field(map, "nesting", default.nesting, u16::MAX),
        }
        .clamped()
    }
}

/// The content of a `HELLO` frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Program and version, for people.
    pub agent: String,
    /// Authentication methods: offered by the initiator, the chosen one from the acceptor.
    pub auth: Vec<String>,
    /// What the sender can do.
    pub features: Vec<String>,
    /// What the sender accepts.
    pub limits: Limits,
    /// The incarnation of the acceptor's store.
    pub store: Option<[u8; 16]>,
    /// Where a secret is to be proved: random bytes.
    pub nonce: Option<[u8; 32]>,
}

/// The authentication method by which the operating system vouches for the peer.
pub const AUTH_USER: &str = "user";

/// Characters of the agent that are sent and kept.
const MOST_AGENT: usize = 200;

/// As it travels; keys that a reader does not know are skipped.
#[derive(Serialize, Deserialize)]
struct HelloMap {
    #[serde(default)]
    agent: String,
    #[serde(default = "user_only")]
    auth: Vec<String>,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    limits: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<codec::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<codec::Value>,
}

fn user_only() -> Vec<String> {
    vec![AUTH_USER.to_owned()]
}

impl Hello {
    /// True where the sender lists this feature.
    pub fn knows(&self, feature: &str) -> bool {
        self.features.iter().any(|own| own == feature)
    }

    /// The payload of the frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let map = HelloMap {
            agent: self.agent.chars().take(MOST_AGENT).collect(),
            auth: self.auth.clone(),
            features: self.features.clone(),
            limits: self.limits.to_map(),
            store: self.store.map(|incarnation| codec::Value::Bytes(incarnation.to_vec())),
            nonce: self.nonce.map(|nonce| codec::Value::Bytes(nonce.to_vec())),
        };
        codec::to_vec(&map).expect("strings, integers and bytes can always be encoded")
    }

    /// Reads a payload; the error is the sentence for the peer.
    pub fn parse(payload: &[u8]) -> Result<Hello, String> {
        let map: HelloMap =
            codec::from_slice(payload).map_err(|error| format!("unreadable HELLO: {error}"))?;
        let store = match map.store {
            None => None,
            Some(codec::Value::Bytes(bytes)) if bytes.len() == 16 => bytes.try_into().ok(),
            Some(_) => return Err("a store incarnation has 16 bytes".to_owned()),
        };
        Ok(Hello {
            agent: map.agent.chars().take(MOST_AGENT).collect(),
            auth: map.auth,
            features: map.features,
            limits: Limits::from_map(&map.limits),
            store,
            nonce: match map.nonce {
                Some(codec::Value::Bytes(bytes)) => bytes.try_into().ok(),
                _ => None, // looked at only where a secret is to be proved, and then it is missed
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Value;

    #[test]
    fn hello_comes_back() {
        let hello = Hello {
            agent: "test/1".into(),
            auth: user_only(),
            features: vec!["names".into()],
            limits: Limits { calls: 3, ..Limits::default() },
            store: Some([7; 16]),
            nonce: Some([9; 32]),
        };
        assert_eq!(Hello::parse(&hello.to_bytes()), Ok(hello));
    }

    #[test]
    fn unknown_fields_are_skipped_and_absent_ones_have_defaults() {
        let payload =
            codec::to_vec(&Value::Map(vec![("later".into(), Value::Array(vec![1.into()]))])).unwrap();
        let hello = Hello::parse(&payload).unwrap();
        assert_eq!(hello.auth, user_only());
        assert_eq!(hello.limits, Limits::default());
    }

    #[test]
    fn limits_out_of_range_are_moved_into_it() {
        let map = [("frame", 1), ("calls", 0), ("attachments", u64::MAX), ("nesting", u64::MAX)];
        let map = map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let limits = Limits::from_map(&map);
        assert_eq!((limits.frame, limits.calls, limits.attachments), (4096, 1, 64));
        assert_eq!(usize::from(limits.nesting), codec::MAX_DEPTH);
    }
}
