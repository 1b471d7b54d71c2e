//! jsonrpsee over web sockets on loopback TCP.

use std::path::Path;

use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, bail, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jsonrpsee::RpcModule;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::rpc_params;
use jsonrpsee::server::{ServerBuilder, ServerConfig};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use tokio::runtime::Runtime;

pub fn serve(file: &Path) -> Result<()> {
    crate::runtime()?.block_on(async {
        let config = ServerConfig::builder().set_message_buffer_capacity(2 * IN_FLIGHT as u32).build();
        let server = ServerBuilder::with_config(config).build("127.0.0.1:0").await?;
        std::fs::write(file, server.local_addr()?.to_string())?;
        let mut module = RpcModule::new(());
        module.register_method("add", |params, _, _| {
            let (a, b): (i64, i64) = params.parse()?;
            Ok::<i64, ErrorObjectOwned>(a + b)
        })?;
        let running = server.start(module);
        say_ready()?;
        running.stopped().await;
        Ok(())
    })
}

pub struct JsonRpc {
    runtime: Runtime,
    address: String,
    clients: Vec<WsClient>,
}

impl JsonRpc {
    pub fn connect(file: &Path) -> Result<JsonRpc> {
        let address = format!("ws://{}", std::fs::read_to_string(file)?);
        Ok(JsonRpc { runtime: crate::runtime()?, address, clients: Vec::new() })
    }
}

impl Client for JsonRpc {
    fn sequential(&mut self, _: &mut Laps) -> Result<()> {
        bail!("no part in this")
    }

    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
        while self.clients.len() < connections {
            let builder = WsClientBuilder::default().max_concurrent_requests(2 * IN_FLIGHT);
            self.clients.push(self.runtime.block_on(builder.build(&self.address))?);
        }
        let share = calls / connections;
        let all = self.clients[..connections].iter().map(|client| async move {
            let add = || client.request::<i64, _>("add", rpc_params![1, 2]);
            let mut flying = FuturesUnordered::new();
            for _ in 0..share.min(IN_FLIGHT) {
                flying.push(add());
            }
            for call in 0..share {
                let sum = flying.next().await.expect("a call for each of the count")?;
                ensure!(sum == 3, "wrong sum {sum}");
                if call + IN_FLIGHT < share {
                    flying.push(add());
                }
            }
            Ok(())
        });
        self.runtime.block_on(futures::future::try_join_all(all))?;
        Ok(())
    }
}
