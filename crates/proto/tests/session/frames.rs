//! Section 3: frames that are not as they should be.

use andiron_proto::wire::{HEADER_LEN, Kind, flags, preface};
use andiron_proto::{Config, ErrorKind, Event, Role};

use crate::support::*;

const KINDS: [Kind; 15] = [
    Kind::Hello,
    Kind::Proof,
    Kind::Call,
    Kind::Notify,
    Kind::Result,
    Kind::Error,
    Kind::Cancel,
    Kind::Item,
    Kind::End,
    Kind::Chunk,
    Kind::Credit,
    Kind::Release,
    Kind::Ping,
    Kind::Pong,
    Kind::Goodbye,
];

/// A session with one call out and one in, that has seen one body begin.
fn busy() -> Lone {
    let mut lone = Lone::new();
    lone.session.call(lone.now, request("out", b"")).unwrap();
    lone.receive(&frame(Kind::Call, 0, 1, &call_payload(0, "in", b"")));
    lone.receive(&frame(Kind::Call, flags::LONG, 2, &call_payload(0, "long", &long_tail(1, 10, b""))));
    lone.events();
    lone.frames();
    lone
}

/// The session ended for a violation, whatever it had to cancel first.
fn expect_end(lone: &mut Lone, what: &str) {
    let events = lone.events();
    assert!(
        matches!(events.last(), Some(Event::Closed(failure)) if failure.kind == ErrorKind::Protocol),
        "{what}: {events:?}"
    );
    assert_eq!(lone.frames().last().unwrap().0.kind, Kind::Goodbye, "{what}");
}

#[test]
fn frames_of_later_optional_kinds_are_skipped_whole() {
    let mut lone = busy();
    for number in 0x80..=0xff {
        lone.receive(&frame(Kind::Optional(number), number, u64::MAX, &vec![0xad; usize::from(number) * 10]));
    }
    lone.expect_silence();
    lone.receive(&frame(Kind::Call, 0, 3, &call_payload(0, "next", b"")));
    assert!(matches!(&lone.events()[..], [Event::Call(call)] if call.id == 3));
}

#[test]
fn frames_of_other_unknown_kinds_end_the_session() {
    for number in 0..0x80 {
        if Kind::from_number(number).is_none() {
            let mut bytes = frame(Kind::Ping, 0, 0, b"");
            bytes[4] = number;
            let mut lone = busy();
            lone.receive(&bytes);
            expect_end(&mut lone, &format!("kind {number}"));
        }
    }
}

#[test]
fn flags_that_a_kind_does_not_have_end_the_session() {
    for kind in KINDS {
        for bit in 0..8 {
            if kind.allowed_flags() & (1 << bit) == 0 {
                let mut lone = busy();
                lone.receive(&frame(kind, 1 << bit, 1, &[0; 64]));
                expect_end(&mut lone, &format!("flag {bit} on {kind:?}"));
            }
        }
    }
}

#[test]
fn payloads_too_short_for_their_fields_end_the_session() {
    let call = call_payload(0, "method", b"");
    let with_all =
        [&[0, 3][..], b"\x81\x01\x02", &table(&[(0, 5), (1, 6)]), &long_tail(9, 100, b"")].concat();
    let all = flags::LONG | flags::REFS | flags::EXTRA;
    for (kind, kind_flags, id, payload) in [
        (Kind::Call, 0, 3, call.clone()),
        (Kind::Notify, 0, 3, call.clone()),
        (Kind::Call, all, 3, [&call[..], &with_all].concat()),
        (Kind::Result, 0, 1, b"\x01".to_vec()),
        (Kind::Result, all, 1, [b"\x01", &with_all[..]].concat()),
        (Kind::Error, 0, 1, b"\0\x01".to_vec()),
        (Kind::Credit, 0, 1, vec![0; 8]),
        (Kind::Release, 0, 1, vec![0; 8]),
        (Kind::Goodbye, 0, 1, b"\0\0".to_vec()),
    ] {
        for length in 0..payload.len() {
            let mut lone = busy();
            lone.receive(&frame(kind, kind_flags, id, &payload[..length]));
            expect_end(&mut lone, &format!("{kind:?} of {length} bytes"));
        }
    }
}

#[test]
fn payloads_too_long_for_their_kind_end_the_session() {
    for (kind, length) in
        [(Kind::Cancel, 1), (Kind::Credit, 9), (Kind::Release, 9), (Kind::Ping, 65), (Kind::Pong, 65)]
    {
        let mut lone = busy();
        lone.receive(&frame(kind, 0, 1, &vec![0; length]));
        expect_end(&mut lone, &format!("{kind:?} of {length} bytes"));
    }
}

#[test]
fn a_method_name_is_utf8_and_not_empty() {
    let mut empty = call_payload(0, "", b"");
    empty.extend_from_slice(b"rest");
    let mut broken = call_payload(0, "ab", b"");
    let last = broken.len() - 1;
    broken[last] = 0xff;
    for payload in [empty, broken] {
        let mut lone = busy();
        lone.receive(&frame(Kind::Call, 0, 3, &payload));
        expect_end(&mut lone, "method name");
    }
}

#[test]
fn an_owner_is_one_of_two() {
    let mut lone = busy();
    lone.receive(&frame(Kind::Call, flags::REFS, 3, &call_payload(0, "x", &table(&[(2, 5)]))));
    expect_end(&mut lone, "owner");
}

#[test]
fn further_fields_are_skipped() {
    let mut lone = busy();
    let extra = [&[0, 3][..], b"\x81\x01\x02", b"body"].concat();
    lone.receive(&frame(Kind::Call, flags::EXTRA, 3, &call_payload(0, "x", &extra)));
    assert!(matches!(&lone.events()[..], [Event::Call(call)] if &call.payload.body[..] == b"body"));
}

#[test]
fn an_id_that_means_nothing_is_not_looked_at() {
    let mut lone = Lone::unopened(Role::Acceptor, Config::default());
    lone.receive(&preface(&(1..=1)));
    lone.receive(&frame(Kind::Hello, 0, 77, b"\x80"));
    assert!(lone.session.is_open());
}

#[test]
fn the_same_bytes_mean_the_same_in_whatever_pieces_they_come() {
    let bytes = [
        frame(Kind::Call, 0, 3, &call_payload(0, "small", b"\x90")),
        frame(Kind::Optional(0x90), 0, 0, &[1; 300]),
        frame(Kind::Chunk, 0, 1, b"0123"),
        frame(Kind::Ping, 0, 5, b"ping"),
        frame(Kind::Chunk, 0, 1, b""),
        frame(Kind::Notify, flags::REFS, 4, &call_payload(0, "tell", &table(&[(0, 9)]))),
        frame(Kind::Chunk, 0, 1, b"456789"),
        frame(Kind::Cancel, 0, 3, b""),
        frame(Kind::Result, 0, 1, b"\x03ok"),
    ]
    .concat();
    let feed = |pieces: &mut dyn FnMut() -> usize| {
        let mut lone = busy();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(pieces().min(rest.len()));
            lone.receive(piece);
            rest = after;
        }
        (format!("{:?}", lone.events()), lone.output())
    };
    let whole = feed(&mut || usize::MAX);
    assert_eq!(whole.0.matches("Call(").count(), 3);
    let mut rng = fastrand::Rng::with_seed(1);
    for most in [1, 2, 7, 16, 17, 100] {
        for _ in 0..20 {
            assert_eq!(feed(&mut || rng.usize(1..=most)), whole);
        }
    }
}

#[test]
fn a_frame_that_is_cut_off_by_the_end_of_the_stream_does_not_happen() {
    let bytes = frame(Kind::Call, 0, 3, &call_payload(0, "x", b"body"));
    for cut in [1, HEADER_LEN - 1, HEADER_LEN, HEADER_LEN + 5, bytes.len() - 1] {
        let mut lone = Lone::new();
        lone.receive(&bytes[..cut]);
        lone.expect_silence();
        lone.session.disconnected("end of stream");
        assert!(matches!(&lone.events()[..], [Event::Closed(failure)] if failure.kind == ErrorKind::Unknown));
        assert!(lone.frames().is_empty());
    }
}

#[test]
fn a_session_that_has_ended_hears_and_says_nothing_more() {
    let mut lone = busy();
    lone.receive(&frame(Kind::Proof, 0, 0, b""));
    expect_end(&mut lone, "proof");
    let now = lone.now;
    lone.receive_with(&frame(Kind::Call, 0, 9, &call_payload(0, "x", b"")), &[1]);
    lone.receive(b"garbage");
    lone.session.handle_timeout(now + millis(100_000));
    lone.session.disconnected("again");
    lone.session.goodbye(andiron_proto::wire::Reason::Protocol, "again");
    lone.session.leave();
    lone.session.ping(b"");
    lone.session.cancel(1);
    lone.session.reply(1, andiron_proto::Outgoing::default());
    lone.session.fail(2, &andiron_proto::Failure::new(ErrorKind::Internal, ""));
    lone.session.release(1, 1);
    let object = lone.session.show().unwrap();
    lone.session.forget_unsent(&[andiron_proto::Ref::Local(object)]);
    assert!(lone.session.call(now, request("x", b"")).is_err());
    assert!(lone.events().is_empty() && lone.output().is_empty());
    assert_eq!(lone.session.poll_timeout(), None);
    assert!(lone.session.is_finished());
}
