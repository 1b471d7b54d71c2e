//! What connections cost that only are there: memory of the daemon, and time of somebody who calls meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use andiron::{Connector, Hub};
use andiron_bench::{quantile, run_on, say_ready};
use anyhow::{Context, Result, ensure};

use crate::process::{Ended, memory, of_this_run};

/// The argument that makes this program hold connections and do nothing.
pub(crate) const CROWD: &str = "crowd";
/// The argument that makes this program call a daemon.
pub(crate) const CALLER: &str = "caller";

const CONNECTIONS: usize = 10_000;
/// Calls of one turn.
const CALLS: usize = 1000;

/// What was found over one transport.
pub(crate) struct Idle {
    pub(crate) transport: &'static str,
    /// Resident memory of the daemon, in KiB for each connection.
    pub(crate) kib: f64,
    /// How many times as long a call takes with the others there.
    pub(crate) slower: f64,
}

/// Holds so many connections until the harness is gone.
pub(crate) fn crowd(address: &str, connections: usize) -> Result<()> {
    let connector = Connector::new(address);
    let hubs: Vec<Hub> = (0..connections).map(|_| connector.connect()).collect::<Result<_, _>>()?;
    say_ready()?;
    std::io::stdin().read_line(&mut String::new())?;
    drop(hubs);
    Ok(())
}

/// Calls for each line, and answers with the median of the times in nanoseconds.
pub(crate) fn call(address: &str, core: &str) -> Result<()> {
    run_on(core)?;
    let store = Connector::new(address).connect()?.store();
    let version = store.set("idle", &1)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let begin = Instant::now();
            store.get_if_changed("idle", version)?;
            times.push(begin.elapsed().as_nanos() as u64);
        }
        times.sort_unstable();
        println!("{}", quantile(&times, 0.5));
        std::io::stdout().flush()?;
    }
    Ok(())
}

pub(crate) fn measure(root: &Path, rounds: usize) -> Result<Vec<Idle>> {
    ["unix", "tcp"].into_iter().map(|transport| over(root, transport, rounds)).collect()
}

fn over(root: &Path, transport: &'static str, rounds: usize) -> Result<Idle> {
    let folder = tempfile::tempdir()?;
    let helper = |arguments: &[&str]| -> Result<(Ended, BufReader<std::process::ChildStdout>)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        of_this_run(&mut command, folder.path());
        let mut child = command.spawn()?;
        let out = BufReader::new(child.stdout.take().context("no output")?);
        Ok((Ended(child), out))
    };
    let (alone, alone_at) = Ended::daemon(root, folder.path(), "alone", transport)?;
    let (crowded, crowded_at) = Ended::daemon(root, folder.path(), "crowded", transport)?;
    let mut callers = [helper(&[CALLER, &alone_at, "0"])?, helper(&[CALLER, &crowded_at, "0"])?];
    let turn = |(caller, out): &mut (Ended, BufReader<std::process::ChildStdout>)| -> Result<f64> {
        writeln!(caller.0.stdin.as_mut().context("no input")?)?;
        let mut line = String::new();
        out.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    };
    for caller in &mut callers {
        turn(caller)?;
    }
    let before = memory(&crowded)?;
    let (crowd, mut out) = helper(&[CROWD, &crowded_at, &CONNECTIONS.to_string()])?;
    let mut line = String::new();
    out.read_line(&mut line)?;
    ensure!(!line.is_empty(), "the crowd could not connect: raise the limit of descriptors (ulimit -n)");
    let after = memory(&crowded)?;
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (with, without) = (turn(&mut callers[1])?, turn(&mut callers[0])?);
        ratios.push(with / without);
    }
    ratios.sort_by(f64::total_cmp);
    drop((crowd, alone));
    let kib = (after.saturating_sub(before)) as f64 / CONNECTIONS as f64;
    Ok(Idle { transport, kib, slower: quantile(&ratios, 0.5) })
}
