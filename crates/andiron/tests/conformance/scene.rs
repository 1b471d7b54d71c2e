//! Where a behaviour is looked at, and a client that is the same to the test whoever drives it.

use std::future::poll_fn;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use andiron::{
    Batch, Connector, Error, Expose, Hosting, Pending, Proxy, Result, Secret, Security, Server, Stream, aio,
};
use futures_core::Stream as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use crate::common::{eventually, net};

/// Long enough that only a hang comes to its end.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    Threads,
    Tasks,
}

/// One of the combinations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) client: Driver,
    pub(crate) server: Driver,
    pub(crate) transport: &'static str,
}

/// Looks at a behaviour in all combinations: a module for each transport, and in it a test for each pair of drivers.
macro_rules! everywhere {
    ($($behaviour:ident),+ $(,)?) => { over! { { unix tcp tls memory } $($behaviour),+ } };
}

/// The same over some transports.
macro_rules! over {
    ($transports:tt $($behaviour:ident),+ $(,)?) => {
        $(mod $behaviour { over_each! { $transports $behaviour } })+
    };
}

macro_rules! over_each {
    ({ $($transport:ident)+ } $behaviour:ident) => {$(
        mod $transport {
            use super::super::$behaviour as behaviour;
            use crate::scene::Driver::{Tasks, Threads};
            use crate::scene::look;

            #[test]
            fn threads_call_threads() {
                look(behaviour, Threads, Threads, stringify!($transport));
            }

            #[test]
            fn threads_call_tasks() {
                look(behaviour, Threads, Tasks, stringify!($transport));
            }

            #[test]
            fn tasks_call_threads() {
                look(behaviour, Tasks, Threads, stringify!($transport));
            }

            #[test]
            fn tasks_call_tasks() {
                look(behaviour, Tasks, Tasks, stringify!($transport));
            }
        }
    )+};
}

/// Fails instead of hanging.
pub(crate) fn look(behaviour: fn(At), client: Driver, server: Driver, transport: &'static str) {
    let (done, wait) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _done = done;
        behaviour(At { client, server, transport });
    });
    let timeout = wait.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!timeout, "it hangs");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A runtime, from which threads go away without waiting.
pub(crate) struct Tasks(Option<Runtime>);

impl Tasks {
    fn new() -> Arc<Tasks> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Arc::new(Tasks(Some(runtime)))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until the drop")
    }

    pub(crate) fn wait<R>(&self, future: impl Future<Output = R>) -> R {
        self.runtime().block_on(future)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl At {
    /// A server with these objects.
    pub(crate) fn serve(self, fill: impl FnOnce(Server) -> Result<Server>) -> Site {
        self.host(Hosting::default(), fill)
    }

    /// One that takes objects of others, as a daemon does.
    pub(crate) fn open(self) -> Site {
        self.host(Hosting { names: true, ..Hosting::default() }, Ok)
    }

    pub(crate) fn host(self, hosting: Hosting, fill: impl FnOnce(Server) -> Result<Server>) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let address = match self.transport {
            "unix" => Some(format!("unix:{}/s", folder.path().display())),
            "memory" => None,
            net => Some(format!("{net}://127.0.0.1:0")),
        };
        let security = Security::default().secret(Secret::new().unwrap());
        self.host_at(folder, address.as_deref(), Hosting { security, ..hosting }, fill)
    }

    fn host_at(
        self,
        folder: tempfile::TempDir,
        address: Option<&str>,
        hosting: Hosting,
        fill: impl FnOnce(Server) -> Result<Server>,
    ) -> Site {
        let of_hosting = hosting.clone();
        let server = match address {
            Some(address) => Server::host(address, hosting),
            None => Server::hosting(hosting),
        };
        let running = Running::start(self.server, fill(server.unwrap()).unwrap());
        let connector = match running.addresses().first() {
            Some(address) => Connector::new(address).security(of_hosting.security.clone()),
            None => running.connector(),
        };
        Site { at: self, running, connector, hosting: of_hosting, folder }
    }
}

/// A server that runs, whoever drives it.
pub(crate) enum Running {
    Threads(andiron::Running),
    Tasks(aio::Running, Arc<Tasks>),
}

impl Running {
    fn start(driver: Driver, server: Server) -> Running {
        match driver {
            Driver::Threads => Running::Threads(server.start().unwrap()),
            Driver::Tasks => {
                let tasks = Tasks::new();
                let inside = tasks.runtime().enter();
                let running = aio::Server::from(server).start().unwrap();
                drop(inside);
                Running::Tasks(running, tasks)
            }
        }
    }

    fn addresses(&self) -> Vec<String> {
        match self {
            Running::Threads(running) => running.addresses(),
            Running::Tasks(running, _) => running.addresses(),
        }
    }

    fn connector(&self) -> Connector {
        match self {
            Running::Threads(running) => running.connector(),
            Running::Tasks(running, _) => running.connector(),
        }
    }

    /// Waits for calls under way. True if they were finished in time.
    pub(crate) fn stop(self) -> bool {
        match self {
            Running::Threads(running) => running.stop(),
            Running::Tasks(running, tasks) => tasks.wait(running.stop()),
        }
    }
}

/// A server, and how it is reached.
pub(crate) struct Site {
    pub(crate) at: At,
    pub(crate) running: Running,
    pub(crate) connector: Connector,
    hosting: Hosting,
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn hub(&self) -> Hub {
        Hub::connect(self.at.client, self.connector.clone()).unwrap()
    }

    pub(crate) fn object(&self, name: &str) -> Far {
        self.hub().object(name).unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.running.addresses().remove(0)
    }

    /// Stops it and starts another one in its place.
    pub(crate) fn restart(self, fill: impl FnOnce(Server) -> Result<Server>) -> Site {
        let address = self.address();
        self.running.stop();
        self.at.host_at(self.folder, Some(&address), self.hosting, fill)
    }

    /// Stops it, and has something listen in its place that says nothing, until that is dropped.
    pub(crate) fn fall_silent(self) -> (OwnedFd, tempfile::TempDir) {
        let address = self.address();
        self.running.stop();
        // The system takes connections for who listens.
        let listener: OwnedFd = match address.strip_prefix("unix:") {
            Some(path) => UnixListener::bind(path).unwrap().into(),
            None => TcpListener::bind(net::place(&address)).unwrap().into(),
        };
        (listener, self.folder)
    }

    /// Has it stop, and starts another one in its place at once, while calls at the old one are under way.
    pub(crate) fn relieve(self, fill: impl FnOnce(Server) -> Result<Server>) -> (Site, JoinHandle<bool>) {
        let address = self.address();
        let Site { at, running, hosting, folder, .. } = self;
        let stopping = std::thread::spawn(move || running.stop());
        eventually("the place is free", || Server::host(&address, hosting.clone()).is_ok());
        (at.host_at(folder, Some(&address), hosting, fill), stopping)
    }

    pub(crate) fn stop(self) -> bool {
        self.running.stop()
    }
}

/// One connection, whoever drives it.
#[derive(Clone)]
pub(crate) enum Hub {
    Threads(andiron::Hub),
    Tasks(aio::Hub, Arc<Tasks>),
}

impl Hub {
    pub(crate) fn connect(driver: Driver, connector: Connector) -> Result<Hub> {
        match driver {
            Driver::Threads => connector.connect().map(Hub::Threads),
            Driver::Tasks => {
                let tasks = Tasks::new();
                let hub = tasks.wait(aio::Hub::connect_with(connector))?;
                Ok(Hub::Tasks(hub, tasks))
            }
        }
    }

    fn tasks(&self) -> Option<Arc<Tasks>> {
        match self {
            Hub::Threads(_) => None,
            Hub::Tasks(_, tasks) => Some(tasks.clone()),
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Far> {
        let proxy = match self {
            Hub::Threads(hub) => hub.object::<Proxy>(name)?,
            Hub::Tasks(hub, tasks) => tasks.wait(hub.object::<aio::Proxy>(name))?.into(),
        };
        Ok(Far { proxy, tasks: self.tasks() })
    }

    /// An object that came in an answer.
    pub(crate) fn far(&self, proxy: Proxy) -> Far {
        Far { proxy, tasks: self.tasks() }
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        match self {
            Hub::Threads(hub) => hub.names(),
            Hub::Tasks(hub, tasks) => tasks.wait(hub.names()),
        }
    }

    /// Registers an object and serves it, until the connection ends.
    pub(crate) fn provide<T: Expose>(&self, name: &str, object: T) -> Result<JoinHandle<Result<()>>> {
        match self {
            Hub::Threads(hub) => drop(hub.register(name, object)?),
            Hub::Tasks(hub, tasks) => drop(tasks.wait(hub.register(name, object))?),
        }
        let runs = self.clone();
        Ok(std::thread::spawn(move || runs.run()))
    }

    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Hub::Threads(hub) => hub.run(),
            Hub::Tasks(hub, tasks) => tasks.wait(hub.run()),
        }
    }

    pub(crate) fn batch(&self) -> Batch {
        match self {
            Hub::Threads(hub) => hub.batch(),
            Hub::Tasks(hub, _) => hub.batch(),
        }
    }

    pub(crate) fn take_notify_error(&self) -> Option<Error> {
        match self {
            Hub::Threads(hub) => hub.take_notify_error(),
            Hub::Tasks(hub, _) => hub.take_notify_error(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Hub::Threads(hub) => hub.close(),
            Hub::Tasks(hub, _) => hub.close(),
        }
    }
}

/// An object at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Far {
    pub(crate) proxy: Proxy,
    tasks: Option<Arc<Tasks>>,
}

impl Far {
    pub(crate) fn tasks(&self) -> Option<&Arc<Tasks>> {
        self.tasks.as_ref()
    }

    pub(crate) fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<R> {
        match &self.tasks {
            None => self.proxy.call(method, args),
            Some(tasks) => tasks.wait(aio::Proxy::from(self.proxy.clone()).call(method, args)),
        }
    }

    /// Another object that came by the same connection.
    pub(crate) fn far(&self, proxy: Proxy) -> Far {
        Far { proxy, tasks: self.tasks.clone() }
    }

    /// Sends the call; it is waited for later.
    pub(crate) fn start<R: DeserializeOwned>(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Started<R> {
        let pending = match &self.tasks {
            None => self.proxy.start(method, args).unwrap(),
            Some(_) => aio::Proxy::from(self.proxy.clone()).call(method, args),
        };
        Started { pending, tasks: self.tasks.clone() }
    }

    pub(crate) fn notify(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<()> {
        match &self.tasks {
            None => self.proxy.notify(method, args),
            Some(tasks) => tasks.wait(aio::Proxy::from(self.proxy.clone()).notify(method, args)),
        }
    }

    /// Calls `run`.
    pub(crate) fn run(&self, number: i64, others: &[Proxy]) -> Result<i64> {
        self.call("run", &(number, others))
    }

    pub(crate) fn start_run(&self, number: i64, others: &[Proxy]) -> Started<i64> {
        self.start("run", &(number, others))
    }

    /// A stream that a method returns, as it is taken item by item.
    pub(crate) fn stream<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Items<T>> {
        let stream: Stream<T> = self.call(method, args)?;
        Ok(match &self.tasks {
            None => Box::new(stream.into_iter()),
            Some(tasks) => Box::new(Awaited(stream, tasks.clone())),
        })
    }

    pub(crate) fn with_timeout(&self, timeout: Duration) -> Far {
        Far { proxy: self.proxy.with_timeout(timeout), tasks: self.tasks.clone() }
    }

    pub(crate) fn idempotent(&self) -> Far {
        Far { proxy: self.proxy.idempotent(), tasks: self.tasks.clone() }
    }
}

/// The items of a stream, waited for.
pub(crate) type Items<T> = Box<dyn Iterator<Item = Result<T>> + Send>;

struct Awaited<T>(Stream<T>, Arc<Tasks>);

impl<T: DeserializeOwned> Iterator for Awaited<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.1.wait(poll_fn(|context| Pin::new(&mut self.0).poll_next(context)))
    }
}

/// A call under way.
pub(crate) struct Started<R> {
    pending: Pending<R>,
    tasks: Option<Arc<Tasks>>,
}

impl<R: DeserializeOwned> Started<R> {
    pub(crate) fn wait(self) -> Result<R> {
        match self.tasks {
            None => self.pending.wait(),
            Some(tasks) => tasks.wait(self.pending),
        }
    }

    pub(crate) fn cancel(self) {
        self.pending.cancel();
    }
}

impl Started<Proxy> {
    /// What it will give, to be called before that is there.
    pub(crate) fn promise(self) -> Far {
        Far { proxy: self.pending.promise(), tasks: self.tasks }
    }
}
