//! Who may connect: what an end is given, and what it makes of that for one address.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andiron_proto::wire::Reason;
use andiron_proto::{Auth, Config, Failure, Heartbeat, Refusal, binding};
use andiron_sys::runtime::RuntimeDir;
use andiron_sys::tcp;
use rustls::ServerConfig;

use crate::keyring::Keyring;
use crate::link::Wire;
use crate::sync::lock;
use crate::tls::{self, Identity, Tls};
use crate::{Address, Endpoint, Error, ErrorKind, Result, Secret, SecretFile};

/// A connection over a network is asked for a sign of life while something is awaited from it.
const HEARTBEAT: Heartbeat = Heartbeat { after: Duration::from_secs(10), patience: Duration::from_secs(20) };

/// Who may connect, for both ends alike: a client proves itself by it and demands proof of the server, and the other way round.
///
/// At a Unix socket nothing of it is needed: the system says who is there, and only the same user is let in. For the rest:
///
/// | Address | who is let in |
/// | --- | --- |
/// | `tcp://` on this machine | who has the secret; without one the server makes its own, which programs of the same user find by themselves |
/// | `tls://` with a secret | who has it, at both ends. Certificates can be anything; a server without one makes one |
/// | `tls://` with an authority | who has a certificate of it; dates and the server's host name are checked |
/// | `tls://` with both | who has both |
/// | any other `tcp://` | nobody, unless [`plain_tcp`](Security::plain_tcp) is asked for |
///
/// Without [`secret`](Security::secret) or [`secret_file`](Security::secret_file) the secret is the one in the file that `ANDIRON_SECRET_FILE`
/// names; and where that names none and no authority is given either, the one in `andiron/secret` in `XDG_CONFIG_HOME` or `~/.config`.
///
/// ```no_run
/// use andiron::{Connector, Security, Server};
/// let security = Security::default().secret_file("/etc/andiron/secret");
/// let server = Server::bind_with("tls://0.0.0.0", security.clone())?.start()?;
/// let hub = Connector::new("tls://localhost").security(security).connect()?;
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Security {
    secret: Option<SecretFrom>,
    /// Certificate and key.
    certificate: Option<(PathBuf, PathBuf)>,
    authority: Option<PathBuf>,
    plain_tcp: bool,
}

#[derive(Clone, Debug)]
enum SecretFrom {
    Given(Secret),
    File(PathBuf),
}

impl Security {
    /// The secret in this file. A server looks into it again when it has changed.
    pub fn secret_file(self, path: impl Into<PathBuf>) -> Security {
        Security { secret: Some(SecretFrom::File(path.into())), ..self }
    }

    /// This secret.
    pub fn secret(self, secret: Secret) -> Security {
        Security { secret: Some(SecretFrom::Given(secret)), ..self }
    }

    /// The own certificate, followed by those that vouch for it, and its private key, in PEM files.
    pub fn certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Security {
        Security { certificate: Some((certificate.into(), key.into())), ..self }
    }

    /// Whose certificates to trust, a PEM file: the other end has to show one. A client checks too that it is for the host it connects to.
    pub fn authority(self, path: impl Into<PathBuf>) -> Security {
        Security { authority: Some(path.into()), ..self }
    }

    /// Allows TCP without TLS beyond this machine: whoever is on the way reads and changes everything. Only who has the secret connects.
    pub fn plain_tcp(self) -> Security {
        Security { plain_tcp: true, ..self }
    }

    pub(crate) fn allows_plain_tcp(&self) -> bool {
        self.plain_tcp
    }

    /// The secrets for an end that is given none for just this address.
    fn keyring(&self) -> Result<Option<Arc<Keyring>>> {
        let path = match &self.secret {
            Some(SecretFrom::Given(secret)) => return Ok(Some(Arc::new(Keyring::Given(secret.clone())))),
            Some(SecretFrom::File(path)) => path.clone(),
            None => match file_of_environment() {
                Some(path) => path,
                None => {
                    let Some(path) = SecretFile::default_path()
                        .ok()
                        .filter(|path| self.authority.is_none() && path.exists())
                    else {
                        return Ok(None);
                    };
                    path
                }
            },
        };
        Keyring::open(path).map(|keyring| Some(Arc::new(keyring)))
    }

    fn identity(&self) -> Result<Option<Identity>> {
        self.certificate.as_ref().map(|(certificate, key)| Identity::read(certificate, key)).transpose()
    }

    /// What a server does at one of its addresses.
    pub(crate) fn checks(&self, encrypted: bool, loopback: bool) -> Result<Checks> {
        let keys = self.keyring()?;
        if encrypted {
            if keys.is_none() && self.authority.is_none() {
                return Err(nothing_to_check("anybody could connect"));
            }
            let identity = self.identity()?.map_or_else(Identity::generate, Ok)?;
            let certificate = identity.der().into();
            let config = tls::server_config(identity, self.authority.as_deref())?;
            return Ok(Checks::Tls { config, certificate, keys });
        }
        if !loopback && !self.plain_tcp {
            return Err(plain());
        }
        match keys {
            Some(keys) => Ok(Checks::Plain { keys, posted: Arc::new(Posted::nothing()) }),
            None if loopback => {
                let secret = Secret::new()?;
                let posted = Arc::new(Posted::new(secret.text()));
                Ok(Checks::Plain { keys: Arc::new(Keyring::Given(secret)), posted })
            }
            None => Err(nothing_to_check("anybody could connect")),
        }
    }

    /// Connects a client to an address of the network, and says how its session is to begin.
    pub(crate) fn reach(
        &self,
        address: &Address,
        timeout: Duration,
        config: Config,
    ) -> Result<(Wire, Config)> {
        let (endpoint, encrypted) = match address {
            Address::Tcp(endpoint) => (endpoint, false),
            Address::Tls(endpoint) => (endpoint, true),
            _ => unreachable!("other addresses are not of a network"),
        };
        // All of this before anything is sent: what is refused here reaches nobody.
        if !encrypted && !endpoint.is_loopback() && !self.plain_tcp {
            return Err(plain());
        }
        let keys = match posted_for(endpoint).filter(|_| !encrypted && self.secret.is_none()) {
            Some(keys) => Some(keys),
            None => self.keyring()?,
        };
        let tls = if encrypted {
            if keys.is_none() && self.authority.is_none() {
                return Err(nothing_to_check("anybody could pose as the server"));
            }
            let config = tls::client_config(self.identity()?, self.authority.as_deref())?;
            let host = if self.authority.is_some() { &endpoint.host } else { "andiron" };
            Some(Box::new(Tls::client(config, host)?))
        } else {
            None
        };
        let auth = match keys {
            Some(keys) => keys.first()?.auth()?,
            None if encrypted => Auth::Certificate,
            None => return Err(no_secret(address)),
        };
        let socket = tcp::connect(&endpoint.host, endpoint.port, timeout).map_err(|error| {
            let text = match &error {
                tcp::ConnectError::Refused(_) => format!("no server at {address}: {error}"),
                _ => error.to_string(),
            };
            Error::new(ErrorKind::Unavailable, text).with_source(error)
        })?;
        let binding = if encrypted { None } else { Some(plain_binding(&socket, true)?) };
        let label = format!("'{address}'");
        let wire = Wire { socket, tls, binding, label, local: false, secrets: None };
        Ok((wire, Config { auth, heartbeat: Some(HEARTBEAT), ..config }))
    }
}

/// What a server demands of those who connect at one of its addresses.
#[derive(Clone)]
pub(crate) enum Checks {
    /// The same user, at a Unix socket.
    SameUser,
    /// A secret, over TCP as it is.
    Plain { keys: Arc<Keyring>, posted: Arc<Posted> },
    /// A certificate, a secret, or both, over TLS.
    Tls { config: Arc<ServerConfig>, certificate: Arc<[u8]>, keys: Option<Arc<Keyring>> },
}

impl Checks {
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Checks::Tls { .. })
    }

    /// The server listens at this port.
    pub(crate) fn announce(&self, port: Option<u16>) -> Result<()> {
        match (self, port) {
            (Checks::Plain { posted, .. }, Some(port)) => posted.post(port),
            _ => Ok(()),
        }
    }

    /// The server listens no more.
    pub(crate) fn withdraw(&self) {
        if let Checks::Plain { posted, .. } = self {
            posted.remove();
        }
    }

    /// Takes a connection in: how its session is to begin. Nothing is read or written. Where nobody can be known, the peer is to be told so.
    pub(crate) fn receive(&self, socket: OwnedFd, config: &Config) -> Result<(Wire, Config)> {
        let lost = |error: std::io::Error| Error::new(ErrorKind::Unavailable, format!("it is gone: {error}"));
        tcp::tune(&socket).map_err(lost)?;
        let peer = tcp::peer_address(&socket).map_err(lost)?;
        let (scheme, keys, tls, binding) = match self {
            Checks::SameUser => unreachable!("a Unix socket is checked where it is accepted"),
            Checks::Plain { keys, .. } => ("tcp", Some(keys), None, plain_binding(&socket, false)?),
            Checks::Tls { config, certificate, keys } => {
                let tls = Box::new(Tls::server(config.clone())?);
                ("tls", keys.as_ref(), Some(tls), binding::tls(certificate))
            }
        };
        let (taken, refuse) = match keys.map(|keys| keys.taken()).transpose() {
            Ok(taken) => (taken, None),
            Err(error) => (None, Some(knows_nobody(&error))),
        };
        let auth = taken.as_ref().map_or(Ok(Auth::Certificate), |taken| taken.auth())?;
        let label = format!("{scheme} {peer}");
        let secrets = taken.map(|taken| taken.valid);
        let wire = Wire { socket, tls, binding: Some(binding), label, local: false, secrets };
        Ok((wire, Config { auth, refuse, heartbeat: Some(HEARTBEAT), ..config.clone() }))
    }
}

/// What a session over TCP without TLS is bound to: on this machine to the addresses of both ends, so that a stranger who took the server's
/// port cannot pass the proof on.
fn plain_binding(socket: &OwnedFd, initiator: bool) -> Result<Vec<u8>> {
    let lost = |error: std::io::Error| {
        Error::new(ErrorKind::Unavailable, format!("the connection was lost at once: {error}"))
    };
    let (local, peer) = (tcp::local_address(socket).map_err(lost)?, tcp::peer_address(socket).map_err(lost)?);
    if !local.ip().is_loopback() || !peer.ip().is_loopback() {
        return Ok(binding::plain());
    }
    let (from, to) = if initiator { (local, peer) } else { (peer, local) };
    Ok(binding::loopback(from, to))
}

/// The secret that a server on this machine made for itself, where programs of the same user find it.
pub(crate) struct Posted {
    /// `None` where the server has a secret that its clients are given otherwise.
    text: Option<String>,
    /// Where it is, with the fork generation in which it was put there.
    at: Mutex<Option<(PathBuf, u32)>>,
}

impl Posted {
    fn new(text: String) -> Posted {
        Posted { text: Some(text), at: Mutex::default() }
    }

    fn nothing() -> Posted {
        Posted { text: None, at: Mutex::default() }
    }

    /// Puts it where clients look for it. What another server at this port left there is not true any more in any case.
    fn post(&self, port: u16) -> Result<()> {
        let folder = runtime_folder()?;
        let path = file_of_port(&folder, port);
        let Some(text) = &self.text else {
            let _ = fs::remove_file(path); // there is none, mostly
            return Ok(());
        };
        let failed = |error: std::io::Error| {
            let text = format!("cannot write the secret of port {port} to {}: {error}", path.display());
            Error::new(ErrorKind::Denied, text).with_source(error)
        };
        folder
            .ensure()
            .map_err(|error| Error::new(ErrorKind::Denied, error.to_string()).with_source(error))?;
        let temporary = folder.path().join(format!(".tcp-{port}-{}.secret", std::process::id()));
        let _ = fs::remove_file(&temporary); // left by a process of this number that was killed right here
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        writeln!(file, "{text}").and_then(|()| fs::rename(&temporary, &path)).map_err(failed)?;
        *lock(&self.at) = Some((path, andiron_sys::fork::generation()));
        Ok(())
    }

    fn remove(&self) {
        let Some((path, made)) = lock(&self.at).take() else { return };
        let own = made == andiron_sys::fork::generation()
            && fs::read_to_string(&path).is_ok_and(|text| Some(text.trim_end()) == self.text.as_deref());
        if own {
            let _ = fs::remove_file(path); // who removed it before did the same
        }
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The secret of the server at this port of this machine, where it made one for itself.
fn posted_for(endpoint: &Endpoint) -> Option<Arc<Keyring>> {
    if !endpoint.is_loopback() {
        return None;
    }
    let path = file_of_port(&runtime_folder().ok()?, endpoint.port);
    Keyring::open(path).ok().map(Arc::new)
}

fn runtime_folder() -> Result<RuntimeDir> {
    RuntimeDir::for_user()
        .map_err(|error| Error::new(ErrorKind::Denied, error.to_string()).with_source(error))
}

fn file_of_port(folder: &RuntimeDir, port: u16) -> PathBuf {
    folder.path().join(format!("tcp-{port}.secret"))
}

fn file_of_environment() -> Option<PathBuf> {
    std::env::var_os("ANDIRON_SECRET_FILE").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The server's secrets cannot be read any more. What is wrong with its files is for its operator alone.
fn knows_nobody(error: &Error) -> Refusal {
    let told = "the server cannot check secrets at present, whatever yours is: ask its operator to look into its log";
    let text = format!("nobody can be let in until this is mended: {}", error.message());
    let failure = Failure::new(ErrorKind::Unavailable, text);
    Refusal { reason: Reason::Done, told: told.to_owned(), failure }
}

fn no_secret(address: &Address) -> Error {
    let text = format!(
        "no secret for {address}: its server belongs to another user or does not run; if it has a secret, give its file by \
         `--secret-file` (`secret_file` in a program) or ANDIRON_SECRET_FILE"
    );
    Error::new(ErrorKind::Authentication, text)
}

fn plain() -> Error {
    let text = "TCP without TLS is for this machine only, since others could read and change what is said: use `tls://`, \
                or allow it by `plain_tcp` (`--plain-tcp` at the shell)";
    Error::new(ErrorKind::Denied, text)
}

fn nothing_to_check(danger: &str) -> Error {
    let text = format!(
        "there is neither a secret nor an authority, so {danger}: make a secret with `andiron secret new` and give its file to both \
         ends by `--secret-file` (`secret_file` in a program) or ANDIRON_SECRET_FILE"
    );
    Error::new(ErrorKind::Authentication, text)
}
