//! Section 4: calls, notifies, deadlines and cancels.

use andiron_proto::wire::{Kind, codecs};
use andiron_proto::{CallRequest, ErrorKind, Event, Failure, FailureDetail, Limits, Outgoing, Ref, Role};

use crate::support::*;

fn few_calls(calls: u32) -> Limits {
    Limits { calls, ..Limits::default() }
}

/// The ids of cancelled calls; nothing else may have happened.
fn cancelled(pair: &mut Pair, end: usize) -> Vec<u64> {
    let id = |event| match event {
        Event::Cancelled { id } => id,
        other => panic!("not a cancel: {other:?}"),
    };
    pair.events(end).into_iter().map(id).collect()
}

#[test]
fn a_call_arrives_as_it_was_made_and_its_answer_comes_back() {
    let mut pair = Pair::new(1);
    let arguments = Outgoing { codec: codecs::JSON, ..Outgoing::native(b"[1]") };
    let id = pair.call(
        CLIENT,
        CallRequest { target: 77, method: "größe", chain: 1234, arguments, ..Default::default() },
    );
    pair.run();
    let call = pair.one_call(SERVER);
    assert_eq!((call.id, call.target, call.method.as_str(), call.chain), (id, 77, "größe", 1234));
    assert_eq!((call.deadline, call.notify, call.payload.codec), (None, false, codecs::JSON));
    assert_eq!(&call.payload.body[..], b"[1]");
    pair.reply(SERVER, call.id, b"\x2a");
    pair.run();
    let payload = pair.one_answer(CLIENT, id).unwrap();
    assert_eq!((&payload.body[..], payload.codec), (&b"\x2a"[..], codecs::NATIVE));
    pair.expect_silence();
}

#[test]
fn calls_go_both_ways_at_once_and_answers_come_in_any_order() {
    for seed in 0..20 {
        let mut pair = Pair::new(seed);
        pair.most_piece = [3, 50, 5000][seed as usize % 3];
        for end in [CLIENT, SERVER] {
            for number in 0..20_u8 {
                pair.call(end, request("count", &[number]));
            }
        }
        pair.run();
        for end in [CLIENT, SERVER] {
            let mut calls = pair.calls(end);
            let numbers: Vec<u8> = calls.iter().map(|call| call.payload.body[0]).collect();
            assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "in the order sent");
            pair.rng.shuffle(&mut calls);
            for call in calls {
                pair.reply(end, call.id, &[call.payload.body[0] + 100]);
            }
        }
        pair.run();
        for end in [CLIENT, SERVER] {
            for (id, outcome) in pair.answers(end) {
                assert_eq!(&outcome.unwrap().body[..], [id as u8 - 1 + 100]);
            }
            assert!(pair.outstanding(end).is_empty());
        }
    }
}

#[test]
fn a_nested_call_is_made_while_the_outer_one_is_handled() {
    let mut pair = Pair::new(3);
    let outer = pair.call(CLIENT, CallRequest { chain: 9, ..request("outer", b"") });
    pair.run();
    let handled = pair.one_call(SERVER);
    let inner = pair.call(SERVER, CallRequest { chain: handled.chain, ..request("inner", b"") });
    pair.run();
    let nested = pair.one_call(CLIENT);
    assert_eq!(nested.chain, 9);
    pair.reply(CLIENT, nested.id, b"in");
    pair.run();
    let answer = pair.one_answer(SERVER, inner).unwrap();
    pair.reply(SERVER, handled.id, &answer.body);
    pair.run();
    assert_eq!(&pair.one_answer(CLIENT, outer).unwrap().body[..], b"in");
}

#[test]
fn a_failure_arrives_with_its_kind_and_all_it_says() {
    let mut pair = Pair::new(4);
    for &kind in ErrorKind::ALL {
        let id = pair.call(CLIENT, request("fail", b""));
        pair.run();
        let call = pair.one_call(SERVER);
        let detail = FailureDetail {
            message: "the disk is full".into(),
            type_name: "OSError".into(),
            trace: vec!["line 1".to_owned(), "line 2".to_owned()],
            args: vec![28.into(), "the disk is full".into()],
            attributes: Some(Box::new([("disk".to_owned(), "sda".into())].into())),
        };
        let failure = Failure { kind, detail };
        pair.fail(SERVER, call.id, &failure);
        pair.run();
        assert_eq!(pair.one_answer(CLIENT, id).unwrap_err(), failure);
    }
}

#[test]
fn a_failure_too_long_for_a_frame_is_shortened_and_arrives() {
    let mut pair = Pair::with(5, Limits { frame: 4096, ..Limits::default() }, Limits::default());
    let long = || "x".repeat(300_000);
    for detail in [
        FailureDetail {
            message: "short".into(),
            trace: vec!["line".to_owned(); 100_000],
            ..Default::default()
        },
        FailureDetail { message: long().into(), ..Default::default() },
        FailureDetail { type_name: long().into(), ..Default::default() },
        FailureDetail {
            message: long().into(),
            type_name: long().into(),
            trace: vec![long(); 3],
            ..Default::default()
        },
    ] {
        let id = pair.call(CLIENT, request("fail", b""));
        pair.run();
        let call = pair.one_call(SERVER);
        pair.fail(SERVER, call.id, &Failure { kind: ErrorKind::Application, detail: detail.clone() });
        pair.run();
        let failure = pair.one_answer(CLIENT, id).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Application);
        assert!(detail.message.starts_with(&*failure.detail.message));
        assert_eq!(detail.message.is_empty(), failure.detail.message.is_empty());
    }
}

#[test]
fn an_error_that_cannot_be_read_is_still_an_answer() {
    let mut lone = Lone::open(Role::Initiator, Limits::default(), Limits::default());
    let id = lone.session.call(lone.now, request("x", b"")).unwrap();
    lone.receive(&frame(Kind::Error, 0, id, b"\0\x01\xc1\xc1"));
    assert!(matches!(&lone.events()[..], [Event::Answer { outcome: Err(failure), .. }]
        if failure.kind == ErrorKind::Application));
}

#[test]
fn an_error_of_a_later_version_is_an_internal_one() {
    let mut lone = Lone::new();
    let id = lone.session.call(lone.now, request("x", b"")).unwrap();
    lone.receive(&frame(Kind::Error, 0, id, b"\x27\x0f\x80"));
    assert!(matches!(&lone.events()[..], [Event::Answer { outcome: Err(failure), .. }]
        if failure.kind == ErrorKind::Internal));
}

#[test]
fn a_notify_wants_no_answer_and_its_failure_can_be_learnt() {
    let mut pair = Pair::new(6);
    let good = pair.notify(CLIENT, request("tell", b"1"));
    let replied = pair.notify(CLIENT, request("tell", b"2"));
    let bad = pair.notify(CLIENT, request("tell", b"3"));
    pair.run();
    let calls = pair.calls(SERVER);
    assert!(calls.iter().all(|call| call.notify));
    assert_eq!(calls.iter().map(|call| call.id).collect::<Vec<_>>(), [good, replied, bad]);
    pair.session(SERVER).done(good);
    pair.reply(SERVER, replied, b"nobody wants this");
    pair.fail(SERVER, bad, &Failure::new(ErrorKind::NoMethod, "no tell"));
    pair.run();
    let events = pair.events(CLIENT);
    assert!(matches!(&events[..], [Event::NotifyFailed { id, failure }]
        if *id == bad && failure.kind == ErrorKind::NoMethod));
}

#[test]
fn calls_beyond_what_the_peer_takes_wait_and_none_is_lost() {
    for seed in 0..20 {
        let mut pair = Pair::with(seed, Limits::default(), few_calls(4));
        for number in 0..100_u8 {
            if number % 7 == 0 {
                pair.notify(CLIENT, request("notify", &[number]));
            } else {
                pair.call(CLIENT, request("call", &[number]));
            }
        }
        let mut arrived = Vec::new();
        let mut running = Vec::new();
        while arrived.len() < 100 {
            pair.run();
            for call in pair.calls(SERVER) {
                arrived.push(call.payload.body[0]);
                if call.notify { pair.session(SERVER).done(call.id) } else { running.push(call.id) }
            }
            assert!(running.len() <= 4, "more than the server takes");
            assert!(arrived.len() == 100 || !running.is_empty(), "the rest is lost");
            if !running.is_empty() {
                let index = pair.rng.usize(..running.len());
                let id = running.swap_remove(index);
                pair.reply(SERVER, id, b"");
            }
        }
        assert_eq!(arrived, (0..100).collect::<Vec<_>>(), "order is kept, between calls and notifies too");
        for id in running {
            pair.reply(SERVER, id, b"");
        }
        pair.run();
        assert!(pair.answers(CLIENT).iter().all(|(_, outcome)| outcome.is_ok()), "none was refused");
        assert!(pair.outstanding(CLIENT).is_empty());
    }
}

#[test]
fn a_call_that_waits_can_be_cancelled_and_is_never_sent() {
    let mut pair = Pair::with(7, Limits::default(), few_calls(1));
    let first = pair.call(CLIENT, request("first", b""));
    let second = pair.call(CLIENT, request("second", b""));
    let third = pair.call(CLIENT, request("third", b""));
    pair.session(CLIENT).cancel(second);
    assert_eq!(pair.one_answer(CLIENT, second).unwrap_err().kind, ErrorKind::Cancelled);
    pair.run();
    let call = pair.one_call(SERVER);
    assert_eq!(call.id, first);
    pair.reply(SERVER, first, b"");
    pair.run();
    assert!(pair.one_answer(CLIENT, first).is_ok());
    assert_eq!(pair.one_call(SERVER).id, third);
}

#[test]
fn a_cancel_reaches_the_handler_and_the_call_is_answered_all_the_same() {
    let mut pair = Pair::new(8);
    let id = pair.call(CLIENT, request("slow", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.session(CLIENT).cancel(id);
    assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::Cancelled, "at once");
    pair.session(CLIENT).cancel(id);
    pair.run();
    assert_eq!(cancelled(&mut pair, SERVER), [id], "once");
    pair.reply(SERVER, id, b"all the same");
    pair.run();
    pair.expect_silence();
    assert!(pair.session(CLIENT).is_open(), "the late answer is dropped in silence");
}

#[test]
fn a_cancelled_call_counts_until_its_answer_has_come() {
    let mut pair = Pair::with(9, Limits::default(), few_calls(1));
    let first = pair.call(CLIENT, request("first", b""));
    let second = pair.call(CLIENT, request("second", b""));
    pair.session(CLIENT).cancel(first);
    pair.run();
    pair.answers(CLIENT);
    let events = pair.events(SERVER);
    assert!(matches!(&events[..], [Event::Call(_), Event::Cancelled { .. }]), "the second waits: {events:?}");
    pair.reply(SERVER, first, b"");
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, second);
}

#[test]
fn a_cancel_that_crosses_the_answer_is_late_and_ignored() {
    let mut pair = Pair::new(10);
    let id = pair.call(CLIENT, request("quick", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.reply(SERVER, id, b"");
    pair.session(CLIENT).cancel(id);
    pair.run();
    assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::Cancelled);
    pair.expect_silence();
    pair.session(CLIENT).cancel(id);
    pair.session(CLIENT).cancel(999);
    pair.run();
    pair.expect_silence();
}

#[test]
fn a_cancel_of_a_notify_is_ignored() {
    let mut lone = Lone::new();
    lone.receive(&frame(Kind::Notify, 0, 1, &call_payload(0, "tell", b"")));
    lone.receive(&frame(Kind::Cancel, 0, 1, b""));
    assert!(matches!(&lone.events()[..], [Event::Call(_)]));
    lone.expect_silence();
}

#[test]
fn a_cancel_of_a_call_that_was_never_made_ends_the_session() {
    for id in [0, 2] {
        let mut lone = Lone::new();
        lone.receive(&frame(Kind::Call, 0, 1, &call_payload(0, "x", b"")));
        lone.events();
        lone.receive(&frame(Kind::Cancel, 0, id, b""));
        lone.expect_violation("never made");
    }
}

#[test]
fn the_time_that_is_left_travels_and_ends_the_call_at_both_ends() {
    let mut pair = Pair::new(11);
    let deadline = Some(pair.now + millis(100));
    let id = pair.call(CLIENT, CallRequest { deadline, ..request("slow", b"") });
    pair.run();
    let call = pair.one_call(SERVER);
    let allowed = call.deadline.unwrap() - pair.now;
    assert!(allowed > millis(80) && allowed <= millis(100), "{allowed:?}");
    pair.stop(CLIENT);
    pair.stop(SERVER);
    pair.advance(millis(101));
    let failure = pair.one_answer(CLIENT, id).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Deadline);
    assert_eq!(cancelled(&mut pair, SERVER), [id], "without a word from the client");
    pair.resume(CLIENT);
    pair.resume(SERVER);
    pair.run();
    pair.expect_silence();
    pair.reply(SERVER, id, b"too late");
    pair.run();
    pair.expect_silence();
}

#[test]
fn an_answer_in_time_leaves_no_deadline_behind() {
    let mut pair = Pair::new(12);
    let deadline = Some(pair.now + millis(100));
    let id = pair.call(CLIENT, CallRequest { deadline, ..request("quick", b"") });
    pair.run();
    let call = pair.one_call(SERVER);
    assert!(pair.session(SERVER).poll_timeout().is_some());
    pair.reply(SERVER, call.id, b"");
    pair.run();
    assert!(pair.one_answer(CLIENT, id).is_ok());
    assert_eq!(pair.session(CLIENT).poll_timeout(), None);
    assert_eq!(pair.session(SERVER).poll_timeout(), None);
}

#[test]
fn a_call_that_waited_tells_only_the_time_that_is_left_then() {
    let mut pair = Pair::with(13, Limits::default(), few_calls(1));
    let first = pair.call(CLIENT, request("first", b""));
    let deadline = Some(pair.now + millis(1000));
    let second = pair.call(CLIENT, CallRequest { deadline, ..request("second", b"") });
    pair.run();
    pair.one_call(SERVER);
    pair.advance(millis(700));
    pair.reply(SERVER, first, b"");
    pair.run();
    pair.answers(CLIENT);
    let call = pair.one_call(SERVER);
    assert_eq!(call.id, second);
    assert!(call.deadline.unwrap() - pair.now <= millis(300), "the time of waiting counts");
}

#[test]
fn a_call_whose_time_is_over_while_it_waits_is_never_sent() {
    let mut pair = Pair::with(14, Limits::default(), few_calls(1));
    pair.call(CLIENT, request("first", b""));
    let deadline = Some(pair.now + millis(50));
    let second = pair.call(CLIENT, CallRequest { deadline, ..request("second", b"") });
    pair.run();
    let first = pair.one_call(SERVER).id;
    pair.advance(millis(60));
    assert_eq!(pair.one_answer(CLIENT, second).unwrap_err().kind, ErrorKind::Deadline);
    pair.reply(SERVER, first, b"");
    pair.run();
    assert!(pair.one_answer(CLIENT, first).is_ok());
    pair.expect_silence();
}

#[test]
fn a_deadline_that_is_over_already_still_gives_one_answer() {
    let mut pair = Pair::new(15);
    let deadline = Some(pair.now);
    pair.advance(millis(5));
    let id = pair.call(CLIENT, CallRequest { deadline, ..request("late", b"") });
    pair.advance(millis(0));
    assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::Deadline);
    pair.run();
    let events = pair.events(SERVER);
    assert!(matches!(&events[..], [Event::Call(_), Event::Cancelled { .. }]), "{events:?}");
}

#[test]
fn an_answer_to_a_call_that_was_never_made_ends_the_session() {
    for (kind, payload) in [(Kind::Result, &b"\x01"[..]), (Kind::Error, b"\0\x01\x80")] {
        for id in [0, 2, u64::MAX] {
            let mut lone = Lone::new();
            lone.session.call(lone.now, request("x", b"")).unwrap();
            lone.frames();
            lone.receive(&frame(kind, 0, id, payload));
            assert!(
                matches!(&lone.session.poll_event(), Some(Event::Answer { id: 1, outcome: Err(failure) })
                if failure.kind == ErrorKind::Protocol)
            );
            lone.expect_violation("never made");
        }
    }
}

#[test]
fn a_result_for_what_was_answered_or_wants_no_answer_ends_the_session() {
    let mut lone = Lone::new();
    lone.session.call(lone.now, request("x", b"")).unwrap();
    lone.receive(&frame(Kind::Result, 0, 1, b"\x01"));
    assert!(matches!(&lone.events()[..], [Event::Answer { outcome: Ok(_), .. }]));
    lone.receive(&frame(Kind::Result, 0, 1, b"\x01"));
    lone.expect_violation("call 1");

    let mut lone = Lone::new();
    lone.session.notify(lone.now, request("x", b"")).unwrap();
    lone.receive(&frame(Kind::Result, 0, 1, b"\x01"));
    lone.expect_violation("call 1");
}

#[test]
fn an_answer_beside_a_long_answer_to_the_same_call_ends_the_session() {
    for (kind, flags, payload) in [
        (Kind::Result, 0, b"\x01".to_vec()),
        (Kind::Result, 1, [b"\x01", &long_tail(2, 100, b"")[..]].concat()),
        (Kind::Error, 0, b"\0\x01\x80".to_vec()),
    ] {
        let mut lone = Lone::new();
        lone.session.call(lone.now, request("x", b"")).unwrap();
        lone.receive(&frame(Kind::Result, 1, 1, &[b"\x01", &long_tail(1, 100, b"")[..]].concat()));
        lone.frames();
        lone.receive(&frame(kind, flags, 1, &payload));
        assert!(matches!(lone.session.poll_event(), Some(Event::Answer { .. })));
        lone.expect_violation("second answer");
    }
}

#[test]
fn call_ids_count_upwards() {
    for ids in [[0, 0], [1, 1], [7, 3]] {
        let mut lone = Lone::new();
        for id in ids {
            lone.receive(&frame(Kind::Call, 0, id, &call_payload(0, "x", b"")));
        }
        let mut events = lone.events();
        assert!(matches!(events.pop(), Some(Event::Closed(failure)) if failure.kind == ErrorKind::Protocol));
    }
    let mut lone = Lone::new();
    for id in [5, u64::MAX] {
        lone.receive(&frame(Kind::Call, 0, id, &call_payload(0, "x", b"")));
    }
    assert!(lone.session.is_open(), "gaps are allowed");
}

#[test]
fn requests_that_cannot_be_sent_are_refused_here_and_the_session_goes_on() {
    let small = Limits { message: 5000, frame: 4096, ..Limits::default() };
    let mut pair = Pair::with(16, Limits::default(), small);
    let now = pair.now;
    let session = pair.session(CLIENT);
    let mut refused = |request: CallRequest<'_>| session.call(now, request).unwrap_err().kind;
    assert_eq!(refused(request("", b"")), ErrorKind::NoMethod);
    assert_eq!(refused(request(&"m".repeat(256), b"")), ErrorKind::NoMethod);
    assert_eq!(refused(request("big", &[0; 5001])), ErrorKind::TooLarge);
    let arguments = Outgoing { attachments: vec![attachment(1)].into(), ..Outgoing::default() };
    assert_eq!(refused(CallRequest { arguments, ..request("x", b"") }), ErrorKind::TooLarge);
    let id = pair.call(CLIENT, request(&"m".repeat(255), &[0; 5000]));
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, id);
}

#[test]
fn annotations_are_bounded_and_go_beside_as_many_references_as_there_is_room_for() {
    let mut pair = Pair::with(20, Limits { frame: 4096, ..Limits::default() }, Limits::default());
    let map = |length: usize| {
        let mut map = vec![0x81, 0xa1, b'x', 0xc5];
        map.extend_from_slice(&(length as u16).to_be_bytes());
        map.resize(6 + length, 0);
        Some(map.into())
    };
    let small = CallRequest { annotations: map(3000), ..request("x", b"") };
    let to_small_frames = small.clone();
    pair.call(SERVER, to_small_frames);
    pair.run();
    let heard = pair.one_call(CLIENT);
    assert_eq!(heard.annotations, small.annotations);
    let (now, mut refused) = (pair.now, Vec::new());
    for (end, length) in [(SERVER, 4000), (CLIENT, 8187)] {
        let request = CallRequest { annotations: map(length), ..request("x", b"") };
        refused.push(pair.session(end).call(now, request).unwrap_err().kind);
    }
    assert_eq!(refused, [ErrorKind::TooLarge; 2]);
    pair.call(CLIENT, CallRequest { annotations: map(8186), ..request("x", b"") });
    pair.run();
    assert!(pair.one_call(SERVER).annotations.is_some());
    let objects: Vec<Ref> = (0..200).map(|_| Ref::Local(pair.session(SERVER).show().unwrap())).collect();
    let many = CallRequest { annotations: map(3000), ..request_with("x", objects) };
    assert_eq!(pair.session(SERVER).call(now, many).unwrap_err().kind, ErrorKind::TooLarge);
}

#[test]
fn a_result_of_a_notify_is_dropped_whatever_its_size() {
    let mut pair = Pair::with(21, Limits { message: 5000, ..Limits::default() }, Limits::default());
    let id = pair.notify(CLIENT, request("big", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.reply(SERVER, id, &[0; 5001]);
    pair.run();
    pair.expect_silence();
}

#[test]
fn a_result_that_cannot_be_sent_becomes_a_failure_that_the_caller_hears_of() {
    let mut pair = Pair::with(17, Limits { message: 5000, ..Limits::default() }, Limits::default());
    let id = pair.call(CLIENT, request("big", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.reply(SERVER, id, &[0; 5001]);
    pair.run();
    assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::TooLarge);
}

#[test]
fn answering_what_is_not_there_does_nothing() {
    let mut pair = Pair::new(18);
    let id = pair.call(CLIENT, request("x", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.reply(SERVER, id, b"");
    pair.reply(SERVER, id, b"again");
    pair.fail(SERVER, id, &Failure::new(ErrorKind::Internal, "again"));
    pair.session(SERVER).done(id);
    pair.reply(SERVER, 12345, b"");
    pair.run();
    assert!(pair.one_answer(CLIENT, id).is_ok());
    pair.expect_silence();
}

#[test]
fn a_ping_is_answered_by_its_own_bytes() {
    let mut pair = Pair::new(19);
    pair.session(CLIENT).ping(b"are you there");
    pair.session(SERVER).ping(&[7; 100]);
    pair.run();
    assert!(matches!(&pair.events(CLIENT)[..], [Event::Pong(bytes)] if bytes == b"are you there"));
    assert!(matches!(&pair.events(SERVER)[..], [Event::Pong(bytes)] if bytes == &[7; 64]));
}

#[test]
fn streams_and_promises_that_nobody_agreed_on_end_the_session() {
    for bytes in [
        frame(Kind::Call, 0x08, 1, &call_payload(0, "x", b"")),
        frame(Kind::Call, 0x10, 1, &call_payload(0, "x", b"")),
        frame(Kind::Notify, 0x08, 1, &call_payload(0, "x", b"")),
        frame(Kind::Item, 0, 1, b"\x01"),
        frame(Kind::End, 0, 1, b""),
        frame(Kind::Credit, 0x10, 1, &[0; 8]),
        frame(Kind::Credit, 0x20, 1, &[0; 8]),
        frame(Kind::Proof, 0, 0, &[0; 32]),
    ] {
        let mut lone = Lone::new();
        lone.receive(&bytes);
        lone.expect_violation("");
    }
    let mut lone = Lone::new();
    lone.session.call(lone.now, request("x", b"")).unwrap();
    lone.receive(&frame(Kind::Result, 0x10, 1, b"\x01"));
    lone.session.poll_event();
    lone.expect_violation("streams");
}
