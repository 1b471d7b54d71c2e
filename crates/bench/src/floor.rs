//! What the system itself takes: 32 bytes each way over a blocking socket, without any meaning.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, ensure};

const FRAME: usize = 32;

pub(crate) fn serve(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    say_ready()?;
    echo(listener.accept()?.0)
}

/// The same over TCP, at a port that the file names.
pub(crate) fn serve_tcp(file: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    std::fs::write(file, listener.local_addr()?.to_string())?;
    say_ready()?;
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    echo(stream)
}

fn echo(mut stream: impl Read + Write) -> Result<()> {
    let mut buffer = [0; IN_FLIGHT * FRAME];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}

pub(crate) struct Floor<S>(S);

impl Floor<UnixStream> {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        Ok(Floor(UnixStream::connect(socket)?))
    }
}

impl Floor<TcpStream> {
    pub(crate) fn connect_tcp(file: &Path) -> Result<Self> {
        let stream = TcpStream::connect(std::fs::read_to_string(file)?)?;
        stream.set_nodelay(true)?;
        Ok(Floor(stream))
    }
}

impl<S: Read + Write> Client for Floor<S> {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let mut frame = [1; FRAME];
        while laps.next() {
            self.0.write_all(&frame)?;
            self.0.read_exact(&mut frame)?;
        }
        Ok(())
    }

    /// For whatever comes back as much is sent again. On one connection.
    fn pipelined(&mut self, _: usize, calls: usize) -> Result<()> {
        let mut buffer = [1; IN_FLIGHT * FRAME];
        let (mut unsent, mut unanswered) = (calls * FRAME, calls * FRAME);
        let mut room = buffer.len();
        while unanswered > 0 {
            let sent = room.min(unsent);
            self.0.write_all(&buffer[..sent])?;
            unsent -= sent;
            room = self.0.read(&mut buffer)?;
            ensure!(room > 0, "the server is gone");
            unanswered -= room;
        }
        Ok(())
    }
}
