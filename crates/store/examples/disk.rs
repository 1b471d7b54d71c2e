//! What the disk costs: commits of 1, 16 and 1000 small changes, relaxed and sync; the longest of them; loading a million records.
//!
//! In the folder that is named, or a temporary one.

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use andiron_store::disk::{Backup, Change, Disk, Durability, Record, Sqlite};
use andiron_store::{Codec, KeyRef};

const RECORDS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or_else(|| temporary.path().into(), PathBuf::from);
    let mut disk = Sqlite::open(&folder.join("small"))?;
    for durability in [Durability::Relaxed, Durability::Sync] {
        for (changes, commits) in [(1, 20_000), (16, 5_000), (1000, 200)] {
            // Once for the records to be there, as in a store that is in use.
            measure(&mut disk, durability, changes, commits / 10)?;
            let (each, worst) = measure(&mut disk, durability, changes, commits)?;
            println!("{durability:?}, {changes} changes a commit: {each:?} a commit, the worst {worst:?}");
        }
    }
    drop(disk);
    million(&folder.join("million"))
}

fn measure(
    disk: &mut Sqlite,
    durability: Durability,
    changes: u64,
    commits: u64,
) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let (mut rng, mut worst, began) = (fastrand::Rng::with_seed(1), Duration::ZERO, Instant::now());
    for commit in 0..commits {
        let names: Vec<String> = (0..changes).map(|_| format!("key:{:07}", rng.u32(..10_000))).collect();
        let value = commit.to_le_bytes();
        let puts: Vec<Change<'_>> =
            names.iter().map(|name| Change::Put(record(name, commit, &value))).collect();
        let one = Instant::now();
        disk.commit(&puts, commit, durability)?;
        worst = worst.max(one.elapsed());
    }
    Ok((began.elapsed() / u32::try_from(commits)?, worst))
}

fn million(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (mut disk, began) = (Sqlite::open(folder)?, Instant::now());
    for thousand in 0..RECORDS / 1000 {
        let names: Vec<String> =
            (0..1000).map(|number| format!("key:{:07}", thousand * 1000 + number)).collect();
        let values: Vec<String> = names.iter().map(|name| format!("value:{name}")).collect();
        let both = names.iter().zip(&values);
        let puts = both.map(|(name, value)| Change::Put(record(name, thousand, value.as_bytes())));
        disk.commit(&puts.collect::<Vec<_>>(), thousand, Durability::Relaxed)?;
    }
    println!("a million records, a thousand a commit: {:?}", began.elapsed());
    let began = Instant::now();
    drop(disk);
    println!("closed in {:?}, {} bytes", began.elapsed(), folder.join("store.sqlite").metadata()?.len());
    let began = Instant::now();
    let mut disk = Sqlite::open(folder)?;
    let opened = began.elapsed();
    let mut bytes = 0;
    let loaded = disk.load(&mut |record| bytes += record.value.len())?;
    println!("opened in {opened:?}, with {} records loaded {:?}", loaded.records, began.elapsed());
    let (file, began) = (folder.join("backup"), Instant::now());
    disk.backup()?.write(&file, &mut |_| {})?;
    println!("backup {:?}", began.elapsed());
    let began = Instant::now();
    Backup::open(&file, &mut |_| {})?.load(&mut |_| {})?;
    println!("backup looked through and loaded {:?}", began.elapsed());
    let began = Instant::now();
    disk.commit(&[Change::Clear(None)], RECORDS, Durability::Relaxed)?;
    println!("clear {:?}", began.elapsed());
    Ok(())
}

fn record<'a>(name: &'a str, version: u64, value: &'a [u8]) -> Record<'a> {
    let key = KeyRef::named(name);
    Record { key, version, timestamp: 1.7e9, codec: Codec(1), expires_at: None, value }
}
