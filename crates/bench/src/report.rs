//! From what was measured to rows, a table and a file.

use std::path::Path;

use andiron_bench::quantile;
use anyhow::Result;
use serde::Serialize;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// `add(1, 2)`, one call after the other.
    SmallCall,
    /// The same, 128 calls on their way.
    Pipelined,
}

impl Workload {
    pub(crate) const ALL: [Workload; 2] = [Workload::SmallCall, Workload::Pipelined];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::SmallCall => "small call",
            Workload::Pipelined => "pipelined",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Workload::SmallCall => "us",
            Workload::Pipelined => "calls/s",
        }
    }

    /// From the time of one call in nanoseconds to the unit.
    fn in_unit(self, ns: f64) -> f64 {
        match self {
            Workload::SmallCall => ns / 1e3,
            Workload::Pipelined => 1e9 / ns,
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
        match self.workload {
            Workload::SmallCall => sorted_quantile(&self.p99s, 0.5),
            Workload::Pipelined => sorted_quantile(&self.p99s, 0.99),
        }
    }

    /// How many times the time of `other`: the middle of the ratios of each round, since a round's contestants found the machine alike.
    fn ratio(&self, other: &Measured) -> f64 {
        let ratios: Vec<f64> =
            self.medians.iter().zip(&other.medians).map(|(own, other)| own / other).collect();
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
    workload: &'static str,
    peer: &'static str,
    transport: &'static str,
    cores: &'static str,
    median: f64,
    p99: f64,
    unit: &'static str,
    /// How many times as long as the floor.
    floor_ratio: f64,
}

/// What Andiron promises of its ratio to another contestant.
struct Target {
    workload: Workload,
    other: &'static str,
    /// The highest ratio of the times that keeps it.
    most: f64,
    text: &'static str,
}

const TARGETS: [Target; 3] = [
    Target { workload: Workload::SmallCall, other: "floor", most: 1.3, text: "at most 1.3 times the floor" },
    Target {
        workload: Workload::SmallCall,
        other: "tarpc",
        most: 1.0 / 3.0,
        text: "3 times as fast as tarpc",
    },
    Target {
        workload: Workload::Pipelined,
        other: "tarpc",
        most: 1.0 / 3.0,
        text: "3 times as many as tarpc",
    },
];

/// Prints the table and the verdicts, and writes the rows.
pub(crate) fn publish(path: &Path, all: &[Measured]) -> Result<()> {
    println!(
        "\n{:<12}{:<7}{:<10}{:>12}{:>12}  {:<9}{:>8}",
        "workload", "cores", "peer", "median", "p99", "unit", "x floor"
    );
    let mut lines = String::new();
    for measured in all {
        let row = row(measured, all);
        let digits = if measured.workload == Workload::SmallCall { 2 } else { 0 };
        println!(
            "{:<12}{:<7}{:<10}{:>12.digits$}{:>12.digits$}  {:<9}{:>8.2}",
            row.workload, row.cores, row.peer, row.median, row.p99, row.unit, row.floor_ratio
        );
        lines.push_str(&serde_json::to_string(&row)?);
        lines.push('\n');
    }
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, lines)?;
    println!();
    for pinning in Pinning::ALL {
        for target in &TARGETS {
            if let Some(verdict) = verdict(target, pinning, all) {
                println!("{verdict}");
            }
        }
    }
    print_lost(all);
    println!("\nrows: {}", path.display());
    Ok(())
}

fn find<'a>(all: &'a [Measured], peer: &str, workload: Workload, pinning: Pinning) -> Option<&'a Measured> {
    all.iter().find(|m| m.peer == peer && m.workload == workload && m.pinning == pinning)
}

fn row(measured: &Measured, all: &[Measured]) -> Row {
    let Measured { peer, workload, pinning, .. } = *measured;
    Row {
        workload: workload.name(),
        peer,
        transport: "unix",
        cores: pinning.name(),
        median: workload.in_unit(measured.median()),
        p99: workload.in_unit(measured.p99()),
        unit: workload.unit(),
        floor_ratio: find(all, "floor", workload, pinning).map_or(f64::NAN, |floor| measured.ratio(floor)),
    }
}

fn verdict(target: &Target, pinning: Pinning, all: &[Measured]) -> Option<String> {
    let own = find(all, "andiron", target.workload, pinning)?;
    let ratio = own.ratio(find(all, target.other, target.workload, pinning)?);
    let verdict = if ratio <= target.most { "met   " } else { "MISSED" };
    let found =
        if target.most < 1.0 { format!("{:.2} times", 1.0 / ratio) } else { format!("{ratio:.2} times") };
    let (workload, cores) = (target.workload.name(), pinning.name());
    Some(format!("{verdict}  {workload}, cores: {cores}: {} ({found})", target.text))
}

/// The rows in which a peer is better.
fn print_lost(all: &[Measured]) {
    let lost = all.iter().filter(|peer| !matches!(peer.peer, "andiron" | "floor")).filter(|peer| {
        find(all, "andiron", peer.workload, peer.pinning).is_some_and(|own| own.ratio(peer) > 1.0)
    });
    let lost: Vec<String> = lost
        .map(|peer| format!("{}, cores: {}, to {}", peer.workload.name(), peer.pinning.name(), peer.peer))
        .collect();
    if lost.is_empty() {
        println!("no row is lost to a peer");
    } else {
        println!("lost: {}", lost.join("; "));
    }
}
