//! Servers of this process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use andiron::{Error, ErrorKind, Security};
use andiron_daemon::{Daemon, Options};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::driver::{Bell, Driver};
use crate::ending::detached;
use crate::error::{of_kind, to_python};
use crate::hub::Connection;
use crate::object::Target;

/// A server that runs.
#[pyclass(frozen, weakref, module = "andiron._native")]
pub(crate) struct Running {
    running: Mutex<Option<andiron::Running>>,
    /// The fork generation that it belongs to.
    generation: u32,
}

/// Starts a server with a store at these addresses; without any its clients are in this process. `state` is the folder of persistent entries; `usual_state`: the one that an `andiron serve` at the first address has.
#[pyfunction]
#[pyo3(signature = (addresses, objects, *, state=None, usual_state=false, secret_file=None, threads=None))]
pub(crate) fn serve(
    py: Python<'_>,
    addresses: Vec<String>,
    objects: HashMap<String, Py<Target>>,
    state: Option<PathBuf>,
    usual_state: bool,
    secret_file: Option<PathBuf>,
    threads: Option<usize>,
) -> PyResult<Running> {
    let objects: Vec<_> =
        objects.into_iter().map(|(name, target)| (name, target.get().proxy.clone())).collect();
    let started = detached(py, || {
        let (first, more) = addresses.split_first().unzip();
        let state = match first {
            Some(first) if usual_state => andiron_daemon::state_folder(first)?,
            _ => state,
        };
        let security =
            secret_file.map_or_else(Security::default, |file| Security::default().secret_file(file));
        let options = Options { state, security, threads, ..Options::default() };
        let mut daemon = match first {
            Some(first) => Daemon::bind_with(first, options)?,
            None => Daemon::new(options)?,
        };
        for address in more.unwrap_or_default() {
            daemon = daemon.listen(address)?;
        }
        for (name, proxy) in &objects {
            daemon = daemon.proxy(name, proxy)?;
        }
        daemon.start()
    });
    let running = started.map_err(|error: Error| to_python(py, &error))?;
    Ok(Running { running: Mutex::new(Some(running)), generation: andiron_sys::fork::generation() })
}

#[pymethods]
impl Running {
    /// Ends all; tells whether all calls were finished.
    fn stop(&self, py: Python<'_>) -> bool {
        // It is dropped as well: then its files are another one's to open.
        let running = self.running.lock_py_attached(py).ok().and_then(|mut running| self.own(running.take()));
        detached(py, || running.is_none_or(|running| running.stop()))
    }

    /// By which it is reached.
    fn addresses(&self, py: Python<'_>) -> Vec<String> {
        let running = self.running.lock_py_attached(py);
        running.ok().and_then(|running| Some(running.as_ref()?.addresses())).unwrap_or_default()
    }

    /// Serves on this thread: false at once, since threads of its own do that.
    #[allow(clippy::unused_self)] // it is one of those that every engine has
    fn turn(&self, seconds: f64) -> bool {
        let _ = seconds;
        false
    }

    /// A connection within this process.
    fn connect(&self, py: Python<'_>) -> PyResult<Connection> {
        let connector = self.connector(py)?;
        let hub = detached(py, || connector.connect()).map_err(|error| to_python(py, &error))?;
        Ok(Connection::over(hub, true))
    }

    /// The same for a loop, as `open`.
    fn open(&self, py: Python<'_>, bell: Py<Bell>, token: Py<PyAny>) -> PyResult<Driver> {
        Driver::open(py, &self.connector(py)?, Arc::default(), bell, token)
    }
}

impl Running {
    fn connector(&self, py: Python<'_>) -> PyResult<andiron::Connector> {
        let running = self.running.lock_py_attached(py).ok();
        let connector = running.and_then(|running| Some(running.as_ref()?.connector()));
        let stopped = || of_kind(py, ErrorKind::Unavailable, "the server has stopped; start another one");
        connector.ok_or_else(stopped)
    }

    /// What this process may end. In a forked child not even its files may be closed in order, since they are the parent's.
    fn own(&self, running: Option<andiron::Running>) -> Option<andiron::Running> {
        if self.generation == andiron_sys::fork::generation() {
            return running;
        }
        std::mem::forget(running);
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let running = self.running.get_mut().ok().and_then(Option::take);
        let mut running = self.own(running);
        // Its threads end only when they had the interpreter once more.
        if Python::try_attach(|py| detached(py, || drop(running.take()))).is_none() {
            std::mem::forget(running); // the interpreter ends, and the process with it
        }
    }
}
