//! Starts the contestants, gives them turns, and collects what they measure.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use andiron_bench::{Order, Python, READY, Workload};
use anyhow::{Context, Result, bail, ensure};

use crate::report::{self, Measured, Pinning, peers};
use crate::stale::Stale;
use crate::{crowded, disk, idle, python, recovery, stale};

/// How long a turn should take.
const TURN_NS: f64 = 60e6;
/// The same where a disk has its moods.
const SYNCED_TURN_NS: f64 = 300e6;
/// The same of a stream, which is to be long.
const STREAM_TURN_NS: f64 = 2e9;
/// So many rounds are one where a call takes long.
const LONG_ROUNDS: usize = 6;

fn folder_of_results(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Runs the contest, prints its table and writes `target/bench/results.jsonl`.
pub(crate) fn run(rounds: usize, only: &str) -> Result<()> {
    ensure!(rounds > 0, "at least one round");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let built = root.join("bench-peers/target/release/bench-peers");
    let sockets = tempfile::tempdir()?;
    // What is to be on a disk is there: a folder for short-lived files may be in memory.
    let disk = tempfile::Builder::new().prefix("disk-").tempdir_in(folder_of_results(&root)?)?;
    let (kind, device) = disk::file_system(disk.path())?;
    println!("what is durable is on {kind}, {device}");
    let mut all = Vec::new();
    for pinning in Pinning::ALL {
        println!("{rounds} rounds, {}", pinning.describe());
        let _awake =
            pinning.cores_that_sleep().iter().map(|&core| Awake::keep(core)).collect::<Result<Vec<_>>>()?;
        let all_workloads = Workload::ALL.into_iter().chain(Python::ALL.map(Workload::Python));
        for workload in all_workloads.filter(|&workload| pinning.concerns(workload)) {
            let mut contestants = Vec::new();
            for peer in peers().filter(|peer| peer.takes_part(workload, only)) {
                let program = match python::program(&root, peer.name) {
                    Some(program) => program,
                    None if peer.is_own() => vec![std::env::current_exe()?],
                    None => vec![built.clone()],
                };
                ensure!(
                    program.iter().all(|path| path.exists()),
                    "{} is not built: `make bench` builds it, then runs this program",
                    peer.name
                );
                let name = format!("{}-{}-{workload:?}", peer.name, pinning.name());
                let place = (sockets.path().join(&name), disk.path().join(&name));
                match Contestant::start(&program, peer.name, &place, pinning, workload) {
                    Ok(contestant) => contestants.push(contestant),
                    Err(error) if !peer.is_own() => println!("  without {}: {error:#}", peer.name),
                    Err(error) => return Err(error.context(format!("cannot start {}", peer.name))),
                }
            }
            all.extend(rounds_of(contestants, rounds, workload, pinning)?);
        }
    }
    let idle = match "idle".contains(only) {
        true => idle::measure(&root, rounds)?,
        false => Vec::new(),
    };
    let stale = match Workload::Stale.name().contains(only) {
        true => count_stale(&built, sockets.path())?,
        false => Vec::new(),
    };
    let crowded = match "keys".contains(only) {
        true => crowded::measure(&root)?,
        false => Vec::new(),
    };
    let recovery = match recovery::NAME.contains(only) {
        true => Some(recovery::measure(&root, disk.path())?),
        false => None,
    };
    let results = root.join("target/bench/results.jsonl");
    report::publish(&results, &all, &idle, &stale, &crowded, recovery.as_ref())
}

fn count_stale(peers: &Path, sockets: &Path) -> Result<Vec<Stale>> {
    let own = stale::count("andiron", &std::env::current_exe()?, &sockets.join("stale"))?;
    let other = stale::count("redis-cache", peers, &sockets.join("stale-redis"));
    let other = other.map_err(|error| println!("  without redis-cache: {error:#}")).ok();
    Ok([own].into_iter().chain(other).collect())
}

fn rounds_of(
    contestants: Vec<Contestant>,
    rounds: usize,
    workload: Workload,
    pinning: Pinning,
) -> Result<Vec<Measured>> {
    if contestants.is_empty() {
        return Ok(Vec::new());
    }
    let turn = match workload {
        Workload::Python(Python::Stream) => STREAM_TURN_NS,
        _ if workload.is_synced() => SYNCED_TURN_NS,
        _ => TURN_NS,
    };
    let rounds = match workload {
        Workload::Python(python) if python.is_long() => rounds.div_ceil(LONG_ROUNDS),
        _ => rounds,
    };
    let mut playing: Vec<_> = contestants
        .into_iter()
        .map(|contestant| {
            let measured = Measured::new(contestant.peer, workload, pinning);
            (contestant, workload.first_turn(), measured)
        })
        .collect();
    for round in 0..=rounds {
        let mut failed = None;
        playing.retain_mut(|(contestant, calls, measured)| match contestant.turn(workload, *calls) {
            Ok((median, p99)) => {
                *calls = (turn / median).max(1.0) as usize;
                if round > 0 {
                    measured.add(median, p99);
                }
                true
            }
            Err(error) if report::is_rival(contestant.peer) => {
                println!("  without {}: {error:#}", contestant.peer);
                false
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        failed.map_or(Ok(()), Err)?;
        print!("\r  {}: {round}/{rounds}", workload.name());
        std::io::stdout().flush()?;
    }
    println!();
    Ok(playing.into_iter().map(|(_, _, measured)| measured).collect())
}

/// Keeps a core from going to sleep with a process that only runs where nothing else wants to. On a virtual machine, waking a core
/// that sleeps takes several times as long as all that is to be measured here, and never the same time.
struct Awake(Child);

impl Awake {
    fn keep(core: usize) -> Result<Awake> {
        let spinner = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args([crate::SPIN, &core.to_string()])
            .stdin(Stdio::piped())
            .spawn();
        Ok(Awake(spinner.context("cannot start chrt, of util-linux")?))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// A server and a client that wait for their turn.
struct Contestant {
    peer: &'static str,
    server: Child,
    client: Child,
    /// `None` at the end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Contestant {
    fn start(
        program: &[PathBuf],
        peer: &'static str,
        (socket, folder): &(PathBuf, PathBuf),
        pinning: Pinning,
        workload: Workload,
    ) -> Result<Contestant> {
        let launch = |role: &str, core: usize| {
            Command::new(&program[0])
                .args(&program[1..])
                .args([peer, role])
                .arg(socket)
                .args([core.to_string(), workload.name()])
                .arg(folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        };
        let mut server = launch("serve", pinning.server_core())?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("no output")?).read_line(&mut line)?;
        ensure!(line.trim() == READY, "its server does not start{}", why(&line));
        let mut client = launch("call", pinning.client_core())?;
        let orders = Some(client.stdin.take().context("no input")?);
        let answers = BufReader::new(client.stdout.take().context("no output")?);
        Ok(Contestant { peer, server, client, orders, answers })
    }

    /// Median and 99th percentile of the time of one call in nanoseconds; where many are on their way, both are the time for all divided
    /// by their number.
    fn turn(&mut self, workload: Workload, calls: usize) -> Result<(f64, f64)> {
        let order = workload.order(calls);
        writeln!(self.orders.as_mut().context("it was ended")?, "{order}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let numbers: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        match (order, &*numbers) {
            (Order::Sequential(_), &[median, p99]) => Ok((median, p99)),
            (Order::Pipelined(_, calls) | Order::Looped(calls), &[time]) => {
                Ok((time / calls as f64, time / calls as f64))
            }
            _ => bail!("{} gave up", self.peer),
        }
    }
}

/// What a server says that cannot start.
fn why(line: &str) -> String {
    if line.trim().is_empty() { String::new() } else { format!(": {}", line.trim()) }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // A client and a server end when nobody speaks to them any more, and with them what they started.
        drop(self.orders.take());
        let _ = self.client.wait();
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}
