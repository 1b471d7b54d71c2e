//! What tokio itself takes: 32 bytes each way over a Unix socket, from task to task.

use std::path::Path;

use andiron_bench::{Client, Laps, say_ready};
use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

const FRAME: usize = 32;

pub fn serve(socket: &Path) -> Result<()> {
    crate::runtime()?.block_on(async {
        let listener = UnixListener::bind(socket)?;
        say_ready()?;
        let (mut stream, _) = listener.accept().await?;
        let mut buffer = [0; FRAME];
        while stream.read_exact(&mut buffer).await.is_ok() {
            stream.write_all(&buffer).await?;
        }
        Ok(())
    })
}

pub struct Floor {
    runtime: Runtime,
    stream: UnixStream,
}

impl Floor {
    pub fn connect(socket: &Path) -> Result<Floor> {
        let runtime = crate::runtime()?;
        let stream = runtime.block_on(UnixStream::connect(socket))?;
        Ok(Floor { runtime, stream })
    }
}

impl Client for Floor {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let stream = &mut self.stream;
        self.runtime.block_on(async {
            let mut frame = [1; FRAME];
            while laps.next() {
                stream.write_all(&frame).await?;
                stream.read_exact(&mut frame).await?;
            }
            Ok(())
        })
    }
}
