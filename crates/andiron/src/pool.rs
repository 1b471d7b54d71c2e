//! The threads of a server: each waits in one poller, reads what came, and runs the calls in it.
//!
//! A connection is watched one-shot and armed again before its call runs, so that another thread reads on. Where many calls came together
//! the thread that read them keeps the connection instead, and reads again when it has run them. A monitor, awake only while handlers
//! run, sends the answers that they hold up and has kept connections watched again, so that nothing waits long for calls that it need
//! not wait for; where one call runs long it gives those behind it to another thread, and adds threads up to a limit.
//!
//! Locking rules: a lock of the pool is never held while one of a link is taken; links call in here under theirs.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use andiron_proto::IdMap;
use andiron_sys::epoll::{Interest, Poller, Waker};

use crate::link::{Link, Next};
use crate::sync::lock;
use crate::{Error, ErrorKind, Result, engine};

/// Threads that are there without need: one runs a handler, one reads on.
const BASE_THREADS: usize = 2;
/// How many handlers run at once; calls beyond are answered *overloaded*. See [`Server`](crate::Server).
const MOST_HANDLERS: usize = 256;
/// A handler that runs longer than one to two of these holds others up.
const TICK: Duration = Duration::from_millis(2);
/// The monitor goes to sleep after so many ticks without a handler.
const QUIET_TICKS: u32 = 100;
/// How often connections are looked after while nothing happens.
const CARE: Duration = Duration::from_secs(1);
/// A thread beyond the base ends after this time without work.
const SURPLUS: Duration = Duration::from_secs(10);

/// How often a thread reads a busy connection before it looks for others.
const MOST_READS: usize = 16;

const WAKER: u64 = 0;

/// Something else that the poller watches, a listening socket.
pub(crate) trait Source: Send + Sync {
    /// What to watch.
    fn socket(&self) -> Arc<OwnedFd>;
    /// It is readable. Afterwards it is watched again, unless the answer is false: then only at the next [`tick`](Source::tick).
    fn ready(&self, pool: &Arc<Pool>) -> bool;
    /// Called every second or so. True if there is another socket to be watched from now on.
    fn tick(&self) -> bool;
}

pub(crate) struct Pool {
    poller: Poller,
    waker: Waker,
    links: Mutex<IdMap<Arc<Link>>>,
    no_links: Condvar,
    sources: Mutex<HashMap<u64, Arc<dyn Source>>>,
    next_token: AtomicU64,
    /// Connections with calls that nobody runs.
    ready: Mutex<VecDeque<Arc<Link>>>,
    threads: AtomicUsize,
    handlers: AtomicUsize,
    /// Where no more handlers than were asked for run at once.
    places: Option<Places>,
    desks: Mutex<Vec<Arc<Desk>>>,
    monitor: Monitor,
    stopping: AtomicBool,
    started: Mutex<Vec<JoinHandle<()>>>,
    /// Of which process its threads are.
    generation: u32,
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.generation != andiron_sys::fork::generation() {
            // A forked child has none of these threads, not even what is left of those that ended: to let go of one would be the end of the child.
            let started = self.started.get_mut().unwrap_or_else(PoisonError::into_inner);
            started.drain(..).for_each(mem::forget);
        }
    }
}

#[derive(Default)]
struct Monitor {
    /// Handlers run, so the monitor has to be awake.
    awake: AtomicBool,
    asleep: Mutex<bool>,
    wake: Condvar,
}

/// Places for handlers, where there is a number of them; connections whose calls find none wait in order.
struct Places {
    number: usize,
    state: Mutex<PlacesState>,
}

#[derive(Default)]
struct PlacesState {
    taken: usize,
    waiting: VecDeque<Arc<Link>>,
    /// Nobody gets one any more.
    closed: bool,
}

/// What one thread is at, for the monitor.
#[derive(Default)]
struct Desk {
    /// The connection whose calls it runs.
    link: Mutex<Option<Arc<Link>>>,
    /// Counts the calls it began.
    begun: AtomicU64,
}

impl Pool {
    /// Runs `threads` handlers at once, and has further calls wait; without that, 256, and further calls are refused.
    pub(crate) fn new(threads: Option<usize>) -> Result<Arc<Pool>> {
        let poller = Poller::new().map_err(cannot_start)?;
        let waker = Waker::new().map_err(cannot_start)?;
        poller.add(&waker, WAKER, Interest::READ).map_err(cannot_start)?;
        Ok(Arc::new(Pool {
            poller,
            waker,
            links: Mutex::default(),
            no_links: Condvar::new(),
            sources: Mutex::default(),
            next_token: AtomicU64::new(WAKER + 1),
            ready: Mutex::default(),
            threads: AtomicUsize::new(0),
            handlers: AtomicUsize::new(0),
            places: threads.map(|number| Places { number: number.max(1), state: Mutex::default() }),
            desks: Mutex::default(),
            monitor: Monitor::default(),
            stopping: AtomicBool::new(false),
            started: Mutex::default(),
            generation: andiron_sys::fork::generation(),
        }))
    }

    /// Starts the threads.
    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        for _ in 0..BASE_THREADS {
            self.add_thread().map_err(cannot_start)?;
        }
        let pool = self.clone();
        let monitor = std::thread::Builder::new()
            .name("andiron-monitor".to_owned())
            .spawn(move || pool.watch_handlers());
        lock(&self.started).push(monitor.map_err(cannot_start)?);
        Ok(())
    }

    fn add_thread(self: &Arc<Self>) -> io::Result<()> {
        let pool = self.clone();
        // Relaxed: a count for decisions that may be a little late.
        self.threads.fetch_add(1, Ordering::Relaxed);
        let started = std::thread::Builder::new()
            .name("andiron-server".to_owned())
            .spawn(move || engine::thread(|| pool.clone().work()));
        match started {
            Ok(handle) => lock(&self.started).push(handle),
            Err(error) => {
                self.threads.fetch_sub(1, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits until all connections are gone, at most until `deadline`. True if they are.
    pub(crate) fn wait_empty(&self, deadline: Instant) -> bool {
        let mut links = lock(&self.links);
        while !links.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            links = self.no_links.wait_timeout(links, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Ends the threads. Handlers that run are not waited for.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release); // pairs with the Acquire of the threads' loops
        self.waker.wake();
        self.monitor.rouse();
        lock(&self.sources).clear();
        // For these no thread comes any more.
        let mut left = std::mem::take(&mut *lock(&self.ready));
        left.extend(self.places.iter().flat_map(Places::close));
        for link in left {
            link.run_incoming(true, || true);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// All connections.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).values().cloned().collect()
    }

    pub(crate) fn add_source(&self, source: Arc<dyn Source>) -> Result<()> {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let socket = source.socket();
        lock(&self.sources).insert(token, source);
        self.poller.add(&*socket, token, Interest::READ | Interest::ONE_SHOT).map_err(cannot_start)
    }

    /// Stops watching listening sockets.
    pub(crate) fn drop_sources(&self) {
        for (_, source) in lock(&self.sources).drain() {
            let _ = self.poller.remove(&*source.socket()); // it may have been replaced
        }
    }

    pub(crate) fn admit(&self, link: Arc<Link>) -> u64 {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        lock(&self.links).insert(token, link);
        token
    }

    pub(crate) fn add(&self, socket: &OwnedFd, token: u64) -> io::Result<()> {
        self.poller.add(socket, token, Interest::NONE | Interest::ONE_SHOT)
    }

    pub(crate) fn watch(&self, socket: &OwnedFd, token: u64, interest: Interest) {
        // Fails only when the socket was taken out meanwhile, and then nothing is to be watched.
        let _ = self.poller.modify(socket, token, interest);
    }

    /// A connection is over.
    pub(crate) fn forget(&self, socket: &OwnedFd, token: u64) {
        let _ = self.poller.remove(socket); // not there if it never was watched
        self.leave(token);
    }

    pub(crate) fn leave(&self, token: u64) {
        let mut links = lock(&self.links);
        let link = links.remove(&token);
        if links.is_empty() {
            self.no_links.notify_all();
        }
        drop(links);
        // Called under the link's lock, so this must not be its last handle; it is not: the caller has one.
        drop(link);
    }

    /// Has some thread run the calls of this connection. May be called under its lock. False: the threads have ended.
    pub(crate) fn ready(&self, link: Arc<Link>) -> bool {
        let mut ready = lock(&self.ready);
        if self.is_stopping() {
            return false; // `stop` has emptied the queue, or will
        }
        ready.push_back(link);
        drop(ready);
        self.waker.wake();
        true
    }

    fn work(self: Arc<Self>) {
        let desk = Arc::new(Desk::default());
        lock(&self.desks).push(desk.clone());
        let mut buffer = vec![0; crate::link::READ_BUFFER];
        while !self.is_stopping() {
            // Relaxed, here and below: whoever is the surplus, some thread beyond the base sees that there is one.
            let surplus = self.threads.load(Ordering::Relaxed) > BASE_THREADS;
            match self.poller.wait_one(surplus.then_some(SURPLUS)) {
                Ok(Some((WAKER, _))) => self.run_ready(&desk),
                Ok(Some((token, _))) => self.on_event(token, &desk, &mut buffer),
                Ok(None) if self.is_surplus() => return self.retire(&desk),
                Ok(None) => {}
                Err(_) => break, // cannot happen to a poller that is open; without it there is no work
            }
        }
        self.threads.fetch_sub(1, Ordering::Relaxed);
        self.retire(&desk);
    }

    /// True for a thread that may end, which then is not counted any more.
    fn is_surplus(&self) -> bool {
        let fewer = |threads: usize| threads.checked_sub(1).filter(|left| *left >= BASE_THREADS);
        self.threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }

    fn retire(&self, desk: &Arc<Desk>) {
        lock(&self.desks).retain(|other| !Arc::ptr_eq(other, desk));
        if self.is_stopping() {
            self.waker.wake(); // the others too
        }
    }

    fn run_ready(&self, desk: &Desk) {
        if self.is_stopping() {
            return;
        }
        self.waker.clear();
        let mut ready = lock(&self.ready);
        let link = ready.pop_front();
        if !ready.is_empty() {
            self.waker.wake(); // for another thread: this one may be busy for long
        }
        drop(ready);
        if let Some(link) = link {
            self.run_calls(&link, desk);
        }
    }

    fn on_event(self: &Arc<Self>, token: u64, desk: &Desk, buffer: &mut [u8]) {
        let link = lock(&self.links).get(&token).cloned();
        if let Some(link) = link {
            return self.serve(&link, desk, buffer);
        }
        let source = lock(&self.sources).get(&token).cloned();
        if let Some(source) = source
            && source.ready(self)
        {
            self.watch(&source.socket(), token, Interest::READ | Interest::ONE_SHOT);
        }
    }

    /// Reads a connection and runs the calls that came; again and again while many come together, but not so often that others starve.
    fn serve(&self, link: &Arc<Link>, desk: &Desk, buffer: &mut [u8]) {
        let mut next = link.read_ready(buffer);
        for _ in 0..MOST_READS {
            let ran = next != Next::Leave && self.run_calls(link, desk);
            if next != Next::RunAndKeep {
                return;
            }
            if !ran {
                return link.let_go();
            }
            next = link.read_again(buffer);
        }
        if next != Next::Leave {
            self.run_calls(link, desk);
        }
        link.let_go();
    }

    /// Runs the calls that wait at a connection until none is left. False where there was no place for that: whoever leaves one runs them.
    fn run_calls(&self, link: &Arc<Link>, desk: &Desk) -> bool {
        let Some(places) = &self.places else {
            self.run_calls_of(link, desk);
            return true;
        };
        if !places.take(link) {
            return false;
        }
        self.run_calls_of(link, desk);
        while let Some(next) = places.leave() {
            self.run_calls_of(&next, desk);
        }
        true
    }

    fn run_calls_of(&self, link: &Arc<Link>, desk: &Desk) {
        *lock(&desk.link) = Some(link.clone());
        // A bound that may be overstepped by as many threads as look at the same moment. SeqCst: see `Monitor`.
        let running = self.handlers.fetch_add(1, Ordering::SeqCst);
        self.monitor.rouse();
        let refuse = self.places.as_ref().map_or(running >= MOST_HANDLERS, Places::is_closed);
        link.run_incoming(refuse, || {
            // Written by this thread alone, read by the monitor, which only compares.
            desk.begun.store(desk.begun.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            // Where others wait for the place each has it for one call.
            !self.places.as_ref().is_some_and(Places::are_wanted)
        });
        self.handlers.fetch_sub(1, Ordering::Relaxed);
        let done = lock(&desk.link).take();
        drop(done);
    }

    /// The monitor's thread.
    fn watch_handlers(self: Arc<Self>) {
        let mut seen: HashMap<usize, u64> = HashMap::new();
        let mut quiet = 0;
        let mut cared = Instant::now();
        while !self.is_stopping() {
            if cared.elapsed() >= CARE {
                cared = Instant::now();
                self.take_care();
            }
            if quiet >= QUIET_TICKS {
                self.monitor.sleep(CARE, &self.handlers);
                quiet = QUIET_TICKS - 1;
                seen.clear();
                continue;
            }
            std::thread::sleep(TICK);
            // Relaxed: only whether there was one at all.
            quiet = if self.handlers.load(Ordering::Relaxed) == 0 { quiet + 1 } else { 0 };
            self.look(&mut seen);
        }
    }

    /// Helps those who wait behind handlers that run long.
    fn look(self: &Arc<Self>, seen: &mut HashMap<usize, u64>) {
        let desks: Vec<Arc<Desk>> = lock(&self.desks).clone();
        let mut stuck = 0;
        for desk in &desks {
            let link = lock(&desk.link).clone();
            let begun = desk.begun.load(Ordering::Relaxed);
            let before = seen.insert(Arc::as_ptr(desk) as usize, begun);
            let Some(link) = link else { continue };
            let is_stuck = before == Some(begun);
            stuck += usize::from(is_stuck);
            link.look_after(is_stuck);
        }
        let threads = self.threads.load(Ordering::Relaxed);
        let most = self.places.as_ref().map_or(MOST_HANDLERS, |places| places.number);
        if stuck >= threads && threads <= most {
            // Without another thread the calls wait for those that run.
            let _ = self.add_thread();
        }
    }

    fn take_care(self: &Arc<Self>) {
        for link in self.links() {
            link.tick();
        }
        let sources: Vec<_> =
            lock(&self.sources).iter().map(|(token, source)| (*token, source.clone())).collect();
        for (token, source) in sources {
            let before = source.socket();
            if source.tick() && !Arc::ptr_eq(&before, &source.socket()) {
                let _ = self.poller.remove(&*before);
                let _ = self.poller.add(&*source.socket(), token, Interest::READ | Interest::ONE_SHOT);
            } else {
                self.watch(&source.socket(), token, Interest::READ | Interest::ONE_SHOT);
            }
        }
        lock(&self.started).retain(|thread| !thread.is_finished());
    }
}

impl Places {
    /// True where the calls of this connection can be run now. Else they wait for [`leave`](Places::leave).
    fn take(&self, link: &Arc<Link>) -> bool {
        let mut state = lock(&self.state);
        if state.taken >= self.number && !state.closed {
            state.waiting.push_back(link.clone());
            return false;
        }
        state.taken += 1;
        true
    }

    /// Gives a place to who waits for one longest.
    fn leave(&self) -> Option<Arc<Link>> {
        let mut state = lock(&self.state);
        let next = state.waiting.pop_front();
        state.taken -= usize::from(next.is_none());
        next
    }

    fn are_wanted(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Those who wait, and will not get one.
    fn close(&self) -> VecDeque<Arc<Link>> {
        let mut state = lock(&self.state);
        state.closed = true;
        std::mem::take(&mut state.waiting)
    }
}

impl Monitor {
    /// Called after a handler was counted. Either this sees that the monitor goes to sleep, or that one sees the handler: both write their
    /// own and then read the other's, all SeqCst.
    fn rouse(&self) {
        if self.awake.swap(true, Ordering::SeqCst) {
            return;
        }
        *lock(&self.asleep) = false;
        self.wake.notify_one();
    }

    fn sleep(&self, time: Duration, handlers: &AtomicUsize) {
        let mut asleep = lock(&self.asleep);
        self.awake.store(false, Ordering::SeqCst);
        *asleep = handlers.load(Ordering::SeqCst) == 0;
        let _woken = self.wake.wait_timeout_while(asleep, time, |asleep| *asleep);
    }
}

fn cannot_start(error: io::Error) -> Error {
    Error::new(ErrorKind::Overloaded, format!("the server cannot start: {error}")).with_source(error)
}
