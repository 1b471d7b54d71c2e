//! What a person at a terminal is told while something takes long.

use std::io::{self, IsTerminal as _, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::text;

/// How long something has to take to be told of, and how often that is told anew.
const BEAT: Duration = Duration::from_secs(1);

/// A line on the standard error about something that is under way, if that is a terminal; it goes when this is dropped.
pub(crate) struct Progress {
    moved: Arc<AtomicU64>,
    /// Dropped to end the thread.
    teller: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins. `what` is like `reading`.
    pub(crate) fn of(what: &'static str) -> Progress {
        let moved = Arc::<AtomicU64>::default();
        let teller = if io::stderr().is_terminal() { teller(what, moved.clone()) } else { None };
        Progress { moved, teller }
    }

    /// So many more bytes are done.
    pub(crate) fn add(&self, bytes: usize) {
        // Relaxed: a number for people.
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The same stream, whose bytes count.
    pub(crate) fn writing<W: Write>(&self, to: W) -> Counted<'_, W> {
        Counted { from: to, progress: self }
    }

    /// The same stream, whose bytes count.
    pub(crate) fn reading<R: Read>(&self, from: R) -> Counted<'_, R> {
        Counted { from, progress: self }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.teller.take() {
            drop(end);
            let _ = thread.join(); // so that what is printed next is not in its line
        }
    }
}

/// See [`Progress::reading`] and [`Progress::writing`].
pub(crate) struct Counted<'a, R> {
    from: R,
    progress: &'a Progress,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.from.write(bytes)?;
        self.progress.add(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.from.flush()
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.progress.add(read);
        Ok(read)
    }
}

/// Tells on a thread of its own, since the work may stand still.
fn teller(what: &'static str, moved: Arc<AtomicU64>) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (end, ended) = mpsc::channel();
    let begun = Instant::now();
    let tell = move || {
        let mut told = false;
        while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            let _ = write!(
                io::stderr(),
                "\r\x1b[K{}",
                line(what, moved.load(Ordering::Relaxed), begun.elapsed())
            );
            told = true;
        }
        if told {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    };
    let thread = thread::Builder::new().spawn(tell).ok()?; // it can be done without
    Some((end, thread))
}

fn line(what: &str, moved: u64, time: Duration) -> String {
    if moved == 0 {
        return format!("{what} for {}", text::age(time));
    }
    let rate = moved as f64 / time.as_secs_f64();
    format!("{what}: {}, {}/s", text::size(moved), text::size(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_their_rate_are_told_or_else_the_time() {
        assert_eq!(line("reading", 3 << 20, Duration::from_secs(2)), "reading: 3.0 MiB, 1.5 MiB/s");
        assert_eq!(line("sending", 0, Duration::from_secs(75)), "sending for 1m");
    }

    #[test]
    fn what_is_read_is_counted() {
        let progress = Progress { moved: Arc::default(), teller: None };
        let mut all = Vec::new();
        progress.reading(&[7; 1000][..]).read_to_end(&mut all).unwrap();
        assert_eq!((all.len(), progress.moved.load(Ordering::Relaxed)), (1000, 1000));
    }
}
