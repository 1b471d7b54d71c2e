//! Objects at an address, served by tasks.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use andiron_sys::socket::{self, AcceptError};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Hub;
use super::drive::{self, Hold};
use crate::link::Link;
use crate::listener::{House, Listener};
use crate::pool::Source;
use crate::server::{DRAIN, no_longer_there, places};
use crate::sync::lock;
use crate::{Connector, Error, ErrorKind, Expose, Result, Security};

/// How often the place of the server is looked after, and a listener tried again that found no descriptors left.
const CARE: Duration = Duration::from_secs(1);

/// Objects at an address, as [`Server`](crate::Server), but on the tasks of a tokio runtime.
///
/// ```no_run
/// # struct Adder;
/// # #[andiron::expose]
/// # impl Adder { fn add(&self, a: i64, b: i64) -> i64 { a + b } }
/// # async fn example() -> andiron::Result<()> {
/// andiron::aio::Server::bind("calc")?.object("adder", Adder)?.run().await
/// # }
/// ```
#[derive(Debug)]
pub struct Server(crate::Server);

impl Server {
    /// Listens nowhere, as [`Server::new`](crate::Server::new): its clients are in this process, and reach it by [`Running::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn new() -> Result<Server> {
        Ok(Server(crate::Server::new()?))
    }

    /// Takes an address, as [`Server::bind`](crate::Server::bind) does.
    ///
    /// # Errors
    /// As there.
    pub fn bind(address: &str) -> Result<Server> {
        Ok(Server(crate::Server::bind(address)?))
    }

    /// Takes an address with a say in who may connect, as [`Server::bind_with`](crate::Server::bind_with) does.
    ///
    /// # Errors
    /// As there.
    pub fn bind_with(address: &str, security: Security) -> Result<Server> {
        Ok(Server(crate::Server::bind_with(address, security)?))
    }

    /// Listens at one more address, as [`Server::listen`](crate::Server::listen) does.
    ///
    /// # Errors
    /// As there.
    pub fn listen(self, address: &str) -> Result<Server> {
        Ok(Server(self.0.listen(address)?))
    }

    /// Tells an address by which others reach this server, as [`Server::advertise`](crate::Server::advertise) does.
    ///
    /// # Errors
    /// As there.
    pub fn advertise(self, address: &str) -> Result<Server> {
        Ok(Server(self.0.advertise(address)?))
    }

    /// Has this called when a client has connected and when its connection is over, as [`Server::on_signal`](crate::Server::on_signal) does.
    pub fn on_signal(
        self,
        listen: impl Fn(&crate::Hub, crate::Signal<'_>) + Send + Sync + 'static,
    ) -> Server {
        Server(self.0.on_signal(listen))
    }

    /// Gives an object a name at this address.
    ///
    /// # Errors
    /// `Conflict` where the name is taken.
    pub fn object<T: Expose>(self, name: &str, object: T) -> Result<Server> {
        Ok(Server(self.0.object(name, object)?))
    }

    /// Starts to serve, on tasks of the current runtime, until the returned handle is stopped or dropped.
    ///
    /// # Errors
    /// No descriptors left.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(self) -> Result<Running> {
        andiron_sys::limits::raise_descriptor_limit();
        let guests = Arc::new(Guests::default());
        let (listeners, house) = self.0.into_parts();
        let doors = listeners.iter().map(|listener| Door::open(listener)).collect::<Result<Vec<_>>>()?;
        let accept = |(listener, door): (&Arc<Listener>, _)| {
            Handle::current().spawn(accept(listener.clone(), door, guests.clone()))
        };
        let accepting = listeners.iter().zip(doors).map(accept).collect();
        Ok(Running { listeners, house, guests, accepting, runtime: Handle::current() })
    }

    /// Serves until the process ends, or what is awaited is dropped.
    ///
    /// # Errors
    /// As for [`start`](Server::start).
    pub async fn run(self) -> Result<()> {
        let _running = self.start()?;
        std::future::pending().await
    }
}

/// A server that runs. Dropping it ends it at once, without waiting for calls under way.
pub struct Running {
    listeners: Vec<Arc<Listener>>,
    house: Arc<House>,
    guests: Arc<Guests>,
    accepting: Vec<JoinHandle<()>>,
    runtime: Handle,
}

impl Running {
    /// The addresses by which it is reached, as [`Running::addresses`](crate::Running::addresses).
    pub fn addresses(&self) -> Vec<String> {
        self.house.directory.addresses()
    }

    /// A connection within this process, as [`Running::connect`](crate::Running::connect). The task of the server's end is one of the
    /// runtime in which the server was started.
    ///
    /// # Errors
    /// As there.
    pub async fn connect(&self) -> Result<Hub> {
        Hub::connect_with(self.connector()).await
    }

    /// Makes connections within this process, as [`Running::connector`](crate::Running::connector); threads may connect by it as well.
    pub fn connector(&self) -> Connector {
        let (guests, house) = (Arc::downgrade(&self.guests), Arc::downgrade(&self.house));
        let runtime = self.runtime.clone();
        Connector::inside(Arc::new(move |connection| {
            let house = guests.upgrade().zip(house.upgrade());
            let Some((guests, house)) = house.filter(|(guests, _)| !guests.is_shut()) else {
                return Err(no_longer_there());
            };
            let _inside = runtime.enter();
            guests.take_in(house.welcome_local(connection)?)
        }))
    }

    /// Takes no further calls, waits at most five seconds for those under way, and ends all connections. True if all were finished in time.
    pub async fn stop(self) -> bool {
        self.shut();
        for link in self.guests.links() {
            link.say_goodbye("the server is shutting down");
        }
        tokio::time::timeout(DRAIN, self.guests.gone()).await.is_ok() // the drop ends the others
    }

    fn shut(&self) {
        self.house.leaves();
        lock(&self.guests.inside).shut = true;
        self.accepting.iter().for_each(JoinHandle::abort);
        self.listeners.iter().for_each(|listener| listener.shut());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shut();
        for link in self.guests.links() {
            link.close();
        }
    }
}

/// The same server, on tasks.
impl From<crate::Server> for Server {
    fn from(server: crate::Server) -> Server {
        Server(server)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", places(&self.listeners))
    }
}

/// The connections of a server.
#[derive(Default)]
struct Guests {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// By their place in memory while they are open.
    links: HashMap<usize, Weak<Link>>,
    /// Who waits for the last to leave.
    waker: Option<Waker>,
    /// Nobody comes in any more.
    shut: bool,
}

impl Guests {
    /// Has a task of the current runtime drive this connection.
    fn take_in(self: &Arc<Self>, link: Arc<Link>) -> Result<()> {
        self.enter(&link);
        if self.is_shut() {
            link.close(); // the server stopped meanwhile, and may have closed the others before
            return Err(no_longer_there());
        }
        drive::spawn(Hold::Open(link))
            .map_err(|error| Error::new(ErrorKind::Overloaded, format!("it cannot be watched: {error}")))
    }

    fn is_shut(&self) -> bool {
        lock(&self.inside).shut
    }

    fn enter(self: &Arc<Self>, link: &Arc<Link>) {
        let place = Arc::as_ptr(link) as usize;
        lock(&self.inside).links.insert(place, Arc::downgrade(link));
        let guests = self.clone();
        link.on_close(move |_| {
            let mut inside = lock(&guests.inside);
            inside.links.remove(&place);
            if inside.links.is_empty() {
                inside.waker.take().into_iter().for_each(Waker::wake);
            }
        });
    }

    fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.inside).links.values().filter_map(Weak::upgrade).collect()
    }

    async fn gone(&self) {
        poll_fn(|context| {
            let mut inside = lock(&self.inside);
            if inside.links.is_empty() {
                return Poll::Ready(());
            }
            inside.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A listening socket as the runtime watches it.
struct Door(AsyncFd<Arc<OwnedFd>>);

impl Door {
    fn open(listener: &Listener) -> Result<Door> {
        drive::watch(listener.socket()).map(Door).map_err(|error| {
            let text = format!("the runtime cannot watch the socket: {error}");
            Error::new(ErrorKind::Overloaded, text).with_source(error)
        })
    }
}

/// Takes connections until it is aborted.
async fn accept(listener: Arc<Listener>, mut door: Door, guests: Arc<Guests>) {
    let mut care = Instant::now() + CARE;
    loop {
        let Ok(ready) = timeout_at(care, door.0.readable()).await else {
            care = Instant::now() + CARE;
            if listener.tick()
                && let Ok(anew) = Door::open(&listener)
            {
                door = anew;
            }
            continue;
        };
        let Ok(mut ready) = ready else { return }; // the runtime ends
        match socket::accept(ready.get_inner()) {
            Ok(Some(connection)) => {
                let welcome = listener.welcome(connection).and_then(|link| guests.take_in(link));
                if let Err(error) = welcome {
                    listener.complain(&error);
                }
            }
            Ok(None) => ready.clear_ready(),
            Err(error @ (AcceptError::Exhausted(_) | AcceptError::Os(_))) => {
                crate::engine::line(format!("{error}; trying again in a second"));
                tokio::time::sleep(CARE).await;
            }
        }
    }
}
