//! The store as clients of a daemon use it: time, conditions, counters, and what is told of them.

use std::time::Duration;

use andiron::{Change, ErrorKind, Hub, Proxy, Put, Running, Stats, Value};
use andiron_daemon::{Daemon, Options, StoreLimits};

fn serving(limits: StoreLimits) -> (tempfile::TempDir, Running, Hub) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let options = Options { store: limits, ..Options::default() };
    let running = Daemon::bind_with(&address, options).unwrap().start().unwrap();
    let hub = Hub::connect(&address).unwrap();
    (folder, running, hub)
}

fn put(name: &str, value: i64) -> Put {
    Put::new(name, &value).unwrap()
}

/// Name, and the number that is there now.
fn told(change: andiron::Result<Change>) -> (String, Option<i64>) {
    let change = change.unwrap();
    (change.name, change.entry.map(|entry| entry.value().unwrap()))
}

#[test]
fn what_expires_is_gone_and_told_though_nobody_asks_for_it() {
    let (_folder, _running, hub) = serving(StoreLimits::default());
    let store = hub.store();
    let changes = store.watch_with("*", false, false).unwrap();
    // Both times begin in the same moment.
    let puts = [("later", 60), ("sooner", 20)].map(|(name, ms)| put(name, 1).ttl(Duration::from_millis(ms)));
    store.set_many(puts).unwrap();
    // Whoever reads late is told only that they are gone.
    let gone = changes.map(|change| change.unwrap()).filter(|change| change.entry.is_none()).take(2);
    let gone: std::collections::BTreeMap<u64, String> = gone.map(|gone| (gone.version, gone.name)).collect();
    assert!(gone.values().eq(["sooner", "later"]), "{gone:?}");
    assert_eq!(store.stats().unwrap().entries, 0);
    assert_eq!(store.get::<i64>("later").unwrap(), None);
}

#[test]
fn very_many_entries_that_expire_at_once_are_all_told() {
    let (_folder, _running, hub) = serving(StoreLimits::default());
    let store = hub.store();
    let ttl = Duration::from_millis(50);
    let changes = store.watch_with("*", false, false).unwrap();
    store.set_many((0..2000).map(|number| put(&number.to_string(), number).ttl(ttl))).unwrap();
    let gone = changes.map(told).filter(|(_, value)| value.is_none()).take(2000);
    let names: std::collections::BTreeSet<String> = gone.map(|(name, _)| name).collect();
    assert_eq!((names.len(), store.stats().unwrap().entries), (2000, 0));
}

#[test]
fn a_time_that_was_taken_back_does_not_come() {
    let (_folder, _running, hub) = serving(StoreLimits::default());
    let store = hub.store();
    store.set_with(put("kept", 1).ttl(Duration::from_millis(20))).unwrap();
    store.set("kept", &2).unwrap();
    let mut changes = store.watch_with("*", false, false).unwrap().map(told);
    store.set_with(put("other", 1).ttl(Duration::from_millis(40))).unwrap();
    let gone = changes.find(|(_, value)| value.is_none());
    assert_eq!(gone, Some(("other".to_owned(), None)));
    assert_eq!(store.get("kept").unwrap(), Some(2));
}

#[test]
fn several_are_set_at_once_or_none_and_watchers_hear_of_each() {
    let (_folder, _running, hub) = serving(StoreLimits { max_entries: 3, ..StoreLimits::default() });
    let store = hub.store();
    let mut changes = store.watch_with("*", true, false).unwrap();
    let version = store.set_many([put("a", 1), put("b", 2), put("c", 3).author("other")]).unwrap();
    for (name, author) in [("a", "default"), ("b", "default"), ("c", "other")] {
        let change = changes.next().unwrap().unwrap();
        assert_eq!((&*change.name, &*change.author, change.version), (name, author, version));
    }
    let error = store.set_many([put("a", 9), put("b", 9).if_version(1)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = store.set_many([put("a", 9), put("d", 9)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
    let error = store.set_many([put("a", 9), put("a", 9)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
    assert_eq!(store.get("a").unwrap(), Some(1));
    assert_eq!(store.set_many([]).unwrap(), version, "of no values the version of the last write");
    store.set("b", &5).unwrap();
    assert_eq!(
        told(changes.next().unwrap()),
        ("b".to_owned(), Some(5)),
        "of what was refused nothing is told"
    );
}

#[test]
fn of_many_who_raise_a_number_each_is_counted() {
    let (_folder, running, hub) = serving(StoreLimits::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let store = running.connect().unwrap().store();
            scope.spawn(move || (0..500).for_each(|_| assert!(store.incr("hits", 1).unwrap() > 0)));
        }
        // The same by hand, which is what conditions are for.
        for _ in 0..2 {
            let store = running.connect().unwrap().store();
            scope.spawn(move || {
                for _ in 0..100 {
                    loop {
                        let entry = store.entry("by hand").unwrap();
                        let (value, version) =
                            entry.map_or((0, 0), |entry| (entry.value().unwrap(), entry.version));
                        match store.set_with(put("by hand", value + 1).if_version(version)) {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(hub.store().incr("hits", 0).unwrap(), 2000);
    assert_eq!(hub.store().get("by hand").unwrap(), Some(200));
}

#[test]
fn what_cannot_be_done_is_told_in_words() {
    let (_folder, _running, hub) = serving(StoreLimits::default());
    let store = hub.store();
    let version = store.set("text", "no number").unwrap();
    let error = store.incr("text", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encoding, "{error}");
    store.incr("most", i64::MAX).unwrap();
    let error = store.incr("most", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
    let error = store.delete_if_version("text", version - 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.message().contains(&format!("has version {version} now")), "{error}");
    assert_eq!(store.delete_if_version("text", version).unwrap().unwrap().version, version);
    let error = store.delete_if_version("text", version).unwrap_err();
    assert!(error.message().contains("not there any more"), "{error}");

    let object: Proxy = hub.object("store").unwrap();
    let bytes = Value::Bytes(vec![1]);
    let error = object.call::<Value>("set", &("x", bytes, 3, (), 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
    assert!(error.message().contains("give a ttl above 0"), "{error}");
}

#[test]
fn the_answers_are_those_of_the_protocol() {
    let (_folder, _running, hub) = serving(StoreLimits::default());
    let store: Proxy = hub.object("store").unwrap();
    let get = |known: u64| store.call::<(u8, u64, Option<u32>, u64)>("get", &("x", known));
    // Where it stands on the board is the same in each answer, and the stamp that of the last write there.
    let missing = get(0).unwrap();
    let slot = missing.2;
    assert_eq!((missing.0, missing.1, slot.is_some(), missing.3), (0, 0, true, 0));
    let hour = 3_600_000_000_u64;
    let entry = ("x", Value::Bytes(vec![7]), 3, (), hour);
    let (version, timestamp): (u64, f64) = store.call("set_many", &([entry],)).unwrap();

    type Found = (u8, u64, Option<u32>, u64, u64, f64, u8, Value);
    let found: Found = store.call("get", &("x", 0, (), 41)).unwrap();
    let left = found.4;
    assert!(0 < left && left <= hour, "{left}");
    assert_eq!(found, (1, version, slot, version, left, timestamp, 3, Value::Bytes(vec![7])));
    let again: (u8, u64, Option<u32>, u64, u64) = store.call("get", &("x", version)).unwrap();
    assert!(again.4 <= left);
    assert_eq!(again, (2, version, slot, version, again.4));
    let deleted: Found = store.call("delete", &("x", (), version)).unwrap();
    assert_eq!((deleted.0, deleted.1), (1, version));
    let counted: (u64, f64, i64) = store.call("incr", &("n",)).unwrap();
    assert_eq!((counted.0, counted.2), (version + 2, 1));
    let (entries, _bytes, authors, hits, questions, evicted): (u64, u64, u64, u64, u64, u64) =
        store.call("stats", &()).unwrap();
    assert_eq!((entries, authors, hits, questions, evicted), (1, 1, 41, 3, 0));
    let Stats { entries, questions, .. } = hub.store().stats().unwrap();
    assert_eq!((entries, questions), (1, 3));
}

#[test]
fn an_author_with_very_many_entries_is_cleared_and_told_of() {
    let (_folder, _running, hub) = serving(StoreLimits::default());
    let (one, other) = (hub.store().author("one"), hub.store().author("other"));
    for page in 0..10 {
        one.set_many((0..1000).map(|number| put(&format!("{page}-{number}"), number))).unwrap();
    }
    other.set("x", &1).unwrap();
    let changes = one.watch_with("*", false, false).unwrap();
    assert_eq!(one.clear().unwrap(), 10_000);
    assert!(changes.map(told).take(10_000).all(|(_, value)| value.is_none()));
    assert_eq!((other.get("x").unwrap(), hub.store().stats().unwrap().entries), (Some(1), 1));
}
