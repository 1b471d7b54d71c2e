//! Listening sockets that were handed over by the process that started this one.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// The first descriptor that systemd hands over.
const FIRST: RawFd = 3;

/// The descriptors that were taken over. Their numbers may be given to others once they are closed, so none is taken twice.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// How a socket that was handed over is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// By a path of this machine.
    Unix,
    /// By IPv4 or IPv6.
    Tcp,
}

/// A listening socket that was handed over, now non-blocking and closed on exec.
#[derive(Debug)]
pub struct Inherited {
    /// The socket.
    pub socket: OwnedFd,
    /// How it is reached.
    pub family: Family,
}

/// Takes over the listening socket with this number, which this process had from its start. It belongs to the answer from then on: nothing
/// else in the process may use that number.
///
/// # Errors
/// `InvalidInput` where it is no listening stream socket, is not open, is one of the three standard streams, or was taken over before.
#[allow(unsafe_code)]
pub fn take(number: RawFd) -> io::Result<Inherited> {
    let refused = |why: &str| {
        let text = format!(
            "descriptor {number} {why}; expected the number of a listening socket that was handed over"
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    if number < FIRST {
        return Err(refused("is no socket that was handed over"));
    }
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&number) {
        return Err(refused("was taken over already"));
    }
    // SAFETY: the number is not -1, and the descriptor is only looked at, by calls that answer an error where it is not open. It is not
    // closed meanwhile by anybody who keeps to what this function demands.
    let family = check(unsafe { BorrowedFd::borrow_raw(number) }).map_err(|error| match error {
        Errno::BADF => refused("is not open"),
        _ => refused("is no listening socket"),
    })?;
    taken.insert(number);
    // SAFETY: it is open, as was seen above, and nobody owns it: it came from the process that started this one, it is taken only once, and
    // the caller has left it to us.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let flags = fcntl_getfd(&socket)?;
    fcntl_setfd(&socket, flags | FdFlags::CLOEXEC)?;
    let flags = fcntl_getfl(&socket)?;
    fcntl_setfl(&socket, flags | OFlags::NONBLOCK)?;
    Ok(Inherited { socket, family })
}

fn check(fd: impl AsFd) -> Result<Family, Errno> {
    if sockopt::socket_type(&fd)? != SocketType::STREAM || !sockopt::socket_acceptconn(&fd)? {
        return Err(Errno::INVAL);
    }
    match sockopt::socket_domain(&fd)? {
        AddressFamily::UNIX => Ok(Family::Unix),
        AddressFamily::INET | AddressFamily::INET6 => Ok(Family::Tcp),
        _ => Err(Errno::INVAL),
    }
}

/// Takes over all sockets that systemd handed to this process, as `LISTEN_PID` and `LISTEN_FDS` say.
///
/// The variables stay as they are: changing them is not safe once there are threads, and a child of this process is not the one that
/// `LISTEN_PID` names.
///
/// # Errors
/// `NotFound` where none were handed over, or not to this process; otherwise as for [`take`].
pub fn take_from_systemd() -> io::Result<Vec<Inherited>> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let own = number("LISTEN_PID") == Some(rustix::process::getpid().as_raw_pid());
    let count = number("LISTEN_FDS").filter(|count| own && *count > 0);
    let Some(count) = count else {
        let text = "systemd handed no socket to this process (LISTEN_FDS and LISTEN_PID): start it by a .socket unit";
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    };
    (FIRST..FIRST.saturating_add(count)).map(take).collect()
}
