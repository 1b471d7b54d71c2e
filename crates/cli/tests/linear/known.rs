//! Histories of which it is known whether they can be explained.

use std::ops::Range;

use crate::checker::check;
use crate::history::Answer::{Conflict, Counted, Done, Missing};
use crate::history::Op::{
    Ask, Delete, DeleteIf, Get, GetWithin, Incr, Keep, Persist, Restart, Set, SetFor, SetIf,
};
use crate::history::{Answer, End, Event, Op};

fn did(op: Op, times: Range<u64>, answer: Answer) -> Event {
    Event { by: (0, 0), key: 0, op, begun: times.start, end: End::Answered { at: times.end, answer } }
}

/// Whoever did it was gone at the end of these times.
fn lost(op: Op, times: Range<u64>) -> Event {
    Event { by: (0, 0), key: 0, op, begun: times.start, end: End::Lost { at: times.end } }
}

fn set(value: i64, times: Range<u64>, version: u64) -> Event {
    did(Set { value }, times, Answer::Written { version })
}

fn get(times: Range<u64>, value: i64, version: u64) -> Event {
    did(Get, times, Answer::Found { value, version })
}

fn missing(times: Range<u64>) -> Event {
    did(Get, times, Missing)
}

fn restart(times: Range<u64>) -> Event {
    did(Restart, times, Done)
}

/// The order in which events are told is no matter.
fn both_ways<const N: usize>(mut events: [Event; N]) -> [Vec<Event>; 2] {
    let told = events.to_vec();
    events.reverse();
    [told, events.to_vec()]
}

#[track_caller]
fn right<const N: usize>(events: [Event; N]) {
    for events in both_ways(events) {
        if let Err(violation) = check(&events) {
            panic!("{violation}");
        }
    }
}

/// The answer of the event with this index is wrong.
#[track_caller]
fn wrong<const N: usize>(index: usize, events: [Event; N]) {
    let expected = events[index];
    for events in both_ways(events) {
        assert_eq!(check(&events).expect_err("it was explained").wrong, expected);
    }
}

#[test]
fn what_happens_one_after_the_other_is_told_as_it_happened() {
    right([]);
    right([missing(0..1), set(5, 2..3, 1), get(4..5, 5, 1), set(6, 6..7, 2), get(8..9, 6, 2)]);
    right([
        set(5, 0..1, 7),
        did(Delete, 2..3, Answer::Found { value: 5, version: 7 }),
        missing(4..5),
        did(Delete, 6..7, Missing),
    ]);
    wrong(0, [get(0..1, 5, 1)]);
    wrong(1, [set(5, 0..1, 1), get(2..3, 6, 1)]);
    wrong(1, [set(5, 0..1, 1), did(Delete, 2..3, Missing)]);
}

#[test]
fn entries_know_nothing_of_each_other() {
    let other = |event: Event| Event { key: 1, ..event };
    right([set(5, 0..1, 1), other(missing(2..3)), other(set(6, 4..5, 2)), get(6..7, 5, 1)]);
    wrong(2, [set(5, 0..1, 1), other(set(6, 2..3, 2)), get(4..5, 6, 2)]);
}

#[test]
fn a_read_behind_an_acknowledged_write_that_finds_what_was_before_is_stale() {
    wrong(2, [set(5, 0..1, 1), set(6, 2..3, 2), get(4..5, 5, 1)]);
    wrong(1, [set(5, 0..1, 1), missing(2..3)]);
    // Unless they overlap.
    right([set(5, 0..1, 1), set(6, 2..5, 2), get(4..6, 5, 1)]);
    right([set(5, 0..1, 1), set(6, 2..5, 2), get(4..6, 6, 2)]);
    right([set(5, 0..2, 1), missing(2..3)]);
}

#[test]
fn a_read_that_may_be_old_is_not_older_than_it_may_be() {
    let within = |age, times, value, version| did(GetWithin { age }, times, Answer::Found { value, version });
    let writes = [set(5, 0..1, 1), set(6, 10..20, 2)];
    right([writes[0], writes[1], within(10, 30..31, 5, 1), within(0, 32..33, 6, 2)]);
    right([writes[0], writes[1], within(10, 30..31, 6, 2), within(13, 32..33, 5, 1)]);
    wrong(2, [writes[0], writes[1], within(9, 30..31, 5, 1)]);
    wrong(1, [writes[0], within(100, 5..6, 6, 2), writes[1]]);
}

#[test]
fn two_reads_see_two_values_in_the_order_of_their_writes_though_the_write_is_under_way() {
    let write = [set(5, 0..1, 1), set(6, 2..9, 2)];
    right([write[0], write[1], get(3..4, 5, 1), get(5..6, 6, 2)]);
    wrong(3, [write[0], write[1], get(3..4, 6, 2), get(5..6, 5, 1)]);
    right([write[0], write[1], get(3..6, 6, 2), get(5..7, 5, 1)]);
}

#[test]
fn writes_at_the_same_time_are_in_the_order_of_their_versions() {
    right([set(5, 0..9, 1), set(6, 0..9, 2), get(10..11, 6, 2)]);
    wrong(2, [set(5, 0..8, 1), set(6, 0..9, 2), get(10..11, 5, 1)]);
    wrong(1, [set(5, 0..1, 7), set(6, 2..3, 7)]);
    wrong(1, [set(5, 0..1, 7), set(6, 2..3, 6)]);
    // The same version for something else: what a client that compares versions would take for the old value.
    wrong(2, [set(5, 0..1, 7), restart(2..3), set(6, 4..5, 7)]);
}

#[test]
fn what_was_deleted_stays_away() {
    let took = |times, value, version| did(Delete, times, Answer::Found { value, version });
    wrong(2, [set(5, 0..1, 1), took(2..3, 5, 1), get(4..5, 5, 1)]);
    wrong(2, [set(5, 0..1, 1), took(2..3, 5, 1), took(2..4, 5, 1)]);
    right([set(5, 0..1, 1), took(2..5, 5, 1), get(4..6, 5, 1)]);
}

#[test]
fn no_increment_is_lost_or_done_twice() {
    let incr = |times, value| did(Incr { by: 1 }, times, Counted { value });
    right([incr(0..9, 2), incr(0..9, 1), incr(0..9, 3)]);
    wrong(1, [incr(0..8, 1), incr(0..9, 1)]);
    wrong(1, [incr(0..1, 1), incr(2..3, 3)]);
    right([set(5, 0..1, 1), incr(2..3, 6), get(4..5, 6, 2), get(6..7, 6, 2)]);
    wrong(3, [set(5, 0..1, 1), incr(2..3, 6), get(4..5, 6, 2), get(6..7, 6, 3)]);
    wrong(2, [set(5, 0..1, 2), incr(2..3, 6), get(4..5, 6, 2)]);
}

#[test]
fn what_was_not_answered_happened_or_not_but_only_one_of_both() {
    let write = [set(5, 0..1, 1), lost(Set { value: 6 }, 2..3)];
    right([write[0], write[1], get(4..5, 5, 1), get(6..7, 5, 1)]);
    right([write[0], write[1], get(4..5, 5, 1), get(6..7, 6, 2)]);
    wrong(3, [write[0], write[1], get(4..5, 6, 2), get(6..7, 5, 1)]);
    wrong(1, [write[0], get(1..2, 6, 2), lost(Set { value: 6 }, 3..4)]);
    // Once only.
    wrong(4, [write[0], write[1], get(4..5, 6, 2), set(7, 6..7, 3), get(8..9, 6, 2)]);
    right([write[0], lost(Delete, 2..3), missing(4..5)]);
    right([write[0], lost(Incr { by: 1 }, 2..3), lost(Incr { by: 2 }, 2..3), get(4..5, 8, 9)]);
    wrong(3, [write[0], lost(Incr { by: 1 }, 2..3), lost(Incr { by: 2 }, 2..3), get(4..5, 9, 9)]);
    right([write[0], lost(Get, 2..3), get(4..5, 5, 1)]);
}

#[test]
fn many_that_were_not_answered_are_no_harder_to_check_than_a_few() {
    let mut events: Vec<Event> = (0..200).map(|value| lost(Set { value }, 0..1)).collect();
    events.extend((0..200).map(|time| {
        let (value, begun) = ((time * 7 % 200) as i64, 2 * time + 2);
        get(begun..begun + 1, value, time + 1)
    }));
    assert!(check(&events).is_ok());
    events.push(get(1000..1001, 0, 1));
    assert_eq!(check(&events).unwrap_err().wrong, events[400]);
}

#[test]
fn a_store_that_began_anew_has_nothing_of_what_was_before() {
    right([set(5, 0..1, 1), restart(2..5), missing(6..7)]);
    wrong(2, [set(5, 0..1, 1), restart(2..5), get(6..7, 5, 1)]);
    // Until the new daemon answers, what a client remembers may be right.
    right([set(5, 0..1, 1), restart(2..9), get(3..4, 5, 1), missing(5..6)]);
    wrong(3, [set(5, 0..1, 1), restart(2..9), missing(3..4), get(5..6, 5, 1)]);
    // So it is with an answer of the new daemon before it has said that it is there.
    right([restart(2..9), set(6, 3..4, 2), get(10..11, 6, 2)]);
}

#[test]
fn what_was_sent_to_a_daemon_that_was_killed_cannot_happen_in_the_next_one() {
    right([lost(Set { value: 5 }, 0..3), restart(2..5), missing(6..7)]);
    right([lost(Set { value: 5 }, 0..3), restart(2..5), get(3..4, 5, 1)]);
    wrong(2, [lost(Set { value: 5 }, 0..3), restart(2..5), get(6..7, 5, 1)]);
    // It may have been sent to the new one, if it was given up only when that was there.
    right([lost(Set { value: 5 }, 0..6), restart(2..5), get(6..7, 5, 1)]);
}

#[test]
fn what_is_to_be_kept_is_there_in_the_next_daemon_and_nothing_else_is() {
    let kept = did(Keep { value: 5 }, 0..1, Answer::Written { version: 1 });
    right([kept, restart(2..5), get(6..7, 5, 1), restart(8..9), get(10..11, 5, 1)]);
    wrong(2, [kept, restart(2..5), missing(6..7)]);
    wrong(3, [kept, restart(2..5), restart(6..7), missing(8..9)]);
    wrong(2, [kept, restart(2..5), get(6..7, 5, 2)]);
    // It has the value it had last, and goes away like any other.
    right([kept, did(Incr { by: 1 }, 2..3, Counted { value: 6 }), restart(4..5), get(6..7, 6, 2)]);
    wrong(3, [kept, did(Incr { by: 1 }, 2..3, Counted { value: 6 }), restart(4..5), get(6..7, 5, 1)]);
    let took = did(Delete, 2..3, Answer::Found { value: 5, version: 1 });
    right([kept, took, restart(4..5), missing(6..7)]);
    wrong(3, [kept, took, restart(4..5), get(6..7, 5, 1)]);
    // A plain write over it does not bring it back.
    right([kept, set(6, 2..3, 2), restart(4..5), missing(6..7)]);
    wrong(3, [kept, set(6, 2..3, 2), restart(4..5), get(6..7, 5, 1)]);
    wrong(3, [kept, set(6, 2..3, 2), restart(4..5), get(6..7, 6, 2)]);
    // It is said later whether it is to be.
    let persist = |persist, times, answer| did(Persist { persist }, times, answer);
    right([set(5, 0..1, 1), persist(true, 2..3, Done), restart(4..5), get(6..7, 5, 1)]);
    right([kept, persist(false, 2..3, Done), restart(4..5), missing(6..7)]);
    wrong(3, [kept, persist(false, 2..3, Done), restart(4..5), get(6..7, 5, 1)]);
    wrong(0, [persist(true, 0..1, Done)]);
    wrong(1, [kept, persist(true, 2..3, Missing)]);
}

#[test]
fn what_was_under_way_at_a_kill_was_kept_or_not_and_stays_so() {
    let (lost_keep, lost_set) = (lost(Keep { value: 5 }, 0..3), lost(Set { value: 6 }, 0..3));
    right([lost_keep, restart(2..5), missing(6..7)]);
    right([lost_keep, restart(2..5), get(6..7, 5, 1)]);
    wrong(3, [lost_keep, restart(2..5), missing(6..7), get(8..9, 5, 1)]);
    wrong(3, [lost_keep, restart(2..5), get(6..7, 5, 1), missing(8..9)]);
    let kept = did(Keep { value: 4 }, 0..1, Answer::Written { version: 1 });
    for found in [get(6..7, 4, 1), get(6..7, 5, 2), missing(6..7)] {
        right([kept, lost_keep, lost_set, restart(2..5), found]);
    }
    wrong(4, [kept, lost_keep, lost_set, restart(2..5), get(6..7, 6, 2)]);
    let persist = lost(Persist { persist: true }, 2..3);
    right([set(5, 0..1, 1), persist, restart(2..5), get(6..7, 5, 1)]);
    wrong(3, [set(5, 0..1, 1), persist, restart(2..5), get(6..7, 5, 2)]);
}

#[test]
fn what_expires_is_there_until_its_time_and_gone_behind_it() {
    // Set at some moment from 10 to 20, it is gone at some moment from 110 to 120.
    let written = did(SetFor { value: 5, ttl: 100 }, 10..20, Answer::Written { version: 1 });
    right([written, get(20..109, 5, 1), missing(110..112), missing(121..122)]);
    wrong(1, [written, missing(30..109)]);
    right([written, get(119..200, 5, 1)]);
    wrong(1, [written, get(120..200, 5, 1)]);
    wrong(2, [written, missing(111..112), get(113..114, 5, 1)]);
    right([written, set(6, 50..51, 2), get(120..200, 6, 2)]);
    right([written, did(Delete, 115..116, Missing), did(Incr { by: 1 }, 120..130, Counted { value: 1 })]);
    right([written, did(Incr { by: 1 }, 30..31, Counted { value: 6 }), missing(120..121)]);
    wrong(2, [written, did(Incr { by: 1 }, 30..31, Counted { value: 6 }), get(120..121, 6, 2)]);
    right([lost(SetFor { value: 5, ttl: 100 }, 10..20), get(500..501, 5, 1), missing(600..601)]);
}

#[test]
fn a_write_over_a_version_happens_over_that_version_alone() {
    let over = |version, value, times, answer| did(SetIf { value, version }, times, answer);
    let written = |version| Answer::Written { version };
    right([over(0, 5, 0..1, written(1)), over(1, 6, 2..3, written(2)), over(1, 7, 4..5, Conflict)]);
    right([over(0, 5, 0..9, written(1)), over(0, 6, 0..9, Conflict)]);
    wrong(1, [over(0, 5, 0..8, written(1)), over(0, 6, 0..9, written(2))]);
    wrong(1, [set(5, 0..1, 1), over(1, 6, 2..3, Conflict)]);
    wrong(2, [set(5, 0..1, 1), set(6, 2..3, 2), over(1, 7, 4..5, written(3))]);
    wrong(0, [over(4, 5, 0..1, written(5))]);
    let took = |version, times, answer| did(DeleteIf { version }, times, answer);
    let found = Answer::Found { value: 5, version: 1 };
    right([set(5, 0..1, 1), took(2, 2..3, Conflict), took(1, 4..5, found), took(1, 6..7, Conflict)]);
    wrong(1, [set(5, 0..1, 1), took(1, 2..3, Conflict)]);
    wrong(2, [set(5, 0..1, 1), set(6, 2..3, 2), took(1, 4..5, found)]);
    // What was not answered may have come between.
    right([set(5, 0..1, 1), lost(Set { value: 6 }, 2..3), over(1, 7, 4..5, Conflict)]);
    right([
        set(5, 0..1, 1),
        lost(SetIf { value: 6, version: 1 }, 2..3),
        did(Ask, 4..5, Answer::Found { value: 6, version: 2 }),
    ]);
    wrong(2, [set(5, 0..1, 1), lost(SetIf { value: 6, version: 2 }, 2..3), get(4..5, 6, 3)]);
}
