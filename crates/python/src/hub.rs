//! Connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andiron::{Connector, Context as CallContext, Error, Hub, Security};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::error::to_python;
use crate::hooks;
use crate::object::Target;
use crate::remote::{Inflow, Remote};
use crate::store::{Name, Store};

/// What all that came over a connection shares.
pub(crate) struct Inner {
    pub(crate) hub: Hub,
    /// Calls may be read by a thread of its own.
    pumps: bool,
    pumping: AtomicBool,
    /// Who is told of the end of that thread.
    ends: Mutex<Vec<Py<PyAny>>>,
    /// What makes proxies and streams of what comes over it, where that is not what the package gave.
    makes: PyOnceLock<(Py<PyAny>, Py<PyAny>)>,
}

impl Inner {
    fn new(hub: Hub, pumps: bool) -> Arc<Inner> {
        Arc::new(Inner {
            hub,
            pumps,
            pumping: AtomicBool::new(false),
            ends: Mutex::default(),
            makes: PyOnceLock::new(),
        })
    }

    /// What users see of an object that came over this connection, if it is one.
    pub(crate) fn proxy<'py>(
        connection: Option<&Arc<Inner>>,
        py: Python<'py>,
        remote: Bound<'py, Remote>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match connection.and_then(|inner| inner.makes.get(py)) {
            Some((proxy, _)) => proxy.bind(py).call1((remote,)),
            None => hooks::hooks(py)?.proxy.bind(py).call1((remote,)),
        }
    }

    /// The same of a stream.
    pub(crate) fn stream<'py>(
        connection: Option<&Arc<Inner>>,
        py: Python<'py>,
        items: Bound<'py, Inflow>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match connection.and_then(|inner| inner.makes.get(py)) {
            Some((_, stream)) => stream.bind(py).call1((items,)),
            None => hooks::hooks(py)?.stream.bind(py).call1((items,)),
        }
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
            let ended = inner.hub.run();
            inner.pumping.store(false, Ordering::Release);
            Python::try_attach(|py| {
                let error = ended.err().map(|error| to_python(py, &error).into_value(py));
                let ends = inner.ends.lock().map(|mut ends| std::mem::take(&mut *ends)).unwrap_or_default();
                for end in ends {
                    if let Err(raised) = end.call1(py, (&error,)) {
                        raised.write_unraisable(py, None);
                    }
                }
            });
        });
        started.map(drop).map_err(|error| {
            self.pumping.store(false, Ordering::Release);
            let text = format!("no thread can be started to read the connection: {error}");
            Error::new(andiron::ErrorKind::Overloaded, text)
        })
    }
}

/// One connection.
#[pyclass(frozen, weakref, module = "andiron._native")]
pub(crate) struct Connection(pub(crate) Arc<Inner>);

/// Connects to a server; to the one that the environment chooses where no address is given.
#[pyfunction]
#[pyo3(signature = (address, *, timeout=None, retry=None, cache=None, secret_file=None, pump=true))]
pub(crate) fn connect(
    py: Python<'_>,
    address: String,
    timeout: Option<f64>,
    retry: Option<f64>,
    cache: Option<usize>,
    secret_file: Option<std::path::PathBuf>,
    pump: bool,
) -> PyResult<Connection> {
    let mut connector = Connector::new(address);
    if let Some(timeout) = timeout {
        connector = connector.timeout(seconds(timeout));
    }
    if let Some(retry) = retry {
        connector = connector.retry(seconds(retry));
    }
    if let Some(cache) = cache {
        connector = connector.cache(cache);
    }
    if let Some(file) = secret_file {
        connector = connector.security(Security::default().secret_file(file));
    }
    let hub = py.detach(|| connector.connect()).map_err(|error| to_python(py, &error))?;
    Ok(Connection::over(hub, pump))
}

/// So many seconds; what is no time is none, and what is too long is long.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

impl Connection {
    pub(crate) fn over(hub: Hub, pump: bool) -> Connection {
        Connection(Inner::new(hub, pump))
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

    /// The object of this name.
    fn lookup(&self, py: Python<'_>, name: &str) -> PyResult<Remote> {
        let proxy = py.detach(|| self.0.hub.object(name)).map_err(|error| to_python(py, &error))?;
        Ok(Remote::new(proxy, Some(self.0.clone())))
    }

    /// The names of all objects.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        py.detach(|| self.0.hub.names()).map_err(|error| to_python(py, &error))
    }

    /// Offers an object under a name.
    fn register(&self, py: Python<'_>, name: &str, target: &Bound<'_, Target>) -> PyResult<()> {
        let proxy = &target.get().proxy;
        let registered = py.detach(|| {
            self.0.hub.register_proxy(name, proxy)?;
            self.0.exported()
        });
        registered.map_err(|error| to_python(py, &error))
    }

    /// The store as this author's.
    #[pyo3(signature = (author=None))]
    fn store(&self, author: Option<Name>) -> Store {
        let store = self.0.hub.store();
        Store::new(author.map_or_else(|| store.clone(), |author| store.author(&author)))
    }

    /// Has a thread read the connection and run its calls until it ends; then `ended` is called with the error, or with `None`.
    fn pump(&self, py: Python<'_>, ended: Py<PyAny>) -> PyResult<()> {
        if let Ok(mut ends) = self.0.ends.lock() {
            ends.push(ended);
        }
        py.detach(|| self.0.pump()).map_err(|error| to_python(py, &error))
    }

    /// Runs the calls that come on this thread, for so long at most. Tells whether one came.
    fn poll(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        py.detach(|| self.0.hub.poll(seconds(timeout))).map_err(|error| to_python(py, &error))
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
        py.detach(|| self.0.hub.close());
    }

    /// Why the last one-way call that the other end complained about failed.
    fn take_notify_error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let error = self.0.hub.take_notify_error()?;
        Some(to_python(py, &error).into_value(py).into_any())
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
pub(crate) struct Context(CallContext);

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

    /// A number that all calls over the same connection have.
    fn key(&self) -> usize {
        self.0.connection_key()
    }

    /// Has this called when that connection ends.
    fn on_end(&self, py: Python<'_>, hook: Py<PyAny>) {
        let call = move || {
            Python::try_attach(|py| {
                if let Err(raised) = hook.call0(py) {
                    raised.write_unraisable(py, None);
                }
            });
        };
        py.detach(|| self.0.on_end(call));
    }

    /// The connection on which it came.
    fn connection(&self) -> Option<Connection> {
        self.0.hub().map(|hub| Connection::over(hub, false))
    }
}
