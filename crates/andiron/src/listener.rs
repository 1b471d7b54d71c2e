//! Where a server listens, and how it takes connections in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use andiron_proto::{Config, Refusal, Role};
use andiron_sys::inherit::{self, Family, Inherited};
use andiron_sys::names::{Claim, ClaimError};
use andiron_sys::runtime::RuntimeDir;
use andiron_sys::socket::{self, AcceptError, ConnectError};
use andiron_sys::tcp;

use crate::link::{Link, Wire};
use crate::lobby::Lobby;
use crate::pool::{Pool, Source};
use crate::root::{Directory, Root};
use crate::security::{Checks, Security};
use crate::sync::lock;
use crate::{Address, Endpoint, Error, ErrorKind, Hub, Result, Signal};

/// How many connections are accepted before other work gets its turn.
const ACCEPT_AT_ONCE: usize = 16;

/// What all listeners of a server have in common.
pub(crate) struct House {
    pub(crate) directory: Arc<Directory>,
    pub(crate) config: Config,
    pub(crate) lobby: Arc<Lobby>,
    /// Who is told of connections that are made and lost.
    pub(crate) listen: OnceLock<ListenAll>,
    /// How many connections there may be, and are.
    pub(crate) most_connections: usize,
    pub(crate) connections: AtomicUsize,
    /// What is to be done before the server gives up its places.
    pub(crate) on_stop: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl House {
    /// The server is about to give up its places.
    pub(crate) fn leaves(&self) {
        if let Some(on_stop) = self.on_stop.get() {
            crate::sync::contained(on_stop);
        }
    }
}

/// Who is told of the connections of a server.
pub(crate) type ListenAll = Arc<dyn Fn(&Hub, Signal<'_>) + Send + Sync>;

/// One listening socket.
pub(crate) struct Listener {
    door: Mutex<Door>,
    checks: Checks,
    house: Arc<House>,
}

/// A listening socket and the claim to its place.
struct Door {
    place: Place,
    socket: Arc<OwnedFd>,
}

enum Place {
    /// A name, in the runtime folder. `None` when the server has stopped.
    Named(PathBuf, Option<Claim>),
    /// A path that was given as such, with the fork generation in which it was made, until it is removed again; `None` also where it was
    /// handed over.
    Path(PathBuf, Option<u32>),
    /// TCP, with or without TLS; the fork generation as with a path.
    Net(SocketAddr, Option<u32>),
}

impl Listener {
    /// Listens at an address: one socket for each place that it stands for.
    pub(crate) fn open(
        address: &Address,
        security: &Security,
        house: &Arc<House>,
    ) -> Result<Vec<Arc<Listener>>> {
        let doors = match address {
            Address::Name(name) => {
                let folder = RuntimeDir::for_user()
                    .map_err(|error| Error::new(ErrorKind::Denied, error.to_string()).with_source(error))?;
                let (claim, socket) = Claim::new(&folder, name).map_err(cannot_claim)?;
                vec![(Door::new(Place::Named(claim.socket_path(), Some(claim)), socket), Checks::SameUser)]
            }
            Address::Unix(path) => {
                address.check_reachable()?;
                let socket = socket::listen(path).map_err(|error| cannot_listen(path, error))?;
                let made = Some(andiron_sys::fork::generation());
                vec![(Door::new(Place::Path(path.clone(), made), socket), Checks::SameUser)]
            }
            Address::Tcp(endpoint) | Address::Tls(endpoint) => {
                let encrypted = matches!(address, Address::Tls(_));
                // First: what is refused takes no port.
                let checks = security.checks(encrypted, endpoint.is_loopback())?;
                let sockets = tcp::listen(&endpoint.host, endpoint.port)
                    .map_err(|error| cannot_listen_at(endpoint, error))?;
                let place = |socket| Ok((Door::net(socket, true)?, checks.clone()));
                sockets.into_iter().map(place).collect::<Result<_>>()?
            }
            Address::Descriptor(number) => {
                vec![handed_over(inherit::take(*number).map_err(not_handed_over)?, security)?]
            }
            Address::Systemd => {
                let sockets = inherit::take_from_systemd().map_err(not_handed_over)?;
                sockets.into_iter().map(|socket| handed_over(socket, security)).collect::<Result<_>>()?
            }
        };
        let listener =
            |(door, checks)| Arc::new(Listener { door: Mutex::new(door), checks, house: house.clone() });
        let listeners: Vec<_> = doors.into_iter().map(listener).collect();
        for listener in &listeners {
            listener.checks.announce(listener.port())?;
        }
        Ok(listeners)
    }

    /// Where it listens, as an address.
    pub(crate) fn address(&self) -> String {
        match &lock(&self.door).place {
            Place::Named(path, _) | Place::Path(path, _) => format!("unix:{}", path.display()),
            Place::Net(address, _) if self.checks.is_tls() => format!("tls://{address}"),
            Place::Net(address, _) => format!("tcp://{address}"),
        }
    }

    fn port(&self) -> Option<u16> {
        match lock(&self.door).place {
            Place::Net(address, _) => Some(address.port()),
            _ => None,
        }
    }

    /// Gives the place back.
    pub(crate) fn shut(&self) {
        lock(&self.door).shut();
        self.checks.withdraw();
    }

    /// The connection, if this peer may come in, for somebody to drive. Never waits, and does nothing of the handshake: that is for whoever reads.
    pub(crate) fn welcome(&self, connection: OwnedFd) -> Result<Arc<Link>> {
        match &self.checks {
            Checks::SameUser => self.house.welcome_local(connection),
            checks => {
                let (wire, config) = checks.receive(connection, &self.house.config)?;
                Ok(self.house.welcome(wire, config))
            }
        }
    }

    /// Says that a connection was refused.
    pub(crate) fn complain(&self, error: &Error) {
        self.house.lobby.complain(&self.address(), error);
    }
}

impl House {
    /// The connection over a Unix socket, if its peer is of this user.
    pub(crate) fn welcome_local(self: &Arc<Self>, connection: OwnedFd) -> Result<Arc<Link>> {
        Ok(self.welcome(of_this_user(connection)?, self.config.clone()))
    }

    fn welcome(self: &Arc<Self>, wire: Wire, config: Config) -> Arc<Link> {
        let lobby = (!wire.local).then_some(&self.lobby);
        // Relaxed: a limit that a few more may pass who come in the same moment.
        let others = self.connections.fetch_add(1, Ordering::Relaxed);
        let most = self.most_connections;
        let full = || format!("the server has {most} connections and takes no more; try again later");
        let full = (others >= most).then(|| Refusal::overloaded(full()));
        let refuse = full.or(config.refuse);
        let link = Link::new(Role::Acceptor, Config { refuse, ..config }, wire);
        let house = self.clone();
        link.on_close(move |_| _ = house.connections.fetch_sub(1, Ordering::Relaxed));
        if let Some(lobby) = lobby {
            let guest = lobby.enter(&link);
            link.set_guest(guest);
        }
        Root::install(&self.directory, &link);
        if let Some(listen) = self.listen.get() {
            tell(&link, listen.clone());
        }
        link
    }
}

/// Has what happens to a connection told from its opening on.
fn tell(link: &Arc<Link>, listen: ListenAll) {
    let weak = Arc::downgrade(link);
    link.on_open(move || {
        let Some(link) = weak.upgrade() else { return };
        let of_end = listen.clone();
        link.on_close(move |error| {
            if let Some(link) = weak.upgrade() {
                of_end(&Hub::of(link), Signal::Disconnected(error));
            }
        });
        listen(&Hub::of(link), Signal::Connected);
    });
}

fn of_this_user(connection: OwnedFd) -> Result<Wire> {
    let own = socket::peer_credentials(&connection)
        .map_err(|error| Error::new(ErrorKind::Denied, error.to_string()))?;
    let user = andiron_sys::runtime::Places::of_this_process().uid;
    if own.uid != user {
        let text = format!("user {} is not user {user}, to whom this server belongs", own.uid);
        return Err(Error::new(ErrorKind::Denied, text));
    }
    let label = own.pid.map_or_else(|| "a local process".to_owned(), |pid| format!("process {pid}"));
    Ok(Wire::local(connection, label))
}

impl Door {
    fn new(place: Place, socket: OwnedFd) -> Door {
        Door { place, socket: Arc::new(socket) }
    }

    fn net(socket: OwnedFd, own: bool) -> Result<Door> {
        let address = tcp::local_address(&socket).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the listening socket has no address: {error}"))
        })?;
        let made = own.then(andiron_sys::fork::generation);
        Ok(Door::new(Place::Net(address, made), socket))
    }

    fn shut(&mut self) {
        match &mut self.place {
            Place::Named(_, claim) => *claim = None,
            Place::Path(path, made) => {
                if made.take() == Some(andiron_sys::fork::generation()) {
                    let _ = std::fs::remove_file(path); // it may be gone already
                }
            }
            Place::Net(_, made) => {
                if made.take() == Some(andiron_sys::fork::generation()) {
                    // Who connects is refused from now on, whoever still holds the socket.
                    let _ = socket::shutdown(&*self.socket);
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Source for Listener {
    fn socket(&self) -> Arc<OwnedFd> {
        lock(&self.door).socket.clone()
    }

    fn ready(&self, pool: &Arc<Pool>) -> bool {
        let socket = self.socket();
        for _ in 0..ACCEPT_AT_ONCE {
            match socket::accept(&*socket) {
                Ok(Some(connection)) => {
                    let welcome = self.welcome(connection).and_then(|link| link.attach(pool));
                    if let Err(error) = welcome {
                        self.complain(&error);
                    }
                }
                Ok(None) => return true,
                // The waiting client stays in the queue, and the socket readable: looking again at once would only spin.
                Err(error @ (AcceptError::Exhausted(_) | AcceptError::Os(_))) => {
                    crate::engine::line(format!("{error}; trying again in a second"));
                    return false;
                }
            }
        }
        true
    }

    fn tick(&self) -> bool {
        let mut door = lock(&self.door);
        let Place::Named(path, Some(claim)) = &mut door.place else { return false };
        if claim.still_mine() {
            return false;
        }
        match claim.renew() {
            Ok(socket) => {
                crate::engine::line(format!("the socket was removed; made anew at {}", path.display()));
                door.socket = Arc::new(socket);
                true
            }
            Err(error) => {
                crate::engine::line(format!(
                    "the socket was removed and cannot be made anew: {error}; trying again in a second"
                ));
                false
            }
        }
    }
}

/// A socket that was made by somebody else speaks TLS, unless only this machine reaches it or the user wants it so.
fn handed_over(inherited: Inherited, security: &Security) -> Result<(Door, Checks)> {
    let Inherited { socket, family } = inherited;
    match family {
        Family::Unix => {
            let path = socket::local_path(&socket).unwrap_or_default();
            Ok((Door::new(Place::Path(path, None), socket), Checks::SameUser))
        }
        Family::Tcp => {
            let door = Door::net(socket, false)?;
            let loopback = matches!(door.place, Place::Net(address, _) if address.ip().is_loopback());
            let checks = security.checks(!loopback && !security.allows_plain_tcp(), loopback)?;
            Ok((door, checks))
        }
    }
}

fn not_handed_over(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::Unavailable,
        _ => ErrorKind::BadArguments,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

fn cannot_claim(error: ClaimError) -> Error {
    let kind = match &error {
        ClaimError::Taken { .. } => ErrorKind::Conflict,
        ClaimError::PathTooLong(_) => ErrorKind::BadArguments,
        ClaimError::Folder(_) => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

fn cannot_listen(path: &Path, error: io::Error) -> Error {
    let (kind, text) = match error.kind() {
        io::ErrorKind::AddrInUse => (ErrorKind::Conflict, taken_by(path)),
        io::ErrorKind::InvalidFilename => (ErrorKind::BadArguments, error.to_string()),
        _ => (ErrorKind::Unavailable, format!("cannot make a socket at {}: {error}", path.display())),
    };
    Error::new(kind, text).with_source(error)
}

fn cannot_listen_at(endpoint: &Endpoint, error: io::Error) -> Error {
    let (kind, text) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            ErrorKind::Conflict,
            format!("the port {endpoint} is taken by another server; choose another port"),
        ),
        io::ErrorKind::AddrNotAvailable => (
            ErrorKind::BadArguments,
            format!(
                "{endpoint} is no address of this machine; listen at one that is, and `advertise` the other"
            ),
        ),
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::Denied, format!("this user may not listen at {endpoint}; choose a port from 1024 up"))
        }
        _ => (ErrorKind::Unavailable, format!("cannot listen at {endpoint}: {error}")),
    };
    Error::new(kind, text).with_source(error)
}

/// What is where a socket was to be made. A dead one is not replaced: without a lock another server may be about to.
fn taken_by(path: &Path) -> String {
    let what = match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            "is there already and is no socket; choose another path"
        }
        _ => match socket::connect(path, Some(Duration::ZERO)) {
            Err(ConnectError::Refused(_)) => "is there already, left by a server that was killed; remove it",
            _ => "is there already, and a server listens there; choose another path",
        },
    };
    format!("{} {what}", path.display())
}
