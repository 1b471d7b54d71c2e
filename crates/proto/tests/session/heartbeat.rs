//! Section 8: a peer that is gone without a word.

use std::time::Duration;

use andiron_proto::{Config, ErrorKind, Event, Heartbeat};

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

/// An open pair whose ends ask after 10 s and wait for 20 s.
fn pair(seed: u64) -> Pair {
    let heartbeat = Some(Heartbeat { after: millis(10_000), patience: millis(20_000) });
    let config = || Config { heartbeat, ..Config::default() };
    let mut pair = Pair::unopened(seed, config(), config());
    pair.run();
    pair.events(CLIENT);
    pair.events(SERVER);
    pair
}

#[test]
fn a_peer_behind_a_silent_network_is_found_while_it_is_waited_for() {
    let mut pair = pair(1);
    let id = pair.call(CLIENT, request("work", b"\x90"));
    pair.run();
    pair.one_call(SERVER);
    pair.stop(SERVER);
    pair.stop(CLIENT);
    pair.advance(millis(10_000));
    pair.run();
    assert!(pair.session(CLIENT).is_open(), "asked, and patient");
    pair.advance(millis(19_999));
    assert!(pair.session(CLIENT).is_open());
    pair.advance(millis(1));
    let events = pair.events(CLIENT);
    let [Event::Answer { id: answered, outcome: Err(failure) }, Event::Closed(_)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((*answered, failure.kind), (id, ErrorKind::Unknown));
    assert!(failure.to_string().contains("30 s"), "{failure}");
}

#[test]
fn a_peer_whose_handler_is_busy_for_hours_is_there() {
    let mut pair = pair(2);
    let id = pair.call(CLIENT, request("work", b"\x90"));
    pair.run();
    let call = pair.one_call(SERVER);
    for _ in 0..1000 {
        pair.advance(millis(9_000));
        pair.run();
    }
    pair.expect_silence();
    pair.reply(SERVER, call.id, b"\xc0");
    pair.run();
    assert!(pair.one_answer(CLIENT, id).is_ok());
}

#[test]
fn whoever_waits_for_nothing_neither_asks_nor_gives_up() {
    let mut pair = pair(3);
    let sent = [CLIENT, SERVER].map(|end| pair.ends[end].sent);
    assert_eq!(pair.session(CLIENT).poll_timeout(), None);
    pair.advance(HOUR);
    pair.run();
    assert_eq!([CLIENT, SERVER].map(|end| pair.ends[end].sent), sent, "not a word");
    // The time counts from the call on, not from what was heard an hour ago.
    let id = pair.call(CLIENT, request("work", b"\x90"));
    pair.advance(millis(9_999));
    assert_eq!(pair.session(CLIENT).poll_timeout(), Some(pair.now + millis(1)));
    pair.run();
    let call = pair.one_call(SERVER);
    pair.reply(SERVER, call.id, b"\xc0");
    pair.run();
    assert!(pair.one_answer(CLIENT, id).is_ok());
    assert_eq!(pair.session(CLIENT).poll_timeout(), None);
}

#[test]
fn a_driver_that_slept_asks_before_it_gives_up() {
    let mut pair = pair(4);
    pair.call(CLIENT, request("work", b"\x90"));
    pair.run();
    pair.one_call(SERVER);
    // Nobody looked at clock or socket for an hour.
    pair.advance(HOUR);
    assert!(pair.session(CLIENT).is_open());
    pair.run();
    pair.advance(millis(20_000));
    assert!(pair.session(CLIENT).is_open(), "the answer to the ping was read");
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut pair = pair(5);
    pair.call(CLIENT, request("work", b"\x90"));
    pair.run();
    pair.one_call(SERVER);
    for _ in 0..10 {
        pair.advance(millis(10_000));
        pair.session(SERVER).ping(b"?");
        pair.run();
    }
    assert!(pair.session(CLIENT).is_open());
    let pongs = pair.events(SERVER).iter().filter(|event| matches!(event, Event::Pong(_))).count();
    assert_eq!(pongs, 10, "pongs to its own pings are told, those to the session's are not");
    assert!(pair.events(CLIENT).is_empty());
}
