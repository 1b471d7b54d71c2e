//! Andiron as its users use it: an exposed object and its typed proxy; for threads here, for tasks in `own_tokio`.

use std::collections::VecDeque;
use std::path::Path;

use andiron::{Connector, Hub, Pending, Secret, Security, Server};
use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Context, Result, ensure};

pub(crate) struct Adder;

#[andiron::expose]
impl Adder {
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

/// Which way server and client meet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Unix,
    Tcp,
    Tls,
}

/// Serves; where it is not at the Unix socket itself, that file says where, and with which secret.
pub(crate) fn serve(way: Way, socket: &Path) -> Result<()> {
    let bound = match way {
        Way::Unix => Server::bind(&address(socket))?,
        Way::Tcp | Way::Tls => {
            let secret = Secret::new()?;
            let at = if way == Way::Tls { "tls://127.0.0.1:0" } else { "tcp://127.0.0.1:0" };
            std::fs::write(socket, secret.text())?;
            Server::bind_with(at, Security::default().secret(secret))?
        }
    };
    let server = bound.object("adder", Adder)?.start()?;
    if way != Way::Unix {
        let secret = std::fs::read_to_string(socket)?;
        std::fs::write(socket, format!("{} {secret}", server.addresses()[0]))?;
    }
    say_ready()?;
    server.wait(); // until the harness is gone
    Ok(())
}

/// A client that has as many connections as it was ever asked for.
pub(crate) struct Own {
    connect: Box<dyn Fn() -> Result<Hub>>,
    connections: Vec<(Hub, AdderProxy)>,
}

impl Own {
    pub(crate) fn connect(way: Way, socket: &Path) -> Result<Own> {
        let connect: Box<dyn Fn() -> Result<Hub>> = if way == Way::Unix {
            let address = address(socket);
            Box::new(move || Ok(Hub::connect(&address)?))
        } else {
            let said = std::fs::read_to_string(socket)?;
            let (address, secret) = said.split_once(' ').context("no address and secret")?;
            let connector = Connector::new(address).security(Security::default().secret(secret.parse()?));
            Box::new(move || Ok(connector.connect()?))
        };
        let mut own = Own { connect, connections: Vec::new() };
        own.have(1)?;
        Ok(own)
    }

    fn have(&mut self, connections: usize) -> Result<()> {
        while self.connections.len() < connections {
            let hub = (self.connect)()?;
            let adder = hub.object("adder")?;
            self.connections.push((hub, adder));
        }
        Ok(())
    }
}

impl Client for Own {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let adder = &self.connections[0].1;
        while laps.next() {
            let sum = adder.add(1, 2)?;
            ensure!(sum == 3, "wrong sum {sum}");
        }
        Ok(())
    }

    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
        self.have(connections)?;
        match &self.connections[..connections] {
            [(hub, adder)] => one_by_one(hub, adder, calls),
            connections => in_turns(connections, calls),
        }
    }
}

/// Waits for the oldest call and makes the next in its place. Calls are held back until an answer has to be waited for.
fn one_by_one(hub: &Hub, adder: &AdderProxy, calls: usize) -> Result<()> {
    let _together = hub.batch();
    let mut flying = VecDeque::with_capacity(IN_FLIGHT);
    for call in 0..calls + IN_FLIGHT {
        if call >= IN_FLIGHT
            && let Some(oldest) = flying.pop_front()
        {
            let sum: i64 = Pending::wait(oldest)?;
            ensure!(sum == 3, "wrong sum {sum}");
        }
        if call < calls {
            flying.push_back(adder.start_add(1, 2)?);
        }
    }
    Ok(())
}

/// Each connection has its turn with as many calls as may be on their way.
fn in_turns(connections: &[(Hub, AdderProxy)], calls: usize) -> Result<()> {
    let mut flying: Vec<_> = connections.iter().map(|_| Vec::with_capacity(IN_FLIGHT)).collect();
    let mut unmade = calls;
    loop {
        for ((hub, adder), flying) in connections.iter().zip(&mut flying) {
            let _together = hub.batch(); // they go when its turn is over
            for pending in flying.drain(..) {
                let sum = Pending::<i64>::wait(pending)?;
                ensure!(sum == 3, "wrong sum {sum}");
            }
            let more = IN_FLIGHT.min(unmade);
            for _ in 0..more {
                flying.push(adder.start_add(1, 2)?);
            }
            unmade -= more;
        }
        if flying.iter().all(Vec::is_empty) {
            return Ok(());
        }
    }
}

pub(crate) fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}
