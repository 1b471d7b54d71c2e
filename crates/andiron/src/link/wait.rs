//! Waiting: whoever waits may be the reader, and runs the calls of its own chain meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Executor, Link, State, Todo, Waiter, io};
use crate::call::Parcel;
use crate::object::{Admitted, Job};
use crate::pool::Pool;
use crate::sync::lock;
use crate::{Error, ErrorKind, Result};

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static WAKE: Arc<Condvar> = Arc::new(Condvar::new());
    /// The link whose calls this thread holds back to send them together, and how deep.
    static BATCHING: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// The longest wait for room to write that does not look whether there is still something to be written.
const FLUSH_SLICE: Duration = Duration::from_millis(10);

pub(super) fn is_batching(link: &Link) -> bool {
    let (batching, depth) = BATCHING.get();
    depth > 0 && batching == std::ptr::from_ref(link) as usize
}

/// What a thread waits for.
pub(crate) enum WaitFor {
    /// The answer to a call.
    Answer(u64),
    /// The end of the handshake.
    Opened,
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
        self.wait_for(WaitFor::Answer(id), chain)
    }

    /// Waits for the end of the handshake.
    pub(crate) fn wait_opened(&self) -> Result<()> {
        self.wait_for(WaitFor::Opened, 0).map(drop)
    }

    fn wait_for(&self, what: WaitFor, chain: u64) -> Result<Parcel> {
        let wake = WAKE.with(Arc::clone);
        let mut state = self.lock();
        state.waiters.push(Waiter { chain, wake: wake.clone(), asleep: false });
        let outcome = loop {
            if let Some(outcome) = state.outcome(&what) {
                break outcome;
            }
            if let Some(index) = state.chained.iter().position(|(of, _)| *of == chain)
                && let Some((_, job)) = state.chained.remove(index)
            {
                self.hand_over(&mut state);
                drop(state);
                run_with_followers(job);
                state = self.lock();
                continue;
            }
            if !state.reader {
                state = self.read_turn(state, None);
                self.dispatch(&mut state);
                continue;
            }
            state = self.sleep(state, &what, &wake);
        };
        let own = state.waiters.iter().rposition(|waiter| Arc::ptr_eq(&waiter.wake, &wake));
        if let Some(own) = own {
            state.waiters.remove(own);
        }
        self.hand_over(&mut state);
        outcome
    }

    /// Somebody else reads: sleeps until it brings something, or looks for room to write.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        what: &WaitFor,
        wake: &Arc<Condvar>,
    ) -> MutexGuard<'a, State> {
        if state.session.want_write() {
            let todo = self.flush(&mut state);
            if !todo.is_empty() {
                drop(state);
                todo.run();
                return self.lock();
            }
        }
        if state.session.want_write() && !state.flusher {
            let Some(socket) = state.socket.clone() else { return state };
            state.flusher = true;
            drop(state);
            // An error shows again at the next write.
            let _ = andiron_sys::poll::wait(&*socket, false, true, Some(FLUSH_SLICE));
            state = self.lock();
            state.flusher = false;
            return state;
        }
        if let WaitFor::Answer(id) = what
            && let Some(call) = state.calls.get_mut(id)
        {
            call.wake = Some(wake.clone());
        }
        let timeout = state.session.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        set_asleep(&mut state, wake, true);
        state = match timeout {
            None => wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0,
        };
        set_asleep(&mut state, wake, false);
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

    /// Ends calls whose time is over; for connections that nobody waits at.
    pub(crate) fn tick(&self) {
        let state = self.lock();
        if state.session.poll_timeout().is_some_and(|at| at <= Instant::now()) {
            drop(self.look_at_the_clock(state));
        }
    }

    /// Reads once, waiting for bytes (at most until `until`) with the lock given back.
    fn read_turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        state.reader = true;
        self.disarm(&mut state);
        let mut todo = self.flush(&mut state);
        let Some(socket) = state.socket.clone() else {
            state.reader = false;
            drop(state);
            todo.run();
            return self.lock();
        };
        let until = match (until, state.session.poll_timeout()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let want_write = state.session.want_write();
        drop(state);
        todo.run();
        let polled = until.is_some() || want_write;
        let mut readable = true;
        if polled {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            readable = match andiron_sys::poll::wait(&*socket, true, want_write, left) {
                Ok(ready) => ready.readable || ready.hangup,
                Err(_) => true, // the read tells what is wrong
            };
        }
        let mut buffer = BUFFER.take();
        buffer.resize(io::READ_BUFFER, 0);
        let read = readable.then(|| io::read(&socket, &mut buffer, polled));
        drop(socket);
        state = self.lock();
        todo = match read {
            Some(read) => self.take(&mut state, read, &buffer),
            None => Todo::default(),
        };
        BUFFER.set(buffer);
        if until.is_some() {
            state.session.handle_timeout(Instant::now());
            todo.extend(self.digest(&mut state));
        }
        if !todo.is_empty() {
            drop(state); // the role is kept: what runs inline runs in the order it came
            todo.run();
            state = self.lock();
        }
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
            waiter.wake.notify_one();
        }
    }

    /// Has somebody run the calls that wait.
    fn dispatch(&self, state: &mut State) {
        if state.incoming.is_empty() || state.polled {
            return;
        }
        match &state.executor {
            Executor::None => {}
            Executor::Thread(queue) => {
                let queue = queue.clone();
                while let Some(incoming) = state.incoming.pop_front() {
                    queue.push(incoming.object.clone().admit(incoming.call, &incoming.object));
                }
            }
            Executor::Pool(pool, _) => {
                if state.runners == 0 {
                    let pool = pool.clone();
                    state.runners += 1;
                    pool.ready(self.arc());
                }
            }
        }
    }

    /// A connection that shows objects needs somebody who runs their methods.
    pub(super) fn start_handler_thread(&self, state: &mut State) {
        if !matches!(state.executor, Executor::None) {
            return;
        }
        let queue = Arc::new(HandlerQueue::default());
        let (of_thread, name) = (queue.clone(), "andiron-handler".to_owned());
        let started = std::thread::Builder::new().name(name).spawn(move || of_thread.work());
        if started.is_ok() {
            state.executor = Executor::Thread(queue);
        } // else: without threads the calls wait for `poll`
    }

    /// Has the threads of this pool read the connection and run its calls from now on.
    pub(crate) fn attach(&self, pool: &Arc<Pool>) -> Result<()> {
        let token = pool.admit(self.arc());
        let mut state = self.lock();
        if let Executor::Thread(queue) = &state.executor {
            queue.close();
        }
        if let Some(socket) = state.socket.clone() {
            pool.add(&socket, token).map_err(|error| {
                Error::new(ErrorKind::Overloaded, format!("cannot watch the connection: {error}"))
                    .with_source(error)
            })?;
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

    /// Reads what is there, waiting at most until `until`, and runs the calls that came on this thread. Tells whether anything came.
    pub(crate) fn poll(&self, until: Option<Instant>) -> Result<bool> {
        self.check_fork()?;
        let mut state = self.lock();
        if state.ended.is_some() {
            return Err(state.ended_or(Error::new(ErrorKind::Unavailable, "")));
        }
        if state.reader {
            return Ok(false);
        }
        state.polled = true;
        state = self.read_turn(state, until);
        state.polled = false;
        let came = !state.incoming.is_empty();
        while let Some(incoming) = state.incoming.pop_front() {
            let admitted = incoming.object.clone().admit(incoming.call, &incoming.object);
            drop(state);
            run_admitted(admitted);
            state = self.lock();
        }
        let todo = self.flush(&mut state);
        self.hand_over(&mut state);
        drop(state);
        todo.run();
        Ok(came)
    }

    /// Holds this thread's calls back until the guard is dropped or an answer is waited for.
    pub(crate) fn batch(self: &Arc<Self>) -> BatchGuard {
        let own = Arc::as_ptr(self) as usize;
        let outer = BATCHING.get();
        let depth = if outer.0 == own { outer.1 + 1 } else { 1 };
        BATCHING.set((own, depth));
        BatchGuard { link: self.clone(), outer }
    }
}

/// See [`Link::batch`].
pub(crate) struct BatchGuard {
    link: Arc<Link>,
    outer: (usize, u32),
}

impl Drop for BatchGuard {
    fn drop(&mut self) {
        BATCHING.set(self.outer);
        if is_batching(&self.link) {
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
    fn outcome(&mut self, what: &WaitFor) -> Option<Result<Parcel>> {
        match what {
            WaitFor::Opened if self.session.is_open() => Some(Ok(Parcel::default())),
            WaitFor::Opened => {
                self.ended.as_ref().map(|ended| Err(Error::new(ended.kind(), ended.message().to_owned())))
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

fn set_asleep(state: &mut State, wake: &Arc<Condvar>, asleep: bool) {
    if let Some(own) = state.waiters.iter_mut().rev().find(|waiter| Arc::ptr_eq(&waiter.wake, wake)) {
        own.asleep = asleep;
    }
}

/// Runs a job, and on this thread those that were waiting for it.
pub(crate) fn run_with_followers(job: Job) {
    let mut jobs = VecDeque::from(job.run());
    while let Some(job) = jobs.pop_front() {
        jobs.extend(job.run());
    }
}

pub(crate) fn run_admitted(admitted: Admitted) {
    match admitted {
        Admitted::Run(job) => run_with_followers(job),
        Admitted::Parked => {}
        Admitted::Refused(call, error) => call.answer(Err(error)),
    }
}

/// The queue of a connection's handler thread. The thread holds the queue only, so it does not keep the connection open.
#[derive(Default)]
pub(super) struct HandlerQueue {
    jobs: Mutex<Jobs>,
    filled: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Admitted>,
    closed: bool,
}

impl HandlerQueue {
    fn push(&self, admitted: Admitted) {
        lock(&self.jobs).waiting.push_back(admitted);
        self.filled.notify_one();
    }

    /// Ends the thread once it has run what is there.
    pub(super) fn close(&self) {
        lock(&self.jobs).closed = true;
        self.filled.notify_one();
    }

    fn work(&self) {
        loop {
            let mut jobs = lock(&self.jobs);
            let admitted = loop {
                match jobs.waiting.pop_front() {
                    Some(admitted) => break admitted,
                    None if jobs.closed => return,
                    None => jobs = self.filled.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(jobs);
            run_admitted(admitted);
        }
    }
}
