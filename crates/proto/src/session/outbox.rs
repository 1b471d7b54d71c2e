//! What is to be sent: whole frames in order, and the rest of long bodies whenever nothing else waits.

use std::any::Any;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use super::ids::IdMap;
use super::streams::StreamId;
use crate::wire::{Header, Kind, flags};

/// Something that travels beside the bytes, a descriptor for instance. The session only carries it.
pub type Attachment = Arc<dyn Any + Send + Sync>;

/// What a value names by position and does not have in itself. All of one message go the same way.
#[derive(Clone, Debug)]
pub enum Attachments {
    /// Beside the bytes, where the stream takes them.
    Descriptors(Vec<Attachment>),
    /// In the body, behind the value, in this order: their lengths in bytes. At most 64.
    Parts(Vec<u64>),
}

impl Attachments {
    /// The lengths of those that are in the body.
    pub fn parts(&self) -> &[u64] {
        match self {
            Attachments::Descriptors(_) => &[],
            Attachments::Parts(lengths) => lengths,
        }
    }

    /// Those that go beside the bytes.
    pub fn descriptors(&self) -> &[Attachment] {
        match self {
            Attachments::Descriptors(descriptors) => descriptors,
            Attachments::Parts(_) => &[],
        }
    }

    /// Of a frame that was read.
    pub(super) fn received(descriptors: Vec<Attachment>, parts: Vec<u64>) -> Attachments {
        if parts.is_empty() { Attachments::Descriptors(descriptors) } else { Attachments::Parts(parts) }
    }

    /// The descriptors, and the lengths of the parts: one of them is empty.
    pub(super) fn split(self) -> (Vec<Attachment>, Vec<u64>) {
        match self {
            Attachments::Descriptors(descriptors) => (descriptors, Vec::new()),
            Attachments::Parts(lengths) => (Vec::new(), lengths),
        }
    }
}

impl Default for Attachments {
    fn default() -> Attachments {
        Attachments::Descriptors(Vec::new())
    }
}

impl From<Vec<Attachment>> for Attachments {
    fn from(descriptors: Vec<Attachment>) -> Attachments {
        Attachments::Descriptors(descriptors)
    }
}

/// Bodies at least this long are not copied into the stream.
pub(super) const SHARE_FROM: usize = 16 << 10;
/// A longer chunk would keep other frames waiting, whatever the peer takes.
const MOST_CHUNK: usize = 256 << 10;
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
    /// Of an item of a stream.
    Item(StreamId),
}

impl BodyOf {
    fn is_answer(self) -> bool {
        matches!(self, BodyOf::Answer(_))
    }

    /// The peer asked for it, and may leave it here unread.
    fn is_asked_for(self) -> bool {
        !matches!(self, BodyOf::Call(_))
    }
}

/// The rest of a long body.
#[derive(Debug)]
struct Sending {
    of: BodyOf,
    rest: Bytes,
    credit: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent already.
    sent: usize,
    queued: usize,
    /// Attachments that wait.
    attached: usize,
    /// Bytes of the stream that are sent.
    position: u64,
    /// The long bodies under way, by number.
    sending: IdMap<Sending>,
    /// Those that have credit, in the order of their turns.
    ready: VecDeque<u64>,
    last_body: u64,
    /// Streams whose long item is sent whole.
    finished_items: Vec<StreamId>,
    answers: Answers,
    spare: Vec<u8>,
    most_chunk: usize,
}

/// The long answers and items under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    /// Answers to calls.
    pub(crate) count: usize,
    /// Bytes of them and of items that are not queued yet.
    pub(crate) bytes: usize,
}

impl Outbox {
    pub(crate) fn new() -> Outbox {
        Outbox {
            pieces: VecDeque::new(),
            sent: 0,
            queued: 0,
            attached: 0,
            position: 0,
            sending: IdMap::default(),
            ready: VecDeque::new(),
            last_body: 0,
            finished_items: Vec::new(),
            answers: Answers::default(),
            spare: Vec::new(),
            most_chunk: MOST_CHUNK,
        }
    }

    /// The peer takes frames of at most so many bytes.
    pub(crate) fn limit_frames(&mut self, most: u32) {
        self.most_chunk = MOST_CHUNK.min(most as usize);
    }

    /// Bytes that wait, without the rest of long bodies.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Attachments that wait.
    pub(crate) fn attached(&self) -> usize {
        self.attached
    }

    /// How many bytes of the stream are sent.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where in the stream the next frame will begin, if no long body gets in between.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.queued as u64
    }

    pub(crate) fn answers(&self) -> Answers {
        self.answers
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.sending.is_empty()
    }

    /// True where `transmit` has something to give.
    pub(crate) fn wants_write(&self) -> bool {
        !self.pieces.is_empty() || !self.ready.is_empty() || !self.finished_items.is_empty()
    }

    /// The buffer to append small frames to.
    pub(crate) fn buffer(&mut self, attachments: Vec<Attachment>) -> Appending<'_> {
        let fits = match self.pieces.back() {
            Some(Piece { bits: Bits::Own(bytes), .. }) => attachments.is_empty() && bytes.len() < GROW,
            _ => false,
        };
        self.attached += attachments.len();
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
        if body.is_empty() {
            return;
        }
        if body.len() < SHARE_FROM {
            self.buffer(Vec::new()).bytes.extend_from_slice(&body);
        } else {
            self.queued += body.len();
            self.pieces.push_back(Piece { bits: Bits::Shared(body), attachments: Vec::new() });
        }
    }

    /// The number of the next long body.
    pub(crate) fn next_body(&mut self) -> u64 {
        self.last_body += 1;
        self.last_body
    }

    /// Queues the rest of a long body, of which `credit` bytes may go without being asked for.
    pub(crate) fn long(&mut self, body: u64, of: BodyOf, rest: Bytes, credit: u64) {
        self.answers.count += usize::from(of.is_answer());
        self.answers.bytes += if of.is_asked_for() { rest.len() } else { 0 };
        self.sending.insert(body, Sending { of, rest, credit });
        if credit > 0 {
            self.ready.push_back(body);
        }
    }

    /// More of a body may be sent; the error is the sentence for the peer.
    pub(crate) fn credit(&mut self, body: u64, amount: u64) -> Result<(), String> {
        if body == 0 || body > self.last_body {
            return Err(format!("credit for body {body}, which never began"));
        }
        if let Some(sending) = self.sending.get_mut(&body)
            && amount > 0
        {
            if sending.credit == 0 {
                self.ready.push_back(body);
            }
            sending.credit = sending.credit.saturating_add(amount);
        }
        Ok(())
    }

    /// Gives up a long body; true if some of it was still to be sent.
    pub(crate) fn abort(&mut self, of: BodyOf) -> bool {
        if self.sending.is_empty() {
            return false; // as mostly; otherwise there are as many as calls in flight at most
        }
        let Some(body) = self.sending.iter().find(|(_, sending)| sending.of == of).map(|(&body, _)| body)
        else {
            return false;
        };
        self.ready.retain(|&other| other != body);
        self.remove(body);
        self.frame(Kind::Chunk, flags::ABORT, body, &[]);
        true
    }

    /// A stream whose long item is sent whole since this was asked last.
    pub(crate) fn take_finished_item(&mut self) -> Option<StreamId> {
        self.finished_items.pop()
    }

    /// Gives up all long bodies silently: the session is over.
    pub(crate) fn drop_bodies(&mut self) {
        self.sending.clear();
        self.ready.clear();
        self.answers = Answers::default();
    }

    fn remove(&mut self, body: u64) {
        if let Some(Sending { of, rest, .. }) = self.sending.remove(&body) {
            self.answers.count -= usize::from(of.is_answer());
            self.answers.bytes -= if of.is_asked_for() { rest.len() } else { 0 };
        }
    }

    pub(crate) fn transmit(&mut self) -> Option<Transmit<'_>> {
        if self.pieces.is_empty() {
            self.queue_chunk(); // one at a time: no other frame shall wait behind more
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
        debug_assert!(count <= self.queued, "more was sent than there was");
        count = count.min(self.queued);
        self.queued -= count;
        self.position += count as u64;
        while let Some(first) = self.pieces.front_mut() {
            let left = first.bytes().len() - self.sent;
            if count > 0 {
                self.attached -= first.attachments.len();
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

    /// The frame that is next goes without its attachments.
    pub(crate) fn detach(&mut self) {
        if let Some(Piece { bits: Bits::Own(bytes), attachments }) = self.pieces.front_mut()
            && self.sent == 0
            && !attachments.is_empty()
        {
            self.attached -= attachments.len();
            attachments.clear();
            bytes[Header::ATTACHMENTS].fill(0);
        }
    }

    /// One chunk of the body whose turn it is.
    fn queue_chunk(&mut self) {
        let Some(body) = self.ready.pop_front() else { return };
        let Some(sending) = self.sending.get_mut(&body) else { return };
        let most = self.most_chunk.min(usize::try_from(sending.credit).unwrap_or(usize::MAX));
        let chunk = sending.rest.split_to(most.min(sending.rest.len()));
        sending.credit -= chunk.len() as u64;
        if sending.of.is_asked_for() {
            self.answers.bytes -= chunk.len();
        }
        if sending.rest.is_empty() {
            if let BodyOf::Item(stream) = sending.of {
                self.finished_items.push(stream);
            }
            self.remove(body);
        } else if sending.credit > 0 {
            self.ready.push_back(body);
        }
        let length = chunk.len() as u32;
        let header = Header { length, kind: Kind::Chunk, flags: 0, attachments: 0, id: body };
        self.buffer(Vec::new()).bytes.extend_from_slice(&header.to_bytes());
        self.body(chunk);
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

    fn small_frames() -> Outbox {
        let mut outbox = Outbox::new();
        outbox.limit_frames(4096);
        outbox
    }

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
            let mut outbox = small_frames();
            outbox.frame(Kind::Ping, 0, 1, b"abc");
            outbox.body(Bytes::from(vec![9; SHARE_FROM]));
            outbox.frame(Kind::Pong, 0, 2, b"");
            let all = drain(&mut outbox, step);
            assert_eq!(all.len(), HEADER_LEN * 2 + 3 + SHARE_FROM);
            assert!(outbox.is_empty());
            assert_eq!((outbox.queued(), outbox.position()), (0, all.len() as u64));
        }
    }

    #[test]
    fn a_frame_overtakes_the_chunks_of_a_long_body() {
        let mut outbox = small_frames();
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
    fn a_body_without_credit_waits_and_a_body_given_up_is_gone() {
        let mut outbox = small_frames();
        let (first, second) = (outbox.next_body(), outbox.next_body());
        outbox.long(first, BodyOf::Answer(1), Bytes::from(vec![1; 5000]), 0);
        outbox.long(second, BodyOf::Answer(2), Bytes::from(vec![2; 5000]), 10);
        assert_eq!(drain(&mut outbox, usize::MAX).len(), HEADER_LEN + 10);
        assert!(!outbox.wants_write() && !outbox.is_empty());
        assert_eq!(outbox.answers().bytes, 9990);
        outbox.credit(first, 5000).unwrap();
        outbox.credit(second, 5000).unwrap();
        assert!(outbox.abort(BodyOf::Answer(2)) && !outbox.abort(BodyOf::Answer(2)));
        assert_eq!(drain(&mut outbox, usize::MAX).len(), 3 * HEADER_LEN + 5000, "an abort and two chunks");
        assert!(outbox.is_empty());
        assert_eq!((outbox.answers().count, outbox.answers().bytes), (0, 0));
        assert!(outbox.credit(3, 1).is_err(), "never began");
    }

    #[test]
    fn a_frame_whose_attachments_cannot_be_sent_goes_without() {
        let mut outbox = small_frames();
        let attachments: Vec<Attachment> = vec![Arc::new(5), Arc::new(6)];
        let header = Header { length: 3, kind: Kind::Call, flags: 0, attachments: 2, id: 1 };
        let out = outbox.buffer(attachments);
        out.bytes.extend_from_slice(&[&header.to_bytes()[..], b"abc"].concat());
        drop(out);
        outbox.frame(Kind::Ping, 0, 2, b"");
        outbox.detach();
        assert_eq!((outbox.attached(), outbox.transmit().unwrap().attachments.len()), (0, 0));
        let all = drain(&mut outbox, usize::MAX);
        let first: [u8; HEADER_LEN] = all[..HEADER_LEN].try_into().unwrap();
        assert_eq!(Header::parse(&first).unwrap(), Header { attachments: 0, ..header });
        assert_eq!(all.len(), 2 * HEADER_LEN + 3);
    }

    #[test]
    fn attachments_go_with_the_first_byte_of_their_frame_and_once() {
        let mut outbox = small_frames();
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
