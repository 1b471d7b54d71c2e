//! A server without a daemon: objects at an address.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use andiron_proto::{Config, Limits, Role};
use andiron_sys::names::{Claim, ClaimError};
use andiron_sys::runtime::{Name, RuntimeDir};
use andiron_sys::socket::{self, AcceptError, ConnectError};

use crate::link::Link;
use crate::object::{Exposed, Object};
use crate::pool::{Pool, Source};
use crate::root::{Directory, Root};
use crate::sync::lock;
use crate::{Error, ErrorKind, Expose, Result};

/// How long a server that stops waits for calls under way.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// How many connections are accepted before other work gets its turn.
const ACCEPT_AT_ONCE: usize = 16;

/// Objects at an address, for other processes of this user to call.
///
/// Calls run on threads of the server, at most 256 at once; calls beyond that are answered *overloaded*, and did not run. A client may have 1024
/// calls in flight; it holds back itself what goes beyond ([`Limits`]). Connections and calls that wait for their turn occupy no thread.
///
/// ```no_run
/// struct Adder;
/// #[andiron::expose]
/// impl Adder {
///     fn add(&self, a: i64, b: i64) -> i64 { a + b }
/// }
///
/// andiron::Server::bind("calc")?.object("adder", Adder)?.run()
/// # ?; Ok::<(), andiron::Error>(())
/// ```
pub struct Server {
    pool: Arc<Pool>,
    listener: Arc<Listener>,
}

impl Server {
    /// Takes an address: a name, or `unix:` and the path of a socket that is not there yet. Clients that come wait until the server is started.
    ///
    /// # Errors
    /// `Conflict` where a server runs there already, `Denied` or `BadArguments` where no socket can be made.
    pub fn bind(address: &str) -> Result<Server> {
        Server::host(address, Hosting::default())
    }

    /// As [`bind`](Server::bind), for the daemon.
    #[doc(hidden)]
    pub fn host(address: &str, hosting: Hosting) -> Result<Server> {
        let door =
            Door::open(address).map_err(|error| error.during("bind").with_context("address", address))?;
        let pool = Pool::new()?;
        let features = [("names", hosting.names), ("store", hosting.store.is_some())];
        let config = Config {
            features: features.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect(),
            limits: hosting.limits,
            store: hosting.store,
            ..Config::default()
        };
        let directory = Directory::new(hosting.names);
        let listener = Arc::new(Listener { door: Mutex::new(door), directory, config });
        Ok(Server { pool, listener })
    }

    /// Gives an object a name at this address.
    ///
    /// # Errors
    /// `Conflict` where the name is taken.
    pub fn object<T: Expose>(self, name: &str, object: T) -> Result<Server> {
        self.add(name, Arc::new(Exposed::new(object, false)))
    }

    /// An object whose methods never block: they run at once on the threads that read, those of one connection in the order sent.
    #[doc(hidden)]
    pub fn inline_object<T: Expose>(self, name: &str, object: T) -> Result<Server> {
        self.add(name, Arc::new(Exposed::new(object, true)))
    }

    fn add(self, name: &str, object: Arc<dyn Object>) -> Result<Server> {
        self.listener.directory.add(name, object).map_err(|error| error.during("object"))?;
        Ok(self)
    }

    /// What listens, for others than this server's threads.
    #[cfg(feature = "tokio")]
    pub(crate) fn into_listener(self) -> Arc<Listener> {
        self.listener
    }

    /// Starts to serve, on threads of its own, until the returned handle is stopped or dropped.
    ///
    /// # Errors
    /// No threads or descriptors left.
    pub fn start(self) -> Result<Running> {
        andiron_sys::limits::raise_descriptor_limit();
        self.pool.add_source(self.listener.clone())?;
        self.pool.start()?;
        Ok(Running {
            pool: self.pool,
            listener: self.listener,
            stopped: Arc::default(),
            generation: andiron_sys::fork::generation(),
        })
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// As for [`start`](Server::start).
    pub fn run(self) -> Result<()> {
        self.start()?.wait();
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", lock(&self.listener.door).path.display())
    }
}

/// What the daemon asks of a server beyond what everybody may.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Hosting {
    /// Others may register objects.
    pub names: bool,
    /// The incarnation of the store that is served.
    pub store: Option<[u8; 16]>,
    /// What is accepted from each client.
    pub limits: Limits,
}

/// A server that runs. Dropping it stops it.
pub struct Running {
    pool: Arc<Pool>,
    listener: Arc<Listener>,
    stopped: Arc<(Mutex<bool>, Condvar)>,
    /// The fork generation that it belongs to.
    generation: u32,
}

impl Running {
    /// The path of the server's socket.
    pub fn socket_path(&self) -> PathBuf {
        lock(&self.listener.door).path.clone()
    }

    /// Waits until [`stop`](Running::stop) was called by another thread.
    pub fn wait(&self) {
        let (stopped, wake) = &*self.stopped;
        let stopped = lock(stopped);
        drop(wake.wait_while(stopped, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes no further calls, waits at most five seconds for those under way, and ends all connections. True if all were finished in time.
    ///
    /// In a forked child, whose parent the server belongs to, it does nothing.
    pub fn stop(&self) -> bool {
        if self.generation != andiron_sys::fork::generation() {
            return true;
        }
        let (stopped, wake) = &*self.stopped;
        if std::mem::replace(&mut *lock(stopped), true) {
            return true;
        }
        self.pool.drop_sources();
        lock(&self.listener.door).shut();
        for link in self.pool.links() {
            link.say_goodbye("the server is shutting down");
        }
        let drained = self.pool.wait_empty(Instant::now() + DRAIN);
        for link in self.pool.links() {
            link.close();
        }
        self.pool.stop();
        wake.notify_all();
        drained
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.socket_path().display())
    }
}

/// A listening socket and the claim to its place.
struct Door {
    path: PathBuf,
    socket: Arc<OwnedFd>,
    /// `None` for a path that was given as such, and when the server has stopped.
    claim: Option<Claim>,
    /// The fork generation in which `path` was made, until it is removed again.
    own_path: Option<u32>,
}

impl Door {
    fn open(address: &str) -> Result<Door> {
        if let Some(path) = address.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let socket = socket::listen(&path).map_err(|error| cannot_listen(&path, error))?;
            return Ok(Door {
                path,
                socket: Arc::new(socket),
                claim: None,
                own_path: Some(andiron_sys::fork::generation()),
            });
        }
        let name: Name = address.parse().map_err(|error: andiron_sys::runtime::NameError| {
            Error::new(ErrorKind::BadArguments, error.to_string()).with_source(error)
        })?;
        let folder = RuntimeDir::for_user()
            .map_err(|error| Error::new(ErrorKind::Denied, error.to_string()).with_source(error))?;
        let (claim, socket) = Claim::new(&folder, &name).map_err(cannot_claim)?;
        Ok(Door { path: claim.socket_path(), socket: Arc::new(socket), claim: Some(claim), own_path: None })
    }

    fn shut(&mut self) {
        if self.own_path.take() == Some(andiron_sys::fork::generation()) {
            let _ = std::fs::remove_file(&self.path); // it may be gone already
        }
        self.claim = None;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
    }
}

pub(crate) struct Listener {
    door: Mutex<Door>,
    directory: Arc<Directory>,
    config: Config,
}

impl Listener {
    /// The connection, if this peer may come in, for somebody to drive.
    pub(crate) fn welcome(&self, connection: OwnedFd) -> Result<Arc<Link>> {
        let own = andiron_sys::socket::peer_credentials(&connection)
            .map_err(|error| Error::new(ErrorKind::Denied, error.to_string()))?;
        let user = andiron_sys::runtime::Places::of_this_process().uid;
        if own.uid != user {
            let text = format!("user {} is not user {user}, to whom this server belongs", own.uid);
            return Err(Error::new(ErrorKind::Denied, text));
        }
        let label = own.pid.map_or_else(|| "a local process".to_owned(), |pid| format!("process {pid}"));
        let link = Link::new(Role::Acceptor, self.config.clone(), connection, label);
        Root::install(&self.directory, &link);
        Ok(link)
    }
}

#[cfg(feature = "tokio")]
impl Listener {
    pub(crate) fn path(&self) -> PathBuf {
        lock(&self.door).path.clone()
    }

    pub(crate) fn shut(&self) {
        lock(&self.door).shut();
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
                        eprintln!("andiron: a connection was refused: {error}");
                    }
                }
                Ok(None) => return true,
                // The waiting client stays in the queue, and the socket readable: looking again at once would only spin.
                Err(error @ (AcceptError::Exhausted(_) | AcceptError::Os(_))) => {
                    eprintln!("andiron: {error}; trying again in a second");
                    return false;
                }
            }
        }
        true
    }

    fn tick(&self) -> bool {
        let mut door = lock(&self.door);
        let Some(claim) = &mut door.claim else { return false };
        if claim.still_mine() {
            return false;
        }
        match claim.renew() {
            Ok(socket) => {
                door.socket = Arc::new(socket);
                eprintln!("andiron: the socket was removed; made anew at {}", door.path.display());
                true
            }
            Err(error) => {
                eprintln!(
                    "andiron: the socket was removed and cannot be made anew: {error}; trying again in a second"
                );
                false
            }
        }
    }
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
