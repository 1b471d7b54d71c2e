//! What things cost where there is much of them: memory and descriptors stay within bounds at both ends.

mod common;

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use andiron::{Hub, PassedDescriptor, Put, Store};
use andiron_sys::board::{BoardView, Slot};
use common::{Home, LONG, only_native, until};

const MIB: u64 = 1 << 20;

/// These tests run one by one: they look at what belongs to the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A figure of a process, in bytes; 0 where it has ended.
fn figure(id: impl std::fmt::Display, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map_or(0, |line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024)
}

fn open_of(id: impl std::fmt::Display) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

/// A run of the program, whose memory is looked at while it runs; it ends with the test at the latest.
struct Running(Child);

impl Running {
    fn start(home: &Home, arguments: &[&str]) -> Running {
        let mut command = home.andiron(arguments);
        Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// The most memory of its own that it was seen to have while it wrote this. What is mapped is shared with the daemon.
    fn peak_while_reading(&mut self, out: &mut ChildStdout, mut piece: impl FnMut(&[u8])) -> u64 {
        let (mut buffer, mut peak) = (vec![0; 1 << 16], 0);
        loop {
            // What it has not written yet it waits to write, so it is there.
            peak = peak.max(figure(self.0.id(), "RssAnon"));
            match out.read(&mut buffer).unwrap() {
                0 => return peak,
                count => piece(&buffer[..count]),
            }
        }
    }

    fn succeeds(&mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fill(store: &Store, entries: usize) {
    for first in (0..entries).step_by(1000) {
        let puts =
            (first..entries.min(first + 1000)).map(|number| Put::new(&format!("key:{number:07}"), &number));
        store.set_many(puts.map(Result::unwrap)).unwrap();
    }
}

#[test]
fn a_listing_of_many_entries_costs_its_reader_no_more_than_one_of_few() {
    let _alone = alone();
    let home = Home::new();
    let _daemon = home.serve();
    let (few, many) = (1000, 100_000);
    let hub = home.hub();
    fill(&hub.store().author("few"), few);
    fill(&hub.store().author("many"), many);
    for json in [&[][..], &["--json"]] {
        let [of_few, of_many] = [("few", few), ("many", many)].map(|(author, entries)| {
            let mut listing = Running::start(&home, &[&["ls", "--author", author], json].concat());
            let mut out = listing.0.stdout.take().unwrap();
            let mut found = 0;
            let peak = listing.peak_while_reading(&mut out, |piece| {
                found += piece.windows(4).filter(|text| text == b"key:").count();
            });
            listing.succeeds();
            // Some are cut where pieces end.
            assert!(found <= entries && found + entries / 100 + 10 >= entries, "{found} of {entries}");
            peak
        });
        let grown = of_many.saturating_sub(of_few);
        assert!(grown < 4 * MIB, "{json:?}: {of_few} bytes for few, {of_many} for many");
    }
}

#[test]
fn a_value_of_300_megabytes_is_set_and_printed_without_being_in_memory() {
    let _alone = alone();
    let home = Home::new();
    let daemon = home.serve();
    let length = 300 * MIB;
    let pattern: Vec<u8> = (0..MIB).map(|number| (number / 7) as u8).collect();

    let mut setting = Running::start(&home, &["set", "big", "-"]);
    let mut input = setting.0.stdin.take().unwrap();
    let mut peak = 0;
    for _ in 0..length / MIB {
        input.write_all(&pattern).unwrap();
        peak = peak.max(figure(setting.0.id(), "RssAnon"));
    }
    drop(input);
    while setting.0.try_wait().unwrap().is_none() {
        peak = peak.max(figure(setting.0.id(), "RssAnon"));
    }
    setting.succeeds();
    assert!(peak < 30 * MIB, "{peak} bytes to set it");

    let mut getting = Running::start(&home, &["get", "big", "--raw"]);
    let mut out = getting.0.stdout.take().unwrap();
    let mut read = 0u64;
    let peak = getting.peak_while_reading(&mut out, |piece| {
        let at = (read % MIB) as usize;
        let (before, behind) = piece.split_at(piece.len().min(pattern.len() - at));
        assert!(before == &pattern[at..at + before.len()] && *behind == pattern[..behind.len()]);
        read += piece.len() as u64;
    });
    getting.succeeds();
    assert_eq!(read, length);
    assert!(peak < 30 * MIB, "{peak} bytes to get it");
    assert!(figure(daemon.id(), "RssAnon") < 50 * MIB, "the daemon has it in memory of its own");
}

#[test]
fn bad_times_and_bad_counts_are_told() {
    let _alone = alone();
    let home = Home::new();
    let _daemon = home.serve();
    for ttl in ["", "0", "-1", "5 minutes", "m", "5x", "99999999999999999999d", "\u{0665}m", "NaN"] {
        let failed = home.run(&["set", "x", "20", &format!("--ttl={ttl}")]);
        assert!(failed.code == Some(2) && failed.err.contains("--ttl"), "{ttl:?}: {failed:?}");
        assert_eq!(home.run(&["get", "x"]).code, Some(3), "{ttl:?}");
    }
    for (number, value) in ["text", "1.5", "[1]", "null", "123456789012345678901234567890"].iter().enumerate()
    {
        let name = format!("n{number}");
        home.run(&["set", &name, value]).printed();
        let before = home.run(&["get", &name]).printed().to_owned();
        assert!(home.run(&["incr", &name]).failed(1).contains("number"), "{value}");
        assert_eq!(home.run(&["get", &name]).printed(), before);
    }
    home.run(&["set", "most", "9223372036854775807"]).printed();
    home.run(&["incr", "most"]).failed(1);
    assert_eq!(home.run(&["get", "most"]).printed(), "9223372036854775807\n");
    for by in ["x", "1.5", "9223372036854775808"] {
        assert_eq!(home.run(&["incr", "fresh", by]).code, Some(2), "{by}");
    }
    assert_eq!(home.run(&["get", "fresh"]).code, Some(3));
}

#[test]
fn ten_thousand_maps_of_a_board_cost_its_daemon_nothing_and_all_see_its_end() {
    if only_native("others may have no board") {
        return;
    }
    let _alone = alone();
    let home = Home::new();
    let mut daemon = home.serve();
    let hub = home.hub();
    let store = hub.store();
    store.set("x", &1).unwrap();
    let board: Option<PassedDescriptor> = hub.call("store", "board", &()).unwrap();
    let board = board.expect("a board on this machine").0;
    let incarnation = incarnation_of(&board);
    let (open, memory) = (open_of(daemon.id()), figure(daemon.id(), "RssAnon"));
    let here = (open_of("self"), figure("self", "RssAnon"));

    let write = |times: u64| {
        let begun = Instant::now();
        for number in 0..times {
            store.set("x", &number).unwrap();
        }
        begun.elapsed() / times as u32
    };
    let alone = write(300);
    let views: Vec<BoardView> =
        (0..10_000).map(|_| BoardView::open(board.try_clone().unwrap(), incarnation).unwrap()).collect();
    println!("a set takes {alone:?} with one map of the board, {:?} with 10,000", write(300));
    assert!(open_of("self") < here.0 + 100, "a map needs no descriptor");
    let grown = figure("self", "RssAnon").saturating_sub(here.1);
    assert!(grown < 16 * MIB, "{grown} bytes here");
    // One that was just passed may have been open still.
    assert!(open_of(daemon.id()) <= open);
    let grown = figure(daemon.id(), "RssAnon").saturating_sub(memory);
    assert!(grown < 8 * MIB, "{grown} bytes at the daemon");

    // Each sees each write, and the end.
    let slots = || (0..131_072).map(|index| Slot::new(index).unwrap());
    let stamps = |view: &BoardView| slots().map(|slot| view.stamp(slot)).max().unwrap();
    let version = store.set("x", &5).unwrap();
    let slot = slots().find(|slot| views[0].stamp(*slot) == version).unwrap();
    assert!(views.iter().all(|view| view.is_live() && view.is_current(slot, version)));
    assert_eq!(stamps(&views[9999]), version);
    daemon.kill();
    until("the end of the board", || (!views[0].is_live()).then_some(()));
    assert!(views.iter().all(|view| !view.is_live() && !view.is_current(slot, version)));
}

/// What stands in the header of a board.
fn incarnation_of(board: &std::os::fd::OwnedFd) -> [u8; 16] {
    use std::os::unix::fs::FileExt as _;
    let mut incarnation = [0; 16];
    std::fs::File::from(board.try_clone().unwrap()).read_exact_at(&mut incarnation, 16).unwrap();
    incarnation
}

#[test]
fn two_thousand_connections_that_read_once_cost_little_at_both_ends() {
    if only_native("without a board they would ask each time, and a connection costs other programs more") {
        return;
    }
    let _alone = alone();
    andiron_sys::limits::raise_descriptor_limit();
    let home = Home::new();
    let daemon = home.serve();
    let first = home.hub();
    first.store().set("x", &7).unwrap();
    let (open, memory) = (open_of(daemon.id()), figure(daemon.id(), "RssAnon"));
    let here = (open_of("self"), figure("self", "RssAnon"));
    let hubs: Vec<Hub> = (0..2000)
        .map(|_| {
            let hub = home.hub();
            assert_eq!(hub.store().get::<i64>("x").unwrap(), Some(7));
            hub
        })
        .collect();
    let each = |grown: u64| grown / hubs.len() as u64;
    let more = open_of("self") - here.0;
    assert!(more < 2100, "one each: {more}");
    // The board that was just passed may be open still.
    until("there is one each", || (open_of(daemon.id()) <= open + 2000).then_some(()));
    let there = each(figure(daemon.id(), "RssAnon").saturating_sub(memory));
    let here_each = each(figure("self", "RssAnon").saturating_sub(here.1));
    println!("a connection that read once takes {there} bytes at the daemon, {here_each} at the client");
    assert!(there < 32 << 10 && here_each < 64 << 10, "{there} bytes there, {here_each} here");
    // A write by one is seen by all, without asking until then.
    let questions = first.store().stats().unwrap().questions;
    assert!(hubs.iter().all(|hub| hub.store().get::<i64>("x").unwrap() == Some(7)));
    assert_eq!(first.store().stats().unwrap().questions, questions);
    first.store().set("x", &8).unwrap();
    assert!(hubs.iter().all(|hub| hub.store().get::<i64>("x").unwrap() == Some(8)));
    drop(hubs);
    until("all are gone", || (open_of(daemon.id()) <= open).then_some(()));
}

/// Each way to read an entry.
fn reads(store: &Store) -> Vec<Box<dyn FnMut() -> Option<i64> + Send>> {
    let (named, lax) = (store.clone(), store.max_staleness(Duration::from_secs(3600)));
    let (mut cell, mut lax_cell) = (store.cell("x"), lax.cell("x"));
    vec![
        Box::new(move || named.get("x").unwrap()),
        Box::new(move || lax.get("x").unwrap()),
        Box::new(move || cell.get().unwrap()),
        Box::new(move || lax_cell.get().unwrap()),
    ]
}

#[test]
fn what_expires_while_the_daemon_is_stopped_is_not_given_out_by_anybody() {
    if only_native("without a board nobody reads while it is stopped") {
        return;
    }
    let _alone = alone();
    let home = Home::new();
    let daemon = home.serve();
    let writer = home.hub().store();
    let ttl = Duration::from_millis(700);
    let mut readers: Vec<_> = (0..4).map(|_| reads(&home.hub().store())).collect();
    writer.set_with(Put::new("x", &1).unwrap().ttl(ttl)).unwrap();
    let set = Instant::now();
    let mut all: Vec<_> =
        readers.drain(..).enumerate().map(|(index, mut reads)| reads.swap_remove(index)).collect();
    let before: Vec<_> = all.iter_mut().map(|read| read()).collect();
    // Without this the machine was too slow for the question.
    let in_time = set.elapsed() < ttl;
    assert!(!in_time || before == [Some(1); 4], "{before:?}");
    daemon.signal("STOP");
    let kept: Vec<_> = all.iter_mut().map_while(|read| (set.elapsed() < ttl / 2).then(read)).collect();
    assert!(kept.iter().all(|kept| *kept == Some(1)), "what is kept is current as long as nobody can write");
    while set.elapsed() <= ttl {
        std::thread::sleep(ttl.saturating_sub(set.elapsed()) + Duration::from_millis(1));
    }
    // Now they have to ask, and are answered when the daemon goes on.
    let (answered, answers) = std::sync::mpsc::channel();
    for mut read in all {
        let answered = answered.clone();
        std::thread::spawn(move || answered.send(read()));
    }
    drop(answered);
    assert!(answers.recv_timeout(Duration::from_millis(100)).is_err(), "somebody gave out what expired");
    daemon.signal("CONT");
    let answers: Vec<_> = (0..4).map(|_| answers.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(answers, [None; 4]);
}
