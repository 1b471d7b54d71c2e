//! What is to be sent: whole frames in order, and the rest of long bodies whenever nothing else waits.

use std::any::Any;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::wire::{Header, Kind, flags};

/// Something that travels beside the bytes, a descriptor for instance. The session only carries it.
pub type Attachment = Arc<dyn Any + Send + Sync>;

/// Bodies at least this long are not copied into the stream.
const SHARE_FROM: usize = 16 << 10;
/// While so many bytes wait, no further chunk is queued: other frames shall not wait behind more.
const CHUNKS_BELOW: usize = 1;
/// A buffer for small frames is kept for the next ones if it is not larger.
const KEEP: usize = 16 << 10;
/// Small frames share a buffer up to this size.
const GROW: usize = 64 << 10;
const MOST_SLICES: usize = 8;

/// What to send next: slices in order, and the attachments that go with their first byte.
#[derive(Debug)]
pub struct Transmit<'a> {
    slices: [IoSlice<'a>; MOST_SLICES],
    count: usize,
    /// To be sent with the first byte of the slices.
    pub attachments: &'a [Attachment],
}

impl<'a> Transmit<'a> {
    /// The bytes to send.
    pub fn slices(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.count]
    }
}

#[derive(Debug)]
enum Bits {
    Own(Vec<u8>),
    Shared(Bytes),
}

#[derive(Debug)]
struct Piece {
    bits: Bits,
    attachments: Vec<Attachment>,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match &self.bits {
            Bits::Own(bytes) => bytes,
            Bits::Shared(bytes) => bytes,
        }
    }
}

/// Whose body a long body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyOf {
    /// Of an own call or notify.
    Call(u64),
    /// Of the answer to a call of the peer.
    Answer(u64),
}

/// The rest of a long body.
#[derive(Debug)]
struct Sending {
    body: u64,
    /// Whose body it is.
    of: BodyOf,
    rest: Bytes,
    credit: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent already.
    sent: usize,
    queued: usize,
    sending: VecDeque<Sending>,
    last_body: u64,
    spare: Vec<u8>,
    pub(crate) most_chunk: usize,
}

impl Outbox {
    /// Bytes that wait, without the rest of long bodies.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.sending.is_empty()
    }

    /// True where `transmit` has something to give.
    pub(crate) fn wants_write(&self) -> bool {
        !self.pieces.is_empty() || self.sending.iter().any(|sending| sending.credit > 0)
    }

    /// The buffer to append small frames to.
    pub(crate) fn buffer(&mut self, attachments: Vec<Attachment>) -> Appending<'_> {
        let fits = match self.pieces.back() {
            Some(Piece { bits: Bits::Own(bytes), .. }) => attachments.is_empty() && bytes.len() < GROW,
            _ => false,
        };
        if !fits {
            let bits = Bits::Own(std::mem::take(&mut self.spare));
            self.pieces.push_back(Piece { bits, attachments });
        }
        match self.pieces.back_mut() {
            Some(Piece { bits: Bits::Own(bytes), .. }) => {
                Appending { before: bytes.len(), bytes, queued: &mut self.queued }
            }
            _ => unreachable!("the last piece was made an own buffer above"),
        }
    }

    /// Queues a frame without body.
    pub(crate) fn frame(&mut self, kind: Kind, frame_flags: u8, id: u64, payload: &[u8]) {
        let length = payload.len() as u32;
        let header = Header { length, kind, flags: frame_flags, attachments: 0, id };
        let out = self.buffer(Vec::new());
        out.bytes.extend_from_slice(&header.to_bytes());
        out.bytes.extend_from_slice(payload);
    }

    /// Queues bytes that end the frame which was just begun in `buffer`.
    pub(crate) fn body(&mut self, body: Bytes) {
        if body.len() < SHARE_FROM {
            self.buffer(Vec::new()).bytes.extend_from_slice(&body);
        } else {
            self.queued += body.len();
            self.pieces.push_back(Piece { bits: Bits::Shared(body), attachments: Vec::new() });
        }
    }

    pub(crate) fn next_body(&mut self) -> u64 {
        self.last_body += 1;
        self.last_body
    }

    /// Queues the rest of a long body, of which `credit` bytes may go without being asked for.
    pub(crate) fn long(&mut self, body: u64, of: BodyOf, rest: Bytes, credit: u64) {
        self.sending.push_back(Sending { body, of, rest, credit });
    }

    pub(crate) fn credit(&mut self, body: u64, amount: u64) {
        if let Some(sending) = self.sending.iter_mut().find(|sending| sending.body == body) {
            sending.credit = sending.credit.saturating_add(amount);
        }
    }

    /// Gives up a long body; true if some of it was still to be sent.
    pub(crate) fn abort(&mut self, of: BodyOf) -> bool {
        let Some(index) = self.sending.iter().position(|sending| sending.of == of) else { return false };
        if let Some(sending) = self.sending.remove(index) {
            self.frame(Kind::Chunk, flags::ABORT, sending.body, &[]);
        }
        true
    }

    /// Gives up all long bodies silently: the session is over.
    pub(crate) fn drop_bodies(&mut self) {
        self.sending.clear();
    }

    pub(crate) fn transmit(&mut self) -> Option<Transmit<'_>> {
        if self.queued < CHUNKS_BELOW {
            self.queue_chunk();
        }
        let first = self.pieces.front()?;
        let mut slices = [IoSlice::new(&[]); MOST_SLICES];
        slices[0] = IoSlice::new(&first.bytes()[self.sent..]);
        let mut count = 1;
        for piece in self.pieces.iter().skip(1).take(MOST_SLICES - 1) {
            if !piece.attachments.is_empty() {
                break; // they go with the first byte of their own frame
            }
            slices[count] = IoSlice::new(piece.bytes());
            count += 1;
        }
        let attachments = if self.sent == 0 { &first.attachments[..] } else { &[] };
        Some(Transmit { slices, count, attachments })
    }

    pub(crate) fn transmitted(&mut self, mut count: usize) {
        self.queued = self.queued.saturating_sub(count);
        while let Some(first) = self.pieces.front_mut() {
            let left = first.bytes().len() - self.sent;
            if count > 0 {
                first.attachments.clear();
            }
            if count < left {
                self.sent += count;
                return;
            }
            count -= left;
            self.sent = 0;
            if let Some(Piece { bits: Bits::Own(mut bytes), .. }) = self.pieces.pop_front()
                && bytes.capacity() <= KEEP
                && bytes.capacity() > self.spare.capacity()
            {
                bytes.clear();
                self.spare = bytes;
            }
        }
    }

    /// One chunk of the body whose turn it is.
    fn queue_chunk(&mut self) {
        let Some(index) = self.sending.iter().position(|sending| sending.credit > 0) else { return };
        let Some(mut sending) = self.sending.remove(index) else { return };
        let most = self.most_chunk.min(usize::try_from(sending.credit).unwrap_or(usize::MAX));
        let chunk = sending.rest.split_to(most.min(sending.rest.len()));
        sending.credit -= chunk.len() as u64;
        let length = chunk.len() as u32;
        let header = Header { length, kind: Kind::Chunk, flags: 0, attachments: 0, id: sending.body };
        self.buffer(Vec::new()).bytes.extend_from_slice(&header.to_bytes());
        self.body(chunk);
        if !sending.rest.is_empty() {
            self.sending.push_back(sending);
        }
    }
}

/// A buffer that tells the outbox how much was appended.
pub(crate) struct Appending<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    before: usize,
    queued: &'a mut usize,
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        *self.queued += self.bytes.len() - self.before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HEADER_LEN;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(transmit) = outbox.transmit() {
            let bytes: Vec<u8> = transmit.slices().iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = bytes.len().min(step);
            all.extend_from_slice(&bytes[..count]);
            outbox.transmitted(count);
        }
        all
    }

    #[test]
    fn partial_writes_lose_and_repeat_nothing() {
        for step in [1, 7, 1000, usize::MAX] {
            let mut outbox = Outbox { most_chunk: 4096, ..Outbox::default() };
            outbox.frame(Kind::Ping, 0, 1, b"abc");
            outbox.body(Bytes::from(vec![9; SHARE_FROM]));
            outbox.frame(Kind::Pong, 0, 2, b"");
            let all = drain(&mut outbox, step);
            assert_eq!(all.len(), HEADER_LEN * 2 + 3 + SHARE_FROM);
            assert!(outbox.is_empty());
            assert_eq!(outbox.queued(), 0);
        }
    }

    #[test]
    fn a_frame_overtakes_the_chunks_of_a_long_body() {
        let mut outbox = Outbox { most_chunk: 4096, ..Outbox::default() };
        let body = outbox.next_body();
        outbox.long(body, BodyOf::Call(1), Bytes::from(vec![1; 3 * 4096]), u64::MAX);
        let first = outbox.transmit().unwrap().slices().iter().map(|slice| slice.len()).sum::<usize>();
        assert_eq!(first, HEADER_LEN + 4096);
        outbox.transmitted(100);
        outbox.frame(Kind::Ping, 0, 1, b"");
        outbox.transmitted(first - 100);
        let next = outbox.transmit().unwrap();
        assert_eq!(next.slices()[0][4], Kind::Ping.number());
    }

    #[test]
    fn attachments_go_with_the_first_byte_of_their_frame_and_once() {
        let mut outbox = Outbox { most_chunk: 4096, ..Outbox::default() };
        outbox.frame(Kind::Ping, 0, 1, b"abc");
        outbox.buffer(vec![Arc::new(5)]).bytes.extend_from_slice(b"frame");
        let transmit = outbox.transmit().unwrap();
        assert!(transmit.attachments.is_empty());
        assert_eq!(transmit.slices().len(), 1);
        outbox.transmitted(HEADER_LEN + 3);
        assert_eq!(outbox.transmit().unwrap().attachments.len(), 1);
        outbox.transmitted(2);
        assert!(outbox.transmit().unwrap().attachments.is_empty());
    }
}
