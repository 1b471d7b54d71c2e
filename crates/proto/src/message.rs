//! The heads and tails of message frames (`spec/PROTOCOL.md`, section 3): between header and body.

use bytes::Bytes;

use crate::wire::{Kind, flags};

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
    /// Of a call or a notify.
    Call { target: u64, chain: u64, timeout_us: u64, codec: u8, method: &'a str },
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
    pub(crate) long: Option<Long>,
    /// The body, or its beginning where `long` is set.
    pub(crate) body: &'a [u8],
}

impl Head<'_> {
    fn len(&self) -> usize {
        match self {
            Head::Call { method, .. } => 26 + method.len(),
            Head::Value { .. } => 1,
            Head::Failure { .. } => 2,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Head::Call { target, chain, timeout_us, codec, method } => {
                let mut fixed = [0; 26];
                fixed[..8].copy_from_slice(&target.to_be_bytes());
                fixed[8..16].copy_from_slice(&chain.to_be_bytes());
                fixed[16..24].copy_from_slice(&timeout_us.to_be_bytes());
                fixed[24] = codec;
                fixed[25] = method.len() as u8; // the session refuses longer names
                out.extend_from_slice(&fixed);
                out.extend_from_slice(method.as_bytes());
            }
            Head::Value { codec } => out.push(codec),
            Head::Failure { kind } => out.extend_from_slice(&kind.to_be_bytes()),
        }
    }
}

/// The length of head and tail without the body.
pub(crate) fn overhead(head: &Head<'_>, refs: &[Ref], long: bool) -> usize {
    head.len() + if refs.is_empty() { 0 } else { 2 + 9 * refs.len() } + if long { 16 } else { 0 }
}

/// The flags that this tail needs.
pub(crate) fn tail_flags(refs: &[Ref], long: bool) -> u8 {
    (if refs.is_empty() { 0 } else { flags::REFS }) | (if long { flags::LONG } else { 0 })
}

/// Writes head and tail; the body follows.
pub(crate) fn write(head: &Head<'_>, refs: &[Ref], long: Option<Long>, out: &mut Vec<u8>) {
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
    if let Some(Long { body, total }) = long {
        out.extend_from_slice(&body.to_be_bytes());
        out.extend_from_slice(&total.to_be_bytes());
    }
}

/// Reads the payload of a message frame; the error is the sentence for the peer.
pub(crate) fn parse<'a>(kind: Kind, frame_flags: u8, payload: &'a [u8]) -> Result<Message<'a>, String> {
    let mut reader = Reader { rest: payload };
    let head = match kind {
        Kind::Call | Kind::Notify => {
            let (target, chain, timeout_us) = (reader.u64()?, reader.u64()?, reader.u64()?);
            let (codec, length) = (reader.u8()?, reader.u8()?);
            let method = std::str::from_utf8(reader.take(length.into())?)
                .map_err(|_| "a method name is not UTF-8".to_owned())?;
            if method.is_empty() {
                return Err("a call without a method name".to_owned());
            }
            Head::Call { target, chain, timeout_us, codec, method }
        }
        Kind::Error | Kind::End => Head::Failure { kind: reader.u16()? },
        _ => Head::Value { codec: reader.u8()? },
    };
    if frame_flags & flags::EXTRA != 0 {
        let length = reader.u16()?;
        reader.take(length.into())?; // no field is defined yet: all are unknown, and skipped
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
    let mut long = None;
    if frame_flags & flags::LONG != 0 {
        long = Some(Long { body: reader.u64()?, total: reader.u64()? });
    }
    Ok(Message { head, refs, long, body: reader.rest })
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
    /// Shared until it is sent.
    Shared(Bytes),
}

impl Body<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Body::Slice(slice) => slice.len(),
            Body::Shared(bytes) => bytes.len(),
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
            Body::Shared(bytes) => bytes,
        }
    }
}
