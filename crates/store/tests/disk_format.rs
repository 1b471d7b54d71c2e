//! Files that were written in the first format are read by every version that follows. They are in `tests/format-1`, and never written again.

mod disk_model;

use std::fs;
use std::path::{Path, PathBuf};

use andiron_store::disk::{BIG_VALUE, Backup, Change, Disk, Durability, Sqlite};
use disk_model::{Kept, Model, state};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format-1")
}

/// What is in it.
fn expected() -> Model {
    let kept = |version, expires_at, value: Vec<u8>| Kept {
        version,
        timestamp: 1_700_000_000.25,
        codec: 3,
        expires_at,
        value,
    };
    let hundred = (0..100).collect();
    let records = [
        ("default", "short", kept(1_700_000_000_000_001, None, b"20".to_vec())),
        ("default", "", kept(1_700_000_000_000_002, None, Vec::new())),
        ("default", "hundred", kept(1_700_000_000_000_003, Some(1_800_000_000_000_000), hundred)),
        ("a/b~\0ü", "\0", kept(u64::MAX, Some(u64::MAX), vec![1; 10_000])),
        ("default", "big", kept(1_700_000_000_000_004, None, vec![7; BIG_VALUE + 1])),
    ];
    let own = |(author, name, kept): (&str, &str, Kept)| ((author.to_owned(), name.to_owned()), kept);
    records.into_iter().map(own).collect()
}

#[test]
fn a_store_of_format_1_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("values")).unwrap();
    for file in ["store.sqlite", "values/0000000000000001.value"] {
        fs::copy(fixture().join(file), folder.path().join(file)).unwrap();
    }
    let mut disk = Sqlite::open(folder.path()).unwrap();
    assert!(state(&mut disk).unwrap() == expected());
    assert!((1_700_000_000_000_004..1_700_000_020_000_000).contains(&disk.high_water()));
    let snapshot = &disk.snapshots().unwrap()[0];
    assert_eq!((&*snapshot.author, &*snapshot.name, snapshot.records), ("default", "one", 1));
    assert_eq!(disk.load_snapshot("default", "one", &mut |_, _| {}).unwrap().unreadable, []);

    disk.commit(&[Change::Clear(Some("default"))], 0, Durability::Sync).unwrap();
    drop(disk);
    assert_eq!(state(&mut Sqlite::open(folder.path()).unwrap()).unwrap().len(), 1);
}

#[test]
fn a_backup_of_format_1_is_read() {
    let backup = Backup::open(&fixture().join("backup"), &mut |_| {}).unwrap();
    let mut model = Model::new();
    backup
        .load(&mut |record| {
            model.insert((record.key.author.to_owned(), record.key.name.to_owned()), record.into());
        })
        .unwrap();
    assert!(model == expected());
    assert_eq!(backup.snapshots().unwrap().len(), 1);
}

#[test]
#[ignore = "it writes the files of the format of now, in a folder that is named by ANDIRON_FIXTURE"]
fn the_files_are_written() {
    let Some(folder) = std::env::var_os("ANDIRON_FIXTURE") else { return };
    let folder = Path::new(&folder);
    let (model, mut disk) = (expected(), Sqlite::open(folder).unwrap());
    let puts = model.iter().map(|((author, name), kept)| Change::Put(kept.record(author, name)));
    disk.commit(&puts.collect::<Vec<_>>(), 1_700_000_000_000_004, Durability::Sync).unwrap();
    let short = model[&("default".to_owned(), "short".to_owned())].record("default", "short");
    disk.save_snapshot("default", "one", 1_700_000_000_000_000, &[(short, true)]).unwrap();
    disk.backup().unwrap().write(&folder.join("backup"), &mut |_| {}).unwrap();
}
