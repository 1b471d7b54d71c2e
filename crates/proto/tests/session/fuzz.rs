//! Random sequences of operations against a model, and random bytes against a session.
//!
//! `ANDIRON_FUZZ_ITERATIONS` says how many sequences each test tries, `ANDIRON_FUZZ_SEED` where their seeds begin: with a seed that a
//! failure printed and one iteration it is repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use andiron_proto::wire::{Kind, Reason, preface};
use andiron_proto::{
    Attachments, Auth, CallRequest, Config, ErrorKind, Event, Failure, Heartbeat, Hello, IncomingCall, Key,
    Limits, Outgoing, PROMISES, Payload, Ref, Role, STREAMS, Session, StreamId, binding,
};
use fastrand::Rng;

use crate::support::*;

pub(crate) fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let first = number("ANDIRON_FUZZ_SEED").unwrap_or(0);
    first..first + number("ANDIRON_FUZZ_ITERATIONS").unwrap_or(default)
}

/// Limits so tight that everything happens.
pub(crate) fn tight(rng: &mut Rng) -> Limits {
    Limits {
        frame: 4096,
        message: rng.u64(9000..30_000),
        calls: rng.u32(1..9),
        objects: rng.u32(0..20),
        buffer: rng.u64(4096..60_000),
        window: *rng.choice(&[0, 1, 500, 4096, 50_000]).unwrap(),
        attachments: rng.u16(0..4),
        ..Limits::default()
    }
}

/// What one end of the pair should see.
#[derive(Default)]
struct Model {
    /// Calls of the peer that this end handles.
    running: Vec<IncomingCall>,
    /// Objects that this end showed and may not forget yet.
    shown: BTreeSet<u64>,
    /// References to the peer's objects, and how often they came.
    held: BTreeMap<u64, u64>,
    /// What was told to be cancelled.
    cancelled: BTreeSet<u64>,
    /// Serial numbers of the messages of this end.
    sent: u64,
    /// The serial number of the last short call that came from the peer.
    last_short: u64,
    /// The body of each own call that waits.
    bodies: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    /// The parts of what came are the end of its body.
    fn parts(&self, payload: &Payload) {
        let (whole, lengths) = (payload.body.clone(), payload.attachments.parts().to_vec());
        let mut value = payload.clone();
        let parts = value.take_parts();
        assert_eq!(parts.iter().map(|part| part.len() as u64).collect::<Vec<_>>(), lengths);
        assert_eq!([&value.body[..], &parts.concat()].concat(), whole);
    }
}

struct Play {
    pair: Pair,
    models: [Model; 2],
}

/// What a handler makes of a body: an answer can be told from the answer to something else.
fn echo(body: &[u8]) -> Vec<u8> {
    body.iter().map(|byte| byte ^ 0x55).collect()
}

/// What came with a message as a relay passes it on: parts as they are, and descriptors too, as far as the other end takes them. One that
/// cannot be sent is no part of the message any more.
fn relayed(pair: &mut Pair, end: usize, attachments: Attachments) -> Attachments {
    let most = usize::from(pair.session(end).peer().limits.attachments);
    match attachments {
        Attachments::Descriptors(all) if all.len() > most => Attachments::Parts(vec![0; all.len()]),
        as_they_are => as_they_are,
    }
}

impl Play {
    fn new(seed: u64) -> Play {
        let mut rng = Rng::with_seed(seed);
        let (client, server) = (tight(&mut rng), tight(&mut rng));
        let mut pair = Pair::with(seed, client, server);
        pair.most_piece = [3, 200, 100_000][seed as usize % 3];
        Play { pair, models: Default::default() }
    }

    fn model(&mut self, end: usize) -> &mut Model {
        &mut self.models[end]
    }

    /// One random thing at one end.
    fn act(&mut self) {
        let end = self.pair.rng.usize(0..2);
        match self.pair.rng.u8(..) {
            0..30 => self.start(end),
            30..80 => self.answer(end),
            80..100 => self.release(end),
            100..106 => self.cancel(end),
            106..110 => {
                let time = Duration::from_micros(self.pair.rng.u64(..5000));
                self.pair.advance(time);
            }
            110..112 => self.pair.session(end).ping(b"?"),
            _ => {
                self.pair.step();
            }
        }
        self.look(CLIENT);
        self.look(SERVER);
    }

    /// A table of own objects, new and old, and of the peer's.
    fn refs(&mut self, end: usize) -> Vec<Ref> {
        let mut refs = Vec::new();
        for _ in 0..self.pair.rng.usize(0..4) {
            let own: Vec<u64> = self.models[end].shown.iter().copied().collect();
            let peers: Vec<u64> = self.models[end].held.keys().copied().collect();
            match self.pair.rng.u8(0..3) {
                0 => {
                    if let Ok(object) = self.pair.session(end).show() {
                        assert!(self.model(end).shown.insert(object), "a number was used twice");
                        refs.push(Ref::Local(object));
                    }
                }
                1 => refs.extend(self.pair.rng.choice(own).map(Ref::Local)),
                _ => refs.extend(self.pair.rng.choice(peers).map(Ref::Remote)),
            }
        }
        refs
    }

    /// Descriptors, or parts at the end of a body of this length.
    fn attachments(&mut self, length: usize) -> Attachments {
        let rng = &mut self.pair.rng;
        if rng.bool() {
            return (0..rng.u32(0..4)).map(attachment).collect::<Vec<_>>().into();
        }
        let mut left = length as u64;
        let parts = (0..rng.usize(0..5)).map(|_| {
            let part = rng.u64(0..=left);
            left -= part;
            part
        });
        Attachments::Parts(parts.collect())
    }

    fn length(&mut self) -> usize {
        match self.pair.rng.u8(..) {
            0..200 => self.pair.rng.usize(9..60),
            200..230 => self.pair.rng.usize(3000..4500),
            _ => self.pair.rng.usize(4500..12_000),
        }
    }

    fn start(&mut self, end: usize) {
        let length = self.length();
        let (notify, timed) = (self.pair.rng.bool(), self.pair.rng.u8(..) < 60);
        let serial = self.models[end].sent + 1;
        let short = length < 3000;
        let mut body = vec![u8::from(short)];
        body.extend_from_slice(&serial.to_be_bytes());
        body.resize(length, serial as u8);
        let refs = self.refs(end);
        let attachments = self.attachments(length);
        let deadline = timed.then(|| self.pair.now + Duration::from_micros(self.pair.rng.u64(..20_000)));
        let arguments = Outgoing { refs: refs.clone(), attachments, ..Outgoing::native(&body) };
        let request =
            CallRequest { method: "echo", chain: serial, deadline, arguments, ..CallRequest::default() };
        let now = self.pair.now;
        let session = self.pair.session(end);
        let started = if notify { session.notify(now, request) } else { session.call(now, request) };
        match started {
            Ok(id) => {
                self.model(end).sent = serial;
                if !notify {
                    self.pair.expect_answer(end, id);
                    self.model(end).bodies.insert(id, body);
                }
            }
            Err(failure) => {
                assert_eq!(failure.kind, ErrorKind::TooLarge, "{failure}");
                self.pair.session(end).forget_unsent(&refs);
            }
        }
    }

    fn answer(&mut self, end: usize) {
        if self.models[end].running.is_empty() {
            return;
        }
        let index = self.pair.rng.usize(..self.models[end].running.len());
        let call = self.model(end).running.swap_remove(index);
        match self.pair.rng.u8(0..6) {
            0 => self.pair.fail(end, call.id, &Failure::new(ErrorKind::Application, "no")),
            1 if call.notify => self.pair.session(end).done(call.id),
            _ => {
                let refs = self.refs(end);
                let body = echo(&call.payload.body);
                let attachments = relayed(&mut self.pair, end, call.payload.attachments);
                let result = Outgoing { refs, attachments, ..Outgoing::native(&body) };
                self.pair.session(end).reply(call.id, result);
            }
        }
    }

    fn release(&mut self, end: usize) {
        let held: Vec<(u64, u64)> =
            self.models[end].held.iter().map(|(&object, &count)| (object, count)).collect();
        let Some((object, count)) = self.pair.rng.choice(held) else { return };
        let some = self.pair.rng.u64(1..=count);
        self.give_back(end, object, some);
    }

    fn give_back(&mut self, end: usize, object: u64, count: u64) {
        self.pair.session(end).release(object, count);
        let left = self.model(end).held.get_mut(&object).expect("a held reference");
        *left -= count;
        if *left == 0 {
            self.model(end).held.remove(&object);
        }
    }

    fn cancel(&mut self, end: usize) {
        let outstanding = self.pair.outstanding(end);
        if let Some(id) = self.pair.rng.choice(outstanding) {
            self.pair.session(end).cancel(id);
        }
    }

    /// Checks what happened at one end.
    fn look(&mut self, end: usize) {
        for event in self.pair.events(end) {
            match event {
                Event::Call(call) => self.check_call(end, call),
                Event::Answer { id, outcome } => self.check_answer(end, id, outcome),
                Event::Cancelled { id } => {
                    assert!(self.model(end).cancelled.insert(id), "cancelled twice");
                    let running = &self.models[end].running;
                    assert!(
                        running.iter().any(|call| call.id == id && !call.notify),
                        "cancelled what does not run"
                    );
                }
                Event::NotifyFailed { failure, .. } => {
                    assert!(
                        matches!(failure.kind, ErrorKind::Overloaded | ErrorKind::Application),
                        "{failure:?}"
                    );
                }
                Event::Released { object } => {
                    assert!(self.model(end).shown.remove(&object), "released twice")
                }
                Event::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn hold(&mut self, end: usize, refs: &[Ref]) {
        for entry in refs {
            match entry {
                Ref::Remote(object) => *self.model(end).held.entry(*object).or_default() += 1,
                Ref::Local(object) => assert!(*object > 0),
            }
        }
    }

    fn check_call(&mut self, end: usize, call: IncomingCall) {
        let body = &call.payload.body;
        let serial = u64::from_be_bytes(body[1..9].try_into().unwrap());
        assert_eq!(call.chain, serial);
        assert!(body[9..].iter().all(|&byte| byte == serial as u8));
        if body[0] == 1 {
            assert!(serial > self.models[end].last_short, "out of order");
            self.model(end).last_short = serial;
        }
        self.hold(end, &call.payload.refs);
        self.model(end).parts(&call.payload);
        self.model(end).running.push(call);
        let limit = self.pair.session(end).limits().calls as usize;
        let running = self.models[end].running.iter().filter(|call| !call.notify).count();
        assert!(running <= limit, "{running} calls run, {limit} are allowed");
    }

    fn check_answer(&mut self, end: usize, id: u64, outcome: Result<Payload, Failure>) {
        let body = self.model(end).bodies.remove(&id).expect("a call that waits");
        match outcome {
            Ok(payload) => {
                assert!(payload.body == echo(&body), "the answer to another call");
                self.hold(end, &payload.refs);
                self.model(end).parts(&payload);
            }
            Err(failure) => assert!(
                matches!(
                    failure.kind,
                    ErrorKind::Cancelled
                        | ErrorKind::Deadline
                        | ErrorKind::Overloaded
                        | ErrorKind::Application
                        | ErrorKind::TooLarge
                ),
                "{failure:?}"
            ),
        }
    }

    /// Answers everything and gives everything back: nothing may be left.
    fn settle(&mut self) {
        loop {
            self.pair.run();
            self.look(CLIENT);
            self.look(SERVER);
            let mut quiet = true;
            for end in [CLIENT, SERVER] {
                for call in std::mem::take(&mut self.model(end).running) {
                    quiet = false;
                    let body = echo(&call.payload.body);
                    self.pair.reply(end, call.id, &body);
                }
                for (object, count) in self.models[end].held.clone() {
                    quiet = false;
                    self.give_back(end, object, count);
                }
            }
            if quiet {
                break;
            }
        }
        for end in [CLIENT, SERVER] {
            assert!(self.pair.outstanding(end).is_empty(), "calls without an answer");
            assert_eq!(self.models[end].shown, BTreeSet::new(), "objects that nobody gave back");
            assert!(!self.pair.session(end).is_congested());
            assert_eq!(self.pair.session(end).poll_timeout(), None);
        }
    }
}

#[test]
fn two_honest_ends_agree_whatever_they_do() {
    for seed in seeds(80) {
        let mut play = Play::new(seed);
        for _ in 0..600 {
            play.act();
        }
        play.settle();
        play.pair.part();
    }
}

#[test]
fn every_call_is_answered_once_however_the_session_ends() {
    for seed in seeds(300) {
        let mut play = Play::new(seed);
        for _ in 0..play.pair.rng.usize(0..300) {
            play.act();
        }
        let end = play.pair.rng.usize(0..2);
        match play.pair.rng.u8(0..4) {
            0 => {}
            1 => play.pair.session(end).leave(),
            2 => play.pair.session(end).goodbye(Reason::Overloaded, "enough"),
            _ => {
                let now = play.pair.now;
                play.pair.session(end).receive(now, &frame(Kind::Proof, 0, 0, b""), vec![], false);
            }
        }
        for _ in 0..play.pair.rng.usize(0..200) {
            play.pair.step();
        }
        play.pair.cut();
        for end in [CLIENT, SERVER] {
            assert!(matches!(play.pair.events(end).last(), Some(Event::Closed(_))));
            assert!(play.pair.outstanding(end).is_empty());
        }
    }
}

/// Frames that look like something, with small numbers so that they meet.
fn plausible(rng: &mut Rng) -> Vec<u8> {
    let kinds = [
        0x10, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x30, 0x30, 0x31, 0x40, 0x41, 0x42, 0x43, 0x88, 0x02,
        0x01,
    ];
    let number = *rng.choice(&kinds).unwrap();
    let kind = Kind::from_number(number).unwrap();
    let kind_flags = if rng.u8(..) < 250 { rng.u8(..) & kind.allowed_flags() } else { rng.u8(..) };
    let small = |rng: &mut Rng| if rng.u8(..) < 250 { rng.u64(0..8) } else { rng.u64(..) };
    let mut payload = match kind {
        Kind::Call | Kind::Notify => call_payload(small(rng), "method", b""),
        Kind::Result | Kind::Item => vec![rng.u8(0..4)],
        Kind::Error | Kind::End | Kind::Goodbye => vec![0, rng.u8(0..20)],
        Kind::Credit | Kind::Release => small(rng).to_be_bytes().to_vec(),
        Kind::Cancel => Vec::new(),
        _ => vec![rng.u8(..); rng.usize(0..70)],
    };
    if matches!(kind, Kind::Call | Kind::Notify | Kind::Result | Kind::Error | Kind::Item | Kind::End) {
        if kind_flags & 4 != 0 {
            payload.extend_from_slice(&[0, 1, 0x80]);
        }
        if kind_flags & 2 != 0 {
            let entries: Vec<(u8, u64)> = (0..rng.usize(0..4)).map(|_| (rng.u8(0..2), small(rng))).collect();
            payload.extend_from_slice(&table(&entries));
        }
        if kind_flags & 0x40 != 0 {
            let count = if rng.u8(..) < 250 { rng.u16(0..4) } else { rng.u16(..) };
            payload.extend_from_slice(&count.to_be_bytes());
            for _ in 0..count.min(70) {
                let length = if rng.u8(..) < 230 { rng.u64(0..20) } else { rng.u64(..) };
                payload.extend_from_slice(&length.to_be_bytes());
            }
        }
        if kind_flags & 1 != 0 {
            payload.extend_from_slice(&long_tail(small(rng), rng.u64(0..300), b""));
        }
        payload.resize(payload.len() + rng.usize(0..50), 0xc0);
    }
    let attachments = if rng.u8(..) < 20 { rng.u16(0..3) } else { 0 };
    let mut bytes = frame_with(kind, kind_flags, attachments, small(rng), &payload);
    for _ in 0..if rng.u8(..) < 30 { rng.usize(1..4) } else { 0 } {
        let index = rng.usize(..bytes.len());
        bytes[index] = if rng.bool() { rng.u8(..) } else { bytes[index] ^ (1 << rng.u8(0..8)) };
    }
    bytes
}

/// A session under attack, and what it may do by itself meanwhile.
struct Victim {
    lone: Lone,
    calls: BTreeSet<u64>,
    running: Vec<u64>,
    shown: Vec<u64>,
    /// Streams that it sends, and that it receives.
    streams: [BTreeSet<StreamId>; 2],
    over: bool,
}

impl Victim {
    fn act(&mut self, rng: &mut Rng) {
        let (session, now) = (&mut self.lone.session, self.lone.now);
        let object = rng.choice(&self.shown).copied();
        let stream = StreamId { own: rng.bool(), call: rng.u64(0..8) };
        match rng.u8(0..14) {
            0 => {
                let body = vec![1; rng.usize(0..9000)];
                let arguments = Outgoing {
                    refs: object.map(Ref::Local).into_iter().collect(),
                    ..Outgoing::native(&body)
                };
                let deadline = rng.bool().then(|| now + Duration::from_micros(rng.u64(..1000)));
                let arguments = Outgoing { stream: rng.bool(), ..arguments };
                let (target, promise) = (rng.u64(0..4), rng.u8(..) < 60);
                let request = CallRequest {
                    target,
                    promise,
                    method: "m",
                    deadline,
                    arguments,
                    ..CallRequest::default()
                };
                if let Ok(id) = session.call(now, request) {
                    self.calls.insert(id);
                    self.opened(StreamId { own: true, call: id });
                }
            }
            1 => drop(session.notify(now, request("m", b""))),
            2 => self.shown.extend(session.show()),
            3 => session.release(rng.u64(0..8), rng.u64(0..3)),
            4 => session.cancel(rng.u64(0..8)),
            5 => {
                self.lone.now += Duration::from_micros(rng.u64(..500));
                session.handle_timeout(self.lone.now);
            }
            6..9 => {
                if let Some(id) = self.running.pop() {
                    let body = vec![2; rng.usize(0..9000)];
                    session.reply(id, Outgoing { stream: rng.bool(), ..Outgoing::native(&body) });
                    self.opened(StreamId { own: false, call: id });
                }
            }
            9 => _ = session.item(stream, Outgoing::native(&vec![3; rng.usize(0..9000)])),
            10 => session.want_items(stream, rng.u64(0..3)),
            11 => {
                session.stop_stream(stream);
                self.streams[1].remove(&stream);
            }
            12 => {
                session.end_stream(stream, Ok(()));
                self.streams[0].remove(&stream);
            }
            _ => {
                self.lone.output();
            }
        }
    }

    fn opened(&mut self, stream: StreamId) {
        if self.lone.session.is_streaming(stream) {
            self.streams[0].insert(stream);
        }
    }

    fn look(&mut self) {
        for event in self.lone.events() {
            assert!(!self.over, "an event behind the last one");
            match event {
                Event::Call(mut call) => {
                    self.running.push(call.id);
                    let _ = call.payload.take_parts();
                    let stream = StreamId { own: false, call: call.id };
                    self.streams[1].extend(call.payload.stream.then_some(stream));
                }
                Event::Answer { id, outcome } => {
                    assert!(self.calls.remove(&id), "a second answer");
                    let streams = outcome.is_ok_and(|payload| payload.stream);
                    self.streams[1].extend(streams.then_some(StreamId { own: true, call: id }));
                }
                Event::Item { stream, .. } => assert!(self.streams[1].contains(&stream)),
                Event::End { stream, .. } => assert!(self.streams[1].remove(&stream), "a second end"),
                Event::Credit { stream } => assert!(self.streams[0].contains(&stream)),
                Event::Stopped { stream } => assert!(self.streams[0].remove(&stream), "stopped twice"),
                Event::Released { object } => self.shown.retain(|&other| other != object),
                Event::Closed(_) => self.over = true,
                _ => {}
            }
        }
        assert_eq!(self.over, self.lone.session.is_closed());
        assert!(self.lone.session.proved_with().is_none(), "nobody can prove what he does not have");
    }
}

#[test]
fn no_bytes_bring_a_session_down() {
    for seed in seeds(3000) {
        let _named = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let role = if rng.bool() { Role::Acceptor } else { Role::Initiator };
        let limits = Limits { attachments: 2, window: 100, calls: 4, objects: 5, ..Limits::default() };
        let features = vec![STREAMS.to_owned(), PROMISES.to_owned()];
        let auth = match rng.u8(0..10) {
            0 => Auth::Secret {
                keys: [Key::new([1; 32]), Key::new([2; 32])].into(),
                ended: [].into(),
                nonce: [3; 32],
            },
            _ => Auth::User,
        };
        let method = if let Auth::User = auth { "user" } else { "secret" };
        let heartbeat = rng.bool().then_some(Heartbeat { after: millis(1), patience: millis(1) });
        let config = Config { limits, features: features.clone(), auth, heartbeat, ..Config::default() };
        let mut lone = Lone::unopened(role, config);
        lone.session.bind(&binding::unix());
        let peer = Limits { frame: 4096, window: rng.u32(0..200), calls: 3, ..Limits::default() };
        let hello = Hello {
            auth: vec![method.to_owned()],
            nonce: Some([4; 32]),
            features,
            limits: peer,
            ..Hello::default()
        };
        match rng.u8(0..10) {
            0 => {}
            1 => lone.receive(&preface(&(1..=1))),
            _ => lone.receive(&introduction(&hello)),
        }
        let mut victim = Victim {
            lone,
            calls: BTreeSet::new(),
            running: vec![],
            shown: vec![],
            streams: Default::default(),
            over: false,
        };
        let mut bytes = Vec::new();
        for _ in 0..60 {
            match rng.u8(..) {
                0..150 => bytes.extend(plausible(&mut rng)),
                150..152 => bytes.extend((0..rng.usize(0..100)).map(|_| rng.u8(..))),
                152..160 => bytes.extend(introduction(&hello)),
                _ => victim.act(&mut rng),
            }
            let count = rng.usize(0..=bytes.len());
            let rest = bytes.split_off(count);
            let came: Vec<u32> = if rng.u8(..) < 10 { (0..rng.u32(0..4)).collect() } else { vec![] };
            victim.lone.receive_with(&bytes, &came);
            bytes = rest;
            victim.look();
        }
        victim.lone.output();
        victim.lone.session.disconnected("the end");
        victim.look();
        assert!(victim.over && victim.calls.is_empty(), "calls without an answer");
        assert!(victim.streams.iter().all(BTreeSet::is_empty), "streams without an end");
        victim.lone.receive(b"more");
        assert!(victim.lone.events().is_empty() && victim.lone.output().is_empty());
    }
}

#[test]
fn a_stream_that_is_spoilt_on_its_way_ends_in_order_or_is_survived() {
    for seed in seeds(100) {
        let mut play = Play::new(seed);
        for round in 0..200 {
            if round % 20 == 19 {
                play.pair.spoil();
            }
            let end = play.pair.rng.usize(0..2);
            if play.pair.session(end).is_open() && play.pair.rng.u8(..) < 60 {
                let now = play.pair.now;
                if let Ok(id) = play.pair.session(end).call(now, request("m", &bulk(round * 30))) {
                    play.pair.expect_answer(end, id);
                }
            }
            for event in play.pair.events(end) {
                if let Event::Call(call) = event {
                    play.pair.reply(end, call.id, &call.payload.body);
                }
            }
            for _ in 0..5 {
                play.pair.step();
            }
        }
        play.pair.cut();
        assert!(play.pair.outstanding(CLIENT).is_empty() && play.pair.outstanding(SERVER).is_empty());
    }
}

#[test]
fn a_session_is_as_small_after_an_attack_as_the_calls_it_took() {
    // What cannot be refused, dropped or given up would pile up in here, and is_finished would never come.
    for seed in seeds(100) {
        let _named = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let limits = Limits { calls: 2, window: 10, ..Limits::default() };
        let mut lone = Lone::open(Role::Acceptor, limits, Limits::default());
        let mut running = Vec::new();
        let mut ids = 1..;
        for _ in 0..200 {
            let id = ids.next().unwrap();
            let kind = if rng.bool() { Kind::Call } else { Kind::Notify };
            let begin = call_payload(0, "x", &long_tail(id, rng.u64(11..1 << 29), &[0; 10]));
            lone.receive(&frame(kind, 1, id, &begin));
            if rng.bool() {
                lone.receive(&frame(Kind::Chunk, 1, rng.u64(1..=id), b""));
            }
            if rng.bool() {
                lone.receive(&frame(Kind::Cancel, 0, rng.u64(1..=id), b""));
            }
            running.extend(lone.events().into_iter().filter_map(|event| match event {
                Event::Call(call) => Some(call.id),
                _ => None,
            }));
            lone.output();
        }
        for body in 1..ids.next().unwrap() {
            lone.receive(&frame(Kind::Chunk, 1, body, b""));
        }
        assert!(lone.session.is_open() && running.is_empty());
        lone.session.leave();
        lone.output();
        assert!(lone.session.is_finished());
    }
}

/// The session is a plain value: whoever drives it may move it between threads.
#[test]
fn a_session_can_be_sent_to_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<Session>();
}
