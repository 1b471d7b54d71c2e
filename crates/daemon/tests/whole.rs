//! What concerns all entries of an author, each time in one message, and writes that depend on what is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use andiron::{Entry, ErrorKind, Hub, Put, Running, Store, Value};
use andiron_daemon::{Daemon, Options};

/// Listings that may be under way at a time.
const MOST_LISTINGS: usize = 32;
/// More than go in one message, and in those that are sent before any is read.
const MANY: usize = 6000;

fn serving(folder: &Path, state: bool) -> (Running, Store) {
    let options = Options { state: state.then(|| folder.join("state")), ..Options::default() };
    let address = format!("unix:{}/s", folder.display());
    let running = Daemon::bind_with(&address, options).unwrap().start().unwrap();
    (running, Hub::connect(&address).unwrap().store())
}

fn put(name: &str, value: usize) -> Put {
    Put::new(name, &value).unwrap()
}

fn name(number: usize) -> String {
    format!("{number:05}")
}

fn numbers(entry: andiron::Result<(String, Entry)>) -> (String, usize) {
    let (name, entry) = entry.unwrap();
    (name, entry.value().unwrap())
}

#[test]
fn a_listing_is_as_it_was_at_one_moment_whatever_is_written_while_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, store) = serving(folder.path(), false);
    store.set_many((0..MANY).map(|number| put(&name(number), number))).unwrap();
    store.author("other").set("x", &1).unwrap();
    assert_eq!((store.count().unwrap(), store.author("nobody").count().unwrap()), (MANY as u64, 0));

    let mut entries = store.entries().unwrap().map(numbers);
    let mut names = store.names().unwrap().map(Result::unwrap);
    assert_eq!((entries.next(), names.next()), (Some((name(0), 0)), Some(name(0))));
    store.set_many((0..MANY).map(|number| put(&name(number), 0))).unwrap();
    store.set("00000a", &0).unwrap();
    store.clear().unwrap();
    assert!(entries.eq((1..MANY).map(|number| (name(number), number))));
    assert!(names.eq((1..MANY).map(name)));
    assert_eq!((store.count().unwrap(), store.entries().unwrap().count()), (0, 0));
}

#[test]
fn big_values_of_a_listing_go_by_reference_and_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, store) = serving(folder.path(), false);
    for number in 0..5_u8 {
        store.set_bytes(&name(number.into()), vec![number; 2 << 20], 3).unwrap();
    }
    let entries = store.entries().unwrap();
    store.clear().unwrap();
    let found: Vec<(String, Entry)> = entries.map(Result::unwrap).collect();
    assert_eq!(found.len(), 5);
    for (number, (found, entry)) in (0..).zip(&found) {
        assert_eq!((found, entry.codec, entry.bytes.len()), (&name(number.into()), 3, 2 << 20));
        assert!(entry.bytes.iter().all(|byte| *byte == number));
    }
}

#[test]
fn listings_that_are_not_read_are_no_more_than_so_many() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, store) = serving(folder.path(), false);
    store.set_many((0..MANY).map(|number| put(&name(number), number))).unwrap();
    let mut listings: Vec<_> = (0..MOST_LISTINGS).map(|_| store.names().unwrap()).collect();
    let refused = store.names().map(Iterator::count).unwrap_err();
    assert_eq!((refused.kind(), refused.is_temporary()), (ErrorKind::Overloaded, true), "{refused}");
    // What goes in one message needs no place.
    assert_eq!(store.author("other").names().unwrap().count(), 0);
    assert_eq!(listings.pop().unwrap().count(), MANY);
    assert_eq!(store.names().unwrap().count(), MANY);
}

#[test]
fn each_takes_another_first_entry_out() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, store) = serving(folder.path(), true);
    let persistent = |number: usize| number.is_multiple_of(3);
    let puts = (0..60).map(|number| match persistent(number) {
        true => put(&name(number), number).persist(),
        false => put(&name(number), number),
    });
    store.set_many(puts).unwrap();
    let takes = || {
        let mut taken = Vec::new();
        while let Some(entry) = store.delete_first().unwrap() {
            taken.push(numbers(Ok(entry)));
        }
        assert!(taken.is_sorted());
        taken
    };
    let taken: Vec<(String, usize)> = thread::scope(|scope| {
        let takers: Vec<_> = (0..3).map(|_| scope.spawn(takes)).collect();
        takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), 60);
    assert_eq!(
        taken.into_iter().collect::<BTreeSet<_>>(),
        (0..60).map(|number| (name(number), number)).collect()
    );
    assert_eq!(store.delete_first().unwrap(), None);
}

#[test]
fn what_was_taken_out_first_does_not_come_back_with_the_next_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let (running, store) = serving(folder.path(), true);
    store.set_many(["a", "b"].map(|name| put(name, 1).persist())).unwrap();
    assert_eq!(store.delete_first().unwrap().map(|(name, _)| name).as_deref(), Some("a"));
    drop(running);
    let (_running, store) = serving(folder.path(), true);
    assert!(store.names().unwrap().map(Result::unwrap).eq(["b"]));
}

#[test]
fn a_default_is_set_by_one_and_read_by_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, store) = serving(folder.path(), true);
    for round in 0..20 {
        let name = name(round);
        let default = |value| {
            let put = put(&name, value);
            let put = if round % 2 == 0 { put.persist() } else { put };
            store.set_default(put).unwrap().map(|entry| entry.value::<usize>().unwrap())
        };
        let found: Vec<Option<usize>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|value| scope.spawn(move || default(value))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let value: usize = store.get(&name).unwrap().unwrap();
        let set = |(index, found): (usize, &Option<usize>)| match found {
            None => index == value,
            Some(found) => *found == value,
        };
        assert!(found.iter().enumerate().all(set), "{found:?}, {value}");
        assert_eq!(found.iter().filter(|found| found.is_none()).count(), 1);
    }
}

#[test]
fn what_is_replaced_keeps_its_time_and_stays_persistent() {
    let folder = tempfile::tempdir().unwrap();
    let (running, store) = serving(folder.path(), true);
    store.set_with(put("kept", 1).persist()).unwrap();
    let version = store.set_with(put("short", 1).ttl(Duration::from_secs(3600))).unwrap();
    let replaced = store.replace(put("short", 2).if_version(version)).unwrap();
    assert!(replaced > version);
    store.replace(put("kept", 2)).unwrap();
    for refused in [put("short", 3).if_version(version), put("nothing", 3)] {
        assert_eq!(store.replace(refused).unwrap_err().kind(), ErrorKind::Conflict);
    }
    let hub = Hub::connect(&format!("unix:{}/s", folder.path().display())).unwrap();
    let answer: Vec<Value> = hub.call("store", "get", &("short", replaced)).unwrap();
    assert!(matches!(answer[4], Value::Int(1..=3_600_000_000)), "{answer:?}");
    drop(running);
    let (_running, store) = serving(folder.path(), true);
    assert_eq!((store.get("kept").unwrap(), store.count().unwrap()), (Some(2), 1));
}

#[test]
fn what_was_read_is_forgotten_by_who_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, store) = serving(folder.path(), false);
    store.set("x", &1).unwrap();
    let read = || store.get::<usize>("x").unwrap();
    assert_eq!((read(), read()), (Some(1), Some(1)));
    store.replace(put("x", 2)).unwrap();
    assert_eq!(read(), Some(2));
    store.delete_first().unwrap();
    assert_eq!(read(), None);
    store.set_default(put("x", 3)).unwrap();
    assert_eq!(read(), Some(3));
}
