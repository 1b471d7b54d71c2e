//! Section 4: streams of items beside calls, either way.

use andiron_proto::wire::{Kind, flags};
use andiron_proto::{
    CallRequest, Config, ErrorKind, Event, Failure, Hello, Limits, Outgoing, Ref, Role, STREAMS, StreamId,
};

use crate::support::*;

fn pair(seed: u64) -> Pair {
    Pair::featured(seed, Limits::default(), Limits::default())
}

fn streaming<'a>(method: &'a str) -> CallRequest<'a> {
    CallRequest {
        method,
        arguments: Outgoing { stream: true, ..Outgoing::native(b"\x90") },
        ..Default::default()
    }
}

/// The answer that opens a stream.
fn opening() -> Outgoing<'static> {
    Outgoing { stream: true, ..Outgoing::native(b"\xc0") }
}

/// A call whose answer streams: its number, and the stream as each end names it.
fn answered(pair: &mut Pair) -> (StreamId, StreamId) {
    let id = pair.call(CLIENT, request("lines", b"\x90"));
    pair.run();
    let call = pair.one_call(SERVER);
    pair.session(SERVER).reply(call.id, opening());
    pair.run();
    assert!(pair.one_answer(CLIENT, id).unwrap().stream);
    (StreamId { own: true, call: id }, StreamId { own: false, call: id })
}

/// A call that streams: the stream as each end names it.
fn called(pair: &mut Pair) -> (StreamId, StreamId) {
    let id = pair.call(CLIENT, streaming("sum"));
    pair.run();
    assert!(pair.one_call(SERVER).payload.stream);
    (StreamId { own: true, call: id }, StreamId { own: false, call: id })
}

/// Items and ends that came; nothing else may have.
fn items(pair: &mut Pair, end: usize) -> Vec<Result<Vec<u8>, Option<ErrorKind>>> {
    let event = |event| match event {
        Event::Item { payload, .. } => Ok(payload.body.to_vec()),
        Event::End { outcome, .. } => Err(outcome.err().map(|failure| failure.kind)),
        other => panic!("neither item nor end: {other:?}"),
    };
    pair.events(end).into_iter().map(event).collect()
}

fn send(pair: &mut Pair, end: usize, stream: StreamId, body: &[u8]) {
    pair.session(end).item(stream, Outgoing::native(body)).unwrap();
}

#[test]
fn items_of_an_answer_come_in_order_as_they_are_asked_for() {
    for seed in 0..20 {
        let mut pair = pair(seed);
        let (here, there) = answered(&mut pair);
        assert_eq!(pair.session(SERVER).stream_credit(there), 0);
        let refused = pair.session(SERVER).item(there, Outgoing::native(b"early")).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Overloaded);
        pair.session(CLIENT).want_items(here, 3);
        pair.run();
        assert!(matches!(pair.events(SERVER)[..], [Event::Credit { stream }] if stream == there));
        assert_eq!(pair.session(SERVER).stream_credit(there), 3);
        send(&mut pair, SERVER, there, b"one");
        send(&mut pair, SERVER, there, b"two");
        pair.session(SERVER).end_stream(there, Ok(()));
        pair.run();
        assert_eq!(items(&mut pair, CLIENT), [Ok(b"one".to_vec()), Ok(b"two".to_vec()), Err(None)]);
        pair.session(CLIENT).want_items(here, 1);
        pair.session(CLIENT).stop_stream(here);
        pair.run();
        pair.expect_silence();
    }
}

#[test]
fn a_call_may_stream_and_its_answer_too() {
    let mut pair = pair(1);
    let (here, there) = called(&mut pair);
    pair.session(SERVER).want_items(there, 10);
    pair.run();
    pair.events(CLIENT);
    send(&mut pair, CLIENT, here, b"a");
    pair.run();
    assert_eq!(items(&mut pair, SERVER), [Ok(b"a".to_vec())]);
    // The answer streams, and the caller's items go on.
    pair.session(SERVER).reply(there.call, opening());
    pair.run();
    pair.one_answer(CLIENT, here.call).unwrap();
    pair.session(CLIENT).want_items(here, 10);
    send(&mut pair, CLIENT, here, b"b");
    pair.run();
    assert!(matches!(
        &pair.events(SERVER)[..],
        [Event::Credit { .. }, Event::Item { .. }] | [Event::Item { .. }, Event::Credit { .. }]
    ));
    send(&mut pair, SERVER, there, b"B");
    pair.session(CLIENT).end_stream(here, Ok(()));
    pair.run();
    assert_eq!(items(&mut pair, CLIENT), [Ok(b"B".to_vec())]);
    assert_eq!(items(&mut pair, SERVER), [Err(None)]);
    pair.session(SERVER).end_stream(there, Err(Failure::new(ErrorKind::Application, "spoilt")));
    pair.run();
    assert_eq!(items(&mut pair, CLIENT), [Err(Some(ErrorKind::Application))]);
}

#[test]
fn a_plain_answer_ends_the_items_of_its_call() {
    let mut pair = pair(1);
    let (here, there) = called(&mut pair);
    pair.reply(SERVER, there.call, b"\xc0");
    pair.run();
    assert!(matches!(pair.events(SERVER)[..], [Event::End { outcome: Err(_), .. }]));
    let events = pair.events(CLIENT);
    assert!(matches!(events[..], [Event::Stopped { .. }, Event::Answer { .. }]), "{events:?}");
    assert_eq!(
        pair.session(CLIENT).item(here, Outgoing::native(b"late")).unwrap_err().kind,
        ErrorKind::Unavailable
    );
    pair.expect_silence();
}

#[test]
fn either_end_can_stop_early_and_the_other_learns_it() {
    for seed in 0..20 {
        let mut pair = pair(seed);
        let (here, there) = answered(&mut pair);
        pair.session(CLIENT).want_items(here, 10);
        pair.run();
        pair.events(SERVER);
        send(&mut pair, SERVER, there, b"under way");
        pair.session(CLIENT).stop_stream(here);
        pair.run();
        assert!(matches!(pair.events(SERVER)[..], [Event::Stopped { stream }] if stream == there));
        assert!(pair.events(CLIENT).is_empty(), "who stopped hears nothing more");

        let (here, there) = called(&mut pair);
        pair.session(SERVER).want_items(there, 10);
        pair.run();
        pair.events(CLIENT);
        send(&mut pair, CLIENT, here, b"under way");
        pair.session(SERVER).stop_stream(there);
        pair.run();
        let events = pair.events(CLIENT);
        assert!(matches!(events[..], [Event::Stopped { stream }] if stream == here), "{events:?}");
        pair.reply(SERVER, there.call, b"\xc0");
        pair.run();
        pair.one_answer(CLIENT, here.call).unwrap();
        pair.expect_silence();
    }
}

#[test]
fn a_cancelled_call_ends_its_streams() {
    let mut pair = pair(3);
    let (here, there) = called(&mut pair);
    pair.session(CLIENT).cancel(here.call);
    pair.run();
    let events = pair.events(SERVER);
    assert!(
        matches!(events[..], [Event::End { outcome: Err(_), .. }, Event::Cancelled { .. }]),
        "{events:?}"
    );
    let events = pair.events(CLIENT);
    assert!(
        matches!(events[..], [Event::Stopped { .. }, Event::Answer { outcome: Err(_), .. }]),
        "{events:?}"
    );
    // It answers with a stream all the same: nobody wants it.
    pair.session(SERVER).reply(there.call, opening());
    pair.run();
    assert!(pair.events(CLIENT).is_empty());
    let id = pair.call(CLIENT, request("next", b"\x90"));
    pair.run();
    let events = pair.events(SERVER);
    assert!(matches!(&events[..], [Event::Call(call)] if call.id == id), "{events:?}");
}

#[test]
fn an_item_of_any_length_keeps_its_place() {
    for seed in 0..30 {
        let mut pair = pair(seed);
        pair.most_piece = [500, 20_000, 1_000_000][seed as usize % 3];
        let (here, there) = answered(&mut pair);
        pair.session(CLIENT).want_items(here, 6);
        pair.run();
        pair.events(SERVER);
        let lengths = [10, 700_000, 20, 400_000, 300_000, 30];
        for length in lengths {
            send(&mut pair, SERVER, there, &bulk(length));
        }
        pair.session(SERVER).end_stream(there, Ok(()));
        pair.run();
        let came = items(&mut pair, CLIENT);
        assert_eq!(came.len(), 7);
        for (item, length) in came.iter().zip(lengths) {
            assert!(item.as_ref().is_ok_and(|item| *item == bulk(length)));
        }
        assert_eq!(came[6], Err(None));
    }
}

#[test]
fn long_items_that_nobody_reads_congest_as_long_answers_do() {
    let mut pair = pair(7);
    let streams: Vec<(StreamId, StreamId)> = (0..10).map(|_| answered(&mut pair)).collect();
    for (here, _) in &streams {
        pair.session(CLIENT).want_items(*here, 5);
    }
    pair.run();
    pair.events(SERVER);
    pair.stop(CLIENT);
    let mut made = 0;
    for (_, there) in &streams {
        if !pair.session(SERVER).is_congested() {
            send(&mut pair, SERVER, *there, &bulk(20_000_000));
            made += 1;
        }
    }
    assert_eq!(made, 4, "as many as are beyond 64 MiB together");
    pair.resume(CLIENT);
    pair.run();
    assert!(!pair.session(SERVER).is_congested());
    assert_eq!(items(&mut pair, CLIENT).len(), 4);
}

#[test]
fn a_long_item_that_nobody_wants_any_more_is_given_up() {
    let mut pair = pair(4);
    let (here, there) = answered(&mut pair);
    pair.session(CLIENT).want_items(here, 6);
    pair.run();
    send(&mut pair, SERVER, there, &bulk(50_000_000));
    send(&mut pair, SERVER, there, b"behind it");
    for _ in 0..20 {
        pair.step();
    }
    pair.session(CLIENT).stop_stream(here);
    let before = pair.ends[SERVER].sent;
    pair.run();
    assert!(pair.ends[SERVER].sent - before < 2_000_000, "most of it was never sent");
    pair.events(SERVER);
    let id = pair.call(CLIENT, request("next", b"\x90"));
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, id);
}

#[test]
fn references_in_items_are_counted_and_those_that_nobody_sees_given_back() {
    let mut pair = pair(5);
    let (here, there) = answered(&mut pair);
    pair.session(CLIENT).want_items(here, 2);
    pair.run();
    pair.events(SERVER);
    let objects = [pair.session(SERVER).show().unwrap(), pair.session(SERVER).show().unwrap()];
    pair.session(SERVER).item(there, result_with(vec![Ref::Local(objects[0])])).unwrap();
    pair.run();
    let [Event::Item { payload, .. }] = &pair.events(CLIENT)[..] else { panic!() };
    assert_eq!(payload.refs, [Ref::Remote(objects[0])]);
    pair.session(CLIENT).stop_stream(here);
    pair.session(SERVER).item(there, result_with(vec![Ref::Local(objects[1])])).unwrap();
    pair.run();
    let released = |event: &Event| matches!(event, Event::Released { object } if *object == objects[1]);
    assert!(pair.events(SERVER).iter().any(released));
    pair.session(CLIENT).release(objects[0], 1);
    pair.run();
    assert!(matches!(pair.events(SERVER)[..], [Event::Released { object }] if object == objects[0]));
}

#[test]
fn a_streaming_call_is_in_flight_until_its_end() {
    let mut pair = Pair::featured(6, Limits::default(), Limits { calls: 1, ..Limits::default() });
    let (here, there) = answered(&mut pair);
    let second = pair.call(CLIENT, request("second", b"\x90"));
    pair.run();
    assert!(pair.events(SERVER).is_empty(), "it is held back at the caller");
    pair.session(CLIENT).stop_stream(here);
    pair.run();
    let events = pair.events(SERVER);
    assert!(
        matches!(&events[..], [Event::Stopped { .. }, Event::Call(call)] if call.id == second),
        "{events:?}"
    );
    pair.session(SERVER).end_stream(there, Ok(())); // too late, and no harm
    pair.reply(SERVER, second, b"\xc0");
    pair.run();
    pair.one_answer(CLIENT, second).unwrap();
}

#[test]
fn the_end_of_a_session_ends_its_streams_once() {
    let mut pair = pair(7);
    let (here, _) = answered(&mut pair);
    let (_, sums) = called(&mut pair);
    pair.cut();
    let client = pair.events(CLIENT);
    assert!(
        client.iter().any(|event| matches!(event, Event::End { stream, outcome: Err(_) } if *stream == here))
    );
    assert_eq!(client.iter().filter(|event| matches!(event, Event::Stopped { .. })).count(), 1);
    let server = pair.events(SERVER);
    assert!(server.iter().any(|event| matches!(event, Event::End { stream, .. } if *stream == sums)));
    assert!(matches!(server.last(), Some(Event::Closed(_))));
}

#[test]
fn a_goodbye_waits_for_streams() {
    let mut pair = pair(8);
    let (here, there) = answered(&mut pair);
    pair.session(CLIENT).leave();
    pair.run();
    assert!(!pair.session(CLIENT).is_finished() && !pair.session(SERVER).is_finished());
    pair.session(CLIENT).want_items(here, 1);
    pair.run();
    send(&mut pair, SERVER, there, b"last");
    pair.session(SERVER).end_stream(there, Ok(()));
    pair.run();
    assert!(pair.session(CLIENT).is_finished() && pair.session(SERVER).is_finished());
}

#[test]
fn nothing_is_streamed_to_who_does_not_know_it() {
    let mut pair = Pair::new(9);
    let now = pair.now;
    assert_eq!(pair.session(CLIENT).call(now, streaming("sum")).unwrap_err().kind, ErrorKind::Unsupported);
    let id = pair.call(CLIENT, request("lines", b"\x90"));
    pair.run();
    let call = pair.one_call(SERVER);
    pair.session(SERVER).reply(call.id, opening());
    pair.run();
    assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::Unsupported);
    let mut lone = Lone::new();
    lone.receive(&frame(Kind::Call, flags::STREAM, 1, &call_payload(0, "sum", b"\x90")));
    lone.expect_violation("streams");
}

/// An open acceptor that knows streams, with a call of its peer that streams.
fn listener() -> Lone {
    let mut lone =
        Lone::unopened(Role::Acceptor, Config { features: vec![STREAMS.to_owned()], ..Config::default() });
    lone.receive(&introduction(&Hello {
        auth: vec!["user".to_owned()],
        features: vec![STREAMS.to_owned()],
        ..Hello::default()
    }));
    lone.receive(&frame(Kind::Call, flags::STREAM, 5, &call_payload(0, "sum", b"\x90")));
    lone.events();
    lone.output();
    lone
}

#[test]
fn items_that_were_not_asked_for_and_streams_that_never_were_end_the_session() {
    let item = |flag, id| frame(Kind::Item, flag, id, b"\x01\xc0");
    let mut lone = listener();
    lone.receive(&item(0, 5));
    lone.expect_violation("not asked for");
    for (frames, about) in [
        (item(0, 6), "has none"),
        (item(0, 0), "has none"),
        (item(flags::CALLEE, 1), "has none"),
        (frame(Kind::End, 0, 7, b""), "has none"),
        (frame(Kind::End, flags::STREAM, 5, b""), "who was called"),
        (frame(Kind::Credit, flags::STREAM | flags::CALLEE, 1, &[0; 8]), "has none"),
        (frame(Kind::Credit, flags::STREAM, 5, &[0; 8]), "has none"),
    ] {
        let mut lone = listener();
        lone.receive(&frames);
        lone.expect_violation(about);
    }
    // What comes for one that is over is late.
    let mut lone = listener();
    lone.session.stop_stream(StreamId { own: false, call: 5 });
    lone.session.reply(5, Outgoing::default());
    lone.output();
    lone.receive(&item(0, 5));
    lone.receive(&frame(Kind::End, 0, 5, b""));
    lone.receive(&item(0, 3));
    lone.expect_silence();
}

#[test]
fn the_end_may_come_before_the_long_call_that_it_belongs_to() {
    let mut pair = pair(10);
    pair.most_piece = 1000;
    let body = bulk(600_000);
    let request = CallRequest {
        method: "sum",
        arguments: Outgoing { stream: true, ..Outgoing::native(&body) },
        ..Default::default()
    };
    let id = pair.call(CLIENT, request);
    pair.session(CLIENT).end_stream(StreamId { own: true, call: id }, Ok(()));
    pair.run();
    let events = pair.events(SERVER);
    assert!(matches!(&events[..], [Event::Call(call), Event::End { outcome: Ok(()), .. }] if call.id == id));
}

#[test]
fn the_end_may_come_before_the_long_answer_that_it_belongs_to() {
    for seed in 0..20 {
        let mut pair = pair(seed);
        pair.most_piece = 1000;
        let id = pair.call(CLIENT, request("lines", b"\x90"));
        pair.run();
        let call = pair.one_call(SERVER);
        let body = bulk(600_000);
        pair.session(SERVER).reply(call.id, Outgoing { stream: true, ..Outgoing::native(&body) });
        pair.session(SERVER).end_stream(StreamId { own: false, call: id }, Ok(()));
        pair.run();
        let events = pair.events(CLIENT);
        assert!(
            matches!(&events[..], [Event::Answer { outcome: Ok(_), .. }, Event::End { outcome: Ok(()), .. }]),
            "{events:?}"
        );
        pair.expect_silence();
    }
}

#[test]
fn a_call_that_was_cancelled_is_not_answered_with_a_stream() {
    let mut pair = Pair::featured(11, Limits::default(), Limits { calls: 1, ..Limits::default() });
    let id = pair.call(CLIENT, request("lines", b"\x90"));
    pair.run();
    pair.one_call(SERVER);
    pair.session(CLIENT).cancel(id);
    pair.run();
    pair.events(SERVER);
    pair.session(SERVER).reply(id, opening());
    assert!(!pair.session(SERVER).is_streaming(StreamId { own: false, call: id }), "nobody would take items");
    pair.one_answer(CLIENT, id).unwrap_err();
    let next = pair.call(CLIENT, request("next", b"\x90"));
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, next, "the place of the cancelled call is free");
}

#[test]
fn a_stream_that_ends_before_its_call_is_sent_ends_behind_it() {
    let mut pair = Pair::featured(12, Limits::default(), Limits { calls: 1, ..Limits::default() });
    let first = pair.call(CLIENT, request("first", b"\x90"));
    let second = pair.call(CLIENT, streaming("sum"));
    pair.session(CLIENT).end_stream(StreamId { own: true, call: second }, Ok(()));
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, first);
    pair.reply(SERVER, first, b"\xc0");
    pair.run();
    let events = pair.events(SERVER);
    assert!(
        matches!(&events[..], [Event::Call(call), Event::End { outcome: Ok(()), .. }] if call.id == second)
    );
}

#[test]
fn who_ended_a_stream_is_not_told_that_it_was_stopped() {
    let mut pair = pair(13);
    let (here, there) = answered(&mut pair);
    pair.session(CLIENT).want_items(here, 6);
    pair.run();
    pair.events(SERVER);
    send(&mut pair, SERVER, there, &bulk(50_000_000));
    pair.session(SERVER).end_stream(there, Ok(()));
    assert!(!pair.session(SERVER).is_streaming(there));
    let late = pair.session(SERVER).item(there, Outgoing::native(b"late")).unwrap_err();
    assert_eq!(late.kind, ErrorKind::Unavailable);
    pair.session(CLIENT).stop_stream(here);
    pair.run();
    pair.expect_silence();
}

#[test]
fn behind_a_long_item_no_others_are_asked_for_until_it_is_on_its_way() {
    let mut pair = pair(14);
    let (here, there) = answered(&mut pair);
    pair.session(CLIENT).want_items(here, u64::MAX);
    pair.run();
    pair.events(SERVER);
    pair.stop(SERVER); // no credit for bytes comes
    send(&mut pair, SERVER, there, &bulk(5_000_000));
    pair.run();
    assert_eq!(pair.session(SERVER).stream_credit(there), 0, "what would be made now would have to be kept");
    pair.resume(SERVER);
    pair.run();
    assert!(matches!(pair.events(SERVER)[..], [Event::Credit { stream }] if stream == there));
    assert!(pair.session(SERVER).stream_credit(there) > 0);
}

#[test]
fn items_that_are_under_way_when_the_time_of_their_call_is_over_are_late() {
    let mut pair = pair(15);
    let deadline = Some(pair.now + millis(100));
    let id = pair.call(CLIENT, CallRequest { deadline, ..streaming("sum") });
    pair.run();
    pair.one_call(SERVER);
    let (here, there) = (StreamId { own: true, call: id }, StreamId { own: false, call: id });
    pair.session(SERVER).want_items(there, 2);
    pair.run();
    pair.events(CLIENT);
    pair.stop(SERVER);
    send(&mut pair, CLIENT, here, b"under way");
    pair.session(CLIENT).end_stream(here, Ok(()));
    pair.run();
    pair.advance(millis(200));
    let events = pair.events(SERVER);
    assert!(
        matches!(events[..], [Event::End { outcome: Err(_), .. }, Event::Cancelled { .. }]),
        "{events:?}"
    );
    pair.resume(SERVER);
    pair.run();
    assert!(pair.events(SERVER).is_empty() && pair.session(SERVER).is_open());
}
