//! tarpc on the runtime of one thread, bincode in length-delimited frames; its log lines are compiled out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tarpc::context::{self, Context};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, serde_transport, server};
use tokio::runtime::Runtime;

use crate::runtime;

#[tarpc::service]
trait Adder {
    async fn add(a: i64, b: i64) -> i64;
}

#[derive(Clone)]
struct Own;

impl Adder for Own {
    async fn add(self, _: Context, a: i64, b: i64) -> i64 {
        a + b
    }
}

pub fn serve(socket: &Path) -> Result<()> {
    runtime()?.block_on(async {
        let mut incoming = serde_transport::unix::listen(socket, Bincode::default).await?;
        say_ready()?;
        while let Some(connection) = incoming.next().await {
            let config = server::Config { pending_response_buffer: 2 * IN_FLIGHT };
            // Without a task for each call: the method never waits.
            let calls = BaseChannel::new(config, connection?).execute(Own.serve());
            tokio::spawn(calls.for_each_concurrent(None, |call| call));
        }
        Ok(())
    })
}

pub struct Tarpc {
    runtime: Runtime,
    socket: PathBuf,
    clients: Vec<AdderClient>,
    context: Context,
}

impl Tarpc {
    pub fn connect(socket: &Path) -> Result<Tarpc> {
        let mut context = context::current();
        context.deadline = Instant::now() + Duration::from_secs(24 * 3600);
        let mut tarpc =
            Tarpc { runtime: runtime()?, socket: socket.to_owned(), clients: Vec::new(), context };
        tarpc.have(1)?;
        Ok(tarpc)
    }

    fn have(&mut self, connections: usize) -> Result<()> {
        while self.clients.len() < connections {
            let client = self.runtime.block_on(async {
                let connection = serde_transport::unix::connect(&self.socket, Bincode::default).await?;
                let mut config = client::Config::default();
                config.pending_request_buffer = 2 * IN_FLIGHT;
                anyhow::Ok(AdderClient::new(config, connection).spawn())
            })?;
            self.clients.push(client);
        }
        Ok(())
    }
}

impl Client for Tarpc {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        self.runtime.block_on(async {
            while laps.next() {
                let sum = self.clients[0].add(self.context, 1, 2).await?;
                ensure!(sum == 3, "wrong sum {sum}");
            }
            Ok(())
        })
    }

    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
        self.have(connections)?;
        let (context, share) = (self.context, calls / connections);
        let all = self.clients[..connections].iter().map(|client| async move {
            let mut flying = FuturesUnordered::new();
            for _ in 0..share.min(IN_FLIGHT) {
                flying.push(client.add(context, 1, 2));
            }
            for call in 0..share {
                let sum = flying.next().await.expect("a call for each of the count")?;
                ensure!(sum == 3, "wrong sum {sum}");
                if call + IN_FLIGHT < share {
                    flying.push(client.add(context, 1, 2));
                }
            }
            Ok(())
        });
        self.runtime.block_on(futures::future::try_join_all(all))?;
        Ok(())
    }
}
