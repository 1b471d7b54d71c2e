//! What very many small entries cost: memory of the daemon for each, beside redis, and time and memory of who lists them.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use andiron::{Connector, Put};
use anyhow::{Context, Result, ensure};

use crate::process::{Ended, memory, peak_of_this};

/// The argument that makes this program list the entries of an author.
pub(crate) const LISTER: &str = "lister";

const KEYS: u64 = 1_000_000;
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
    fill(KEYS, |keys| {
        store.set_many(keys.map(|key| Put::bytes(&name(key), value(key), 3)))?;
        Ok(())
    })?;
    let own = each(before, memory(&daemon.0)?);
    for (author, keys) in [("tenth", LISTED / 10), ("whole", LISTED)] {
        let store = store.author(author);
        fill(keys, |keys| {
            store.set_many(keys.map(|key| Put::bytes(&name(key), value(key), 3)))?;
            Ok(())
        })?;
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

/// Bytes for each key of redis, which is spoken to by hand.
fn of_redis(socket: &Path) -> Result<f64> {
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(socket)
        .stdout(Stdio::null())
        .spawn();
    let mut server = Ended(server.context("redis-server is not installed")?);
    while !socket.exists() {
        ensure!(server.0.try_wait()?.is_none(), "redis-server ended");
        std::thread::yield_now();
    }
    let mut stream = UnixStream::connect(socket)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let before = memory(&server)?;
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
    })?;
    Ok(each(before, memory(&server)?))
}

/// Sets so many keys, some at a time.
fn fill(keys: u64, mut set: impl FnMut(std::ops::Range<u64>) -> Result<()>) -> Result<()> {
    (0..keys).step_by(TOGETHER as usize).try_for_each(|first| set(first..keys.min(first + TOGETHER)))
}

fn name(key: u64) -> String {
    format!("key:{key:07}")
}

/// Seven to twelve bytes.
fn value(key: u64) -> Vec<u8> {
    vec![b'v'; 7 + (key % 6) as usize]
}

fn each(before: u64, after: u64) -> f64 {
    (after.saturating_sub(before) << 10) as f64 / KEYS as f64
}
