//! What the tests over real sockets share.
#![allow(dead_code, unreachable_pub)] // each test file uses a part

pub mod net;

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use andiron::{Connector, Hub, Proxy, Result, Running, Secret, Security, Server};

/// Long enough that only a hang comes to its end.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Body = dyn Fn(i64, Vec<Proxy>) -> Result<i64> + Send + Sync;

/// An object that does what the test says, with `&self`.
pub struct Fun(Box<Body>);

#[andiron::expose]
impl Fun {
    /// Runs it.
    fn run(&self, number: i64, others: Vec<Proxy>) -> Result<i64> {
        (self.0)(number, others)
    }

    /// Runs it, one way.
    #[expose(oneway)]
    fn tell(&self, number: i64, others: Vec<Proxy>) {
        let _ = (self.0)(number, others);
    }
}

pub fn fun(body: impl Fn(i64, Vec<Proxy>) -> Result<i64> + Send + Sync + 'static) -> Fun {
    Fun(Box::new(body))
}

/// The same with `&mut self`.
pub struct Turn(Box<Body>);

#[andiron::expose]
impl Turn {
    fn run(&mut self, number: i64, others: Vec<Proxy>) -> Result<i64> {
        (self.0)(number, others)
    }

    #[expose(oneway)]
    fn tell(&mut self, number: i64, others: Vec<Proxy>) {
        let _ = (self.0)(number, others);
    }
}

pub fn turn(body: impl Fn(i64, Vec<Proxy>) -> Result<i64> + Send + Sync + 'static) -> Turn {
    Turn(Box::new(body))
}

/// Calls `run`.
pub fn run(proxy: &Proxy, number: i64, others: &[Proxy]) -> Result<i64> {
    proxy.call("run", &(number, others))
}

/// Returns what it gets.
pub struct Echo;

#[andiron::expose]
impl Echo {
    fn text(&self, text: String) -> String {
        text
    }

    fn proxy(&self, proxy: Proxy) -> Proxy {
        proxy
    }

    fn same(&self, a: Proxy, b: Proxy) -> bool {
        a == b
    }

    fn length(&self, text: String) -> usize {
        text.len()
    }

    fn make(&self, length: usize) -> String {
        "x".repeat(length)
    }
}

/// Tells its callers who they are.
pub struct Who;

#[andiron::expose]
impl Who {
    fn calls(&self) -> String {
        andiron::current().and_then(|context| context.hub()).map_or_else(String::new, |hub| hub.peer())
    }
}

/// Something that tasks wait for.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub async fn passed(&self) {
        poll_fn(|context| {
            let mut gate = self.0.lock().unwrap();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        gate.0 = true;
        gate.1.drain(..).for_each(Waker::wake);
    }
}

/// A server in this process, at an address of its own.
pub struct Site {
    pub server: Running,
    pub address: String,
    pub folder: tempfile::TempDir,
    /// What its clients have, where they need anything.
    pub security: Security,
}

impl Site {
    pub fn new(fill: impl FnOnce(Server) -> Result<Server>) -> Site {
        Site::hosted(andiron::Hosting::default(), fill)
    }

    pub fn hosted(hosting: andiron::Hosting, fill: impl FnOnce(Server) -> Result<Server>) -> Site {
        Site::at("unix", hosting, fill)
    }

    /// Takes objects of others, as a daemon does.
    pub fn open() -> Site {
        Site::hosted(andiron::Hosting { names: true, ..Default::default() }, Ok)
    }

    /// Serves over `unix`, `tcp` or `tls`; over the last two who connects needs a secret.
    pub fn at(
        transport: &str,
        hosting: andiron::Hosting,
        fill: impl FnOnce(Server) -> Result<Server>,
    ) -> Site {
        let security = Security::default().secret(Secret::new().unwrap());
        Site::with(transport, andiron::Hosting { security, ..hosting }, fill)
    }

    /// The same, with the security that `hosting` says.
    pub fn with(
        transport: &str,
        hosting: andiron::Hosting,
        fill: impl FnOnce(Server) -> Result<Server>,
    ) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let security = hosting.security.clone();
        let address = match transport {
            "unix" => format!("unix:{}/s", folder.path().display()),
            net => format!("{net}://127.0.0.1:0"),
        };
        let server = fill(Server::host(&address, hosting).unwrap()).unwrap().start().unwrap();
        let address = server.addresses().remove(0);
        Site { server, address, folder, security }
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.address.strip_prefix("unix:").unwrap().into()
    }

    pub fn hub(&self) -> Hub {
        self.connector().connect().unwrap()
    }

    pub fn connector(&self) -> Connector {
        Connector::new(&self.address).security(self.security.clone())
    }

    pub fn object(&self, name: &str) -> Proxy {
        self.hub().object(name).unwrap()
    }
}

/// What a channel brings, or a failure instead of a hang.
pub fn next<T>(receiver: &mpsc::Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("nothing came")
}

/// Fails instead of hanging: runs `body` on a thread of its own and waits for it.
pub fn in_time<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = body();
        let _ = done.send(());
        result
    });
    match wait.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

/// Waits for something that another thread will have done soon.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// For tests that count what belongs to the whole process: they run one by one, each when nothing of those before is left.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static AT_FIRST: OnceLock<usize> = OnceLock::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let at_first = *AT_FIRST.get_or_init(open_descriptors);
    eventually("the tests before have ended", || library_threads() == 0 && open_descriptors() <= at_first);
    alone
}

/// The threads of this process that belong to the library.
pub fn library_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("andiron-")).count()
}
