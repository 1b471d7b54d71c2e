//! Random sequences of calls with streams and promises against a model; see `fuzz` for the environment variables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use andiron_proto::codec::FIRST_REFERENCE;
use andiron_proto::{
    CallRequest, ErrorKind, Event, Failure, IncomingCall, Limits, Outgoing, Payload, Ref, StreamId,
};
use fastrand::Rng;

use crate::fuzz::{seeds, tight};
use crate::support::*;

/// A stream as both ends can name it: who made the call, its number, and who sends the items.
type Name = (usize, u64, usize);

/// What was made of a stream by its sender.
#[derive(Default)]
struct Made {
    items: u64,
    /// How it was ended, if it was.
    end: Option<bool>,
}

/// What one end has to do with streams.
#[derive(Default)]
struct Model {
    /// Calls of the peer that this end handles.
    running: Vec<IncomingCall>,
    /// Streams that this end sends, and was not told to be stopped.
    sends: BTreeSet<StreamId>,
    /// Streams that this end receives: items that it asked for, and that came.
    receives: BTreeMap<StreamId, (u64, u64)>,
    /// What the answers of this end gave: their object, or nothing that could be called.
    gave: BTreeMap<u64, Option<u64>>,
    /// What own calls depend on.
    depends: BTreeMap<u64, u64>,
    /// References to give back.
    held: Vec<u64>,
}

struct Play {
    pair: Pair,
    models: [Model; 2],
    made: BTreeMap<Name, Made>,
}

/// The items of a stream can be told from those of another, and from each other.
fn item_body((maker, call, sender): Name, number: u64, length: usize) -> Vec<u8> {
    let mut body = [call, number].map(u64::to_be_bytes).concat();
    body.push((maker * 2 + sender) as u8);
    body.resize(length.max(17), number as u8);
    body
}

fn own_name(end: usize, stream: StreamId, sender: usize) -> Name {
    (if stream.own { end } else { 1 - end }, stream.call, sender)
}

impl Play {
    fn new(seed: u64) -> Play {
        let mut rng = Rng::with_seed(seed);
        let mut limits = || Limits { attachments: 0, ..tight(&mut rng) };
        let mut pair = Pair::featured(seed, limits(), limits());
        pair.most_piece = [3, 200, 100_000][seed as usize % 3];
        Play { pair, models: Default::default(), made: BTreeMap::new() }
    }

    /// One random thing at one end.
    fn act(&mut self) {
        let end = self.pair.rng.usize(0..2);
        match self.pair.rng.u8(..) {
            0..25 => self.start(end),
            25..50 => self.answer(end),
            50..90 => self.send(end),
            90..94 => self.end(end),
            94..115 => self.want(end),
            115..119 => self.stop(end),
            119..124 => {
                let outstanding = self.pair.outstanding(end);
                if let Some(id) = self.pair.rng.choice(outstanding) {
                    self.pair.session(end).cancel(id);
                }
            }
            124..128 => {
                let time = Duration::from_micros(self.pair.rng.u64(..5000));
                self.pair.advance(time);
            }
            128..135 => self.give_back(end),
            _ => {
                self.pair.step();
            }
        }
        self.look(CLIENT);
        self.look(SERVER);
    }

    fn length(&mut self) -> usize {
        if self.pair.rng.u8(..) < 200 { self.pair.rng.usize(17..60) } else { self.pair.rng.usize(3000..9000) }
    }

    fn start(&mut self, end: usize) {
        let length = self.length();
        let body = vec![1; length];
        let stream = self.pair.rng.bool();
        let outstanding = self.pair.outstanding(end);
        let of = if self.pair.rng.u8(..) < 100 { self.pair.rng.choice(outstanding) } else { None };
        let timed = self.pair.rng.u8(..) < 40;
        let deadline = timed.then(|| self.pair.now + Duration::from_micros(self.pair.rng.u64(..20_000)));
        let request = CallRequest {
            target: of.unwrap_or(0),
            promise: of.is_some(),
            deadline,
            arguments: Outgoing { stream, ..Outgoing::native(&body) },
            ..request("mill", b"")
        };
        let id = self.pair.call(end, request);
        self.models[end].depends.extend(of.map(|of| (id, of)));
        if stream {
            self.opened(end, StreamId { own: true, call: id });
        }
    }

    /// This end sends a stream from now on.
    fn opened(&mut self, end: usize, stream: StreamId) {
        assert!(self.pair.session(end).is_streaming(stream));
        self.models[end].sends.insert(stream);
        self.made.insert(own_name(end, stream, end), Made::default());
    }

    /// Answers a call that can be answered: not one of what is not known yet.
    fn answer(&mut self, end: usize) {
        let model = &self.models[end];
        let known = |call: &IncomingCall| !call.promise || model.gave.contains_key(&call.target);
        let ready: Vec<usize> = (0..model.running.len()).filter(|&i| known(&model.running[i])).collect();
        let Some(index) = self.pair.rng.choice(ready) else { return };
        let call = self.models[end].running.swap_remove(index);
        let stream = StreamId { own: false, call: call.id };
        let promised = if call.promise { self.models[end].gave[&call.target] } else { Some(0) };
        let object = match self.pair.rng.u8(0..4) {
            _ if promised.is_none() => None,
            0 => self.pair.session(end).show().ok(),
            _ => None,
        };
        self.models[end].gave.insert(call.id, object);
        if let Some(object) = object {
            let refs = vec![Ref::Local(object)];
            let result = Outgoing { refs, ..Outgoing::native(FIRST_REFERENCE) };
            self.pair.session(end).reply(call.id, result);
        } else if promised.is_none() || self.pair.rng.u8(..) < 60 {
            self.pair.fail(end, call.id, &Failure::new(ErrorKind::Application, "no"));
        } else {
            let length = self.length();
            let streaming = self.pair.rng.bool();
            let body = vec![2; length];
            let result = Outgoing { stream: streaming, ..Outgoing::native(&body) };
            self.pair.session(end).reply(call.id, result);
            if streaming && self.pair.session(end).is_streaming(stream) {
                self.opened(end, stream);
            }
        }
    }

    fn any_sent(&mut self, end: usize) -> Option<StreamId> {
        let sends: Vec<StreamId> = self.models[end].sends.iter().copied().collect();
        self.pair.rng.choice(sends)
    }

    fn any_received(&mut self, end: usize) -> Option<StreamId> {
        let receives: Vec<StreamId> = self.models[end].receives.keys().copied().collect();
        self.pair.rng.choice(receives)
    }

    fn send(&mut self, end: usize) {
        let Some(stream) = self.any_sent(end) else { return };
        assert!(self.pair.session(end).is_streaming(stream));
        if self.pair.session(end).stream_credit(stream) == 0 {
            return;
        }
        let length = self.length();
        let name = own_name(end, stream, end);
        let made = self.made.get_mut(&name).unwrap();
        let refs: Vec<Ref> = self.pair.ends[end].session.show().into_iter().map(Ref::Local).collect();
        let body = item_body(name, made.items, length);
        made.items += 1;
        self.pair.session(end).item(stream, Outgoing { refs, ..Outgoing::native(&body) }).unwrap();
    }

    fn end(&mut self, end: usize) {
        let Some(stream) = self.any_sent(end) else { return };
        let good = self.pair.rng.bool();
        self.finish(end, stream, good);
    }

    fn finish(&mut self, end: usize, stream: StreamId, good: bool) {
        self.models[end].sends.remove(&stream);
        self.made.get_mut(&own_name(end, stream, end)).unwrap().end = Some(good);
        let outcome = if good { Ok(()) } else { Err(Failure::new(ErrorKind::Quota, "empty")) };
        self.pair.session(end).end_stream(stream, outcome);
    }

    fn want(&mut self, end: usize) {
        let Some(stream) = self.any_received(end) else { return };
        let more = self.pair.rng.u64(0..5);
        self.models[end].receives.get_mut(&stream).unwrap().0 += more;
        self.pair.session(end).want_items(stream, more);
    }

    fn stop(&mut self, end: usize) {
        let Some(stream) = self.any_received(end) else { return };
        self.models[end].receives.remove(&stream);
        self.pair.session(end).stop_stream(stream);
    }

    fn give_back(&mut self, end: usize) {
        if let Some(object) = self.models[end].held.pop() {
            self.pair.session(end).release(object, 1);
        }
    }

    fn hold(&mut self, end: usize, refs: &[Ref]) {
        self.models[end].held.extend(refs.iter().map(|entry| match *entry {
            Ref::Remote(object) => object,
            Ref::Local(object) => panic!("nobody handed {object} back"),
        }));
    }

    /// Checks what happened at one end.
    fn look(&mut self, end: usize) {
        for event in self.pair.events(end) {
            match event {
                Event::Call(call) => self.check_call(end, call),
                Event::Answer { id, outcome } => self.check_answer(end, id, outcome),
                Event::Item { stream, payload } => self.check_item(end, stream, &payload),
                Event::End { stream, outcome } => self.check_end(end, stream, outcome),
                Event::Credit { stream } => assert!(self.models[end].sends.contains(&stream), "{stream:?}"),
                Event::Stopped { stream } => assert!(self.models[end].sends.remove(&stream), "{stream:?}"),
                Event::Cancelled { id } => {
                    assert!(self.models[end].running.iter().any(|call| call.id == id));
                    assert!(!self.models[end].receives.contains_key(&StreamId { own: false, call: id }));
                }
                Event::Released { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn receives(&mut self, end: usize, id: u64, own: bool, payload: &Payload) {
        if payload.stream {
            let stream = StreamId { own, call: id };
            assert!(self.models[end].receives.insert(stream, (0, 0)).is_none());
        }
    }

    fn check_call(&mut self, end: usize, call: IncomingCall) {
        match self.models[1 - end].depends.get(&call.id) {
            Some(&of) if call.promise => {
                assert_eq!(call.target, of);
                let waits = self.models[end].running.iter().any(|earlier| earlier.id == of);
                assert!(waits, "it depends on a call that does not run");
            }
            Some(of) => assert_eq!(self.models[end].gave[of], Some(call.target), "another object"),
            None => assert!(!call.promise && call.target == 0),
        }
        self.receives(end, call.id, false, &call.payload);
        self.models[end].running.push(call);
    }

    fn check_answer(&mut self, end: usize, id: u64, outcome: Result<Payload, Failure>) {
        let streams = outcome.as_ref().is_ok_and(|payload| payload.stream);
        let own = StreamId { own: true, call: id };
        assert!(streams || !self.models[end].sends.contains(&own), "items go on behind {outcome:?}");
        match outcome {
            Ok(payload) => {
                if let Some(of) = self.models[end].depends.get(&id) {
                    assert!(self.models[1 - end].gave[of].is_some(), "it ran on what was not given");
                }
                self.receives(end, id, true, &payload);
                self.hold(end, &payload.refs);
            }
            Err(failure) => {
                let depends = self.models[end].depends.contains_key(&id);
                let fits = match failure.kind {
                    ErrorKind::BadArguments => depends,
                    kind => matches!(
                        kind,
                        ErrorKind::Cancelled
                            | ErrorKind::Deadline
                            | ErrorKind::Overloaded
                            | ErrorKind::Application
                            | ErrorKind::TooLarge
                    ),
                };
                assert!(fits, "{failure:?}");
            }
        }
    }

    fn check_item(&mut self, end: usize, stream: StreamId, payload: &Payload) {
        let (asked, came) = self.models[end].receives.get_mut(&stream).expect("a stream that is wanted");
        let number = *came;
        *came += 1;
        assert!(*came <= *asked, "more items than were asked for");
        let name = own_name(end, stream, 1 - end);
        assert!(payload.body == item_body(name, number, payload.body.len()), "another item");
        self.hold(end, &payload.refs);
    }

    fn check_end(&mut self, end: usize, stream: StreamId, outcome: Result<(), Failure>) {
        let (_, came) = self.models[end].receives.remove(&stream).expect("a stream that is wanted");
        let made = &self.made[&own_name(end, stream, 1 - end)];
        match outcome.map_err(|failure| failure.kind) {
            Ok(()) => assert_eq!((made.end, made.items), (Some(true), came), "items are missing"),
            Err(ErrorKind::Quota) => assert_eq!((made.end, made.items), (Some(false), came)),
            Err(kind) => assert!(matches!(kind, ErrorKind::Cancelled | ErrorKind::Deadline), "{kind:?}"),
        }
    }

    /// Answers, ends and gives back everything: nothing may be left.
    fn settle(&mut self) {
        loop {
            self.pair.run();
            self.look(CLIENT);
            self.look(SERVER);
            let mut quiet = true;
            for end in [CLIENT, SERVER] {
                while !self.models[end].running.is_empty() {
                    quiet = false;
                    self.answer(end);
                }
                for stream in self.models[end].sends.clone() {
                    quiet = false;
                    self.finish(end, stream, true);
                }
                while !self.models[end].held.is_empty() {
                    quiet = false;
                    self.give_back(end);
                }
            }
            if quiet {
                break;
            }
        }
        for end in [CLIENT, SERVER] {
            assert!(self.pair.outstanding(end).is_empty(), "calls without an answer");
            assert!(self.models[end].receives.is_empty(), "streams without an end");
            assert_eq!(self.pair.session(end).poll_timeout(), None);
        }
    }
}

#[test]
fn two_honest_ends_agree_on_streams_and_promises_whatever_they_do() {
    for seed in seeds(120) {
        let mut play = Play::new(seed);
        for _ in 0..600 {
            play.act();
        }
        play.settle();
        play.pair.part();
    }
}

#[test]
fn every_stream_ends_once_however_the_session_does() {
    for seed in seeds(200) {
        let mut play = Play::new(seed);
        for _ in 0..play.pair.rng.usize(0..400) {
            play.act();
        }
        if play.pair.rng.bool() {
            let leaver = play.pair.rng.usize(0..2);
            play.pair.session(leaver).leave();
        }
        for _ in 0..play.pair.rng.usize(0..100) {
            play.pair.step();
        }
        play.pair.cut();
        for end in [CLIENT, SERVER] {
            for event in play.pair.events(end) {
                match event {
                    Event::End { stream, .. } => _ = play.models[end].receives.remove(&stream).unwrap(),
                    Event::Stopped { stream } => assert!(play.models[end].sends.remove(&stream)),
                    Event::Call(call) => play.receives(end, call.id, false, &call.payload),
                    Event::Answer { id, outcome: Ok(payload) } => play.receives(end, id, true, &payload),
                    _ => {}
                }
            }
            assert!(play.models[end].receives.is_empty() && play.models[end].sends.is_empty());
        }
    }
}
