//! Connections that an event loop reads, and what its tasks wait for.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

use andiron::{Connector, ErrorKind, engine};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::ending::detached;
use crate::error::{of_kind, to_python};
use crate::hub::{Connection, connector};
use crate::pending::Pending;
use crate::remote::Inflow;

/// What tasks of a loop wait for, on whatever connection. Other threads ring it when something is there.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Bell {
    rope: Arc<Rope>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    last: AtomicU64,
}

/// What is waited for.
#[derive(FromPyObject)]
enum Awaited {
    Call(Py<Pending>),
    Item(Py<Inflow>),
}

impl Awaited {
    fn poll(&self, py: Python<'_>, waker: &Waker) -> bool {
        match self {
            Awaited::Call(pending) => Pending::poll(pending.bind(py), waker),
            Awaited::Item(inflow) => inflow.get().poll(py, waker),
        }
    }
}

/// Who waits, by the token that is given when it is there.
enum Waiting {
    For(Awaited, Py<PyAny>),
    /// For the next step of a connection, again and again.
    Step(Py<PyAny>),
}

/// By which a bell is rung.
struct Rope {
    /// Numbers of what is there.
    ready: Mutex<Vec<u64>>,
    /// The loop is at it, and looks by itself.
    awake: AtomicBool,
    here: UnixStream,
    there: UnixStream,
}

impl Rope {
    fn pull(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            let _ = (&self.there).write(&[1]); // where it is full the loop wakes as well
        }
    }
}

/// One thing that is waited for.
struct Ready {
    number: u64,
    rope: Arc<Rope>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        if let Ok(mut ready) = self.rope.ready.lock() {
            ready.push(self.number);
        }
        self.rope.pull();
    }
}

#[pymethods]
impl Bell {
    #[new]
    fn new() -> PyResult<Bell> {
        let (here, there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        let rope = Arc::new(Rope { ready: Mutex::default(), awake: AtomicBool::new(false), here, there });
        Ok(Bell { rope, waiting: Mutex::default(), last: AtomicU64::new(0) })
    }

    /// A descriptor that can be read when it was rung.
    fn fileno(&self) -> i32 {
        self.rope.here.as_raw_fd()
    }

    /// It was rung: tokens of what is there.
    fn rung(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let mut rung = [0; 64];
        while (&self.rope.here).read(&mut rung).is_ok_and(|count| count == rung.len()) {}
        self.ready(py)
    }

    /// 0 where the result, or the item, is there. Else its token is given when it is, under this number.
    fn attend(&self, py: Python<'_>, awaited: Awaited, token: Py<PyAny>) -> u64 {
        let number = self.number();
        let waker = Waker::from(Arc::new(Ready { number, rope: self.rope.clone() }));
        if awaited.poll(py, &waker) {
            return 0;
        }
        // Whatever came between the two is looked at by this thread, and later.
        self.wait(py, number, Waiting::For(awaited, token));
        number
    }

    /// Nobody waits for it any more.
    fn forget(&self, py: Python<'_>, number: u64) {
        drop(self.take(py, number)); // outside of the lock: it may be the last handle of something
    }
}

impl Bell {
    fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn wait(&self, py: Python<'_>, number: u64, waiting: Waiting) {
        if let Ok(mut all) = self.waiting.lock_py_attached(py) {
            all.insert(number, waiting);
        }
    }

    fn take(&self, py: Python<'_>, number: u64) -> Option<Waiting> {
        self.waiting.lock_py_attached(py).ok().and_then(|mut waiting| waiting.remove(&number))
    }

    fn ready(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.rope.awake.store(false, Ordering::SeqCst); // from here on it is to be rung
        let numbers = self.rope.ready.lock_py_attached(py).map(|mut ready| std::mem::take(&mut *ready));
        numbers.unwrap_or_default().into_iter().filter_map(|number| self.token(py, number)).collect()
    }

    /// The token of what is there; `None` where it is not, or not waited for any more.
    fn token(&self, py: Python<'_>, number: u64) -> Option<Py<PyAny>> {
        match self.take(py, number)? {
            Waiting::Step(token) => {
                self.wait(py, number, Waiting::Step(token.clone_ref(py)));
                Some(token)
            }
            Waiting::For(awaited, token) => {
                let waker = Waker::from(Arc::new(Ready { number, rope: self.rope.clone() }));
                if awaited.poll(py, &waker) {
                    return Some(token);
                }
                self.wait(py, number, Waiting::For(awaited, token));
                None
            }
        }
    }
}

/// Drives a connection on the thread of its event loop.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Driver {
    driver: Mutex<Option<engine::Driver>>,
    connection: Py<Connection>,
    bell: Py<Bell>,
    wake: Arc<StepWake>,
}

/// A step is to be made without bytes having come.
struct StepWake {
    ready: Arc<Ready>,
    /// One is being made, and looks by itself what there is.
    stepping: AtomicBool,
}

impl Wake for StepWake {
    fn wake(self: Arc<Self>) {
        if !self.stepping.load(Ordering::SeqCst) {
            self.ready.clone().wake();
        }
    }
}

/// Connects for a loop, without waiting for the handshake. It blocks where a host is to be found and reached over a network. `token` is given by the bell where a step is to be made.
#[pyfunction]
#[pyo3(signature = (bell, token, address, *, timeout=None, retry=None, cache=None, secret_file=None))]
#[allow(clippy::too_many_arguments)] // as those of `connect`
pub(crate) fn open(
    py: Python<'_>,
    bell: Py<Bell>,
    token: Py<PyAny>,
    address: String,
    timeout: Option<f64>,
    retry: Option<f64>,
    cache: Option<usize>,
    secret_file: Option<std::path::PathBuf>,
) -> PyResult<Driver> {
    let closed = Arc::default();
    let connector = connector(address, timeout, retry, cache, secret_file, &closed);
    Driver::open(py, &connector, closed, bell, token)
}

/// Seconds until the next step without bytes, whether room to write is waited for, whether the connection is over, and tokens of what is there.
type Step = (Option<f64>, bool, bool, Vec<Py<PyAny>>);

impl Driver {
    pub(crate) fn open(
        py: Python<'_>,
        connector: &Connector,
        closed: Arc<AtomicBool>,
        bell: Py<Bell>,
        token: Py<PyAny>,
    ) -> PyResult<Driver> {
        let number = bell.get().number();
        let ready = Arc::new(Ready { number, rope: bell.get().rope.clone() });
        let wake = Arc::new(StepWake { ready, stepping: AtomicBool::new(false) });
        let waker = Waker::from(wake.clone());
        let opened = detached(py, || engine::Driver::open(connector, waker));
        let (hub, driver) = opened.map_err(|error| to_python(py, &error))?;
        bell.get().wait(py, number, Waiting::Step(token));
        let connection = Py::new(py, Connection::of_loop(hub, closed))?;
        Ok(Driver { driver: Mutex::new(Some(driver)), connection, bell, wake })
    }
}

#[pymethods]
impl Driver {
    /// What it drives.
    fn connection(&self, py: Python<'_>) -> Py<Connection> {
        self.connection.clone_ref(py)
    }

    /// A descriptor to watch; -1 where the connection is over.
    fn fileno(&self, py: Python<'_>) -> i32 {
        let driver = self.driver.lock_py_attached(py);
        let socket = |driver: &engine::Driver| Some(driver.socket()?.as_raw_fd());
        driver.ok().and_then(|driver| driver.as_ref().and_then(socket)).unwrap_or(-1)
    }

    /// Whether the handshake is done; else to be asked again behind the next step.
    fn is_open(&self, py: Python<'_>) -> PyResult<bool> {
        let driver = self.driver.lock_py_attached(py).ok();
        let polled = driver.as_ref().and_then(|driver| Some(driver.as_ref()?.poll_opened()));
        match polled {
            Some(Poll::Pending) => Ok(false),
            Some(Poll::Ready(Ok(()))) => Ok(true),
            Some(Poll::Ready(Err(error))) => Err(to_python(py, &error)),
            None => Err(of_kind(py, ErrorKind::Unavailable, "the connection was closed here")),
        }
    }

    /// Why the connection is over, if it is and nobody here closed it.
    fn ended(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let driver = self.driver.lock_py_attached(py).ok();
        let error = driver.as_ref().and_then(|driver| driver.as_ref()?.ended())?;
        Some(to_python(py, &error).into_value(py).into_any())
    }

    /// Reads what is there, runs the calls in it, and sends what can be sent.
    fn step(&self, py: Python<'_>) -> Step {
        let bell = self.bell.get();
        bell.rope.awake.store(true, Ordering::SeqCst);
        let rest = detached(py, || {
            self.wake.stepping.store(true, Ordering::SeqCst);
            let rest = self.driver.lock().ok().and_then(|mut driver| {
                Some(driver.as_mut()?.step(|| self.wake.stepping.store(false, Ordering::SeqCst)))
            });
            self.wake.stepping.store(false, Ordering::SeqCst);
            rest.unwrap_or(engine::Rest { over: true, ..engine::Rest::default() })
        });
        let tokens = bell.ready(py);
        let until = rest.until.map(|until| until.saturating_duration_since(Instant::now()).as_secs_f64());
        (if rest.more { Some(0.0) } else { until }, rest.room, rest.over, tokens)
    }

    /// The connection is over.
    fn close(&self, py: Python<'_>) {
        self.bell.get().forget(py, self.wake.ready.number);
        let driver = self.driver.lock_py_attached(py).ok().and_then(|mut driver| driver.take());
        detached(py, || drop(driver));
    }
}
