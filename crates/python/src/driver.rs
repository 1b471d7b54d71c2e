//! Connections that an event loop reads.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Instant;

use andiron::engine;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::hub::Connection;
use crate::pending::Pending;
use crate::remote::Inflow;

/// Drives a connection that is only just made, on the thread of its event loop.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Driver {
    driver: Mutex<Option<engine::Driver>>,
    bell: Arc<Bell>,
    waiting: Mutex<HashMap<u64, (Awaited, Py<PyAny>)>>,
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

/// How others tell the loop that there is something to do.
struct Bell {
    /// Numbers of what is there.
    ready: Mutex<Vec<u64>>,
    /// The loop is at it, and looks by itself.
    awake: AtomicBool,
    here: UnixStream,
    there: UnixStream,
}

impl Bell {
    fn ring(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            let _ = (&self.there).write(&[1]); // where it is full the loop wakes as well
        }
    }

    fn listen(&self) {
        let mut rung = [0; 64];
        while (&self.here).read(&mut rung).is_ok_and(|count| count == rung.len()) {}
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// One thing that is waited for.
struct Ready {
    number: u64,
    bell: Arc<Bell>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        if let Ok(mut ready) = self.bell.ready.lock() {
            ready.push(self.number);
        }
        self.bell.ring();
    }
}

/// Seconds until the next step without bytes, whether room to write is waited for, whether the connection is over, and tokens of what is there.
type Step = (Option<f64>, bool, bool, Vec<Py<PyAny>>);

#[pymethods]
impl Driver {
    #[new]
    fn new(connection: &Bound<'_, Connection>) -> PyResult<Driver> {
        let (here, there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        let bell = Arc::new(Bell { ready: Mutex::default(), awake: AtomicBool::new(false), here, there });
        let driver = engine::Driver::new(&connection.get().0.hub, Waker::from(bell.clone()));
        let driver = Mutex::new(Some(driver));
        Ok(Driver { driver, bell, waiting: Mutex::default(), last: AtomicU64::new(0) })
    }

    /// A descriptor that can be read when another step is to be made without bytes having come.
    fn bell(&self) -> i32 {
        self.bell.here.as_raw_fd()
    }

    /// Reads what is there, runs the calls in it, and sends what can be sent.
    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        // From here on nobody needs to ring, until this looks for the last time.
        self.bell.awake.store(true, Ordering::SeqCst);
        self.bell.listen();
        let mut rest = py.detach(|| {
            let driver = self.driver.lock().ok()?;
            Some(driver.as_ref()?.step())
        });
        let rest = rest.get_or_insert(engine::Rest { over: true, ..engine::Rest::default() });
        self.bell.awake.store(false, Ordering::SeqCst);
        let tokens = self.ready(py);
        let until = rest.until.map(|until| until.saturating_duration_since(Instant::now()).as_secs_f64());
        Ok((if rest.more { Some(0.0) } else { until }, rest.room, rest.over, tokens))
    }

    /// Whether the result, or the item, is there. Else the token is given by a step when it is.
    fn attend(&self, py: Python<'_>, awaited: Awaited, token: Py<PyAny>) -> bool {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let waker = Waker::from(Arc::new(Ready { number, bell: self.bell.clone() }));
        if awaited.poll(py, &waker) {
            return true;
        }
        if let Ok(mut waiting) = self.waiting.lock_py_attached(py) {
            waiting.insert(number, (awaited, token));
        }
        // It may have come between the two, and then a step found nothing.
        self.bell.ring_if_ready();
        false
    }

    /// The connection is over.
    fn close(&self, py: Python<'_>) {
        let driver = self.driver.lock_py_attached(py).ok().and_then(|mut driver| driver.take());
        py.detach(|| drop(driver));
    }
}

impl Driver {
    fn ready(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let numbers = self.bell.ready.lock_py_attached(py).map(|mut ready| std::mem::take(&mut *ready));
        let mut tokens = Vec::new();
        for number in numbers.unwrap_or_default() {
            let taken =
                self.waiting.lock_py_attached(py).ok().and_then(|mut waiting| waiting.remove(&number));
            let Some((awaited, token)) = taken else { continue };
            let waker = Waker::from(Arc::new(Ready { number, bell: self.bell.clone() }));
            if awaited.poll(py, &waker) {
                tokens.push(token);
            } else if let Ok(mut waiting) = self.waiting.lock_py_attached(py) {
                waiting.insert(number, (awaited, token));
            }
        }
        tokens
    }
}

impl Bell {
    fn ring_if_ready(&self) {
        if self.ready.lock().is_ok_and(|ready| !ready.is_empty()) {
            self.ring();
        }
    }
}
