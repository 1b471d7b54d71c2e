//! The daemon: a server that others register objects at, with a store.

use std::path::PathBuf;

use andiron::{
    Durability, Error, ErrorKind, Expose, Hosting, Limits, Proxy, Result, Running, Security, Server,
};
use andiron_store::disk::Disk;
use andiron_store::{Store as Engine, StoreStart};

use crate::shared::now;
use crate::store::Store;
use crate::{StoreLimits, state};

/// The name of the object that is the store.
const STORE: &str = "store";

/// A server at an address that holds the datastore, and at which other processes register objects of theirs.
///
/// ```no_run
/// struct Clock;
/// #[andiron::expose]
/// impl Clock {
///     fn seconds(&self) -> u64 { 0 }
/// }
///
/// andiron_daemon::Daemon::bind("andiron")?.object("clock", Clock)?.run()
/// # ?; Ok::<(), andiron::Error>(())
/// ```
#[derive(Debug)]
pub struct Daemon {
    server: Server,
}

/// What a daemon may hold and accept.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How much the store holds.
    pub store: StoreLimits,
    /// The folder of this user's in which persistent entries are kept, which is made where it is not there; see [`state_folder`](crate::state_folder) for the usual one.
    /// `None`: nothing outlives the daemon, and `persist` is refused.
    pub state: Option<PathBuf>,
    /// What a persistent write survives where its caller does not say.
    pub durability: Durability,
    /// What is accepted from each client. A value of the store may have 128 KiB less than a message, of messages below 2 MiB fifteen sixteenths.
    pub session: Limits,
    /// Who may connect over a network.
    pub security: Security,
    /// How many connections there may be, where not 16,384; others are sent away as *overloaded*.
    pub connections: Option<usize>,
    /// How many bytes of calls that are not finished all clients together may have here, where not 1 GiB; calls beyond are answered
    /// *overloaded*, and did not run.
    pub bytes: Option<u64>,
    /// How many methods of this process's objects run at once, while further calls wait: with one, they run one after the other. Where there is no number it is 256, and calls beyond
    /// are answered *overloaded*. Store and names are not among them.
    pub threads: Option<usize>,
}

impl Daemon {
    /// Takes an [`Address`](andiron::Address). Clients that come wait until the daemon is started.
    ///
    /// # Errors
    /// As for [`Server::bind`].
    pub fn bind(address: &str) -> Result<Daemon> {
        Daemon::bind_with(address, Options::default())
    }

    /// Listens nowhere, before it is told to [`listen`](Daemon::listen): its clients are in this process, and reach it by [`Running::connect`]. As
    /// [`Server::new`], with a store.
    ///
    /// ```
    /// let running = andiron_daemon::Daemon::new(Default::default())?.start()?;
    /// running.connect()?.store().set("x", &20)?;
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_with`](Daemon::bind_with), but for those of addresses.
    pub fn new(options: Options) -> Result<Daemon> {
        Daemon::hosting(None, options)
    }

    /// As [`bind`](Daemon::bind), with a say in what it holds and accepts.
    ///
    /// # Errors
    /// As for [`bind`](Daemon::bind). Where a folder for the state is given and cannot be used: `Conflict` where another process uses it, `Quota` where its disk is full,
    /// else `Unavailable`.
    pub fn bind_with(address: &str, options: Options) -> Result<Daemon> {
        Daemon::hosting(Some(address), options)
    }

    fn hosting(address: Option<&str>, options: Options) -> Result<Daemon> {
        let mut incarnation = [0; 16];
        andiron_sys::random::fill(&mut incarnation).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the system gives no random bytes: {error}"))
                .with_source(error)
        })?;
        // The name first: once it is held, nobody else counts versions for it.
        let Options { store, state, durability, session: limits, security, connections, bytes, threads } =
            options;
        let message = limits.message;
        let hosting = Hosting {
            names: true,
            store: Some(incarnation),
            limits,
            security,
            connections,
            bytes,
            threads,
            ..Hosting::default()
        };
        let server = match address {
            Some(address) => Server::host(address, hosting)?,
            None => Server::hosting(hosting)?,
        };
        let disk = state.map(|folder| Ok::<_, Error>((state::open(&folder)?, folder))).transpose()?;
        // One more, so that no version of an earlier life is where this one begins.
        let high_water = disk.as_ref().map_or(0, |(disk, _)| disk.high_water().saturating_add(1));
        let start = StoreStart { incarnation, high_water, now: now().wall, limits: store };
        let disk = disk.map(|(disk, folder)| (Box::new(disk) as Box<dyn Disk>, folder));
        let store = Store::new(Engine::new(start), message, disk, state::survives(durability));
        store.fill()?;
        // The board first: behind the end of this server another one may take writes under its name.
        let server = server.on_stop(store.closing()).inline_object(STORE, store)?;
        Ok(Daemon { server })
    }

    /// Listens at one more address; see [`Server::listen`].
    ///
    /// # Errors
    /// As for [`bind`](Daemon::bind).
    pub fn listen(self, address: &str) -> Result<Daemon> {
        Ok(Daemon { server: self.server.listen(address)? })
    }

    /// Tells an address by which others reach this daemon; see [`Server::advertise`].
    ///
    /// # Errors
    /// As there.
    pub fn advertise(self, address: &str) -> Result<Daemon> {
        Ok(Daemon { server: self.server.advertise(address)? })
    }

    /// Gives an object of this process a name at this address.
    ///
    /// # Errors
    /// `Conflict` where the name is taken; `store` is.
    pub fn object<T: Expose>(self, name: &str, object: T) -> Result<Daemon> {
        Ok(Daemon { server: self.server.object(name, object)? })
    }

    /// Gives what a proxy stands for a name at this address.
    ///
    /// # Errors
    /// As for [`object`](Daemon::object).
    #[doc(hidden)]
    pub fn proxy(self, name: &str, proxy: &Proxy) -> Result<Daemon> {
        Ok(Daemon { server: self.server.proxy(name, proxy)? })
    }

    /// Starts to serve, on threads of its own, until the returned handle is stopped or dropped.
    ///
    /// # Errors
    /// No threads or descriptors left.
    pub fn start(self) -> Result<Running> {
        self.server.start()
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// As for [`start`](Daemon::start).
    pub fn run(self) -> Result<()> {
        self.server.run()
    }
}
