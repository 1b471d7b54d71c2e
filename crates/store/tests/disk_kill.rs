//! A process that commits is killed at any moment: what it was told is done is done, and nothing is half done.
//!
//! `ANDIRON_KILL_ROUNDS` is the number of kills (default 30), `ANDIRON_FUZZ_SEED` decides what is committed and, as far as that can be, when the kill comes.

mod disk_model;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use andiron_store::disk::{Disk, DiskError, Sqlite};
use disk_model::{MANY, Model, apply, batch, changes, number_from, state};
use fastrand::Rng;

/// What the process commits, given by its environment.
const FOLDER: &str = "ANDIRON_KILL_FOLDER";
const FIRST: &str = "ANDIRON_KILL_FIRST";
const SEED: &str = "ANDIRON_FUZZ_SEED";

#[test]
fn what_was_acknowledged_survives_a_kill_and_nothing_else_is_half_there() {
    let (rounds, seed) = (number_from("ANDIRON_KILL_ROUNDS", 30), number_from(SEED, 0));
    println!("{rounds} rounds, seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("store");
    let (mut rng, mut model, mut done) = (Rng::with_seed(seed), Model::new(), 0);
    for round in 0..rounds {
        let wait_for = if rng.u8(..5) == 0 { 0 } else { rng.u64(1..60) };
        let acknowledged = done + killed_after(&mut rng, &folder, seed, done, wait_for);
        for _ in 0..rng.u8(..3) {
            // Killed while it starts, with nothing to commit: that must change nothing.
            killed_after(&mut rng, &folder, seed, u64::MAX, 0);
        }
        let mut disk = Sqlite::open(&folder).unwrap();
        let found = state(&mut disk).unwrap();
        for number in done..acknowledged {
            apply(&mut model, &batch(seed, number, MANY).0);
        }
        done = acknowledged;
        if found != model {
            // The one after may have been done too, and not have been told.
            apply(&mut model, &batch(seed, done, MANY).0);
            done += 1;
            assert!(
                found == model,
                "seed {seed}, round {round}, {done} commits: {found:?}\nand not {model:?}"
            );
        }
        assert!(disk.high_water() >= done, "seed {seed}, round {round}");
        drop(disk);
        let mut again = Sqlite::open(&folder).unwrap();
        assert!(state(&mut again).unwrap() == model, "seed {seed}, round {round}: opened once more");
    }
    assert!(rounds < 10 || done > rounds, "only {done} commits in {rounds} rounds");
    println!("{done} commits, {} records at the end", model.len());
}

#[test]
fn a_second_process_is_refused_until_the_first_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = started(folder.path(), 0, u64::MAX);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "open"));
    let refused = Sqlite::open(folder.path()).unwrap_err();
    assert!(matches!(refused, DiskError::InUse(_)), "{refused}");
    kill(&mut child);
    assert_eq!(state(&mut Sqlite::open(folder.path()).unwrap()).unwrap(), Model::new());
}

fn started(folder: &Path, seed: u64, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .env(SEED, seed.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Starts a process, kills it some time after so many acknowledgements, and gives how many there were.
fn killed_after(rng: &mut Rng, folder: &Path, seed: u64, first: u64, wait_for: u64) -> u64 {
    let mut child = started(folder, seed, first);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = lines.filter(|line| line == "done");
    let mut count = acknowledged.by_ref().take(wait_for as usize).count() as u64;
    let spins = if wait_for > 0 { rng.u32(..50_000) } else { rng.u32(..3_000_000) };
    (0..spins).for_each(|spin| {
        std::hint::black_box(spin);
    });
    kill(&mut child);
    count += acknowledged.count() as u64;
    assert!(count >= wait_for, "the process ended by itself after {count} commits");
    count
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "it is started to be killed"]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut disk = Sqlite::open(Path::new(&folder)).unwrap();
    println!("\nopen");
    let seed = number_from(SEED, 0);
    let mut number = number_from(FIRST, 0);
    while number != u64::MAX {
        let (steps, durability) = batch(seed, number, MANY);
        number += 1;
        disk.commit(&changes(&steps), number, durability).unwrap();
        println!("done");
    }
    // Waits to be killed: nobody writes there.
    let _ = std::io::stdin().lines().next();
}
