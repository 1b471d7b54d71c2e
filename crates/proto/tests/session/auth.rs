//! Section 2: who is there, and what somebody who is not can do.

use std::sync::Arc;

use andiron_proto::wire::{Kind, PREFACE_LEN, Reason};
use andiron_proto::{Auth, Config, ErrorKind, Event, Failure, Hello, Key, Refusal, Role, Session, binding};

use crate::support::*;

const CHANNEL: &[u8] = b"some channel";

fn key(number: u8) -> Key {
    Key::new([number; 32])
}

fn secret(keys: &[u8], nonce: u8) -> Config {
    let keys: Arc<[Key]> = keys.iter().map(|&number| key(number)).collect();
    Config { auth: Auth::Secret { keys, ended: [].into(), nonce: [nonce; 32] }, ..Config::default() }
}

fn certificate() -> Config {
    Config { auth: Auth::Certificate, ..Config::default() }
}

/// Two ends over channels that they take for these.
fn pair(seed: u64, client: Config, server: Config, channels: [&[u8]; 2]) -> Pair {
    let mut pair = Pair::unopened(seed, client, server);
    pair.session(CLIENT).bind(channels[0]);
    pair.session(SERVER).bind(channels[1]);
    pair
}

fn failure(events: &[Event]) -> &Failure {
    match events.last() {
        Some(Event::Closed(failure)) => failure,
        other => panic!("not closed: {other:?}"),
    }
}

/// Both ends end without having opened, and say why.
#[track_caller]
fn refused(pair: &mut Pair) -> [Failure; 2] {
    pair.run();
    [CLIENT, SERVER].map(|end| {
        let events = pair.events(end);
        assert!(!events.iter().any(|event| matches!(event, Event::Opened(_))), "it opened: {events:?}");
        let failure = failure(&events).clone();
        assert_eq!(failure.kind, ErrorKind::Authentication, "{failure}");
        failure
    })
}

/// A session by hand: what it sends is carried by the test.
fn lone(role: Role, config: Config) -> Lone {
    let mut lone = Lone::unopened(role, config);
    lone.session.bind(CHANNEL);
    lone
}

fn is_open(lone: &mut Lone) -> bool {
    lone.events().iter().any(|event| matches!(event, Event::Opened(_)))
}

#[test]
fn who_has_the_secret_comes_in_in_whatever_pieces_the_bytes_come() {
    for seed in 0..30 {
        let mut pair = pair(seed, secret(&[2], 10), secret(&[1, 2, 3], 20), [CHANNEL; 2]);
        pair.most_piece = [1, 20, 1000][seed as usize % 3];
        pair.run();
        for end in [CLIENT, SERVER] {
            assert!(matches!(pair.events(end)[..], [Event::Opened(_)]));
        }
        assert_eq!(pair.session(SERVER).proved_with(), Some(1), "the second of its keys");
        assert_eq!(pair.session(CLIENT).proved_with(), Some(0));
        pair.call(CLIENT, request("hello", b"\x90"));
        pair.run();
        let call = pair.one_call(SERVER);
        pair.reply(SERVER, call.id, b"\xc0");
        pair.run();
        assert_eq!(pair.answers(CLIENT).len(), 1);
    }
}

#[test]
fn a_wrong_secret_is_refused_and_both_ends_hear_why() {
    let mut pair = pair(1, secret(&[9], 10), secret(&[1, 2], 20), [CHANNEL; 2]);
    for failure in refused(&mut pair) {
        assert!(failure.to_string().contains("secret"), "{failure}");
    }
}

#[test]
fn who_has_a_secret_that_ran_out_is_told_so_and_nobody_else() {
    let server = || {
        let ended: Arc<[(Key, String)]> =
            [(key(8), "it ran out".to_owned()), (key(9), "the other".to_owned())].into();
        Config { auth: Auth::Secret { keys: [key(1)].into(), ended, nonce: [20; 32] }, ..Config::default() }
    };
    for failure in refused(&mut pair(1, secret(&[8], 10), server(), [CHANNEL; 2])) {
        assert!(failure.to_string().contains("it ran out"), "{failure}");
    }
    for (client, channels) in [(secret(&[7], 10), [CHANNEL; 2]), (secret(&[8], 10), [CHANNEL, b"another"])] {
        for failure in refused(&mut pair(1, client, server(), channels)) {
            assert!(failure.to_string().contains("the proof of the secret is wrong"), "{failure}");
        }
    }
    let mut pair = pair(1, secret(&[1], 10), server(), [CHANNEL; 2]);
    pair.run();
    assert!(matches!(pair.events(CLIENT)[..], [Event::Opened(_)]));
}

#[test]
fn who_is_turned_away_is_told_as_soon_as_it_has_said_who_it_is() {
    let refusal = || Refusal {
        reason: Reason::Done,
        told: "come back".to_owned(),
        failure: Failure::new(ErrorKind::Unavailable, "the reason"),
    };
    let mut pair = pair(1, secret(&[1], 10), secret(&[1], 20), [CHANNEL; 2]);
    assert!(pair.session(SERVER).turn_away(refusal()));
    assert!(!pair.session(CLIENT).turn_away(refusal()), "who came does not turn the other away");
    pair.run();
    let [client, server] = [CLIENT, SERVER].map(|end| failure(&pair.events(end)).clone());
    assert_eq!((client.kind, server.kind), (ErrorKind::Unavailable, ErrorKind::Unavailable));
    assert!(
        client.to_string().ends_with("come back") && server.to_string() == "the reason",
        "{client} {server}"
    );

    let (mut client, mut server) =
        (lone(Role::Initiator, secret(&[1], 1)), lone(Role::Acceptor, secret(&[1], 2)));
    server.receive(&client.output());
    assert!(!server.session.turn_away(refusal()), "it waits for the proof by then");
}

#[test]
fn a_proof_for_another_channel_is_refused() {
    // As somebody in the middle finds it: each end sees another certificate, or another address.
    refused(&mut pair(
        1,
        secret(&[1], 10),
        secret(&[1], 20),
        [b"certificate of the man", b"own certificate"],
    ));
    let (a, b) = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:9099".parse().unwrap());
    let c = "127.0.0.1:50001".parse().unwrap();
    refused(&mut pair(
        1,
        secret(&[1], 1),
        secret(&[1], 2),
        [&binding::loopback(a, b), &binding::loopback(c, b)],
    ));
    refused(&mut pair(1, secret(&[1], 1), secret(&[1], 2), [&binding::tls(b"der"), &binding::plain()]));
}

#[test]
fn without_a_secret_or_a_channel_nothing_is_proved() {
    let unbound: [&[u8]; 2] = [b"", b""];
    refused(&mut pair(1, secret(&[1], 1), secret(&[1], 2), unbound));
    refused(&mut pair(1, secret(&[], 1), secret(&[1], 2), [CHANNEL; 2]));
    refused(&mut pair(1, secret(&[1], 1), secret(&[], 2), [CHANNEL; 2]));
    refused(&mut pair(1, secret(&[], 1), secret(&[], 2), [CHANNEL; 2]));
}

#[test]
fn nobody_is_talked_into_another_method() {
    let configs = [Config::default, certificate, || secret(&[1], 7)];
    for (number, client) in configs.iter().enumerate() {
        for (other, server) in configs.iter().enumerate() {
            if number != other {
                for failure in refused(&mut pair(1, client(), server(), [CHANNEL; 2])) {
                    assert!(failure.to_string().contains("this server"), "{failure}");
                }
            }
        }
    }
    // A server that chooses what was not offered.
    for chosen in [vec!["user"], vec!["secret", "user"], vec![]] {
        let mut client = lone(Role::Initiator, secret(&[1], 1));
        let auth = chosen.iter().map(|&method| method.to_owned()).collect();
        client.receive(&introduction(&Hello { auth, nonce: Some([2; 32]), ..Hello::default() }));
        assert_eq!(failure(&client.events()).kind, ErrorKind::Authentication);
    }
}

#[test]
fn certificates_vouch_without_a_word() {
    let mut pair = Pair::unopened(1, certificate(), certificate());
    pair.run();
    for end in [CLIENT, SERVER] {
        assert!(matches!(pair.events(end)[..], [Event::Opened(_)]));
    }
}

#[test]
fn nothing_is_taken_or_said_before_the_proof() {
    let mut client = lone(Role::Initiator, secret(&[1], 1));
    let mut server = lone(Role::Acceptor, secret(&[1], 2));
    server.receive(&client.output());
    client.receive(&server.output());
    // The client proved what it knows, and waits for the server to do the same.
    let now = client.now;
    assert_eq!(client.session.call(now, request("hello", b"")).unwrap_err().kind, ErrorKind::Unavailable);
    assert!(!client.session.is_open() && !server.session.is_open());
    client.receive(&frame(Kind::Call, 0, 1, &call_payload(0, "names", b"\x90")));
    client.expect_violation("before the session is open");
    // One who was let in too early would be heard: the call comes with the wrong proof.
    let mut early = frame(Kind::Proof, 0, 0, &[0; 32]);
    early.extend(frame(Kind::Call, 0, 1, &call_payload(0, "names", b"\x90")));
    server.receive(&early);
    assert_eq!(failure(&server.events()).kind, ErrorKind::Authentication);
}

/// The session ended for this violation.
#[track_caller]
fn violated(lone: &mut Lone, about: &str) {
    let events = lone.events();
    let failure = failure(&events);
    assert_eq!(failure.kind, ErrorKind::Protocol, "{failure}");
    assert!(failure.to_string().contains(about), "{failure}");
}

#[test]
fn proofs_out_of_place_end_the_session() {
    let proof = frame(Kind::Proof, 0, 0, &[0; 32]);
    let mut user = Lone::new();
    user.receive(&proof);
    user.expect_violation("PROOF");
    let hello = Hello { auth: vec!["secret".to_owned()], nonce: Some([3; 32]), ..Hello::default() };
    for bytes in [&[0; 31][..], &[0; 33], &[]] {
        let mut server = lone(Role::Acceptor, secret(&[1], 2));
        server.receive(&introduction(&hello));
        server.receive(&frame(Kind::Proof, 0, 0, bytes));
        violated(&mut server, "PROOF");
    }
    let mut server = lone(Role::Acceptor, secret(&[1], 2));
    server.receive(&introduction(&Hello { nonce: None, ..hello.clone() }));
    violated(&mut server, "nonce");
    let mut server = lone(Role::Acceptor, secret(&[1], 2));
    server.receive(&introduction(&hello)[..PREFACE_LEN]);
    server.receive(&proof);
    violated(&mut server, "PROOF");
    // A second one, when all is done.
    let mut client = lone(Role::Initiator, secret(&[1], 1));
    let mut server = lone(Role::Acceptor, secret(&[1], 2));
    server.receive(&client.output());
    client.receive(&server.output());
    let proof = client.output();
    server.receive(&proof);
    assert!(is_open(&mut server));
    server.output();
    server.receive(&proof);
    violated(&mut server, "PROOF");
}

/// All that an initiator says, up to and with its proof, when this acceptor answers it.
fn recorded(nonce: u8) -> (Vec<u8>, Vec<u8>) {
    let mut client = lone(Role::Initiator, secret(&[1], 1));
    let mut server = lone(Role::Acceptor, secret(&[1], nonce));
    let hello = client.output();
    server.receive(&hello);
    client.receive(&server.output());
    (hello, client.output())
}

#[test]
fn a_recorded_handshake_is_worth_nothing() {
    let (hello, proof) = recorded(2);
    let mut same = lone(Role::Acceptor, secret(&[1], 2));
    same.receive(&hello);
    same.receive(&proof);
    assert!(is_open(&mut same), "with the same nonce it would be good");
    let mut other = lone(Role::Acceptor, secret(&[1], 3));
    other.receive(&hello);
    other.receive(&proof);
    assert_eq!(failure(&other.events()).kind, ErrorKind::Authentication);
}

#[test]
fn a_proof_that_is_sent_back_proves_nothing() {
    // A server without the secret that says what it heard.
    let mut client = lone(Role::Initiator, secret(&[1], 1));
    let hello = client.output();
    client.receive(&hello);
    let proof = client.output();
    assert!(!proof.is_empty(), "it cannot know yet, and proves itself");
    client.receive(&proof);
    assert_eq!(failure(&client.events()).kind, ErrorKind::Authentication);
    // The same the other way: two acceptors whose words are carried to each other.
    let mut first = lone(Role::Acceptor, secret(&[1], 1));
    let mut second = lone(Role::Acceptor, secret(&[1], 2));
    first.receive(&hello);
    second.receive(&hello);
    let (answer, _) = (first.output(), second.output());
    second.receive(&answer[PREFACE_LEN..]);
    assert!(!second.session.is_open() && !first.session.is_open());
}

/// One who holds no secret stands between two clients and lets each answer for the other: what broke kaa.rpc (K12).
#[test]
fn clients_cannot_be_played_against_each_other() {
    let mut first = lone(Role::Initiator, secret(&[1], 1));
    let mut second = lone(Role::Initiator, secret(&[1], 2));
    let (from_first, from_second) = (first.output(), second.output());
    first.receive(&from_second);
    second.receive(&from_first);
    let (proof_of_first, proof_of_second) = (first.output(), second.output());
    first.receive(&proof_of_second);
    second.receive(&proof_of_first);
    for client in [&mut first, &mut second] {
        assert_eq!(failure(&client.events()).kind, ErrorKind::Authentication);
    }
}

#[test]
fn whatever_is_changed_on_the_way_makes_the_proofs_wrong() {
    let hello = lone(Role::Initiator, secret(&[1], 1)).output();
    assert_eq!(split_frames(&hello[PREFACE_LEN..]).len(), 1, "the answer to it has the same length");
    for by in [CLIENT, SERVER] {
        for bit in 0..hello.len() * 8 {
            let mut client = lone(Role::Initiator, secret(&[1], 1));
            let mut server = lone(Role::Acceptor, secret(&[1], 2));
            let spoilt = |mut said: Vec<u8>, speaker| {
                if speaker == by {
                    said[bit / 8] ^= 1 << (bit % 8);
                }
                said
            };
            server.receive(&spoilt(client.output(), CLIENT));
            client.receive(&spoilt(server.output(), SERVER));
            server.receive(&client.output());
            client.receive(&server.output());
            assert!(
                !server.session.is_open() && !client.session.is_open(),
                "bit {bit} was changed unnoticed"
            );
        }
    }
}

#[test]
fn a_key_is_not_shown() {
    let text = format!("{:?} {:?}", key(7), secret(&[7], 1));
    assert!(!text.contains("7, 7"), "{text}");
    let session = Session::new(Role::Initiator, secret(&[77], 1), start());
    assert!(!format!("{session:?}").contains("77, 77"));
}

#[test]
fn addresses_are_bound_as_text_and_ipv4_is_ipv4() {
    let own =
        binding::loopback("127.0.0.1:50000".parse().unwrap(), "[::ffff:127.0.0.1]:9099".parse().unwrap());
    assert_eq!(own, b"tcp\0\0\x0f127.0.0.1:50000\0\x0e127.0.0.1:9099");
    let six = binding::loopback("[::1]:50000".parse().unwrap(), "[::1]:9099".parse().unwrap());
    assert_eq!(six, b"tcp\0\0\x0b[::1]:50000\0\x0a[::1]:9099");
}
