//! redis through the `redis` crate, of the server that the system has: pipelines of `ECHO`, values, and values that its client caches.

use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use andiron_bench::{Client, IN_FLIGHT, Laps, Register, WRITERS, Workload, say_ready, together};
use anyhow::{Result, bail, ensure};
use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;
use redis::{AsyncConnectionConfig, Commands};
use tokio::runtime::Runtime;

/// The name of the entry where there is one.
const NAME: &str = "value";

/// `appends`: when what it appends to its file in that folder is to survive a power cut; `None`: it has no file.
pub fn serve(socket: &Path, appends: Option<(&str, &Path)>) -> Result<()> {
    let mut server = Command::new("redis-server");
    match appends {
        Some((when, folder)) => {
            std::fs::create_dir_all(folder)?;
            server.args(["--appendonly", "yes", "--appendfsync", when, "--dir"]).arg(folder);
        }
        None => {
            server.args(["--appendonly", "no"]);
        }
    }
    let server = server
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(socket)
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut server) = server else {
        println!("redis-server is not installed (apt-get install redis-server)");
        bail!("no redis-server");
    };
    while !socket.exists() {
        ensure!(server.try_wait()?.is_none(), "redis-server ended");
        std::thread::yield_now();
    }
    say_ready()?;
    std::io::stdin().read_to_end(&mut Vec::new())?; // until the harness is gone
    server.kill()?;
    server.wait()?;
    Ok(())
}

pub struct Redis {
    client: redis::Client,
    connections: Vec<redis::Connection>,
    workload: Workload,
}

impl Redis {
    pub fn connect(socket: &Path, workload: Workload) -> Result<Redis> {
        let client = redis::Client::open(format!("unix://{}", socket.display()))?;
        let connections = if workload == Workload::SyncMany { WRITERS } else { 1 };
        let mut connections = (0..connections).map(|_| client.get_connection()).collect::<Result<Vec<_>, _>>()?;
        let (): () = connections[0].set(NAME, vec![1; workload.length()])?;
        Ok(Redis { client, connections, workload })
    }
}

impl Client for Redis {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let connection = &mut self.connections[0];
        match self.workload {
            Workload::Get | Workload::First(_) => {
                while laps.next() {
                    let value: Vec<u8> = connection.get(NAME)?;
                    black_box(value[0]);
                    laps.apart(|| drop(value));
                }
            }
            Workload::Set | Workload::Relaxed | Workload::Sync | Workload::SetCopy(_) => {
                let value = vec![1; self.workload.length()];
                while laps.next() {
                    let (): () = connection.set(NAME, &value)?;
                }
            }
            Workload::ReadAll(_) => {
                while laps.next() {
                    let value: Vec<u8> = connection.get(NAME)?;
                    black_box(value.iter().fold(0_u64, |sum, byte| sum + u64::from(*byte)));
                    laps.apart(|| drop(value));
                }
            }
            other => bail!("no part in {}", other.name()),
        }
        Ok(())
    }

    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
        if self.workload == Workload::SyncMany {
            let value = vec![1; self.workload.length()];
            let mut writers: Vec<_> = self.connections.iter_mut().enumerate().collect();
            return together(&mut writers, calls, |(number, connection)| {
                Ok(connection.set(format!("{NAME}:{number}"), &value)?)
            });
        }
        while self.connections.len() < connections {
            self.connections.push(self.client.get_connection()?);
        }
        let mut pipeline = redis::pipe();
        for _ in 0..IN_FLIGHT {
            pipeline.cmd("ECHO").arg("12");
        }
        for turn in 0..calls.div_ceil(IN_FLIGHT) {
            let answers: Vec<u64> = pipeline.query(&mut self.connections[turn % connections])?;
            ensure!(answers.iter().all(|answer| *answer == 12), "wrong answers");
        }
        Ok(())
    }
}

/// What its client keeps of what it read, and the server tells it to forget. That needs the client's tasks to run beside who reads.
pub struct Cached {
    runtime: Runtime,
    connection: MultiplexedConnection,
}

impl Cached {
    pub fn connect(socket: &Path) -> Result<Cached> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = redis::Client::open(format!("unix://{}?protocol=resp3", socket.display()))?;
        let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::default());
        let connection = runtime.block_on(client.get_multiplexed_async_connection_with_config(&config))?;
        Ok(Cached { runtime, connection })
    }
}

impl Client for Cached {
    fn looped(&mut self, calls: usize) -> Result<()> {
        let names: Vec<String> = (0..100).map(|number| format!("key:{number:07}")).collect();
        let Cached { runtime, connection } = self;
        runtime.block_on(async {
            for name in &names {
                redis::cmd("SET").arg(name).arg("seven and seven and ten ").exec_async(connection).await?;
            }
            for name in names.iter().cycle().take(calls) {
                let value: Vec<u8> = redis::cmd("GET").arg(name).query_async(connection).await?;
                black_box(value);
            }
            Ok(())
        })
    }
}

impl Register for Cached {
    fn set(&mut self, number: u64) -> Result<()> {
        let Cached { runtime, connection } = self;
        Ok(runtime.block_on(redis::cmd("SET").arg(NAME).arg(number).exec_async(connection))?)
    }

    fn get(&mut self) -> Result<u64> {
        let Cached { runtime, connection } = self;
        Ok(runtime.block_on(redis::cmd("GET").arg(NAME).query_async(connection))?)
    }
}
