//! What the system itself takes: 32 bytes each way over a blocking socket, without any meaning.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use andiron_bench::{Client, IN_FLIGHT, Laps, say_ready};
use anyhow::{Result, ensure};

const FRAME: usize = 32;

pub(crate) fn serve(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    say_ready()?;
    let (mut stream, _) = listener.accept()?;
    let mut buffer = [0; IN_FLIGHT * FRAME];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}

pub(crate) struct Floor(UnixStream);

impl Floor {
    pub(crate) fn connect(socket: &Path) -> Result<Floor> {
        Ok(Floor(UnixStream::connect(socket)?))
    }
}

impl Client for Floor {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let mut frame = [1; FRAME];
        while laps.next() {
            self.0.write_all(&frame)?;
            self.0.read_exact(&mut frame)?;
        }
        Ok(())
    }

    /// For whatever comes back as much is sent again.
    fn pipelined(&mut self, calls: usize) -> Result<()> {
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
