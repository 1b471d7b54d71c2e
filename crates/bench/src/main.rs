//! `make bench`: Andiron beside what the system itself takes and beside its peers, each in two processes, interleaved and pinned alike.
//!
//! `andiron-bench [ROUNDS]` runs all; with other arguments this program is one end of a contestant.
#![forbid(unsafe_code)]

mod contest;
mod floor;
mod own;
mod report;

use std::io::Read;

use andiron_bench::{Role, Start, obey, run_on};
use anyhow::{Result, bail};

/// Enough for medians that stay put on a machine that is not quiet; about a minute.
const ROUNDS: usize = 60;

/// The argument that makes this program keep a core busy.
const SPIN: &str = "spin";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.len() {
        0 => contest::run(ROUNDS),
        1 => contest::run(args[0].parse()?),
        2 if args[0] == SPIN => spin(&args[1]),
        _ => take_part(Start::from_args(args.into_iter())?),
    }
}

fn take_part(start: Start) -> Result<()> {
    match (&*start.peer, start.role) {
        ("floor", Role::Serve) => floor::serve(&start.socket),
        ("floor", Role::Call) => obey(&mut floor::Floor::connect(&start.socket)?),
        ("andiron", Role::Serve) => own::serve(&start.socket),
        ("andiron", Role::Call) => obey(&mut own::Own::connect(&start.socket)?),
        (other, _) => bail!("no contestant {other} here"),
    }
}

/// Until the harness is gone.
fn spin(core: &str) -> Result<()> {
    run_on(core)?;
    std::thread::spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
