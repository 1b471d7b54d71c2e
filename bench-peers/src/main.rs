//! The peers of Andiron's benchmark. Each is set up as fast as it gets.
#![forbid(unsafe_code)]

mod tarpc_peer;

use andiron_bench::{Role, Start, obey};
use anyhow::{Result, bail};

fn main() -> Result<()> {
    let start = Start::from_args(std::env::args().skip(1))?;
    match (&*start.peer, start.role) {
        ("tarpc", Role::Serve) => tarpc_peer::serve(&start.socket),
        ("tarpc", Role::Call) => obey(&mut tarpc_peer::Tarpc::connect(&start.socket)?),
        (other, _) => bail!("no peer {other}"),
    }
}
