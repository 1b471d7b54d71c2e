//! Sections 1 and 2: from the first byte to the open session.

use andiron_proto::codec::{self, Value};
use andiron_proto::wire::{Kind, MAGIC, PREFACE_LEN, preface};
use andiron_proto::{Config, ErrorKind, Event, Failure, Hello, Limits, Role};

use crate::support::*;

fn hello() -> Hello {
    Hello { auth: vec!["user".to_owned()], ..Hello::default() }
}

/// The failure that closed a session, which is all that happened.
fn closed(lone: &mut Lone) -> Failure {
    match &lone.events()[..] {
        [Event::Closed(failure)] => failure.clone(),
        other => panic!("not just closed: {other:?}"),
    }
}

#[test]
fn both_ends_open_and_hear_of_each_other_in_whatever_pieces_the_bytes_come() {
    for seed in 0..50 {
        let client = Config { agent: "client/7".to_owned(), ..Config::default() };
        let limits = Limits { calls: 3, attachments: 5, ..Limits::default() };
        let features = vec!["names".to_owned()];
        let server = Config { features, limits: limits.clone(), store: Some([9; 16]), ..Config::default() };
        let mut pair = Pair::unopened(seed, client, server);
        pair.most_piece = [1, 20, 1000][seed as usize % 3];
        pair.run();
        let Ok([Event::Opened(to_client)]) = <[Event; 1]>::try_from(pair.events(CLIENT)) else {
            panic!("not opened")
        };
        let Ok([Event::Opened(to_server)]) = <[Event; 1]>::try_from(pair.events(SERVER)) else {
            panic!("not opened")
        };
        assert_eq!((&to_client.limits, to_client.store), (&limits, Some([9; 16])));
        assert_eq!(to_client.features, ["names"]);
        assert_eq!(to_server.agent, "client/7");
        assert!(pair.session(CLIENT).is_open() && pair.session(SERVER).is_open());
        assert_eq!(pair.session(CLIENT).peer(), &to_client);
        assert_eq!(pair.session(CLIENT).poll_timeout(), None, "the handshake has no deadline any more");
    }
}

#[test]
fn the_initiator_speaks_first_and_the_acceptor_only_when_spoken_to() {
    let mut client = Lone::unopened(Role::Initiator, Config::default());
    let sent = client.output();
    assert_eq!(sent[..PREFACE_LEN], preface(&(1..=1)));
    assert_eq!(split_frames(&sent[PREFACE_LEN..])[0].0.kind, Kind::Hello);
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    assert!(!server.session.want_write());
    server.receive(&sent[..PREFACE_LEN]);
    assert_eq!(server.output(), preface(&(1..=1)), "the version does not wait for the HELLO");
    server.receive(&sent[PREFACE_LEN..]);
    assert_eq!(server.frames()[0].0.kind, Kind::Hello);
    assert!(server.session.is_open());
}

#[test]
fn the_acceptor_narrows_a_range_of_versions_to_one() {
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    server.receive(&preface(&(1..=9)));
    assert_eq!(server.output(), preface(&(1..=1)));
    assert!(!server.session.is_closed());
}

#[test]
fn without_a_common_version_both_ends_can_tell_both_ranges() {
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    server.receive(&preface(&(3..=5)));
    assert_eq!(server.output(), preface(&(1..=1)), "its own range, and no frame");
    let failure = closed(&mut server);
    assert_eq!(failure.kind, ErrorKind::Unsupported);
    assert!(failure.to_string().contains("3 to 5") && failure.to_string().contains("1 to 1"), "{failure}");
    let mut client = Lone::unopened(Role::Initiator, Config::default());
    client.output();
    client.receive(&preface(&(3..=5)));
    let failure = closed(&mut client);
    assert_eq!(failure.kind, ErrorKind::Unsupported);
    assert!(failure.to_string().contains("3 to 5"), "{failure}");
    assert_eq!(client.output(), b"");
}

#[test]
fn an_acceptor_that_does_not_choose_a_version_is_refused() {
    let mut client = Lone::unopened(Role::Initiator, Config::default());
    client.receive(&preface(&(1..=2)));
    assert_eq!(closed(&mut client).kind, ErrorKind::Unsupported);
}

#[test]
fn a_foreign_stream_is_told_by_its_first_bytes_and_answered_with_nothing() {
    let foreign: [&[u8]; 8] = [
        b"PYRO\x00",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\0",
        b"\xadIROM",
        b"\xadIRON\n\x1a",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xad\x49\x52\x4f\x4e\x0d\x0a\x1a\0\0\0\x01",
    ];
    for bytes in foreign {
        for whole in [true, false] {
            let mut server = Lone::unopened(Role::Acceptor, Config::default());
            if whole {
                server.receive(bytes);
            } else {
                bytes.iter().for_each(|byte| server.receive(&[*byte]));
            }
            assert_eq!(closed(&mut server).kind, ErrorKind::Protocol, "{bytes:?}");
            assert_eq!(server.output(), b"");
        }
    }
}

#[test]
fn a_range_of_versions_that_is_empty_or_begins_with_zero_is_no_preface() {
    for versions in [[0, 0, 0, 1], [0, 2, 0, 1], [0, 0, 0, 0]] {
        let mut server = Lone::unopened(Role::Acceptor, Config::default());
        server.receive(&[&MAGIC[..], &versions].concat());
        assert_eq!(closed(&mut server).kind, ErrorKind::Protocol);
        assert_eq!(server.output(), b"");
    }
}

#[test]
fn unknown_fields_of_a_hello_are_skipped() {
    let map = Value::Map(vec![
        ("agent".into(), "later/2".into()),
        ("tomorrow".into(), Value::Array(vec![1.into(), "x".into()])),
        ("limits".into(), Value::Map(vec![("calls".into(), 7.into()), ("tomorrow".into(), 1.into())])),
        ("features".into(), Value::Array(vec!["tomorrow".into()])),
    ]);
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    server.receive(&preface(&(1..=1)));
    server.receive(&frame(Kind::Hello, 0, 0, &codec::to_vec(&map).unwrap()));
    let Ok([Event::Opened(hello)]) = <[Event; 1]>::try_from(server.events()) else { panic!("not opened") };
    assert_eq!((hello.agent.as_str(), hello.limits.calls), ("later/2", 7));
}

#[test]
fn an_empty_hello_is_a_hello() {
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    server.receive(&preface(&(1..=1)));
    server.receive(&frame(Kind::Hello, 0, 0, b"\x80"));
    assert!(server.session.is_open());
    assert_eq!(server.session.peer().limits, Limits::default());
}

#[test]
fn a_hello_that_cannot_be_read_ends_the_session_with_a_word_behind_the_preface() {
    for payload in [&b""[..], b"\x01", b"\x81\xa5agent\x01", b"\x81\xa6limits\x81\xa5calls\xff", b"\x80\x80"]
    {
        let mut server = Lone::unopened(Role::Acceptor, Config::default());
        server.receive(&preface(&(1..=1)));
        assert_eq!(server.output(), preface(&(1..=1)));
        server.receive(&frame(Kind::Hello, 0, 0, payload));
        server.expect_violation("HELLO");
    }
}

#[test]
fn a_hello_has_at_most_4096_bytes() {
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    server.receive(&preface(&(1..=1)));
    server.output();
    let mut header = frame(Kind::Hello, 0, 0, &[]);
    header[..4].copy_from_slice(&4097_u32.to_be_bytes());
    server.receive(&header);
    server.expect_violation("4096");
}

#[test]
fn a_long_agent_is_cut_before_it_is_sent() {
    let config = Config { agent: "é".repeat(10_000), ..Config::default() };
    let mut pair = Pair::unopened(1, config, Config::default());
    pair.run();
    assert!(matches!(&pair.events(SERVER)[..], [Event::Opened(hello)] if hello.agent.chars().count() == 200));
}

#[test]
fn nothing_but_hello_and_goodbye_comes_before_the_session_is_open() {
    let kinds =
        [Kind::Call, Kind::Ping, Kind::Chunk, Kind::Release, Kind::Credit, Kind::Proof, Kind::Optional(0x80)];
    for kind in kinds {
        for role in [Role::Acceptor, Role::Initiator] {
            let mut lone = Lone::unopened(role, Config::default());
            lone.receive(&preface(&(1..=1)));
            lone.output();
            lone.receive(&frame(kind, 0, 1, &[0; 8]));
            lone.expect_violation("");
        }
    }
}

#[test]
fn a_second_hello_ends_the_session() {
    let mut server = Lone::new();
    server.receive(&frame(Kind::Hello, 0, 0, &hello().to_bytes()));
    server.expect_violation("HELLO");
}

#[test]
fn without_a_common_method_the_acceptor_says_so() {
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    server.receive(&introduction(&Hello { auth: vec!["secret".to_owned()], ..Hello::default() }));
    assert_eq!(closed(&mut server).kind, ErrorKind::Authentication);
    let sent = server.output();
    assert_eq!(sent[..PREFACE_LEN], preface(&(1..=1)));
    let frames = split_frames(&sent[PREFACE_LEN..]);
    assert_eq!((frames[0].0.kind, &frames[0].1[..2]), (Kind::Goodbye, &[0, 3][..]));

    let mut client = Lone::unopened(Role::Initiator, Config::default());
    client.receive(&sent);
    let events = client.events();
    assert!(matches!(&events[..], [Event::Goodbye { .. }, Event::Closed(failure)]
        if failure.kind == ErrorKind::Authentication && failure.to_string().contains("secret")));
}

#[test]
fn an_acceptor_that_chooses_what_was_not_offered_is_refused() {
    let mut client = Lone::unopened(Role::Initiator, Config::default());
    client.receive(&introduction(&Hello { auth: vec!["secret".to_owned()], ..Hello::default() }));
    assert_eq!(closed(&mut client).kind, ErrorKind::Authentication);
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    for (role, bytes) in [
        (Role::Acceptor, &b""[..]),
        (Role::Acceptor, &MAGIC[..]),
        (Role::Acceptor, &preface(&(1..=1))),
        (Role::Initiator, b""),
    ] {
        let mut lone = Lone::unopened(role, Config { handshake_timeout: millis(500), ..Config::default() });
        lone.receive(bytes);
        let before = lone.output();
        assert_eq!(lone.session.poll_timeout(), Some(lone.now + millis(500)));
        lone.session.handle_timeout(lone.now + millis(499));
        assert!(!lone.session.is_closed());
        lone.session.handle_timeout(lone.now + millis(500));
        assert_eq!(closed(&mut lone).kind, ErrorKind::Deadline);
        let spoke = !lone.output().is_empty();
        assert_eq!(spoke, !before.is_empty(), "a goodbye only behind the own preface");
        assert_eq!(lone.session.poll_timeout(), None);
    }
}

#[test]
fn a_stream_that_ends_during_the_handshake_is_told_as_such() {
    for role in [Role::Acceptor, Role::Initiator] {
        let mut lone = Lone::unopened(role, Config::default());
        lone.receive(&preface(&(1..=1))[..5]);
        lone.session.disconnected("end of stream");
        assert_eq!(closed(&mut lone).kind, ErrorKind::Unavailable);
    }
}

#[test]
fn leaving_before_the_session_is_open_says_nothing_to_a_stranger() {
    let mut server = Lone::unopened(Role::Acceptor, Config::default());
    server.session.leave();
    assert!(server.session.is_closed());
    assert_eq!(server.output(), b"");
    let mut client = Lone::unopened(Role::Initiator, Config::default());
    client.session.leave();
    assert_eq!(split_frames(&client.output()[PREFACE_LEN..]).len(), 2, "HELLO and GOODBYE");
}

#[test]
fn no_calls_are_made_before_the_session_is_open() {
    let mut client = Lone::unopened(Role::Initiator, Config::default());
    let failure = client.session.call(client.now, request("early", b"")).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Unavailable);
    assert!(client.events().is_empty());
}
