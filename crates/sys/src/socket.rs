//! Stream sockets: connect, accept, send and receive, with descriptors passed along on Unix ones.
//!
//! [`send`], [`recv`], [`accept`] and [`shutdown`] work for TCP sockets as well, where no descriptors travel.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

/// How many descriptors one [`send`] passes and one [`recv`] takes at most.
pub const MAX_DESCRIPTORS: usize = 64;

/// The longest path of a Unix socket, in bytes: the kernel's 108 with the terminating zero.
pub const MAX_PATH: usize = 107;

/// How many slices one [`send`] takes at most; the kernel's limit. The rest is left for the next one.
const MAX_SLICES: usize = 1024;

/// Connections that wait to be accepted; the kernel lowers it to its own limit.
pub(crate) const BACKLOG: i32 = 4096;

/// The path of a Unix socket is longer than the kernel allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the socket path {} is {length} bytes long and {MAX_PATH} is the limit: choose a shorter name, \
     or set XDG_RUNTIME_DIR to a folder with a shorter path",
    path.display()
)]
pub struct PathTooLong {
    /// The path that was asked for.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: usize,
}

/// Why [`connect`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No server ever listened there, or it took its socket away when it ended.
    #[error("there is no socket at {}: is the server running?", .0.display())]
    NotFound(PathBuf),
    /// The socket is there and nobody listens: its server was killed.
    #[error("nobody listens at {}: its server is gone, start it again", .0.display())]
    Refused(PathBuf),
    /// The socket or its folder belongs to another user.
    #[error("no permission to connect to {}: it belongs to another user", .0.display())]
    Permission(PathBuf),
    /// The path does not fit.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// The server did not accept in the time given, because it is stopped or overloaded.
    #[error("the server at {} did not accept the connection in time: it is stopped or overloaded", .0.display())]
    Busy(PathBuf),
    /// Anything else, such as no descriptors left.
    #[error("cannot connect to {}: {source}", path.display())]
    Os {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Connects to the Unix socket at `path`. The socket made is a blocking one; see [`recv`] for single reads.
///
/// Connecting takes no time unless the server has stopped accepting and its queue is full; then it waits for
/// as long as `timeout` says (`None`: without end).
///
/// # Errors
/// See [`ConnectError`].
pub fn connect(path: &Path, timeout: Option<Duration>) -> Result<OwnedFd, ConnectError> {
    let address = address(path)?;
    try_connect(&address, timeout).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => ConnectError::NotFound(path.into()),
        // A regular file in the place of the socket is refused as well.
        Errno::CONNREFUSED => ConnectError::Refused(path.into()),
        Errno::ACCESS | Errno::PERM => ConnectError::Permission(path.into()),
        Errno::AGAIN => ConnectError::Busy(path.into()),
        other => ConnectError::Os { path: path.into(), source: other.into() },
    })
}

/// Makes two connected Unix sockets, blocking ones.
///
/// # Errors
/// No descriptors or no memory left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Makes a listening Unix socket at `path`: non-blocking, and usable by this user only from the moment it is there.
/// Servers with a name get theirs from [`names::Claim`](crate::names::Claim).
///
/// # Errors
/// `AddrInUse` if anything is at `path`; `InvalidFilename` with a [`PathTooLong`]; a folder that is not there or
/// cannot be written to.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let address = address(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidFilename, error))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The mode of the socket itself is the one that Linux gives the file that bind makes.
    rustix::fs::fchmod(&listener, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    net::bind(&listener, &address)?;
    net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Why [`accept`] failed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No descriptor or no memory is left; the connection still waits, so the listener stays readable. Stop
    /// waiting for it until a descriptor was closed: accepting again at once would only spin.
    #[error(
        "cannot accept a connection, no descriptors or memory left ({0}): \
         close connections or raise the limit (`ulimit -n`)"
    )]
    Exhausted(io::Error),
    /// Anything else; the listener is not usable.
    #[error("cannot accept a connection: {0}")]
    Os(io::Error),
}

/// Takes the next connection from a non-blocking `listener`; `None` when nobody waits. The connection itself
/// is a blocking socket; see [`recv`] for single reads.
///
/// # Errors
/// See [`AcceptError`].
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>, AcceptError> {
    loop {
        match net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(connection) => return Ok(Some(connection)),
            Err(Errno::AGAIN) => return Ok(None),
            // A connection that its peer gave up before it was accepted is none.
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
            // Nor one whose network failed meanwhile, which accept(2) tells of in this way.
            Err(
                Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
                | Errno::NOPROTOOPT,
            ) => {}
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                return Err(AcceptError::Exhausted(error.into()));
            }
            Err(error) => return Err(AcceptError::Os(error.into())),
        }
    }
}

/// Who is at the other end of a Unix socket, as it was when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process; `None` if it cannot be seen from here, as from inside another container.
    pub pid: Option<i32>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Asks the kernel who is at the other end of the Unix socket `fd`. The peer cannot forge the answer.
///
/// # Errors
/// `InvalidInput` if `fd` is no Unix socket.
#[allow(unsafe_code)] // The safe wrapper has no way to say "no process", which the kernel writes as zero.
pub fn peer_credentials(fd: impl AsFd) -> io::Result<Credentials> {
    let fd = fd.as_fd();
    if sockopt::socket_domain(fd)? != AddressFamily::UNIX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "only a Unix socket knows its peer's credentials",
        ));
    }
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `fd` is borrowed, so open. The kernel writes at most `size` bytes to `peer`, which is that long
    // and of integers only, for which any bytes are valid.
    let answer = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Credentials { pid: (peer.pid > 0).then_some(peer.pid), uid: peer.uid, gid: peer.gid })
}

/// What [`recv`] received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes were written to the front of the buffer; zero is the end of the stream.
    pub bytes: usize,
    /// Descriptors that came with these bytes were lost: more than [`MAX_DESCRIPTORS`] at once, or this process
    /// may not open more. Those that did fit are there.
    pub truncated: bool,
}

/// Receives bytes into `buf` and appends descriptors that came with them to `fds`.
///
/// Descriptors arrive with the byte that they were bound to. Bytes of earlier sends may come in the same call, and
/// later bytes of the same send after it, but never descriptors of two sends at once. They close on exec. A
/// signal does not end the call, but where it is [watched](crate::interrupt).
///
/// # Errors
/// `WouldBlock` if `nonblocking` and nothing is there; `InvalidInput` if `buf` is empty, since its answer would
/// read as the end of the stream; what else the connection suffered, such as `ConnectionReset`.
pub fn recv(
    fd: impl AsFd,
    buf: &mut [u8],
    nonblocking: bool,
    fds: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    if buf.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a buffer to receive into must not be empty",
        ));
    }
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, nonblocking);
    let mut space = ControlSpace::new();
    // Whatever is not drained from the control buffer is closed when it goes out of scope.
    let mut control = RecvAncillaryBuffer::new(&mut space.0);
    let received = loop {
        match net::recvmsg(&fd, &mut [IoSliceMut::new(buf)], &mut control, flags) {
            Err(Errno::INTR) if !crate::interrupt::is_watched() => {}
            answer => break answer?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            fds.extend(passed);
        }
    }
    Ok(Received { bytes: received.bytes, truncated: received.flags.contains(ReturnFlags::CTRUNC) })
}

/// Has [`recv`] end with `WouldBlock` when it has waited so long.
///
/// # Errors
/// What the system says where it is no socket.
pub fn wait_at_most(fd: impl AsFd, time: Duration) -> io::Result<()> {
    Ok(sockopt::set_socket_timeout(fd, sockopt::Timeout::Recv, Some(time))?)
}

/// Sends as much of `slices` as fits now, with `fds` bound to the first byte, and answers how many bytes went.
///
/// Never blocks and never raises SIGPIPE. If any byte went then all of `fds` did. Only the first 1024 slices
/// are looked at.
///
/// # Errors
/// `WouldBlock` if there is no room for a single byte; `InvalidInput` for more than [`MAX_DESCRIPTORS`] or for
/// descriptors without a byte to carry them; what else the connection suffered, such as `BrokenPipe`.
pub fn send(fd: impl AsFd, slices: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let mut space = ControlSpace::new();
    let mut control = SendAncillaryBuffer::new(&mut space.0);
    if !fds.is_empty() {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptors need a byte to travel with",
            ));
        }
        if fds.len() > MAX_DESCRIPTORS || !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
        }
    }
    loop {
        let sent = match slices {
            [single] if fds.is_empty() => net::send(&fd, single, flags),
            _ => net::sendmsg(&fd, &slices[..slices.len().min(MAX_SLICES)], &mut control, flags),
        };
        match sent {
            Err(Errno::INTR) => {}
            answer => return Ok(answer?),
        }
    }
}

/// Whether the other end has read all that was sent. False where that cannot be told.
#[allow(unsafe_code)] // There is no safe wrapper of this question.
pub fn is_read(fd: impl AsFd) -> bool {
    let mut unread: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, so open, and the kernel writes one integer to where it is told.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    answer == 0 && unread == 0
}

/// Ends the connection in both directions, for every descriptor of it in any thread or process: reads answer
/// the end of the stream, writes fail, whoever waits wakes up. A connection that is over already is fine.
///
/// # Errors
/// `fd` is no socket.
pub fn shutdown(fd: impl AsFd) -> io::Result<()> {
    match net::shutdown(fd, net::Shutdown::Both) {
        Err(Errno::NOTCONN) => Ok(()),
        answer => Ok(answer?),
    }
}

/// The path at which a Unix socket listens; `None` where it has none.
pub fn local_path(fd: impl AsFd) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(net::getsockname(fd).ok()?).ok()?;
    Some(std::ffi::OsStr::from_bytes(address.path_bytes()?).into())
}

/// Checks that a socket can be made at `path`, and makes its address.
pub(crate) fn address(path: &Path) -> Result<SocketAddrUnix, PathTooLong> {
    let length = path.as_os_str().len();
    let too_long = || PathTooLong { path: path.into(), length };
    if length > MAX_PATH {
        return Err(too_long());
    }
    SocketAddrUnix::new(path).map_err(|_| too_long())
}

/// Room for one control message with [`MAX_DESCRIPTORS`] and not one more, on the stack and not filled. It is
/// aligned, or else it would need slack, in which a few more descriptors fit or not as chance has it.
#[repr(align(8))]
struct ControlSpace([MaybeUninit<u8>; CONTROL_SIZE]);

/// A header and the descriptors.
const CONTROL_SIZE: usize = size_of::<libc::cmsghdr>() + MAX_DESCRIPTORS * size_of::<RawFd>();

impl ControlSpace {
    fn new() -> Self {
        Self([MaybeUninit::uninit(); CONTROL_SIZE])
    }
}

fn try_connect(address: &SocketAddrUnix, timeout: Option<Duration>) -> Result<OwnedFd, Errno> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let deadline = timeout.and_then(|time| Instant::now().checked_add(time));
    loop {
        if let Some(deadline) = deadline {
            // Zero would be no limit; the kernel's grain is coarser than this anyway.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left))?;
        }
        match net::connect(&socket, address) {
            Err(Errno::INTR) => {}
            answer => break answer?,
        }
    }
    if deadline.is_some() {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    }
    Ok(socket)
}
