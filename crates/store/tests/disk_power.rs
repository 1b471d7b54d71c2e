//! The power goes after any call of the system, and any call fails: what was acknowledged as safe is there.
//!
//! `ANDIRON_FUZZ_SEED` (default 0) decides what is committed and what becomes of what was not synced; `ANDIRON_POWER_COMMITS` (default 40) is how many
//! commits there are, with a power cut after each of their calls.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod disk_model;
#[path = "disk_power/files.rs"]
mod files;
#[path = "disk_power/image.rs"]
mod image;

use std::fs;
use std::path::Path;

use andiron_store::disk::{Change, Disk, DiskError, Durability, Record, Sqlite};
use andiron_store::{Codec, KeyRef};
use disk_model::{BIG, MANY, Mix, Model, apply, batch, changes, loaded, number_from, state};
use fastrand::Rng;
use files::{Failing, Note, Watching, Which};
use image::{Image, Unsynced};
use tempfile::TempDir;

#[test]
fn a_power_cut_takes_nothing_that_was_safe_and_leaves_no_commit_half_done() {
    power_cuts(number_from("ANDIRON_POWER_COMMITS", 40), MANY);
}

#[test]
fn a_power_cut_takes_no_big_value_that_was_safe() {
    power_cuts(number_from("ANDIRON_POWER_COMMITS", 40) / 2, BIG);
}

fn power_cuts(commits: u64, mix: Mix) {
    let seed = number_from("ANDIRON_FUZZ_SEED", 0);
    let folder = folder();
    let notes = noted(folder.path(), seed, commits, mix);
    println!("seed {seed}: {commits} commits, {} calls", notes.len());
    let mut models = vec![Model::new()];
    for number in 0..commits {
        let mut model = models.last().unwrap().clone();
        apply(&mut model, &batch(seed, number, mix).0);
        models.push(model);
    }
    let (mut image, mut rng) = (Image::default(), Rng::with_seed(seed));
    let (mut safe, mut done, mut cut) = (0, 0, 0);
    for (at, note) in notes.iter().enumerate() {
        image.note(note);
        if let Note::Acknowledged { commit, sync } = *note {
            done = commit;
            safe = if sync { commit } else { safe };
        }
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Some, Unsynced::SomeFiles] {
            let after = self::folder();
            image.after_power_cut(unsynced, &mut rng, folder.path(), after.path());
            let context = format!("seed {seed}, after call {at} ({safe} safe, {done} done), {unsynced:?}");
            let found = Found::at(&after.path().join("store"), &context);
            assert!(found.high_water >= safe, "{context}: high water {}", found.high_water);
            // Some that were not safe may be there, the next one among them.
            let last = (done as usize + 1).min(models.len() - 1);
            let is_one = models[safe as usize..=last].iter().any(|model| found.may_be(model, safe));
            assert!(is_one, "{context}: {:?}, cut {:?}", found.model, found.cut);
            cut += found.cut.len();
        }
    }
    println!("big values of relaxed commits were cut {cut} times");
    assert!(mix.big < BIG.big || cut > 0 || commits < 20, "seed {seed}: no big value was ever cut");
}

#[test]
fn a_power_cut_while_room_is_given_back_takes_nothing() {
    let (seed, folder) = (number_from("ANDIRON_FUZZ_SEED", 0), folder());
    let (names, value) = ((0..150).map(|name| format!("{name:03}")).collect::<Vec<_>>(), vec![7; 10_000]);
    let record = |name, version| {
        let key = KeyRef::new("author", name);
        Record { key, version, timestamp: 1.5, codec: Codec(1), expires_at: None, value: &value }
    };
    let puts: Vec<_> = names.iter().map(|name| Change::Put(record(name, 1))).collect();
    let (deleted, stay) = names.split_at(140);
    let deletes: Vec<_> = deleted.iter().map(|name| Change::Delete(KeyRef::new("author", name))).collect();
    let watching = Watching::begin(folder.path());
    let mut disk = Sqlite::open(&folder.path().join("store")).unwrap();
    disk.commit(&puts, 1, Durability::Sync).unwrap();
    disk.tidy().unwrap();
    let length = || fs::metadata(folder.path().join("store/store.sqlite")).unwrap().len();
    let before = length();
    disk.commit(&deletes, 2, Durability::Sync).unwrap();
    watching.acknowledged(2, true);
    disk.tidy().unwrap();
    assert!(length() < before, "nothing was given back");
    drop(disk);
    let (notes, mut image, mut rng) = (watching.notes(), Image::default(), Rng::with_seed(seed));
    let (mut is_deleted, mut cuts) = (false, 0);
    for (at, note) in notes.iter().enumerate() {
        image.note(note);
        is_deleted |= matches!(note, Note::Acknowledged { .. });
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Some, Unsynced::SomeFiles] {
            if !is_deleted {
                continue;
            }
            let after = self::folder();
            image.after_power_cut(unsynced, &mut rng, folder.path(), after.path());
            let context = format!("seed {seed}, after call {at}, {unsynced:?}");
            let found = Found::at(&after.path().join("store"), &context);
            assert!(found.model.keys().map(|(_, name)| name).eq(stay), "{context}: {:?}", found.model);
            assert!(
                found.model.values().all(|kept| kept.value == value) && found.cut.is_empty(),
                "{context}"
            );
            cuts += 1;
        }
    }
    println!("seed {seed}: {cuts} power cuts");
    assert!(cuts > 100, "the calls are not seen");
}

/// Commits, and gives all that was done to the files.
fn noted(folder: &Path, seed: u64, commits: u64, mix: Mix) -> Vec<Note> {
    let watching = Watching::begin(folder);
    let mut disk = Sqlite::open(&folder.join("store")).unwrap();
    for number in 0..commits {
        let (steps, durability) = batch(seed, number, mix);
        let commit = number + 1;
        disk.commit(&changes(&steps), commit, durability).unwrap();
        watching.acknowledged(commit, durability == Durability::Sync);
        match number % 10 {
            3 => disk.tidy().unwrap(),
            6 => disk.commit(&[], commit, Durability::Sync).unwrap(),
            9 => {
                drop(disk);
                disk = Sqlite::open(&folder.join("store")).unwrap();
            }
            _ => continue,
        }
        watching.acknowledged(commit, true);
    }
    drop(disk);
    watching.notes()
}

/// What was found after a power cut.
struct Found {
    model: Model,
    cut: Vec<(String, String)>,
    high_water: u64,
}

impl Found {
    fn at(store: &Path, context: &str) -> Self {
        let mut disk = Sqlite::open(store).unwrap_or_else(|error| panic!("{context}: {error}"));
        let high_water = disk.high_water();
        let (model, loaded) = loaded(&mut disk).unwrap_or_else(|error| panic!("{context}: {error}"));
        let cut = loaded.unreadable.into_iter();
        let cut = cut.map(|bad| (bad.key.author.to_string(), bad.key.name.to_string())).collect();
        // It takes writes again, and keeps them.
        disk.commit(&[Change::Clear(None)], 0, Durability::Sync).unwrap();
        assert_eq!(state(&mut disk).unwrap(), Model::new(), "{context}");
        Found { model, cut, high_water }
    }

    /// Whether this is what there was at a time. A big value of a relaxed commit may be cut; then that is told, and it is not taken for another one.
    fn may_be(&self, model: &Model, safe: u64) -> bool {
        let cut = |(key, kept): (_, &disk_model::Kept)| self.cut.contains(key) && kept.version > safe;
        self.model.len() + self.cut.len() == model.len()
            && model.iter().all(|(key, kept)| self.model.get(key) == Some(kept) || cut((key, kept)))
    }
}

#[test]
fn a_call_that_fails_changes_nothing_and_stops_nothing() {
    failing_calls(Which::One, libc::EIO);
    failing_calls(Which::One, libc::ENOSPC);
}

#[test]
fn where_all_calls_fail_from_one_on_nothing_changes_until_they_succeed_again() {
    failing_calls(Which::All, libc::ENOSPC);
}

#[test]
fn where_nothing_can_be_synced_from_one_call_on_nothing_changes_until_it_can() {
    failing_calls(Which::Syncs, libc::EIO);
}

const SOME_BIG: Mix = Mix { big: 80, ..BIG };

fn failing_calls(which: Which, errno: i32) {
    let (seed, mut from) = (number_from("ANDIRON_FUZZ_SEED", 0), 1);
    loop {
        let failing = Failing { from, which, errno };
        if !commits_with_failing(seed, failing, &format!("seed {seed}, {failing:?}")) {
            break;
        }
        from += 1;
    }
    println!("seed {seed}: each of {from} calls failed with error {errno}");
    assert!(from > 100, "the calls are not seen");
}

/// Commits while calls fail. False if none did, because there are not so many.
fn commits_with_failing(seed: u64, failing: Failing, context: &str) -> bool {
    let folder = folder();
    let (store, watching) = (folder.path().join("store"), Watching::begin(folder.path()));
    watching.fail(Some(failing));
    let (mut disk, mut model, mut failed_late) = (None, Model::new(), Vec::new());
    for number in 0..8 {
        if disk.is_none() {
            disk = Sqlite::open(&store).map_err(|error| assert_is_clear(&error, context)).ok();
        }
        let Some(disk) = &mut disk else { continue };
        let (steps, durability) = batch(seed, number, SOME_BIG);
        let mut after = model.clone();
        apply(&mut after, &steps);
        match disk.commit(&changes(&steps), number + 1, durability) {
            Ok(()) => {
                model = after;
                failed_late.clear();
            }
            Err(error) => {
                assert_is_clear(&error, context);
                failed_late.push(after);
                if failed_late.len() > 2 {
                    continue;
                }
                let found = watching.quietly(|| state(disk).unwrap());
                assert!(found == model, "{context}, commit {number}: {found:?}");
                // What a kill would leave now. While nothing can be written, a commit that failed at its very end may be there, wholly.
                let found = watching.quietly(|| state_of_copy(&store));
                let is_there = failing.which != Which::One && failed_late.contains(&found);
                assert!(found == model || is_there, "{context}, commit {number}: {found:?}");
            }
        }
        if number == 4 {
            let _ = disk.tidy().map_err(|error| assert_is_clear(&error, context));
        }
    }
    let failed = watching.failed() > 0;
    watching.fail(None);
    let mut disk = disk.unwrap_or_else(|| Sqlite::open(&store).expect(context));
    let (steps, durability) = batch(seed, 8, SOME_BIG);
    disk.commit(&changes(&steps), 9, durability).expect(context);
    apply(&mut model, &steps);
    drop(disk);
    let mut disk = Sqlite::open(&store).expect(context);
    assert!(state(&mut disk).unwrap() == model, "{context}: opened again");
    let big = model.values().filter(|kept| kept.value.len() >= andiron_store::disk::BIG_VALUE).count();
    let files = fs::read_dir(store.join("values")).unwrap().count();
    assert_eq!(files, big, "{context}: files of big values");
    failed
}

/// The error says what the system said, and does not blame the files.
fn assert_is_clear(error: &DiskError, context: &str) {
    let is_clear = matches!(error, DiskError::Full(_) | DiskError::Failed { .. } | DiskError::ReadOnly(_));
    assert!(is_clear, "{context}: {error}");
}

/// What is in a store as its files are now.
fn state_of_copy(store: &Path) -> Model {
    let copy = folder();
    for from in [store.into(), store.join("values")] {
        let to = copy.path().join(from.strip_prefix(store).unwrap());
        let Ok(files) = fs::read_dir(from) else { continue };
        fs::create_dir_all(&to).unwrap();
        for file in files.map(|file| file.unwrap()).filter(|file| file.file_type().unwrap().is_file()) {
            if !file.path().to_str().unwrap().ends_with("-shm") {
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    }
    state(&mut Sqlite::open(copy.path()).unwrap()).unwrap()
}

/// A folder in memory, if there is such a place.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}
