//! How often a reader gets what is older than a write that was acknowledged before it asked: of us, and of a peer that caches as well.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use andiron_bench::{READY, Workload};
use anyhow::{Context, Result, bail, ensure};

/// Numbers that the writer writes.
const WRITES: u64 = 50_000;

/// What was counted of one contestant.
pub(crate) struct Stale {
    pub(crate) peer: &'static str,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) stale: u64,
    /// The last number was read in the end.
    pub(crate) came: bool,
}

/// Counts, with server and writer on one core and the reader on another.
pub(crate) fn count(peer: &'static str, program: &Path, socket: &Path) -> Result<Stale> {
    let mut server = Part::start(program, peer, "serve", socket, "1")?;
    let mut writer = Part::start(program, peer, "write", socket, "1")?;
    let mut reader = Part::start(program, peer, "read", socket, "0")?;
    for part in [&mut reader, &mut writer] {
        writeln!(part.process.stdin.as_mut().context("no input")?, "{WRITES}")?;
    }
    let counted = reader.line()?;
    let numbers: Vec<u64> = counted.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [reads, stale, came] = numbers[..] else { bail!("{peer} gave up") };
    let stale = Stale { peer, writes: WRITES, reads, stale, came: came == 1 };
    drop(server.process.stdin.take());
    Ok(stale)
}

/// One of the processes, which ends when nobody speaks to it any more.
struct Part {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Part {
    fn start(program: &Path, peer: &str, role: &str, socket: &Path, core: &str) -> Result<Part> {
        let mut process = Command::new(program)
            .args([peer, role])
            .arg(socket)
            .args([core, &Workload::Stale.name()])
            .arg(socket) // nothing of it is to be on a disk
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(process.stdout.take().context("no output")?);
        let mut part = Part { process, out };
        let line = part.line()?;
        ensure!(line.trim() == READY, "{peer} does not {role}: {}", line.trim());
        Ok(part)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
