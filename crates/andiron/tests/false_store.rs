//! A server whose store and board say anything: a client that believes none of it, falls back to asking, and tells what is wrong.

mod common;
#[path = "common/memory.rs"]
#[allow(unreachable_pub)]
mod memory;

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andiron::{ErrorKind, Hosting, PassedDescriptor, Result, Value};
use andiron_sys::board::{Board, STAMPS, Slot};
use common::{Site, in_time};
use memory::{FROZEN, memory, refused_ones};
use rustix::fs::SealFlags;

const INCARNATION: [u8; 16] = [7; 16];
/// The seals of a board.
const KEPT: SealFlags = SealFlags::FUTURE_WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);
/// Its length.
const LENGTH: usize = 4096 + 8 * STAMPS as usize;

/// What it answers is what the test says.
struct FalseStore {
    board: Mutex<Box<dyn FnMut() -> Value + Send>>,
    descriptor: Option<Arc<OwnedFd>>,
    answer: Arc<Mutex<Vec<Value>>>,
    questions: Arc<AtomicU64>,
}

#[andiron::expose]
impl FalseStore {
    fn board(&self) -> Result<BoardAnswer> {
        match &self.descriptor {
            Some(descriptor) => Ok(BoardAnswer::Descriptor(PassedDescriptor(descriptor.clone()))),
            None => Ok(BoardAnswer::Value((self.board.lock().unwrap())())),
        }
    }

    fn get(&self, _name: &str, _known: u64, _author: &str, _hits: Option<u64>) -> Value {
        self.questions.fetch_add(1, Ordering::SeqCst);
        Value::Array(self.answer.lock().unwrap().clone())
    }

    fn entries(&self, _author: &str, _values: bool) -> Value {
        Value::Array(self.answer.lock().unwrap().clone())
    }

    fn delete_first(&self, _author: &str) -> Value {
        Value::Array(self.answer.lock().unwrap().clone())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum BoardAnswer {
    Descriptor(PassedDescriptor),
    Value(Value),
}

struct Stage {
    site: Site,
    answer: Arc<Mutex<Vec<Value>>>,
    questions: Arc<AtomicU64>,
}

impl Stage {
    fn with(descriptor: Option<OwnedFd>, board: impl FnMut() -> Value + Send + 'static) -> Stage {
        let (answer, questions) = (Arc::default(), Arc::default());
        let store = FalseStore {
            board: Mutex::new(Box::new(board)),
            descriptor: descriptor.map(Arc::new),
            answer: Arc::clone(&answer),
            questions: Arc::clone(&questions),
        };
        let hosting = Hosting { store: Some(INCARNATION), ..Hosting::default() };
        let site = Site::hosted(hosting, |server| server.object("store", store));
        Stage { site, answer, questions }
    }

    /// With a board that is as it should be, whose owner is this test.
    fn with_board() -> (Board, Stage) {
        let board = Board::new(INCARNATION).unwrap();
        let stage = Stage::with(Some(board.as_fd().try_clone_to_owned().unwrap()), || Value::Nil);
        (board, stage)
    }

    fn answers(&self, answer: Vec<Value>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn questions(&self) -> u64 {
        self.questions.load(Ordering::SeqCst)
    }
}

/// An answer with a value.
fn found(version: u64, slot: impl Into<Value>, stamp: u64, ttl: u64, value: &[u8]) -> Vec<Value> {
    let number = |number: u64| Value::from(number);
    let timestamp = Value::from(1.5);
    let (codec, value) = (number(3), Value::Bytes(value.to_vec()));
    vec![number(1), number(version), slot.into(), number(stamp), number(ttl), timestamp, codec, value]
}

/// The bytes of a board, with the first 32 as they are given.
fn board_bytes(header: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    bytes[..header.len()].copy_from_slice(header);
    bytes[64] = 1; // an owner
    bytes
}

fn header(layout: u32, stamps: u32, incarnation: [u8; 16]) -> Vec<u8> {
    let mut header = b"\xadBOARD\r\n".to_vec();
    header.extend(layout.to_le_bytes());
    header.extend(stamps.to_le_bytes());
    header.extend(incarnation);
    header
}

#[test]
fn a_question_takes_no_longer_than_it_may() {
    let stage = Stage::with(None, || Value::Nil);
    let hub = stage.site.hub();
    let stands_still = stage.answer.lock().unwrap();
    let store = hub.store().with_timeout(Duration::from_millis(20));
    assert_eq!(store.get::<u64>("x").unwrap_err().kind(), ErrorKind::Deadline);
    assert_eq!(store.delete_first().unwrap_err().kind(), ErrorKind::Deadline);
    drop(stands_still);
    stage.answers(vec![]);
    // Those of others are not limited by that.
    assert_eq!(hub.store().delete_first().unwrap_err().kind(), ErrorKind::Encoding);
}

#[test]
fn a_board_that_is_none_is_not_used_and_every_read_asks() {
    let right = header(1, STAMPS, INCARNATION);
    let sealed = |bytes: &[u8]| memory(bytes, bytes.len() as u64, KEPT);
    let whole = |header: &[u8]| sealed(&board_bytes(header));
    let mut boards: Vec<(String, OwnedFd)> = vec![
        ("another layout".into(), whole(&header(2, STAMPS, INCARNATION))),
        ("layout 0".into(), whole(&header(0, STAMPS, INCARNATION))),
        ("fewer stamps".into(), whole(&header(1, STAMPS - 1, INCARNATION))),
        ("more stamps".into(), whole(&header(1, STAMPS * 2, INCARNATION))),
        ("no stamps".into(), whole(&header(1, 0, INCARNATION))),
        ("another incarnation".into(), whole(&header(1, STAMPS, [8; 16]))),
        ("another beginning".into(), whole(b"\xadBOARD\n\n")),
        ("zeros".into(), whole(&[])),
        ("unsealed".into(), memory(&board_bytes(&right), LENGTH as u64, SealFlags::empty())),
        ("it can be cut short".into(), memory(&board_bytes(&right), LENGTH as u64, KEPT - SealFlags::SHRINK)),
        (
            "others can write".into(),
            memory(&board_bytes(&right), LENGTH as u64, KEPT - SealFlags::FUTURE_WRITE),
        ),
        ("mostly not there".into(), memory(&board_bytes(&right)[..8192], LENGTH as u64, KEPT)),
        ("nothing".into(), sealed(&[])),
    ];
    for cut in [1, 31, 32, 64, 68, 4096, LENGTH - 4096, LENGTH - 8, LENGTH - 1] {
        boards.push((format!("cut at {cut}"), sealed(&board_bytes(&right)[..cut])));
    }
    for (what, forged, _) in refused_ones() {
        let descriptor = Arc::try_unwrap(forged.descriptor).unwrap();
        boards.push((what.into(), descriptor));
    }
    for (what, descriptor) in boards {
        let stage = Stage::with(Some(descriptor), || Value::Nil);
        asks_every_time(&stage, &what);
    }
}

/// Reads by name and by cell, and gets what the store says each time.
#[track_caller]
fn asks_every_time(stage: &Stage, what: &str) {
    let store = stage.site.hub().store();
    let mut cell = store.cell("x");
    for version in 1..4u8 {
        stage.answers(found(version.into(), 5u64, 0, 0, &[version]));
        let entry = store.entry("x").unwrap_or_else(|error| panic!("{what}: {error}")).unwrap();
        assert_eq!((entry.bytes[0], entry.cached), (version, false), "{what}");
        let held = cell.entry().unwrap().unwrap();
        assert_eq!(held.bytes[0], version, "{what}");
    }
    assert_eq!(stage.questions(), 6, "{what}");
}

#[test]
fn a_board_that_is_no_descriptor_is_none() {
    let anything = [
        Value::Nil,
        Value::from(5u64),
        Value::Str("board".into()),
        Value::Bytes(vec![1; LENGTH]),
        Value::Array(vec![Value::Nil; 3]),
        Value::Bool(true),
    ];
    for board in anything {
        let what = format!("{board:?}").chars().take(40).collect::<String>();
        let stage = Stage::with(None, move || board.clone());
        asks_every_time(&stage, &what);
    }
}

#[test]
fn a_board_that_is_as_it_should_be_is_used() {
    let (board, stage) = Stage::with_board();
    stage.answers(found(1, 5u64, 0, 0, b"old"));
    let store = stage.site.hub().store();
    let mut cell = store.cell("x");
    for _ in 0..3 {
        assert!(store.entry("x").unwrap().unwrap().bytes == b"old" && cell.entry().unwrap().is_some());
    }
    assert_eq!(stage.questions(), 2);
    stage.answers(found(2, 5u64, 9, 0, b"new"));
    board.bump(Slot::new(5).unwrap(), 9);
    assert!(store.entry("x").unwrap().unwrap().bytes == b"new");
    assert!(cell.entry().unwrap().unwrap().bytes == b"new");
    board.close();
    stage.answers(found(3, 5u64, 9, 0, b"newer"));
    assert!(store.entry("x").unwrap().unwrap().bytes == b"newer");
    assert!(cell.entry().unwrap().unwrap().bytes == b"newer");
}

#[test]
fn slots_and_stamps_of_all_kinds_lead_to_a_question_or_an_error_and_never_to_something_old() {
    let (board, stage) = Stage::with_board();
    board.bump(Slot::new(1).unwrap(), 77);
    let numbers = [0, 1, 2, 76, 78, u64::from(STAMPS), u64::from(u32::MAX), 1 << 32, u64::MAX];
    for slot in numbers.into_iter().map(Value::from).chain([
        Value::Nil,
        Value::from(-1i64),
        Value::Str("x".into()),
        Value::from(1.0),
        Value::Array(vec![]),
    ]) {
        for stamp in numbers {
            let store = stage.site.hub().store();
            let mut cell = store.cell("x");
            let what = format!("slot {slot:?}, stamp {stamp}");
            let ask = |version: u64| {
                stage.answers(found(version, slot.clone(), stamp, 0, &[version as u8]));
            };
            ask(1);
            let first = store.entry("x").map(|entry| entry.unwrap().bytes[0]);
            let held = cell.entry().map(|entry| entry.unwrap().bytes[0]);
            ask(2);
            let second = store.entry("x").map(|entry| entry.unwrap().bytes[0]);
            let held_then = cell.entry().map(|entry| entry.unwrap().bytes[0]);
            match &slot {
                Value::Nil | Value::Int(_) if first.is_ok() => {
                    // It may say that the first is current only where the board itself does.
                    let index = u32::try_from(as_u64(&slot)).ok().and_then(Slot::new);
                    let current = index.is_some_and(|index| board.stamp(index) == stamp);
                    let second_is = if current { 1 } else { 2 };
                    assert_eq!((first.unwrap(), second.unwrap()), (1, second_is), "{what}");
                    assert_eq!((held.unwrap(), held_then.unwrap()), (1, second_is), "{what}");
                }
                _ => {
                    for error in [first.unwrap_err(), second.unwrap_err(), held.unwrap_err()] {
                        assert_eq!(error.kind(), ErrorKind::Encoding, "{what}: {error}");
                    }
                    assert!(held_then.is_err(), "{what}");
                }
            }
        }
    }
}

fn as_u64(value: &Value) -> u64 {
    match value {
        Value::Int(number) => u64::try_from(*number).unwrap_or(u64::MAX),
        _ => u64::MAX,
    }
}

#[test]
fn not_modified_to_who_knows_nothing_is_an_error_that_says_so() {
    for board in [true, false] {
        let (_board, stage) = match board {
            true => Stage::with_board(),
            false => (Board::new([0; 16]).unwrap(), Stage::with(None, || Value::Nil)),
        };
        let numbers = |numbers: &[u64]| numbers.iter().map(|&number| Value::from(number)).collect();
        stage.answers(numbers(&[2, 5, 5, 0, 0]));
        let store = stage.site.hub().store();
        for error in [store.entry("x").unwrap_err(), store.cell("x").get::<i64>().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            assert!(error.to_string().contains("was not asked about"), "{error}");
        }
        // That there is none cannot be "not modified" either.
        stage.answers(numbers(&[0, 0, STAMPS.into(), 0]));
        assert_eq!(store.entry("x").unwrap(), None);
        stage.answers(numbers(&[2, 5, 5, 0, 0]));
        assert_eq!(store.entry("x").unwrap_err().kind(), ErrorKind::Protocol);
        stage.answers(found(1, 5u64, 0, 0, b"on"));
        assert!(store.entry("x").unwrap().unwrap().bytes == b"on");
    }
}

#[test]
fn not_modified_of_another_version_than_was_asked_about_is_an_error() {
    let stage = Stage::with(None, || Value::Nil);
    let store = stage.site.hub().store();
    stage.answers(found(8, Value::Nil, 0, 0, b"x"));
    assert_eq!(store.entry("x").unwrap().unwrap().version, 8);
    stage.answers([2u64, 9, 0, 0, 0].map(Value::from).to_vec());
    assert_eq!(store.entry("x").unwrap_err().kind(), ErrorKind::Protocol);
}

#[test]
fn answers_that_are_none_are_told_and_the_connection_goes_on() {
    let (_board, stage) = Stage::with_board();
    let store = stage.site.hub().store();
    let value = Value::Bytes(b"x".to_vec());
    let broken: Vec<Vec<Value>> = vec![
        vec![],
        vec![Value::from(1u64)],
        vec![Value::from(1u64), Value::from(1u64)],
        vec![value; 8],
        vec![Value::Nil; 4],
        vec![Value::from(-1i64); 8],
        vec![Value::from(u64::MAX); 8],
    ];
    for answer in broken {
        let what = format!("{answer:?}");
        stage.answers(answer);
        let error = store.entry("x").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Encoding | ErrorKind::Protocol), "{what}: {error}");
    }
    // A state that is not known yet, and a value that is announced and is not there.
    for state in [3u64, 255] {
        let mut answer = found(1, Value::Nil, 0, 0, b"x");
        answer[0] = state.into();
        stage.answers(answer);
        let error = store.entry("x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encoding, "{state}: {error}");
    }
    stage.answers(found(1, Value::Nil, 0, 0, b"x")[..5].to_vec());
    let error = store.entry("x").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Encoding | ErrorKind::Protocol), "{error}");
    stage.answers(found(1, Value::Nil, 0, 0, b"on"));
    assert!(store.entry("x").unwrap().unwrap().bytes == b"on");
}

#[test]
fn times_to_live_without_end_and_without_length_are_taken_as_they_are() {
    for (ttl, stays) in [(u64::MAX, true), (u64::MAX / 2, true), (1, false)] {
        let (_board, stage) = Stage::with_board();
        let store = stage.site.hub().store();
        let lax = store.max_staleness(Duration::MAX);
        stage.answers(found(1, 5u64, 0, ttl, b"x"));
        for store in [&store, &lax] {
            store.entry("x").unwrap();
        }
        let before = stage.questions();
        for store in [&store, &lax] {
            // Each question takes longer than a microsecond.
            let entry = store.entry("x").unwrap().unwrap();
            assert_eq!(entry.cached, stays, "{ttl}");
        }
        assert_eq!(stage.questions() - before, if stays { 0 } else { 2 }, "{ttl}");
    }
}

#[test]
fn a_value_of_another_length_than_announced_is_an_error_of_that_read() {
    struct Short(Arc<AtomicU64>);

    #[andiron::expose]
    impl Short {
        fn get(
            &self,
            _name: &str,
            _known: u64,
            _author: &str,
            _hits: Option<u64>,
        ) -> (u8, u64, (), u64, u64, f64, u8, memory::Forged) {
            let length = self.0.load(Ordering::SeqCst);
            (1, 1, (), 0, 0, 1.5, 3, memory::Forged::new(memory(&[7; 8192], 8192, FROZEN), length))
        }
    }
    let length = Arc::new(AtomicU64::new(0));
    let hosting = Hosting { store: Some(INCARNATION), ..Hosting::default() };
    let store = Short(length.clone());
    let site = Site::hosted(hosting, |server| server.object("store", store));
    let store = site.hub().store();
    for announced in [8193, 1 << 40, u64::MAX] {
        length.store(announced, Ordering::SeqCst);
        let error = store.entry("x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encoding, "{error}");
        assert!(error.to_string().contains("were announced"), "{error}");
    }
    for announced in [0, 1, 4096, 8192] {
        length.store(announced, Ordering::SeqCst);
        assert_eq!(store.entry("x").unwrap().unwrap().bytes.len() as u64, announced);
    }
}

#[test]
fn a_store_that_is_silent_about_its_board_holds_up_nobody_beyond_the_time_given() {
    struct Silent;

    #[andiron::expose]
    impl Silent {
        fn board(&self) -> Result<()> {
            while !andiron::current().is_some_and(|call| call.is_cancelled()) {
                std::thread::yield_now();
            }
            Ok(())
        }
    }
    let hosting = Hosting { store: Some(INCARNATION), ..Hosting::default() };
    let site = Site::hosted(hosting, |server| server.object("store", Silent));
    let hub = site.hub();
    let waiting = {
        let store = hub.store();
        std::thread::spawn(move || store.entry("x").map(drop))
    };
    common::eventually("it has asked", || hub.names().is_ok());
    hub.close();
    assert!(in_time(move || waiting.join().unwrap()).is_err());
}

#[test]
fn listings_that_are_none_are_told_and_those_of_a_later_version_are_read() {
    let stage = Stage::with(None, || Value::Nil);
    let store = stage.site.hub().store();
    let text = |text: &str| Value::from(text);
    let row = |name: Value| {
        let head = [name, 5_u64.into(), 1.5.into(), true.into(), 0_u64.into()];
        let value = [3_u64.into(), Value::Bytes(b"v".to_vec()), text("of a later version")];
        Value::Array(head.into_iter().chain(value).collect())
    };
    let rows = |rows: Vec<Value>| Value::Array(rows);
    stage.answers(vec![rows(vec![row(text("a")), row(text("b"))]), Value::Nil, text("of a later version")]);
    let names: Vec<String> = store.names().unwrap().map(Result::unwrap).collect();
    assert_eq!(names, ["a", "b"]);
    let (name, entry) = store.entries().unwrap().next().unwrap().unwrap();
    assert_eq!((&*name, &entry.bytes[..], entry.codec, entry.version), ("a", &b"v"[..], 3, 5));
    for bad in [
        vec![],
        vec![Value::Nil, Value::Nil],
        vec![rows(vec![])],
        vec![rows(vec![row(Value::Nil)]), Value::Nil],
        vec![rows(vec![rows(vec![text("a")])]), Value::Nil],
        vec![rows(vec![]), text("no stream")],
    ] {
        stage.answers(bad.clone());
        assert_eq!(store.names().map(Iterator::count).unwrap_err().kind(), ErrorKind::Encoding, "{bad:?}");
    }

    let answer = found(5, Value::Nil, 0, 0, b"v");
    stage.answers(vec![text("a"), rows(answer.clone())]);
    assert_eq!(store.delete_first().unwrap().unwrap().0, "a");
    for bad in [vec![], vec![text("a")], vec![Value::Nil, rows(answer)], vec![text("a"), rows(vec![])]] {
        stage.answers(bad.clone());
        assert_eq!(store.delete_first().unwrap_err().kind(), ErrorKind::Encoding, "{bad:?}");
    }
}
