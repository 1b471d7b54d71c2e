//! The heads and tails of message frames (`spec/PROTOCOL.md`, section 3): between header and body.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::codec::{Decoder, Token};
use crate::wire::{Kind, flags};

/// Parts behind one value: as many as descriptors beside one.
pub(crate) const MOST_PARTS: usize = 64;
/// So many bytes may annotations have.
pub(crate) const MOST_ANNOTATIONS: usize = 8 << 10;
/// Ahead of them: a map of one field, which is named so.
const ANNOTATIONS: &[u8] = b"\x81\xabannotations";

/// One entry of a message's reference table, as this end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ref {
    /// An object of this end's own table.
    Local(u64),
    /// An object of the peer's table.
    Remote(u64),
}

/// The fixed part in front of a message's tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head<'a> {
    /// Of a call or a notify. The annotations, which are among the further fields, are one map in the native codec, or nothing.
    Call { target: u64, chain: u64, timeout_us: u64, codec: u8, method: &'a str, annotations: &'a [u8] },
    /// Of a result or an item.
    Value { codec: u8 },
    /// Of an error or an end with one.
    Failure { kind: u16 },
}

/// How a body that does not fit begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Long {
    pub(crate) body: u64,
    pub(crate) total: u64,
}

/// A parsed message payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) refs: Vec<Ref>,
    /// The lengths of what stands behind the value in the body.
    pub(crate) parts: Vec<u64>,
    pub(crate) long: Option<Long>,
    /// The body, or its beginning where `long` is set.
    pub(crate) body: &'a [u8],
}

impl Head<'_> {
    fn len(&self) -> usize {
        match self {
            Head::Call { method, annotations, .. } => 26 + method.len() + further_len(annotations),
            Head::Value { .. } => 1,
            Head::Failure { .. } => 2,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Head::Call { target, chain, timeout_us, codec, method, annotations } => {
                let mut fixed = [0; 26];
                fixed[..8].copy_from_slice(&target.to_be_bytes());
                fixed[8..16].copy_from_slice(&chain.to_be_bytes());
                fixed[16..24].copy_from_slice(&timeout_us.to_be_bytes());
                fixed[24] = codec;
                fixed[25] = method.len() as u8; // the session refuses longer names
                out.extend_from_slice(&fixed);
                out.extend_from_slice(method.as_bytes());
                if !annotations.is_empty() {
                    let length = (ANNOTATIONS.len() + annotations.len()) as u16; // the session refuses longer ones
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(ANNOTATIONS);
                    out.extend_from_slice(annotations);
                }
            }
            Head::Value { codec } => out.push(codec),
            Head::Failure { kind } => out.extend_from_slice(&kind.to_be_bytes()),
        }
    }
}

/// How long the further fields of a call are, which stand behind its head.
pub(crate) fn further_len(annotations: &[u8]) -> usize {
    if annotations.is_empty() { 0 } else { 2 + ANNOTATIONS.len() + annotations.len() }
}

/// What a message names beside its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) refs: &'a [Ref],
    /// Lengths in bytes.
    pub(crate) parts: &'a [u64],
}

/// The length of head and tail without the body.
pub(crate) fn overhead(head: &Head<'_>, named: Named<'_>, long: bool) -> usize {
    let table = |count: usize, entry: usize| if count == 0 { 0 } else { 2 + entry * count };
    head.len() + table(named.refs.len(), 9) + table(named.parts.len(), 8) + if long { 16 } else { 0 }
}

/// The flags that this head and tail need.
pub(crate) fn tail_flags(head: &Head<'_>, Named { refs, parts }: Named<'_>, long: bool) -> u8 {
    let extra = matches!(head, Head::Call { annotations, .. } if !annotations.is_empty());
    (if extra { flags::EXTRA } else { 0 })
        | (if refs.is_empty() { 0 } else { flags::REFS })
        | (if parts.is_empty() { 0 } else { flags::PARTS })
        | (if long { flags::LONG } else { 0 })
}

/// Writes head and tail; the body follows.
pub(crate) fn write(head: &Head<'_>, named: Named<'_>, long: Option<Long>, out: &mut Vec<u8>) {
    let Named { refs, parts } = named;
    head.write(out);
    if !refs.is_empty() {
        out.extend_from_slice(&(refs.len() as u16).to_be_bytes()); // the session refuses more than 65535
        for entry in refs {
            let (owner, id) = match *entry {
                Ref::Local(id) => (0, id),
                Ref::Remote(id) => (1, id),
            };
            out.push(owner);
            out.extend_from_slice(&id.to_be_bytes());
        }
    }
    if !parts.is_empty() {
        out.extend_from_slice(&(parts.len() as u16).to_be_bytes()); // the session refuses more than 64
        for length in parts {
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    if let Some(Long { body, total }) = long {
        out.extend_from_slice(&body.to_be_bytes());
        out.extend_from_slice(&total.to_be_bytes());
    }
}

/// Reads the payload of a message frame; the error is the sentence for the peer.
pub(crate) fn parse<'a>(kind: Kind, frame_flags: u8, payload: &'a [u8]) -> Result<Message<'a>, String> {
    let mut reader = Reader { rest: payload };
    let mut head = match kind {
        Kind::Call | Kind::Notify => {
            let (target, chain, timeout_us) = (reader.u64()?, reader.u64()?, reader.u64()?);
            let (codec, length) = (reader.u8()?, reader.u8()?);
            let method = std::str::from_utf8(reader.take(length.into())?)
                .map_err(|_| "a method name is not UTF-8".to_owned())?;
            if method.is_empty() {
                return Err("a call without a method name".to_owned());
            }
            Head::Call { target, chain, timeout_us, codec, method, annotations: &[] }
        }
        Kind::Error | Kind::End => Head::Failure { kind: reader.u16()? },
        _ => Head::Value { codec: reader.u8()? },
    };
    if frame_flags & flags::EXTRA != 0 {
        let length = reader.u16()?;
        let fields = reader.take(length.into())?;
        if let Head::Call { annotations, .. } = &mut head {
            *annotations = annotations_in(fields).unwrap_or_default();
        }
    }
    let mut refs = Vec::new();
    if frame_flags & flags::REFS != 0 {
        let count = usize::from(reader.u16()?);
        if reader.rest.len() < count * 9 {
            return Err("a reference table is cut short".to_owned());
        }
        refs.reserve_exact(count);
        for _ in 0..count {
            refs.push(match (reader.u8()?, reader.u64()?) {
                (0, id) => Ref::Remote(id),
                (1, id) => Ref::Local(id),
                (owner, _) => return Err(format!("unknown owner {owner} of a reference")),
            });
        }
    }
    let mut parts = Vec::new();
    if frame_flags & flags::PARTS != 0 {
        let count = usize::from(reader.u16()?);
        if count > MOST_PARTS {
            return Err(format!("{count} parts behind a value, at most {MOST_PARTS} are allowed"));
        }
        for _ in 0..count {
            parts.push(reader.u64()?);
        }
    }
    let mut long = None;
    if frame_flags & flags::LONG != 0 {
        long = Some(Long { body: reader.u64()?, total: reader.u64()? });
    }
    let total = long.map_or(reader.rest.len() as u64, |long| long.total);
    let of_parts = parts.iter().try_fold(0u64, |sum, length| sum.checked_add(*length));
    if of_parts.is_none_or(|of_parts| of_parts > total) {
        return Err("the parts behind a value are longer than the body that they are in".to_owned());
    }
    Ok(Message { head, refs, parts, long, body: reader.rest })
}

/// The annotations among further fields. What is no map of that form, or too long, has none; whoever wants them looks into them.
fn annotations_in(fields: &[u8]) -> Option<&[u8]> {
    let mut decoder = Decoder::new(fields);
    let Token::Map(count) = decoder.token().ok()? else { return None };
    let mut found = None;
    for _ in 0..count {
        let name = decoder.decode::<&str>().ok()?;
        let from = decoder.position();
        decoder.decode::<IgnoredAny>().ok()?;
        if name == "annotations" {
            found = Some(&fields[from..decoder.position()]);
        }
    }
    let is_map = |value: &&[u8]| matches!(Decoder::new(value).token(), Ok(Token::Map(_)));
    found.filter(|value| value.len() <= MOST_ANNOTATIONS).filter(is_map)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("a frame is shorter than its fields")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("a frame is shorter than its fields")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_be_bytes)
    }
}

/// The bytes of a body on their way out: small ones are copied into the stream, large ones shared.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Copied when the message is queued.
    Slice(&'a [u8]),
    /// Copied when the message is queued, or shared, whichever is cheaper.
    Owned(Vec<u8>),
    /// Shared until it is sent.
    Shared(Bytes),
}

impl Body<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Slice(slice) => slice,
            Body::Owned(bytes) => bytes,
            Body::Shared(bytes) => bytes,
        }
    }

    /// True where there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same bytes, owned.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Body::Slice(slice) => Bytes::copy_from_slice(slice),
            Body::Owned(bytes) => bytes.into(),
            Body::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::{HEADER_LEN, Header};

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|index| u8::from_str_radix(&text[index..index + 2], 16).unwrap())
            .collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn flag_names(kind: Kind, bits: u8) -> Vec<&'static str> {
        let first = if kind == Kind::Chunk { "ABORT" } else { "LONG" };
        let names = [first, "REFS", "EXTRA", "PROMISE", "STREAM", "CALLEE", "PARTS"];
        names
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| bits & (1 << bit) != 0)
            .map(|(_, name)| name)
            .collect()
    }

    /// A frame in the words of `spec/vectors/frames.json`.
    fn meaning(header: &Header, payload: &[u8]) -> Value {
        let Header { kind, flags: bits, attachments, id, .. } = *header;
        let mut fields = json!({
            "kind": format!("{kind:?}").to_uppercase(),
            "flags": flag_names(kind, bits),
            "attachments": attachments,
            "id": id,
        });
        let number = || u64::from_be_bytes(payload.try_into().unwrap());
        match kind {
            Kind::Optional(number) => {
                fields["kind"] = json!(number);
                fields["flags"] = json!(bits);
                fields["body"] = json!(hex(payload));
            }
            Kind::Cancel => assert!(payload.is_empty()),
            Kind::End if payload.is_empty() => {}
            Kind::Chunk | Kind::Ping | Kind::Pong => fields["body"] = json!(hex(payload)),
            Kind::Credit => fields["amount"] = json!(number()),
            Kind::Release => fields["count"] = json!(number()),
            Kind::Goodbye => {
                fields["reason"] = json!(u16::from_be_bytes([payload[0], payload[1]]));
                fields["text"] = json!(std::str::from_utf8(&payload[2..]).unwrap());
            }
            _ => message_meaning(kind, bits, payload, &mut fields),
        }
        fields
    }

    fn message_meaning(kind: Kind, bits: u8, payload: &[u8], fields: &mut Value) {
        let message = parse(kind, bits, payload).unwrap();
        match message.head {
            Head::Call { target, chain, timeout_us, codec, method, annotations } => {
                if !annotations.is_empty() {
                    fields["annotations"] = json!(hex(annotations));
                }
                fields["target"] = json!(target);
                fields["chain"] = json!(chain);
                fields["timeout"] = json!(timeout_us);
                fields["codec"] = json!(codec);
                fields["method"] = json!(method);
            }
            Head::Value { codec } => fields["codec"] = json!(codec),
            Head::Failure { kind } => fields["error"] = json!(kind),
        }
        if bits & flags::REFS != 0 {
            let entry = |entry: &Ref| match *entry {
                Ref::Remote(id) => [0, id],
                Ref::Local(id) => [1, id],
            };
            fields["refs"] = message.refs.iter().map(entry).map(|pair| json!(pair)).collect();
        }
        if let Some(Long { body, total }) = message.long {
            fields["long"] = json!({ "body": body, "total": total });
        }
        fields["body"] = json!(hex(message.body));
        if bits & flags::PARTS != 0 {
            fields["parts"] = json!(message.parts);
        }
        let only_annotations = match message.head {
            Head::Call { method, annotations, .. } if bits & flags::EXTRA != 0 => {
                let length = &payload[26 + method.len()..][..2];
                further_len(annotations) == 2 + usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            _ => bits & flags::EXTRA == 0,
        };
        let written_so = only_annotations && (bits & flags::REFS == 0 || !message.refs.is_empty());
        if written_so {
            // What is read as the peer's was written as the own.
            let turned = |entry: &Ref| match *entry {
                Ref::Remote(id) => Ref::Local(id),
                Ref::Local(id) => Ref::Remote(id),
            };
            let refs: Vec<Ref> = message.refs.iter().map(turned).collect();
            let named = Named { refs: &refs, parts: &message.parts };
            let long = message.long.is_some();
            let mut written = Vec::new();
            write(&message.head, named, message.long, &mut written);
            assert_eq!(written.len(), overhead(&message.head, named, long));
            let tail = flags::EXTRA | flags::REFS | flags::PARTS | flags::LONG;
            assert_eq!(tail_flags(&message.head, named, long), bits & tail);
            written.extend_from_slice(message.body);
            assert_eq!(hex(&written), hex(payload), "written again");
        }
    }

    #[test]
    fn good_frames_of_the_vectors_mean_what_they_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/frames.json");
        let vectors: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let good = vectors.iter().filter(|vector| vector["meaning"].is_object());
        for vector in good.filter(|vector| vector["meaning"]["kind"] != "HELLO") {
            let bytes = unhex(vector["hex"].as_str().unwrap());
            let (head, payload) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
            let header = Header::parse(head).unwrap();
            assert_eq!(header.length as usize, payload.len(), "{}", vector["name"]);
            assert_eq!(&header.to_bytes(), head, "{}", vector["name"]);
            assert_eq!(meaning(&header, payload), vector["meaning"], "{}", vector["name"]);
        }
    }
}
