//! What an end accepts, and what a peer that goes beyond it, or does not read, can cost.

use andiron_proto::wire::{Kind, flags};
use andiron_proto::{ErrorKind, Event, Limits, Role};

use crate::support::*;

fn acceptor(limits: Limits) -> Lone {
    Lone::open(Role::Acceptor, limits, Limits::default())
}

fn call(id: u64, body: &[u8]) -> Vec<u8> {
    frame(Kind::Call, 0, id, &call_payload(0, "x", body))
}

fn notify(id: u64, body: &[u8]) -> Vec<u8> {
    frame(Kind::Notify, 0, id, &call_payload(0, "x", body))
}

/// The calls that were refused as *overloaded*; nothing else was sent.
fn refused(lone: &mut Lone) -> Vec<u64> {
    let id = |(header, payload): (andiron_proto::wire::Header, Vec<u8>)| {
        assert_eq!((header.kind, &payload[..2]), (Kind::Error, &[0, 7][..]));
        header.id
    };
    lone.frames().into_iter().map(id).collect()
}

/// The calls and notifies that were delivered; nothing else happened.
fn delivered(lone: &mut Lone) -> Vec<u64> {
    let id = |event| match event {
        Event::Call(call) => call.id,
        other => panic!("{other:?}"),
    };
    lone.events().into_iter().map(id).collect()
}

/// Feeds the same kind of thing until the session has enough of it; what it would have sent meanwhile.
fn flood(lone: &mut Lone, most: u64, mut bytes: impl FnMut(u64) -> Vec<u8>) -> usize {
    for number in 1..=most {
        lone.receive(&bytes(number));
        if lone.session.is_closed() {
            return lone.output().len();
        }
        while lone.session.poll_event().is_some() {}
    }
    panic!("the session would go on for ever");
}

#[test]
fn calls_beyond_the_limit_are_refused_and_did_not_run() {
    let mut lone = acceptor(Limits { calls: 2, ..Limits::default() });
    for id in 1..=4 {
        lone.receive(&call(id, b""));
    }
    assert_eq!(delivered(&mut lone), [1, 2]);
    assert_eq!(refused(&mut lone), [3, 4]);
    lone.session.reply(1, andiron_proto::Outgoing::default());
    lone.frames();
    lone.receive(&call(5, b""));
    assert_eq!(delivered(&mut lone), [5]);
    lone.receive(&frame(Kind::Cancel, 0, 3, b""));
    lone.expect_silence();
}

#[test]
fn a_call_counts_until_the_last_byte_of_its_answer_is_sent() {
    let peer = Limits { frame: 4096, window: 10, ..Limits::default() };
    let mut lone = Lone::open(Role::Acceptor, Limits { calls: 1, ..Limits::default() }, peer);
    lone.receive(&call(1, b""));
    lone.session.reply(1, andiron_proto::Outgoing::native(&[0; 5000]));
    lone.events();
    lone.frames();
    lone.receive(&call(2, b""));
    assert_eq!(refused(&mut lone), [2], "nobody takes the answer to the first");
    lone.receive(&frame(Kind::Credit, 0, 1, &5000_u64.to_be_bytes()));
    lone.frames();
    lone.receive(&call(3, b""));
    assert_eq!(delivered(&mut lone), [3]);
}

#[test]
fn notifies_that_nobody_finishes_are_refused_from_some_number_on() {
    let mut lone = acceptor(Limits { calls: 2, ..Limits::default() });
    for id in 1..=20 {
        lone.receive(&notify(id, b""));
    }
    assert_eq!(delivered(&mut lone), (1..=16).collect::<Vec<_>>());
    assert_eq!(refused(&mut lone), [17, 18, 19, 20]);
    lone.session.done(5);
    lone.receive(&notify(21, b""));
    assert_eq!(delivered(&mut lone), [21]);
}

#[test]
fn bytes_that_wait_are_bounded_and_small_calls_pass_beside_a_large_one() {
    let limits = Limits { frame: 4096, buffer: 10_000, message: 1 << 20, window: 4000, ..Limits::default() };
    let mut lone = acceptor(limits);
    let long =
        |id, total| frame(Kind::Call, flags::LONG, id, &call_payload(0, "x", &long_tail(id, total, b"")));
    lone.receive(&long(1, 1 << 20));
    assert_eq!(lone.frames()[0].0.kind, Kind::Credit, "larger than the buffer, but alone");
    lone.receive(&long(2, 5000));
    assert_eq!(refused(&mut lone), [2]);
    lone.receive(&frame(Kind::Chunk, 0, 2, &[0; 4000]));
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 2, b""));
    lone.expect_silence();
    for id in 3..=4 {
        lone.receive(&call(id, &[0; 1000]));
    }
    assert_eq!(delivered(&mut lone), [3, 4]);
    lone.receive(&call(5, &[0; 1000]));
    assert_eq!(refused(&mut lone), [5]);
    lone.session.reply(3, andiron_proto::Outgoing::default());
    lone.frames();
    lone.receive(&call(6, &[0; 1000]));
    assert_eq!(delivered(&mut lone), [6]);
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b""));
    lone.frames();
    lone.receive(&long(7, 7000));
    assert_eq!(lone.frames()[0].0.kind, Kind::Credit, "the large one does not count any more");
}

#[test]
fn references_count_against_the_buffer_too() {
    let limits = Limits { frame: 1 << 20, buffer: 1 << 20, ..Limits::default() };
    let mut lone = acceptor(limits);
    let entries = vec![(1, 5); 50_000];
    for id in 1..=3 {
        lone.receive(&frame(Kind::Call, flags::REFS, id, &call_payload(0, "x", &table(&entries))));
    }
    assert_eq!(delivered(&mut lone), [1]);
    assert_eq!(refused(&mut lone), [2, 3]);
}

#[test]
fn an_honest_peer_is_refused_nothing_but_for_the_buffer() {
    for seed in 0..10 {
        let tight = Limits { frame: 4096, window: 50, calls: 3, buffer: 20_000, ..Limits::default() };
        let mut pair = Pair::with(seed, Limits::default(), tight);
        for number in 0..200 {
            pair.call(CLIENT, request("put", &bulk(number * 25)));
        }
        let mut answered = 0;
        while !pair.outstanding(CLIENT).is_empty() {
            pair.run();
            let calls = pair.calls(SERVER);
            assert!(!calls.is_empty(), "the rest is lost");
            for call in calls {
                pair.reply(SERVER, call.id, &call.payload.body);
            }
            pair.run();
            for (_, outcome) in pair.answers(CLIENT) {
                answered += 1;
                assert!(outcome.is_ok(), "{outcome:?}");
            }
        }
        assert_eq!(answered, 200);
    }
}

#[test]
fn a_peer_that_pings_and_does_not_read_is_given_up() {
    let mut lone = acceptor(Limits::default());
    let sent = flood(&mut lone, 1 << 20, |_| {
        [frame(Kind::Ping, 0, 1, &[0; 64]), frame(Kind::Optional(0x99), 0, 0, b"")].concat()
    });
    assert!(sent < 10 << 20, "{sent}");
}

#[test]
fn a_peer_that_is_refused_and_does_not_read_is_given_up() {
    let mut lone = acceptor(Limits { calls: 1, ..Limits::default() });
    let sent = flood(&mut lone, 1 << 20, |id| call(id, b""));
    assert!(sent < 10 << 20, "{sent}");
}

#[test]
fn a_peer_that_begins_bodies_and_gives_them_up_and_does_not_read_is_given_up() {
    let mut lone = acceptor(Limits::default());
    let sent = flood(&mut lone, 1 << 20, |id| {
        let begin = call_payload(0, "x", &long_tail(id, 1 << 29, b""));
        [frame(Kind::Notify, flags::LONG, id, &begin), frame(Kind::Chunk, flags::ABORT, id, b"")].concat()
    });
    assert!(sent < 10 << 20, "{sent}");
}

#[test]
fn a_peer_that_shows_objects_to_be_given_back_and_does_not_read_is_given_up() {
    let mut lone = acceptor(Limits { calls: 1, ..Limits::default() });
    let sent = flood(&mut lone, 10_000, |id| {
        let entries: Vec<(u8, u64)> = (1..=10_000).map(|object| (0, object)).collect();
        frame(Kind::Call, flags::REFS, id, &call_payload(0, "x", &table(&entries)))
    });
    assert!(sent < 10 << 20, "{sent}");
}

#[test]
fn a_peer_that_reads_may_ask_for_ever() {
    let mut lone = acceptor(Limits { calls: 1, ..Limits::default() });
    lone.receive(&call(1, b""));
    let mut answered = 0;
    for round in 0..100 {
        let bytes: Vec<u8> = (0..2000).flat_map(|number| call(2 + round * 2000 + number, b"")).collect();
        lone.receive(&bytes);
        answered += lone.output().len();
    }
    assert!(lone.session.is_open());
    assert!(answered > 10 << 20, "more than would be given up at once: {answered}");
}

#[test]
fn a_long_body_that_is_always_under_way_does_not_make_a_reading_peer_look_idle() {
    let mut lone = Lone::open(Role::Acceptor, Limits::default(), Limits { window: 1, ..Limits::default() });
    lone.session.notify(lone.now, request("stalled", &bulk(1 << 20))).unwrap();
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..1000).flat_map(|_| frame(Kind::Ping, 0, 1, &[0; 64])).collect();
        lone.receive(&bytes);
        lone.output();
    }
    assert!(lone.session.is_open());
}

#[test]
fn answers_that_nobody_takes_are_congestion_and_in_the_end_refusals() {
    let peer = Limits { window: 0, ..Limits::default() };
    let limits = Limits { calls: 10, buffer: 2 << 20, ..Limits::default() };
    let mut lone = Lone::open(Role::Acceptor, limits, peer);
    for id in 1..=20 {
        lone.receive(&call(id, b""));
        assert_eq!(lone.session.is_congested(), id > 5, "after {} answers", id - 1);
        lone.session.reply(id, andiron_proto::Outgoing::native(&bulk(500_000)));
    }
    lone.output();
    assert_eq!(delivered(&mut lone).len(), 10);
}

#[test]
fn a_peer_that_does_not_read_answers_congests_only_its_own_session() {
    let mut lone = acceptor(Limits::default());
    lone.receive(&(1..=100).flat_map(|id| call(id, b"")).collect::<Vec<_>>());
    for id in 1..=100 {
        assert_eq!(lone.session.is_congested(), id > 84, "{id}");
        lone.session.reply(id, andiron_proto::Outgoing::native(&[0; 100_000]));
    }
    lone.output();
    assert!(!lone.session.is_congested());
}

#[test]
fn nothing_more_wants_to_be_read_while_events_pile_up() {
    let mut lone = acceptor(Limits::default());
    assert!(lone.session.want_read());
    for _ in 0..5000 {
        lone.receive(&frame(Kind::Pong, 0, 0, b""));
    }
    assert!(!lone.session.want_read());
    lone.events();
    assert!(lone.session.want_read());
}

#[test]
fn a_frame_longer_than_the_limit_is_refused_at_its_header() {
    let mut lone = acceptor(Limits { frame: 10_000, ..Limits::default() });
    let mut header = frame(Kind::Call, 0, 1, b"");
    header[..4].copy_from_slice(&10_001_u32.to_be_bytes());
    lone.receive(&header);
    lone.expect_violation("10000");
}

#[test]
fn limits_out_of_range_are_moved_into_it_on_both_sides() {
    let least = Limits {
        frame: 0,
        message: 0,
        calls: 0,
        objects: 0,
        buffer: 0,
        window: 0,
        attachments: 0,
        nesting: 0,
    };
    let most = Limits {
        frame: u32::MAX,
        message: u64::MAX,
        calls: u32::MAX,
        objects: u32::MAX,
        buffer: u64::MAX,
        window: u32::MAX,
        attachments: u16::MAX,
        nesting: u16::MAX,
    };
    let mut pair = Pair::with(1, least, most);
    for end in [CLIENT, SERVER] {
        assert_eq!(pair.ends[end].session.peer().limits, *pair.ends[1 - end].session.limits());
    }
    let limits = pair.session(CLIENT).limits().clone();
    assert_eq!(
        (limits.frame, limits.message, limits.calls, limits.buffer, limits.nesting),
        (4096, 4096, 1, 4096, 16)
    );
    assert_eq!(pair.session(SERVER).limits().attachments, 64);
    for end in [CLIENT, SERVER] {
        let id = pair.call(end, request("x", &bulk(4096)));
        pair.run();
        assert_eq!(pair.one_call(1 - end).payload.body.len(), 4096);
        pair.reply(1 - end, id, &bulk(4096));
        pair.run();
        assert!(pair.one_answer(end, id).is_ok());
    }
    assert_eq!(pair.session(SERVER).show().unwrap_err().kind, ErrorKind::Overloaded);
}
