//! What very many small entries cost: memory of the daemon for each, beside redis, and time and memory of who lists them.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use andiron::{Connector, Put, Store};
use anyhow::{Result, ensure};

use crate::process::{Ended, memory, peak_of_this};

/// The argument that makes this program list the entries of an author.
pub(crate) const LISTER: &str = "lister";

pub(crate) const KEYS: u64 = 1_000_000;
/// Entries that are set at once.
const TOGETHER: u64 = 1000;
/// Listed are an author with so many entries, and one with a tenth, which takes as much memory where it is constant.
const LISTED: u64 = 100_000;
/// What two listings may differ by in KiB that take the same.
const ALIKE: u64 = 256;

/// What was found.
pub(crate) enum Crowded {
    /// Bytes of memory for each key; of redis, where it is there.
    Keys { own: f64, redis: Option<f64> },
    /// Time of the whole listing, and by how many KiB it and one of a tenth made the client grow.
    Listing { time: Duration, grown: u64, grown_by_tenth: u64 },
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = crate::report::said;
        match self {
            Crowded::Keys { own, redis: Some(redis) } => {
                let verdict = said(own <= redis);
                write!(
                    f,
                    "{verdict}  {KEYS} keys: bytes for each at most those of redis ({own:.1}, redis {redis:.1})"
                )
            }
            Crowded::Keys { own, redis: None } => {
                write!(f, "        {KEYS} keys: {own:.1} bytes for each, without redis")
            }
            Crowded::Listing { time, grown, grown_by_tenth } => {
                let verdict = said(*grown <= grown_by_tenth + ALIKE);
                let (ms, tenth) = (time.as_millis(), LISTED / 10);
                write!(
                    f,
                    "{verdict}  listing {LISTED} keys: memory of the client as for {tenth} ({grown} KiB, {grown_by_tenth} KiB; {ms} ms)"
                )
            }
        }
    }
}

pub(crate) fn measure(root: &Path) -> Result<Vec<Crowded>> {
    let folder = tempfile::tempdir()?;
    let redis = of_redis(&folder.path().join("redis"));
    let redis = redis.map_err(|error| println!("  without redis: {error:#}")).ok();
    let daemon = Ended::daemon(root, folder.path(), "crowded", "unix")?;
    let store = Connector::new(&daemon.1).connect()?.store();
    let before = memory(&daemon.0)?;
    fill_store(&store, KEYS, |put| put)?;
    let own = each(before, memory(&daemon.0)?);
    for (author, keys) in [("tenth", LISTED / 10), ("whole", LISTED)] {
        fill_store(&store.author(author), keys, |put| put)?;
    }
    let [(_, grown_by_tenth), (time, grown)] = [listed(&daemon.1, "tenth")?, listed(&daemon.1, "whole")?];
    Ok(vec![Crowded::Keys { own, redis }, Crowded::Listing { time, grown, grown_by_tenth }])
}

/// Lists, and answers with the number of entries, the time in nanoseconds and how much the memory of this process grew in KiB.
pub(crate) fn list(address: &str, author: &str) -> Result<()> {
    let store = Connector::new(address).connect()?.store().author(author);
    store.entry("none")?; // what every client needs is there from here on
    let (before, begin) = (peak_of_this()?, Instant::now());
    let mut count = 0_u64;
    for entry in store.list() {
        entry?;
        count += 1;
    }
    println!("{count} {} {}", begin.elapsed().as_nanos(), peak_of_this()? - before);
    Ok(())
}

fn listed(address: &str, author: &str) -> Result<(Duration, u64)> {
    let output = Command::new(std::env::current_exe()?).args([LISTER, address, author]).output()?;
    let said = String::from_utf8(output.stdout)?;
    let [count, ns, grown] = said.split_whitespace().collect::<Vec<_>>()[..] else {
        anyhow::bail!("the listing failed");
    };
    ensure!(count.parse::<u64>()? > 0, "nothing was listed");
    Ok((Duration::from_nanos(ns.parse()?), grown.parse()?))
}

/// Bytes for each key of redis.
fn of_redis(socket: &Path) -> Result<f64> {
    let server = Ended::redis(socket, &["--appendonly", "no"].map(OsStr::new))?;
    let before = memory(&server)?;
    fill_redis(socket)?;
    Ok(each(before, memory(&server)?))
}

/// Sets all keys of redis, which is spoken to by hand.
pub(crate) fn fill_redis(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    fill(KEYS, |keys| {
        let count = keys.end - keys.start;
        let commands: String =
            keys.map(|key| format!("SET {} {}\r\n", name(key), value(key).escape_ascii())).collect();
        stream.write_all(commands.as_bytes())?;
        let mut line = String::new();
        for _ in 0..count {
            line.clear();
            answers.read_line(&mut line)?;
            ensure!(line == "+OK\r\n", "redis says {line}");
        }
        Ok(())
    })
}

/// Sets so many keys of a store, in the way that `how` says.
pub(crate) fn fill_store(store: &Store, keys: u64, how: impl Fn(Put) -> Put) -> Result<()> {
    fill(keys, |keys| {
        store.set_many(keys.map(|key| how(Put::bytes(&name(key), value(key), 3))))?;
        Ok(())
    })
}

/// Sets so many keys, some at a time.
fn fill(keys: u64, mut set: impl FnMut(std::ops::Range<u64>) -> Result<()>) -> Result<()> {
    (0..keys).step_by(TOGETHER as usize).try_for_each(|first| set(first..keys.min(first + TOGETHER)))
}

pub(crate) fn name(key: u64) -> String {
    format!("key:{key:07}")
}

/// Seven to twelve bytes.
fn value(key: u64) -> Vec<u8> {
    vec![b'v'; 7 + (key % 6) as usize]
}

pub(crate) fn each(before: u64, after: u64) -> f64 {
    (after.saturating_sub(before) << 10) as f64 / KEYS as f64
}
