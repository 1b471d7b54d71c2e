//! Andiron as its users use it: an exposed object and its typed proxy.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, ensure};

struct Adder;

#[andiron::expose]
impl Adder {
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

pub(crate) fn serve(socket: &Path) -> Result<()> {
    let server = andiron::Server::bind(&address(socket))?.object("adder", Adder)?.start()?;
    say_ready()?;
    std::io::stdin().read_to_end(&mut Vec::new())?; // until the harness is gone
    server.stop();
    Ok(())
}

pub(crate) struct Own {
    hub: andiron::Hub,
    adder: AdderProxy,
}

impl Own {
    pub(crate) fn connect(socket: &Path) -> Result<Own> {
        let hub = andiron::Hub::connect(&address(socket))?;
        let adder = hub.object("adder")?;
        Ok(Own { hub, adder })
    }
}

impl Client for Own {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        while laps.next() {
            let sum = self.adder.add(1, 2)?;
            ensure!(sum == 3, "wrong sum {sum}");
        }
        Ok(())
    }

    /// Waits for the oldest call and makes the next in its place. Calls are held back until an answer has to be waited for.
    fn pipelined(&mut self, calls: usize) -> Result<()> {
        let _together = self.hub.batch();
        let mut flying = VecDeque::with_capacity(IN_FLIGHT);
        for call in 0..calls + IN_FLIGHT {
            if call >= IN_FLIGHT
                && let Some(oldest) = flying.pop_front()
            {
                let sum: i64 = andiron::Pending::wait(oldest)?;
                ensure!(sum == 3, "wrong sum {sum}");
            }
            if call < calls {
                flying.push_back(self.adder.start_add(1, 2)?);
            }
        }
        Ok(())
    }
}

fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}
