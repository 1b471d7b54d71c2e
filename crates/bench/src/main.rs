//! `make bench`: Andiron beside what the system itself takes and beside its peers, each in two processes, interleaved and pinned alike.
//!
//! `andiron-bench [ROUNDS [ONLY]]` runs all, or the rows whose workload or contestant has ONLY in its name; with other arguments this program is one
//! end of a contestant.
#![forbid(unsafe_code)]

mod big;
mod contest;
mod crowded;
mod disk;
mod floor;
mod idle;
mod own;
mod own_store;
mod own_tokio;
mod process;
mod python;
mod recovery;
mod report;
mod stale;

use std::io::Read;

use andiron_bench::{Role, Start, Workload, obey, read_numbers, run_on, write_numbers};
use anyhow::{Result, bail};
use own::Way;

/// Enough for medians that stay put on a machine that is not quiet; about a minute.
const ROUNDS: usize = 60;

/// The argument that makes this program keep a core busy.
const SPIN: &str = "spin";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => contest::run(ROUNDS, ""),
        [SPIN, core] => spin(core),
        [idle::CROWD, address, connections] => idle::crowd(address, connections.parse()?),
        [crowded::LISTER, address, author] => crowded::list(address, author),
        [idle::CALLER, address, core] => idle::call(address, core),
        [rounds] => contest::run(rounds.parse()?, ""),
        [rounds, only] => contest::run(rounds.parse()?, only),
        _ => take_part(Start::from_args(args.into_iter())?),
    }
}

fn take_part(start: Start) -> Result<()> {
    let Start { peer, role, socket, workload, folder } = &start;
    if *role == Role::Serve {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0); // the harness is gone
        });
    }
    match (&**peer, role) {
        ("floor", Role::Serve) => floor::serve(socket),
        ("floor", Role::Call) if workload.is_big() => obey(&mut big::Memory::new(*workload)),
        ("floor", Role::Call) => obey(&mut floor::Floor::connect(socket)?),
        ("floor-append" | "floor-sqlite", Role::Serve) => disk::serve(),
        ("floor-append", Role::Call) => obey(&mut disk::Append::new(folder)?),
        ("floor-sqlite", Role::Call) => obey(&mut disk::Sqlite::new(folder, *workload)?),
        ("floor-tcp", Role::Serve) => floor::serve_tcp(socket),
        ("floor-tcp", Role::Call) => obey(&mut floor::Floor::connect_tcp(socket)?),
        ("andiron-tokio", Role::Serve) => own_tokio::serve(socket),
        ("andiron-tokio", Role::Call) => obey(&mut own_tokio::OwnTokio::connect(socket)?),
        (_, Role::Write) => write_numbers(&mut own_store::Number::connect(socket)?, socket),
        (_, Role::Read) => read_numbers(&mut own_store::Number::connect(socket)?, socket),
        (own, role) if workload.is_of_the_store() => match (own, role, workload) {
            (_, Role::Serve, workload) => own_store::serve(socket, workload.is_durable().then_some(folder)),
            (own, _, Workload::CachedGet) => {
                obey(&mut own_store::Cached::connect(socket, own == "andiron-cell")?)
            }
            (_, _, Workload::Check) => obey(&mut own_store::Check::new()?),
            (own, _, &workload) if workload.is_durable() => {
                obey(&mut own_store::Lasting::connect(socket, workload, own == "andiron-plain")?)
            }
            (_, _, &workload) => obey(&mut own_store::Asking::connect(socket, workload)?),
        },
        (own, role) => {
            let way = match own {
                "andiron" => Way::Unix,
                "andiron-tcp" => Way::Tcp,
                "andiron-tls" => Way::Tls,
                other => bail!("no contestant {other} here"),
            };
            match role {
                Role::Serve => own::serve(way, socket),
                _ => obey(&mut own::Own::connect(way, socket)?),
            }
        }
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
