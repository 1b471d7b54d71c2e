//! Snapshots, backups and their restoring, by the program and by the library.

mod common;

use std::io::{Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use andiron::{Blob, Entry, ErrorKind, Put, Store, Stream};
use common::{Home, LONG, until};

const BIG: usize = 3 << 20;

fn persist(store: &Store, name: &str, value: &str) {
    store.set_with(Put::new(name, value).unwrap().persist()).unwrap();
}

/// Author, name, value, timestamp and whether it outlives the daemon, of all that is there.
fn all(store: &Store) -> Vec<(String, String, Vec<u8>, f64, bool)> {
    let listed: Vec<_> = store.list_all().collect::<Result<_, _>>().unwrap();
    let read = |author: &str, name: &str| -> Entry { store.author(author).entry(name).unwrap().unwrap() };
    listed
        .into_iter()
        .map(|row| {
            let bytes = read(&row.author, &row.name).bytes.to_vec();
            (row.author, row.name, bytes, row.timestamp, row.persistent)
        })
        .collect()
}

fn backup(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = store.backup(&mut bytes).unwrap();
    assert_eq!(count, bytes.len() as u64);
    bytes
}

#[test]
fn a_snapshot_brings_the_entries_of_its_author_back_as_they_were() {
    let home = Home::new();
    let mut daemon = home.serve();
    let store = home.hub().store().author("a");
    persist(&store, "kept", "one");
    store.set("plain", &"one").unwrap();
    store.set_bytes("big", vec![7; BIG], 3).unwrap();
    store.author("b").set("kept", &"b").unwrap();
    let before = all(&store);
    assert_eq!(store.save("first").unwrap(), 3);

    store.set("kept", &"two").unwrap();
    store.delete("big").unwrap();
    persist(&store, "later", "two");
    let version = store.set("plain", &"two").unwrap();
    let count = store.load("first").unwrap();
    assert_eq!(count, 3);
    let mut after = all(&store);
    let later = after.iter().position(|row| row.1 == "later").unwrap();
    after.remove(later);
    assert_eq!(after, before, "with their timestamps, and persistent if they were; what came since stays");
    assert!(store.entry("plain").unwrap().unwrap().version > version, "loading is a write");

    // It outlives the daemon, and so does what it brought back.
    daemon.kill();
    let _daemon = home.serve();
    let store = home.hub().store().author("a");
    let names: Vec<_> = all(&store).into_iter().map(|row| row.1).collect();
    assert_eq!(names, ["kept", "later"]);
    assert_eq!(store.get::<String>("kept").unwrap().unwrap(), "one");
    assert_eq!(store.load("first").unwrap(), 3);
    assert_eq!(store.entry("big").unwrap().unwrap().bytes.len(), BIG);
}

#[test]
fn snapshots_are_listed_replaced_and_deleted_at_the_shell() {
    let home = Home::new();
    let _daemon = home.serve();
    assert_eq!(home.run(&["snapshots"]).printed(), "");
    home.run(&["set", "x", "1"]).printed();
    for arguments in [["save", "../one"], ["save", "two"], ["save", "two"]] {
        home.run(&["snapshots", arguments[0], arguments[1]]).printed();
    }
    home.run(&["snapshots", "--author", "b", "save", "empty"]).printed();
    let table = home.run(&["snapshots"]);
    let names: Vec<_> = table.printed().lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(names, ["NAME", "empty", "../one", "two"]);
    let listed: serde_json::Value =
        serde_json::from_str(home.run(&["snapshots", "--author", "default", "--json"]).printed()).unwrap();
    assert_eq!(listed[0]["name"], "../one");
    assert_eq!((&listed[1]["entries"], &listed[1]["bytes"]), (&1.into(), &1.into()));
    home.run(&["set", "x", "2"]).printed();
    home.run(&["snapshots", "load", "two"]).printed();
    assert_eq!(home.run(&["get", "x"]).printed(), "1\n");
    home.run(&["snapshots", "delete", "two"]).printed();
    for gone in ["load", "delete"] {
        let ran = home.run(&["snapshots", gone, "two"]);
        assert!(ran.failed(3).contains("\"default\" has no snapshot \"two\""), "{ran:?}");
    }
}

#[test]
fn a_backup_is_made_while_writes_go_on_and_brings_everything_back() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    persist(&store, "x", "one");
    persist(&store.author("b"), "y", "one");
    store.set_with(Put::bytes("big", vec![7; BIG], 3).persist()).unwrap();
    store.set("plain", &"one").unwrap();
    store.save("s").unwrap();
    let file = home.folder.path().join("file");
    std::fs::write(&file, "is replaced").unwrap();
    let before = all(&store);

    // Somebody writes all the time.
    let (stop, stopped) = channel::<()>();
    let writer = std::thread::spawn({
        let store = home.hub().store().author("writer");
        move || {
            let mut count = 0;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                count += 1;
                persist(&store, "n", &count.to_string());
            }
            count
        }
    });
    home.run(&["backup", file.to_str().unwrap()]).printed();
    drop(stop);
    assert!(writer.join().unwrap() > 0);

    store.clear_all().unwrap();
    store.delete_snapshot("s").unwrap();
    persist(&store, "since", "two");
    store.set("volatile", &"two").unwrap();
    home.run(&["restore", file.to_str().unwrap()]).printed();
    let mut after = all(&store);
    let volatile =
        after.iter().position(|row| row.1 == "volatile").expect("it was never persistent and stays");
    after.remove(volatile);
    after.retain(|row| row.0 != "writer");
    let expected: Vec<_> = before.into_iter().filter(|row| row.4).collect();
    assert!(after == expected, "{after:?}");
    assert_eq!(store.snapshots().unwrap().len(), 1);
    let left = std::fs::read_dir(home.folder.path().join("state/andiron/andiron/transfer")).unwrap().count();
    assert_eq!(left, 0, "nothing is left of what travelled");
}

#[test]
fn what_was_restored_is_there_after_a_kill() {
    let home = Home::new();
    let mut daemon = home.serve();
    let store = home.hub().store();
    persist(&store, "x", "one");
    store.save("s").unwrap();
    let bytes = backup(&store);
    store.set("x", &"two").unwrap();
    assert_eq!(store.restore(Cursor::new(bytes)).unwrap(), 1);
    let version = store.entry("x").unwrap().unwrap().version;
    daemon.kill();
    let _daemon = home.serve();
    let store = home.hub().store();
    let entry = store.entry("x").unwrap().unwrap();
    assert_eq!((entry.value::<String>().unwrap().as_str(), entry.version), ("one", version));
    assert_eq!(store.snapshots().unwrap().len(), 1);
}

#[test]
fn a_file_that_is_no_whole_backup_changes_nothing() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    persist(&store, "x", "one");
    store.set_with(Put::bytes("big", vec![7; BIG], 3).persist()).unwrap();
    let whole = backup(&store);
    persist(&store, "x", "two");
    let before = all(&store);
    let file = home.folder.path().join("file");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let store_file = std::fs::read(home.folder.path().join("state/andiron/andiron/store.sqlite")).unwrap();
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    for (what, bytes, told) in [
        ("nothing", &[][..], "is no backup"),
        ("text", b"not a backup at all", "is no backup"),
        ("a store", &store_file, "is no backup"),
        ("of a later format", &newer, "format 99"),
        ("cut in its header", &whole[..50], "is no backup"),
        ("cut", &whole[..whole.len() / 3], "damaged or cut off"),
        ("cut by one page", &whole[..whole.len() - 4096], "damaged or cut off"),
        ("flipped", &flipped, "damaged or cut off"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let ran = home.run(&["restore", file.to_str().unwrap()]);
        let line = ran.failed(1);
        assert!(line.contains(told) && line.contains("nothing was changed"), "{what}: {line}");
        assert!(all(&store) == before, "{what}");
    }
    let missing = home.run(&["restore", "/no/where"]);
    assert!(missing.failed(1).contains("cannot read /no/where"), "{missing:?}");
    assert_eq!(store.restore(Cursor::new(whole)).unwrap(), 2);
}

/// Gives what it was told, and says when more is asked for.
struct Slow {
    asked: Sender<()>,
    pieces: Receiver<Vec<u8>>,
    rest: Vec<u8>,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            let _ = self.asked.send(());
            self.rest = self.pieces.recv().unwrap_or_default();
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}

#[test]
fn two_restores_at_once_are_one_too_many_and_one_that_breaks_off_is_none() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    persist(&store, "x", "one");
    let whole = backup(&store);
    persist(&store, "x", "two");
    let (asked, is_asked) = channel();
    let (pieces, come) = channel();
    let slow = Slow { asked, pieces: come, rest: Vec::new() };
    let first = std::thread::spawn({
        let store = home.hub().store();
        move || store.restore(slow)
    });
    is_asked.recv_timeout(LONG).unwrap();
    let second = store.restore(Cursor::new(whole.clone())).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Conflict, "{second}");
    assert_eq!(store.get::<String>("x").unwrap().unwrap(), "two", "others go on meanwhile");
    pieces.send(whole.clone()).unwrap();
    drop(pieces);
    assert_eq!(first.join().unwrap().unwrap(), 1);
    assert_eq!(store.get::<String>("x").unwrap().unwrap(), "one");

    /// Breaks off in the middle.
    struct Broken(Cursor<Vec<u8>>);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("the cable was pulled")),
                length => Ok(length),
            }
        }
    }
    persist(&store, "x", "three");
    let error = store.restore(Broken(Cursor::new(whole.clone()))).unwrap_err();
    assert!(error.message().contains("the cable was pulled"), "{error}");
    assert_eq!(store.get::<String>("x").unwrap().unwrap(), "three");
    assert_eq!(store.restore(Cursor::new(whole)).unwrap(), 1, "and the next one is not refused");
}

#[test]
fn a_daemon_that_keeps_nothing_says_so() {
    let home = Home::new();
    let _daemon = home.serve_with(&["--no-state"]);
    let file = home.folder.path().join("file");
    let file = file.to_str().unwrap();
    for arguments in [
        &["set", "x", "1", "--persist"][..],
        &["persist", "x"],
        &["snapshots"],
        &["snapshots", "save", "s"],
        &["backup", file],
    ] {
        let ran = home.run(arguments);
        assert!(ran.failed(1).contains("this daemon keeps nothing beyond its life"), "{ran:?}");
    }
    assert!(!std::path::Path::new(file).exists());
}

#[test]
fn backups_come_one_after_the_other_and_four_at_a_time() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    persist(&store, "x", "one");
    for _ in 0..20 {
        backup(&store);
    }
    // Whoever takes nothing of what is too much to be on the way keeps a place.
    store.set_with(Put::bytes("big", vec![7; 16 << 20], 3).persist()).unwrap();
    let hub = home.hub();
    let object: andiron::Proxy = hub.object("store").unwrap();
    let started: Vec<Stream<Blob>> = (0..4).map(|_| object.call("backup", &()).unwrap()).collect();
    let error = store.backup(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    drop(started);
    until("a place", || store.backup(&mut Vec::new()).ok());
}

#[test]
fn a_backup_goes_where_it_is_told_to() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    persist(&store, "x", "one");
    let (file, link) = (home.folder.path().join("file"), home.folder.path().join("link"));
    std::fs::write(&file, "is replaced").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    home.run(&["backup", link.to_str().unwrap()]).printed();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let whole = std::fs::read(&file).unwrap();
    assert!(whole.starts_with(b"SQLite"));
    // What is no file is written to and stays what it is.
    for path in ["-", "/dev/stdout"] {
        let ran = home.run(&["backup", path]);
        assert_eq!((ran.code, ran.out.len(), &*ran.err), (Some(0), whole.len(), ""), "{path}");
    }
    assert!(!std::path::Path::new("-").exists());
    assert!(std::fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
    persist(&store, "x", "two");
    assert_eq!(home.run_with(&["restore", "-"], &whole).code, Some(0));
    assert_eq!(store.get::<String>("x").unwrap().unwrap(), "one");
}

#[test]
fn snapshots_have_the_limits_of_entries_once_more() {
    let home = Home::new();
    let _daemon = home.serve_with(&["--max-author-bytes", "10K", "--max-bytes", "15K"]);
    let store = home.hub().store();
    let (one, other) = (store.author("one"), store.author("other"));
    for author in [&one, &other] {
        author.set_bytes("x", vec![7; 4096], 3).unwrap();
    }
    one.save("a").unwrap();
    one.save("b").unwrap();
    one.save("b").unwrap(); // in place of itself
    let error = one.save("c").unwrap_err();
    assert!(error.kind() == ErrorKind::Quota && error.message().contains("the author \"one\""), "{error}");
    other.save("a").unwrap();
    let error = other.save("b").unwrap_err();
    assert!(error.kind() == ErrorKind::Quota && error.message().contains("all may have 15360"), "{error}");
    one.delete_snapshot("a").unwrap();
    other.save("b").unwrap();
}
