//! Andiron on tokio, on the runtime of one thread.

use std::path::Path;

use andiron::aio::{Hub, Server};
use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::runtime::{Builder, Runtime};

use crate::own::{Adder, AdderProxyAsync, address};

pub(crate) fn serve(socket: &Path) -> Result<()> {
    runtime()?.block_on(async {
        let server = Server::bind(&address(socket))?.object("adder", Adder)?;
        let _running = server.start()?;
        say_ready()?;
        std::future::pending().await
    })
}

pub(crate) struct OwnTokio {
    runtime: Runtime,
    address: String,
    connections: Vec<(Hub, AdderProxyAsync)>,
}

impl OwnTokio {
    pub(crate) fn connect(socket: &Path) -> Result<OwnTokio> {
        let mut own = OwnTokio { runtime: runtime()?, address: address(socket), connections: Vec::new() };
        own.have(1)?;
        Ok(own)
    }

    fn have(&mut self, connections: usize) -> Result<()> {
        while self.connections.len() < connections {
            let connection = self.runtime.block_on(async {
                let hub = Hub::connect(&self.address).await?;
                let adder = hub.object::<AdderProxyAsync>("adder").await?;
                anyhow::Ok((hub, adder))
            });
            self.connections.push(connection?);
        }
        Ok(())
    }
}

impl Client for OwnTokio {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let adder = &self.connections[0].1;
        self.runtime.block_on(async {
            while laps.next() {
                let sum = adder.add(1, 2).await?;
                ensure!(sum == 3, "wrong sum {sum}");
            }
            Ok(())
        })
    }

    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
        self.have(connections)?;
        let connections = &self.connections[..connections];
        self.runtime.block_on(async {
            let one = |hub: Hub, adder: AdderProxyAsync, calls: usize| async move {
                let mut flying = FuturesUnordered::new();
                let mut unmade = calls;
                loop {
                    {
                        // What came together is made up for together.
                        let _together = hub.batch();
                        while flying.len() < IN_FLIGHT && unmade > 0 {
                            let call: andiron::aio::Proxy = adder.clone().into();
                            flying.push(call.call::<i64>("add", &(1, 2)));
                            unmade -= 1;
                        }
                    }
                    let Some(sum) = flying.next().await else { return anyhow::Ok(()) };
                    ensure!(sum? == 3, "wrong sum");
                    while let Some(Some(sum)) = futures::FutureExt::now_or_never(flying.next()) {
                        ensure!(sum? == 3, "wrong sum");
                    }
                }
            };
            let share = calls / connections.len();
            let all = connections.iter().map(|(hub, adder)| one(hub.clone(), adder.clone(), share));
            futures::future::try_join_all(all).await?;
            Ok(())
        })
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
