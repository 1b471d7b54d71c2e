//! What the disk promises, one behaviour a test; and what it does with files that are not as they should be.

mod disk_model;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use andiron_store::KeyRef;
use andiron_store::disk::{
    BIG_VALUE, Backup, Change, Disk, DiskError, Durability, FORMAT, SNAPSHOT_NAME, Snapshot, Sqlite,
};
use disk_model::{Kept, RELAXED, files_of_values, filled, folder, loaded, names, put, record, state};
use tempfile::TempDir;

#[test]
fn what_is_loaded_is_what_was_committed() {
    for seed in 0..3 {
        let folder = folder();
        let mut disk = Sqlite::open(folder.path()).unwrap();
        let model = filled(&mut disk, seed, 60);
        assert!(state(&mut disk).unwrap() == model, "seed {seed}");
        drop(disk);
        assert!(state(&mut Sqlite::open(folder.path()).unwrap()).unwrap() == model, "seed {seed}");
    }
}

#[test]
fn records_come_in_the_order_of_their_keys() {
    let (folder, mut keys) = (folder(), Vec::new());
    let mut disk = Sqlite::open(folder.path()).unwrap();
    filled(&mut disk, 7, 40);
    disk.load(&mut |record| keys.push((record.key.author.to_owned(), record.key.name.to_owned()))).unwrap();
    assert!(keys.is_sorted());
}

#[test]
fn the_high_water_mark_never_goes_back() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    assert_eq!(disk.high_water(), 0);
    disk.commit(&[], 5_000_000, RELAXED).unwrap();
    disk.commit(&[Change::Clear(None)], 17, RELAXED).unwrap();
    let mark = disk.high_water();
    assert!(mark >= 5_000_000);
    drop(disk);
    let mut disk = Sqlite::open(folder.path()).unwrap();
    assert_eq!(disk.high_water(), mark);
    put(&mut disk, "a", b"1").unwrap();
    disk.commit(&[], u64::MAX, Durability::Sync).unwrap();
    drop(disk);
    assert_eq!(Sqlite::open(folder.path()).unwrap().high_water(), u64::MAX);
}

#[test]
fn nobody_else_may_read_the_files() {
    let folder = folder();
    let store = folder.path().join("state/andiron/default");
    let mut disk = Sqlite::open(&store).unwrap();
    put(&mut disk, "big", &vec![1; BIG_VALUE]).unwrap();
    for path in [store.clone(), store.join("values"), folder.path().join("state")] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700, "{}", path.display());
    }
    let files = fs::read_dir(&store).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    for path in files.chain(files_of_values(&store)) {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_second_one_is_refused_while_the_first_is_there() {
    let folder = folder();
    let first = Sqlite::open(folder.path()).unwrap();
    let refused = Sqlite::open(folder.path()).unwrap_err();
    assert!(matches!(refused, DiskError::InUse(_)), "{refused}");
    drop(first);
    Sqlite::open(folder.path()).unwrap();
}

#[test]
fn the_log_stays_short() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let mut longest = 0;
    for number in 0..300_u32 {
        let values: Vec<String> = (0..100).map(|name| format!("{name}:{number:0500}")).collect();
        let puts = values.iter().map(|value| Change::Put(record(&value[..2], 1, value.as_bytes())));
        disk.commit(&puts.collect::<Vec<_>>(), 1, RELAXED).unwrap();
        longest = longest.max(fs::metadata(folder.path().join("store.sqlite-wal")).unwrap().len());
    }
    assert!(longest < 10 << 20, "the log was {longest} bytes long");
    // Where there is time for it, it does not even get that long.
    for number in 0..300_u32 {
        put(&mut disk, &number.to_string(), &[1; 5000]).unwrap();
        disk.tidy().unwrap();
    }
}

/// How long the database is, with nothing of it in its log.
fn length(disk: &mut Sqlite, store: &Path) -> u64 {
    disk.tidy().unwrap();
    fs::metadata(store.join("store.sqlite")).unwrap().len()
}

#[test]
fn what_is_deleted_is_given_back_to_the_system_a_part_at_a_time() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let names: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    let value = vec![7; 100_000];
    let records: Vec<_> = names.iter().map(|name| (record(name, 1, &value), true)).collect();
    disk.save_snapshot("author", "long", 5, &records).unwrap();
    let puts = names.iter().map(|name| Change::Put(record(name, 1, &value[..1000])));
    disk.commit(&puts.collect::<Vec<_>>(), 1, RELAXED).unwrap();
    let longest = length(&mut disk, folder.path());
    disk.delete_snapshot("author", "long").unwrap();
    let (mut before, mut tidied) = (longest, 0);
    while before > 2 << 20 {
        let after = length(&mut disk, folder.path());
        assert!(before > after, "{after} bytes of {longest} stay");
        assert!(before - after < 10 << 20, "it went from {before} to {after} at once");
        (before, tidied) = (after, tidied + 1);
    }
    println!("{longest} bytes, and {before} after it was tidied {tidied} times");
    drop(disk);
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let model = state(&mut disk).unwrap();
    assert_eq!(model.len(), 400);
    assert!(model.values().all(|kept| kept.value == value[..1000]));
    let backup = folder.path().join("backup");
    disk.backup().unwrap().write(&backup, &mut |_| {}).unwrap();
    assert!(fs::metadata(&backup).unwrap().len() < 3 << 20);
}

#[test]
fn values_of_less_than_a_page_do_not_take_a_page_each() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let empty = length(&mut disk, folder.path());
    let (names, value) = ((0..2000).map(|number| number.to_string()).collect::<Vec<_>>(), [7; 1000]);
    let puts = names.iter().map(|name| Change::Put(record(name, 1, &value)));
    disk.commit(&puts.collect::<Vec<_>>(), 1, RELAXED).unwrap();
    let with_records = length(&mut disk, folder.path());
    assert!(with_records - empty < 2000 * 1500, "{} bytes each", (with_records - empty) / 2000);
    let records: Vec<_> = names.iter().map(|name| (record(name, 1, &value), true)).collect();
    disk.save_snapshot("author", "one", 5, &records).unwrap();
    let with_snapshot = length(&mut disk, folder.path());
    let each = (with_snapshot - with_records) / 2000;
    assert!(each < 1500, "{each} bytes each in a snapshot");
}

#[test]
fn files_of_big_values_go_with_their_records() {
    let folder = folder();
    let (mut disk, big) = (Sqlite::open(folder.path()).unwrap(), vec![7; BIG_VALUE]);
    for name in ["a", "b", "c", "d"] {
        put(&mut disk, name, &big).unwrap();
    }
    put(&mut disk, "a", b"short").unwrap();
    put(&mut disk, "b", &big).unwrap();
    disk.commit(&[Change::Delete(KeyRef::new("author", "c"))], 1, RELAXED).unwrap();
    disk.commit(&[], 1, Durability::Sync).unwrap();
    assert_eq!(files_of_values(folder.path()).len(), 2);
    // Both at once: it is the order that counts.
    let (clear, again) = (Change::Clear(Some("author")), Change::Put(record("e", 1, &big)));
    disk.commit(&[again, clear, again], 1, Durability::Sync).unwrap();
    assert_eq!(files_of_values(folder.path()).len(), 1);
    assert_eq!(names(&mut disk), ["e"]);
}

#[test]
fn what_a_crash_left_over_is_cleared_away_and_nothing_else() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    put(&mut disk, "big", &vec![7; BIG_VALUE]).unwrap();
    drop(disk);
    let values = folder.path().join("values");
    fs::write(values.join("00000000000000ff.value"), "half of it").unwrap();
    fs::write(values.join("notes.txt"), "not ours").unwrap();
    fs::write(folder.path().join("store.sqlite.new"), "half of it").unwrap();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    assert_eq!(names(&mut disk), ["big"]);
    let left = files_of_values(folder.path());
    assert_eq!(left, [values.join("0000000000000001.value"), values.join("notes.txt")]);
}

#[test]
fn a_big_value_that_is_not_as_it_was_written_is_told_and_left_alone() {
    let folder = folder();
    let (mut disk, big) = (Sqlite::open(folder.path()).unwrap(), vec![7; BIG_VALUE]);
    for name in ["changed", "cut", "missing", "whole"] {
        put(&mut disk, name, &big).unwrap();
    }
    drop(disk);
    let files = files_of_values(folder.path());
    let change = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap();
    change(&files[0]).write_all_at(b"8", 500_000).unwrap();
    change(&files[1]).set_len(500_000).unwrap();
    fs::remove_file(&files[2]).unwrap();

    let mut disk = Sqlite::open(folder.path()).unwrap();
    let (model, found) = loaded(&mut disk).unwrap();
    let told: Vec<&str> = found.unreadable.iter().map(|bad| &*bad.key.name).collect();
    assert_eq!(told, ["changed", "cut", "missing"]);
    assert_eq!(found.unreadable[2].why, "its file is not there");
    assert_eq!((model.len(), found.records), (1, 1));
    assert_eq!(files_of_values(folder.path()).len(), 3);
    // Set again they are as good as ever.
    for name in ["changed", "cut", "missing"] {
        put(&mut disk, name, &big).unwrap();
    }
    drop(disk);
    let mut disk = Sqlite::open(folder.path()).unwrap();
    assert_eq!(state(&mut disk).unwrap().len(), 4);
    assert_eq!(files_of_values(folder.path()).len(), 4);
}

/// All files of a folder with their bytes, but for the lock.
fn bytes_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.is_file() && !path.ends_with("store.lock"));
    let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn files_that_are_not_ours_are_refused_and_not_touched() {
    let other = |path: &Path| {
        let other = rusqlite::Connection::open(path).unwrap();
        other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    };
    let text = |path: &Path| fs::write(path, "a text that somebody keeps under this name").unwrap();
    let nothing = |path: &Path| fs::write(path, "").unwrap();
    for make in [&other as &dyn Fn(&Path), &text, &nothing] {
        let folder = folder();
        make(&folder.path().join("store.sqlite"));
        let before = bytes_of(folder.path());
        let refused = Sqlite::open(folder.path()).unwrap_err();
        assert!(matches!(refused, DiskError::NotOurs { .. }), "{refused}");
        assert!(bytes_of(folder.path()) == before, "it was touched");
    }
}

#[test]
fn files_of_a_later_format_are_refused_and_not_touched() {
    let folder = folder();
    put(&mut Sqlite::open(folder.path()).unwrap(), "a", b"1").unwrap();
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("store.sqlite")).unwrap();
    file.write_all_at(&99_u32.to_be_bytes(), 60).unwrap();
    fs::write(folder.path().join("store.sqlite-wal"), "a log of the later version").unwrap();
    let before = bytes_of(folder.path());
    let refused = Sqlite::open(folder.path()).unwrap_err();
    assert!(matches!(refused, DiskError::Newer { format: 99, .. }), "{refused}");
    assert!(bytes_of(folder.path()) == before, "it was touched");
    let expected = format!("formats up to {FORMAT}");
    assert!(refused.to_string().contains(&expected) || refused.to_string().contains(&FORMAT.to_string()));
}

#[test]
fn a_store_whose_database_is_missing_is_not_begun_anew_over_what_is_left() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    put(&mut disk, "big", &vec![7; BIG_VALUE]).unwrap();
    drop(disk);
    fs::remove_file(folder.path().join("store.sqlite")).unwrap();
    let refused = Sqlite::open(folder.path()).unwrap_err();
    assert!(matches!(refused, DiskError::Damaged { .. }), "{refused}");
    assert_eq!(files_of_values(folder.path()).len(), 1);
}

/// Makes a pipe, which nobody ever writes to, in place of a file.
fn make_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_pipe_in_place_of_a_value_is_told_as_unreadable_and_waited_for_by_nobody() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    for name in ["folder", "pipe"] {
        put(&mut disk, name, &vec![7; BIG_VALUE]).unwrap();
    }
    drop(disk);
    let files = files_of_values(folder.path());
    fs::remove_file(&files[0]).unwrap();
    fs::create_dir(&files[0]).unwrap();
    make_pipe(&files[1]);
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let told = loaded(&mut disk).unwrap().1.unreadable;
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|bad| bad.why.contains("it is no file")), "{told:?}");
    let to = folder.path().join("backup");
    let refused = disk.backup().unwrap().write(&to, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, DiskError::Unreadable { .. }), "{refused}");
}

#[test]
fn a_pipe_in_place_of_a_file_of_the_store_is_refused_and_waited_for_by_nobody() {
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.sqlite-journal", "store.lock"]
    {
        let folder = folder();
        put(&mut Sqlite::open(folder.path()).unwrap(), "a", b"1").unwrap();
        make_pipe(&folder.path().join(file));
        let refused = Sqlite::open(folder.path()).unwrap_err();
        assert!(matches!(refused, DiskError::NotOurs { .. }), "{file}: {refused}");
    }
}

#[test]
fn damage_anywhere_in_the_file_is_told_and_never_taken_for_data() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let model = filled(&mut disk, 3, 60);
    drop(disk);
    let path = folder.path().join("store.sqlite");
    let whole = fs::read(&path).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let (mut refused, mut unreadable) = (0, 0);
    for _ in 0..150 {
        let mut bytes = whole.clone();
        let (at, length) = (rng.usize(100..whole.len() - 600), rng.usize(1..600));
        bytes[at..at + length].fill_with(|| rng.u8(..));
        fs::write(&path, &bytes).unwrap();
        match Sqlite::open(folder.path()).and_then(|mut disk| loaded(&mut disk)) {
            Err(error) => {
                assert!(matches!(error, DiskError::Damaged { .. }), "at {at}: {error}");
                assert!(fs::read(&path).unwrap() == bytes, "at {at}: it was touched");
                refused += 1;
            }
            Ok((found, loaded)) => {
                unreadable += loaded.unreadable.len();
                for (key, kept) in &found {
                    assert_eq!(model.get(key), Some(kept), "seed 3, at {at}");
                }
            }
        }
    }
    println!("{refused} files refused, {unreadable} records told unreadable");
    assert!(refused > 0 && unreadable > 0);
}

#[test]
fn a_folder_that_is_removed_is_noticed_and_the_one_in_its_place_left_alone() {
    let folder = folder();
    let store = folder.path().join("store");
    let mut old = Sqlite::open(&store).unwrap();
    put(&mut old, "a", b"1").unwrap();
    fs::remove_dir_all(&store).unwrap();
    for value in [vec![1], vec![1; BIG_VALUE]] {
        let gone = put(&mut old, "b", &value).unwrap_err();
        assert!(matches!(gone, DiskError::Gone(_)), "{gone}");
    }
    // Another store takes its place, and the old one does it no harm.
    let mut new = Sqlite::open(&store).unwrap();
    put(&mut new, "c", &vec![1; BIG_VALUE]).unwrap();
    let gone = put(&mut old, "b", b"2").unwrap_err();
    assert!(matches!(gone, DiskError::Gone(_)), "{gone}");
    drop(old);
    put(&mut new, "d", b"1").unwrap();
    assert_eq!(names(&mut new), ["c", "d"]);
    drop(new);
    assert_eq!(names(&mut Sqlite::open(&store).unwrap()), ["c", "d"]);
}

#[test]
fn a_snapshot_stays_as_it_is_until_it_is_deleted() {
    let folder = folder();
    let (mut disk, big) = (Sqlite::open(folder.path()).unwrap(), vec![7; BIG_VALUE]);
    let both = [record("a", 1, b"1"), record("b", 2, &big)];
    disk.save_snapshot("author", "../etc/passwd\0", 5, &[(both[0], true), (both[1], false)]).unwrap();
    disk.commit(&[Change::Put(both[1]), Change::Clear(None)], 3, Durability::Sync).unwrap();
    disk.save_snapshot("author", "none", 6, &[]).unwrap();
    drop(disk);
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let list = disk.snapshots().unwrap();
    let first = Snapshot {
        author: "author".into(),
        name: "../etc/passwd\0".into(),
        saved_at: 5,
        records: 2,
        bytes: BIG_VALUE as u64 + 1,
    };
    assert_eq!((&list[0], list.len()), (&first, 2));
    let mut found = Vec::new();
    let loaded = disk.load_snapshot("author", "../etc/passwd\0", &mut |record, persistent| {
        found.push((record.key.name.to_owned(), Kept::from(record), persistent));
    });
    assert_eq!(loaded.unwrap().records, 2);
    assert_eq!(found[1], ("b".to_owned(), Kept::from(both[1]), false));

    // Saved again it is another one.
    disk.save_snapshot("author", "../etc/passwd\0", 7, &[(both[0], false)]).unwrap();
    assert_eq!(files_of_values(folder.path()), [] as [PathBuf; 0]);
    disk.delete_snapshot("author", "../etc/passwd\0").unwrap();
    let missing = disk.load_snapshot("author", "../etc/passwd\0", &mut |_, _| {}).unwrap_err();
    assert!(matches!(missing, DiskError::NoSnapshot { .. }), "{missing}");
    let missing = disk.delete_snapshot("another", "none").unwrap_err();
    assert!(matches!(missing, DiskError::NoSnapshot { .. }), "{missing}");
    assert_eq!(disk.snapshots().unwrap().len(), 1);
}

#[test]
fn the_name_of_a_snapshot_is_not_so_long_that_its_records_take_much_room() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    let (long, records) = ("n".repeat(SNAPSHOT_NAME - "author".len()), [(record("a", 1, b"1"), true)]);
    disk.save_snapshot("author", &long, 5, &records).unwrap();
    let refused = disk.save_snapshot("author", &(long + "n"), 6, &records).unwrap_err();
    assert!(matches!(refused, DiskError::LongName(bytes) if bytes == SNAPSHOT_NAME + 1), "{refused}");
    assert_eq!(disk.snapshots().unwrap().len(), 1);
}

#[test]
fn a_snapshot_that_lost_a_record_is_told_as_damaged() {
    let folder = folder();
    let mut disk = Sqlite::open(folder.path()).unwrap();
    disk.save_snapshot("author", "one", 5, &[(record("a", 1, b"1"), true), (record("b", 2, b"2"), true)])
        .unwrap();
    drop(disk);
    let database = rusqlite::Connection::open(folder.path().join("store.sqlite")).unwrap();
    database.execute("DELETE FROM snapshot_records WHERE name = 'a'", []).unwrap();
    drop(database);
    let disk = Sqlite::open(folder.path()).unwrap();
    let damaged = disk.load_snapshot("author", "one", &mut |_, _| {}).unwrap_err();
    assert!(damaged.to_string().contains("has 1 of 2 records"), "{damaged}");
}

/// A file system in memory with so little room; `None`, with a word, where this process may not mount one.
struct Mounted(TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let folder = folder();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            println!("skipped: this process may not mount a file system in memory");
        }
        mounted.then_some(Mounted(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_is_told_and_when_there_is_room_again_it_goes_on() {
    let Some(mounted) = Mounted::new("size=6m") else { return };
    let (store, ballast) = (mounted.0.path().join("store"), mounted.0.path().join("ballast"));
    fs::write(&ballast, vec![0; 3 << 20]).unwrap();
    for length in [300, 5000, BIG_VALUE] {
        let mut disk = Sqlite::open(&store).unwrap();
        disk.commit(&[Change::Clear(None)], 1, Durability::Sync).unwrap();
        let mut model = Vec::new();
        let full = loop {
            let (name, value) = (format!("{:08}", model.len()), vec![1; length]);
            match put(&mut disk, &name, &value) {
                Ok(()) => model.push(name),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, DiskError::Full(_)), "{length}: {full}");
        let again = put(&mut disk, "again", &vec![1; length.max(60_000)]).unwrap_err();
        assert!(matches!(again, DiskError::Full(_)), "{length}: {again}");
        assert_eq!(names(&mut disk), model, "{length}");
        let before = fs::read_dir(mounted.0.path()).unwrap().count();
        let backup = mounted.0.path().join("backup");
        let no_room = disk.backup().and_then(|copying| copying.write(&backup, &mut |_| {}));
        assert!(matches!(no_room, Err(DiskError::Full(_))), "{length}: {no_room:?}");
        assert_eq!(fs::read_dir(mounted.0.path()).unwrap().count(), before);
        drop(disk);

        fs::remove_file(&ballast).unwrap();
        let mut disk = Sqlite::open(&store).unwrap();
        assert_eq!(names(&mut disk), model, "{length}");
        put(&mut disk, "z", &vec![1; length]).unwrap();
        model.push("z".to_owned());
        assert_eq!(names(&mut disk), model, "{length}");
        disk.commit(&[Change::Clear(None)], 1, Durability::Sync).unwrap();
        disk.tidy().unwrap();
        drop(disk);
        fs::remove_dir_all(&store).unwrap();
        fs::write(&ballast, vec![0; 3 << 20]).unwrap();
    }
}

#[test]
fn a_disk_that_fills_up_while_it_is_open_goes_on_without_being_opened_again() {
    let Some(mounted) = Mounted::new("size=6m") else { return };
    let ballast = mounted.0.path().join("ballast");
    let mut disk = Sqlite::open(&mounted.0.path().join("store")).unwrap();
    put(&mut disk, "a", b"1").unwrap();
    fs::write(&ballast, vec![0; 8 << 20]).unwrap_err();
    let value = vec![1; 500_000];
    assert!(matches!(put(&mut disk, "b", &value), Err(DiskError::Full(_))));
    assert!(matches!(put(&mut disk, "b", &vec![1; BIG_VALUE]), Err(DiskError::Full(_))));
    assert_eq!(names(&mut disk), ["a"]);
    fs::remove_file(&ballast).unwrap();
    put(&mut disk, "b", &value).unwrap();
    put(&mut disk, "c", &vec![1; BIG_VALUE]).unwrap();
    assert_eq!(names(&mut disk), ["a", "b", "c"]);
}

#[test]
fn what_a_full_disk_has_is_read_also_when_it_is_opened_with_no_room_at_all() {
    let Some(mounted) = Mounted::new("size=6m") else { return };
    let (store, ballast) = (mounted.0.path().join("store"), mounted.0.path().join("ballast"));
    let mut disk = Sqlite::open(&store).unwrap();
    put(&mut disk, "a", b"1").unwrap();
    put(&mut disk, "b", &vec![1; BIG_VALUE]).unwrap();
    drop(disk);
    fs::write(&ballast, vec![0; 8 << 20]).unwrap_err();
    for _ in 0..2 {
        let mut disk = Sqlite::open(&store).unwrap();
        assert_eq!(names(&mut disk), ["a", "b"]);
        let full = put(&mut disk, "c", &vec![1; 50_000]).unwrap_err();
        assert!(matches!(full, DiskError::Full(_)), "{full}");
    }
    let mut disk = Sqlite::open(&store).unwrap();
    fs::remove_file(&ballast).unwrap();
    // There it has the index of its log for itself, and a backup is one more who reads it.
    let backup = mounted.0.path().join("backup");
    disk.backup().unwrap().write(&backup, &mut |_| {}).unwrap();
    put(&mut disk, "c", &vec![1; BIG_VALUE]).unwrap();
    disk.tidy().unwrap();
    drop(disk);
    assert_eq!(names(&mut Sqlite::open(&store).unwrap()), ["a", "b", "c"]);
    let backup = Backup::open(&backup, &mut |_| {}).unwrap();
    assert_eq!(backup.load(&mut |_| {}).unwrap().records, 2);
}

#[test]
fn a_disk_that_cannot_be_written_is_told_and_not_touched() {
    let Some(mounted) = Mounted::new("size=20m") else { return };
    let store = mounted.0.path().join("store");
    put(&mut Sqlite::open(&store).unwrap(), "a", b"1").unwrap();
    let remount =
        |options| Command::new("mount").args(["-o", options]).arg(mounted.0.path()).output().unwrap();
    assert!(remount("remount,ro").status.success());
    let refused = Sqlite::open(&store).unwrap_err();
    assert!(matches!(refused, DiskError::ReadOnly(_)), "{refused}");
    assert!(remount("remount,rw").status.success());
    assert_eq!(names(&mut Sqlite::open(&store).unwrap()), ["a"]);
}
