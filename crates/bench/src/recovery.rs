//! How long a daemon that was killed takes until it has its persistent entries back and answers, beside redis, and what each takes of its memory.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use andiron::Connector;
use andiron_bench::quantile;
use anyhow::{Context, Result, ensure};

use crate::crowded::{KEYS, each, fill_redis, fill_store, name};
use crate::process::{Ended, memory};

/// What it is called where rows are chosen.
pub(crate) const NAME: &str = "durable recovery";

/// How often each is killed and comes back, in turns.
const TIMES: usize = 5;

/// What was found.
pub(crate) struct Recovery {
    own: Back,
    redis: Option<Back>,
}

/// How somebody came back.
struct Back {
    /// How long all entries took to be set.
    filled: Duration,
    times: Vec<Duration>,
    /// Bytes of memory for each entry, with all that a process of its kind has.
    bytes: f64,
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.times.clone();
        times.sort_unstable();
        let Back { filled, bytes, .. } = self;
        let median = quantile(&times, 0.5);
        write!(f, "{median:.2?}, {bytes:.1} bytes of memory for each; set within {filled:.2?}")
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "        recovery of {KEYS} entries: {}", self.own)?;
        match &self.redis {
            Some(redis) => write!(f, "; redis, everysec: {redis}"),
            None => write!(f, "; without redis"),
        }
    }
}

pub(crate) fn measure(root: &Path, disk: &Path) -> Result<Recovery> {
    let folder = tempfile::tempdir()?;
    let (state, socket) = (disk.join("recovery"), folder.path().join("redis"));
    // Each at a socket of its own, since one that was killed leaves its there.
    let start = |time: usize| {
        let name = format!("recovery-{time}");
        Ended::daemon_with_state(root, folder.path(), &name, "unix", Some(&state))
    };
    let begin = Instant::now();
    let (daemon, address) = start(0)?;
    fill_store(&Connector::new(&address).connect()?.store(), KEYS, andiron::Put::persist)?;
    let mut own = Back { filled: begin.elapsed(), times: Vec::new(), bytes: 0.0 };
    drop(daemon); // by SIGKILL, as all of them
    let files = disk.join("redis");
    std::fs::create_dir(&files)?;
    let begin = Instant::now();
    let filled = redis(&socket, &files).and_then(|_server| fill_redis(&socket));
    let filled = filled.map_err(|error| println!("  without redis: {error:#}")).ok();
    let mut other = filled.map(|()| Back { filled: begin.elapsed(), times: Vec::new(), bytes: 0.0 });
    for time in 1..=TIMES {
        let begin = Instant::now();
        let (daemon, address) = start(time)?;
        let last = Connector::new(&address).connect()?.store().entry(&name(KEYS - 1))?;
        own.times.push(begin.elapsed());
        ensure!(last.is_some(), "an entry that was persistent is not there");
        own.bytes = each(0, memory(&daemon)?);
        drop(daemon);
        if let Some(other) = &mut other {
            let begin = Instant::now();
            let server = redis(&socket, &files)?;
            wait_for_redis(&socket)?;
            other.times.push(begin.elapsed());
            other.bytes = each(0, memory(&server)?);
        }
        print!("\r  {NAME}: {time}/{TIMES}");
        std::io::stdout().flush()?;
    }
    println!();
    Ok(Recovery { own, redis: other })
}

fn redis(socket: &Path, files: &Path) -> Result<Ended> {
    let how = ["--appendonly", "yes", "--appendfsync", "everysec", "--dir"].map(OsStr::new);
    Ended::redis(socket, &[&how[..], &[files.as_os_str()]].concat())
}

/// Until it has read its files, while which it answers that it does.
fn wait_for_redis(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    loop {
        line.clear();
        stream.write_all(format!("GET {}\r\n", name(KEYS - 1)).as_bytes())?;
        answers.read_line(&mut line)?;
        if !line.starts_with("-LOADING") {
            let length: i64 = line.trim_start_matches('$').trim().parse().context(line.clone())?;
            ensure!(length > 0, "an entry of redis is not there");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1)); // it reads on between answers
    }
}
