//! The peers of Andiron's benchmark, each set up as fast as it gets, and the floors that need what they need.
#![forbid(unsafe_code)]

mod iceoryx2_peer;
mod jsonrpsee_peer;
mod redis_peer;
mod tarpc_peer;
mod tls_floor;
mod tokio_floor;
mod tonic_peer;

use std::io::Read;

use andiron_bench::{Role, Start, obey, read_numbers, write_numbers};
use anyhow::{Result, bail};
use tokio::runtime::{Builder, Runtime};

fn main() -> Result<()> {
    let Start { peer, role, socket, workload, folder } = &Start::from_args(std::env::args().skip(1))?;
    if *role == Role::Serve && !peer.starts_with("redis") && peer != "iceoryx2" {
        end_with_the_harness();
    }
    match (&**peer, role) {
        ("tarpc", Role::Serve) => tarpc_peer::serve(socket),
        ("tarpc", Role::Call) => obey(&mut tarpc_peer::Tarpc::connect(socket)?),
        ("tonic", Role::Serve) => tonic_peer::serve(socket),
        ("tonic", Role::Call) => obey(&mut tonic_peer::Tonic::connect(socket)?),
        ("jsonrpsee", Role::Serve) => jsonrpsee_peer::serve(socket),
        ("jsonrpsee", Role::Call) => obey(&mut jsonrpsee_peer::JsonRpc::connect(socket)?),
        ("redis" | "redis-cache", Role::Serve) => redis_peer::serve(socket, None),
        ("redis-everysec", Role::Serve) => redis_peer::serve(socket, Some(("everysec", folder))),
        ("redis-always", Role::Serve) => redis_peer::serve(socket, Some(("always", folder))),
        ("redis" | "redis-everysec" | "redis-always", Role::Call) => obey(&mut redis_peer::Redis::connect(socket, *workload)?),
        ("redis-cache", Role::Call) => obey(&mut redis_peer::Cached::connect(socket)?),
        ("redis-cache", Role::Write) => write_numbers(&mut redis_peer::Cached::connect(socket)?, socket),
        ("redis-cache", Role::Read) => read_numbers(&mut redis_peer::Cached::connect(socket)?, socket),
        ("iceoryx2", Role::Serve) => iceoryx2_peer::serve(socket),
        ("iceoryx2", Role::Call) => obey(&mut iceoryx2_peer::Blackboard::connect(socket, *workload)?),
        ("floor-tokio", Role::Serve) => tokio_floor::serve(socket),
        ("floor-tokio", Role::Call) => obey(&mut tokio_floor::Floor::connect(socket)?),
        ("floor-tls", Role::Serve) => tls_floor::serve(socket),
        ("floor-tls", Role::Call) => obey(&mut tls_floor::Floor::connect(socket)?),
        (other, _) => bail!("no peer {other}"),
    }
}

/// Ends this process when the harness is gone; those of redis and iceoryx2 see to it themselves, since
/// they have something to end.
fn end_with_the_harness() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// The runtime of one thread, which was the faster one for all of them: each end has one core.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
