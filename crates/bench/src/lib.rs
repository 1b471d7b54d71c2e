//! What all contestants of a benchmark have in common: how they are started, told what to do, and timed.
//!
//! A contestant is a program that is started twice, as server and as client, with the arguments `PEER ROLE SOCKET CORE WORKLOAD FOLDER`. The client
//! obeys the lines of its standard input and answers each with a line of nanoseconds; see [`Order`].
#![forbid(unsafe_code)]

mod register;
mod workload;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
pub use register::{Register, read_numbers, write_numbers};
use rustix::thread::{CpuSet, sched_setaffinity};
pub use workload::{LOG_FILLED, Python, WRITERS, Workload};

/// How many calls are on their way at once on each connection in [`Client::pipelined`].
pub const IN_FLIGHT: usize = 128;

/// What the server prints when clients may connect.
pub const READY: &str = "ready";

/// Calls before the clock is started, so that caches and threads are awake.
const WARM_UP: usize = 300;

/// One end of a contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers.
    Serve,
    /// Calls, and measures.
    Call,
    /// Writes a [`Register`].
    Write,
    /// Reads a [`Register`].
    Read,
}

/// How one end of a contestant is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Whose program.
    pub peer: String,
    /// Which end.
    pub role: Role,
    /// The Unix socket to meet at; for those who meet elsewhere a file that says where.
    pub socket: PathBuf,
    /// What will be measured.
    pub workload: Workload,
    /// On a disk, where what is measured is to be on one; not made yet.
    pub folder: PathBuf,
}

impl Start {
    /// Reads the arguments of this process and moves it to its core, with all threads it will start.
    ///
    /// # Errors
    /// Other arguments, or a core that is not there.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Start> {
        let (Some(peer), Some(role), Some(socket), Some(core), Some(workload), Some(folder)) =
            (args.next(), args.next(), args.next(), args.next(), args.next(), args.next())
        else {
            bail!("usage: PEER serve|call|write|read SOCKET CORE WORKLOAD FOLDER");
        };
        let role = match &*role {
            "serve" => Role::Serve,
            "call" => Role::Call,
            "write" => Role::Write,
            "read" => Role::Read,
            other => bail!("the role is serve, call, write or read, not {other}"),
        };
        run_on(&core)?;
        let workload = Workload::of(&workload)?;
        Ok(Start { peer, role, socket: socket.into(), workload, folder: folder.into() })
    }
}

/// Moves this process to a core, with all threads it will start.
///
/// # Errors
/// No number, or a core that is not there.
pub fn run_on(core: &str) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core.parse().context("the core is a number")?);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on core {core}"))
}

/// Tells the harness that clients may connect.
///
/// # Errors
/// The harness is gone.
pub fn say_ready() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()
}

/// The calling end of a contestant. What its call is, the [`Workload`] says.
pub trait Client {
    /// Calls again and again, for as long as `laps` says.
    ///
    /// # Errors
    /// A call that failed, or a contestant that does not take part in this.
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let _ = laps;
        bail!("no part in this")
    }

    /// Makes so many calls one after the other.
    ///
    /// # Errors
    /// As for [`sequential`](Client::sequential).
    fn looped(&mut self, calls: usize) -> Result<()> {
        let _ = calls;
        bail!("no part in this")
    }

    /// Makes about so many calls over so many connections together, with [`IN_FLIGHT`] of them on their way on each at any time; where a disk has to know of each,
    /// with one.
    ///
    /// # Errors
    /// A call that failed, or a contestant that does not take part in this.
    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
        let _ = (connections, calls);
        bail!("no part in this")
    }
}

/// Times one call after the other: `while laps.next() { call }`.
#[derive(Debug)]
pub struct Laps {
    left: usize,
    last: Option<Instant>,
    times: Vec<u64>,
}

impl Laps {
    fn new(calls: usize) -> Laps {
        Laps { left: calls, last: None, times: Vec::with_capacity(calls) }
    }

    /// Ends a lap, if one runs, and begins the next; false when there were enough.
    #[inline]
    #[allow(clippy::should_implement_trait)] // an iterator would borrow the laps for the whole loop
    pub fn next(&mut self) -> bool {
        let now = Instant::now();
        if let Some(last) = self.last {
            self.times.push((now - last).as_nanos() as u64);
        }
        let more = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.last = more.then_some(now);
        more
    }

    /// Does what does not count for the lap that runs.
    pub fn apart(&mut self, done: impl FnOnce()) {
        let begin = Instant::now();
        done();
        self.last = self.last.map(|last| last + begin.elapsed());
    }
}

/// What the harness asks of a client. As text: `sequential 1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// So many calls one after the other. The answer is median and 99th percentile of one call.
    Sequential(usize),
    /// The same for calls that are shorter than a look at the clock. The answer is the time for all.
    Looped(usize),
    /// Over so many connections so many calls together; see [`Client::pipelined`]. The answer is the time for all.
    Pipelined(usize, usize),
}

impl Order {
    fn parse(line: &str) -> Result<Order> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["sequential", calls] => Ok(Order::Sequential(calls.parse()?)),
            ["looped", calls] => Ok(Order::Looped(calls.parse()?)),
            ["pipelined", connections, calls] => Ok(Order::Pipelined(connections.parse()?, calls.parse()?)),
            _ => bail!("no order: {line}"),
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Order::Sequential(calls) => write!(f, "sequential {calls}"),
            Order::Looped(calls) => write!(f, "looped {calls}"),
            Order::Pipelined(connections, calls) => write!(f, "pipelined {connections} {calls}"),
        }
    }
}

/// Does so many calls, which each of these makes a part of, on a thread each.
///
/// # Errors
/// That of a call that failed.
pub fn together<T: Send>(
    writers: &mut [T],
    calls: usize,
    call: impl Fn(&mut T) -> Result<()> + Sync,
) -> Result<()> {
    let (each, call) = (calls / writers.len().max(1), &call);
    std::thread::scope(|scope| {
        let threads: Vec<_> = writers
            .iter_mut()
            .map(|writer| scope.spawn(move || (0..each).try_for_each(|_| call(writer))))
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(_) => bail!("a writer panicked"),
        })
    })
}

/// Obeys the harness until it hangs up.
///
/// # Errors
/// A call that failed, or an order that is none.
pub fn obey(client: &mut impl Client) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let answer = match Order::parse(&line?)? {
            Order::Sequential(calls) => {
                client.sequential(&mut Laps::new(WARM_UP.min(calls)))?;
                let mut laps = Laps::new(calls);
                client.sequential(&mut laps)?;
                laps.times.sort_unstable();
                format!("{} {}", quantile(&laps.times, 0.5), quantile(&laps.times, 0.99))
            }
            Order::Looped(calls) => {
                client.looped(WARM_UP)?;
                let begin = Instant::now();
                client.looped(calls)?;
                begin.elapsed().as_nanos().to_string()
            }
            Order::Pipelined(connections, calls) => {
                client.pipelined(connections, calls.min(connections * WARM_UP))?;
                let begin = Instant::now();
                client.pipelined(connections, calls)?;
                begin.elapsed().as_nanos().to_string()
            }
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The value below which this share of the sorted values lies; the default value where there are none.
pub fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_list() {
        let hundred: Vec<u32> = (0..=100).collect();
        assert_eq!(quantile(&hundred, 0.5), 50);
        assert_eq!(quantile(&hundred, 0.99), 99);
        assert_eq!(quantile(&[7], 0.99), 7);
        assert_eq!(quantile::<u32>(&[], 0.5), 0);
    }

    #[test]
    fn an_order_comes_back_from_its_text() {
        for order in [Order::Sequential(7), Order::Looped(6), Order::Pipelined(8, 9)] {
            assert_eq!(Order::parse(&order.to_string()).unwrap(), order);
        }
        assert!(Order::parse("sequential").is_err());
    }

    #[test]
    fn laps_are_as_many_as_asked_for() {
        let mut laps = Laps::new(3);
        let mut calls = 0;
        while laps.next() {
            calls += 1;
        }
        assert_eq!((calls, laps.times.len()), (3, 3));
    }
}
