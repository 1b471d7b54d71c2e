//! One connection as asynchronous programs see it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::again::{alive, blocking};
use super::drive::{self, Hold};
use super::{Proxy, Store};
use crate::hub::chosen_address;
use crate::link::Link;
use crate::store::Common;
use crate::{Batch, Connector, Error, ErrorKind, Expose, Result, context};

/// Connects as [`connect`](crate::connect) does.
///
/// # Errors
/// As there.
pub async fn connect() -> Result<Hub> {
    Hub::connect(&chosen_address()?).await
}

/// One connection, driven by a task of the runtime in which it was made; see [`Hub`](crate::Hub).
///
/// ```no_run
/// # async fn example() -> andiron::Result<()> {
/// let hub = andiron::aio::connect().await?;
/// let position: f64 = hub.call("player", "seek", &(12.5,)).await?;
/// hub.store().set("x", &20).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Hub(crate::Hub);

impl Hub {
    /// Connects to a server by its address, as [`Hub::connect`](crate::Hub::connect) does.
    ///
    /// # Errors
    /// As there.
    pub async fn connect(address: &str) -> Result<Hub> {
        Hub::connect_with(Connector::new(address)).await
    }

    /// Connects as [`Connector::connect`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn connect_with(connector: Connector) -> Result<Hub> {
        let opening = connector.clone();
        // Looking names up and connecting may block.
        let link = blocking(move || opening.open()).await?;
        watch(&link)?;
        poll_fn(|context| link.poll_opened(context)).await.map_err(|error| connector.not_opened(error))?;
        let again = connector.clone();
        Ok(Hub(connector.hub(link, move || {
            // That of who wants the connection: the thread that makes it is in none.
            let (again, runtime) = (again.clone(), Handle::current());
            Box::new(move || {
                let _in_runtime = runtime.enter();
                let link = again.open()?;
                watch(&link)?;
                link.wait_opened().map_err(|error| again.not_opened(error))?;
                Ok(link)
            })
        })))
    }

    /// A proxy of the object that has this name at the other end. `P` is a typed proxy, or [`Proxy`] itself.
    ///
    /// # Errors
    /// `NoObject` where nothing has that name.
    pub async fn object<P: From<Proxy>>(&self, name: &str) -> Result<P> {
        let found = self.root().idempotent().call::<crate::Proxy>("lookup", &(name,));
        let found = found.await.map_err(Error::without_operation)?;
        Ok(P::from(found.named(self.0.line(), name).into()))
    }

    /// Calls a method of the object that has this name, with a tuple of arguments.
    ///
    /// # Errors
    /// As for [`object`](Hub::object) and [`Proxy::call`].
    pub async fn call<R: DeserializeOwned>(
        &self,
        name: &str,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<R> {
        self.object::<Proxy>(name).await?.call(method, args).await
    }

    /// The names of the objects at the other end, sorted.
    ///
    /// # Errors
    /// Why the other end could not be asked.
    pub async fn names(&self) -> Result<Vec<String>> {
        self.root().idempotent().call("names", &()).await
    }

    /// Registers an object of this process at the server, where others find it under this name until this connection ends. Its methods run
    /// on the connection's task.
    ///
    /// # Errors
    /// `Conflict` where the name is taken, `Denied` where the server takes no objects.
    pub async fn register<T: Expose>(&self, name: &str, object: T) -> Result<&Hub> {
        let object = crate::Proxy::local(object);
        let () = self
            .root()
            .call("register", &(name, &object))
            .await
            .map_err(|error| error.without_operation().during("register").with_context("name", name))?;
        self.0.line().registered(name, &object);
        Ok(self)
    }

    /// The store of the server.
    pub fn store(&self) -> Store {
        Store::of(self.clone())
    }

    /// Waits for the end of the connection. Objects of this process are served all the time, whether this is awaited or not.
    ///
    /// # Errors
    /// Why the connection ended, where nobody here closed it.
    pub async fn run(&self) -> Result<()> {
        let line = self.0.line();
        loop {
            let link = line.link();
            let error = poll_fn(|context| link.poll_ended(context)).await;
            if line.closed_here() {
                return Ok(());
            }
            if !line.retries() {
                return Err(error.during("run"));
            }
            let next = line.clone();
            let next = blocking(move || next.after(&link)).await;
            if line.closed_here() {
                return Ok(());
            }
            next.map_err(|error| error.during("run"))?;
        }
    }

    fn root(&self) -> Proxy {
        self.0.root().into()
    }

    /// A connection that is not over, as far as is known.
    pub(super) async fn alive(&self) -> Result<Arc<Link>> {
        alive(self.0.line(), context::origin(None, None)?.deadline).await
    }

    pub(super) fn link(&self) -> Arc<Link> {
        self.0.link()
    }

    pub(super) fn common(&self) -> &Arc<Common> {
        self.0.common()
    }

    /// Holds back the calls that this thread starts on this connection until the guard is dropped: they go together, earlier where the connection sends
    /// something else meanwhile. Start the calls of a batch without awaiting in between.
    pub fn batch(&self) -> Batch {
        self.0.batch()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> String {
        self.0.peer()
    }

    /// Ends the connection. Calls under way fail; proxies of the other end's objects are dead.
    pub fn close(&self) {
        self.0.close();
    }

    /// Why the last one-way call that the other end complained about failed; each complaint is told once.
    pub fn take_notify_error(&self) -> Option<Error> {
        self.0.take_notify_error()
    }
}

/// Has a task of the current runtime drive this connection.
fn watch(link: &Arc<Link>) -> Result<()> {
    drive::spawn(Hold::Loose(Arc::downgrade(link))).map_err(|error| {
        let text = format!("the runtime cannot watch the connection: {error}");
        Error::new(ErrorKind::Overloaded, text).with_source(error).during("connect")
    })
}

/// In a handler: the connection of [`Context::hub`](crate::Context::hub).
impl From<crate::Hub> for Hub {
    fn from(hub: crate::Hub) -> Hub {
        Hub(hub)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
