//! What connections cost that only are there: memory of the daemon, and time of somebody who calls meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use andiron::{Connector, Hub};
use andiron_bench::{quantile, run_on, say_ready};
use anyhow::{Context, Result, ensure};

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
    let program = root.join("target/release/andiron");
    ensure!(program.exists(), "the daemon is not built: `make bench` builds it, then runs this program");
    ["unix", "tcp"].into_iter().map(|transport| over(&program, transport, rounds)).collect()
}

fn over(program: &Path, transport: &'static str, rounds: usize) -> Result<Idle> {
    let folder = tempfile::tempdir()?;
    // Secrets and sockets of this run alone.
    let own = |command: &mut Command| {
        command
            .env("XDG_RUNTIME_DIR", folder.path())
            .env_remove("ANDIRON_ADDRESS")
            .env_remove("ANDIRON_SECRET_FILE");
    };
    let start = |name: &str| -> Result<(Ended, String)> {
        let mut command = Command::new("taskset");
        command.args(["-c", "1"]).arg(program).arg("serve").stderr(Stdio::piped());
        let local = format!("unix:{}/{name}", folder.path().display());
        match transport {
            "unix" => command.args(["--name", &local]),
            _ => command.args(["--no-local", "--listen", "tcp://127.0.0.1:0"]),
        };
        own(&mut command);
        let mut child = command.spawn().context("cannot start the daemon by taskset, of util-linux")?;
        let mut line = String::new();
        BufReader::new(child.stderr.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening at ").context(line.clone())?.to_owned();
        Ok((Ended(child), address))
    };
    let helper = |arguments: &[&str]| -> Result<(Ended, BufReader<std::process::ChildStdout>)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        own(&mut command);
        let mut child = command.spawn()?;
        let out = BufReader::new(child.stdout.take().context("no output")?);
        Ok((Ended(child), out))
    };
    let (alone, alone_at) = start("alone")?;
    let (crowded, crowded_at) = start("crowded")?;
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

/// Resident memory in KiB.
fn memory(process: &Ended) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory")?;
    Ok(line.split_whitespace().next().context("no memory")?.parse()?)
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}
