//! Section 5: who holds references to whose objects.

use andiron_proto::wire::{Kind, flags};
use andiron_proto::{CallRequest, ErrorKind, Event, Failure, Limits, Outgoing, Ref};

use crate::support::*;

/// The objects that this end was told to forget; nothing else may have happened.
fn released(pair: &mut Pair, end: usize) -> Vec<u64> {
    let object = |event| match event {
        Event::Released { object } => object,
        other => panic!("not a release: {other:?}"),
    };
    pair.events(end).into_iter().map(object).collect()
}

/// The client shows these objects to the server in one notify.
fn tell(pair: &mut Pair, refs: &[Ref]) {
    let id = pair.notify(CLIENT, request_with("hold", refs.to_vec()));
    pair.run();
    let call = pair.one_call(SERVER);
    assert_eq!(call.id, id);
    pair.session(SERVER).done(id);
}

#[test]
fn a_reference_is_called_and_gone_when_it_was_given_back() {
    let mut pair = Pair::new(1);
    let object = pair.session(CLIENT).show().unwrap();
    tell(&mut pair, &[Ref::Local(object)]);
    pair.call(SERVER, CallRequest { target: object, ..request("back", b"") });
    pair.run();
    let call = pair.one_call(CLIENT);
    assert_eq!(call.target, object);
    pair.reply(CLIENT, call.id, b"");
    pair.session(SERVER).release(object, 1);
    pair.run();
    assert_eq!(released(&mut pair, CLIENT), [object]);
}

#[test]
fn both_ends_see_an_entry_as_their_own_or_the_others() {
    let mut pair = Pair::new(2);
    let object = pair.session(CLIENT).show().unwrap();
    let id = pair.call(CLIENT, request_with("echo", vec![Ref::Local(object), Ref::Local(object)]));
    pair.run();
    let call = pair.one_call(SERVER);
    assert_eq!(call.payload.refs, [Ref::Remote(object), Ref::Remote(object)]);
    let own = pair.session(SERVER).show().unwrap();
    pair.session(SERVER).reply(id, result_with(vec![Ref::Remote(object), Ref::Local(own)]));
    pair.run();
    assert_eq!(pair.one_answer(CLIENT, id).unwrap().refs, [Ref::Local(object), Ref::Remote(own)]);
}

#[test]
fn every_appearance_counts_one() {
    let mut pair = Pair::new(3);
    let object = pair.session(CLIENT).show().unwrap();
    tell(&mut pair, &[Ref::Local(object), Ref::Local(object)]);
    tell(&mut pair, &[Ref::Local(object)]);
    pair.session(SERVER).release(object, 2);
    pair.run();
    pair.expect_silence();
    pair.session(SERVER).release(object, 1);
    pair.run();
    assert_eq!(released(&mut pair, CLIENT), [object]);
}

#[test]
fn giving_back_more_than_there_is_gives_back_what_there_is() {
    let mut pair = Pair::new(4);
    let object = pair.session(CLIENT).show().unwrap();
    tell(&mut pair, &[Ref::Local(object)]);
    pair.session(SERVER).release(object, 1000);
    pair.session(SERVER).release(object, 1);
    pair.session(SERVER).release(99, 1);
    pair.run();
    assert_eq!(released(&mut pair, CLIENT), [object]);
    assert!(pair.session(CLIENT).is_open());
}

#[test]
fn an_object_shown_again_while_its_release_is_under_way_stays() {
    let mut pair = Pair::new(5);
    let object = pair.session(CLIENT).show().unwrap();
    tell(&mut pair, &[Ref::Local(object)]);
    pair.session(SERVER).release(object, 1);
    pair.notify(CLIENT, request_with("hold", vec![Ref::Local(object)]));
    pair.run();
    assert_eq!(pair.events(CLIENT).len(), 0, "one reference is left");
    pair.events(SERVER);
    pair.session(SERVER).release(object, 1);
    pair.run();
    assert_eq!(released(&mut pair, CLIENT), [object]);
}

#[test]
fn an_object_shown_again_before_its_release_was_looked_at_stays() {
    let mut lone = Lone::new();
    let object = lone.session.show().unwrap();
    lone.session.notify(lone.now, request_with("hold", vec![Ref::Local(object)])).unwrap();
    lone.receive(&frame(Kind::Release, 0, object, &1_u64.to_be_bytes()));
    lone.session.notify(lone.now, request_with("hold", vec![Ref::Local(object)])).unwrap();
    lone.frames();
    lone.expect_silence();
    lone.receive(&frame(Kind::Release, 0, object, &1_u64.to_be_bytes()));
    assert!(matches!(lone.events()[..], [Event::Released { object: gone }] if gone == object));
}

#[test]
fn an_object_that_is_gone_is_not_sent_again() {
    let mut pair = Pair::new(6);
    let object = pair.session(CLIENT).show().unwrap();
    tell(&mut pair, &[Ref::Local(object)]);
    pair.session(SERVER).release(object, 1);
    pair.run();
    released(&mut pair, CLIENT);
    let now = pair.now;
    let again = |object| request_with("hold", vec![object]);
    for (entry, kind) in [
        (Ref::Local(object), ErrorKind::NoObject),
        (Ref::Local(999), ErrorKind::NoObject),
        (Ref::Local(0), ErrorKind::Encoding),
        (Ref::Remote(0), ErrorKind::Encoding),
    ] {
        assert_eq!(pair.session(CLIENT).call(now, again(entry)).unwrap_err().kind, kind, "{entry:?}");
    }
    assert_ne!(pair.session(CLIENT).show().unwrap(), object, "no number is used twice");
    pair.run();
    pair.expect_silence();
}

#[test]
fn a_reference_that_is_handed_back_late_is_delivered() {
    let mut lone = Lone::new();
    let payload = call_payload(0, "x", &table(&[(1, 44)]));
    lone.receive(&frame(Kind::Call, flags::REFS, 1, &payload));
    assert!(matches!(&lone.events()[..], [Event::Call(call)] if call.payload.refs == [Ref::Local(44)]));
}

#[test]
fn releases_of_what_was_not_shown_end_the_session() {
    let release = |object: u64, count: u64| frame(Kind::Release, 0, object, &count.to_be_bytes());
    for bytes in [release(0, 1), release(1, 2), release(1, 0), release(1, u64::MAX), release(2, 1)] {
        let mut lone = Lone::new();
        let object = lone.session.show().unwrap();
        assert_eq!(object, 1);
        lone.session.notify(lone.now, request_with("hold", vec![Ref::Local(object)])).unwrap();
        lone.receive(&bytes);
        lone.expect_violation("released more often");
    }
    let mut lone = Lone::new();
    let object = lone.session.show().unwrap();
    lone.session.notify(lone.now, request_with("hold", vec![Ref::Local(object)])).unwrap();
    lone.receive(&release(object, 1));
    lone.receive(&release(object, 1));
    lone.expect_violation("released more often");
}

#[test]
fn the_root_does_not_stand_in_a_reference_table() {
    for owner in [0, 1] {
        let mut lone = Lone::new();
        let payload = call_payload(0, "x", &table(&[(owner, 0)]));
        lone.receive(&frame(Kind::Call, flags::REFS, 1, &payload));
        lone.expect_violation("root");
    }
}

#[test]
fn an_answer_that_nobody_waits_for_gives_its_references_back() {
    let mut pair = Pair::new(7);
    let id = pair.call(CLIENT, request("make", b""));
    pair.run();
    pair.one_call(SERVER);
    pair.session(CLIENT).cancel(id);
    pair.run();
    let object = pair.session(SERVER).show().unwrap();
    pair.session(SERVER).reply(id, result_with(vec![Ref::Local(object), Ref::Local(object)]));
    pair.run();
    pair.events(CLIENT);
    let events = pair.events(SERVER);
    assert!(
        matches!(events[..], [Event::Cancelled { .. }, Event::Released { object: gone }] if gone == object)
    );
}

#[test]
fn a_result_for_nobody_forgets_the_objects_it_names() {
    let mut pair = Pair::new(8);
    let id = pair.notify(CLIENT, request("tell", b""));
    pair.run();
    pair.one_call(SERVER);
    let object = pair.session(SERVER).show().unwrap();
    pair.session(SERVER).reply(id, result_with(vec![Ref::Local(object)]));
    assert_eq!(released(&mut pair, SERVER), [object], "a notify takes no result");
    let object = pair.session(SERVER).show().unwrap();
    pair.session(SERVER).reply(777, result_with(vec![Ref::Local(object)]));
    assert_eq!(released(&mut pair, SERVER), [object], "there is no such call");
}

#[test]
fn a_result_that_cannot_be_sent_forgets_the_objects_it_names() {
    let mut pair = Pair::with(9, Limits { message: 4096, ..Limits::default() }, Limits::default());
    let id = pair.call(CLIENT, request("make", b""));
    pair.run();
    pair.one_call(SERVER);
    let object = pair.session(SERVER).show().unwrap();
    let result = Outgoing { refs: vec![Ref::Local(object)], ..Outgoing::native(&[0; 5000]) };
    pair.session(SERVER).reply(id, result);
    pair.run();
    assert_eq!(released(&mut pair, SERVER), [object]);
    assert_eq!(pair.one_answer(CLIENT, id).unwrap_err().kind, ErrorKind::TooLarge);
}

#[test]
fn a_call_that_is_refused_gives_its_references_back() {
    let mut pair = Pair::new(10);
    let mut lone = Lone::open(
        andiron_proto::Role::Acceptor,
        Limits { calls: 1, ..Limits::default() },
        Limits::default(),
    );
    for id in [1, 2] {
        let payload = call_payload(0, "x", &table(&[(0, 7), (0, 7), (0, 8), (1, 3)]));
        lone.receive(&frame(Kind::Call, flags::REFS, id, &payload));
    }
    let frames = lone.frames();
    let kinds: Vec<_> = frames.iter().map(|(header, _)| (header.kind, header.id)).collect();
    assert_eq!(kinds, [(Kind::Release, 7), (Kind::Release, 8), (Kind::Error, 2)]);
    assert_eq!((frames[0].1[7], frames[1].1[7]), (2, 1), "one frame for each object");
    pair.expect_silence();
}

#[test]
fn an_object_in_a_call_that_waits_is_not_forgotten_before_that_is_sent() {
    let mut pair = Pair::with(11, Limits::default(), Limits { calls: 1, ..Limits::default() });
    let object = pair.session(CLIENT).show().unwrap();
    let first = pair.call(CLIENT, request_with("hold", vec![Ref::Local(object)]));
    let second = pair.call(CLIENT, request_with("hold", vec![Ref::Local(object)]));
    let third = pair.call(CLIENT, request_with("hold", vec![Ref::Local(object)]));
    pair.run();
    assert_eq!(pair.one_call(SERVER).id, first);
    pair.session(SERVER).release(object, 1);
    pair.session(CLIENT).cancel(third);
    pair.run();
    assert_eq!(pair.one_answer(CLIENT, third).unwrap_err().kind, ErrorKind::Cancelled);
    pair.expect_silence();
    pair.reply(SERVER, first, b"");
    pair.run();
    assert!(pair.one_answer(CLIENT, first).is_ok());
    assert_eq!(pair.one_call(SERVER).id, second);
    pair.session(SERVER).release(object, 1);
    pair.run();
    assert_eq!(released(&mut pair, CLIENT), [object]);
}

#[test]
fn objects_of_a_call_that_was_cancelled_before_it_was_sent_are_forgotten() {
    let mut pair = Pair::with(12, Limits::default(), Limits { calls: 1, ..Limits::default() });
    pair.call(CLIENT, request("first", b""));
    let object = pair.session(CLIENT).show().unwrap();
    let second = pair.call(CLIENT, request_with("second", vec![Ref::Local(object)]));
    pair.session(CLIENT).cancel(second);
    let events = pair.events(CLIENT);
    assert!(matches!(events[..], [Event::Released { object: gone }, Event::Answer { .. }] if gone == object));
}

#[test]
fn numbers_that_were_not_used_after_all_are_taken_back() {
    let mut pair = Pair::new(13);
    let (used, unused) = (pair.session(CLIENT).show().unwrap(), pair.session(CLIENT).show().unwrap());
    tell(&mut pair, &[Ref::Local(used)]);
    pair.session(CLIENT).forget_unsent(&[
        Ref::Local(used),
        Ref::Local(unused),
        Ref::Remote(5),
        Ref::Local(88),
    ]);
    assert_eq!(released(&mut pair, CLIENT), [unused]);
}

#[test]
fn no_more_objects_are_shown_than_the_peer_takes() {
    let mut pair = Pair::with(14, Limits::default(), Limits { objects: 2, ..Limits::default() });
    let objects = [pair.session(CLIENT).show().unwrap(), pair.session(CLIENT).show().unwrap()];
    assert_eq!(pair.session(CLIENT).show().unwrap_err().kind, ErrorKind::Overloaded);
    tell(&mut pair, &objects.map(Ref::Local));
    tell(&mut pair, &objects.map(Ref::Local));
    assert_eq!(pair.session(CLIENT).show().unwrap_err().kind, ErrorKind::Overloaded);
    pair.session(SERVER).release(objects[0], 2);
    pair.run();
    released(&mut pair, CLIENT);
    let third = pair.session(CLIENT).show().unwrap();
    tell(&mut pair, &[Ref::Local(third)]);
    assert!(pair.session(SERVER).is_open());
}

#[test]
fn a_peer_that_shows_more_objects_than_agreed_ends_the_session() {
    let limits = Limits { objects: 2, ..Limits::default() };
    let mut lone = Lone::open(andiron_proto::Role::Acceptor, limits, Limits::default());
    let show = |id, entries: &[(u8, u64)]| {
        frame(Kind::Call, flags::REFS, id, &call_payload(0, "x", &table(entries)))
    };
    lone.receive(&show(1, &[(0, 5), (0, 6), (0, 5), (1, 1), (1, 2), (1, 3)]));
    assert!(lone.session.is_open(), "two distinct ones");
    lone.events();
    lone.receive(&show(2, &[(0, 7)]));
    let events = lone.events();
    assert!(
        matches!(&events[..], [Event::Cancelled { .. }, Event::Closed(failure)]
        if failure.to_string().contains("more than 2 objects")),
        "{events:?}"
    );
}

#[test]
fn a_table_that_does_not_fit_into_one_frame_is_refused_here() {
    let mut pair = Pair::with(15, Limits::default(), Limits { frame: 4096, ..Limits::default() });
    let object = pair.session(CLIENT).show().unwrap();
    let now = pair.now;
    let failure =
        pair.session(CLIENT).call(now, request_with("x", vec![Ref::Local(object); 500])).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::TooLarge);
    let most = failure.detail.message.rsplit_once("500 references; the other end takes ").unwrap().1;
    let most: usize = most.parse().unwrap();
    tell(&mut pair, &vec![Ref::Local(object); most]);
    let more = request_with("x", vec![Ref::Local(object); most + 1]);
    assert_eq!(pair.session(CLIENT).call(now, more).unwrap_err().kind, ErrorKind::TooLarge);

    let mut pair = Pair::with(16, Limits::default(), Limits { frame: 16 << 20, ..Limits::default() });
    let object = pair.session(CLIENT).show().unwrap();
    let failure =
        pair.session(CLIENT).call(now, request_with("x", vec![Ref::Local(object); 65536])).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::TooLarge, "the count has 16 bits");
    tell(&mut pair, &vec![Ref::Local(object); 65535]);
}

#[test]
fn a_failure_that_names_objects_gives_them_back() {
    let mut lone = Lone::new();
    let id = lone.session.call(lone.now, request("x", b"")).unwrap();
    lone.frames();
    let payload = [&b"\0\x01"[..], &table(&[(0, 5)]), b"\x80"].concat();
    lone.receive(&frame(Kind::Error, flags::REFS, id, &payload));
    let frames = lone.frames();
    assert_eq!((frames[0].0.kind, frames[0].0.id), (Kind::Release, 5));
    assert!(matches!(&lone.events()[..], [Event::Answer { outcome: Err(Failure { .. }), .. }]));
}
