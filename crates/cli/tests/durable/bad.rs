//! Files that are taken away, damaged, somebody else's or in use: it is told what is wrong and what to do, what can be read is served, and nothing is made worse.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use andiron::{ErrorKind, Put, Store};
use andiron_store::disk::{Change, Disk as _, Durability, Record, Sqlite};
use andiron_store::{Codec, KeyRef};

use crate::common::{Home, Process, skipped, until};
use crate::full::Scene;
use crate::model::BIG;

/// The folder of the daemon with the default name.
fn folder(home: &Home) -> PathBuf {
    home.folder.path().join("state/andiron/andiron")
}

/// All files of a folder. The index of the log says nothing: it is made from the log.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.to_string_lossy().ends_with("-shm") {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// Makes the folder what it was.
fn put_back(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    fs::remove_dir_all(folder).unwrap();
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn value_of(number: usize) -> Vec<u8> {
    let length = if number < 2 { BIG + number } else { number * 17 % 900 };
    (0..length).map(|at| (at * (number + 1) % 251) as u8).collect()
}

/// A folder with entries in it, of which the first two are big, as a daemon left it that was killed or ended.
fn filled(home: &Home, is_killed: bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut daemon = home.serve();
    let store = home.hub().store();
    for number in 0..60 {
        store.set_with(Put::bytes(&number.to_string(), value_of(number), 3).persist()).unwrap();
    }
    if is_killed {
        daemon.kill();
    } else {
        assert!(daemon.terminate().success());
    }
    files(&folder(home))
}

/// What the store has of these, each of it as it was set.
fn served(store: &Store) -> usize {
    let mut count = 0;
    for listed in store.list().map(Result::unwrap) {
        let entry = store.entry(&listed.name).unwrap().unwrap();
        assert!(*entry.bytes == *value_of(listed.name.parse().unwrap()), "{} is another one", listed.name);
        count += 1;
    }
    count
}

/// A start that has to be refused, and to change nothing. Gives what was said.
#[track_caller]
fn refused(home: &Home) -> String {
    let before = files(&folder(home));
    let refused = home.run(&["serve"]);
    let said = refused.failed(1).to_owned();
    let after = files(&folder(home));
    let changed = before.iter().find(|(path, bytes)| after.get(*path) != Some(bytes));
    assert_eq!(changed.map(|(path, _)| path), None, "{said}");
    assert_eq!(before.len(), after.len(), "{said}");
    said
}

#[test]
fn a_database_that_is_not_ours_or_of_a_later_version_is_refused_and_not_touched() {
    let home = Home::new();
    let whole = filled(&home, false);
    let database = folder(&home).join("store.sqlite");
    let backup = home.folder.path().join("backup");
    Sqlite::open(&folder(&home)).unwrap().backup().unwrap().write(&backup, &mut |_| {}).unwrap();
    for foreign in
        [b"a text, and nothing else".to_vec(), Vec::new(), vec![0; 100_000], fs::read(backup).unwrap()]
    {
        fs::write(&database, &foreign).unwrap();
        let said = refused(&home);
        assert!(said.contains("is no store of andiron's") && said.contains("store.sqlite"), "{said}");
    }
    let mut later = whole[&database].clone();
    later[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&database, &later).unwrap();
    let said = refused(&home);
    assert!(said.contains("has format 99") && said.contains("use the version that wrote it"), "{said}");

    // Missing, with values of it left over.
    fs::remove_file(&database).unwrap();
    assert!(refused(&home).contains("it is missing, but values is there"));
    // No folder at all.
    put_back(&folder(&home), &whole);
    let state = home.folder.path().join("state");
    fs::rename(&state, home.folder.path().join("aside")).unwrap();
    fs::write(&state, "a file").unwrap();
    let said = home.run(&["serve"]);
    assert!(said.failed(1).contains("the persistent entries cannot be had: "), "{said:?}");
    fs::remove_file(&state).unwrap();
    fs::rename(home.folder.path().join("aside"), &state).unwrap();

    let _daemon = home.serve();
    assert_eq!(served(&home.hub().store()), 60);
}

#[test]
fn a_database_that_is_damaged_is_refused_or_what_can_be_read_is_served_and_the_rest_named() {
    let home = Home::new();
    let seed =
        std::env::var("ANDIRON_FUZZ_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("ANDIRON_FUZZ_SEED={seed} repeats the damage");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut refusals, mut losses) = (0, 0);
    for is_killed in [false, true] {
        if folder(&home).exists() {
            fs::remove_dir_all(folder(&home)).unwrap();
        }
        let whole = filled(&home, is_killed);
        let database = folder(&home).join("store.sqlite");
        let log = folder(&home).join("store.sqlite-wal");
        let length = whole[&database].len();
        for round in 0..16 {
            let damaged = match round % 8 {
                7 if log.exists() => &log,
                _ => &database,
            };
            let mut bytes = whole[damaged].clone();
            match round % 4 {
                0 => bytes.truncate(rng.usize(..bytes.len())),
                1 => {
                    let at = rng.usize(100..bytes.len());
                    bytes[at] ^= 1 << rng.u8(..8);
                }
                _ => {
                    let at = rng.usize(100..bytes.len() - 600);
                    bytes[at..at + rng.usize(1..600)].fill_with(|| rng.u8(..));
                }
            }
            fs::write(damaged, &bytes).unwrap();
            let before = files(&folder(&home));
            let mut daemon = Process::start(home.andiron(&["serve"]));
            if daemon.try_wait_for("listening at ").is_none() {
                refusals += 1;
                assert_eq!(daemon.wait().code(), Some(1));
                let said = daemon.said().join("\n");
                assert!(said.contains("damaged") || said.contains("is no store"), "round {round}: {said}");
                assert!(before == files(&folder(&home)), "round {round}: {said}");
            } else {
                let count = served(&home.hub().store());
                let named = daemon.said().iter().filter(|line| line.contains("cannot be read")).count();
                losses += usize::from(count < 60);
                if *damaged == database && bytes.len() == length {
                    assert!(
                        count == 60 || named > 0,
                        "round {round}: {} are gone without a word",
                        60 - count
                    );
                }
                // What cannot be read stays where it is, and so does the rest.
                daemon.kill();
                let _again = home.serve();
                assert_eq!(served(&home.hub().store()), count, "round {round}");
            }
            put_back(&folder(&home), &whole);
        }
        let _daemon = home.serve();
        assert_eq!(served(&home.hub().store()), 60);
    }
    println!("{refusals} starts refused, {losses} with losses");
}

#[test]
fn a_short_value_that_is_altered_in_the_database_is_named_and_left_and_the_rest_is_served() {
    let home = Home::new();
    let whole = filled(&home, false);
    let database = folder(&home).join("store.sqlite");
    let mut bytes = whole[&database].clone();
    let value = value_of(50);
    let at = bytes.windows(value.len()).position(|window| *window == *value).unwrap();
    bytes[at + 20] ^= 1;
    fs::write(&database, &bytes).unwrap();
    for _ in 0..2 {
        let mut daemon = Process::start(home.andiron(&["serve"]));
        daemon.wait_for("the entry \"50\" of \"default\" cannot be read and is left as it is");
        daemon.wait_for("listening at ");
        assert_eq!(served(&home.hub().store()), 59);
        assert!(daemon.terminate().success());
    }
    // It can be set anew, or taken out.
    let mut daemon = home.serve();
    home.hub().store().set_with(Put::bytes("50", value, 3).persist()).unwrap();
    daemon.kill();
    let mut daemon = home.serve();
    assert_eq!(served(&home.hub().store()), 60);
    assert!(!daemon.said().iter().any(|line| line.contains("cannot be read")));
}

#[test]
fn a_database_that_is_cut_short_is_refused_and_not_touched() {
    let home = Home::new();
    let whole = filled(&home, false);
    let database = folder(&home).join("store.sqlite");
    for part in [2, 3, 8] {
        fs::write(&database, &whole[&database][..whole[&database].len() / part]).unwrap();
        let said = refused(&home);
        assert!(said.contains("is damaged") && said.contains("restore the last backup"), "{said}");
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_told_at_the_start_and_not_touched() {
    let Some(scene) = Scene::new() else { return };
    let mut daemon = scene.serve();
    scene.home.hub().store().set_with(Put::bytes("1", value_of(1), 3).persist()).unwrap();
    daemon.kill();
    scene.remount("ro");
    let state = scene.state();
    let before = files(&state);
    let refused = scene.home.run(&["serve", "--state", state.to_str().unwrap()]);
    assert!(refused.failed(1).contains("mount its disk writable"), "{refused:?}");
    scene.remount("rw");
    assert!(before == files(&state));
    let _daemon = scene.serve();
    assert_eq!(served(&scene.home.hub().store()), 1);
}

#[test]
fn a_big_value_whose_file_is_missing_or_altered_is_named_and_left_and_the_rest_is_served() {
    let home = Home::new();
    let whole = filled(&home, true);
    let values: Vec<&PathBuf> =
        whole.keys().filter(|path| path.extension().is_some_and(|end| end == "value")).collect();
    assert_eq!(values.len(), 2);
    let path = values[0];
    let altered = |change: fn(&mut Vec<u8>)| {
        let mut bytes = whole[path].clone();
        change(&mut bytes);
        Some(bytes)
    };
    let bad = [
        None,
        altered(|bytes| bytes[500_000] ^= 1),
        altered(|bytes| bytes.truncate(4096)),
        altered(|bytes| bytes.push(0)),
        altered(Vec::clear),
    ];
    for bytes in bad {
        match &bytes {
            None => fs::remove_file(path).unwrap(),
            Some(bytes) => fs::write(path, bytes).unwrap(),
        }
        let mut daemon = Process::start(home.andiron(&["serve"]));
        let line = daemon.wait_for("cannot be read and is left as it is");
        assert!(line.contains("\"default\""), "{line}");
        daemon.wait_for("listening at ");
        let store = home.hub().store();
        assert_eq!(served(&store), 59);
        store.set_with(Put::bytes("2", value_of(2), 3).persist()).unwrap();
        assert!(daemon.terminate().success());
        assert_eq!(fs::read(path).ok(), bytes, "it was touched");
        // With its file it is there again.
        fs::write(path, &whole[path]).unwrap();
        let _daemon = home.serve();
        assert_eq!(served(&home.hub().store()), 60);
    }
}

#[test]
fn what_was_set_or_deleted_over_what_cannot_be_read_does_not_come_back() {
    let ways: [fn(&Store, &str); 4] = [
        |store, name| {
            store.set(name, &1).unwrap();
            store.delete(name).unwrap();
        },
        |store, name| assert!(store.delete(name).unwrap().is_none()),
        |store, _| assert!(store.clear().unwrap() > 0),
        |store, name| {
            store.set_many([Put::new(name, &1).unwrap(), Put::new("another", &1).unwrap()]).unwrap();
        },
    ];
    for way in ways {
        let home = Home::new();
        let whole = filled(&home, true);
        let path =
            whole.keys().find(|path| path.extension().is_some_and(|end| end == "value")).unwrap().clone();
        fs::remove_file(&path).unwrap();
        let mut daemon = Process::start(home.andiron(&["serve"]));
        let line = daemon.wait_for("cannot be read and is left as it is");
        let name = line.split('"').nth(1).unwrap().to_owned();
        daemon.wait_for("listening at ");
        way(&home.hub().store(), &name);
        assert!(daemon.terminate().success());
        fs::write(&path, &whole[&path]).unwrap();
        let _daemon = home.serve();
        assert_eq!(home.hub().store().entry(&name).unwrap(), None);
    }
}

#[test]
fn when_the_folder_is_removed_that_is_told_and_all_else_goes_on() {
    let home = Home::new();
    let mut daemon = home.serve();
    let store = home.hub().store();
    store.set_with(Put::new("kept", &1).unwrap().persist()).unwrap();
    let aside = home.folder.path().join("aside");
    fs::rename(folder(&home), &aside).unwrap();
    for bytes in [vec![1], vec![1; BIG]] {
        let gone = store.set_with(Put::bytes("new", bytes, 3).persist()).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Unavailable, "{gone}");
        assert!(gone.message().contains("was removed or replaced while it was in use"), "{gone}");
    }
    let refused = home.run(&["set", "--persist", "new", "1"]);
    assert!(refused.failed(1).contains("was removed or replaced"), "{refused:?}");
    // To take it back from the disk fails as well, so it is still there.
    assert_eq!(store.delete("kept").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.get("kept").unwrap(), Some(1));
    assert_eq!(store.get::<i64>("new").unwrap(), None);
    store.set("plain", &2).unwrap();
    assert_eq!(home.hub().store().get("plain").unwrap(), Some(2));
    assert!(!folder(&home).exists(), "something was made in its place");

    // Another daemon's files in their place are left alone.
    put_elsewhere(&folder(&home));
    let before = files(&folder(&home));
    store.set_with(Put::new("new", &1).unwrap().persist()).unwrap_err();
    assert!(daemon.terminate().success());
    assert!(before == files(&folder(&home)));
    let _daemon = home.serve();
    assert_eq!(home.hub().store().get("theirs").unwrap(), Some(1));
    assert_eq!(home.hub().store().get::<i64>("kept").unwrap(), None);
}

/// Another store, with one entry.
fn put_elsewhere(folder: &Path) {
    let mut disk = Sqlite::open(folder).unwrap();
    let record = Record {
        key: KeyRef::named("theirs"),
        version: 1,
        timestamp: 1.0,
        codec: Codec(1),
        expires_at: None,
        value: &[1],
    };
    disk.commit(&[Change::Put(record)], 1, Durability::Sync).unwrap();
}

#[test]
fn where_no_file_can_be_made_any_more_that_is_told_and_all_else_goes_on() {
    let home = Home::new();
    // Of root, too, rights are asked then.
    let mut powerless = Command::new("setpriv");
    powerless.args(["--bounding-set=-all", "--inh-caps=-all"]);
    let serve = home.andiron(&["serve"]);
    powerless.arg(serve.get_program()).args(serve.get_args());
    home.settle(&mut powerless);
    if !Command::new("setpriv")
        .args(["--bounding-set=-all", "true"])
        .output()
        .is_ok_and(|done| done.status.success())
    {
        skipped("rights cannot be given up by `setpriv`");
        return;
    }
    let mut daemon = Process::start(powerless);
    daemon.wait_for("listening at ");
    let store = home.hub().store();
    store.set_with(Put::bytes("old", vec![1; BIG], 3).persist()).unwrap();
    let values = folder(&home).join("values");
    set_mode(&values, 0o500);
    let refused = store.set_with(Put::bytes("new", vec![1; BIG], 3).persist()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(
        refused.message().contains("cannot be written") && refused.message().contains("values"),
        "{refused}"
    );
    store.set_with(Put::new("small", &1).unwrap().persist()).unwrap();
    store.set("plain", &1).unwrap();
    assert_eq!(store.entry("old").unwrap().unwrap().bytes.len(), BIG);
    assert_eq!(store.entry("new").unwrap(), None);
    set_mode(&values, 0o700);
    store.set_with(Put::bytes("new", vec![2; BIG], 3).persist()).unwrap();
    daemon.kill();
    let _daemon = home.serve();
    assert_eq!(home.hub().store().list().count(), 3);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_second_daemon_on_the_same_files_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    store.set_with(Put::new("x", &1).unwrap().persist()).unwrap();
    let state = folder(&home);
    let second = home.run(&["serve", "--address", "other", "--state", state.to_str().unwrap()]);
    let said = second.failed(1);
    assert!(
        said.contains("is in use: end the other daemon") && said.contains(state.to_str().unwrap()),
        "{said}"
    );
    store.set_with(Put::new("x", &2).unwrap().persist()).unwrap();
    assert_eq!(home.hub().store().get("x").unwrap(), Some(2));
}

/// Answers when the test says so.
struct Slow {
    entered: Mutex<Option<std::sync::mpsc::Sender<()>>>,
    leave: Mutex<Receiver<()>>,
}

#[andiron::expose]
impl Slow {
    fn work(&self) {
        let _ = self.entered.lock().unwrap().take().map(|entered| entered.send(()));
        let _ = self.leave.lock().unwrap().recv();
    }
}

#[test]
fn a_daemon_that_is_started_while_the_one_before_ends_its_calls_takes_over() {
    let home = Home::new();
    let mut old = home.serve();
    let hub = home.hub();
    let ((entered, has_entered), (leave, leaves)) = (channel(), channel());
    hub.register("slow", Slow { entered: Mutex::new(Some(entered)), leave: Mutex::new(leaves) }).unwrap();
    let provider = hub.clone();
    std::thread::spawn(move || provider.run());
    let caller = home.hub();
    caller.store().set_with(Put::new("x", &1).unwrap().persist()).unwrap();
    let calling =
        std::thread::spawn(move || caller.object::<andiron::Proxy>("slow")?.start::<()>("work", &())?.wait());
    has_entered.recv().unwrap();
    let socket = || fs::metadata(home.socket("andiron")).ok().map(|found| found.ino());
    let before = socket();

    old.signal("TERM");
    until("the end of the old name", || (socket() != before).then_some(()));
    let mut new = Process::start(home.andiron(&["serve"]));
    until("the new name", || socket().filter(|new| Some(*new) != before));
    // The new one has the name, and waits for the files.
    assert!(fs::exists(format!("/proc/{}/exe", old.id())).unwrap(), "the old one has ended already");
    leave.send(()).unwrap();
    calling.join().unwrap().unwrap();
    assert!(old.wait().success());
    new.wait_for("listening at ");
    assert_eq!(home.hub().store().get("x").unwrap(), Some(1));
    let version = home.hub().store().set_with(Put::new("x", &2).unwrap().persist());
    assert!(version.is_ok(), "{version:?}");
}
