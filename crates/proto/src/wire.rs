//! The fixed parts of the wire: preface, frame header, kinds and flags (`spec/PROTOCOL.md`, sections 1 and 3).

use std::ops::RangeInclusive;

/// The first eight bytes of an Andiron stream, either way.
pub const MAGIC: [u8; 8] = *b"\xadIRON\r\n\x1a";

/// Length of the preface in bytes.
pub const PREFACE_LEN: usize = 12;

/// Length of a frame header in bytes.
pub const HEADER_LEN: usize = 16;

/// The protocol versions that this implementation speaks.
pub const VERSIONS: RangeInclusive<u16> = 1..=1;

/// What a stream turns out to be by its first bytes; a listening port may serve several protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Andiron.
    Andiron,
    /// Pyro4 or Pyro5.
    Pyro,
    /// TLS, with whatever inside.
    Tls,
    /// HTTP/1 or HTTP/2 in clear.
    Http,
    /// None of these.
    Unknown,
}

/// Tells by its first bytes what a stream speaks; `None` while they do not suffice. Four bytes always do.
///
/// ```
/// use andiron_proto::wire::{Opening, opening};
/// assert_eq!(opening(b"\xad"), Some(Opening::Andiron));
/// assert_eq!(opening(b"P"), None);
/// assert_eq!(opening(b"PYRO"), Some(Opening::Pyro));
/// assert_eq!(opening(b"POST /"), Some(Opening::Http));
/// ```
pub fn opening(bytes: &[u8]) -> Option<Opening> {
    const PYRO: &[u8] = b"PYRO";
    Some(match *bytes.first()? {
        0xad => Opening::Andiron,
        0x16 if bytes.len() < 2 => return None,
        0x16 if bytes[1] == 3 => Opening::Tls,
        b'P' if bytes.len() < PYRO.len() && PYRO.starts_with(bytes) => return None,
        b'P' if bytes.starts_with(PYRO) => Opening::Pyro,
        b'A'..=b'Z' => Opening::Http,
        _ => Opening::Unknown,
    })
}

/// Writes a preface with this range of versions.
pub fn preface(versions: &RangeInclusive<u16>) -> [u8; PREFACE_LEN] {
    let mut bytes = [0; PREFACE_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&versions.start().to_be_bytes());
    bytes[10..].copy_from_slice(&versions.end().to_be_bytes());
    bytes
}

/// Reads a preface; `None` if it is not one, or its range is empty or begins with 0.
pub fn parse_preface(bytes: &[u8; PREFACE_LEN]) -> Option<RangeInclusive<u16>> {
    let (low, high) = (u16::from_be_bytes([bytes[8], bytes[9]]), u16::from_be_bytes([bytes[10], bytes[11]]));
    (bytes[..8] == MAGIC && low >= 1 && low <= high).then_some(low..=high)
}

/// The highest version in both ranges.
pub fn common_version(a: &RangeInclusive<u16>, b: &RangeInclusive<u16>) -> Option<u16> {
    let high = *a.end().min(b.end());
    (high >= *a.start().max(b.start())).then_some(high)
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the specification has one section for each
pub enum Kind {
    Hello,
    Proof,
    Call,
    Notify,
    Result,
    Error,
    Cancel,
    Item,
    End,
    Chunk,
    Credit,
    Release,
    Ping,
    Pong,
    Goodbye,
    /// A kind of a later version that may be skipped.
    Optional(u8),
}

impl Kind {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Kind::Hello => 0x01,
            Kind::Proof => 0x02,
            Kind::Call => 0x10,
            Kind::Notify => 0x11,
            Kind::Result => 0x12,
            Kind::Error => 0x13,
            Kind::Cancel => 0x14,
            Kind::Item => 0x20,
            Kind::End => 0x21,
            Kind::Chunk => 0x30,
            Kind::Credit => 0x31,
            Kind::Release => 0x40,
            Kind::Ping => 0x41,
            Kind::Pong => 0x42,
            Kind::Goodbye => 0x43,
            Kind::Optional(number) => number,
        }
    }

    /// The kind with this number; `None` where it is unknown and may not be skipped.
    pub fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            0x01 => Kind::Hello,
            0x02 => Kind::Proof,
            0x10 => Kind::Call,
            0x11 => Kind::Notify,
            0x12 => Kind::Result,
            0x13 => Kind::Error,
            0x14 => Kind::Cancel,
            0x20 => Kind::Item,
            0x21 => Kind::End,
            0x30 => Kind::Chunk,
            0x31 => Kind::Credit,
            0x40 => Kind::Release,
            0x41 => Kind::Ping,
            0x42 => Kind::Pong,
            0x43 => Kind::Goodbye,
            0x80.. => Kind::Optional(number),
            _ => return None,
        })
    }

    /// The flags that may be set on this kind.
    pub fn allowed_flags(self) -> u8 {
        let message = flags::LONG | flags::REFS | flags::EXTRA | flags::PARTS;
        match self {
            Kind::Call => message | flags::PROMISE | flags::STREAM,
            Kind::Notify => message | flags::PROMISE,
            Kind::Result => message | flags::STREAM,
            Kind::Item => message | flags::CALLEE,
            Kind::Error => flags::REFS | flags::EXTRA,
            Kind::End => flags::REFS | flags::EXTRA | flags::STREAM | flags::CALLEE,
            Kind::Chunk => flags::ABORT,
            Kind::Credit => flags::STREAM | flags::CALLEE,
            Kind::Optional(_) => 0xff,
            _ => 0,
        }
    }

    /// True where parts may stand behind the value of frames of this kind.
    pub fn takes_parts(self) -> bool {
        matches!(self, Kind::Call | Kind::Notify | Kind::Result | Kind::Item)
    }

    /// True where descriptors may belong to frames of this kind.
    pub fn takes_attachments(self) -> bool {
        matches!(self, Kind::Call | Kind::Notify | Kind::Result | Kind::Item | Kind::Optional(_))
    }
}

/// The flag bits of a frame header.
pub mod flags {
    /// The body goes on in chunks.
    pub const LONG: u8 = 0x01;
    /// On a chunk: the body will not be finished.
    pub const ABORT: u8 = 0x01;
    /// A reference table is present.
    pub const REFS: u8 = 0x02;
    /// A map of further fields is present.
    pub const EXTRA: u8 = 0x04;
    /// The target of a call is the result of an earlier one.
    pub const PROMISE: u8 = 0x08;
    /// The message opens a stream; on credit: it counts items; on end: its sender wants no more of them.
    pub const STREAM: u8 = 0x10;
    /// The id is that of a call which the receiver of the frame made.
    pub const CALLEE: u8 = 0x20;
    /// What the value names as attachments stands behind it in the body.
    pub const PARTS: u8 = 0x40;
}

/// The codec numbers of bodies.
pub mod codecs {
    /// Nothing: the body is empty.
    pub const NONE: u8 = 0;
    /// The native codec, [`crate::codec`].
    pub const NATIVE: u8 = 1;
    /// JSON text.
    pub const JSON: u8 = 2;
    /// Bytes as they are.
    pub const RAW: u8 = 3;
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload behind the header.
    pub length: u32,
    /// What the frame is.
    pub kind: Kind,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Descriptors that belong to the frame.
    pub attachments: u16,
    /// Call, body or object id.
    pub id: u64,
}

impl Header {
    /// Where the number of attachments stands in its bytes.
    pub(crate) const ATTACHMENTS: std::ops::Range<usize> = 6..8;

    /// The bytes of this header.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4] = self.kind.number();
        bytes[5] = self.flags;
        bytes[Header::ATTACHMENTS].copy_from_slice(&self.attachments.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    /// Reads a header; the error is the sentence for the peer.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Header, String> {
        let kind =
            Kind::from_number(bytes[4]).ok_or_else(|| format!("unknown frame kind {:#04x}", bytes[4]))?;
        let flags = bytes[5];
        if flags & !kind.allowed_flags() != 0 {
            return Err(format!("flags {flags:#04x} are not allowed on {kind:?}"));
        }
        let attachments = u16::from_be_bytes([bytes[6], bytes[7]]);
        if attachments > 0 && !kind.takes_attachments() {
            return Err(format!("{kind:?} takes no descriptors"));
        }
        Ok(Header {
            length: u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            kind,
            flags,
            attachments,
            id: u64::from_be_bytes([
                bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15],
            ]),
        })
    }
}

/// Why a session says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    Done,
    Protocol,
    Version,
    Authentication,
    Overloaded,
    ShuttingDown,
    Timeout,
}

impl Reason {
    const ALL: [Reason; 7] = [
        Reason::Done,
        Reason::Protocol,
        Reason::Version,
        Reason::Authentication,
        Reason::Overloaded,
        Reason::ShuttingDown,
        Reason::Timeout,
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        Reason::ALL.iter().position(|&reason| reason == self).unwrap_or(0) as u16
    }

    /// The reason with this number; unknown ones are like [`Reason::Done`].
    pub fn from_number(number: u16) -> Reason {
        Reason::ALL.get(usize::from(number)).copied().unwrap_or(Reason::Done)
    }

    /// True where the stream is closed at once behind the goodbye.
    pub fn is_abrupt(self) -> bool {
        !matches!(self, Reason::Done | Reason::ShuttingDown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_reasons_and_headers_come_back() {
        for number in 0..=255u8 {
            if let Some(kind) = Kind::from_number(number) {
                assert_eq!(kind.number(), number);
                let attachments = if kind.takes_attachments() { 2 } else { 0 };
                let header =
                    Header { length: 7, kind, flags: kind.allowed_flags(), attachments, id: u64::MAX - 1 };
                assert_eq!(Header::parse(&header.to_bytes()), Ok(header));
            }
        }
        for number in 0..7 {
            assert_eq!(Reason::from_number(number).number(), number);
        }
    }

    #[test]
    fn versions_meet_at_the_highest_common_one() {
        assert_eq!(common_version(&(1..=3), &(2..=5)), Some(3));
        assert_eq!(common_version(&(1..=1), &(2..=5)), None);
        assert_eq!(parse_preface(&preface(&(2..=5))), Some(2..=5));
        assert_eq!(parse_preface(&preface(&(0..=5))), None);
    }

    #[test]
    fn a_port_can_tell_protocols_apart() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"PYR", None),
            (b"PYRO", Some(Opening::Pyro)),
            (b"PRI * HTTP/2.0", Some(Opening::Http)),
            (b"\x16", None),
            (b"\x16\x03\x01", Some(Opening::Tls)),
            (b"\x16\x16", Some(Opening::Unknown)),
            (b"get ", Some(Opening::Unknown)),
            (b"\xadIRON", Some(Opening::Andiron)),
        ] {
            assert_eq!(opening(bytes), expected, "{bytes:?}");
        }
    }
}
