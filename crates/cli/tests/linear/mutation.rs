//! That the checker finds what is wrong where a store writes or is read in the wrong order, and nothing where it is not.
//!
//! This store is a small one whose daemon and clients are threads, but engine and board are the real ones, and the steps are those of a
//! daemon and of a client that remembers. Between two steps others are let in, so what can go wrong goes wrong every time, and
//! not where the machine happens to be slow.

use std::os::fd::AsFd as _;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Scope};

use andiron_store::{Codec, Effects, KeyRef, Now, Op as StoreOp, Put, Reply, Store as Engine, StoreStart};
use andiron_sys::board::{Board, BoardView, Slot};

use crate::checker::check;
use crate::history::{Answer, End, Event, Op, now};

const INCARNATION: [u8; 16] = *b"one of the store";

/// The order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// A write bumps, then publishes, then answers. A read takes value and stamp at once.
    Right,
    /// The write bumps when others can see its value already.
    BumpBehindPublish,
    /// The write bumps when it was answered already.
    BumpBehindAnswer,
    /// The read takes the stamp when others can write already.
    StampBehindValue,
}

#[test]
fn where_the_bump_comes_first_nothing_is_found() {
    for _ in 0..50 {
        check(&play(Order::Right)).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn where_the_bump_comes_behind_the_publish_a_value_is_found_that_was_read_behind_a_newer_one() {
    finds_an_old_value(Order::BumpBehindPublish, 0);
}

#[test]
fn where_the_bump_comes_behind_the_answer_a_stale_read_is_found() {
    finds_an_old_value(Order::BumpBehindAnswer, 0);
}

#[test]
fn where_the_stamp_comes_behind_the_value_a_value_is_found_that_is_taken_for_current_for_ever() {
    finds_an_old_value(Order::StampBehindValue, 1);
}

/// The first answer that is wrong is that of somebody who remembers this value.
fn finds_an_old_value(order: Order, old: i64) {
    let wrong = check(&play(order)).expect_err("nothing was found").wrong;
    let End::Answered { answer: Answer::Found { value, .. }, .. } = wrong.end else { panic!("{wrong}") };
    assert_eq!((wrong.op, value), (Op::Get, old));
}

/// Sets some values. Where a write may be overtaken, somebody asks and somebody remembers; where a read may be, somebody writes.
fn play(order: Order) -> Vec<Event> {
    let daemon = &Daemon::new(order);
    let [asks, remembers, comes] = &[Op::Ask, Op::Get, Op::Get].map(|op| Client::new(op, daemon));
    let alone = &|| {};
    daemon.write(0, alone, alone);
    for value in [1, 3, 5] {
        [asks, remembers].into_iter().for_each(|client| client.read(alone, alone));
        thread::scope(|scope| {
            daemon.write(value, alone, &|| {
                for client in [asks, remembers] {
                    let_in(scope, |waits| client.read(waits, alone));
                }
            });
        });
        comes.forget();
        thread::scope(|scope| {
            let write = || let_in(scope, move |waits| daemon.write(value + 1, waits, alone));
            comes.read(alone, &write);
        });
        [asks, remembers, comes].into_iter().for_each(|client| client.read(alone, alone));
    }
    daemon.history.lock().unwrap().clone()
}

/// Has a thread do this, until it has done it or waits for somebody.
fn let_in<'s>(scope: &'s Scope<'s, '_>, act: impl FnOnce(&dyn Fn()) + Send + 's) {
    let (teller, told) = channel();
    scope.spawn(move || act(&|| teller.send(()).unwrap()));
    let _ = told.recv(); // that it waits, or nothing, because it has ended
}

struct Daemon {
    order: Order,
    engine: Mutex<Engine>,
    board: Board,
    slot: Slot,
    history: Mutex<Vec<Event>>,
}

impl Daemon {
    fn new(order: Order) -> Daemon {
        Daemon {
            order,
            engine: Mutex::new(Engine::new(StoreStart { incarnation: INCARNATION, ..StoreStart::default() })),
            board: Board::new(INCARNATION).unwrap(),
            slot: Slot::of_hash(7),
            history: Mutex::default(),
        }
    }

    /// Sets the value. `waits` is called before it waits for others, `let_in` where it may be overtaken.
    fn write(&self, value: i64, waits: &dyn Fn(), let_in: &dyn Fn()) {
        let begun = now();
        let op = StoreOp::Set(Put::new(KeyRef::named("x"), Codec(2), value.to_string().into()));
        let mut bumps = Bumps { daemon: self, let_in };
        let mut engine = self.engine(waits);
        let reply = match self.order {
            Order::Right | Order::StampBehindValue => engine.apply(op, Now::default(), &mut bumps),
            Order::BumpBehindPublish | Order::BumpBehindAnswer => engine.apply(op, Now::default(), &mut ()),
        };
        drop(engine);
        let Ok(Reply::Set { version, .. }) = reply else { panic!("{reply:?}") };
        if self.order == Order::BumpBehindPublish {
            bumps.change(version);
        }
        self.note(Op::Set { value }, begun, Answer::Written { version });
        if self.order == Order::BumpBehindAnswer {
            bumps.change(version);
        }
    }

    fn engine(&self, waits: &dyn Fn()) -> MutexGuard<'_, Engine> {
        self.engine.try_lock().unwrap_or_else(|_| {
            waits();
            self.engine.lock().unwrap()
        })
    }

    fn note(&self, op: Op, begun: u64, answer: Answer) {
        let end = End::Answered { at: now(), answer };
        self.history.lock().unwrap().push(Event { by: (0, 0), key: 0, op, begun, end });
    }
}

/// The step of a write by which everybody learns of it.
struct Bumps<'d> {
    daemon: &'d Daemon,
    let_in: &'d dyn Fn(),
}

impl Bumps<'_> {
    /// What may overtake a write in the wrong order comes before the bump, and in the right one behind it.
    fn change(&self, version: u64) {
        let Daemon { order, board, slot, .. } = self.daemon;
        match order {
            Order::Right | Order::StampBehindValue => {
                board.bump(*slot, version);
                (self.let_in)();
            }
            Order::BumpBehindPublish | Order::BumpBehindAnswer => {
                (self.let_in)();
                board.bump(*slot, version);
            }
        }
    }
}

impl<V> Effects<V> for Bumps<'_> {
    fn change(&mut self, _key: KeyRef<'_>, version: u64) {
        Bumps::change(self, version);
    }
}

/// Reads always in the same way.
struct Client<'d> {
    op: Op,
    daemon: &'d Daemon,
    view: BoardView,
    /// What it remembers, with the stamp.
    known: Mutex<Option<(Answer, u64)>>,
}

impl<'d> Client<'d> {
    fn new(op: Op, daemon: &'d Daemon) -> Client<'d> {
        let passed = daemon.board.as_fd().try_clone_to_owned().unwrap();
        let view = BoardView::open(passed, INCARNATION).unwrap();
        Client { op, daemon, view, known: Mutex::default() }
    }

    fn forget(&self) {
        *self.known.lock().unwrap() = None;
    }

    /// As [`Daemon::write`].
    fn read(&self, waits: &dyn Fn(), let_in: &dyn Fn()) {
        let begun = now();
        let known = *self.known.lock().unwrap();
        let current = known.filter(|(_, stamp)| self.view.is_current(self.daemon.slot, *stamp));
        let (answer, stamp) = match current {
            Some(current) if self.op == Op::Get => current,
            _ => self.ask(waits, let_in),
        };
        *self.known.lock().unwrap() = Some((answer, stamp));
        self.daemon.note(self.op, begun, answer);
    }

    fn ask(&self, waits: &dyn Fn(), let_in: &dyn Fn()) -> (Answer, u64) {
        let mut engine = self.daemon.engine(waits);
        let get = StoreOp::Get { key: KeyRef::named("x"), known: None, hits: 0 };
        let reply = engine.apply(get, Now::default(), &mut ());
        let Ok(Reply::Found(entry)) = reply else { panic!("{reply:?}") };
        let value = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let locked = (self.daemon.order != Order::StampBehindValue).then_some(engine);
        let_in();
        let stamp = self.daemon.board.stamp(self.daemon.slot);
        drop(locked);
        (Answer::Found { value, version: entry.version }, stamp)
    }
}
