//! Connecting to a server.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use andiron_proto::{Config, Limits, Role};
use andiron_sys::runtime::RuntimeDir;
use andiron_sys::socket::{self, ConnectError};

use crate::line::{Line, Listen, Opening, Renewal, tell_end};
use crate::link::{Link, Wire};
use crate::root::{Directory, Root};
use crate::store::DEFAULT_LIMIT;
use crate::{Address, DEFAULT_ADDRESS, Error, ErrorKind, Hub, Result, Security, Signal};

/// How long connecting and the handshake may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// As long as for ever, which cannot be added to a time.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Has a server of this process take its end of a connection.
pub(crate) type Inside = Arc<dyn Fn(OwnedFd) -> Result<()> + Send + Sync>;

/// How to connect to a server, where [`Hub::connect`] is not enough.
///
/// ```no_run
/// use andiron::{Connector, Security};
/// let security = Security::default().secret_file("/home/me/player.secret");
/// let hub = Connector::new("tls://player.example.org").security(security).connect()?;
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing happens before `connect`"]
pub struct Connector {
    address: String,
    /// The way to a server of this process, where there is no address.
    inside: Option<Inside>,
    security: Security,
    limits: Limits,
    timeout: Duration,
    retry: Option<Duration>,
    cache: usize,
    listen: Option<Listen>,
}

impl Connector {
    /// To the server at this [`Address`].
    pub fn new(address: impl Into<String>) -> Connector {
        let address = address.into();
        Connector {
            address,
            inside: None,
            security: Security::default(),
            limits: Limits::default(),
            timeout: TIMEOUT,
            retry: None,
            cache: DEFAULT_LIMIT,
            listen: None,
        }
    }

    /// To a server of this process.
    pub(crate) fn inside(inside: Inside) -> Connector {
        Connector { inside: Some(inside), ..Connector::new("this process") }
    }

    /// How both ends prove who they are.
    pub fn security(self, security: Security) -> Connector {
        Connector { security, ..self }
    }

    /// What the server may send.
    pub fn limits(self, limits: Limits) -> Connector {
        Connector { limits, ..self }
    }

    /// How long all of it may take, ten seconds where nothing is said.
    pub fn timeout(self, timeout: Duration) -> Connector {
        Connector { timeout: timeout.min(LONGEST), ..self }
    }

    /// Connects again when the connection is lost, with growing pauses between tries, until the hub is [closed](Hub::close).
    ///
    /// Whoever uses the hub next has the new connection made, by a thread that ends with the try, or [`Hub::run`], which goes on until then. A call
    /// waits for it as long as its own time limit says, without one at most for `patience`, and then ends with the kind `Unavailable`: it did not run. Restored are registered names, and proxies that were got by
    /// [`Hub::object`], which find their object anew, also where only its provider has come back; a call waits for that as well. References that came in calls and results are dead, with a clear error. A call that
    /// cannot have run is made again; one that may have is not, and fails with the kind `Unknown`, unless its method is marked
    /// `#[expose(idempotent)]`. What a thread starts and waits for later, in a batch for instance, and one-way calls are sent once. The first connection is tried once.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let hub = andiron::Connector::new("tls://player.example.org").retry(Duration::from_secs(30)).connect()?;
    /// # Ok::<(), andiron::Error>(())
    /// ```
    pub fn retry(self, patience: Duration) -> Connector {
        Connector { retry: Some(patience), ..self }
    }

    /// How many bytes of what is read from the [store](Hub::store) are kept, to be read again without a message: 64 MiB where nothing is said,
    /// with 0 nothing. All threads that use the hub share it; what was not read lately goes first.
    pub fn cache(self, bytes: usize) -> Connector {
        Connector { cache: bytes, ..self }
    }

    /// Has this called when the connection is made, is lost, and is made anew. It is called by whoever finds out, or by the thread that
    /// connects again: a connection that nobody uses tells nothing.
    pub fn on_signal(self, listen: impl Fn(Signal<'_>) + Send + Sync + 'static) -> Connector {
        Connector { listen: Some(Arc::new(listen)), ..self }
    }

    /// Connects.
    ///
    /// # Errors
    /// `Unavailable` where no server is or none answers in time, `Denied` where it belongs to another user, `Authentication` where one end does
    /// not prove who it is, `Unsupported` where it speaks another version, `BadArguments` where the address is none.
    pub fn connect(&self) -> Result<Hub> {
        let again = self.clone();
        Ok(self.hub(self.opened()?, move || {
            let again = again.clone();
            Box::new(move || again.opened())
        }))
    }

    /// Connects and does the handshake.
    fn opened(&self) -> Result<Arc<Link>> {
        let link = self.open()?;
        link.wait_opened().map_err(|error| self.not_opened(error))?;
        Ok(link)
    }

    /// A hub over this connection, and where it retries over others that are made so.
    pub(crate) fn hub(&self, link: Arc<Link>, again: impl Fn() -> Opening + Send + Sync + 'static) -> Hub {
        if let Some(listen) = &self.listen {
            tell_end(&link, listen);
            listen(Signal::Connected);
        }
        let line = match self.retry {
            None => Line::single(link),
            Some(patience) => {
                Line::retrying(link, Renewal::new(Box::new(again), patience, self.listen.clone()))
            }
        };
        Hub::over(line, self.cache)
    }

    /// Connects, and leaves the handshake to be waited for.
    pub(crate) fn open(&self) -> Result<Arc<Link>> {
        let deadline = Instant::now() + self.timeout;
        let config = Config { limits: self.limits.clone(), ..Config::default() };
        let reached = match &self.inside {
            Some(inside) => self.reach_inside(inside).map(|wire| (wire, config)),
            None => self.address.parse().and_then(|address| self.reach(&address, config)),
        };
        let (wire, config) = reached.map_err(|error| error.during("connect"))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let link = Link::new(Role::Initiator, Config { handshake_timeout: left, ..config }, wire);
        let directory = Directory::new(false);
        Root::install(&directory, &link);
        link.keep_names(&directory);
        Ok(link)
    }

    fn reach(&self, address: &Address, config: Config) -> Result<(Wire, Config)> {
        address.check_reachable()?;
        match address {
            Address::Name(name) => {
                let folder = RuntimeDir::for_user()
                    .map_err(|error| Error::new(ErrorKind::Denied, error.to_string()).with_source(error))?;
                Ok((self.reach_path(&folder.socket_path(name))?, config))
            }
            Address::Unix(path) => Ok((self.reach_path(path)?, config)),
            Address::Tcp(_) | Address::Tls(_) => self.security.reach(address, self.timeout, config),
            Address::Descriptor(_) | Address::Systemd => unreachable!("no client can connect to it"),
        }
    }

    fn reach_inside(&self, inside: &Inside) -> Result<Wire> {
        let (near, far) = socket::pair().map_err(|error| {
            let text = format!("no connection within this process can be made: {error}");
            Error::new(ErrorKind::Overloaded, text).with_source(error)
        })?;
        inside(far)?;
        Ok(Wire::local(near, self.address.clone()))
    }

    fn reach_path(&self, path: &Path) -> Result<Wire> {
        let socket =
            socket::connect(path, Some(self.timeout)).map_err(|error| no_server(&self.address, error))?;
        Ok(Wire::local(socket, format!("'{}'", self.address)))
    }

    /// Why the handshake failed, for the user.
    pub(crate) fn not_opened(&self, error: Error) -> Error {
        let address = &self.address;
        let error = match error.kind() {
            ErrorKind::Deadline => {
                let doctor = "it is stopped or overloaded; `andiron doctor` tells more";
                let text = format!("the server at '{address}' does not answer: {doctor}");
                Error::new(ErrorKind::Unavailable, text)
            }
            ErrorKind::Protocol if address.starts_with("tcp:") => {
                let text = format!("{}; if it speaks TLS, its address begins with `tls://`", error.message());
                Error::new(ErrorKind::Protocol, text).with_context("address", address)
            }
            _ => error.with_context("address", address),
        };
        error.during("connect")
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("address", &self.address)
            .field("security", &self.security)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// True where something is there that is no socket.
fn is_other(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}

fn no_server(address: &str, error: ConnectError) -> Error {
    let serve = if address == DEFAULT_ADDRESS {
        "andiron serve".to_owned()
    } else {
        format!("andiron serve --name {address}")
    };
    let (kind, text) = match &error {
        ConnectError::Refused(path) if is_other(path) => {
            let text = format!(
                "{} is no socket, so no server listens there; choose another address",
                path.display()
            );
            (ErrorKind::BadArguments, text)
        }
        ConnectError::NotFound(_) | ConnectError::Refused(_) => {
            (ErrorKind::Unavailable, format!("no server at '{address}': start one with `{serve}`"))
        }
        ConnectError::Permission(_) => (ErrorKind::Denied, error.to_string()),
        ConnectError::PathTooLong(_) => (ErrorKind::BadArguments, error.to_string()),
        ConnectError::Busy(_) => (ErrorKind::Unavailable, error.to_string()),
        ConnectError::Os { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            (ErrorKind::Denied, error.to_string())
        }
        ConnectError::Os { .. } => (ErrorKind::Unavailable, error.to_string()),
    };
    Error::new(kind, text).with_source(error)
}
