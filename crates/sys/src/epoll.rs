//! Waiting for many descriptors from many threads, by `epoll(7)`, and waking a thread that waits.

use std::io;
use std::mem::MaybeUninit;
use std::ops::BitOr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::event::{EventfdFlags, eventfd};

use crate::poll::until_answered;

pub use crate::poll::Ready;

/// How many events one [`Poller::wait`] takes from the kernel at most.
const BATCH: usize = 64;

/// What to wait for on a descriptor. Interests are joined with `|`.
///
/// A hangup is always reported. Without [`Interest::ONE_SHOT`] a descriptor is reported for as long as it is
/// ready (level-triggered).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(epoll::EventFlags);

impl Interest {
    /// Nothing but a hangup.
    pub const NONE: Self = Self(epoll::EventFlags::empty());
    /// Bytes, a connection to accept, or the end of the stream.
    pub const READ: Self = Self(epoll::EventFlags::IN);
    /// Room to write.
    pub const WRITE: Self = Self(epoll::EventFlags::OUT);
    /// Report once, to one waiting thread, then stay silent until [`Poller::modify`] arms the descriptor again.
    pub const ONE_SHOT: Self = Self(epoll::EventFlags::ONESHOT);
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One descriptor that became ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The token that was given to [`Poller::add`] or [`Poller::modify`].
    pub token: u64,
    /// What it can do now.
    pub ready: Ready,
}

/// A set of descriptors to wait for. All methods take `&self`: any number of threads may wait and change it.
///
/// The poller does not own the descriptors. Remove one before it is closed: a duplicate that is still open
/// elsewhere would be reported on.
///
/// ```
/// use andiron_sys::epoll::{Interest, Poller, Waker};
/// let (poller, waker) = (Poller::new()?, Waker::new()?);
/// poller.add(&waker, 7, Interest::READ)?;
/// waker.wake();
/// let (token, ready) = poller.wait_one(None)?.expect("no timeout was given");
/// assert!(token == 7 && ready.readable);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// Makes an empty set.
    ///
    /// # Errors
    /// No descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Waits for `fd` too, from now on; `token` names it in events.
    ///
    /// # Errors
    /// `AlreadyExists` if `fd` is in the set; the kernel's limit of watched descriptors; a descriptor that
    /// cannot be waited for, such as a regular file.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), interest.0)?)
    }

    /// Changes token and interest of `fd`, and arms it again if it was one-shot.
    ///
    /// # Errors
    /// `NotFound` if `fd` is not in the set.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token), interest.0)?)
    }

    /// Waits for `fd` no more. An event that another thread has taken already may still be on its way.
    ///
    /// # Errors
    /// `NotFound` if `fd` is not in the set.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits for one event and leaves others to other threads; `None` when `timeout` passed first.
    ///
    /// Times below a millisecond are rounded up to one. A signal does not end the wait.
    ///
    /// # Errors
    /// The error of `epoll_wait(2)`; none is known to happen to a poller that was made here.
    pub fn wait_one(&self, timeout: Option<Duration>) -> io::Result<Option<(u64, Ready)>> {
        let mut event = [Event::default()];
        let taken = self.wait(&mut event, timeout)?;
        Ok((taken == 1).then_some((event[0].token, event[0].ready)))
    }

    /// Waits for at least one event, writes as many as are there and fit (64 at most) to the front of `events`
    /// and answers how many. Zero: `timeout` passed first. Otherwise as [`Poller::wait_one`].
    ///
    /// # Errors
    /// `InvalidInput` if `events` is empty.
    pub fn wait(&self, events: &mut [Event], timeout: Option<Duration>) -> io::Result<usize> {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); BATCH];
        let room = events.len().min(BATCH);
        until_answered(timeout, |timeout| {
            let (taken, _) = epoll::wait(&self.epoll, &mut space[..room], timeout)?;
            for (event, kernel) in events.iter_mut().zip(&*taken) {
                *event = Event { token: kernel.data.u64(), ready: ready(kernel.flags) };
            }
            Ok(taken.len())
        })
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Wakes a thread that waits in a [`Poller`]: add it there, level-triggered or one-shot, with [`Interest::READ`].
///
/// It stays readable from [`Waker::wake`] until [`Waker::clear`]; any number of wakes in between are one.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
}

impl Waker {
    /// Makes a waker that is not awake.
    ///
    /// # Errors
    /// No descriptor or no memory left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the waker readable. Never blocks, may be called from a signal handler.
    pub fn wake(&self) {
        // The only failure is a full counter, and a full counter is readable.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Makes the waker unreadable; true if it had been woken.
    pub fn clear(&self) -> bool {
        rustix::io::read(&self.event, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

fn ready(flags: epoll::EventFlags) -> Ready {
    Ready {
        readable: flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        hangup: flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR),
    }
}
