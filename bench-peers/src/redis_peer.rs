//! redis through the `redis` crate: pipelines of `ECHO`, of the server that the system has.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, bail, ensure};

pub fn serve(socket: &Path) -> Result<()> {
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
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
}

impl Redis {
    pub fn connect(socket: &Path) -> Result<Redis> {
        let client = redis::Client::open(format!("unix://{}", socket.display()))?;
        Ok(Redis { client, connections: Vec::new() })
    }
}

impl Client for Redis {
    fn sequential(&mut self, _: &mut Laps) -> Result<()> {
        bail!("no part in this")
    }

    fn pipelined(&mut self, connections: usize, calls: usize) -> Result<()> {
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
