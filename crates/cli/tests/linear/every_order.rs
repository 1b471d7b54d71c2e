//! The checker says of small random histories what one says that tries every order.

use fastrand::Rng;

use crate::checker::{State, check};
use crate::history::{Answer, End, Event, Op};

#[test]
fn the_checker_finds_an_order_just_where_there_is_one() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..20_000 {
        let history = random(&mut Rng::with_seed(seed));
        let checked = check(&history);
        let told: Vec<String> = history.iter().map(Event::to_string).collect();
        match (checked, has_order(&history, State::NOTHING)) {
            (Ok(()), true) => right += 1,
            (Err(_), false) => wrong += 1,
            (Ok(()), false) => panic!("seed {seed}: there is no order of\n{}", told.join("\n")),
            (Err(violation), true) => {
                panic!("seed {seed}: there is an order of\n{}\n{violation}", told.join("\n"))
            }
        }
    }
    assert!(right > 5000 && wrong > 2000, "{right} right and {wrong} wrong ones say little");
}

/// Whether what is left has an order in which all answers are right.
fn has_order(left: &[Event], state: State) -> bool {
    let end = |event: &Event| match event.end {
        End::Answered { at, .. } => Some(at),
        End::Lost { .. } => None,
    };
    let Some(first_end) = left.iter().filter_map(end).min() else { return true };
    left.iter().enumerate().filter(|(_, event)| event.earliest() <= first_end).any(|(index, event)| {
        let mut left = left.to_vec();
        left.remove(index);
        if let (Op::Restart, Some(ready)) = (event.op, end(event)) {
            left.retain(|other| !matches!(other.end, End::Lost { at } if at < ready));
        }
        state.after(event, first_end).into_iter().any(|state| has_order(&left, state))
    })
}

/// What an entry is while a history is made up.
#[derive(Clone, Copy, Default)]
struct Entry {
    value: Option<(i64, u64)>,
    expires: Option<u64>,
    persistent: bool,
    version: u64,
}

/// Some operations as they might have gone, some without an answer, and sometimes one answer that is another one's.
fn random(rng: &mut Rng) -> Vec<Event> {
    let mut entry = Entry::default();
    let mut history: Vec<Event> = Vec::new();
    for number in 1..=rng.u64(1..8) {
        let moment = 100 + number * 10;
        let op = match rng.u32(0..20) {
            0..3 => Op::Get,
            3 => Op::GetWithin { age: rng.u64(0..20) },
            4..6 => Op::Set { value: number as i64 * 100 },
            6..8 => Op::SetFor { value: number as i64 * 100, ttl: rng.u64(1..30) },
            8..10 => Op::SetIf { value: number as i64 * 100, version: rng.u64(0..=entry.version) },
            10 => Op::Delete,
            11 => Op::DeleteIf { version: rng.u64(1..=entry.version + 1) },
            12..14 => Op::Incr { by: rng.i64(1..3) },
            14..17 => Op::Keep { value: number as i64 * 100 },
            17 => Op::Persist { persist: rng.bool() },
            _ => Op::Restart,
        };
        let happens = op == Op::Restart || rng.u32(0..8) > 0;
        let before = entry;
        let answer = done(&mut entry, op, moment);
        let (begun, at) = (moment - rng.u64(0..25), moment + rng.u64(0..25));
        let lost = op != Op::Restart && (!happens || rng.u32(0..4) == 0);
        if !happens {
            entry = before;
        }
        let end = if lost { End::Lost { at } } else { End::Answered { at, answer } };
        history.push(Event { by: (0, 0), key: 0, op, begun, end });
    }
    if rng.bool() {
        let (one, other) = (rng.usize(..history.len()), rng.usize(..history.len()));
        if let End::Answered { answer, .. } = history[other].end
            && let End::Answered { answer: changed, .. } = &mut history[one].end
        {
            *changed = answer;
        }
    }
    rng.shuffle(&mut history);
    history
}

/// Does it at this moment, and gives the right answer.
fn done(entry: &mut Entry, op: Op, moment: u64) -> Answer {
    if entry.expires.is_some_and(|expires| expires <= moment) {
        (entry.value, entry.expires) = (None, None);
    }
    let found = entry.value.map_or(Answer::Missing, |(value, version)| Answer::Found { value, version });
    let has = |entry: &Entry, version| entry.value.map_or(0, |(_, has)| has) == version;
    let set = |entry: &mut Entry, value, expires, persistent| {
        let version = entry.version + 1;
        *entry = Entry { value: Some((value, version)), expires, persistent, version };
        Answer::Written { version }
    };
    match op {
        Op::Get | Op::GetWithin { .. } | Op::Ask => found,
        Op::Set { value } => set(entry, value, None, false),
        Op::Keep { value } => set(entry, value, None, true),
        Op::Persist { .. } if entry.value.is_none() => Answer::Missing,
        Op::Persist { persist } => {
            entry.persistent = persist;
            Answer::Done
        }
        Op::SetFor { value, ttl } => set(entry, value, Some(moment + ttl), false),
        Op::SetIf { version, .. } | Op::DeleteIf { version } if !has(entry, version) => Answer::Conflict,
        Op::SetIf { value, .. } => set(entry, value, None, false),
        Op::Delete | Op::DeleteIf { .. } => {
            (entry.value, entry.expires) = (None, None);
            found
        }
        Op::Incr { by } => {
            let value = entry.value.map_or(0, |(value, _)| value) + by;
            let (expires, persistent) = (entry.expires, entry.value.is_some() && entry.persistent);
            set(entry, value, expires, persistent);
            Answer::Counted { value }
        }
        Op::Restart => {
            if !entry.persistent {
                (entry.value, entry.expires) = (None, None);
            }
            Answer::Done
        }
    }
}
