//! Connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andiron::{Connector, Context as CallContext, Error, ErrorKind, Hub, Security, Signal, engine};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::ending::{attached, called, detached};
use crate::error::to_python;
use crate::object::Target;
use crate::remote::Remote;
use crate::store::{Name, Store};
use crate::{decode, log, signals};

/// Makes what users see: a proxy of a remote object, a stream of an inflow.
pub(crate) type Makes = (Py<PyAny>, Py<PyAny>);

/// What all that came over a connection shares.
pub(crate) struct Inner {
    pub(crate) hub: Hub,
    /// Calls may be read by a thread of its own.
    pumps: bool,
    /// How many of them that thread has run at once, where there is a number.
    threads: Option<usize>,
    /// This end closed it.
    closed: Arc<AtomicBool>,
    pumping: AtomicBool,
    /// Who is told of the end of that thread.
    ends: Mutex<Vec<Py<PyAny>>>,
    /// What makes proxies and streams of what comes over it, where that is not what the package gave.
    makes: PyOnceLock<Makes>,
}

impl Inner {
    pub(crate) fn new(hub: Hub, pumps: bool, threads: Option<usize>, closed: Arc<AtomicBool>) -> Arc<Inner> {
        Arc::new(Inner {
            hub,
            pumps,
            threads,
            closed,
            pumping: AtomicBool::new(false),
            ends: Mutex::default(),
            makes: PyOnceLock::new(),
        })
    }

    /// What makes what users see of what comes over this connection, where it is not what the package gave.
    pub(crate) fn makes(&self, py: Python<'_>) -> Option<&Makes> {
        self.makes.get(py)
    }

    /// From now on the other end holds an object of this one, so somebody has to read what it calls.
    pub(crate) fn exported(self: &Arc<Inner>) -> Result<(), Error> {
        if self.pumps { self.pump() } else { Ok(()) }
    }

    fn pump(self: &Arc<Inner>) -> Result<(), Error> {
        if self.pumping.swap(true, Ordering::AcqRel) || self.hub.is_attached() {
            return Ok(());
        }
        let inner = self.clone();
        let thread = std::thread::Builder::new().name("andiron-pump".to_owned());
        let started = thread.spawn(move || {
            let ended = inner.hub.run_on(inner.threads);
            inner.pumping.store(false, Ordering::Release);
            Python::try_attach(|py| {
                let error = ended.err().map(|error| to_python(py, &error).into_value(py));
                let ends = inner.ends.lock().map(|mut ends| std::mem::take(&mut *ends)).unwrap_or_default();
                for end in ends {
                    if let Err(raised) = called(end.bind(py), (&error,)) {
                        log::raised(py, "who waits for the end of a connection raised", &raised);
                    }
                }
            });
        });
        started.map(drop).map_err(|error| {
            self.pumping.store(false, Ordering::Release);
            let text = format!("no thread can be started to read the connection: {error}");
            Error::new(ErrorKind::Overloaded, text)
        })
    }
}

/// One connection.
#[pyclass(frozen, weakref, module = "andiron._native")]
pub(crate) struct Connection(pub(crate) Arc<Inner>);

/// Connects to a server; to the one that the environment chooses where no address is given.
#[pyfunction]
#[pyo3(signature = (address, *, timeout=None, retry=None, cache=None, secret_file=None, pump=None, threads=None))]
#[allow(clippy::too_many_arguments)] // they are keywords
pub(crate) fn connect(
    py: Python<'_>,
    address: String,
    timeout: Option<f64>,
    retry: Option<f64>,
    cache: Option<usize>,
    secret_file: Option<std::path::PathBuf>,
    pump: Option<bool>,
    threads: Option<usize>,
) -> PyResult<Connection> {
    let closed = Arc::default();
    let connector = connector(address, timeout, retry, cache, secret_file, &closed);
    let hub = detached(py, || connector.connect()).map_err(|error| to_python(py, &error))?;
    Ok(Connection(Inner::new(hub, pump.unwrap_or(true), threads, closed)))
}

/// How to connect, as users say it. `closed` is told where this end closes the connection.
pub(crate) fn connector(
    address: String,
    timeout: Option<f64>,
    retry: Option<f64>,
    cache: Option<usize>,
    secret_file: Option<std::path::PathBuf>,
    closed: &Arc<AtomicBool>,
) -> Connector {
    let mut connector = Connector::new(address.clone());
    if let Some(timeout) = timeout {
        connector = connector.timeout(seconds(timeout));
    }
    if let Some(retry) = retry {
        connector = connector.retry(seconds(retry)).on_signal(teller(&address, closed));
    }
    if let Some(cache) = cache {
        connector = connector.cache(cache);
    }
    if let Some(file) = secret_file {
        connector = connector.security(Security::default().secret_file(file));
    }
    connector
}

/// Tells of connections that are lost, and that others take their place.
fn teller(address: &str, closed: &Arc<AtomicBool>) -> impl Fn(Signal<'_>) + Send + Sync + use<> {
    let (peer, closed) = (format!("'{address}'"), closed.clone());
    move |signal| match signal {
        _ if closed.load(Ordering::Relaxed) => {}
        Signal::Disconnected(error) => {
            let error = Error::new(error.kind(), error.message().to_owned());
            log::later(log::Note::Lost(peer.clone(), error));
        }
        Signal::Reconnected => log::later(log::Note::Reconnected(peer.clone())),
        _ => {}
    }
}

/// So many seconds; what is no time is none, and what is too long is long.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

impl Connection {
    pub(crate) fn over(hub: Hub, pump: bool) -> Connection {
        Connection(Inner::new(hub, pump, None, Arc::default()))
    }

    /// One that a loop reads.
    pub(crate) fn of_loop(hub: Hub, closed: Arc<AtomicBool>) -> Connection {
        Connection(Inner::new(hub, false, None, closed))
    }
}

#[pymethods]
impl Connection {
    /// The object that knows the names of the others.
    fn root(&self) -> Remote {
        Remote::new(self.0.hub.root_proxy(), Some(self.0.clone()))
    }

    /// By what proxies and streams are made of what comes over it.
    fn makes(&self, py: Python<'_>, proxy: Py<PyAny>, stream: Py<PyAny>) {
        let _ = self.0.makes.set(py, (proxy, stream)); // the first ones stay
    }

    /// The same object as one that was looked up by this name here.
    fn named(&self, remote: &Remote, name: &str) -> Remote {
        Remote::new(engine::named(remote.proxy.clone(), &self.0.hub, name), Some(self.0.clone()))
    }

    /// The object of this name.
    fn lookup(&self, py: Python<'_>, name: &str) -> PyResult<Remote> {
        let proxy = detached(py, || self.0.hub.object(name)).map_err(|error| to_python(py, &error))?;
        Ok(Remote::new(proxy, Some(self.0.clone())))
    }

    /// The names of all objects.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        detached(py, || self.0.hub.names()).map_err(|error| to_python(py, &error))
    }

    /// Offers an object under a name.
    fn register(&self, py: Python<'_>, name: &str, target: &Bound<'_, Target>) -> PyResult<()> {
        let proxy = &target.get().proxy;
        let registered = detached(py, || {
            self.0.hub.register_proxy(name, proxy)?;
            self.0.exported()
        });
        registered.map_err(|error| to_python(py, &error))
    }

    /// An object was registered by the root, and is to be again where the connection is made anew.
    fn registered(&self, name: &str, target: &Target) {
        engine::registered(&self.0.hub, name, &target.proxy);
    }

    /// The store as this author's.
    #[pyo3(signature = (author=None))]
    fn store(&self, author: Option<Name<'_>>) -> Store {
        let store = self.0.hub.store();
        Store::new(author.map_or_else(|| store.clone(), |author| store.author(&author)))
    }

    /// Has a thread read the connection and run its calls until it ends; then `ended` is called with the error, or with `None`.
    fn pump(&self, py: Python<'_>, ended: Py<PyAny>) -> PyResult<()> {
        if let Ok(mut ends) = self.0.ends.lock() {
            ends.push(ended);
        }
        detached(py, || self.0.pump()).map_err(|error| to_python(py, &error))
    }

    /// Runs the calls that come on this thread for so long at most, after [`pump`](Self::pump): false at once, since a thread of its own does that.
    #[allow(clippy::unused_self)] // it is one of those that every engine has
    fn turn(&self, seconds: f64) -> bool {
        let _ = seconds;
        false
    }

    /// Runs the calls that come on this thread, for so long at most. Tells whether one came.
    fn poll(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let polled = signals::waiting(py, || self.0.hub.poll(seconds(timeout)));
        signals::check()?;
        polled.map_err(|error| to_python(py, &error))
    }

    /// The descriptor of the connection; -1 when it is over.
    fn fileno(&self) -> i32 {
        std::os::fd::AsRawFd::as_raw_fd(&self.0.hub)
    }

    /// Holds back calls that this thread starts.
    fn batch(&self) -> Batch {
        Batch { hub: self.0.hub.clone(), held: None }
    }

    /// Who is at the other end.
    fn peer(&self) -> String {
        self.0.hub.peer()
    }

    /// Ends the connection.
    fn close(&self, py: Python<'_>) {
        self.0.closed.store(true, Ordering::Relaxed);
        detached(py, || self.0.hub.close());
    }
}

/// Calls that this thread starts are held back from `__enter__` to `__exit__`.
#[pyclass(unsendable, module = "andiron._native")]
pub(crate) struct Batch {
    hub: Hub,
    held: Option<andiron::Batch>,
}

#[pymethods]
impl Batch {
    fn __enter__(&mut self) {
        self.held = Some(self.hub.batch());
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&mut self, py: Python<'_>, _raised: &Bound<'_, pyo3::types::PyTuple>) {
        self.held = None;
        let _ = py;
    }
}

/// The call that this thread handles.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Context(pub(crate) CallContext);

/// The call that this thread handles, if it does.
#[pyfunction]
pub(crate) fn current() -> Option<Context> {
    andiron::current().map(Context)
}

#[pymethods]
impl Context {
    /// Nobody waits for the result any more.
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Seconds that are left.
    fn time_left(&self) -> Option<f64> {
        self.0.time_left().map(|left| left.as_secs_f64())
    }

    /// What the caller said beside the arguments: a map, or `None`.
    fn annotations<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.encoded_annotations().map(|annotations| decode::from_bytes(py, annotations)).transpose()
    }

    /// A number that all calls over the same connection have.
    fn key(&self) -> usize {
        self.0.connection_key()
    }

    /// Has this called when that connection ends.
    fn on_end(&self, py: Python<'_>, hook: Py<PyAny>) {
        let call = move || {
            Python::try_attach(|py| {
                if let Err(raised) = attached(|| hook.call0(py)) {
                    log::raised(py, &format!("{hook}, called at the end of a connection, raised"), &raised);
                }
            });
        };
        detached(py, || self.0.on_end(call));
    }

    /// Calls a function as a part of the method: what that calls belongs to this call.
    #[pyo3(signature = (function, *args, **kwargs))]
    fn run<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        engine::within(&self.0, || function.call(args, kwargs))
    }

    /// The connection on which it came; `None` where this process itself calls.
    fn connection(&self) -> Option<Connection> {
        self.0.hub().map(|hub| Connection::over(hub, false))
    }
}
