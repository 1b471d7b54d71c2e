//! Section 6: bodies that do not fit into one frame.

use andiron_proto::wire::{Kind, flags};
use andiron_proto::{Body, CallRequest, ErrorKind, Event, Failure, Limits, Outgoing, Ref, Role};

use crate::support::*;

/// Small frames and windows make anything long.
fn narrow(window: u32) -> Limits {
    Limits { frame: 4096, window, ..Limits::default() }
}

/// A call by hand whose body of `total` bytes has begun with `beginning`.
fn long_call(id: u64, body: u64, total: u64, beginning: &[u8]) -> Vec<u8> {
    frame(Kind::Call, flags::LONG, id, &call_payload(0, "put", &long_tail(body, total, beginning)))
}

fn chunk(body: u64, bytes: &[u8]) -> Vec<u8> {
    frame(Kind::Chunk, 0, body, bytes)
}

/// The credit that the session granted; other frames do not count.
fn credits(lone: &mut Lone) -> Vec<(u64, u64)> {
    let frames = lone.frames();
    let credits = frames.iter().filter(|(header, _)| header.kind == Kind::Credit);
    credits
        .map(|(header, payload)| (header.id, u64::from_be_bytes(payload[..].try_into().unwrap())))
        .collect()
}

#[test]
fn bodies_of_any_length_arrive_both_ways_under_any_window() {
    for (seed, window) in [0, 1, 100, 4000, 4096, 100_000, u32::MAX].into_iter().enumerate() {
        let mut pair = Pair::with(seed as u64, narrow(window), narrow(window));
        for length in [0, 1, 3900, 4000, 4066, 4067, 4068, 4069, 4070, 4096, 5000, 16 << 10, 100_000] {
            let body = bulk(length);
            let id = pair.call(CLIENT, request("put", &body));
            pair.run();
            let call = pair.one_call(SERVER);
            assert!(call.payload.body == body, "{length} bytes with a window of {window}");
            pair.reply_shared(SERVER, id, body.clone());
            pair.run();
            assert!(pair.one_answer(CLIENT, id).unwrap().body == body, "{length} bytes back");
        }
    }
}

#[test]
fn a_notify_can_be_long_too() {
    let mut pair = Pair::with(1, narrow(100), narrow(100));
    let body = bulk(50_000);
    let id = pair.notify(CLIENT, request("tell", &body));
    pair.run();
    let call = pair.one_call(SERVER);
    assert!(call.notify && call.payload.body == body);
    pair.fail(SERVER, id, &Failure::new(ErrorKind::NoMethod, ""));
    pair.run();
    assert!(matches!(&pair.events(CLIENT)[..], [Event::NotifyFailed { .. }]));
}

#[test]
fn hundreds_of_long_bodies_both_ways_do_not_block_each_other() {
    for (seed, window) in [0, 3, 5000].into_iter().enumerate() {
        let mut pair = Pair::with(seed as u64, narrow(window), narrow(window));
        for end in [CLIENT, SERVER] {
            for number in 0..200_u8 {
                pair.call(end, request("put", &vec![number; 6000 + usize::from(number)]));
            }
        }
        pair.run();
        for end in [CLIENT, SERVER] {
            let mut calls = pair.calls(end);
            assert_eq!(calls.len(), 200);
            pair.rng.shuffle(&mut calls);
            for call in calls {
                let first = call.payload.body[0];
                assert!(call.payload.body.iter().all(|&byte| byte == first));
                assert_eq!(call.payload.body.len(), 6000 + usize::from(first));
                pair.reply_shared(end, call.id, call.payload.body.to_vec());
            }
        }
        pair.run();
        for end in [CLIENT, SERVER] {
            let answers = pair.answers(end);
            assert_eq!(answers.len(), 200);
            assert!(answers.iter().all(|(id, outcome)| {
                outcome.as_ref().is_ok_and(|payload| payload.body.len() as u64 == 6000 + (id - 1))
            }));
        }
    }
}

#[test]
fn chunks_of_different_bodies_interleave() {
    let mut lone = Lone::open(Role::Initiator, Limits::default(), narrow(1 << 20));
    for _ in 0..3 {
        lone.session.call(lone.now, request("put", &bulk(20_000))).unwrap();
    }
    let chunks: Vec<u64> = lone
        .frames()
        .iter()
        .filter(|(header, _)| header.kind == Kind::Chunk)
        .map(|(header, _)| header.id)
        .collect();
    assert_eq!(chunks[..6], [1, 2, 3, 1, 2, 3]);
}

#[test]
fn other_frames_overtake_chunks() {
    let mut lone = Lone::open(Role::Initiator, Limits::default(), narrow(1 << 20));
    lone.session.call(lone.now, request("put", &bulk(100_000))).unwrap();
    let take = |lone: &mut Lone| {
        let transmit = lone.session.poll_transmit().unwrap();
        let bytes: Vec<u8> = transmit.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        lone.session.transmitted(bytes.len());
        split_frames(&bytes).iter().map(|(header, _)| header.kind).collect::<Vec<_>>()
    };
    assert_eq!(take(&mut lone), [Kind::Call]);
    assert_eq!(take(&mut lone), [Kind::Chunk]);
    lone.session.ping(b"");
    lone.session.call(lone.now, request("small", b"")).unwrap();
    assert_eq!(take(&mut lone), [Kind::Ping, Kind::Call]);
    assert_eq!(take(&mut lone), [Kind::Chunk]);
}

#[test]
fn no_more_is_sent_than_the_window_and_the_credit() {
    for window in [0, 1000, 4000, 10_000] {
        let mut lone = Lone::open(Role::Initiator, Limits::default(), narrow(window));
        lone.session.call(lone.now, request("put", &bulk(20_000))).unwrap();
        let body_bytes = |lone: &mut Lone| -> u64 {
            let frames = lone.frames();
            let length = |(header, payload): &(andiron_proto::wire::Header, Vec<u8>)| match header.kind {
                Kind::Call => payload.len() - call_payload(0, "put", &[0; 16]).len(),
                Kind::Chunk => payload.len(),
                kind => panic!("{kind:?}"),
            };
            frames.iter().map(length).sum::<usize>() as u64
        };
        assert_eq!(body_bytes(&mut lone), u64::from(window));
        for amount in [1, 5000, 0, 3] {
            lone.receive(&frame(Kind::Credit, 0, 1, &u64::to_be_bytes(amount)));
            assert_eq!(body_bytes(&mut lone), amount);
        }
        lone.receive(&frame(Kind::Credit, 0, 1, &u64::MAX.to_be_bytes()));
        lone.receive(&frame(Kind::Credit, 0, 1, &u64::MAX.to_be_bytes()));
        assert_eq!(body_bytes(&mut lone), 20_000 - u64::from(window) - 5004);
        assert!(!lone.session.want_write());
        lone.receive(&frame(Kind::Credit, 0, 1, &1_u64.to_be_bytes()));
        lone.expect_silence();
    }
}

#[test]
fn credit_goes_to_one_body_after_the_other_for_its_whole_rest() {
    let mut lone = Lone::open(Role::Acceptor, narrow(10), Limits::default());
    lone.receive(&long_call(1, 1, 100, &[1; 10]));
    lone.receive(&long_call(2, 2, 50, &[2; 4]));
    lone.receive(&long_call(3, 3, 10, &[3; 4]));
    assert_eq!(credits(&mut lone), [(1, 90)]);
    lone.receive(&chunk(2, &[2; 6]));
    lone.receive(&chunk(3, &[3; 6]));
    assert!(matches!(&lone.events()[..], [Event::Call(call)] if call.id == 3), "it needed no credit");
    lone.receive(&chunk(1, &[1; 90]));
    assert!(
        matches!(&lone.events()[..], [Event::Call(call)] if call.id == 1 && call.payload.body[..] == [1; 100])
    );
    assert_eq!(credits(&mut lone), [(2, 40)]);
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 2, b""));
    lone.receive(&long_call(4, 4, 11, b""));
    assert_eq!(credits(&mut lone), [(4, 11 - 10)]);
}

#[test]
fn more_bytes_than_announced_or_granted_end_the_session() {
    let over_total = [long_call(1, 1, 100, b""), chunk(1, &[0; 101])].concat();
    let over_credit = [long_call(1, 1, 100, b""), long_call(2, 2, 100, b""), chunk(2, &[0; 51])].concat();
    let begins_over_window = long_call(1, 1, 100, &[0; 51]);
    let nothing_left = long_call(1, 1, 10, &[0; 10]);
    let same_body = [long_call(1, 1, 100, b""), long_call(2, 1, 100, b"")].concat();
    let body_zero = long_call(1, 0, 100, b"");
    for bytes in [over_total, over_credit, begins_over_window, nothing_left, same_body, body_zero] {
        let mut lone = Lone::open(Role::Acceptor, narrow(50), Limits::default());
        lone.receive(&bytes);
        lone.expect_violation("");
    }
    let mut lone = Lone::new();
    lone.receive(&chunk(1, b"x"));
    lone.expect_violation("never began");
    let mut lone = Lone::new();
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b""));
    lone.expect_violation("never began");
    let mut lone = Lone::new();
    lone.receive(&frame(Kind::Credit, 0, 1, &[0; 8]));
    lone.expect_violation("never began");
    let mut lone = Lone::new();
    lone.receive(&long_call(1, 1, 100, b""));
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b"x"));
    lone.expect_violation("payload");
}

#[test]
fn a_body_longer_than_a_message_may_be_ends_the_session_before_its_bytes_come() {
    let limits = Limits { message: 10_000, ..Limits::default() };
    for kind in [Kind::Call, Kind::Notify] {
        let mut lone = Lone::open(Role::Acceptor, limits.clone(), Limits::default());
        lone.receive(&frame(kind, flags::LONG, 1, &call_payload(0, "put", &long_tail(1, 10_001, b""))));
        lone.expect_violation("10001");
    }
    let mut lone = Lone::open(Role::Acceptor, limits.clone(), Limits::default());
    lone.receive(&frame(Kind::Call, 0, 1, &call_payload(0, "put", &[0; 10_001])));
    lone.expect_violation("10001");
    let mut lone = Lone::open(Role::Acceptor, limits, Limits::default());
    lone.session.call(lone.now, request("get", b"")).unwrap();
    lone.receive(&frame(Kind::Result, flags::LONG, 1, &[b"\x01", &long_tail(1, 10_001, b"")[..]].concat()));
    lone.session.poll_event();
    lone.expect_violation("10001");
}

#[test]
fn a_cancel_gives_up_the_body_that_is_under_way_to_the_callee() {
    for seed in 0..20 {
        let mut pair = Pair::with(seed, narrow(100), narrow(100));
        let object = pair.session(CLIENT).show().unwrap();
        let arguments = Outgoing { refs: vec![Ref::Local(object)], ..Outgoing::native(&[5; 100_000]) };
        let id = pair.call(CLIENT, CallRequest { method: "put", arguments, ..CallRequest::default() });
        for _ in 0..seed {
            pair.step();
        }
        pair.session(CLIENT).cancel(id);
        pair.run();
        assert!(pair.calls(SERVER).is_empty(), "it never was");
        let mut events = pair.events(CLIENT);
        assert!(matches!(events.remove(0), Event::Answer { outcome: Err(failure), .. }
            if failure.kind == ErrorKind::Cancelled));
        assert!(matches!(events[..], [Event::Released { object: gone }] if gone == object), "{events:?}");
        let id = pair.call(CLIENT, request("next", b""));
        pair.run();
        assert_eq!(pair.one_call(SERVER).id, id);
        pair.reply(SERVER, id, b"");
        pair.run();
        pair.session(CLIENT).leave();
        pair.run();
        assert!(
            pair.session(CLIENT).is_finished() && pair.session(SERVER).is_finished(),
            "nothing is left behind"
        );
    }
}

#[test]
fn a_call_that_is_cancelled_before_its_body_is_complete_never_runs() {
    let mut lone = Lone::open(Role::Acceptor, narrow(10), Limits::default());
    lone.receive(&long_call(1, 1, 100, b"xx"));
    lone.receive(&long_call(2, 2, 100, b"yy"));
    lone.frames();
    lone.receive(&frame(Kind::Cancel, 0, 1, b""));
    let frames = lone.frames();
    assert_eq!((frames[0].0.kind, frames[0].0.id), (Kind::Credit, 2), "its turn passes on");
    assert_eq!((frames[1].0.kind, frames[1].0.id, &frames[1].1[..2]), (Kind::Error, 1, &[0, 9][..]));
    lone.receive(&chunk(1, &[0; 98]));
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b""));
    lone.expect_silence();
    lone.receive(&chunk(2, &[0; 98]));
    assert!(matches!(&lone.events()[..], [Event::Call(call)] if call.id == 2));
}

#[test]
fn a_call_whose_time_is_over_before_its_body_is_complete_never_runs() {
    let mut pair = Pair::with(3, narrow(100), narrow(100));
    pair.most_piece = 1000;
    let deadline = Some(pair.now + millis(60_000));
    let id = pair.call(CLIENT, CallRequest { deadline, ..request("put", &bulk(100_000)) });
    while pair.session(SERVER).poll_timeout().is_none() {
        assert!(pair.step());
    }
    pair.advance(millis(60_001));
    pair.run();
    assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::Deadline);
    pair.expect_silence();
    assert_eq!(pair.session(SERVER).poll_timeout(), None);
}

#[test]
fn a_cancel_gives_up_the_body_of_the_answer_that_is_under_way() {
    for seed in 0..20 {
        let mut pair = Pair::with(seed, narrow(100), narrow(100));
        let id = pair.call(CLIENT, request("get", b""));
        pair.run();
        pair.one_call(SERVER);
        let object = pair.session(SERVER).show().unwrap();
        let body = Body::Shared(bulk(100_000).into());
        pair.session(SERVER)
            .reply(id, Outgoing { body, refs: vec![Ref::Local(object)], ..Outgoing::default() });
        for _ in 0..seed {
            pair.step();
        }
        pair.session(CLIENT).cancel(id);
        let sent = pair.ends[SERVER].sent;
        pair.run();
        assert!(pair.ends[SERVER].sent < sent + 50_000, "the rest was not sent");
        assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::Cancelled);
        let events = pair.events(SERVER);
        assert!(
            events.iter().any(|event| matches!(event, Event::Released { object: gone } if *gone == object))
        );
        pair.session(SERVER).leave();
        pair.run();
        assert!(
            pair.session(CLIENT).is_finished() && pair.session(SERVER).is_finished(),
            "nothing is left behind"
        );
    }
}

#[test]
fn an_answer_that_is_given_up_is_followed_by_its_error() {
    let mut lone = Lone::new();
    let id = lone.session.call(lone.now, request("get", b"")).unwrap();
    lone.frames();
    let payload = [&b"\x01"[..], &table(&[(0, 5)]), &long_tail(1, 100, b"")].concat();
    lone.receive(&frame(Kind::Result, flags::LONG | flags::REFS, id, &payload));
    lone.expect_silence();
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b""));
    assert_eq!(lone.frames()[0].0.kind, Kind::Release);
    lone.receive(&frame(Kind::Error, 0, id, b"\0\x0c\x80"));
    assert!(matches!(&lone.events()[..], [Event::Answer { outcome: Err(failure), .. }]
        if failure.kind == ErrorKind::Internal));
}

#[test]
fn a_callee_may_answer_before_the_body_is_complete() {
    for (kind, payload) in [(Kind::Error, &b"\0\x07\x80"[..]), (Kind::Result, b"\x01")] {
        let mut lone = Lone::open(Role::Initiator, Limits::default(), narrow(100));
        let id = lone.session.call(lone.now, request("put", &bulk(10_000))).unwrap();
        lone.frames();
        lone.receive(&frame(kind, 0, id, payload));
        let frames = lone.frames();
        assert_eq!((frames[0].0.kind, frames[0].0.flags, frames[0].0.id), (Kind::Chunk, flags::ABORT, 1));
        assert!(matches!(&lone.events()[..], [Event::Answer { .. }]));
        lone.receive(&frame(Kind::Credit, 0, 1, &[1; 8]));
        lone.expect_silence();
    }
}

#[test]
fn a_notify_that_fails_early_gives_its_body_up() {
    let mut lone = Lone::open(Role::Initiator, Limits::default(), narrow(100));
    let id = lone.session.notify(lone.now, request("put", &bulk(10_000))).unwrap();
    lone.frames();
    lone.receive(&frame(Kind::Error, 0, id, b"\0\x07\x80"));
    assert_eq!(lone.frames()[0].0.flags, flags::ABORT);
    assert!(matches!(&lone.events()[..], [Event::NotifyFailed { .. }]));
}

#[test]
fn a_notify_that_is_given_up_is_forgotten_in_silence() {
    let mut lone = Lone::new();
    let payload = call_payload(0, "put", &long_tail(1, 1000, b""));
    lone.receive(&frame(Kind::Notify, flags::LONG, 1, &payload));
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b""));
    lone.expect_silence();
    lone.session.leave();
    lone.frames();
    assert!(lone.session.is_finished());
}

#[test]
fn credit_and_chunks_for_a_body_that_is_done_are_late_and_ignored() {
    let mut lone = Lone::new();
    lone.receive(&long_call(1, 1, 10, &[0; 5]));
    lone.receive(&chunk(1, &[0; 5]));
    assert!(matches!(&lone.events()[..], [Event::Call(_)]));
    lone.receive(&chunk(1, &[0; 5]));
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b""));
    lone.expect_silence();
}

#[test]
fn an_empty_chunk_changes_nothing() {
    let mut lone = Lone::new();
    lone.receive(&long_call(1, 1, 10, &[0; 5]));
    for _ in 0..10 {
        lone.receive(&chunk(1, b""));
    }
    lone.expect_silence();
    lone.receive(&chunk(1, &[0; 5]));
    assert!(matches!(&lone.events()[..], [Event::Call(_)]));
}
