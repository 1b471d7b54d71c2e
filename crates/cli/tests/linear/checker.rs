//! Whether a history can be explained: whether its operations can be put into one order, each at a moment between its begin and its end, in
//! which every answer is right. Such a history is called linearizable; a stale read, a lost or doubled write and a value that comes back
//! from the dead are all histories that are not.
//!
//! The method is that of Wing and Gong with Lowe's improvements: entries are independent, so each is looked at alone; operations are put in
//! order no sooner than an answer needs it; and a state that was seen with the same operations left is not looked at twice. In place of
//! going back from a dead end, all explanations ([`World`]) of what was answered so far are kept at once. There are few, since the version in
//! an answer says where its write stands. When none is left the answer that was looked at is wrong.
//!
//! An operation without an answer may be put anywhere behind its begin, or nowhere. Of two explanations that differ only in
//! those that they needed, the one that needs fewer can do all that the other can, so only that one is kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use crate::history::{Answer, End, Event, Op};

/// For one answer no more than this is tried.
const MOST_STEPS: usize = 1 << 22;

/// What there is to say about a history that cannot be explained.
#[derive(Debug)]
pub(crate) struct Violation {
    /// The operation whose answer is wrong, in every order.
    pub(crate) wrong: Event,
    /// What happened to the entry before and meanwhile.
    before: Vec<Event>,
    /// What the entry may have been.
    states: Vec<State>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in no order of the operations is this answer right:\n  {}", self.wrong)?;
        writeln!(f, "what happened to the entry before and meanwhile, by the end:")?;
        self.before.iter().try_for_each(|event| writeln!(f, "  {event}"))?;
        writeln!(f, "what it may have been before:")?;
        self.states.iter().try_for_each(|state| writeln!(f, "  {state:?}"))
    }
}

/// Checks a history of any entries, in any order.
///
/// # Errors
/// The first answer that cannot be explained.
pub(crate) fn check(history: &[Event]) -> Result<(), Box<Violation>> {
    let mut entries: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
    for event in history {
        entries.entry(event.key).or_default().push(*event);
    }
    entries.values().try_for_each(|events| Checker::new(events).check())
}

/// The history of one entry. Operations are named by their index.
struct Checker<'h> {
    events: &'h [Event],
    /// How much all that was added to it can have changed it.
    counted: u64,
}

/// A world to go on from.
struct Step {
    world: World,
    /// If the last operation was one without an answer: those that it was to help, one of which has to follow. `None`: any.
    wanted: Option<Vec<usize>>,
}

/// An explanation of what was answered so far: what the entry is, and which operations began that were not put in order yet. Sorted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    state: State,
    /// Those that have an answer.
    due: Vec<usize>,
    /// Those that have none, and may be left out.
    loose: Vec<usize>,
}

/// An entry, as one order of operations makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    value: Option<Value>,
    /// The largest version that an answer told of; later writes have larger ones.
    version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Value {
    number: i64,
    /// `None`: nobody was told it yet.
    version: Option<u64>,
    /// The next daemon has it as well.
    persistent: bool,
    /// It is there until some moment between these two, which are the same distance behind the begin and the end of the write.
    expires: Option<(u64, u64)>,
}

impl<'h> Checker<'h> {
    fn new(events: &'h [Event]) -> Self {
        let added = events.iter().map(|event| match event.op {
            Op::Incr { by } => by.unsigned_abs(),
            _ => 0,
        });
        Self { events, counted: added.sum() }
    }

    fn check(&self) -> Result<(), Box<Violation>> {
        let mut worlds = vec![World { state: State::NOTHING, due: Vec::new(), loose: Vec::new() }];
        for moment in self.moments() {
            match moment {
                Moment::Begin(index) => worlds.iter_mut().for_each(|world| self.begin(world, index)),
                Moment::Answer(index, at) => {
                    let explained = self.explain(&worlds, index, at);
                    if explained.is_empty() {
                        return Err(Box::new(self.violation(index, &worlds)));
                    }
                    worlds = explained;
                }
            }
        }
        Ok(())
    }

    /// Begins and answers in the order of time. What happens at the same time counts as overlapping.
    fn moments(&self) -> Vec<Moment> {
        let mut moments = Vec::new();
        for (index, event) in self.events.iter().enumerate() {
            match event.end {
                End::Answered { at, .. } => {
                    moments.push((event.earliest(), 0, Moment::Begin(index)));
                    moments.push((at, 1, Moment::Answer(index, at)));
                }
                // A read that nobody heard the answer of says nothing.
                End::Lost { .. } if event.op.is_read() => {}
                End::Lost { .. } => moments.push((event.earliest(), 0, Moment::Begin(index))),
            }
        }
        moments.sort_by_key(|(time, order, _)| (*time, *order));
        moments.into_iter().map(|(_, _, moment)| moment).collect()
    }

    fn begin(&self, world: &mut World, index: usize) {
        match self.events[index].end {
            End::Answered { .. } => insert(&mut world.due, index),
            End::Lost { .. } => insert(&mut world.loose, index),
        }
        self.settle(world);
    }

    /// All explanations in which this operation has its place, which was answered `at` this time.
    ///
    /// An operation without an answer comes only right before one whose answer needs it: behind all others it does the same, or nothing.
    fn explain(&self, worlds: &[World], index: usize, at: u64) -> Vec<World> {
        let mut seen: HashMap<Option<Vec<usize>>, Seen> = HashMap::new();
        let (mut explained, mut count) = (Seen::default(), 0);
        // Those that need fewer operations without answers come first, so that they are what the others are compared with.
        let mut open: VecDeque<Step> =
            worlds.iter().map(|world| Step { world: world.clone(), wanted: None }).collect();
        open.make_contiguous().sort_by_key(|step| std::cmp::Reverse(step.world.loose.len()));
        while let Some(Step { world, wanted }) = open.pop_front() {
            count += 1;
            assert!(count < MOST_STEPS, "too much happens at once in this history to be checked");
            if !world.due.contains(&index) {
                explained.add(&world);
                continue;
            }
            let mut blocked = Vec::new();
            for &due in wanted.as_ref().unwrap_or(&world.due) {
                let next = self.place(&world, due, at);
                if next.is_empty() {
                    blocked.push(due);
                }
                for world in next {
                    if seen.entry(None).or_default().add(&world) {
                        open.push_front(Step { world, wanted: None });
                    }
                }
            }
            for &loose in &world.loose {
                // What the last one made nobody saw: to overwrite it now is to have done without it.
                let in_vain = wanted.is_some() && self.events[loose].op.overwrites();
                if in_vain || !blocked.iter().any(|&due| self.may_help(&world, loose, due)) {
                    continue;
                }
                for next in self.place(&world, loose, at) {
                    let wanted = Some(blocked.clone());
                    if next.state != world.state && seen.entry(wanted.clone()).or_default().add(&next) {
                        open.push_back(Step { world: next, wanted });
                    }
                }
            }
        }
        explained.into_worlds()
    }

    /// Whether an operation can make the answer of another one right, together with others perhaps.
    fn may_help(&self, world: &World, loose: usize, due: usize) -> bool {
        let helps_to_it = |other: &usize| match self.events[*other].op {
            // Of a version that nobody was told, which is larger than all that somebody was.
            Op::SetIf { version, .. } | Op::DeleteIf { version } => {
                version > world.state.version && self.helps(*other, due)
            }
            _ => false,
        };
        self.helps(loose, due) || world.loose.iter().any(helps_to_it)
    }

    fn helps(&self, loose: usize, due: usize) -> bool {
        let End::Answered { answer, .. } = self.events[due].end else { return false };
        match (answer, self.events[loose].op) {
            // It makes a difference to a restart alone.
            (_, Op::Persist { .. }) => false,
            // What is set for a time may be gone then.
            (
                Answer::Found { value: told, .. } | Answer::Counted { value: told },
                Op::Set { value } | Op::SetIf { value, .. } | Op::Keep { value },
            ) => told.abs_diff(value) <= self.counted,
            (Answer::Missing, op) => {
                matches!(op, Op::Delete | Op::DeleteIf { .. } | Op::SetFor { .. })
            }
            _ => true,
        }
    }

    /// The worlds in which this operation comes next.
    fn place(&self, world: &World, index: usize, at: u64) -> Vec<World> {
        let event = &self.events[index];
        let without = |list: &[usize]| list.iter().copied().filter(|&other| other != index).collect();
        let (due, loose): (Vec<usize>, Vec<usize>) = (without(&world.due), without(&world.loose));
        if let (Op::Restart, End::Answered { at: ready, .. }) = (event.op, event.end) {
            return self.restarted(&World { due, ..world.clone() }, event, ready, at);
        }
        let worlds = world.state.after(event, at).into_iter().map(|state| {
            let mut next = World { state, due: due.clone(), loose: loose.clone() };
            self.settle(&mut next);
            next
        });
        worlds.collect()
    }

    /// The worlds behind a restart. What has no answer may have happened in the daemon that is gone, and what it left be there now.
    fn restarted(&self, world: &World, restart: &Event, ready: u64, at: u64) -> Vec<World> {
        let keeps = |world: &World| {
            let is_kept = world.state.value.is_some_and(|value| value.persistent);
            let may_keep = |op| matches!(op, Op::Keep { .. } | Op::Persist { .. });
            is_kept || world.loose.iter().any(|&loose| may_keep(self.events[loose].op))
        };
        let (mut before, mut open) = (Seen::default(), vec![world.clone()]);
        while let Some(world) = open.pop() {
            if before.add(&world) && keeps(&world) {
                open.extend(world.loose.iter().flat_map(|&loose| self.place(&world, loose, at)));
            }
        }
        let worlds = before.into_worlds().into_iter().flat_map(|World { state, due, mut loose }| {
            // What only the daemon that is gone can have got never happens any more.
            loose.retain(|&other| matches!(self.events[other].end, End::Lost { at } if at >= ready));
            state.after(restart, at).into_iter().map(move |state| {
                let mut next = World { state, due: due.clone(), loose: loose.clone() };
                self.settle(&mut next);
                next
            })
        });
        worlds.collect()
    }

    /// Reads that tell what the entry is now may have their place now: it hinders nothing that is to come.
    fn settle(&self, world: &mut World) {
        let State { value: now, .. } = world.state;
        world.due.retain(|&index| {
            let event = &self.events[index];
            let End::Answered { answer, .. } = event.end else { return true };
            let told = match (answer, now) {
                (Answer::Found { value, version }, Some(now)) => {
                    now.number == value && now.version == Some(version) && now.is_there(event.earliest())
                }
                (Answer::Missing, None) => true,
                _ => false,
            };
            !(told && event.op.is_read())
        });
    }

    fn violation(&self, index: usize, worlds: &[World]) -> Violation {
        const SHOWN: usize = 24;
        let wrong = self.events[index];
        let end = |event: &Event| match event.end {
            End::Answered { at, .. } | End::Lost { at } => at,
        };
        let mut before: Vec<Event> =
            self.events.iter().filter(|event| event.begun <= end(&wrong)).copied().collect();
        before.sort_by_key(end);
        let first = before.len().saturating_sub(SHOWN);
        let states = worlds.iter().take(SHOWN).map(|world| world.state).collect();
        Violation { wrong, before: before.split_off(first), states }
    }
}

impl State {
    /// What an entry is before all that is done to it.
    pub(crate) const NOTHING: State = State { value: None, version: 0 };

    /// What the entry may be behind this operation, if its answer is right here. It happens before the time `at`.
    pub(crate) fn after(self, event: &Event, at: u64) -> Vec<State> {
        let answer = match event.end {
            End::Answered { answer, .. } => Some(answer),
            End::Lost { .. } => None,
        };
        let found = self.found(event.earliest(), at);
        match event.op {
            Op::Get | Op::GetWithin { .. } | Op::Ask => {
                found.filter_map(|state| state.read(answer)).collect()
            }
            Op::Delete => found.filter_map(|state| state.read(answer)?.with(None)).collect(),
            Op::Set { value } => self.written(value, None, false, answer).into_iter().collect(),
            Op::Keep { value } => self.written(value, None, true, answer).into_iter().collect(),
            Op::Persist { persist } => found.filter_map(|state| state.persisted(persist, answer)).collect(),
            Op::SetFor { value, ttl } => {
                let latest = match event.end {
                    End::Answered { at, .. } => at.saturating_add(ttl),
                    End::Lost { .. } => u64::MAX,
                };
                let expires = Some((event.begun.saturating_add(ttl), latest));
                self.written(value, expires, false, answer).into_iter().collect()
            }
            Op::SetIf { value, version } => {
                let set = |state: State| state.written(value, None, false, answer);
                found.filter_map(|state| state.if_version(version, answer, set)).collect()
            }
            Op::DeleteIf { version } => {
                let delete = |state: State| state.read(answer)?.with(None);
                found.filter_map(|state| state.if_version(version, answer, delete)).collect()
            }
            Op::Incr { by } => found.filter_map(|state| state.counted(by, answer)).collect(),
            Op::Restart => found
                .map(|state| State { value: state.value.filter(|value| value.persistent), ..state })
                .collect(),
        }
    }

    /// What an operation that begins and happens between these times may find: the value, or that it has expired.
    fn found(self, begun: u64, at: u64) -> impl Iterator<Item = State> {
        let there = self.value.is_none_or(|value| value.is_there(begun)).then_some(self);
        let expired = self.value.and_then(|value| value.expires).is_some_and(|(first, _)| first <= at);
        there.into_iter().chain(expired.then_some(State { value: None, ..self }))
    }

    /// If this is the right answer to a read.
    fn read(self, answer: Option<Answer>) -> Option<State> {
        match answer {
            None => Some(self),
            Some(Answer::Missing) => self.value.is_none().then_some(self),
            Some(Answer::Found { value, version }) => self.known_as(version).filter(|state| {
                // The version is there only where a value is.
                state.value.is_some_and(|found| found.number == value)
            }),
            Some(_) => None,
        }
    }

    /// If the value that is there can have this version: with the version known from now on.
    fn known_as(self, version: u64) -> Option<State> {
        let value = self.value?;
        match value.version {
            Some(known) => (known == version).then_some(self),
            None => (version > self.version)
                .then_some(State { value: Some(Value { version: Some(version), ..value }), version }),
        }
    }

    fn written(
        self,
        number: i64,
        expires: Option<(u64, u64)>,
        persistent: bool,
        answer: Option<Answer>,
    ) -> Option<State> {
        let version = match answer {
            None => None,
            Some(Answer::Written { version }) if version > self.version => Some(version),
            Some(_) => return None,
        };
        let version_of_entry = version.unwrap_or(self.version);
        Some(State { value: Some(Value { number, version, persistent, expires }), version: version_of_entry })
    }

    /// What `done` makes of it, if it can have the version that is wanted, and else the same.
    fn if_version(
        self,
        wanted: u64,
        answer: Option<Answer>,
        done: impl FnOnce(State) -> Option<State>,
    ) -> Option<State> {
        let fits = match self.value {
            None => (wanted == 0).then_some(self),
            Some(_) => self.known_as(wanted),
        };
        match (fits, answer) {
            // A version that nobody was told of may be any other one as well.
            (Some(_), Some(Answer::Conflict)) => self.value?.version.is_none().then_some(self),
            (Some(state), _) => done(state),
            (None, Some(Answer::Conflict)) => Some(self),
            (None, _) => None,
        }
    }

    fn counted(self, by: i64, answer: Option<Answer>) -> Option<State> {
        let before =
            self.value.unwrap_or(Value { number: 0, version: None, persistent: false, expires: None });
        let number = before.number.checked_add(by)?;
        match answer {
            None => {}
            Some(Answer::Counted { value }) if value == number => {}
            Some(_) => return None,
        }
        self.with(Some(Value { number, version: None, ..before }))
    }

    fn persisted(self, persistent: bool, answer: Option<Answer>) -> Option<State> {
        match answer {
            Some(Answer::Missing) => self.value.is_none().then_some(self),
            Some(Answer::Done) => self.with(Some(Value { persistent, ..self.value? })),
            Some(_) => None,
            None => self.with(self.value.map(|value| Value { persistent, ..value })),
        }
    }

    fn with(self, value: Option<Value>) -> Option<State> {
        Some(State { value, ..self })
    }
}

impl Value {
    /// Whether who begins at this time may find it.
    fn is_there(&self, begun: u64) -> bool {
        self.expires.is_none_or(|(_, last)| begun < last)
    }
}

enum Moment {
    Begin(usize),
    Answer(usize, u64),
}

/// Worlds, none of which can do all that another one can: by state and operations that are due, sets of loose operations none of which
/// is part of another.
#[derive(Default)]
struct Seen {
    worlds: HashMap<(State, Vec<usize>), Vec<Vec<usize>>>,
}

impl Seen {
    /// Whether the world can do something that none before can.
    fn add(&mut self, world: &World) -> bool {
        let others = self.worlds.entry((world.state, world.due.clone())).or_default();
        if others.iter().any(|other| contains_all(other, &world.loose)) {
            return false;
        }
        others.retain(|other| !contains_all(&world.loose, other));
        others.push(world.loose.clone());
        true
    }

    fn into_worlds(self) -> Vec<World> {
        let worlds = self.worlds.into_iter().flat_map(|((state, due), all)| {
            all.into_iter().map(move |loose| World { state, due: due.clone(), loose })
        });
        worlds.collect()
    }
}

/// Whether a sorted list has all of another one.
fn contains_all(list: &[usize], others: &[usize]) -> bool {
    let mut list = list.iter();
    others.iter().all(|other| list.any(|index| index == other))
}

fn insert(list: &mut Vec<usize>, index: usize) {
    if let Err(place) = list.binary_search(&index) {
        list.insert(place, index);
    }
}
