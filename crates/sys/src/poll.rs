//! Waiting for one descriptor, by `poll(2)`.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// What a descriptor can do now without blocking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read will not block: there are bytes, a connection to accept, or the end of the stream.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
    /// The other end is gone or the descriptor is in error. Bytes that it sent before may still be read.
    pub hangup: bool,
}

impl Ready {
    /// Whether nothing is ready, which is what a wait answers when its time ran out.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Waits until `fd` can be read (if `read`), can be written (if `write`) or hangs up; `None` waits without end.
///
/// A signal does not end the wait, but where it is [watched](crate::interrupt). When `timeout` passed, nothing in the answer is set ([`Ready::is_none`]).
///
/// # Errors
/// The error of `poll(2)`: practically only a lack of memory; `Interrupted` where signals are watched.
///
/// ```
/// use std::{io::Write, time::Duration};
/// let (here, there) = std::os::unix::net::UnixStream::pair()?;
/// assert!(andiron_sys::poll::wait(&here, true, false, Some(Duration::ZERO))?.is_none());
/// (&there).write_all(b"x")?;
/// assert!(andiron_sys::poll::wait(&here, true, false, None)?.readable);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait(fd: impl AsFd, read: bool, write: bool, timeout: Option<Duration>) -> io::Result<Ready> {
    let mut interest = PollFlags::empty();
    interest.set(PollFlags::IN, read);
    interest.set(PollFlags::OUT, write);
    let mut polled = [PollFd::new(&fd, interest)];
    until_answered(timeout, |timeout| rustix::event::poll(&mut polled, timeout))?;
    let events = polled[0].revents();
    Ok(Ready {
        readable: events.contains(PollFlags::IN),
        writable: events.contains(PollFlags::OUT),
        hangup: events.intersects(PollFlags::HUP | PollFlags::ERR),
    })
}

/// Repeats `wait` with the time that is left for as long as signals interrupt it.
pub(crate) fn until_answered<T>(
    timeout: Option<Duration>,
    mut wait: impl FnMut(Option<&Timespec>) -> rustix::io::Result<T>,
) -> io::Result<T> {
    // A time too far away to be represented is no limit at all. Zero needs no clock: it never sleeps.
    let deadline = timeout.filter(|time| !time.is_zero()).and_then(|time| Instant::now().checked_add(time));
    let mut left = timeout;
    loop {
        let limit = left.and_then(|time| Timespec::try_from(time).ok());
        match wait(limit.as_ref()) {
            Err(rustix::io::Errno::INTR) if !crate::interrupt::is_watched() => {
                left =
                    left.map(|time| deadline.map_or(time, |at| at.saturating_duration_since(Instant::now())));
            }
            answer => return Ok(answer?),
        }
    }
}
