//! One connection as its users see it.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::line::Line;
use crate::link::{BatchGuard, Link};
use crate::store::{Common, DEFAULT_LIMIT};
use crate::{Connector, DEFAULT_ADDRESS, Error, ErrorKind, Expose, Proxy, Result, Store};

/// Connects to the server whose address stands in the environment variable `ANDIRON_ADDRESS`, or else to the one named `andiron`.
///
/// # Errors
/// See [`Hub::connect`].
pub fn connect() -> Result<Hub> {
    Hub::connect(&chosen_address()?)
}

/// The address that the environment chooses, or the default one.
pub(crate) fn chosen_address() -> Result<String> {
    let chosen = std::env::var_os("ANDIRON_ADDRESS").filter(|address| !address.is_empty());
    chosen.map_or(Ok(DEFAULT_ADDRESS.to_owned()), |address| {
        address.into_string().map_err(|_| {
            let text = "the address in ANDIRON_ADDRESS is not UTF-8; set it to that of a server";
            Error::new(ErrorKind::BadArguments, text).during("connect")
        })
    })
}

/// One connection, the same thing at both ends: calls objects of the other end, and shows it objects of this one. A clone is the same
/// connection, and any thread may use it.
///
/// ```no_run
/// let hub = andiron::connect()?;
/// let position: f64 = hub.call("player", "seek", &(12.5,))?;
/// hub.store().set("x", &20)?;
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    line: Arc<Line>,
    /// Of its store.
    common: Arc<Common>,
}

impl Hub {
    /// Connects to a server by its [`Address`](crate::Address). A [`Connector`] can be told more.
    ///
    /// # Errors
    /// As for [`Connector::connect`].
    pub fn connect(address: &str) -> Result<Hub> {
        Connector::new(address).connect()
    }

    /// The root of the other end.
    pub(crate) fn root(&self) -> Proxy {
        Proxy::root_of(&self.line)
    }

    /// The object that knows the names of the others.
    #[doc(hidden)]
    pub fn root_proxy(&self) -> Proxy {
        self.root()
    }

    pub(crate) fn retries(&self) -> bool {
        self.line.retries()
    }

    pub(crate) fn link(&self) -> Arc<Link> {
        self.line.link()
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Keeps so many bytes of what is read from the store.
    pub(crate) fn over(line: Arc<Line>, cache: usize) -> Hub {
        Hub { line, common: Arc::new(Common::new(cache)) }
    }

    pub(crate) fn of(link: Arc<Link>) -> Hub {
        Hub::over(Line::single(link), DEFAULT_LIMIT)
    }

    /// A proxy of the object that has this name at the other end. `P` is a typed proxy, or [`Proxy`] itself.
    ///
    /// # Errors
    /// `NoObject` where nothing has that name.
    pub fn object<P: From<Proxy>>(&self, name: &str) -> Result<P> {
        self.find(name, None).map(P::from)
    }

    pub(crate) fn find(&self, name: &str, timeout: Option<Duration>) -> Result<Proxy> {
        let root = self.root().idempotent();
        let root = timeout.map_or_else(|| root.clone(), |timeout| root.with_timeout(timeout));
        let found: Proxy = root.call("lookup", &(name,)).map_err(Error::without_operation)?;
        Ok(found.named(&self.line, name))
    }

    /// Calls a method of the object that has this name, with a tuple of arguments. For more than one call keep the
    /// [`object`](Hub::object).
    ///
    /// # Errors
    /// As for [`object`](Hub::object) and [`Proxy::call`].
    pub fn call<R: DeserializeOwned>(
        &self,
        name: &str,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<R> {
        self.object::<Proxy>(name)?.call(method, args)
    }

    /// The names of the objects at the other end, sorted.
    ///
    /// # Errors
    /// Why the other end could not be asked.
    pub fn names(&self) -> Result<Vec<String>> {
        self.root().idempotent().call("names", &())
    }

    /// Registers an object of this process at the server, where others find it under this name until this connection ends. Its methods
    /// run when somebody reads the connection: while this process waits for an answer or in [`run`](Hub::run). A method of the server finds it over this connection too, by the
    /// [hub](crate::Context::hub) of its caller.
    ///
    /// # Errors
    /// `Conflict` where the name is taken, `Denied` where the server takes no objects.
    pub fn register<T: Expose>(&self, name: &str, object: T) -> Result<&Hub> {
        self.register_proxy(name, &Proxy::local(object))
    }

    /// As [`register`](Hub::register), of what a proxy stands for.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn register_proxy(&self, name: &str, object: &Proxy) -> Result<&Hub> {
        let () = self
            .root()
            .call("register", &(name, object))
            .map_err(|error| error.without_operation().during("register").with_context("name", name))?;
        self.line.registered(name, object);
        Ok(self)
    }

    /// The store of the server.
    pub fn store(&self) -> Store {
        Store::of(self.clone())
    }

    /// Serves the objects of this process to the other end, until the connection ends.
    ///
    /// # Errors
    /// Why the connection ended, where nobody here closed it.
    pub fn run(&self) -> Result<()> {
        self.run_on(None)
    }

    /// The same with so many methods at once, while further calls wait.
    #[doc(hidden)]
    pub fn run_on(&self, threads: Option<usize>) -> Result<()> {
        loop {
            let link = self.link();
            let ended = link.serve(threads);
            if ended.is_err() && self.line.closed_here() {
                return Ok(());
            }
            if ended.is_err() && self.line.retries() && link.ended().is_some() {
                let next = self.line.after(&link);
                match next {
                    Err(_) if self.line.closed_here() => return Ok(()),
                    Err(error) => return Err(error.during("run")),
                    Ok(_) => continue,
                }
            }
            return ended.map_err(|error| error.during("run"));
        }
    }

    /// Reads what the other end sent, waiting at most `timeout` for it, and runs the calls in it on this thread. For programs with a loop of
    /// their own, which watch the descriptor ([`AsRawFd`]). True if a call came.
    ///
    /// # Errors
    /// Why the connection ended.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        self.link().poll(Instant::now().checked_add(timeout)).map_err(|error| error.during("poll"))
    }

    /// True where threads read this connection and run its calls.
    #[doc(hidden)]
    pub fn is_attached(&self) -> bool {
        self.link().is_attached()
    }

    /// Holds back the calls that this thread starts on this connection until the guard is dropped or an answer is waited for: they go together. They
    /// go earlier where the connection sends something else meanwhile, or has no room for more.
    pub fn batch(&self) -> Batch {
        Batch { _guard: self.link().batch() }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> String {
        self.link().peer_label().to_owned()
    }

    /// Ends the connection. Calls under way fail; proxies of the other end's objects are dead.
    pub fn close(&self) {
        self.common.cache().close();
        self.line.close();
    }

    /// Why the last one-way call that the other end complained about failed; each complaint is told once.
    pub fn take_notify_error(&self) -> Option<Error> {
        let link = self.link();
        link.check_fork().ok()?;
        link.lock().take_notify_error()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub({})", self.peer())
    }
}

/// The socket; -1 when the connection is over.
impl AsRawFd for Hub {
    fn as_raw_fd(&self) -> RawFd {
        // In a forked child the lock may be held by a thread that is not there.
        let link = self.link();
        if link.check_fork().is_err() { -1 } else { link.lock().raw_fd() }
    }
}

/// See [`Hub::batch`].
#[must_use = "calls are held back only while this lives"]
pub struct Batch {
    _guard: BatchGuard,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batch")
    }
}
