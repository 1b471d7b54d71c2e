//! Watching the store: through the library, and `andiron watch`.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use andiron::{Change, Connector, ErrorKind, Hub};
use common::{Home, LONG, until};

/// A watch whose changes are taken by a thread, so that none of them can hang a test.
fn taken(changes: impl Iterator<Item = andiron::Result<Change>> + Send + 'static) -> mpsc::Receiver<Change> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || changes.map_while(Result::ok).all(|change| sender.send(change).is_ok()));
    receiver
}

fn next(changes: &mpsc::Receiver<Change>) -> (String, Option<i64>) {
    let change = changes.recv_timeout(LONG).expect("no change came");
    (change.name, change.entry.map(|entry| entry.value().unwrap()))
}

#[test]
fn a_watcher_sees_what_is_there_and_then_every_change_in_order() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    store.set("b", &1).unwrap();
    store.set("a", &2).unwrap();
    store.author("other").set("a", &99).unwrap();
    let changes = taken(home.hub().store().watch("*").unwrap());
    assert_eq!(next(&changes), ("a".into(), Some(2)));
    assert_eq!(next(&changes), ("b".into(), Some(1)));
    for number in 3..50 {
        store.set("a", &number).unwrap();
        assert_eq!(next(&changes), ("a".into(), Some(number)));
    }
    store.delete("b").unwrap();
    assert_eq!(next(&changes), ("b".into(), None));
    store.delete("b").unwrap(); // which is not there: no change
    store.set("c", &5).unwrap();
    assert_eq!(next(&changes), ("c".into(), Some(5)));
    store.clear().unwrap();
    assert_eq!([next(&changes), next(&changes)], [("a".into(), None), ("c".into(), None)]);
}

#[test]
fn watches_are_of_names_patterns_and_authors() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    let one = taken(home.hub().store().watch("room 1").unwrap());
    let rooms = taken(home.hub().store().watch("room ?").unwrap());
    let all = taken(home.hub().store().watch_with("*", true, false).unwrap());
    let other = taken(home.hub().store().author("other").watch("*").unwrap());
    store.set("room 2", &2).unwrap();
    store.set("hall", &3).unwrap();
    store.author("other").set("room 1", &4).unwrap();
    store.set("room 1", &1).unwrap();
    assert_eq!(next(&one), ("room 1".into(), Some(1)));
    assert_eq!([next(&rooms), next(&rooms)], [("room 2".into(), Some(2)), ("room 1".into(), Some(1))]);
    assert_eq!(next(&other), ("room 1".into(), Some(4)));
    let names: Vec<String> = (0..4).map(|_| next(&all).0).collect();
    assert_eq!(names, ["room 2", "hall", "room 1", "room 1"]);
}

#[test]
fn a_slow_reader_gets_the_latest_value_and_the_number_of_what_it_missed() {
    let home = Home::new();
    let daemon = home.serve();
    let store = home.hub().store();
    let mut changes = home.hub().store().watch("*").unwrap();
    let before = daemon.memory();
    // More than are ever on their way to a reader who does not read.
    for number in 0..20_000i64 {
        store.set("fast", &number).unwrap();
    }
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown}");
    store.set("last", &0).unwrap();
    let (mut told, mut skipped, mut latest) = (0, 0, -1);
    for change in &mut changes {
        let change = change.unwrap();
        if change.name == "last" {
            break;
        }
        told += 1;
        skipped += change.skipped;
        let number: i64 = change.entry.unwrap().value().unwrap();
        assert!(number > latest, "in order");
        latest = number;
    }
    assert_eq!(latest, 19_999);
    assert_eq!(told + skipped, 20_000);
    assert!(skipped > 10_000, "{skipped}");
}

#[test]
fn a_watcher_who_never_reads_ends_as_overloaded_and_holds_up_nobody() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    let mut changes = home.hub().store().watch("*").unwrap();
    for number in 0..70_000 {
        store.set(&format!("key {number}"), &number).unwrap();
    }
    let error = changes.find_map(Result::err).expect("it ended without a word");
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert!(changes.next().is_none());
}

#[test]
fn a_watch_goes_on_after_the_connection_was_lost() {
    let home = Home::new();
    let mut daemon = home.serve();
    let address = home.address("andiron");
    let hub = Connector::new(&address).retry(LONG).connect().unwrap();
    let changes = taken(hub.store().watch("*").unwrap());
    home.hub().store().set("x", &1).unwrap();
    assert_eq!(next(&changes), ("x".into(), Some(1)));
    daemon.kill();
    let _daemon = home.serve();
    let store = home.hub().store();
    store.set("y", &2).unwrap();
    assert_eq!(next(&changes), ("y".into(), Some(2)));
    store.set("z", &3).unwrap();
    assert_eq!(next(&changes), ("z".into(), Some(3)), "and `x` nobody can tell of");
}

#[test]
fn a_watcher_who_is_gone_costs_nothing() {
    let home = Home::new();
    let daemon = home.serve();
    for _ in 0..20 {
        let hub = home.hub();
        for _ in 0..50 {
            drop(hub.store().watch("*").unwrap());
        }
    }
    let store = Hub::connect(&home.address("andiron")).unwrap().store();
    let before = daemon.memory();
    for number in 0..20_000u64 {
        store.set(&format!("{}", number % 10), &number).unwrap();
    }
    assert!(daemon.memory() < before + (10 << 20));
}

#[test]
fn the_command_prints_a_line_for_each_change() {
    let home = Home::new();
    let mut daemon = home.serve();
    home.run(&["set", "x", "1"]).printed();
    let mut command = home.andiron(&["watch", "--present"]);
    let mut plain = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(plain.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "default x = 1");
    let mut json =
        home.andiron(&["watch", "y*", "--author", "demo", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut objects = BufReader::new(json.stdout.take().unwrap()).lines();
    // It says nothing when it begins: written until it has seen it.
    let (seen, first) = mpsc::channel();
    let reading = thread::spawn(move || {
        let line = objects.next().unwrap().unwrap();
        seen.send(line).unwrap();
        objects
    });
    let line = until("the first change", || {
        home.run(&["set", "yes", "{\"a\": [1, 2]}", "--author", "demo"]).printed();
        first.try_recv().ok()
    });
    assert!(line.starts_with("{\"author\":\"demo\",\"name\":\"yes\",\"version\":"), "{line}");
    assert!(line.ends_with(",\"value\":{\"a\":[1,2]}}"), "{line}");
    home.run(&["del", "x"]).printed();
    let removed = lines.by_ref().map(Result::unwrap).find(|line| !line.contains("yes"));
    assert_eq!(removed.as_deref(), Some("default x removed"));
    drop(reading.join().unwrap());
    // When the server goes it says so.
    daemon.terminate();
    let ended = plain.wait_with_output().unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{error}");
    assert!(error.starts_with("andiron: the daemon at 'andiron' is shutting down"), "{error}");
    assert_eq!(json.wait().unwrap().code(), Some(0), "nobody read it any more");
}

/// The first lines that `andiron watch` prints as objects.
fn objects(home: &Home, arguments: &[&str], count: usize) -> Vec<serde_json::Value> {
    let mut command = home.andiron(&[&["watch", "--json"], arguments].concat());
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines().take(count);
    let objects = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    objects
}

#[test]
fn the_command_resumes_from_what_it_told_last() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    store.set("a", &1).unwrap();
    store.set("b", &2).unwrap();
    let there = objects(&home, &["--present"], 2);
    assert!(there[0]["resume_from"].is_null(), "{there:?}");
    let resume = there[1]["resume_from"].to_string();
    store.delete("a").unwrap();
    store.author("other").set("b", &3).unwrap();
    let changes = objects(&home, &["--since", &resume], 2);
    assert_eq!((&changes[0]["name"], &changes[0]["value"]), (&"a".into(), &serde_json::Value::Null));
    assert_eq!((&changes[1]["author"], &changes[1]["value"]), (&"other".into(), &3.into()));
    let changes = objects(&home, &["--author", "other", "--since", &resume], 1);
    assert_eq!(changes[0]["value"], 3);
    let error = home.run(&["watch", "--since", "17"]);
    assert!(error.failed(1).contains("begin anew"), "{error:?}");
    assert_eq!(home.run(&["watch", "--since", &resume, "--present"]).code, Some(2));
}

#[test]
fn what_cannot_be_read_is_told_as_bytes_and_ends_no_watch() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    store.set_bytes("broken", b"\xc1", 1).unwrap();
    store.set_bytes("no json", b"{", 2).unwrap();
    store.set("sound", &1).unwrap();
    for arguments in [&["watch", "--present"][..], &["watch", "--present", "--json"]] {
        let mut watch = home.andiron(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines().take(3);
        let lines: Vec<String> = lines.map(Result::unwrap).collect();
        assert!(lines[0].contains("{\"$bytes\":\"wQ==\"}"), "{lines:?}");
        assert!(lines[1].contains("{\"$bytes\":\"ew==\"}") && lines[2].contains("sound"), "{lines:?}");
        assert_eq!(watch.wait().unwrap().code(), Some(0), "nobody read it any more");
    }
}

#[test]
fn no_change_is_told_twice() {
    let home = Home::new();
    let _daemon = home.serve();
    let writer = home.hub().store();
    for number in 0..100 {
        let mut changes = home.hub().store().watch("k*").unwrap();
        let name = format!("k{number}");
        // It comes as one that is there or as one that changed, as it happens.
        let version = writer.set(&name, &1).unwrap();
        writer.set("k", &number).unwrap();
        let told = changes.by_ref().map(Result::unwrap).take_while(|change| {
            change.name != "k" || change.entry.as_ref().unwrap().value::<i64>().unwrap() != number
        });
        let told = told.filter(|change| change.name == name).map(|change| change.version);
        let told: Vec<u64> = told.collect();
        assert!(told.len() <= 1 && told.iter().all(|told| *told == version), "{told:?}");
        writer.clear().unwrap();
    }
}
