//! One connection as a driver of its session, the same at both ends.
//!
//! Locking rules:
//! 1. `Link::state` guards the session and everything about it. No thread holds two of them: a call that is passed on to another
//!    connection, and whatever else runs foreign code (handlers, drops of objects, hooks), waits in [`Todo`] until the lock is given back.
//! 2. Inside it only a turnstile, `Link::dropped`, a pool's ready queue and the handler thread's queue are locked, in any order.
//! 3. Reading is a role (`State::reader`), not a lock: who has it reads the socket with the lock given back.

mod calls;
mod events;
mod handler;
mod io;
mod objects;
mod promises;
mod streams;
mod task;
mod wait;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::task::Waker;
use std::time::Instant;

use andiron_proto::wire::Reason;
use andiron_proto::{Config, IdMap, Limits, PROMISES, Role, STREAMS, Session, StreamId};
use andiron_sys::epoll::Interest;

use self::calls::PassedOn;
pub(crate) use self::calls::{Callee, OutCall, OutParcel};
pub(crate) use self::events::Todo;
pub(crate) use self::io::{Next, READ_BUFFER};
use self::objects::Objects;
pub(crate) use self::promises::{no_object, only_object};
pub(crate) use self::streams::Pump;
use self::streams::{Inflowing, Outflowing};
use self::task::Task;
pub(crate) use self::task::TaskRead;
pub(crate) use self::wait::BatchGuard;
use self::wait::Waiter;
use self::wire::Proved;
pub(crate) use self::wire::Wire;
use crate::call::{Call, Parcel};
use crate::context::CallState;
use crate::lobby::Guest;
use crate::object::{Admitted, Job, Object};
use crate::pool::Pool;
use crate::root::Directory;
use crate::sync::lock;
use crate::target::Target;
use crate::tls::Tls;
use crate::{Error, ErrorKind, Proxy, Result, Secret};

/// What a finished call is handed to.
type Hook = Box<dyn FnOnce(Result<Parcel>) + Send>;

/// Runs when the handshake is done.
type OpenHook = Box<dyn FnOnce() + Send>;

/// Runs when the connection ends, with the reason.
type CloseHook = Box<dyn FnOnce(&Error) + Send>;

/// One connection.
pub(crate) struct Link {
    state: Mutex<State>,
    /// References that were dropped: a drop may happen anywhere, so it only leaves a note here.
    dropped: Mutex<Vec<(u64, u64)>>,
    /// Calls that a thread took and has not begun: while there are any, no other thread starts one. See [`Call::start`].
    starting: AtomicUsize,
    /// The fork generation in which the connection was made.
    generation: u32,
    /// Both ends are on this machine, at a socket that passes descriptors.
    local: bool,
    /// For people: an address or a process.
    label: String,
    /// What the peer proved in the handshake, where it proved anything.
    proved: OnceLock<Proved>,
    root: OnceLock<Arc<dyn Object>>,
    /// The names of what this end registered at the other one, by which that finds it here as well.
    registered: OnceLock<Arc<Directory>>,
    this: Weak<Link>,
}

pub(crate) struct State {
    pub(crate) session: Session,
    /// `None` when the connection is over.
    socket: Option<Arc<OwnedFd>>,
    /// What lies between socket and session; `None`: nothing.
    tls: Option<Box<Tls>>,
    /// Its place in the lobby, until it is open.
    guest: Option<Guest>,
    /// The secrets of which the peer is to prove one, until it has.
    secrets: Option<Arc<[Secret]>>,
    /// Somebody reads, or the poller's next event is being worked on.
    reader: bool,
    /// It sleeps until bytes come, and does not look for room to write.
    blind: bool,
    /// Somebody waits for room to write because the reader does not look for it.
    flusher: bool,
    calls: IdMap<OwnCall>,
    waiters: Vec<Waiter>,
    last_waiter: u64,
    /// Tasks that wait for something other than an answer: the end of the handshake, room to write, the end.
    tasks: Vec<Waker>,
    /// Calls of the chain of a thread that waits here: chain and job.
    chained: VecDeque<(u64, Job)>,
    /// Inline calls that wait because the peer does not read the answers to those before them.
    held_inline: VecDeque<(Arc<dyn Object>, Call)>,
    /// Calls that had to wait for their turn, and now have it; and streams that have something to send.
    admitted: VecDeque<Admitted>,
    /// Calls that nobody has begun to run, in the order they came.
    incoming: VecDeque<Incoming>,
    /// Threads that run calls of `incoming`.
    runners: usize,
    /// The pool was asked for a thread that has not come yet.
    called_up: bool,
    /// Calls of the peer that are not answered: what handlers know of them.
    handling: IdMap<Handling>,
    objects: Objects,
    inflows: HashMap<StreamId, Inflowing>,
    outflows: HashMap<StreamId, Outflowing>,
    /// Streams that have more while the peer does not read what was sent before.
    dammed: Vec<StreamId>,
    executor: Executor,
    /// What the poller watches for, while it does.
    armed: Option<Interest>,
    /// Descriptors that were sent since the peer was seen to have read all.
    passed: usize,
    /// The socket took no more when something was sent last, so somebody has to wait for room.
    full: bool,
    /// A thread that runs calls reads again when it has run them: see [`Next::RunAndKeep`].
    kept: bool,
    /// While this is not 0 answers are not sent one by one.
    holding: u32,
    notify_failed: Option<Error>,
    /// The latest one-way calls, by number, where it is told somewhere which of them fail.
    notified: VecDeque<(u64, Box<str>)>,
    closed_here: bool,
    /// This end said goodbye, and finishes what is under way.
    takes_no_calls: bool,
    /// Own calls whose answer goes to a hook or a task: no thread waits for it.
    hooks: usize,
    /// A thread reads for them, since no thread waits.
    reads_for_hooks: bool,
    /// One-way calls that were passed on for others, who are told if one fails; the last of them.
    passed_on: VecDeque<PassedOn>,
    ended: Option<Arc<Error>>,
    on_open: Option<OpenHook>,
    on_close: Vec<CloseHook>,
}

struct OwnCall {
    outcome: Option<Result<Parcel>>,
    hook: Option<Hook>,
    /// Who sleeps until the outcome is there.
    sleeper: Option<Sleeper>,
    /// It is one of [`State::hooks`].
    read_for: bool,
}

/// Who is woken when the outcome of a call is there.
enum Sleeper {
    Thread(Arc<Condvar>),
    Task(Waker),
}

struct Handling {
    state: Arc<CallState>,
    notify: bool,
    /// Calls of what this one will give.
    dependents: Vec<Call>,
    /// It was passed on to another connection, with this number there.
    passed_to: Option<(Weak<Link>, u64)>,
}

impl Handling {
    fn of(state: Arc<CallState>, notify: bool) -> Handling {
        Handling { state, notify, dependents: Vec::new(), passed_to: None }
    }
}

struct Incoming {
    object: Arc<dyn Object>,
    call: Call,
}

/// Who runs the calls of the peer.
enum Executor {
    /// Nobody by itself: somebody polls, or nothing is shown to the peer.
    None,
    /// A thread of this connection's own, started when the first object is shown.
    Thread(Arc<handler::HandlerQueue>),
    /// The threads of a server, which also read.
    Pool(Arc<Pool>, u64),
    /// A task of an asynchronous program, which also reads.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    Task(Task),
}

impl Link {
    /// A connection over this wire. The handshake is still to be done.
    pub(crate) fn new(role: Role, config: Config, wire: Wire) -> Arc<Link> {
        andiron_sys::fork::watch();
        let Wire { socket, tls, binding, label, local, secrets } = wire;
        wait::look_for_signals(&socket);
        let attachments = if local { Limits::MOST_ATTACHMENTS } else { 0 };
        let mut config = Config { limits: Limits { attachments, ..config.limits }, ..config };
        config.features.extend([STREAMS, PROMISES].map(str::to_owned));
        let mut session = Session::new(role, config, Instant::now());
        if let Some(binding) = binding {
            session.bind(&binding);
        }
        let state = State {
            session,
            socket: Some(Arc::new(socket)),
            tls,
            guest: None,
            secrets,
            reader: false,
            blind: false,
            flusher: false,
            calls: IdMap::default(),
            waiters: Vec::new(),
            last_waiter: 0,
            tasks: Vec::new(),
            chained: VecDeque::new(),
            held_inline: VecDeque::new(),
            admitted: VecDeque::new(),
            incoming: VecDeque::new(),
            runners: 0,
            called_up: false,
            handling: IdMap::default(),
            objects: Objects::default(),
            inflows: HashMap::new(),
            outflows: HashMap::new(),
            dammed: Vec::new(),
            executor: Executor::None,
            armed: None,
            passed: 0,
            full: false,
            kept: false,
            holding: 0,
            notify_failed: None,
            notified: VecDeque::new(),
            closed_here: false,
            takes_no_calls: false,
            hooks: 0,
            reads_for_hooks: false,
            passed_on: VecDeque::new(),
            ended: None,
            on_open: None,
            on_close: Vec::new(),
        };
        Arc::new_cyclic(|this| Link {
            state: Mutex::new(state),
            dropped: Mutex::default(),
            starting: AtomicUsize::new(0),
            generation: andiron_sys::fork::generation(),
            local,
            label,
            proved: OnceLock::new(),
            root: OnceLock::new(),
            registered: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// The object that answers to id 0.
    pub(crate) fn set_root(&self, root: Arc<dyn Object>) {
        self.root.get_or_init(|| root);
    }

    /// Takes note of names that were registered over this connection here.
    pub(crate) fn keep_names(&self, directory: &Arc<Directory>) {
        self.registered.get_or_init(|| directory.clone());
        let directory = directory.clone();
        self.on_close(move |_| directory.clear());
    }

    /// An object of this process was registered at the other end.
    pub(crate) fn registered(&self, name: &str, object: &Proxy) {
        if let (Some(directory), Target::Local(object)) = (self.registered.get(), object.target()) {
            let _ = directory.add(name, object.clone()); // the other end takes each name once
            if self.ended().is_some() {
                directory.clear(); // it ended meanwhile, and what clears it may have run before
            }
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn arc(&self) -> Arc<Link> {
        self.this.upgrade().expect("whoever calls a method of a link holds it")
    }

    /// Whether descriptors can be sent here.
    pub(crate) fn passes_descriptors(&self) -> bool {
        self.local
    }

    /// The incarnation of the store at the other end, where it has one and has said so.
    pub(crate) fn store(&self) -> Option<[u8; 16]> {
        self.lock().session.peer().store
    }

    /// True in a forked child of the process that made the connection.
    fn is_inherited(&self) -> bool {
        self.generation != andiron_sys::fork::generation()
    }

    /// Refuses to use a connection that belongs to the parent process.
    pub(crate) fn check_fork(&self) -> Result<()> {
        if !self.is_inherited() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "this connection was made before this process was forked and belongs to the parent; connect again",
        ))
    }

    /// A reference of the peer was dropped; it is told with the next message.
    pub(crate) fn drop_reference(&self, id: u64, count: u64) {
        // In a forked child the lock may be held for ever, by a thread that is not there.
        if !self.is_inherited() {
            lock(&self.dropped).push((id, count));
        }
    }

    /// Takes no further calls and tells the peer; the connection ends when what is under way is done.
    pub(crate) fn say_goodbye(&self, text: &str) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        state.session.goodbye(Reason::ShuttingDown, text);
        let mut todo = Todo::default();
        Self::end_idle_outflows(&mut state, &mut todo);
        todo.extend(self.flush(&mut state));
        self.arm(&mut state);
        drop(state);
        todo.run();
    }

    /// True where this end closed the connection.
    pub(crate) fn closed_here(&self) -> bool {
        self.lock().closed_here
    }

    /// Says goodbye and ends the connection. What is outstanding fails.
    pub(crate) fn close(&self) {
        if self.check_fork().is_err() {
            return;
        }
        let mut state = self.lock();
        state.closed_here = true;
        state.session.leave();
        let mut todo = self.flush(&mut state);
        state.session.disconnected("it was closed here");
        todo.extend(self.digest(&mut state));
        drop(state);
        todo.run();
    }

    /// Has `hook` run when the handshake is done. Before anybody reads.
    pub(crate) fn on_open(&self, hook: impl FnOnce() + Send + 'static) {
        self.lock().on_open = Some(Box::new(hook));
    }

    /// Has `hook` run when the connection ends; at once if it has.
    pub(crate) fn on_close(&self, hook: impl FnOnce(&Error) + Send + 'static) {
        let mut state = self.lock();
        match state.ended.clone() {
            None => state.on_close.push(Box::new(hook)),
            Some(ended) => {
                drop(state);
                hook(&ended);
            }
        }
    }

    /// True where no call can be made any more: the connection is over, or goodbye was said and it will be.
    pub(crate) fn is_leaving(&self) -> bool {
        let state = self.lock();
        state.ended.is_some() || state.session.is_ending()
    }

    /// Why the connection is over, if it is.
    pub(crate) fn ended(&self) -> Option<Arc<Error>> {
        self.lock().ended.clone()
    }
}

impl State {
    /// Calls of the peer wait to be run by somebody.
    fn has_calls(&self) -> bool {
        !self.incoming.is_empty() || !self.admitted.is_empty()
    }

    /// Bytes wait to be sent.
    fn wants_write(&self) -> bool {
        self.session.want_write() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Bytes wait to be sent, and nothing but a waiting thread will send them.
    fn lacks_room(&self) -> bool {
        self.wants_write() && !matches!(self.executor, Executor::Pool(..) | Executor::Task(_))
    }

    pub(crate) fn take_notify_error(&mut self) -> Option<Error> {
        self.notify_failed.take()
    }

    /// The socket's number; -1 when the connection is over.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, |socket| socket.as_raw_fd())
    }

    /// The reason why the connection ended where it has, else this error.
    fn ended_or(&self, error: Error) -> Error {
        match &self.ended {
            Some(ended) => Error::new(ErrorKind::Unavailable, ended.message().to_owned()),
            None => error,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // In a forked child the stream belongs to the parent: nothing may be said on it.
        if self.is_inherited() {
            return;
        }
        let state: &mut State = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &state.executor {
            Executor::Thread(queue) => queue.close(),
            Executor::Task(task) => task.wake(),
            _ => {}
        }
        if state.ended.is_none() {
            state.session.leave();
            let _ = io::send_what_goes(state); // last words to somebody who may be gone
        }
        if let Some(socket) = &state.socket {
            // Whoever waits for room to write gives up.
            let _ = andiron_sys::socket::shutdown(socket);
        }
    }
}
