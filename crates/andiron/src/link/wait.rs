//! Waiting: whoever waits may be the reader, and runs the calls of its own chain meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use andiron_proto::StreamId;
use andiron_sys::interrupt;

use super::handler::HandlerQueue;
use super::{Executor, Link, Sleeper, State, Todo, io};
use crate::call::Parcel;
use crate::object::{Admitted, Job, admit};
use crate::pool::Pool;
use crate::sync::lock;
use crate::{Error, ErrorKind, Result, engine};

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The links whose calls this thread holds back to send them together, each as often as it was told to.
    static BATCHING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// How many calls this thread runs, each while it waits for an answer in the one before.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// How deep calls may go to and fro on one thread. A peer could fill its stack with them.
pub(super) const DEEPEST: u32 = 64;

/// The longest wait for room to write that does not look whether there is still something to be written.
const FLUSH_SLICE: Duration = Duration::from_millis(10);

/// The longest wait that does not look for signals, where they end waits: one that came just before it, or to another thread, does not end it by itself.
const INTERRUPT_SLICE: Duration = Duration::from_millis(50);

/// Has no wait at this socket be longer, where signals end waits.
pub(super) fn look_for_signals(socket: &OwnedFd) {
    if interrupt::is_watched() {
        // One that cannot be told so is read as others are.
        let _ = andiron_sys::socket::wait_at_most(socket, INTERRUPT_SLICE);
    }
}

/// The same of a wait that has an end.
fn sliced(time: Option<Duration>) -> Option<Duration> {
    match time {
        time if !interrupt::is_watched() => time,
        Some(time) => Some(time.min(INTERRUPT_SLICE)),
        None => Some(INTERRUPT_SLICE),
    }
}

#[cold]
fn interrupted() -> Error {
    Error::new(ErrorKind::Cancelled, "a signal ended the wait for the answer; the method may have run")
}

pub(super) fn is_batching(link: &Link) -> bool {
    BATCHING.with_borrow(|batching| batching.contains(&(std::ptr::from_ref(link) as usize)))
}

/// A thread that waits at a connection.
pub(super) struct Waiter {
    number: u64,
    chain: u64,
    /// What it sleeps on, from its first sleep.
    wake: Option<Arc<Condvar>>,
    /// It does nothing else, so it can be woken to read.
    asleep: bool,
    /// It runs a call of its chain, and may wait elsewhere in it.
    busy: bool,
    /// It wants to run calls of any chain.
    polls: bool,
    /// How many calls its thread is in.
    pub(super) depth: u32,
}

impl Waiter {
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            wake.notify_one();
        }
    }
}

/// What a thread waits for.
pub(super) enum WaitFor {
    /// The answer to a call.
    Answer(u64),
    /// That the answer to a call is there, for whoever takes it, no longer than until then.
    Answered(u64, Option<Instant>),
    /// The end of the handshake.
    Opened,
    /// Calls of the peer, no longer than until then.
    Calls(Option<Instant>),
    /// Room for what is to be sent, no longer than until then.
    Room(Option<Instant>),
    /// The end of all calls whose answers go to hooks.
    Hooks,
    /// The next item of a stream, or its end.
    Item(StreamId),
}

impl WaitFor {
    fn until(&self) -> Option<Instant> {
        match self {
            WaitFor::Answered(_, until) | WaitFor::Calls(until) | WaitFor::Room(until) => *until,
            _ => None,
        }
    }
}

impl Link {
    /// Waits for the answer to a call of this chain.
    pub(crate) fn wait(&self, id: u64, chain: u64) -> Result<Parcel> {
        self.check_fork()?;
        let mut state = self.lock();
        if state.chained.is_empty()
            && let Some(outcome) = state.outcome(&WaitFor::Answer(id))
        {
            return outcome; // it came with the answer to another call
        }
        drop(state);
        self.wait_for(&WaitFor::Answer(id), chain)
    }

    /// Waits for the answer to a call of this chain no longer than until then; `None`: it is not there.
    ///
    /// # Errors
    /// A signal ended the wait, and not the call.
    pub(crate) fn wait_until(
        &self,
        id: u64,
        chain: u64,
        until: Option<Instant>,
    ) -> Result<Option<Result<Parcel>>> {
        self.check_fork()?;
        let mut state = self.lock();
        if state.chained.is_empty()
            && let Some(outcome) = state.outcome(&WaitFor::Answer(id))
        {
            return Ok(Some(outcome));
        }
        drop(state);
        self.wait_for(&WaitFor::Answered(id, until), chain)?;
        Ok(self.lock().outcome(&WaitFor::Answer(id)))
    }

    /// Waits for the answer to a call of [`call_to_wait`](Link::call_to_wait).
    pub(crate) fn wait_as(&self, (id, number): (u64, u64), chain: u64) -> Result<Parcel> {
        self.wait_at(self.lock(), &WaitFor::Answer(id), chain, number)
    }

    /// Waits for the end of the handshake.
    pub(crate) fn wait_opened(&self) -> Result<()> {
        self.wait_for(&WaitFor::Opened, 0).map(drop)
    }

    /// Waits until the peer has read enough.
    pub(super) fn wait_for_room(&self, chain: u64, until: Option<Instant>) -> Result<()> {
        self.wait_for(&WaitFor::Room(until), chain).map(drop)
    }

    /// A call that was passed on is answered whenever somebody reads. Where no server's threads do, a thread of its own sees to it as
    /// long as there are such calls.
    pub(super) fn read_for_hooks(&self, state: &mut State) {
        if state.reads_for_hooks || matches!(state.executor, Executor::Pool(..) | Executor::Task(_)) {
            return;
        }
        let link = self.arc();
        let reader = std::thread::Builder::new().name("andiron-reader".to_owned());
        let started = reader.spawn(move || {
            loop {
                // The end of the connection ends the calls, and with them this.
                let _ = link.wait_for(&WaitFor::Hooks, 0);
                let mut state = link.lock();
                if state.hooks == 0 || state.ended.is_some() {
                    state.reads_for_hooks = false;
                    return;
                }
            }
        });
        state.reads_for_hooks = started.is_ok(); // else whoever waits next reads
    }

    pub(super) fn wait_for(&self, what: &WaitFor, chain: u64) -> Result<Parcel> {
        self.check_fork()?;
        let mut state = self.lock();
        let number = state.add_waiter(chain, matches!(what, WaitFor::Calls(_)));
        self.wait_at(state, what, chain, number)
    }

    fn wait_at<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        what: &WaitFor,
        chain: u64,
        number: u64,
    ) -> Result<Parcel> {
        let (mut looked, mut woken, mut gave_up) = (false, false, false);
        let outcome = loop {
            // What came before the answer runs before the answer is taken.
            if let Some(job) = state.take_chained(chain) {
                state = self.run_chained(state, number, job);
                woken = true; // what ran may have raised what a signal's handler raises
                continue;
            }
            if let Some(outcome) = state.outcome(what) {
                break outcome;
            }
            if looked && what.until().is_some_and(|until| until <= Instant::now()) {
                break Ok(Parcel::default());
            }
            if woken && interrupt::is_watched() && !matches!(what, WaitFor::Hooks) {
                woken = false;
                drop(state);
                let asked = interrupt::asked();
                state = self.lock();
                if asked {
                    gave_up = true;
                    break Err(interrupted());
                }
                continue; // what is waited for may have come meanwhile
            }
            (looked, woken) = (true, true);
            if state.reader {
                state = self.sleep(state, what, number);
            } else {
                state = self.read_turn(state, what);
                self.dispatch(&mut state);
            }
        };
        state.waiters.retain(|waiter| waiter.number != number);
        self.unchain(&mut state, chain);
        self.hand_over(&mut state);
        drop(state);
        if let (WaitFor::Answer(id), true) = (what, gave_up) {
            self.abandon(*id);
        }
        outcome
    }

    fn run_chained<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        number: u64,
        job: Job,
    ) -> MutexGuard<'a, State> {
        state.set(number, |waiter| waiter.busy = true);
        self.hand_over(&mut state);
        drop(state);
        DEPTH.set(DEPTH.get() + 1);
        job.run();
        DEPTH.set(DEPTH.get() - 1);
        state = self.lock();
        state.set(number, |waiter| waiter.busy = false);
        state
    }

    /// Calls that were left to a waiting thread of this chain go to others, where none waits any more.
    fn unchain(&self, state: &mut State, chain: u64) {
        if state.chained.iter().any(|(of, _)| *of == chain) && state.waiter_of(chain).is_none() {
            let (own, others) =
                std::mem::take(&mut state.chained).into_iter().partition(|(of, _)| *of == chain);
            state.chained = others;
            let own: VecDeque<(u64, Job)> = own;
            state.admitted.extend(own.into_iter().map(|(_, job)| Admitted::Run(job)));
            self.dispatch(state);
        }
    }

    /// Somebody else reads: sleeps until it brings something, or looks for room to write.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        what: &WaitFor,
        number: u64,
    ) -> MutexGuard<'a, State> {
        if state.wants_write() {
            let todo = self.flush(&mut state);
            if !todo.is_empty() {
                drop(state);
                todo.run();
                return self.lock();
            }
        }
        if state.wants_write() && !state.flusher {
            let Some(socket) = state.socket.clone() else { return state };
            state.flusher = true;
            drop(state);
            // An error shows again at the next write.
            let _ = andiron_sys::poll::wait(&*socket, false, true, Some(FLUSH_SLICE));
            state = self.lock();
            state.flusher = false;
            return state;
        }
        let Some(wake) = state.falls_asleep(number) else { return state };
        match what {
            WaitFor::Answer(id) | WaitFor::Answered(id, _) => {
                if let Some(call) = state.calls.get_mut(id) {
                    call.sleeper = Some(Sleeper::Thread(wake.clone()));
                }
            }
            WaitFor::Item(stream) => {
                if let Some(flow) = state.inflows.get_mut(stream) {
                    flow.sleeps(Sleeper::Thread(wake.clone()));
                }
            }
            // Whoever makes room does not tell.
            WaitFor::Room(_) => return self.doze(state, &wake, number, Some(FLUSH_SLICE)),
            _ => {}
        }
        let at = match (state.session.poll_timeout(), what.until()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timeout = at.map(|at| at.saturating_duration_since(Instant::now()));
        self.doze(state, &wake, number, timeout)
    }

    fn doze<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wake: &Condvar,
        number: u64,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        // A signal does not wake a thread that sleeps here.
        let timeout = sliced(timeout);
        state = match timeout {
            None => wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.set(number, |waiter| waiter.asleep = false);
        if timeout.is_some() {
            state = self.look_at_the_clock(state);
        }
        state
    }

    fn look_at_the_clock<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.session.handle_timeout(Instant::now());
        let mut todo = self.digest(&mut state);
        todo.extend(self.flush(&mut state));
        if todo.is_empty() {
            return state;
        }
        drop(state);
        todo.run();
        self.lock()
    }

    /// Ends calls whose time is over, and tells which references were dropped; for connections that nobody waits at.
    pub(crate) fn tick(&self) {
        let state = self.lock();
        let due = state.session.poll_timeout().is_some_and(|at| at <= Instant::now());
        if due || !lock(&self.dropped).is_empty() {
            let mut state = self.look_at_the_clock(state);
            let todo = self.flush(&mut state);
            self.arm(&mut state);
            drop(state);
            todo.run();
        }
    }

    /// Reads once, waiting for bytes with the lock given back.
    fn read_turn<'a>(&'a self, mut state: MutexGuard<'a, State>, what: &WaitFor) -> MutexGuard<'a, State> {
        state.reader = true;
        self.disarm(&mut state);
        let mut todo = self.flush(&mut state);
        // Who waited for room may have it now, and then there is nothing to wait for.
        let wanted = state.socket.clone().filter(|_| !matches!(what, WaitFor::Room(_)) || !state.has_room());
        let Some(socket) = wanted else {
            state.reader = false;
            drop(state);
            todo.run();
            return self.lock();
        };
        let until = match (what.until(), state.session.poll_timeout()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let want_write = state.wants_write();
        state.blind = !want_write;
        drop(state);
        todo.run();
        let polled = until.is_some() || want_write;
        let mut readable = true;
        if polled {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            readable = match andiron_sys::poll::wait(&*socket, true, want_write, sliced(left)) {
                Ok(ready) => ready.readable || ready.hangup,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => false,
                Err(_) => true, // the read tells what is wrong
            };
        }
        let mut buffer = BUFFER.take();
        buffer.resize(io::READ_BUFFER, 0);
        let read = readable.then(|| io::read(&socket, &mut buffer, polled));
        drop(socket);
        state = self.lock();
        state.blind = false;
        todo = match read {
            Some(read) => self.take(&mut state, read, &buffer),
            None => Todo::default(),
        };
        BUFFER.set(buffer);
        if until.is_some() {
            state.session.handle_timeout(Instant::now());
            todo.extend(self.digest(&mut state));
        }
        state = self.run_inline(state, todo);
        state.reader = false;
        let todo = self.flush(&mut state);
        self.arm(&mut state);
        if !todo.is_empty() {
            drop(state);
            todo.run();
            state = self.lock();
        }
        state
    }

    /// Lets another thread that waits read on.
    fn hand_over(&self, state: &mut State) {
        if !state.reader
            && let Some(waiter) = state.waiters.iter().find(|waiter| waiter.asleep)
        {
            waiter.wake();
        }
    }

    /// Has somebody run the calls that wait.
    pub(super) fn dispatch(&self, state: &mut State) {
        if !state.has_calls() || state.waiters.iter().any(|waiter| waiter.polls) {
            return;
        }
        match &state.executor {
            Executor::None => {}
            Executor::Thread(queue) => {
                let queue = queue.clone();
                while let Some(admitted) = state.admitted.pop_front() {
                    queue.push(admitted);
                }
                while let Some(incoming) = state.incoming.pop_front() {
                    queue.push(admit(incoming.object, incoming.call));
                }
            }
            Executor::Pool(..) => {
                if state.runners == 0 {
                    self.call_up(state);
                }
            }
            Executor::Task(task) => task.wake(),
        }
    }

    /// Asks the pool for a thread to run the calls that wait, if none is on its way.
    pub(super) fn call_up(&self, state: &mut State) {
        if let Executor::Pool(pool, _) = &state.executor
            && !state.called_up
            && pool.ready(self.arc())
        {
            state.called_up = true;
            state.runners += 1;
        }
    }

    /// A connection that shows objects needs somebody who runs their methods.
    pub(super) fn start_handler_thread(&self, state: &mut State) {
        if !matches!(state.executor, Executor::None) {
            return;
        }
        let queue = Arc::new(HandlerQueue::of(self.this.clone()));
        let (of_thread, name) = (queue.clone(), "andiron-handler".to_owned());
        let started =
            std::thread::Builder::new().name(name).spawn(move || engine::thread(|| of_thread.work()));
        if started.is_ok() {
            state.executor = Executor::Thread(queue);
        } // else: without threads the calls wait for `poll`
    }

    /// Has the threads of this pool read the connection and run its calls from now on.
    pub(crate) fn attach(&self, pool: &Arc<Pool>) -> Result<()> {
        let token = pool.admit(self.arc());
        let mut state = self.lock();
        if let Some(socket) = state.socket.clone()
            && let Err(error) = pool.add(&socket, token)
        {
            pool.leave(token);
            let text = format!("cannot watch the connection: {error}");
            return Err(Error::new(ErrorKind::Overloaded, text).with_source(error));
        }
        if let Executor::Thread(queue) = &state.executor {
            queue.close();
        }
        state.executor = Executor::Pool(pool.clone(), token);
        let todo = self.flush(&mut state);
        self.arm(&mut state);
        self.dispatch(&mut state);
        if state.ended.is_some() {
            pool.leave(token);
        }
        drop(state);
        todo.run();
        Ok(())
    }

    /// Has threads of its own read the connection and run its calls, so many at once, until it ends. An error tells why it did, where nobody here
    /// closed it.
    pub(crate) fn serve(&self, threads: Option<usize>) -> Result<()> {
        self.check_fork()?;
        let (ended, wait) = std::sync::mpsc::channel();
        self.on_close(move |_| {
            let _ = ended.send(()); // nobody listens where this failed
        });
        if self.is_attached() {
            let _ = wait.recv(); // others read it: a server's threads, or another who serves
        } else {
            let pool = Pool::new(threads)?;
            pool.start()?;
            let attached = self.attach(&pool);
            if attached.is_ok() {
                let _ = wait.recv(); // an error cannot be: the sender is kept until the end
            }
            pool.stop();
            attached?;
        }
        match self.ended() {
            Some(error) if !self.closed_here() => Err(Error::new(error.kind(), error.message().to_owned())),
            _ => Ok(()),
        }
    }

    /// Reads what is there, waiting at most until `until`, and runs the calls that came on this thread. Tells whether anything came.
    pub(crate) fn poll(&self, until: Option<Instant>) -> Result<bool> {
        self.check_fork()?;
        self.wait_for(&WaitFor::Calls(until), 0)?;
        let mut state = self.lock();
        let came = state.has_calls();
        state.runners += 1;
        drop(state);
        self.run_incoming(false, || true);
        Ok(came)
    }

    /// Reads what is there, in case that nobody else does.
    pub(crate) fn catch_up(&self) {
        let _ = self.wait_for(&WaitFor::Calls(Some(Instant::now())), 0); // whether calls came or the end
        self.dispatch(&mut self.lock());
    }

    /// True where a pool reads the connection and runs its calls.
    pub(crate) fn is_attached(&self) -> bool {
        matches!(self.lock().executor, Executor::Pool(..))
    }

    /// Holds this thread's calls back until the guard is dropped or an answer is waited for.
    pub(crate) fn batch(self: &Arc<Self>) -> BatchGuard {
        BATCHING.with_borrow_mut(|batching| batching.push(Arc::as_ptr(self) as usize));
        BatchGuard { link: self.clone(), of_this_thread: PhantomData }
    }
}

/// See [`Link::batch`].
pub(crate) struct BatchGuard {
    link: Arc<Link>,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for BatchGuard {
    fn drop(&mut self) {
        let own = Arc::as_ptr(&self.link) as usize;
        BATCHING.with_borrow_mut(|batching| {
            if let Some(index) = batching.iter().rposition(|link| *link == own) {
                batching.remove(index);
            }
        });
        if is_batching(&self.link) || self.link.check_fork().is_err() {
            return;
        }
        let mut state = self.link.lock();
        let todo = self.link.flush(&mut state);
        self.link.arm(&mut state);
        drop(state);
        todo.run();
    }
}

impl State {
    pub(super) fn add_waiter(&mut self, chain: u64, polls: bool) -> u64 {
        self.last_waiter += 1;
        let number = self.last_waiter;
        let depth = DEPTH.get();
        self.waiters.push(Waiter { number, chain, wake: None, asleep: false, busy: false, polls, depth });
        number
    }

    fn has_room(&self) -> bool {
        self.ended.is_some() || !self.session.is_congested() && !self.lacks_room()
    }

    fn set(&mut self, number: u64, change: impl FnOnce(&mut Waiter)) {
        if let Some(waiter) = self.waiters.iter_mut().rev().find(|waiter| waiter.number == number) {
            change(waiter);
        }
    }

    fn falls_asleep(&mut self, number: u64) -> Option<Arc<Condvar>> {
        let waiter = self.waiters.iter_mut().rev().find(|waiter| waiter.number == number)?;
        waiter.asleep = true;
        Some(waiter.wake.get_or_insert_default().clone())
    }

    /// A thread that waits here for an answer in this chain and can run its calls.
    pub(super) fn waiter_of(&self, chain: u64) -> Option<&Waiter> {
        self.waiters.iter().rev().find(|waiter| chain != 0 && waiter.chain == chain && !waiter.busy)
    }

    /// Leaves a call to the thread that waits in its chain.
    pub(super) fn chain(&mut self, job: Job) {
        let chain = job.call.chain();
        self.chained.push_back((chain, job));
        if let Some(waiter) = self.waiter_of(chain) {
            waiter.wake();
        }
    }

    fn take_chained(&mut self, chain: u64) -> Option<Job> {
        if self.session.is_congested() {
            return None; // the peer shall first read the answers to those before
        }
        let index = self.chained.iter().position(|(of, _)| *of == chain)?;
        self.chained.remove(index).map(|(_, job)| job)
    }

    pub(super) fn wake_pollers(&self) {
        self.waiters.iter().filter(|waiter| waiter.polls).for_each(Waiter::wake);
    }

    fn outcome(&mut self, what: &WaitFor) -> Option<Result<Parcel>> {
        match what {
            WaitFor::Opened if self.session.is_open() => Some(Ok(Parcel::default())),
            WaitFor::Opened => {
                self.ended.as_ref().map(|ended| Err(Error::new(ended.kind(), ended.message().to_owned())))
            }
            WaitFor::Calls(_) if self.has_calls() => Some(Ok(Parcel::default())),
            WaitFor::Answered(id, _) => {
                let there = self.calls.get(id).is_none_or(|call| call.outcome.is_some());
                there.then(|| Ok(Parcel::default()))
            }
            WaitFor::Hooks => (self.hooks == 0 || self.ended.is_some()).then(|| Ok(Parcel::default())),
            WaitFor::Room(_) => self.has_room().then(|| Ok(Parcel::default())),
            WaitFor::Item(stream) => {
                let ready = self.inflows.get(stream).is_none_or(|flow| flow.is_ready());
                ready.then(|| Ok(Parcel::default()))
            }
            WaitFor::Calls(_) => {
                let ended = self.ended.as_ref()?;
                Some(Err(Error::new(ErrorKind::Unavailable, ended.message().to_owned())))
            }
            WaitFor::Answer(id) => match self.calls.get_mut(id) {
                Some(call) => {
                    let outcome = call.outcome.take()?;
                    self.calls.remove(id);
                    Some(outcome)
                }
                None => Some(Err(Error::new(ErrorKind::Internal, "this call was waited for before"))),
            },
        }
    }
}
