//! From what was measured to rows, a table and a file.

use std::path::Path;

use andiron_bench::{Order, Python, Workload, quantile};
use anyhow::Result;
use serde::Serialize;

use crate::crowded::Crowded;
use crate::idle::Idle;
use crate::python;
use crate::recovery::Recovery;
use crate::stale::Stale;

/// A contestant.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What the system itself takes for the same, to compare it with.
    pub(crate) floor: &'static str,
    pub(crate) transport: &'static str,
    pub(crate) takes_part: &'static [Workload],
}

impl Peer {
    /// True for those that are in this program.
    pub(crate) fn is_own(&self) -> bool {
        self.name.starts_with("andiron")
            || matches!(self.name, "floor" | "floor-tcp" | "floor-append" | "floor-sqlite")
    }

    pub(crate) fn takes_part(&self, workload: Workload, only: &str) -> bool {
        // With a contestant its floor has to run too.
        let meant = workload.name().contains(only)
            || self.name.contains(only)
            || peers().any(|other| other.name.contains(only) && other.floor == self.name);
        meant && self.takes_part.contains(&workload)
    }
}

const CALLS: &[Workload] = &[Workload::SmallCall, Workload::Pipelined, Workload::Eight];
const SMALL: &[Workload] = &[Workload::SmallCall];
const MANY: &[Workload] = &[Workload::Pipelined, Workload::Eight];
const BIG: u16 = 64;

/// Whose turn comes after whose.
const PEERS: [Peer; 20] = [
    Peer {
        name: "floor",
        floor: "floor",
        transport: "unix",
        takes_part: &[
            Workload::SmallCall,
            Workload::Pipelined,
            Workload::Get,
            Workload::Set,
            Workload::Relaxed,
            Workload::Sync,
            Workload::SetCopy(BIG),
            Workload::ReadAll(BIG),
            Workload::ReadAgain(BIG),
        ],
    },
    Peer {
        name: "floor-append",
        floor: "floor-append",
        transport: "disk",
        takes_part: &[Workload::Sync, Workload::SyncMany],
    },
    Peer {
        name: "floor-sqlite",
        floor: "floor-append",
        transport: "disk",
        takes_part: &[Workload::Relaxed, Workload::Sync, Workload::SyncMany],
    },
    Peer { name: "andiron-plain", floor: "floor", transport: "unix", takes_part: &[Workload::Relaxed] },
    Peer { name: "andiron", floor: "floor", transport: "unix", takes_part: &Workload::ALL },
    Peer { name: "andiron-cell", floor: "floor", transport: "unix", takes_part: &[Workload::CachedGet] },
    Peer { name: "tarpc", floor: "floor", transport: "unix", takes_part: CALLS },
    Peer { name: "floor-tokio", floor: "floor-tokio", transport: "unix", takes_part: SMALL },
    Peer { name: "andiron-tokio", floor: "floor-tokio", transport: "unix", takes_part: CALLS },
    Peer { name: "tonic", floor: "floor", transport: "unix", takes_part: MANY },
    Peer { name: "jsonrpsee", floor: "floor", transport: "tcp", takes_part: MANY },
    Peer {
        name: "redis",
        floor: "floor",
        transport: "unix",
        takes_part: &[
            Workload::Pipelined,
            Workload::Eight,
            Workload::Get,
            Workload::Set,
            Workload::First(1),
            Workload::First(BIG),
            Workload::SetCopy(BIG),
            Workload::ReadAll(BIG),
        ],
    },
    Peer { name: "redis-everysec", floor: "floor", transport: "unix", takes_part: &[Workload::Relaxed] },
    Peer {
        name: "redis-always",
        floor: "floor",
        transport: "unix",
        takes_part: &[Workload::Sync, Workload::SyncMany],
    },
    Peer { name: "redis-cache", floor: "floor", transport: "unix", takes_part: &[Workload::CachedGet] },
    Peer {
        name: "iceoryx2",
        floor: "floor",
        transport: "memory",
        takes_part: &[Workload::CachedGet, Workload::Check],
    },
    Peer { name: "floor-tcp", floor: "floor-tcp", transport: "tcp", takes_part: SMALL },
    Peer { name: "andiron-tcp", floor: "floor-tcp", transport: "tcp", takes_part: SMALL },
    Peer { name: "floor-tls", floor: "floor-tls", transport: "tls", takes_part: SMALL },
    Peer { name: "andiron-tls", floor: "floor-tls", transport: "tls", takes_part: SMALL },
];

/// All of them, those in Python behind the others.
pub(crate) fn peers() -> impl Iterator<Item = &'static Peer> {
    PEERS.iter().chain(&python::PEERS)
}

/// True for what is neither Andiron nor a floor.
pub(crate) fn is_rival(name: &str) -> bool {
    !name.starts_with("floor") && !name.starts_with("andiron")
}

/// In which unit times of a workload are told.
#[derive(Clone, Copy)]
struct Unit {
    name: &'static str,
    digits: usize,
}

impl Unit {
    fn of(workload: Workload) -> Unit {
        match workload {
            Workload::Pipelined | Workload::Eight | Workload::SyncMany => Unit { name: "calls/s", digits: 0 },
            Workload::CachedGet
            | Workload::Check
            | Workload::Python(Python::CachedInt | Python::CachedDict) => Unit { name: "ns", digits: 1 },
            _ => Unit { name: "us", digits: 2 },
        }
    }

    /// From the time of one call in nanoseconds.
    fn of_ns(self, ns: f64) -> f64 {
        match self.name {
            "calls/s" => 1e9 / ns,
            "us" => ns / 1e3,
            _ => ns,
        }
    }
}

/// Which cores the two processes run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinning {
    TwoCores,
    OneCore,
}

impl Pinning {
    pub(crate) const ALL: [Pinning; 2] = [Pinning::TwoCores, Pinning::OneCore];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pinning::TwoCores => "two",
            Pinning::OneCore => "one",
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Pinning::TwoCores => "client on one core, server on another",
            Pinning::OneCore => "client and server on one core",
        }
    }

    /// What is read from memory alone, the moving of big values and what a disk has to know of is measured once: it is not the waking of a second process that counts.
    pub(crate) fn concerns(self, workload: Workload) -> bool {
        let alone = workload.is_big()
            || workload.is_durable()
            || match workload {
                Workload::CachedGet | Workload::Check => true,
                Workload::Python(python) => python.is_alone(),
                _ => false,
            };
        self == Pinning::TwoCores || !alone
    }

    /// Where two processes share a core there is always something to do.
    pub(crate) fn cores_that_sleep(self) -> &'static [usize] {
        match self {
            Pinning::TwoCores => &[0, 1],
            Pinning::OneCore => &[],
        }
    }

    pub(crate) fn client_core(self) -> usize {
        0
    }

    pub(crate) fn server_core(self) -> usize {
        match self {
            Pinning::TwoCores => 1,
            Pinning::OneCore => 0,
        }
    }
}

/// What one contestant measured, one value for each round, in nanoseconds for one call.
pub(crate) struct Measured {
    peer: &'static str,
    workload: Workload,
    pinning: Pinning,
    medians: Vec<f64>,
    p99s: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(peer: &'static str, workload: Workload, pinning: Pinning) -> Measured {
        Measured { peer, workload, pinning, medians: Vec::new(), p99s: Vec::new() }
    }

    pub(crate) fn add(&mut self, median: f64, p99: f64) {
        self.medians.push(median);
        self.p99s.push(p99);
    }

    fn median(&self) -> f64 {
        sorted_quantile(&self.medians, 0.5)
    }

    /// Of single calls: the middle of the rounds' values. Of rates, of which a round has only one: what all but 1 % of the rounds reached.
    fn p99(&self) -> f64 {
        match self.workload.order(1) {
            Order::Sequential(_) => sorted_quantile(&self.p99s, 0.5),
            Order::Looped(_) | Order::Pipelined(..) => sorted_quantile(&self.p99s, 0.99),
        }
    }

    /// How many times the time of `other`: the middle of the ratios of each round, since a round's contestants found the machine alike.
    fn ratio(&self, other: &Measured) -> f64 {
        self.ratio_to_all(&[other])
    }

    /// The same to others one after the other.
    fn ratio_to_all(&self, others: &[&Measured]) -> f64 {
        let all = |round: usize| others.iter().map(|other| other.medians[round]).sum::<f64>();
        let ratios: Vec<f64> = self.medians.iter().enumerate().map(|(round, own)| own / all(round)).collect();
        sorted_quantile(&ratios, 0.5)
    }
}

fn sorted_quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, share)
}

/// One line of the results file.
#[derive(Serialize)]
struct Row {
    workload: String,
    peer: &'static str,
    transport: &'static str,
    cores: &'static str,
    median: f64,
    p99: f64,
    unit: &'static str,
    /// How many times as long as the floor, where there is one.
    floor_ratio: Option<f64>,
}

/// What Andiron promises of its ratio to another contestant.
pub(crate) struct Target {
    workload: Workload,
    own: &'static str,
    other: &'static str,
    /// Whose time is added to that.
    and: Option<&'static str>,
    /// The highest ratio of the times that keeps it.
    most: f64,
}

pub(crate) const fn target(workload: Workload, own: &'static str, other: &'static str, most: f64) -> Target {
    Target { workload, own, other, and: None, most }
}

const TARGETS: [Target; 32] = [
    target(Workload::SmallCall, "andiron", "floor", 1.3),
    target(Workload::SmallCall, "andiron", "tarpc", 1.0 / 3.0),
    target(Workload::SmallCall, "andiron-tokio", "floor-tokio", 1.2),
    target(Workload::SmallCall, "andiron-tcp", "floor-tcp", 1.3),
    target(Workload::SmallCall, "andiron-tls", "floor-tls", 1.5),
    target(Workload::Pipelined, "andiron", "redis", 1.0 / 0.8),
    target(Workload::Pipelined, "andiron", "tarpc", 1.0 / 3.0),
    target(Workload::Pipelined, "andiron", "tonic", 1.0 / 3.0),
    target(Workload::Pipelined, "andiron", "jsonrpsee", 1.0 / 3.0),
    target(Workload::Pipelined, "andiron-tokio", "tarpc", 1.0 / 3.0),
    target(Workload::Pipelined, "andiron-tokio", "tonic", 1.0 / 3.0),
    target(Workload::Pipelined, "andiron-tokio", "jsonrpsee", 1.0 / 3.0),
    target(Workload::Eight, "andiron", "tarpc", 1.0 / 3.0),
    target(Workload::Eight, "andiron", "tonic", 1.0 / 3.0),
    target(Workload::Eight, "andiron", "jsonrpsee", 1.0 / 3.0),
    target(Workload::Eight, "andiron-tokio", "tarpc", 1.0 / 3.0),
    target(Workload::Eight, "andiron-tokio", "tonic", 1.0 / 3.0),
    target(Workload::Eight, "andiron-tokio", "jsonrpsee", 1.0 / 3.0),
    target(Workload::CachedGet, "andiron", "redis-cache", 1.0),
    target(Workload::CachedGet, "andiron-cell", "iceoryx2", 1.0),
    target(Workload::Check, "andiron", "iceoryx2", 1.0),
    target(Workload::Get, "andiron", "floor", 1.3),
    target(Workload::Get, "andiron", "redis", 0.75),
    target(Workload::Set, "andiron", "floor", 1.3),
    target(Workload::Set, "andiron", "redis", 0.75),
    target(Workload::Relaxed, "andiron", "andiron-plain", 2.0),
    Target { and: Some("floor"), ..target(Workload::Sync, "andiron", "floor-sqlite", 1.3) },
    target(Workload::SyncMany, "andiron", "floor-sqlite", 1.0 / 0.8),
    target(Workload::SyncMany, "andiron", "redis-always", 1.0),
    target(Workload::SetCopy(BIG), "andiron", "floor", 2.5),
    target(Workload::ReadAll(BIG), "andiron", "floor", 1.3),
    target(Workload::ReadAgain(BIG), "andiron", "floor", 1.3),
];

/// What it promises of its time, in nanoseconds.
const TIMES: [(Workload, &str, f64); 4] = [
    (Workload::CachedGet, "andiron", 80.0),
    (Workload::CachedGet, "andiron-cell", 15.0),
    (Workload::First(BIG), "andiron", 80e3),
    (Workload::SetFrozen(BIG), "andiron", 80e3),
];

/// How many times as long as to that of one size the way to the first byte may be at another.
const MOST_OF_BIG: f64 = 3.0;

/// What an idle connection may take of the daemon's memory, and how much slower others may get by ten thousand of them.
const MOST_KIB: f64 = 8.0;
const MOST_SLOWER: f64 = 1.2;

/// Prints the table and the verdicts, and writes the rows.
pub(crate) fn publish(
    path: &Path,
    all: &[Measured],
    idle: &[Idle],
    stale: &[Stale],
    crowded: &[Crowded],
    recovery: Option<&Recovery>,
) -> Result<()> {
    println!(
        "\n{:<30}{:<7}{:<20}{:>12}{:>12}  {:<9}{:>8}",
        "workload", "cores", "peer", "median", "p99", "unit", "x floor"
    );
    let mut lines = String::new();
    for measured in all {
        let row = row(measured, all);
        let digits = Unit::of(measured.workload).digits;
        let of_floor = row.floor_ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        println!(
            "{:<30}{:<7}{:<20}{:>12.digits$}{:>12.digits$}  {:<9}{:>8}",
            row.workload, row.cores, row.peer, row.median, row.p99, row.unit, of_floor
        );
        lines.push_str(&serde_json::to_string(&row)?);
        lines.push('\n');
    }
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, lines)?;
    println!();
    for pinning in Pinning::ALL {
        for target in TARGETS.iter().chain(&python::TARGETS) {
            if let Some(verdict) = verdict(target, pinning, all) {
                println!("{verdict}");
            }
        }
    }
    print_times(all);
    for Stale { peer, writes, reads, stale, came } in stale {
        let (verdict, end) =
            (said(*stale == 0 && *came), if *came { "" } else { ", and the last one never seen" });
        println!(
            "{verdict}  {peer}: no read older than an acknowledged write ({stale} of {reads} reads beside {writes} writes{end})"
        );
    }
    for line in crowded {
        println!("{line}");
    }
    if let Some(recovery) = recovery {
        println!("{recovery}");
    }
    for Idle { transport, kib, slower } in idle {
        println!(
            "{}  idle connections, {transport}: at most {MOST_KIB} KiB each ({kib:.2} KiB)",
            said(*kib <= MOST_KIB)
        );
        println!(
            "{}  idle connections, {transport}: others at most {MOST_SLOWER} times slower ({slower:.2} times)",
            said(*slower <= MOST_SLOWER)
        );
    }
    print_lost(all);
    println!("\nrows: {}", path.display());
    Ok(())
}

/// How it begins.
pub(crate) fn said(met: bool) -> &'static str {
    if met { "met   " } else { "MISSED" }
}

/// The verdicts on times, and on how the size of a value changes them.
fn print_times(all: &[Measured]) {
    for (workload, own, most) in TIMES.into_iter().chain(python::TIMES) {
        if let Some(measured) = find(all, own, workload, Pinning::TwoCores) {
            let (unit, median) = (Unit::of(workload), measured.median());
            let [most_in_unit, found] = [most, median].map(|ns| unit.of_ns(ns));
            let (verdict, workload, name) = (said(median <= most), workload.name(), unit.name);
            println!("{verdict}  {workload}: {own} at most {most_in_unit} {name} ({found:.1} {name})");
        }
    }
    let import = Workload::Python(Python::Import);
    let [bare, own] =
        ["floor-python", "andiron-python"].map(|peer| find(all, peer, import, Pinning::TwoCores));
    if let Some((bare, own)) = bare.zip(own) {
        let most = python::MOST_TO_IMPORT;
        let (longer, most_ms) = (own.median() - bare.median(), most / 1e6);
        let (verdict, ms) = (said(longer <= most), longer / 1e6);
        println!("{verdict}  {}: at most {most_ms} ms more than a bare start ({ms:.1} ms)", import.name());
    }
    let first = |workload| find(all, "andiron", workload, Pinning::TwoCores);
    let Some(usual) = first(Workload::First(BIG)) else { return };
    let others = Workload::ALL.into_iter().filter(|workload| matches!(workload, Workload::First(_)));
    for measured in others.filter_map(first) {
        let ratio = measured.ratio(usual);
        let (verdict, workload) = (said(ratio <= MOST_OF_BIG), measured.workload.name());
        println!("{verdict}  {workload}: at most {MOST_OF_BIG} times that of {BIG} MiB ({ratio:.2} times)");
    }
}

fn find<'a>(all: &'a [Measured], peer: &str, workload: Workload, pinning: Pinning) -> Option<&'a Measured> {
    all.iter().find(|m| m.peer == peer && m.workload == workload && m.pinning == pinning)
}

fn peer(name: &str) -> Option<&'static Peer> {
    peers().find(|peer| peer.name == name)
}

fn row(measured: &Measured, all: &[Measured]) -> Row {
    let Measured { peer: name, workload, pinning, .. } = *measured;
    let (floor, transport) = peer(name).map_or(("floor", ""), |peer| (peer.floor, peer.transport));
    let floor = if workload.is_synced() { "floor-append" } else { floor };
    let unit = Unit::of(workload);
    Row {
        workload: workload.name(),
        peer: name,
        transport,
        cores: pinning.name(),
        median: unit.of_ns(measured.median()),
        p99: unit.of_ns(measured.p99()),
        unit: unit.name,
        floor_ratio: find(all, floor, workload, pinning).map(|floor| measured.ratio(floor)),
    }
}

fn verdict(target: &Target, pinning: Pinning, all: &[Measured]) -> Option<String> {
    let Target { workload, own, other, and, most } = *target;
    let others = std::iter::once(other).chain(and).map(|other| find(all, other, workload, pinning));
    let ratio = find(all, own, workload, pinning)?.ratio_to_all(&others.collect::<Option<Vec<_>>>()?);
    let verdict = said(ratio <= most);
    let (workload, cores) = (workload.name(), pinning.name());
    Some(if !is_rival(other) {
        let and = and.map(|and| format!(" and {and}")).unwrap_or_default();
        format!(
            "{verdict}  {workload}, cores: {cores}: {own} at most {most} times {other}{and} ({ratio:.2} times)"
        )
    } else {
        let (least, found) = (1.0 / most, 1.0 / ratio);
        format!(
            "{verdict}  {workload}, cores: {cores}: {own} at least {least:.1} times as fast as {other} ({found:.2} times)"
        )
    })
}

/// The rows in which a peer is better.
fn print_lost(all: &[Measured]) {
    let rivals = all.iter().filter(|measured| is_rival(measured.peer));
    let mut lost = Vec::new();
    for peer in rivals {
        for own in ["andiron", "andiron-tokio", "andiron-cell"].into_iter().chain(python::OWN) {
            if find(all, own, peer.workload, peer.pinning).is_some_and(|own| own.ratio(peer) > 1.0) {
                let (workload, cores) = (peer.workload.name(), peer.pinning.name());
                lost.push(format!("{workload}, cores: {cores}, {own} to {}", peer.peer));
            }
        }
    }
    if lost.is_empty() {
        println!("no row is lost to a peer");
    } else {
        println!("lost: {}", lost.join("; "));
    }
}
