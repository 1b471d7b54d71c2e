//! Watching from where an earlier watch ended.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{io, thread};

use andiron::{Change, Connector, ErrorKind, Hub, Proxy, Put, Running, Store, Watch};
use andiron_daemon::{Daemon, Options};

/// How many changes a daemon remembers.
const KEPT: i64 = 65_536;

struct Site {
    folder: tempfile::TempDir,
    running: Option<Running>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let running = Some(Site::serve(folder.path()));
        Site { folder, running }
    }

    fn serve(folder: &Path) -> Running {
        let options = Options { state: Some(folder.join("state")), ..Options::default() };
        Daemon::bind_with(&format!("unix:{}/s", folder.display()), options).unwrap().start().unwrap()
    }

    fn store(&self) -> Store {
        Hub::connect(&format!("unix:{}/s", self.folder.path().display())).unwrap().store()
    }
}

fn put(name: &str, value: i64) -> Put {
    Put::new(name, &value).unwrap()
}

/// Name, and the number that is there now.
type Told = (String, Option<i64>);

fn told(change: &Change) -> Told {
    (change.name.clone(), change.entry.as_ref().map(|entry| entry.value().unwrap()))
}

fn set(name: &str, value: i64) -> Told {
    (name.to_owned(), Some(value))
}

fn removed(name: &str) -> Told {
    (name.to_owned(), None)
}

/// The next changes.
fn next(changes: &mut Watch, count: usize) -> Vec<Change> {
    changes.take(count).map(Result::unwrap).collect()
}

/// All that a watch tells before an entry that is set now, with a name of its pattern.
fn all(store: &Store, mut changes: Watch, end: &str) -> Vec<Change> {
    let version = store.set(end, &-1).unwrap();
    let told = changes.by_ref().map(Result::unwrap).take_while(|change| change.version != version);
    told.collect()
}

/// Lets the history begin. Gives the version from which on everything is known.
fn begun(store: &Store) -> u64 {
    drop(store.watch("*").unwrap());
    store.set("begun", &0).unwrap()
}

#[track_caller]
fn unknown(outcome: andiron::Result<Watch>) {
    let error = outcome.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("begin anew"), "{error}");
}

#[test]
fn who_resumes_is_told_once_what_changed_meanwhile_and_what_was_removed() {
    let site = Site::new();
    let store = site.store();
    store.set_many(["a", "b", "c"].map(|name| put(name, 1))).unwrap();
    store.set_many((0..1000).map(|number| put(&format!("other {number}"), number))).unwrap();
    let mut changes = store.watch("?").unwrap();
    let there = next(&mut changes, 3);
    assert!(there.iter().map(told).eq(["a", "b", "c"].map(|name| set(name, 1))));
    // Only with the last of what is there all of it is told.
    assert_eq!((there[0].resume_from, there[1].resume_from), (None, None));
    let resume = there[2].resume_from.unwrap();
    drop(changes);
    store.set("d", &4).unwrap();
    store.delete("a").unwrap();
    store.set("b", &2).unwrap();
    store.set("other", &0).unwrap();
    store.set("b", &3).unwrap();
    let changes = all(&store, store.watch_since("?", false, resume).unwrap(), "z");
    let expected = [set("d", 4), removed("a"), set("b", 3)];
    assert_eq!(changes.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(changes.iter().map(|change| change.skipped).collect::<Vec<_>>(), [0, 0, 1]);
    // And from where each of these is told, what comes behind it.
    for (from, change) in changes.iter().enumerate() {
        let rest = all(&store, store.watch_since("?", false, change.resume_from.unwrap()).unwrap(), "y");
        let rest: Vec<Told> = rest.iter().map(told).filter(|(name, _)| name != "z" && name != "y").collect();
        assert_eq!(rest, expected[from + 1..]);
    }
}

#[test]
fn among_many_that_are_there_only_the_last_tells_from_where_to_resume() {
    let site = Site::new();
    let store = site.store();
    store.set_many((0..1000).map(|number| put(&number.to_string(), number))).unwrap();
    for pattern in ["*", "1*", "99?", "?"] {
        let mut changes = store.watch(pattern).unwrap();
        store.set("9", &9).unwrap(); // which they may tell already, or not yet
        let told = changes.by_ref().map(Result::unwrap).take_while(|change| change.resume_from.is_none());
        let count = told.count() + 1;
        let expected = match pattern {
            "*" => 1000,
            "1*" => 111,
            _ => 10,
        };
        assert_eq!(count, expected, "{pattern}");
    }
}

#[test]
fn nothing_is_missed_where_a_later_change_was_told_before_an_earlier_one() {
    let site = Site::new();
    let store = site.store();
    let begun = begun(&store);
    store.set("a", &1).unwrap();
    store.set("b", &2).unwrap();
    let latest = store.set("a", &3).unwrap();
    let mut changes = store.watch_since("*", false, begun).unwrap();
    let first = next(&mut changes, 1).remove(0);
    assert_eq!((told(&first), first.version), (set("a", 3), latest));
    drop(changes);
    let mut changes = store.watch_since("*", false, first.resume_from.unwrap()).unwrap();
    assert_eq!(told(&next(&mut changes, 1)[0]), set("b", 2));
    // With the last of several under one version, all of that is told.
    let mut changes = store.watch_since("*", false, latest).unwrap();
    let many = store.set_many([put("c", 1), put("d", 2)]).unwrap();
    let both = next(&mut changes, 2);
    let resume: Vec<Option<u64>> = both.iter().map(|change| change.resume_from).collect();
    assert_eq!(resume, [Some(many - 1), Some(many)]);
}

#[test]
fn what_expired_and_what_was_cleared_is_told_to_who_resumes() {
    let site = Site::new();
    let (store, other) = (site.store(), site.store().author("other"));
    let mut changes = store.watch("*").unwrap();
    let version = store.set("kept", &1).unwrap();
    store.set_with(put("brief", 1).ttl(Duration::from_millis(20))).unwrap();
    other.set("x", &1).unwrap();
    assert!(changes.any(|change| told(&change.unwrap()) == removed("brief")));
    store.clear().unwrap();
    let changes = all(&store, store.watch_since("*", true, version).unwrap(), "end");
    let changes: Vec<Told> = changes.iter().map(told).collect();
    assert_eq!(changes, [removed("brief"), set("x", 1), removed("kept")]);
}

#[test]
fn who_resumes_hears_of_the_names_and_the_author_that_it_watches() {
    let site = Site::new();
    let (store, other) = (site.store(), site.store().author("other"));
    let begun = begun(&store);
    for store in [&store, &other] {
        store.set_many([put("room 1", 1), put("hall", 2)]).unwrap();
        store.delete("room 1").unwrap();
    }
    let names = |store: &Store, all_authors| {
        let changes = all(store, store.watch_since("room *", all_authors, begun).unwrap(), "room end");
        let names = changes.into_iter().filter(|change| change.entry.is_none());
        names.map(|change| format!("{} {}", change.author, change.name)).collect::<Vec<_>>()
    };
    assert_eq!(names(&store, false), ["default room 1"]);
    assert_eq!(names(&other, false), ["other room 1"]);
    assert_eq!(names(&store, true), ["default room 1", "other room 1"]);
}

#[test]
fn from_a_version_of_before_the_first_watch_or_of_another_daemon_nobody_resumes() {
    let mut site = Site::new();
    let store = site.store();
    store.set_with(put("persistent", 1).persist()).unwrap();
    let before = store.set("x", &1).unwrap();
    let first = store.set("x", &2).unwrap();
    drop(store.watch("*").unwrap());
    unknown(store.watch_since("*", false, before));
    unknown(store.watch_since("*", false, 0));
    let changes = all(&store, store.watch_since("*", false, first).unwrap(), "end");
    assert_eq!(changes, []);
    let last = store.set("x", &3).unwrap();
    unknown(store.watch_since("*", false, last + 1));
    site.running.take().unwrap().stop();
    site.running = Some(Site::serve(site.folder.path()));
    let store = site.store();
    unknown(store.watch_since("*", false, last));
    let started = store.set("x", &1).unwrap();
    unknown(store.watch_since("*", false, last));
    assert!(store.watch_since("*", false, started).is_ok());
}

#[test]
fn the_latest_65536_changes_are_known_and_no_more() {
    let site = Site::new();
    let store = site.store();
    let begun = begun(&store);
    let many = |from: i64| (from..from + KEPT / 16).map(|number| put(&number.to_string(), number));
    let versions: Vec<u64> = (0..16).map(|page| store.set_many(many(page * KEPT / 16)).unwrap()).collect();
    let changes = next(&mut store.watch_since("*", false, begun).unwrap(), KEPT as usize);
    assert!(changes.iter().map(told).eq((0..KEPT).map(|number| set(&number.to_string(), number))));
    store.set("one more", &1).unwrap();
    unknown(store.watch_since("*", false, begun));
    let rest = all(&store, store.watch_since("*", false, versions[0]).unwrap(), "end");
    assert_eq!(rest.len() as i64, KEPT - KEPT / 16 + 1);
    // Of the first page something is gone already.
    unknown(store.watch_since("*", false, versions[0] - 1));
}

#[test]
fn of_changes_with_long_names_fewer_are_known() {
    let site = Site::new();
    let store = site.store();
    let begun = begun(&store);
    let length = 60_000;
    let fit = (16 << 20) / (length + "default".len());
    let versions: Vec<u64> =
        (0..fit + 10).map(|number| store.set(&format!("{number:0>length$}"), &1).unwrap()).collect();
    unknown(store.watch_since("*", false, begun));
    unknown(store.watch_since("*", false, versions[8]));
    let changes = all(&store, store.watch_since("*", false, versions[9]).unwrap(), "end");
    assert_eq!(changes.len(), fit);
}

#[test]
fn a_watcher_who_does_not_read_long_names_ends_as_overloaded() {
    let site = Site::new();
    let store = site.store();
    let changes = site.store().watch("*").unwrap();
    for number in 0..1000 {
        store.set(&format!("{number:0>60000}"), &1).unwrap();
    }
    let error = changes.take(1000).find_map(Result::err).expect("it was told all");
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
}

#[test]
fn who_was_too_slow_resumes_from_what_was_told_last() {
    let site = Site::new();
    let store = site.store();
    let changes = site.store().watch("*").unwrap();
    let many = KEPT + 4096;
    for page in 0..many / 1024 {
        let numbers = page * 1024..(page + 1) * 1024;
        store.set_many(numbers.map(|number| put(&number.to_string(), number))).unwrap();
    }
    let (mut seen, mut resume) = (0, None);
    for change in changes {
        match change {
            Ok(change) => {
                assert_eq!(told(&change), set(&seen.to_string(), seen));
                (seen, resume) = (seen + 1, change.resume_from);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}"),
        }
    }
    assert!(seen < many, "it read all in time");
    let rest = all(&store, store.watch_since("*", false, resume.unwrap()).unwrap(), "end");
    // What it was told of a set_many of which it was not told all comes once more.
    let first = seen / 1024 * 1024;
    assert!(rest.iter().map(told).eq((first..many).map(|number| set(&number.to_string(), number))));
}

#[test]
fn what_is_there_and_what_changed_cannot_both_be_the_beginning() {
    let site = Site::new();
    let version = begun(&site.store());
    let address = format!("unix:{}/s", site.folder.path().display());
    let object: Proxy = Hub::connect(&address).unwrap().object("store").unwrap();
    let error = object.call::<()>("watch", &("*", "default", true, version)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
}

/// A copy of what a store has, by what watches tell.
fn apply(copy: &mut BTreeMap<String, i64>, change: &Change) {
    match told(change) {
        (name, Some(value)) => copy.insert(name, value),
        (name, None) => copy.remove(&name),
    };
}

#[test]
fn a_copy_that_is_kept_by_many_watches_one_after_the_other_is_the_same_in_the_end() {
    let site = Site::new();
    let store = site.store();
    let mut resume = begun(&store);
    let mut copy = BTreeMap::from([("begun".to_owned(), 0)]);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let store = site.store();
                scope.spawn(move || {
                    for number in 0..3000 {
                        let name = format!("{}", (number * (7 + writer) + number / 5) % 23);
                        match number % 3 {
                            0 => drop(store.delete(&name).unwrap()),
                            // The disk learns of it first, while others write.
                            1 if number % 5 == 0 => {
                                drop(store.set_with(put(&name, number).persist()).unwrap())
                            }
                            _ => drop(store.set(&name, &(number * 2 + writer)).unwrap()),
                        }
                    }
                })
            })
            .collect();
        let mut length = 0;
        while writers.iter().any(|writer| !writer.is_finished()) {
            let mut changes = store.watch_since("*", false, resume).unwrap();
            store.set("turn", &1).unwrap(); // so that there is one
            length = length % 40 + 1;
            for change in next(&mut changes, length.min(1 + length / 2)) {
                apply(&mut copy, &change);
                resume = change.resume_from.unwrap();
                store.set("turn", &2).unwrap();
            }
        }
    });
    for change in all(&store, store.watch_since("*", false, resume).unwrap(), "end") {
        apply(&mut copy, &change);
    }
    let entries: Vec<String> = store.list().map(|entry| entry.unwrap().name).collect();
    let there = entries.into_iter().filter(|name| name != "end");
    let there: BTreeMap<String, i64> =
        there.map(|name| (name.clone(), store.get(&name).unwrap().unwrap())).collect();
    assert_eq!(copy, there);
}

/// A way to a daemon that can be cut.
struct Wire {
    path: PathBuf,
    ends: Arc<Mutex<Vec<UnixStream>>>,
}

impl Wire {
    fn to(site: &Site) -> Wire {
        let (path, server) = (site.folder.path().join("wire"), site.folder.path().join("s"));
        let listener = UnixListener::bind(&path).unwrap();
        let ends: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
        let open = ends.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut open = open.lock().unwrap();
                let Ok(server) = UnixStream::connect(&server) else { break };
                let client = client.unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                open.push(client);
            }
        });
        Wire { path, ends }
    }

    /// A client by it that connects again.
    fn store(&self) -> Store {
        let connector = Connector::new(&format!("unix:{}", self.path.display()));
        connector.retry(Duration::from_secs(60)).connect().unwrap().store()
    }

    /// Loses all connections. There is no other until what this gives is dropped.
    fn cut(&self) -> MutexGuard<'_, Vec<UnixStream>> {
        let mut ends = self.ends.lock().unwrap();
        ends.drain(..).for_each(|end| end.shutdown(Shutdown::Both).unwrap());
        ends
    }
}

#[test]
fn a_watch_that_retries_tells_what_was_removed_while_the_connection_was_lost() {
    let site = Site::new();
    let (wire, store) = (Wire::to(&site), site.store());
    store.set_many([put("a", 1), put("b", 2)]).unwrap();
    let mut changes = wire.store().watch("*").unwrap();
    next(&mut changes, 2);
    let lost = wire.cut();
    store.delete("a").unwrap();
    store.set("c", &3).unwrap();
    drop(lost);
    let mut told_next = |count| next(&mut changes, count).iter().map(told).collect::<Vec<_>>();
    assert_eq!(told_next(2), [removed("a"), set("c", 3)]);
    store.set("d", &4).unwrap();
    assert_eq!(told_next(1), [set("d", 4)]);
    let version = store.set("a", &5).unwrap();
    assert_eq!(told_next(1), [set("a", 5)]);
    // One that resumed itself does so again, though it was told nothing yet.
    let mut changes = wire.store().watch_since("*", false, version).unwrap();
    let lost = wire.cut();
    store.delete("b").unwrap();
    drop(lost);
    assert_eq!(told(&next(&mut changes, 1)[0]), removed("b"));
}

#[test]
fn a_watch_that_retries_begins_anew_where_too_much_changed_meanwhile() {
    let site = Site::new();
    let (wire, store) = (Wire::to(&site), site.store());
    store.set_many([put("a", 1), put("b", 2), put("c", 3)]).unwrap();
    let mut changes = wire.store().watch("?").unwrap();
    next(&mut changes, 3);
    let lost = wire.cut();
    store.delete("a").unwrap();
    for page in 0..=16 {
        store.set_many((0..4096).map(|number| put(&format!("{page} {number}"), number))).unwrap();
    }
    drop(lost);
    let there = next(&mut changes, 2);
    assert_eq!(there.iter().map(told).collect::<Vec<_>>(), [set("b", 2), set("c", 3)]);
    // From then on it resumes again.
    let lost = wire.cut();
    store.delete("b").unwrap();
    drop(lost);
    assert_eq!(told(&next(&mut changes, 1)[0]), removed("b"));
}
