//! TCP: connecting within a time, listening, and what a connection of long life is set to.
//!
//! What is made here is sent to, received from and accepted with the functions of [`socket`](crate::socket).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::socket::BACKLOG;

/// An idle connection is asked whether its peer is still there after this time, again and again in this interval, and so often.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// What was sent and is not confirmed within this time ends the connection.
const UNCONFIRMED: Duration = Duration::from_secs(120);

/// How often a free port is looked for that is free at all addresses of a host.
const ATTEMPTS: usize = 20;

/// Why [`connect`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name of the host is not known.
    #[error("the host {host:?} cannot be found: {source}")]
    Unknown {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("nobody listens at {0}")]
    Refused(SocketAddr),
    /// No answer came in the time given.
    #[error("{0} does not answer")]
    Silent(String),
    /// Anything else, such as no way to that network.
    #[error("cannot connect to {address}: {source}")]
    Os {
        /// Where to.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Connects to the first address of `host` that takes the connection. `timeout` is for all of it: finding the addresses and trying one
/// after the other, each of which gets an equal share of what is left. The socket made is a blocking one, [tuned](tune).
///
/// # Errors
/// See [`ConnectError`]; where there are several addresses, why the last one failed.
pub fn connect(host: &str, port: u16, timeout: Duration) -> Result<OwnedFd, ConnectError> {
    let deadline = Instant::now() + timeout;
    let addresses = resolve_in_time(host, port, timeout)?;
    let mut failure = ConnectError::Silent(host.to_owned());
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        if share.is_zero() {
            break;
        }
        let error = match TcpStream::connect_timeout(address, share) {
            // Where nobody listens at a port that is given out to clients, a client may be given just that, and reach itself.
            Ok(stream) if stream.local_addr().is_ok_and(|own| own == *address) => {
                failure = ConnectError::Refused(*address);
                continue;
            }
            Ok(stream) => {
                let socket = OwnedFd::from(stream);
                tune(&socket).map_err(|source| ConnectError::Os { address: *address, source })?;
                return Ok(socket);
            }
            Err(error) => error,
        };
        failure = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused(*address),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectError::Silent(address.to_string()),
            _ => ConnectError::Os { address: *address, source: error },
        };
    }
    Err(failure)
}

/// Makes listening sockets, non-blocking ones, at every address of `host`. Port 0 takes a free one, the same at all of them. An IPv6 socket
/// takes IPv6 connections only.
///
/// # Errors
/// `AddrInUse` if somebody listens at one of them; `NotFound` if the host has no address; `AddrNotAvailable` if none of them belongs to this machine.
pub fn listen(host: &str, port: u16) -> io::Result<Vec<OwnedFd>> {
    let addresses = resolve(host, port)?;
    let mut attempts = if port == 0 && addresses.len() > 1 { ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match listen_at(&addresses) {
            // A port that is free at the first address may be taken at the second.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            answer => return answer,
        }
    }
}

fn listen_at(addresses: &[SocketAddr]) -> io::Result<Vec<OwnedFd>> {
    let mut listeners: Vec<OwnedFd> = Vec::new();
    let mut port = None;
    let mut missing = None;
    for address in addresses {
        let address = SocketAddr::new(address.ip(), port.unwrap_or(address.port()));
        match listen_once(address) {
            Ok(listener) => {
                port = Some(local_address(&listener)?.port());
                listeners.push(listener);
            }
            // A machine may have no IPv6, or not the address that another one knows it by.
            Err(error @ (Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)) => missing = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error.into()),
        _ => Ok(listeners),
    }
}

fn listen_once(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of a server that has ended may still be winding up at this port; one that listens is in the way all the same.
    sockopt::set_socket_reuseaddr(&listener, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&listener, true)?;
    }
    net::bind(&listener, &address)?;
    net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Sets a connection up for small messages and a long life: nothing is held back to be sent together, and the kernel finds out, within about two
/// minutes, that the peer is gone without a word, also where nothing is sent.
///
/// # Errors
/// `fd` is no TCP socket.
pub fn tune(fd: impl AsFd) -> io::Result<()> {
    let (idle, interval, count) = KEEPALIVE;
    sockopt::set_tcp_nodelay(&fd, true)?;
    sockopt::set_socket_keepalive(&fd, true)?;
    sockopt::set_tcp_keepidle(&fd, idle)?;
    sockopt::set_tcp_keepintvl(&fd, interval)?;
    sockopt::set_tcp_keepcnt(&fd, count)?;
    sockopt::set_tcp_user_timeout(&fd, UNCONFIRMED.as_millis() as u32)?;
    Ok(())
}

/// The address of this end of a connection, or where a socket listens. An IPv4 address that is written as an IPv6 one is given as what it is,
/// so that both ends see the same.
///
/// # Errors
/// `fd` is no TCP socket.
pub fn local_address(fd: impl AsFd) -> io::Result<SocketAddr> {
    canonical(net::getsockname(fd)?)
}

/// The address of the other end of a connection, as in [`local_address`].
///
/// # Errors
/// `fd` is no TCP socket, or the connection is over.
pub fn peer_address(fd: impl AsFd) -> io::Result<SocketAddr> {
    canonical(net::getpeername(fd)?.ok_or(Errno::NOTCONN)?)
}

fn canonical(address: impl TryInto<SocketAddr>) -> io::Result<SocketAddr> {
    let address: SocketAddr = address
        .try_into()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "this is no TCP socket"))?;
    Ok(match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    })
}

/// Whether all addresses of `host` are this machine's own, which nothing from outside reaches. Asks nobody: of names only `localhost` is one.
///
/// ```
/// use andiron_sys::tcp::is_loopback;
/// assert!(is_loopback("localhost") && is_loopback("127.0.0.1") && is_loopback("::1"));
/// assert!(!is_loopback("0.0.0.0") && !is_loopback("example.org"));
/// ```
pub fn is_loopback(host: &str) -> bool {
    is_localhost(host) || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

/// The addresses of a host, asking the system where it is a name.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(known) = known(host, port) {
        return Ok(known);
    }
    let mut addresses = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(addresses)
}

/// The addresses that nobody needs to be asked for. `localhost` is always this machine, whatever its files or a name server say.
fn known(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if is_localhost(host) {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Some(both.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    Some(vec![SocketAddr::new(host.parse().ok()?, port)])
}

/// The same, not longer than `timeout`: a name server that does not answer is waited for by a thread of its own.
fn resolve_in_time(host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Some(known) = known(host, port) {
        return Ok(known);
    }
    let unknown = |source| ConnectError::Unknown { host: host.to_owned(), source };
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let asking = std::thread::Builder::new().name("andiron-resolve".to_owned());
    // Nobody listens any more where the time is over.
    asking.spawn(move || sender.send(resolve(&name, port)).ok()).map_err(unknown)?;
    match receiver.recv_timeout(timeout) {
        Ok(answer) => answer.map_err(unknown),
        Err(_) => Err(ConnectError::Silent(format!("the name server that was asked for {host:?}"))),
    }
}
