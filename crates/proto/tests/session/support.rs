//! Two sessions and the link between them, or one session and a hand-made peer. Nothing here waits: time is a number.
#![allow(unreachable_pub)] // `pub` means: for the tests beside this file

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use andiron_proto::wire::{HEADER_LEN, Header, Kind, PREFACE_LEN, preface};
use andiron_proto::{
    Attachment, Body, CallRequest, Config, Event, Failure, Hello, IncomingCall, Limits, Outgoing, PROMISES,
    Payload, Ref, Role, STREAMS, Session,
};
use fastrand::Rng;

/// The end that opened the stream, in a [`Pair`].
pub const CLIENT: usize = 0;
/// The end that took it.
pub const SERVER: usize = 1;

/// Some instant: only differences matter.
#[allow(clippy::disallowed_methods)] // there is no other way to get one; it is never asked again
pub fn start() -> Instant {
    Instant::now()
}

pub fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Something to attach, told apart by its number.
pub fn attachment(number: u32) -> Attachment {
    Arc::new(number)
}

/// The numbers of attachments.
pub fn numbers(attachments: &[Attachment]) -> Vec<u32> {
    attachments.iter().map(|attachment| *attachment.downcast_ref().unwrap()).collect()
}

/// Bytes that tell a misplaced one.
pub fn bulk(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// A request for a method with these argument bytes.
pub fn request<'a>(method: &'a str, body: &'a [u8]) -> CallRequest<'a> {
    CallRequest { method, arguments: Outgoing::native(body), ..CallRequest::default() }
}

pub fn request_with<'a>(method: &'a str, refs: Vec<Ref>) -> CallRequest<'a> {
    CallRequest { method, arguments: result_with(refs), ..CallRequest::default() }
}

pub fn result_with(refs: Vec<Ref>) -> Outgoing<'static> {
    Outgoing { refs, ..Outgoing::native(b"\x90") }
}

/// What one write brought: attachments came with the first byte.
struct Segment {
    bytes: VecDeque<u8>,
    attachments: Vec<Attachment>,
    arrives: Instant,
}

/// One direction of the stream.
#[derive(Default)]
struct Link {
    segments: VecDeque<Segment>,
    stopped: bool,
}

/// One end of a [`Pair`] and what it had to say.
pub struct End {
    pub session: Session,
    /// What happened and was not looked at yet.
    pub events: VecDeque<Event>,
    /// On its way to this end.
    incoming: Link,
    /// Bytes that this end has sent.
    pub sent: u64,
    outstanding: HashSet<u64>,
    closed: bool,
}

/// Two sessions over a link that cuts, delays and joins what it carries as a stream socket may.
pub struct Pair {
    pub ends: [End; 2],
    pub now: Instant,
    pub rng: Rng,
    _seed: Seed,
    /// The most bytes of one write or read.
    pub most_piece: usize,
}

/// Tells a failure's seed.
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}

impl Pair {
    /// A pair before its handshake.
    pub fn unopened(seed: u64, client: Config, server: Config) -> Pair {
        let now = start();
        let end = |role, config| End {
            session: Session::new(role, config, now),
            events: VecDeque::new(),
            incoming: Link::default(),
            sent: 0,
            outstanding: HashSet::new(),
            closed: false,
        };
        let ends = [end(Role::Initiator, client), end(Role::Acceptor, server)];
        Pair { ends, now, rng: Rng::with_seed(seed), _seed: Seed(seed), most_piece: 100_000 }
    }

    /// An open pair, its [`Event::Opened`] taken.
    pub fn with(seed: u64, client: Limits, server: Limits) -> Pair {
        let config = |limits| Config { limits, ..Config::default() };
        let mut pair = Pair::unopened(seed, config(client), config(server));
        pair.run();
        for end in &mut pair.ends {
            assert!(matches!(end.events.pop_front(), Some(Event::Opened(_))));
        }
        pair
    }

    /// An open pair whose ends know all features.
    pub fn featured(seed: u64, client: Limits, server: Limits) -> Pair {
        let features = || vec![STREAMS.to_owned(), PROMISES.to_owned()];
        let config = |limits| Config { limits, features: features(), ..Config::default() };
        let mut pair = Pair::unopened(seed, config(client), config(server));
        pair.run();
        for end in [CLIENT, SERVER] {
            pair.events(end);
        }
        pair
    }

    pub fn new(seed: u64) -> Pair {
        Pair::with(seed, Limits::default(), Limits::default())
    }

    pub fn session(&mut self, end: usize) -> &mut Session {
        &mut self.ends[end].session
    }

    /// Nothing arrives at this end until [`resume`](Pair::resume).
    pub fn stop(&mut self, end: usize) {
        self.ends[end].incoming.stopped = true;
    }

    pub fn resume(&mut self, end: usize) {
        self.ends[end].incoming.stopped = false;
    }

    /// Calls, and counts the call as one that wants an answer.
    pub fn call(&mut self, end: usize, request: CallRequest<'_>) -> u64 {
        let id = self.ends[end].session.call(self.now, request).unwrap();
        self.expect_answer(end, id);
        id
    }

    /// Counts a call as one that wants an answer.
    pub fn expect_answer(&mut self, end: usize, id: u64) {
        assert!(self.ends[end].outstanding.insert(id), "call {id} for the second time");
    }

    pub fn notify(&mut self, end: usize, request: CallRequest<'_>) -> u64 {
        self.ends[end].session.notify(self.now, request).unwrap()
    }

    pub fn reply(&mut self, end: usize, id: u64, body: &[u8]) {
        self.ends[end].session.reply(id, Outgoing::native(body));
    }

    /// A long body that is not copied.
    pub fn reply_shared(&mut self, end: usize, id: u64, body: Vec<u8>) {
        self.ends[end].session.reply(id, Outgoing { body: Body::Shared(body.into()), ..Outgoing::default() });
    }

    pub fn fail(&mut self, end: usize, id: u64, failure: &Failure) {
        self.ends[end].session.fail(id, failure);
    }

    /// The calls that wait for an answer, by number.
    pub fn outstanding(&self, end: usize) -> Vec<u64> {
        let mut ids: Vec<u64> = self.ends[end].outstanding.iter().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Moves bytes until nothing moves any more. Time goes on with them, but only until they have arrived.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// Moves some bytes somewhere; false if there are none to move.
    pub fn step(&mut self) -> bool {
        let mut moves: Vec<(bool, usize)> = Vec::new();
        for end in [CLIENT, SERVER] {
            self.collect(end);
            if self.ends[end].session.want_write() {
                moves.push((true, end));
            }
            if !self.ends[end].incoming.stopped && !self.ends[end].incoming.segments.is_empty() {
                moves.push((false, end));
            }
        }
        let Some(&(write, end)) = self.rng.choice(&moves) else { return false };
        if write {
            self.write(end)
        } else {
            self.read(end)
        }
        true
    }

    /// One write of this end.
    fn write(&mut self, end: usize) {
        let Some(transmit) = self.ends[end].session.poll_transmit() else { return };
        let all: usize = transmit.slices().iter().map(|slice| slice.len()).sum();
        let count = self.rng.usize(1..=all.min(self.most_piece));
        let bytes = transmit.slices().iter().flat_map(|slice| slice.iter().copied()).take(count).collect();
        let attachments = transmit.attachments.to_vec();
        let last = self.ends[1 - end].incoming.segments.back().map_or(self.now, |segment| segment.arrives);
        let arrives = last.max(self.now) + Duration::from_micros(self.rng.u64(0..200));
        self.ends[1 - end].incoming.segments.push_back(Segment { bytes, attachments, arrives });
        self.ends[end].sent += count as u64;
        self.ends[end].session.transmitted(count);
        self.collect(end);
    }

    /// One read of this end: attachments come with their byte, and nothing comes behind their segment.
    fn read(&mut self, end: usize) {
        let most = self.rng.usize(1..=self.most_piece);
        let link = &mut self.ends[end].incoming;
        let Some(first) = link.segments.front() else { return };
        self.now = self.now.max(first.arrives);
        let (mut bytes, mut attachments) = (Vec::new(), Vec::new());
        while bytes.len() < most && attachments.is_empty() {
            let Some(segment) = link.segments.front_mut().filter(|segment| segment.arrives <= self.now)
            else {
                break;
            };
            let count = segment.bytes.len().min(most - bytes.len());
            bytes.extend(segment.bytes.drain(..count));
            attachments = std::mem::take(&mut segment.attachments);
            if segment.bytes.is_empty() {
                link.segments.pop_front();
            }
        }
        self.ends[end].session.receive(self.now, &bytes, attachments, false);
        self.collect(end);
    }

    /// Lets time pass at both ends, without moving any bytes.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        for end in [CLIENT, SERVER] {
            self.ends[end].session.handle_timeout(self.now);
            self.collect(end);
            let next = self.ends[end].session.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a timeout was not handled");
        }
    }

    /// One end leaves, with nothing outstanding: both are finished, and the other one knows why.
    pub fn part(&mut self) {
        let leaver = self.rng.usize(0..2);
        self.session(leaver).leave();
        self.run();
        assert!(matches!(&self.events(1 - leaver)[..], [Event::Goodbye { .. }]));
        assert!(self.session(CLIENT).is_finished() && self.session(SERVER).is_finished());
    }

    /// Changes a byte that is under way.
    pub fn spoil(&mut self) {
        let end = self.rng.usize(0..2);
        if let Some(segment) = self.ends[end].incoming.segments.back_mut() {
            let index = self.rng.usize(..segment.bytes.len());
            segment.bytes[index] ^= 1 << self.rng.u8(0..8);
        }
    }

    /// The stream is cut: what is under way is lost.
    pub fn cut(&mut self) {
        for end in &mut self.ends {
            end.incoming.segments.clear();
            end.session.disconnected("the cable was cut");
        }
        self.collect(CLIENT);
        self.collect(SERVER);
    }

    /// Takes the session's events, and checks what holds of all events.
    fn collect(&mut self, index: usize) {
        let end = &mut self.ends[index];
        while let Some(event) = end.session.poll_event() {
            assert!(!end.closed, "an event behind the last one: {event:?}");
            match &event {
                Event::Answer { id, .. } => {
                    assert!(end.outstanding.remove(id), "a second answer to {id}: {event:?}")
                }
                Event::Closed(_) => {
                    end.closed = true;
                    assert!(end.outstanding.is_empty(), "calls without an answer: {:?}", end.outstanding);
                }
                _ => {}
            }
            end.events.push_back(event);
        }
    }

    /// All that happened at this end since it was last asked.
    pub fn events(&mut self, end: usize) -> Vec<Event> {
        self.collect(end);
        self.ends[end].events.drain(..).collect()
    }

    /// The calls and notifies that arrived at this end; nothing else may have happened.
    pub fn calls(&mut self, end: usize) -> Vec<IncomingCall> {
        let event = |event| match event {
            Event::Call(call) => call,
            other => panic!("not a call: {other:?}"),
        };
        self.events(end).into_iter().map(event).collect()
    }

    /// The one call that arrived.
    pub fn one_call(&mut self, end: usize) -> IncomingCall {
        let mut calls = self.calls(end);
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// The answers that arrived at this end, with their numbers; nothing else may have happened.
    pub fn answers(&mut self, end: usize) -> Vec<(u64, Result<Payload, Failure>)> {
        let event = |event| match event {
            Event::Answer { id, outcome } => (id, outcome),
            other => panic!("not an answer: {other:?}"),
        };
        self.events(end).into_iter().map(event).collect()
    }

    /// The one answer that arrived, which is that to the call `id`.
    pub fn one_answer(&mut self, end: usize, id: u64) -> Result<Payload, Failure> {
        let mut answers = self.answers(end);
        assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
        answers.remove(0).1
    }

    /// Nothing happened, and both ends are open.
    pub fn expect_silence(&mut self) {
        for end in [CLIENT, SERVER] {
            assert!(self.session(end).is_open());
            let events = self.events(end);
            assert!(events.is_empty(), "{events:?}");
        }
    }
}

/// A frame by hand.
pub fn frame(kind: Kind, flags: u8, id: u64, payload: &[u8]) -> Vec<u8> {
    frame_with(kind, flags, 0, id, payload)
}

/// A frame by hand that announces attachments.
pub fn frame_with(kind: Kind, flags: u8, attachments: u16, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header { length: payload.len() as u32, kind, flags, attachments, id }.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload of a call by hand: head without limit of time or chain, then `tail`.
pub fn call_payload(target: u64, method: &str, tail: &[u8]) -> Vec<u8> {
    let mut payload = target.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0; 16]);
    payload.extend_from_slice(&[1, method.len() as u8]);
    payload.extend_from_slice(method.as_bytes());
    payload.extend_from_slice(tail);
    payload
}

/// The part of a tail that says that a body is long, and its beginning.
pub fn long_tail(body: u64, total: u64, beginning: &[u8]) -> Vec<u8> {
    [&body.to_be_bytes()[..], &total.to_be_bytes(), beginning].concat()
}

/// A reference table: owner and object of each entry.
pub fn table(entries: &[(u8, u64)]) -> Vec<u8> {
    let mut bytes = (entries.len() as u16).to_be_bytes().to_vec();
    for (owner, id) in entries {
        bytes.push(*owner);
        bytes.extend_from_slice(&id.to_be_bytes());
    }
    bytes
}

/// One session; its peer is the test.
pub struct Lone {
    pub session: Session,
    pub now: Instant,
    output: Vec<u8>,
}

impl Lone {
    /// A session before the handshake.
    pub fn unopened(role: Role, config: Config) -> Lone {
        let now = start();
        Lone { session: Session::new(role, config, now), now, output: Vec::new() }
    }

    /// An open session whose peer announced these limits.
    pub fn open(role: Role, own: Limits, peer: Limits) -> Lone {
        let mut lone = Lone::unopened(role, Config { limits: own, ..Config::default() });
        let hello = Hello { auth: vec!["user".to_owned()], limits: peer, ..Hello::default() };
        lone.receive(&preface(&(1..=1)));
        lone.receive(&frame(Kind::Hello, 0, 0, &hello.to_bytes()));
        assert!(matches!(lone.events()[..], [Event::Opened(_)]));
        lone.output();
        lone
    }

    /// An open acceptor with the default limits.
    pub fn new() -> Lone {
        Lone::open(Role::Acceptor, Limits::default(), Limits::default())
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        self.session.receive(self.now, bytes, Vec::new(), false);
    }

    pub fn receive_with(&mut self, bytes: &[u8], attachments: &[u32]) {
        let attachments = attachments.iter().map(|&number| attachment(number)).collect();
        self.session.receive(self.now, bytes, attachments, false);
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// The bytes that the session sent since it was last asked.
    pub fn output(&mut self) -> Vec<u8> {
        let mut output = std::mem::take(&mut self.output);
        while let Some(transmit) = self.session.poll_transmit() {
            let before = output.len();
            transmit.slices().iter().for_each(|slice| output.extend_from_slice(slice));
            let count = output.len() - before;
            self.session.transmitted(count);
        }
        output
    }

    /// The frames that the session sent since it was last asked.
    pub fn frames(&mut self) -> Vec<(Header, Vec<u8>)> {
        split_frames(&self.output())
    }

    /// The one event and frame of a session that ended for this violation.
    pub fn expect_violation(&mut self, about: &str) {
        let events = self.events();
        let Some(Event::Closed(failure)) = events.last() else { panic!("not closed: {events:?}") };
        assert_eq!(failure.kind, andiron_proto::ErrorKind::Protocol, "{failure}");
        assert!(failure.to_string().contains(about), "{failure:?} does not speak of {about:?}");
        let frames = self.frames();
        let (header, payload) = frames.last().expect("a goodbye");
        assert_eq!((header.kind, &payload[..2]), (Kind::Goodbye, &[0, 1][..]));
        assert!(self.session.is_closed());
    }

    /// The session is open and nothing happened.
    pub fn expect_silence(&mut self) {
        let (events, frames) = (self.events(), self.frames());
        assert!(self.session.is_open() && events.is_empty() && frames.is_empty(), "{events:?} {frames:?}");
    }
}

/// Takes bytes apart that begin with a frame.
pub fn split_frames(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = Header::parse(head).unwrap();
        let (payload, rest) = rest.split_at(header.length as usize);
        frames.push((header, payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame was sent");
    frames
}

/// What an end sends first, by hand.
pub fn introduction(hello: &Hello) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFACE_LEN + 100);
    bytes.extend_from_slice(&preface(&(1..=1)));
    bytes.extend_from_slice(&frame(Kind::Hello, 0, 0, &hello.to_bytes()));
    bytes
}
