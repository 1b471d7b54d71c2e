//! Section 8: how a session ends.

use andiron_proto::wire::{Kind, Reason};
use andiron_proto::{ErrorKind, Event, Failure, Limits, Ref, Role};

use crate::support::*;

fn goodbye(last: u64, reason: u16) -> Vec<u8> {
    frame(Kind::Goodbye, 0, last, &[&reason.to_be_bytes()[..], b"so long"].concat())
}

/// How each call of this end came out, by number; other events do not count.
fn outcomes(events: &[Event]) -> Vec<(u64, Option<ErrorKind>)> {
    let outcome = |event: &Event| match event {
        Event::Answer { id, outcome } => Some((*id, outcome.as_ref().err().map(|failure| failure.kind))),
        _ => None,
    };
    events.iter().filter_map(outcome).collect()
}

#[test]
fn both_ends_finish_what_is_outstanding_and_then_part() {
    for (seed, first) in [(1, CLIENT), (2, SERVER)] {
        let mut pair = Pair::new(seed);
        let calls = [CLIENT, SERVER].map(|end| pair.call(end, request("slow", b"")));
        pair.run();
        pair.one_call(CLIENT);
        pair.one_call(SERVER);
        pair.session(first).leave();
        pair.run();
        assert!(matches!(&pair.events(1 - first)[..], [Event::Goodbye { reason: Reason::Done, .. }]));
        for end in [CLIENT, SERVER] {
            assert!(pair.session(end).is_open() && !pair.session(end).is_finished());
            let now = pair.now;
            let refusal = pair.session(end).call(now, request("more", b"")).unwrap_err();
            assert_eq!(refusal.kind, ErrorKind::Unavailable);
            assert!(pair.session(end).notify(now, request("more", b"")).is_err());
        }
        for end in [CLIENT, SERVER] {
            pair.reply(end, calls[1 - end], b"");
        }
        pair.run();
        for end in [CLIENT, SERVER] {
            assert!(pair.one_answer(end, calls[end]).is_ok());
            assert!(pair.session(end).is_finished());
        }
        pair.cut();
        for end in [CLIENT, SERVER] {
            assert!(matches!(&pair.events(end)[..], [Event::Closed(_)]));
        }
    }
}

#[test]
fn both_may_say_goodbye_at_once() {
    let mut pair = Pair::new(3);
    let id = pair.call(CLIENT, request("slow", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.session(CLIENT).leave();
    pair.session(SERVER).goodbye(Reason::ShuttingDown, "maintenance");
    pair.run();
    assert!(matches!(&pair.events(CLIENT)[..], [Event::Goodbye { reason: Reason::ShuttingDown, text }]
        if text == "maintenance"));
    assert!(matches!(&pair.events(SERVER)[..], [Event::Goodbye { .. }]));
    pair.reply(SERVER, id, b"");
    pair.run();
    assert!(pair.one_answer(CLIENT, id).is_ok());
    assert!(pair.session(CLIENT).is_finished() && pair.session(SERVER).is_finished());
}

#[test]
fn calls_that_cross_a_goodbye_did_not_run_and_their_caller_knows() {
    for seed in 0..20 {
        let mut pair =
            Pair::with(seed, Limits::default(), Limits { frame: 4096, window: 10, ..Limits::default() });
        let taken = pair.call(CLIENT, request("taken", b""));
        pair.run();
        pair.one_call(SERVER);
        let object = pair.session(CLIENT).show().unwrap();
        let crossing = pair.call(CLIENT, request_with("crossing", vec![Ref::Local(object)]));
        let long = pair.call(CLIENT, request("long", &bulk(10_000)));
        pair.notify(CLIENT, request("notify", b""));
        pair.session(SERVER).leave();
        pair.run();
        assert!(pair.calls(SERVER).is_empty());
        let events = pair.events(CLIENT);
        let not_run = Some(ErrorKind::Unavailable);
        assert_eq!(outcomes(&events), [(crossing, not_run), (long, not_run)]);
        assert!(
            events.iter().any(|event| matches!(event, Event::Released { object: gone } if *gone == object))
        );
        assert!(events.iter().any(|event| matches!(event, Event::Goodbye { reason: Reason::Done, .. })));
        pair.session(CLIENT).cancel(crossing);
        pair.reply(SERVER, taken, b"");
        pair.run();
        assert!(pair.one_answer(CLIENT, taken).is_ok());
        assert!(pair.session(CLIENT).is_finished() && pair.session(SERVER).is_finished());
    }
}

#[test]
fn a_cancel_of_a_call_that_was_not_taken_is_late() {
    let mut lone = Lone::new();
    lone.receive(&frame(Kind::Call, 0, 1, &call_payload(0, "x", b"")));
    lone.session.leave();
    lone.receive(&frame(Kind::Call, 0, 2, &call_payload(0, "x", b"")));
    lone.receive(&frame(Kind::Cancel, 0, 2, b""));
    lone.receive(&frame(Kind::Cancel, 0, 1, b""));
    assert!(matches!(&lone.events()[..], [Event::Call(_), Event::Cancelled { id: 1 }]));
    let frames = lone.frames();
    assert_eq!((frames.len(), frames[0].0.kind, frames[0].0.id), (1, Kind::Goodbye, 1));
}

#[test]
fn what_waits_for_its_turn_is_not_sent_any_more() {
    for own in [true, false] {
        let mut lone =
            Lone::open(Role::Initiator, Limits::default(), Limits { calls: 1, ..Limits::default() });
        let sent = lone.session.call(lone.now, request("sent", b"")).unwrap();
        let held = lone.session.call(lone.now, request("held", b"")).unwrap();
        let notify = lone.session.notify(lone.now, request("notify", b"")).unwrap();
        lone.frames();
        if own {
            lone.session.leave();
        } else {
            lone.receive(&goodbye(u64::MAX, 5));
        }
        let events = lone.events();
        assert_eq!(
            outcomes(&events),
            [(held, Some(ErrorKind::Unavailable))],
            "whatever the peer claims to have taken"
        );
        assert!(events.iter().any(|event| matches!(event, Event::NotifyFailed { id, failure }
            if *id == notify && failure.kind == ErrorKind::Unavailable)));
        lone.receive(&frame(Kind::Result, 0, sent, b"\0"));
        assert!(matches!(&lone.events()[..], [Event::Answer { outcome: Ok(_), .. }]));
        assert!(lone.frames().iter().all(|(header, _)| header.kind == Kind::Goodbye));
        assert!(lone.session.is_finished());
    }
}

#[test]
fn an_abrupt_goodbye_ends_the_session_at_once() {
    for (number, kind) in [
        (1, ErrorKind::Protocol),
        (2, ErrorKind::Unsupported),
        (3, ErrorKind::Authentication),
        (4, ErrorKind::Overloaded),
        (6, ErrorKind::Deadline),
    ] {
        let mut lone =
            Lone::open(Role::Initiator, Limits::default(), Limits { calls: 2, ..Limits::default() });
        for _ in 0..4 {
            lone.session.call(lone.now, request("x", b"")).unwrap();
        }
        lone.frames();
        lone.receive(&frame(Kind::Call, 0, 1, &call_payload(0, "running", b"")));
        lone.receive(&frame(Kind::Notify, 0, 2, &call_payload(0, "running", b"")));
        lone.events();
        lone.receive(&goodbye(1, number));
        let events = lone.events();
        let may_have_run = if matches!(number, 1 | 6) { kind } else { ErrorKind::Unknown };
        let not_run = Some(ErrorKind::Unavailable);
        let mut all = outcomes(&events);
        all.sort_by_key(|(id, _)| *id);
        assert_eq!(all, [(1, Some(may_have_run)), (2, not_run), (3, not_run), (4, not_run)]);
        let [.., Event::Cancelled { id: 1 }, Event::Closed(failure)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(failure.kind, kind);
        assert!(failure.to_string().contains("so long"));
        assert!(lone.session.is_closed() && lone.output().is_empty());
    }
}

#[test]
fn an_unknown_reason_is_like_done() {
    let mut lone = Lone::new();
    lone.receive(&goodbye(0, 999));
    assert!(
        matches!(&lone.events()[..], [Event::Goodbye { reason: Reason::Done, text }] if text == "so long")
    );
    assert!(lone.session.is_open() && lone.session.is_finished());
}

#[test]
fn an_abrupt_goodbye_may_follow_a_mild_one() {
    let mut pair = Pair::new(4);
    let id = pair.call(CLIENT, request("slow", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.session(SERVER).leave();
    pair.session(SERVER).leave();
    pair.session(SERVER).goodbye(Reason::Timeout, "waited long enough");
    pair.run();
    let events = pair.events(CLIENT);
    assert!(
        matches!(&events[..], [
        Event::Goodbye { reason: Reason::Done, .. },
        Event::Goodbye { reason: Reason::Timeout, .. },
        Event::Answer { outcome: Err(failure), .. },
        Event::Closed(_),
    ] if failure.kind == ErrorKind::Deadline),
        "{events:?}"
    );
    assert!(
        matches!(&pair.events(SERVER)[..], [Event::Cancelled { id: cancelled }, Event::Closed(_)] if *cancelled == id)
    );
}

#[test]
fn an_own_abrupt_goodbye_says_truthfully_what_may_have_run() {
    let mut lone = Lone::open(Role::Initiator, Limits::default(), Limits { calls: 2, ..Limits::default() });
    lone.session.call(lone.now, request("left", b"")).unwrap();
    lone.frames();
    lone.session.call(lone.now, request("queued", b"")).unwrap();
    lone.session.call(lone.now, request("held", b"")).unwrap();
    lone.session.goodbye(Reason::Overloaded, "too much");
    let not_run = Some(ErrorKind::Unavailable);
    assert_eq!(outcomes(&lone.events()), [(1, Some(ErrorKind::Unknown)), (2, not_run), (3, not_run)]);
}

#[test]
fn when_the_connection_is_lost_what_left_is_unknown_and_what_did_not_is_unavailable() {
    let mut lone = Lone::open(Role::Initiator, Limits::default(), Limits { calls: 3, ..Limits::default() });
    let answered = lone.session.call(lone.now, request("answered", b"")).unwrap();
    lone.session.call(lone.now, request("left", b"")).unwrap();
    let cancelled = lone.session.call(lone.now, request("cancelled", b"")).unwrap();
    lone.frames();
    lone.session.cancel(cancelled);
    lone.receive(&frame(Kind::Result, 0, answered, b"\0"));
    lone.frames();
    lone.events();
    lone.session.call(lone.now, request("half left", b"")).unwrap();
    lone.session.poll_transmit().unwrap();
    lone.session.transmitted(30);
    lone.session.call(lone.now, request("held", b"")).unwrap();
    lone.session.disconnected("reset by peer");
    let events = lone.events();
    let not_run = Some(ErrorKind::Unavailable);
    assert_eq!(outcomes(&events), [(2, Some(ErrorKind::Unknown)), (4, not_run), (5, not_run)]);
    assert!(matches!(events.last(), Some(Event::Closed(failure))
        if failure.kind == ErrorKind::Unknown && failure.to_string().contains("reset by peer")));
}

#[test]
fn when_the_stream_ends_behind_a_goodbye_what_was_not_answered_may_have_run() {
    for said in [true, false] {
        let mut lone = Lone::new();
        lone.session.call(lone.now, request("x", b"")).unwrap();
        lone.frames();
        if said {
            lone.receive(&goodbye(1, 0));
        } else {
            lone.session.leave();
        }
        lone.session.disconnected("end of stream");
        assert_eq!(outcomes(&lone.events()), [(1, Some(ErrorKind::Unknown))]);
    }
}

#[test]
fn handlers_are_told_when_the_session_is_over_but_not_notifies() {
    let mut pair = Pair::with(5, Limits::default(), Limits { frame: 4096, window: 0, ..Limits::default() });
    pair.stop(CLIENT);
    let running = pair.call(CLIENT, request("running", b""));
    pair.notify(CLIENT, request("notify", b""));
    pair.call(CLIENT, request("incomplete", &bulk(5000)));
    let cancelled = pair.call(CLIENT, request("cancelled", b""));
    pair.run();
    pair.session(CLIENT).cancel(cancelled);
    pair.run();
    assert!(matches!(pair.events(SERVER).last(), Some(Event::Cancelled { id }) if *id == cancelled));
    pair.cut();
    let events = pair.events(SERVER);
    assert!(
        matches!(&events[..], [Event::Cancelled { id }, Event::Closed(_)] if *id == running),
        "{events:?}"
    );
    pair.reply(SERVER, running, b"nobody is there");
    assert!(!pair.session(SERVER).want_write());
}

#[test]
fn a_session_is_not_finished_while_bytes_or_answers_are_to_come() {
    let mut lone =
        Lone::open(Role::Acceptor, Limits::default(), Limits { window: 0, frame: 4096, ..Limits::default() });
    lone.receive(&frame(Kind::Call, 0, 1, &call_payload(0, "get", b"")));
    lone.events();
    lone.receive(&goodbye(0, 0));
    assert!(!lone.session.is_finished(), "the call is not answered");
    lone.session.reply(1, andiron_proto::Outgoing::native(&[0; 5000]));
    lone.frames();
    assert!(!lone.session.is_finished(), "the answer is not sent");
    lone.receive(&frame(Kind::Credit, 0, 1, &5000_u64.to_be_bytes()));
    assert!(!lone.session.is_finished(), "it has credit");
    lone.frames();
    assert!(lone.session.is_finished());
}

#[test]
fn pings_are_answered_until_the_end() {
    let mut lone = Lone::new();
    lone.session.leave();
    lone.receive(&goodbye(0, 0));
    lone.frames();
    lone.receive(&frame(Kind::Ping, 0, 3, b"x"));
    assert_eq!(lone.frames()[0].0.kind, Kind::Pong);
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let mut pair = Pair::new(6);
    pair.session(CLIENT).goodbye(Reason::Done, &format!("x{}", "é".repeat(1000)));
    pair.run();
    assert!(matches!(&pair.events(SERVER)[..], [Event::Goodbye { text, .. }] if text.len() == 1023));
}

#[test]
fn a_goodbye_whose_text_is_not_utf8_is_heard_all_the_same() {
    let mut lone = Lone::new();
    lone.receive(&frame(Kind::Goodbye, 0, 0, b"\0\0\xff\xfe"));
    assert!(matches!(&lone.events()[..], [Event::Goodbye { .. }]));
}

#[test]
fn the_peer_hears_why_it_was_given_up() {
    let mut pair = Pair::new(7);
    let id = pair.call(CLIENT, request("x", b""));
    pair.run();
    pair.one_call(SERVER);
    let now = pair.now;
    pair.session(SERVER).receive(now, &frame(Kind::Proof, 0, 0, b""), Vec::new(), false);
    pair.run();
    let events = pair.events(CLIENT);
    assert!(
        matches!(&events[..], [
        Event::Goodbye { reason: Reason::Protocol, text },
        Event::Answer { id: answered, outcome: Err(Failure { kind: ErrorKind::Protocol, .. }) },
        Event::Closed(_),
    ] if text.contains("PROOF") && *answered == id),
        "{events:?}"
    );
}
