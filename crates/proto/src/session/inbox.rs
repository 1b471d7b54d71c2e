//! Bytes in, frames out: incremental, whatever pieces the bytes come in.
//!
//! A frame that lies whole in the bytes of one read is handed on where it lies. Only what is cut by the end of a read is kept, so an idle
//! session holds no buffer. The payload of chunks is handed on in pieces, as it comes.

use std::collections::VecDeque;

use super::outbox::Attachment;
use crate::wire::{HEADER_LEN, Header, Kind, MAGIC, PREFACE_LEN, flags};

/// What the inbox found.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Preface(&'a [u8; PREFACE_LEN]),
    /// `cut_off`: attachments of this frame were lost on the way.
    Frame {
        header: Header,
        payload: &'a [u8],
        attachments: Vec<Attachment>,
        cut_off: bool,
    },
    /// A piece of a chunk, of which `left` bytes are still to come.
    Chunk {
        body: u64,
        piece: &'a [u8],
        left: usize,
    },
}

/// Attachments of one read that no frame has claimed yet.
#[derive(Debug, Default)]
struct Arrived {
    attachments: VecDeque<Attachment>,
    /// There were more than could be received.
    cut_off: bool,
}

impl Arrived {
    fn claim(&mut self, count: usize) -> Result<(Vec<Attachment>, bool), String> {
        if count <= self.attachments.len() {
            return Ok((self.attachments.drain(..count).collect(), false));
        }
        if !self.cut_off {
            return Err("a frame came without the descriptors that it announced".to_owned());
        }
        self.attachments.clear(); // the last ones are lost: what is left belongs to this frame
        Ok((Vec::new(), true))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    /// What came with the read in which that frame began.
    held: Arrived,
    /// Position in the stream of the first byte of `partial`, or of what comes next.
    position: u64,
    /// Body and bytes left of the chunk in which the last read ended.
    chunk: Option<(u64, usize)>,
    preface_seen: bool,
}

/// One read, while it is taken apart.
pub(crate) struct Reading<'a> {
    inbox: &'a mut Inbox,
    bytes: &'a [u8],
    /// Position in the stream of the first byte of this read.
    from: u64,
    arrived: Arrived,
    /// Holds a frame that was put together from two reads, while it is looked at.
    whole: Vec<u8>,
}

impl Inbox {
    /// Takes the bytes of one read; frames come out of [`Reading::next`].
    pub(crate) fn read<'a>(
        &'a mut self,
        bytes: &'a [u8],
        attachments: Vec<Attachment>,
        cut_off: bool,
    ) -> Reading<'a> {
        let from = self.position + self.partial.len() as u64;
        let arrived = Arrived { attachments: attachments.into(), cut_off };
        Reading { inbox: self, bytes, from, arrived, whole: Vec::new() }
    }
}

fn parse_header(bytes: &[u8; HEADER_LEN], most: u32) -> Result<Header, String> {
    let header = Header::parse(bytes)?;
    if header.length > most {
        return Err(format!("a frame of {} bytes is longer than the limit of {most}", header.length));
    }
    Ok(header)
}

impl<'a> Reading<'a> {
    /// The next frame, with at most `most` bytes of payload; `None` when this read is used up. After an error nothing more can be read.
    pub(crate) fn next(&mut self, most: u32) -> Result<Option<Found<'_>>, String> {
        if let Some((body, length)) = self.inbox.chunk
            && !self.bytes.is_empty()
        {
            return Ok(Some(self.chunk(body, length)));
        }
        if !self.inbox.preface_seen {
            return self.preface();
        }
        if !self.gather(HEADER_LEN) {
            return Ok(None);
        }
        let header = parse_header(self.front().first_chunk().expect("gathered a whole header"), most)?;
        if header.kind == Kind::Chunk && header.flags & flags::ABORT == 0 {
            self.skip(HEADER_LEN);
            return Ok(Some(self.chunk(header.id, header.length as usize)));
        }
        let length = HEADER_LEN + header.length as usize;
        if !self.gather(length) {
            return Ok(None);
        }
        let (attachments, cut_off) = match usize::from(header.attachments) {
            0 => (Vec::new(), false),
            count if self.inbox.position < self.from => self.inbox.held.claim(count)?,
            count => self.arrived.claim(count)?,
        };
        self.inbox.position += length as u64;
        let payload = if self.inbox.partial.is_empty() {
            let (frame, rest) = self.bytes.split_at(length);
            self.bytes = rest;
            &frame[HEADER_LEN..]
        } else {
            self.whole = std::mem::take(&mut self.inbox.partial);
            &self.whole[HEADER_LEN..]
        };
        Ok(Some(Found::Frame { header, payload, attachments, cut_off }))
    }

    /// What this read has of the next `length` bytes of a chunk.
    fn chunk(&mut self, body: u64, length: usize) -> Found<'a> {
        let (piece, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        self.inbox.position += piece.len() as u64;
        let left = length - piece.len();
        self.inbox.chunk = (left > 0).then_some((body, left));
        Found::Chunk { body, piece, left }
    }

    fn preface(&mut self) -> Result<Option<Found<'_>>, String> {
        // A stranger is told from a slow friend by the first bytes, not at the twelfth.
        let seen = self.inbox.partial.iter().chain(self.bytes).zip(&MAGIC).all(|(seen, magic)| seen == magic);
        if !seen {
            return Err("this is not an Andiron stream".to_owned());
        }
        if !self.gather(PREFACE_LEN) {
            return Ok(None);
        }
        self.inbox.preface_seen = true;
        self.whole = self.front()[..PREFACE_LEN].to_vec();
        self.skip(PREFACE_LEN);
        Ok(Some(Found::Preface(self.whole.first_chunk().expect("took a whole preface"))))
    }

    /// Makes sure that `count` bytes lie together in front; keeps what there is if they have not all come.
    fn gather(&mut self, count: usize) -> bool {
        let have = self.inbox.partial.len();
        if have == 0 && self.bytes.len() >= count {
            return true;
        }
        if have < count {
            let wanted = (count - have).min(self.bytes.len());
            let (head, rest) = self.bytes.split_at(wanted);
            self.inbox.partial.extend_from_slice(head);
            self.bytes = rest;
        }
        self.inbox.partial.len() >= count
    }

    fn front(&self) -> &[u8] {
        if self.inbox.partial.is_empty() { self.bytes } else { &self.inbox.partial }
    }

    /// Drops `count` bytes that `gather` has brought together.
    fn skip(&mut self, count: usize) {
        if self.inbox.partial.is_empty() {
            self.bytes = &self.bytes[count..];
        } else {
            self.inbox.partial.clear();
        }
        self.inbox.position += count as u64;
    }

    /// To be called when all frames of a read are handled: refuses attachments that no frame has asked for and none can any more.
    pub(crate) fn finish(self) -> Result<(), String> {
        let Reading { inbox, from, arrived, .. } = self;
        let held = std::mem::take(&mut inbox.held);
        let (own, other) = if inbox.position < from { (held, arrived) } else { (arrived, held) };
        let may_want = match inbox.partial.first_chunk::<HEADER_LEN>() {
            Some(header) => header[6..8] != [0, 0],
            None => !inbox.partial.is_empty(),
        };
        if !other.attachments.is_empty() || !may_want && !own.attachments.is_empty() {
            return Err("descriptors came that no frame asked for".to_owned());
        }
        if may_want {
            inbox.held = own;
        }
        Ok(())
    }
}
