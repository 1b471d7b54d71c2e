//! Section 4: calls of what earlier calls will give.

use andiron_proto::codec::FIRST_REFERENCE;
use andiron_proto::{CallRequest, ErrorKind, Event, Failure, Limits, Outgoing, Ref};

use crate::support::*;

fn pair(seed: u64) -> Pair {
    Pair::featured(seed, Limits::default(), Limits::default())
}

fn on(earlier: u64, method: &str) -> CallRequest<'_> {
    CallRequest { target: earlier, promise: true, ..request(method, b"\x90") }
}

/// A result that is one own object.
fn object(pair: &mut Pair) -> (u64, Outgoing<'static>) {
    let object = pair.session(SERVER).show().unwrap();
    (object, Outgoing { refs: vec![Ref::Local(object)], ..Outgoing::native(FIRST_REFERENCE) })
}

#[test]
fn a_call_of_a_result_goes_out_before_the_result_is_there() {
    let mut pair = pair(1);
    let open = pair.call(CLIENT, request("open", b"\x90"));
    let read = pair.call(CLIENT, on(open, "read"));
    pair.run();
    let calls = pair.calls(SERVER);
    assert_eq!(calls.len(), 2);
    assert!(calls[1].promise && calls[1].target == open && !calls[0].promise);
    // The driver holds it until it has answered, and runs it on what it answered.
    let (_, result) = object(&mut pair);
    pair.session(SERVER).reply(open, result);
    pair.reply(SERVER, read, b"\x01");
    pair.run();
    assert_eq!(pair.answers(CLIENT).len(), 2);
}

#[test]
fn a_call_that_comes_after_the_answer_finds_its_object() {
    let mut pair = pair(2);
    let open = pair.call(CLIENT, request("open", b"\x90"));
    pair.run();
    pair.one_call(SERVER);
    pair.stop(CLIENT);
    let (number, result) = object(&mut pair);
    pair.session(SERVER).reply(open, result);
    let read = pair.call(CLIENT, on(open, "read")); // the answer is still under way
    pair.run();
    let call = pair.one_call(SERVER);
    assert_eq!((call.id, call.target, call.promise), (read, number, false));
    pair.resume(CLIENT);
    pair.run();
    pair.one_answer(CLIENT, open).unwrap();
    // Once the answer is here, it is no promise any more.
    let now = pair.now;
    let refused = pair.session(CLIENT).call(now, on(open, "read")).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoObject);
}

#[test]
fn what_depends_on_a_failure_or_on_no_object_fails_and_does_not_run() {
    let mut pair = pair(3);
    let (fails, plain, list) = (
        pair.call(CLIENT, request("fails", b"\x90")),
        pair.call(CLIENT, request("plain", b"\x90")),
        pair.call(CLIENT, request("list", b"\x90")),
    );
    pair.run();
    pair.calls(SERVER);
    pair.stop(CLIENT);
    pair.fail(SERVER, fails, &Failure::new(ErrorKind::Denied, "not yours"));
    pair.reply(SERVER, plain, b"\x05");
    let (_, one) = object(&mut pair);
    pair.session(SERVER).reply(list, Outgoing { refs: one.refs, ..Outgoing::native(b"\x91\xd5\x0d\0\0") });
    let dependents = [fails, plain, list].map(|of| pair.call(CLIENT, on(of, "read")));
    pair.run();
    assert!(pair.events(SERVER).is_empty());
    pair.resume(CLIENT);
    pair.run();
    let answers = pair.answers(CLIENT);
    let kind = |id| answers.iter().find(|(of, _)| *of == id).unwrap().1.as_ref().unwrap_err().kind;
    assert_eq!(dependents.map(kind), [ErrorKind::Denied, ErrorKind::BadArguments, ErrorKind::BadArguments]);
}

#[test]
fn calls_depend_on_each_other_sixteen_deep_and_no_deeper() {
    let mut pair = pair(4);
    let mut last = pair.call(CLIENT, request("open", b"\x90"));
    for _ in 0..17 {
        last = pair.call(CLIENT, on(last, "open"));
    }
    pair.run();
    assert_eq!(pair.calls(SERVER).len(), 17);
    assert_eq!(pair.one_answer(CLIENT, last).unwrap_err().kind, ErrorKind::Overloaded);
}

#[test]
fn a_call_that_depends_on_a_later_one_or_on_none_ends_the_session() {
    use andiron_proto::wire::{Kind, flags};
    for of in [0, 7, 8] {
        let mut pair = pair(5);
        let call = frame(Kind::Call, flags::PROMISE, 7, &call_payload(of, "read", b"\x90"));
        let now = pair.now;
        pair.session(SERVER).receive(now, &call, Vec::new(), false);
        let events = pair.events(SERVER);
        assert!(matches!(&events[..], [Event::Closed(failure)] if failure.kind == ErrorKind::Protocol));
    }
    let mut lone = Lone::new();
    lone.receive(&frame(Kind::Call, flags::PROMISE, 2, &call_payload(1, "read", b"\x90")));
    lone.expect_violation("promises");
}

#[test]
fn the_object_of_a_promise_may_be_gone_or_the_callers_own() {
    let mut pair = pair(6);
    let (own, released) = (pair.session(CLIENT).show().unwrap(), pair.call(CLIENT, request("open", b"\x90")));
    let echo = pair.call(CLIENT, request_with("echo", vec![Ref::Local(own)]));
    pair.run();
    pair.calls(SERVER);
    pair.stop(CLIENT);
    let home = Outgoing { refs: vec![Ref::Remote(own)], ..Outgoing::native(FIRST_REFERENCE) };
    pair.session(SERVER).reply(echo, home);
    let (_, result) = object(&mut pair);
    pair.session(SERVER).reply(released, result);
    let dependent = pair.call(CLIENT, on(echo, "read"));
    pair.run();
    pair.resume(CLIENT);
    pair.run();
    let answers = pair.answers(CLIENT);
    let failed = answers.iter().find(|(id, _)| *id == dependent).unwrap().1.as_ref().unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Unsupported);
}

#[test]
fn answers_of_long_ago_are_forgotten() {
    let mut pair = pair(7);
    let first = pair.call(CLIENT, request("open", b"\x90"));
    pair.run();
    pair.one_call(SERVER);
    pair.stop(CLIENT);
    let (_, result) = object(&mut pair);
    pair.session(SERVER).reply(first, result);
    for _ in 0..1023 {
        let id = pair.notify(CLIENT, request("note", b"\x90"));
        pair.run();
        pair.events(SERVER);
        pair.fail(SERVER, id, &Failure::new(ErrorKind::Application, "no"));
    }
    let soon = pair.call(CLIENT, on(first, "read"));
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, soon);
    let id = pair.notify(CLIENT, request("note", b"\x90"));
    pair.run();
    pair.events(SERVER);
    pair.fail(SERVER, id, &Failure::new(ErrorKind::Application, "no"));
    let late = pair.call(CLIENT, on(first, "read"));
    pair.run();
    assert!(pair.events(SERVER).is_empty());
    pair.resume(CLIENT);
    pair.run();
    let answers = pair.events(CLIENT);
    let failed = |event: &Event| matches!(event, Event::Answer { id, outcome: Err(failure) } if *id == late && failure.kind == ErrorKind::BadArguments);
    assert!(answers.iter().any(failed));
}

/// A call that takes a while to arrive, and one of what it will give right behind it.
fn overtaken(pair: &mut Pair) -> (u64, u64) {
    pair.most_piece = 1000;
    let body = bulk(600_000);
    let first = pair.call(CLIENT, request("open", &body));
    let second = pair.call(CLIENT, on(first, "read"));
    (first, second)
}

#[test]
fn a_call_that_overtakes_the_one_that_it_depends_on_is_told_behind_it() {
    let mut pair = pair(8);
    let (first, second) = overtaken(&mut pair);
    let third = pair.call(CLIENT, on(second, "more"));
    pair.run();
    let calls = pair.calls(SERVER);
    assert_eq!(
        calls.iter().map(|call| (call.id, call.promise)).collect::<Vec<_>>(),
        [(first, false), (second, true), (third, true)]
    );
}

#[test]
fn a_call_that_overtakes_one_that_never_comes_fails_with_it() {
    let mut pair = pair(9);
    let (first, second) = overtaken(&mut pair);
    for _ in 0..50 {
        pair.step();
    }
    pair.session(CLIENT).cancel(first);
    pair.run();
    assert!(pair.events(SERVER).is_empty());
    let kinds: Vec<_> =
        pair.answers(CLIENT).into_iter().map(|(id, outcome)| (id, outcome.unwrap_err().kind)).collect();
    assert_eq!(kinds, [(first, ErrorKind::Cancelled), (second, ErrorKind::Cancelled)]);
}

#[test]
fn a_call_that_overtakes_another_can_be_cancelled_before_anybody_hears_of_it() {
    let mut pair = pair(10);
    let (first, second) = overtaken(&mut pair);
    pair.session(CLIENT).cancel(second);
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, first);
    assert_eq!(pair.one_answer(CLIENT, second).unwrap_err().kind, ErrorKind::Cancelled);
    pair.reply(SERVER, first, b"\xc0");
    pair.run();
    pair.one_answer(CLIENT, first).unwrap();
    assert!(pair.session(SERVER).poll_timeout().is_none());
}

#[test]
fn a_long_call_of_what_was_given_while_it_was_under_way_goes_to_that() {
    let mut pair = pair(11);
    pair.most_piece = 1000;
    let first = pair.call(CLIENT, request("open", b"\x90"));
    let body = bulk(600_000);
    let second = pair.call(CLIENT, CallRequest { target: first, promise: true, ..request("read", &body) });
    while pair.ends[SERVER].events.is_empty() {
        pair.step();
    }
    for _ in 0..50 {
        pair.step(); // the other one has begun
    }
    assert_eq!(pair.one_call(SERVER).id, first);
    let (number, result) = object(&mut pair);
    pair.session(SERVER).reply(first, result);
    pair.run();
    let call = pair.one_call(SERVER);
    assert_eq!((call.id, call.target, call.promise), (second, number, false));
}
