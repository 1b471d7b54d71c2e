//! Backups: what is in them, and that none is made or taken that is not whole.
//!
//! `ANDIRON_FUZZ_SEED` (default 0) decides which bits are flipped, `ANDIRON_FLIPS` (default 300) is how many.

mod disk_model;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use andiron_store::disk::{BIG_VALUE, Backup, Change, Disk, DiskError, Durability, Record, Snapshot, Sqlite};
use disk_model::{Kept, Model, files_of_values, filled, folder, names, number_from, put, record, state};

/// A backup of a store with all kinds of things, and what is in it.
fn backed_up(folder: &Path) -> (PathBuf, Model) {
    let mut disk = Sqlite::open(&folder.join("store")).unwrap();
    let mut model = filled(&mut disk, 11, 40);
    let (big, key) = (vec![7; BIG_VALUE * 2 + 5], ("author".to_owned(), "big".to_owned()));
    put(&mut disk, "big", &big).unwrap();
    model.insert(key, record("big", 1, &big).into());
    disk.save_snapshot("author", "one", 5, &[(record("a", 1, b"1"), true), (record("b", 2, &big), false)])
        .unwrap();
    let to = folder.join("backup");
    disk.backup().unwrap().write(&to, &mut |_| {}).unwrap();
    (to, model)
}

fn state_of_backup(backup: &Backup) -> Model {
    let mut model = Model::new();
    let loaded = backup.load(&mut |record| {
        model.insert((record.key.author.to_owned(), record.key.name.to_owned()), record.into());
    });
    assert_eq!(loaded.unwrap().unreadable, []);
    model
}

#[test]
fn a_backup_has_everything_and_is_one_file() {
    let folder = folder();
    let (file, model) = backed_up(folder.path());
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let left: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&file));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let mut last = None;
    let backup = Backup::open(&file, &mut |progress| last = Some(progress)).unwrap();
    assert_eq!(last.map(|progress| progress.done), Some(fs::metadata(&file).unwrap().len()));
    assert!(state_of_backup(&backup) == model);
    assert!(backup.high_water().unwrap() >= 40);
    assert_eq!(backup.snapshots().unwrap()[0].records, 2);
    let mut lengths = Vec::new();
    backup.load_snapshot("author", "one", &mut |record, _| lengths.push(record.value.len())).unwrap();
    assert_eq!(lengths, [1, BIG_VALUE * 2 + 5]);
    let missing = backup.load_snapshot("author", "two", &mut |_, _| {}).unwrap_err();
    assert!(matches!(missing, DiskError::NoSnapshot { .. }), "{missing}");
    drop(backup);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "reading it leaves nothing behind");
}

#[test]
fn a_backup_is_of_the_moment_when_it_was_asked_for_whatever_is_committed_meanwhile() {
    let folder = folder();
    let mut disk = Sqlite::open(&folder.path().join("store")).unwrap();
    let model = filled(&mut disk, 5, 60);
    let (copying, to) = (disk.backup().unwrap(), folder.path().join("backup"));
    let after = std::thread::scope(|scope| {
        let write = || copying.write(&to, &mut |progress| assert!(progress.done <= progress.total)).unwrap();
        scope.spawn(write);
        disk.commit(&[Change::Clear(None)], 100, Durability::Sync).unwrap();
        let after = filled(&mut disk, 6, 60);
        disk.tidy().unwrap();
        after
    });
    assert!(state_of_backup(&Backup::open(&to, &mut |_| {}).unwrap()) == model);
    assert!(state(&mut disk).unwrap() == after);
    // What was kept for it is gone when it is done.
    disk.tidy().unwrap();
    let big = after.values().filter(|kept| kept.value.len() >= BIG_VALUE).count();
    assert_eq!(files_of_values(&folder.path().join("store")).len(), big);
}

#[test]
fn a_backup_that_cannot_be_written_leaves_what_was_there() {
    let folder = folder();
    let (file, _) = backed_up(folder.path());
    let before = fs::read(&file).unwrap();
    let mut disk = Sqlite::open(&folder.path().join("store")).unwrap();
    let nowhere = disk.backup().unwrap().write(&folder.path().join("no/where"), &mut |_| {}).unwrap_err();
    assert!(matches!(nowhere, DiskError::Failed { .. }), "{nowhere}");
    let is_folder = disk.backup().unwrap().write(&folder.path().join("store"), &mut |_| {}).unwrap_err();
    assert!(matches!(is_folder, DiskError::Failed { .. }), "{is_folder}");
    assert!(fs::read(&file).unwrap() == before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something is left beside it");
}

#[test]
fn a_backup_that_is_not_whole_is_refused() {
    let folder = folder();
    let (file, _) = backed_up(folder.path());
    let (whole, bad) = (fs::read(&file).unwrap(), folder.path().join("bad"));
    let refusal = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        Backup::open(&bad, &mut |_| {}).err()
    };
    for length in [0, 1, 99, 100, 4095, 4096, 8192, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        let error = refusal(&whole[..length]).unwrap_or_else(|| panic!("cut to {length} it was taken"));
        assert!(matches!(error, DiskError::Damaged { .. } | DiskError::NotOurs { .. }), "{length}: {error}");
    }
    let mut later = whole.clone();
    later[60..64].copy_from_slice(&99_u32.to_be_bytes());
    assert!(matches!(refusal(&later), Some(DiskError::Newer { format: 99, .. })));
    let store = fs::read(folder.path().join("store/store.sqlite")).unwrap();
    assert!(matches!(refusal(&store), Some(DiskError::NotOurs { .. })));
    assert!(matches!(refusal(b"a text"), Some(DiskError::NotOurs { .. })));
    let error = Backup::open(folder.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, DiskError::NotOurs { .. }), "{error}");
    // And a store is no backup, nor a backup a store.
    fs::create_dir(folder.path().join("other")).unwrap();
    fs::copy(&file, folder.path().join("other/store.sqlite")).unwrap();
    let error = Sqlite::open(&folder.path().join("other")).unwrap_err();
    assert!(matches!(error, DiskError::NotOurs { .. }), "{error}");
}

/// All that a backup gives.
#[derive(Debug, PartialEq)]
struct Given {
    records: Model,
    high_water: u64,
    snapshots: Vec<(Snapshot, Saved)>,
}

/// Names, and what is kept of each as persistent or not.
type Saved = Vec<(String, Kept, bool)>;

fn given(backup: &Backup) -> Given {
    let snapshots = backup.snapshots().unwrap().into_iter().map(|about| {
        let mut records = Vec::new();
        let each = &mut |record: Record<'_>, persistent| {
            records.push((record.key.name.to_owned(), record.into(), persistent))
        };
        let loaded = backup.load_snapshot(&about.author, &about.name, each).unwrap();
        assert_eq!(loaded.unreadable, []);
        (about, records)
    });
    let snapshots = snapshots.collect();
    Given { records: state_of_backup(backup), high_water: backup.high_water().unwrap(), snapshots }
}

#[test]
fn a_bit_of_a_backup_that_is_flipped_is_told_or_changes_nothing_of_what_it_gives() {
    let (seed, flips) = (number_from("ANDIRON_FUZZ_SEED", 0), number_from("ANDIRON_FLIPS", 300));
    println!("seed {seed}, {flips} flips");
    let folder = folder();
    let (file, mut disk) = (folder.path().join("copy"), Sqlite::open(&folder.path().join("store")).unwrap());
    disk.commit(&[Change::Put(record("a", 1, &[1; 300]))], 1, Durability::Sync).unwrap();
    // Many rows of all tables, so that there are few bytes that mean nothing.
    let names: Vec<String> = (0..200).map(|number| format!("{number}")).collect();
    let records: Vec<_> = names.iter().map(|name| (record(name, 3, name.as_bytes()), true)).collect();
    for (name, records) in names.iter().zip(records.chunks(2).cycle()) {
        disk.save_snapshot("author", name, 1_700_000_000_000_000, records).unwrap();
    }
    disk.backup().unwrap().write(&file, &mut |_| {}).unwrap();
    let expected = given(&Backup::open(&file, &mut |_| {}).unwrap());
    let (whole, mut rng, mut refused) = (fs::read(&file).unwrap(), fastrand::Rng::with_seed(seed), 0);
    for _ in 0..flips {
        let (at, bit) = (rng.usize(..whole.len()), rng.u8(..8));
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << bit;
        fs::write(&file, &bytes).unwrap();
        match Backup::open(&file, &mut |_| {}) {
            Ok(backup) => assert!(given(&backup) == expected, "seed {seed}: bit {bit} at {at}"),
            Err(error) => {
                let is_clear = matches!(
                    error,
                    DiskError::Damaged { .. } | DiskError::NotOurs { .. } | DiskError::Newer { .. }
                );
                assert!(is_clear, "seed {seed}: bit {bit} at {at}: {error:?}");
                refused += 1;
            }
        }
    }
    println!("{refused} refused");
    assert!(refused > flips / 10);
}

#[test]
fn what_is_not_as_it_was_backed_up_is_refused_also_where_each_row_is_whole() {
    let folder = folder();
    let (file, _) = backed_up(folder.path());
    let whole = fs::read(&file).unwrap();
    for change in [
        "UPDATE snapshots SET saved_at = saved_at + 1",
        "UPDATE snapshots SET bytes = bytes + 1",
        "UPDATE snapshots SET snapshot = 'two'; UPDATE snapshot_records SET snapshot = 'two'",
        "DELETE FROM snapshots",
        "DELETE FROM snapshots; DELETE FROM snapshot_records",
        "DELETE FROM snapshot_records WHERE name = 'a'",
        "DELETE FROM snapshot_records WHERE name = 'a'; UPDATE snapshots SET records = 1",
        "UPDATE snapshot_records SET persistent = 1 - persistent",
        "DELETE FROM records WHERE name = 'big'",
        "UPDATE state SET high_water = high_water - 1",
        "DELETE FROM state",
        "DELETE FROM whole",
        "DROP TABLE whole",
    ] {
        fs::write(&file, &whole).unwrap();
        rusqlite::Connection::open(&file).unwrap().execute_batch(change).unwrap();
        let error = Backup::open(&file, &mut |_| {}).expect_err(change);
        assert!(matches!(error, DiskError::Damaged { .. }), "{change}: {error}");
    }
}

#[test]
fn no_backup_is_made_of_what_cannot_be_read_and_the_one_before_stays() {
    let folder = folder();
    let (file, _) = backed_up(folder.path());
    let (store, before) = (folder.path().join("store"), fs::read(&file).unwrap());
    let (cut, big) = (
        |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(9).unwrap(),
        vec![8; BIG_VALUE],
    );
    let changed = |path: &Path| {
        fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"9", 500_000).unwrap();
    };
    let removed = |path: &Path| fs::remove_file(path).unwrap();
    let ways: [&dyn Fn(&Path); 3] = [&cut, &changed, &removed];
    let mut disk = Sqlite::open(&store).unwrap();
    disk.commit(&[Change::Clear(None)], 50, Durability::Sync).unwrap();
    disk.delete_snapshot("author", "one").unwrap();
    for spoil in ways {
        for snapshot in [None, Some("two")] {
            match snapshot {
                None => put(&mut disk, "big", &big).unwrap(),
                Some(name) => {
                    disk.save_snapshot("author", name, 5, &[(record("big", 1, &big), true)]).unwrap()
                }
            }
            // It is only now that it is spoilt, while the store is in use.
            spoil(&files_of_values(&store)[0]);
            let refused = disk.backup().unwrap().write(&file, &mut |_| {}).unwrap_err();
            let DiskError::Unreadable { key, snapshot: of, .. } = &refused else { panic!("{refused}") };
            assert_eq!((&*key.author, &*key.name, of.as_deref()), ("author", "big", snapshot), "{refused}");
            assert!(fs::read(&file).unwrap() == before, "{refused}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something is left beside it");
            // What the error says to do helps.
            match snapshot {
                None => {
                    put(&mut disk, "big", &big).unwrap();
                    disk.backup().unwrap().write(&folder.path().join("store/backup"), &mut |_| {}).unwrap();
                    disk.commit(&[Change::Clear(None)], 50, Durability::Sync).unwrap();
                }
                Some(name) => disk.delete_snapshot("author", name).unwrap(),
            }
            let good = folder.path().join("store/backup");
            disk.backup().unwrap().write(&good, &mut |_| {}).unwrap();
            Backup::open(&good, &mut |_| {}).unwrap();
            disk.tidy().unwrap();
        }
    }
}

#[test]
fn a_restore_replaces_records_and_snapshots_in_one_commit() {
    let folder = folder();
    let (file, big) = (folder.path().join("copy"), vec![7; BIG_VALUE]);
    let mut disk = Sqlite::open(&folder.path().join("store")).unwrap();
    disk.save_snapshot("author", "one", 5, &[(record("a", 1, b"1"), true), (record("b", 2, &big), false)])
        .unwrap();
    disk.backup().unwrap().write(&file, &mut |_| {}).unwrap();

    disk.commit(&[Change::Put(record("c", 3, b"3"))], 3, Durability::Sync).unwrap();
    disk.save_snapshot("author", "two", 6, &[(record("d", 4, &big), true)]).unwrap();
    disk.delete_snapshot("author", "one").unwrap();
    let backup = Backup::open(&file, &mut |_| {}).unwrap();
    let changes = [Change::Clear(None), Change::Put(record("e", 9, &big))];
    disk.restore(&changes, 9, &backup).unwrap();
    for _ in 0..2 {
        assert_eq!(names(&mut disk), ["e"]);
        assert_eq!(disk.snapshots().unwrap(), backup.snapshots().unwrap());
        let mut found = Vec::new();
        let each = &mut |record: Record<'_>, persistent| found.push((record.value.len(), persistent));
        assert_eq!(disk.load_snapshot("author", "one", each).unwrap().unreadable, []);
        assert_eq!(found, [(1, true), (BIG_VALUE, false)]);
        assert_eq!(files_of_values(&folder.path().join("store")).len(), 2, "no other is left over");
        drop(disk);
        disk = Sqlite::open(&folder.path().join("store")).unwrap();
    }
}
