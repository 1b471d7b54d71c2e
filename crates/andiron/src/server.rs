//! A server without a daemon: objects at an address.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use andiron_proto::{Budget, Config, Limits};

use crate::listener::{House, Listener};
use crate::lobby::Lobby;
use crate::object::{Exposed, Object};
use crate::pool::Pool;
use crate::root::Directory;
use crate::sync::lock;
use crate::target::Target;
use crate::{Address, Connector, Error, ErrorKind, Expose, Hub, Proxy, Result, Security, Signal};

/// How long a server that stops waits for calls under way.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// See [`Hosting::connections`].
const MOST_CONNECTIONS: usize = 16 << 10;
/// See [`Hosting::bytes`].
const MOST_BYTES: u64 = 1 << 30;

/// Objects at an address, for other processes of this user to call.
///
/// Calls run on threads of the server, at most 256 at once; calls beyond that are answered *overloaded*, and did not run. A client may have 1024
/// calls in flight; it holds back itself what goes beyond ([`Limits`]). All clients together may have 1 GiB of calls that are not finished, and there may
/// be 16,384 of them; what goes beyond is *overloaded* too. Connections and calls that wait for their turn occupy no thread.
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
    listeners: Vec<Arc<Listener>>,
    house: Arc<House>,
    security: Security,
}

impl Server {
    /// Listens nowhere, before it is told to [`listen`](Server::listen): its clients are in this process, and reach it by
    /// [`Running::connect`]. So objects are tested as others will call them, without an address and what is left of it.
    ///
    /// ```
    /// # struct Adder;
    /// # #[andiron::expose]
    /// # impl Adder { fn add(&self, a: i64, b: i64) -> i64 { a + b } }
    /// let server = andiron::Server::new()?.object("adder", Adder)?.start()?;
    /// let adder: AdderProxy = server.connect()?.object("adder")?;
    /// assert_eq!(adder.add(1, 2)?, 3);
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> Result<Server> {
        Server::hosting(Hosting::default())
    }

    /// Takes an [`Address`]. Clients that come wait until the server is started.
    ///
    /// # Errors
    /// `Conflict` where a server runs there already, or where a killed one left the socket of a `unix:PATH` (a name finds its own again), `Denied` or `BadArguments` where no socket can be made, or where strangers could connect.
    pub fn bind(address: &str) -> Result<Server> {
        Server::bind_with(address, Security::default())
    }

    /// As [`bind`](Server::bind), with a say in who may connect: at this address and those of [`listen`](Server::listen).
    ///
    /// # Errors
    /// As for [`bind`](Server::bind).
    pub fn bind_with(address: &str, security: Security) -> Result<Server> {
        Server::host(address, Hosting { security, ..Hosting::default() })
    }

    /// As [`bind_with`](Server::bind_with), for the daemon.
    #[doc(hidden)]
    pub fn host(address: &str, hosting: Hosting) -> Result<Server> {
        Server::hosting(hosting)?.listen_during("bind", address)
    }

    /// Has this called when the server stops, before anybody else can have its places.
    #[doc(hidden)]
    pub fn on_stop(self, hook: impl Fn() + Send + Sync + 'static) -> Server {
        self.house.on_stop.get_or_init(|| Box::new(hook));
        self
    }

    /// As [`new`](Server::new), for the daemon.
    #[doc(hidden)]
    pub fn hosting(hosting: Hosting) -> Result<Server> {
        let features = [("names", hosting.names), ("store", hosting.store.is_some())];
        let default = Config::default();
        let config = Config {
            handshake_timeout: hosting.handshake.unwrap_or(default.handshake_timeout),
            features: features.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect(),
            limits: hosting.limits,
            store: hosting.store,
            budget: Some(Budget::new(hosting.bytes.unwrap_or(MOST_BYTES))),
            ..default
        };
        let directory = Directory::new(hosting.names);
        let house = Arc::new(House {
            directory,
            config,
            lobby: Arc::new(Lobby::default()),
            listen: OnceLock::new(),
            most_connections: hosting.connections.unwrap_or(MOST_CONNECTIONS),
            connections: AtomicUsize::new(0),
            on_stop: OnceLock::new(),
        });
        Ok(Server {
            pool: Pool::new(hosting.threads)?,
            listeners: Vec::new(),
            house,
            security: hosting.security,
        })
    }

    /// Listens at one more address.
    ///
    /// ```no_run
    /// # struct Adder;
    /// # #[andiron::expose]
    /// # impl Adder {}
    /// andiron::Server::bind("calc")?.listen("tls://0.0.0.0")?.object("adder", Adder)?.run()
    /// # ?; Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind`](Server::bind).
    pub fn listen(self, address: &str) -> Result<Server> {
        self.listen_during("listen", address)
    }

    fn listen_during(mut self, operation: &'static str, address: &str) -> Result<Server> {
        let opened = address
            .parse()
            .and_then(|address: Address| Listener::open(&address, &self.security, &self.house));
        self.listeners
            .extend(opened.map_err(|error| error.during(operation).with_context("address", address))?);
        Ok(self)
    }

    /// Tells an address by which others reach this server, where it is not one that it listens at: behind a forwarded port, or by a name. See
    /// [`Running::addresses`].
    ///
    /// # Errors
    /// `BadArguments`: it is no address, or one that no client can connect to (port 0, `fd:NUMBER`, `systemd`).
    pub fn advertise(self, address: &str) -> Result<Server> {
        let reachable =
            address.parse().and_then(|address: Address| address.check_reachable().map(|()| address));
        let address = reachable.map_err(|error| error.during("advertise"))?;
        self.house.directory.advertise(address.to_string());
        Ok(self)
    }

    /// Has this called when a client has connected, and when its connection is over, with the reason; the hub says
    /// [who](Hub::peer) it is, and can be called. It runs on a thread that serves others, so it should not take long.
    ///
    /// ```no_run
    /// use andiron::{Server, Signal};
    /// Server::bind("calc")?.on_signal(|hub, signal| match signal {
    ///     Signal::Connected => println!("{} is here", hub.peer()),
    ///     Signal::Disconnected(why) => println!("{} is gone: {why}", hub.peer()),
    ///     _ => {}
    /// });
    /// # Ok::<(), andiron::Error>(())
    /// ```
    pub fn on_signal(self, listen: impl Fn(&Hub, Signal<'_>) + Send + Sync + 'static) -> Server {
        self.house.listen.get_or_init(|| Arc::new(listen));
        self
    }

    /// Gives an object a name at this address.
    ///
    /// # Errors
    /// `Conflict` where the name is taken.
    pub fn object<T: Expose>(self, name: &str, object: T) -> Result<Server> {
        self.add(name, Arc::new(Exposed::new(object, false)))
    }

    /// Gives what a proxy stands for a name at this address.
    ///
    /// # Errors
    /// As for [`object`](Server::object); `BadArguments` where it is no object of this process.
    #[doc(hidden)]
    pub fn proxy(self, name: &str, proxy: &Proxy) -> Result<Server> {
        match proxy.target() {
            Target::Local(object) => self.add(name, object.clone()),
            _ => Err(Error::new(ErrorKind::BadArguments, "a server offers objects of its own process")
                .during("object")),
        }
    }

    /// An object whose methods never block: they run at once on the threads that read, those of one connection in the order sent.
    #[doc(hidden)]
    pub fn inline_object<T: Expose>(self, name: &str, object: T) -> Result<Server> {
        self.add(name, Arc::new(Exposed::new(object, true)))
    }

    fn add(self, name: &str, object: Arc<dyn Object>) -> Result<Server> {
        self.house.directory.add(name, object).map_err(|error| error.during("object"))?;
        Ok(self)
    }

    /// What listens, for others than this server's threads.
    #[cfg(feature = "tokio")]
    pub(crate) fn into_parts(self) -> (Vec<Arc<Listener>>, Arc<House>) {
        self.tell_addresses();
        (self.listeners, self.house)
    }

    /// Where it listens is known from now on.
    fn tell_addresses(&self) {
        for listener in &self.listeners {
            self.house.directory.advertise(listener.address());
        }
    }

    /// Starts to serve, on threads of its own, until the returned handle is stopped or dropped.
    ///
    /// # Errors
    /// No threads or descriptors left.
    pub fn start(self) -> Result<Running> {
        andiron_sys::limits::raise_descriptor_limit();
        self.tell_addresses();
        for listener in &self.listeners {
            self.pool.add_source(listener.clone())?;
        }
        self.pool.start()?;
        Ok(Running {
            pool: self.pool,
            listeners: self.listeners,
            house: self.house,
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
        write!(f, "Server({})", places(&self.listeners))
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
    /// Who may connect over a network.
    pub security: Security,
    /// How long a handshake may take, where not ten seconds.
    pub handshake: Option<Duration>,
    /// How many connections there may be, where not 16,384.
    pub connections: Option<usize>,
    /// How many bytes of calls that are not finished all clients together may have here, where not 1 GiB.
    pub bytes: Option<u64>,
    /// How many methods run at once, while further calls wait; where there is no number, 256, and further calls are *overloaded*.
    pub threads: Option<usize>,
}

/// A server that runs. Dropping it stops it.
pub struct Running {
    pool: Arc<Pool>,
    listeners: Vec<Arc<Listener>>,
    house: Arc<House>,
    stopped: Arc<(Mutex<bool>, Condvar)>,
    /// The fork generation that it belongs to.
    generation: u32,
}

impl Running {
    /// The addresses by which it is reached: first those that were [advertised](Server::advertise), then those that it listens at, with the
    /// ports that it took.
    pub fn addresses(&self) -> Vec<String> {
        self.house.directory.addresses()
    }

    /// A connection within this process, which needs no address.
    ///
    /// # Errors
    /// `Unavailable` where the server has stopped, `Overloaded` where no descriptors are left.
    pub fn connect(&self) -> Result<Hub> {
        self.connector().connect()
    }

    /// Makes connections within this process, and can be told more. It does not keep the server running.
    pub fn connector(&self) -> Connector {
        let (pool, house) = (Arc::downgrade(&self.pool), Arc::downgrade(&self.house));
        let (stopped, generation) = (self.stopped.clone(), self.generation);
        Connector::inside(Arc::new(move |connection| {
            if generation != andiron_sys::fork::generation() {
                let text = "this server was started before this process was forked and belongs to the parent; start another";
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            let over = || *lock(&stopped.0);
            let Some((pool, house)) = pool.upgrade().zip(house.upgrade()).filter(|_| !over()) else {
                return Err(no_longer_there());
            };
            let link = house.welcome_local(connection)?;
            link.attach(&pool)?;
            if over() {
                link.close(); // it stopped meanwhile, and may have closed the others before
                return Err(no_longer_there());
            }
            Ok(())
        }))
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
        self.house.leaves();
        self.pool.drop_sources();
        for listener in &self.listeners {
            listener.shut();
        }
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
        write!(f, "Running({})", places(&self.listeners))
    }
}

/// Why there is no way into a server of this process.
pub(crate) fn no_longer_there() -> Error {
    Error::new(ErrorKind::Unavailable, "the server has stopped; start another one")
}

pub(crate) fn places(listeners: &[Arc<Listener>]) -> String {
    listeners.iter().map(|listener| listener.address()).collect::<Vec<_>>().join(", ")
}
