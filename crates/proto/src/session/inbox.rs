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
    /// A piece of a chunk.
    Chunk {
        body: u64,
        piece: &'a [u8],
    },
}

/// Attachments that came with one read, and where in the stream that read lies.
#[derive(Debug)]
struct Arrived {
    from: u64,
    to: u64,
    attachments: VecDeque<Attachment>,
    cut_off: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    /// Position in the stream of the first byte of `partial`, or of what comes next.
    position: u64,
    /// Body and bytes left of the chunk in which the last read ended.
    chunk: Option<(u64, usize)>,
    arrived: VecDeque<Arrived>,
    preface_seen: bool,
}

/// One read, while it is taken apart.
pub(crate) struct Reading<'a> {
    inbox: &'a mut Inbox,
    bytes: &'a [u8],
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
        if !attachments.is_empty() || cut_off {
            let from = self.position + self.partial.len() as u64;
            let (to, attachments) = (from + bytes.len() as u64, attachments.into());
            self.arrived.push_back(Arrived { from, to, attachments, cut_off });
        }
        Reading { inbox: self, bytes, whole: Vec::new() }
    }

    /// The attachments of the frame that begins at `position`.
    fn claim(&mut self, position: u64, count: u16) -> Result<(Vec<Attachment>, bool), String> {
        let mut claimed = Vec::new();
        let Some(arrived) = self.arrived.front_mut() else {
            return if count == 0 { Ok((claimed, false)) } else { Err(MISSING.to_owned()) };
        };
        if count == 0 {
            return Ok((claimed, false));
        }
        if !(arrived.from..arrived.to).contains(&position) {
            return Err(MISSING.to_owned());
        }
        while claimed.len() < usize::from(count) {
            match arrived.attachments.pop_front() {
                Some(attachment) => claimed.push(attachment),
                None if arrived.cut_off => return Ok((Vec::new(), true)),
                None => return Err(MISSING.to_owned()),
            }
        }
        if arrived.attachments.is_empty() && !arrived.cut_off {
            self.arrived.pop_front();
        }
        Ok((claimed, false))
    }

    /// Refuses attachments that no frame asked for, once no frame can any more.
    fn check_surplus(&mut self, header_of_partial: Option<&Header>) -> Result<(), String> {
        while let Some(arrived) = self.arrived.front() {
            let begins_in_it =
                (arrived.from..arrived.to).contains(&self.position) && !self.partial.is_empty();
            let may_want = begins_in_it && header_of_partial.is_none_or(|header| header.attachments > 0);
            if may_want {
                return Ok(());
            }
            if !arrived.attachments.is_empty() {
                return Err("descriptors came that no frame asked for".to_owned());
            }
            self.arrived.pop_front();
        }
        Ok(())
    }
}

fn parse_header(bytes: &[u8; HEADER_LEN], most: u32) -> Result<Header, String> {
    let header = Header::parse(bytes)?;
    if header.length > most {
        return Err(format!("a frame of {} bytes is longer than the limit of {most}", header.length));
    }
    Ok(header)
}

const MISSING: &str = "a frame came without the descriptors that it announced";

impl<'a> Reading<'a> {
    /// The next frame, with at most `most` bytes of payload; `None` when this read is used up. After an error nothing more can be read.
    pub(crate) fn next(&mut self, most: u32) -> Result<Option<Found<'_>>, String> {
        if let Some((body, left)) = self.inbox.chunk
            && !self.bytes.is_empty()
        {
            let piece = self.take(left);
            self.inbox.chunk = (piece.len() < left).then_some((body, left - piece.len()));
            return Ok(Some(Found::Chunk { body, piece }));
        }
        if !self.inbox.preface_seen {
            return self.preface();
        }
        if !self.gather(HEADER_LEN, most)? {
            return Ok(None);
        }
        let header = parse_header(self.front().first_chunk().expect("gathered a whole header"), most)?;
        if header.kind == Kind::Chunk && header.flags & flags::ABORT == 0 {
            if header.attachments > 0 {
                return Err("a chunk takes no descriptors".to_owned());
            }
            self.skip(HEADER_LEN);
            let left = header.length as usize;
            let piece = self.take(left);
            self.inbox.chunk = (piece.len() < left).then_some((header.id, left - piece.len()));
            return Ok(Some(Found::Chunk { body: header.id, piece }));
        }
        let length = HEADER_LEN + header.length as usize;
        if !self.gather(length, most)? {
            return Ok(None);
        }
        let (attachments, cut_off) = self.inbox.claim(self.inbox.position, header.attachments)?;
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

    fn preface(&mut self) -> Result<Option<Found<'_>>, String> {
        // A stranger is told from a slow friend by the first bytes, not at the twelfth.
        let seen = self.inbox.partial.iter().chain(self.bytes).zip(&MAGIC).all(|(seen, magic)| seen == magic);
        if !seen {
            return Err("this is not an Andiron stream".to_owned());
        }
        if !self.gather(PREFACE_LEN, 0)? {
            return Ok(None);
        }
        self.inbox.preface_seen = true;
        self.whole = self.front()[..PREFACE_LEN].to_vec();
        self.skip(PREFACE_LEN);
        Ok(Some(Found::Preface(self.whole.first_chunk().expect("took a whole preface"))))
    }

    /// Makes sure that `count` bytes lie together in front; keeps what there is if they have not all come.
    fn gather(&mut self, count: usize, most: u32) -> Result<bool, String> {
        let have = self.inbox.partial.len();
        if have == 0 && self.bytes.len() >= count {
            return Ok(true);
        }
        if have < count {
            let wanted = (count - have).min(self.bytes.len());
            let (head, rest) = self.bytes.split_at(wanted);
            self.inbox.partial.extend_from_slice(head);
            self.bytes = rest;
        }
        let complete = self.inbox.partial.len() >= count;
        if !complete {
            let header = match self.inbox.partial.first_chunk() {
                Some(bytes) if self.inbox.preface_seen => Some(parse_header(bytes, most)?),
                _ => None,
            };
            self.inbox.check_surplus(header.as_ref())?;
        }
        Ok(complete)
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

    /// Up to `most` bytes of this read.
    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(most.min(self.bytes.len()));
        self.bytes = rest;
        self.inbox.position += taken.len() as u64;
        taken
    }

    /// To be called when all frames of a read are handled.
    pub(crate) fn finish(self) -> Result<(), String> {
        if self.inbox.partial.is_empty() {
            self.inbox.check_surplus(None)?;
        }
        Ok(())
    }
}
