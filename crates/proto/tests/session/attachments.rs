//! Section 7: what travels beside the bytes.

use std::sync::Arc;

use andiron_proto::wire::{Kind, flags};
use andiron_proto::{
    Attachment, Attachments, CallRequest, ErrorKind, Event, Limits, Outgoing, Payload, Role,
};

use crate::support::*;

fn some() -> Limits {
    Limits { attachments: 3, ..Limits::default() }
}

fn lone() -> Lone {
    Lone::open(Role::Acceptor, some(), some())
}

fn call_with(attachments: u16, id: u64) -> Vec<u8> {
    frame_with(Kind::Call, 0, attachments, id, &call_payload(0, "x", &[7; 20]))
}

/// The attachments of the calls that arrived; nothing else happened.
fn arrived(lone: &mut Lone) -> Vec<Vec<u32>> {
    let attachments = |event| match event {
        Event::Call(call) => numbers(call.payload.attachments.descriptors()),
        other => panic!("{other:?}"),
    };
    lone.events().into_iter().map(attachments).collect()
}

#[test]
fn attachments_arrive_with_their_message_however_the_bytes_are_cut() {
    for seed in 0..40 {
        let narrow = Limits { frame: 4096, window: 1000, ..some() };
        let mut pair = Pair::with(seed, narrow.clone(), narrow);
        pair.most_piece = [1, 10, 100, 100_000][seed as usize % 4];
        let mut expected = Vec::new();
        for _ in 0..20 {
            let sent: Vec<u32> = (0..pair.rng.u32(0..4)).map(|_| pair.rng.u32(..)).collect();
            let length = if pair.rng.u8(..) < 50 { 6000 } else { pair.rng.usize(..100) };
            let attachments: Vec<Attachment> = sent.iter().map(|&number| attachment(number)).collect();
            let body = vec![1; length];
            let arguments = Outgoing { attachments: attachments.into(), ..Outgoing::native(&body) };
            pair.call(CLIENT, CallRequest { method: "take", arguments, ..CallRequest::default() });
            expected.push((sent, length));
        }
        pair.run();
        let mut calls = pair.calls(SERVER);
        calls.sort_by_key(|call| call.id);
        let got: Vec<_> = calls
            .iter()
            .map(|call| (numbers(call.payload.attachments.descriptors()), call.payload.body.len()))
            .collect();
        assert_eq!(got, expected);
        for call in calls {
            pair.session(SERVER).reply(call.id, call.payload);
        }
        pair.run();
        for (id, outcome) in pair.answers(CLIENT) {
            assert_eq!(numbers(outcome.unwrap().attachments.descriptors()), expected[id as usize - 1].0);
        }
    }
}

#[test]
fn frames_that_share_a_read_take_their_attachments_in_order() {
    let mut lone = lone();
    let bytes = [call_with(0, 1), call_with(2, 2), call_with(0, 3), call_with(1, 4)].concat();
    lone.receive_with(&bytes, &[21, 22, 41]);
    assert_eq!(arrived(&mut lone), [vec![], vec![21, 22], vec![], vec![41]]);
}

#[test]
fn a_frame_that_begins_in_one_read_and_ends_in_another_keeps_what_came_with_its_beginning() {
    let bytes = [call_with(0, 1), call_with(1, 2), call_with(1, 3)].concat();
    let first = call_with(0, 1).len();
    let second = first + call_with(1, 2).len();
    for cut in first + 1..second {
        let mut lone = lone();
        lone.receive_with(&bytes[..cut], &[2]);
        lone.receive_with(&bytes[cut..], &[]);
        let calls = lone.events().iter().filter(|event| matches!(event, Event::Call(_))).count();
        assert_eq!(calls, 2, "cut at {cut}");
        assert!(lone.session.is_closed(), "the third has none");
    }
    for cut in first + 1..second {
        let mut lone = lone();
        lone.receive_with(&bytes[..cut], &[2]);
        lone.receive_with(&bytes[cut..second], &[]);
        lone.receive_with(&bytes[second..], &[3]);
        assert_eq!(arrived(&mut lone), [vec![], vec![2], vec![3]], "cut at {cut}");
    }
}

#[test]
fn a_frame_without_the_attachments_that_it_announced_ends_the_session() {
    for came in [&[][..], &[1]] {
        let mut lone = lone();
        lone.receive_with(&call_with(2, 1), came);
        lone.expect_violation("without the descriptors");
    }
}

#[test]
fn attachments_that_no_frame_asked_for_end_the_session() {
    let chunk = frame(Kind::Chunk, 0, 1, b"abc");
    let begun = frame(Kind::Call, flags::LONG, 1, &call_payload(0, "x", &long_tail(1, 100, b"")));
    for (before, bytes) in [
        (vec![], call_with(0, 1)),
        (vec![], call_with(1, 1)),
        (vec![], call_with(0, 1)[..20].to_vec()),
        (vec![], frame(Kind::Ping, 0, 0, b"")),
        (vec![], b"".to_vec()),
        (begun.clone(), chunk.clone()),
        (begun, chunk[..17].to_vec()),
    ] {
        let mut lone = lone();
        lone.receive(&before);
        lone.receive_with(&bytes, &[1, 2]);
        while let Some(Event::Call(_)) = lone.session.poll_event() {}
        assert!(lone.session.is_closed(), "{bytes:?}");
        assert_eq!(lone.frames().last().unwrap().0.kind, Kind::Goodbye);
    }
}

#[test]
fn half_a_frame_and_then_a_descriptor_ends_the_session() {
    let bytes = call_with(1, 1);
    for cut in 1..bytes.len() {
        let mut lone = lone();
        lone.receive(&bytes[..cut]);
        lone.receive_with(&bytes[cut..], &[1]);
        lone.expect_violation("descriptors");
    }
    for cut in 1..bytes.len() - 1 {
        let mut lone = lone();
        lone.receive_with(&bytes[..cut], &[1]);
        lone.receive_with(&bytes[cut..cut + 1], &[2]);
        lone.expect_violation("descriptors");
    }
}

#[test]
fn descriptors_that_trickle_in_beside_one_unfinished_frame_are_not_collected() {
    let mut lone = lone();
    let bytes = call_with(3, 1);
    lone.receive_with(&bytes[..1], &[1, 2, 3]);
    lone.receive(&bytes[1..30]);
    assert!(lone.session.is_open());
    lone.receive_with(&bytes[30..31], &[4]);
    lone.expect_violation("no frame asked for");
}

#[test]
fn more_attachments_than_agreed_end_the_session() {
    let mut lone = lone();
    lone.receive_with(&call_with(4, 1), &[1, 2, 3, 4]);
    lone.expect_violation("allowed are 3");
    let mut none = Lone::new();
    none.receive_with(&call_with(1, 1), &[1]);
    none.expect_violation("allowed are 0");
}

#[test]
fn attachments_on_frames_that_take_none_end_the_session() {
    for (kind, payload) in [
        (Kind::Ping, &b""[..]),
        (Kind::Cancel, b""),
        (Kind::Error, b"\0\x01"),
        (Kind::Chunk, b"x"),
        (Kind::Goodbye, b"\0\0"),
    ] {
        let mut lone = lone();
        lone.receive_with(&frame_with(kind, 0, 1, 1, payload), &[1]);
        lone.expect_violation("takes no descriptors");
    }
}

#[test]
fn attachments_of_a_frame_that_is_skipped_or_refused_are_dropped() {
    let mut lone = Lone::open(Role::Acceptor, Limits { calls: 1, ..some() }, some());
    let held = Arc::new(5_u32);
    for bytes in [frame_with(Kind::Optional(0xfe), 0xff, 1, 9, b"later"), call_with(1, 1), call_with(1, 2)] {
        lone.session.receive(lone.now, &bytes, vec![held.clone()], false);
    }
    assert_eq!(Arc::strong_count(&held), 2, "only the call that was taken has it");
    lone.events();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_call_whose_descriptors_were_cut_off_is_refused_and_the_session_goes_on() {
    let mut lone = lone();
    let bytes = [call_with(1, 1), call_with(2, 2), call_with(0, 3)].concat();
    let attachments = vec![attachment(1), attachment(2)];
    lone.session.receive(lone.now, &bytes, attachments, true);
    assert_eq!(arrived(&mut lone), [vec![1], vec![]]);
    let frames = lone.frames();
    assert_eq!((frames[0].0.kind, frames[0].0.id, &frames[0].1[..2]), (Kind::Error, 2, &[0, 7][..]));
    lone.receive_with(&call_with(1, 4), &[4]);
    assert_eq!(arrived(&mut lone), [vec![4]]);
}

#[test]
fn a_frame_behind_one_that_was_cut_off_has_its_own_attachments() {
    let mut lone = lone();
    let bytes = call_with(1, 1);
    lone.session.receive(lone.now, &bytes[..30], vec![], true);
    lone.receive_with(&[&bytes[30..], &call_with(1, 2)].concat(), &[2]);
    assert_eq!(arrived(&mut lone), [vec![2]]);
    assert_eq!(lone.frames()[0].0.id, 1, "the first was refused");
}

#[test]
fn a_result_whose_descriptors_were_cut_off_fails_for_its_caller_only() {
    let mut lone = lone();
    for long in [false, true] {
        let id = lone.session.call(lone.now, request("get", b"")).unwrap();
        lone.frames();
        let tail = if long { long_tail(1, 100, b"") } else { Vec::new() };
        let kind_flags = if long { flags::LONG } else { 0 };
        let bytes = frame_with(Kind::Result, kind_flags, 1, id, &[&b"\x01"[..], &tail].concat());
        lone.session.receive(lone.now, &bytes, vec![], true);
        assert!(matches!(&lone.events()[..], [Event::Answer { outcome: Err(failure), .. }]
            if failure.kind == ErrorKind::Overloaded));
        assert_eq!(lone.frames()[0].0.kind, Kind::Cancel);
    }
    lone.receive(&frame(Kind::Chunk, flags::ABORT, 1, b""));
    lone.receive(&frame(Kind::Error, 0, 2, b"\0\x09\x80"));
    lone.expect_silence();
}

#[test]
fn descriptors_of_calls_that_are_not_answered_count_and_beyond_the_limit_calls_are_refused() {
    let mut lone = Lone::open(Role::Acceptor, Limits { buffer: 1 << 20, ..some() }, some());
    for id in 1..=5 {
        lone.receive_with(&call_with(3, id), &[1, 2, 3]);
    }
    assert_eq!(arrived(&mut lone).len(), 5, "fifteen of them are less than a megabyte");
    lone.receive_with(&call_with(3, 6), &[1, 2, 3]);
    let frames = lone.frames();
    assert_eq!((frames[0].0.kind, frames[0].0.id, &frames[0].1[..2]), (Kind::Error, 6, &[0, 7][..]));
    lone.receive(&call_with(0, 7));
    assert_eq!(arrived(&mut lone), [[0; 0]], "one without any is taken");
    lone.session.reply(1, Outgoing::default());
    lone.output();
    lone.receive_with(&call_with(3, 8), &[1, 2, 3]);
    assert_eq!(arrived(&mut lone), [vec![1, 2, 3]]);
}

#[test]
fn an_end_that_takes_none_is_sent_none() {
    let mut pair = Pair::with(1, some(), Limits::default());
    let now = pair.now;
    let arguments = Outgoing { attachments: vec![attachment(1)].into(), ..Outgoing::default() };
    let request = CallRequest { method: "take", arguments, ..CallRequest::default() };
    assert_eq!(pair.session(CLIENT).call(now, request).unwrap_err().kind, ErrorKind::TooLarge);
}

#[test]
fn parts_arrive_behind_the_value_however_the_bytes_are_cut() {
    for seed in 0..40 {
        let narrow = Limits { frame: 4096, window: 1000, attachments: 0, ..Limits::default() };
        let mut pair = Pair::with(seed, narrow.clone(), narrow);
        pair.most_piece = [1, 10, 100, 100_000][seed as usize % 4];
        let mut expected = Vec::new();
        for _ in 0..10 {
            let length = |pair: &mut Pair| {
                let most = if pair.rng.u8(..) < 50 { 6000 } else { 100 };
                pair.rng.usize(..most)
            };
            let count = pair.rng.usize(..4);
            let parts: Vec<Vec<u8>> =
                (0..count).map(|number| vec![number as u8; length(&mut pair)]).collect();
            let value = vec![9; length(&mut pair)];
            let lengths = parts.iter().map(|part| part.len() as u64).collect();
            let body = [value.clone(), parts.concat()].concat();
            let arguments = Outgoing { attachments: Attachments::Parts(lengths), ..Outgoing::native(&body) };
            pair.call(CLIENT, CallRequest { method: "take", arguments, ..CallRequest::default() });
            expected.push((value, parts));
        }
        pair.run();
        let mut calls = pair.calls(SERVER);
        calls.sort_by_key(|call| call.id);
        for call in &calls {
            pair.session(SERVER).reply(call.id, call.payload.clone());
        }
        pair.run();
        let split = |mut payload: Payload| {
            let parts: Vec<Vec<u8>> = payload.take_parts().iter().map(|part| part.to_vec()).collect();
            (payload.body.to_vec(), parts)
        };
        let got: Vec<_> = calls.into_iter().map(|call| split(call.payload)).collect();
        assert_eq!(got, expected);
        for (id, outcome) in pair.answers(CLIENT) {
            assert_eq!(split(outcome.unwrap()), expected[id as usize - 1]);
        }
    }
}

#[test]
fn more_parts_than_a_message_has_are_told_the_caller() {
    let mut pair = Pair::new(1);
    let arguments = Outgoing { attachments: Attachments::Parts(vec![0; 65]), ..Outgoing::native(&[0x90]) };
    let now = pair.now;
    let request = CallRequest { method: "take", arguments, ..CallRequest::default() };
    assert_eq!(pair.session(CLIENT).call(now, request).unwrap_err().kind, ErrorKind::TooLarge);
}
