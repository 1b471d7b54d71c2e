//! Between socket and session.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use andiron_proto::{Attachment, Session};
use andiron_sys::epoll::Interest;
use andiron_sys::socket;

use super::{Executor, Incoming, Link, State, Todo};
use crate::Error;
use crate::blob::Attached;
use crate::call::Call;
use crate::object::{Admitted, Job, Object, admit};
use crate::task::Steps;
use crate::tls::Tls;

/// The size of the buffer that a thread reads into.
pub(crate) const READ_BUFFER: usize = 64 << 10;

/// What one read brought, outside of the lock.
pub(super) struct Read {
    outcome: io::Result<socket::Received>,
    descriptors: Vec<OwnedFd>,
}

impl Read {
    /// True where nothing is left to be read. Fewer bytes than there is `room` for say so, unless descriptors came: behind these a read ends.
    pub(super) fn drained(&self, room: usize) -> bool {
        match &self.outcome {
            Ok(received) => received.bytes < room && self.descriptors.is_empty() && !received.truncated,
            Err(_) => true,
        }
    }
}

/// Reads once. Waits for bytes unless `nonblocking`.
pub(super) fn read(socket: &OwnedFd, buffer: &mut [u8], nonblocking: bool) -> Read {
    let mut descriptors = Vec::new();
    let outcome = socket::recv(socket, buffer, nonblocking, &mut descriptors);
    Read { outcome, descriptors }
}

/// Sends what can be sent without waiting. An error means that the stream is broken.
pub(super) fn send_what_goes(state: &mut State) -> io::Result<()> {
    let Some(socket) = state.socket.clone() else { return Ok(()) };
    state.full = false;
    if let Some(tls) = &mut state.tls {
        return match send_through(tls, &mut state.session, &socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                state.full = true;
                Ok(())
            }
            sent => sent,
        };
    }
    while let Some(transmit) = state.session.poll_transmit() {
        let with = transmit.attachments.len();
        let sent = if with == 0 {
            socket::send(&socket, transmit.slices(), &[])
        } else {
            let descriptors: Vec<BorrowedFd<'_>> =
                transmit.attachments.iter().filter_map(descriptor).collect();
            socket::send(&socket, transmit.slices(), &descriptors)
        };
        match sent {
            Ok(count) => {
                state.passed += with;
                state.session.transmitted(count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                state.full = true;
                return Ok(());
            }
            // The system passes no more of them, as while too many are under way that nobody reads. Who waits for this message is told;
            // where the stream itself is broken the next one shows it.
            Err(_) if with > 0 => state.session.detach(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The same through TLS, which is given no more than the socket takes soon.
fn send_through(tls: &mut Tls, session: &mut Session, socket: &OwnedFd) -> io::Result<()> {
    loop {
        tls.send(socket)?;
        let Some(transmit) = session.poll_transmit() else { break };
        match tls.take(transmit.slices())? {
            0 => return Ok(()), // the handshake goes on, and the rest follows it
            taken => session.transmitted(taken),
        }
    }
    if session.is_finished() {
        tls.close();
        tls.send(socket)?;
    }
    Ok(())
}

fn descriptor(attachment: &Attachment) -> Option<BorrowedFd<'_>> {
    attachment.downcast_ref::<Attached>().and_then(Attached::as_fd)
}

impl Link {
    /// Sends what can be sent now. Returns what is to be done without the lock.
    pub(super) fn flush(&self, state: &mut State) -> Todo {
        self.give_back(state);
        let mut todo = Todo::default();
        if let Err(error) = send_what_goes(state)
            && !state.reader
        {
            todo.extend(self.hear_last_words(state, &error));
        } // else: the reader comes upon the end of the stream
        if state.session.has_events() || state.session.is_closed() || state.session.is_finished() {
            todo.extend(self.digest(state));
        }
        self.open_dams(state);
        todo
    }

    /// The stream is broken, and what the peer sent before may still tell why.
    fn hear_last_words(&self, state: &mut State, error: &io::Error) -> Todo {
        let mut todo = Todo::default();
        let mut buffer = vec![0; READ_BUFFER];
        while let Some(socket) = state.socket.clone() {
            let read = read(&socket, &mut buffer, true);
            if read.outcome.is_err() {
                state.session.disconnected(&error.to_string());
            }
            todo.extend(self.take(state, read, &buffer));
        }
        todo
    }

    /// Takes what a read brought.
    pub(super) fn take(&self, state: &mut State, read: Read, buffer: &[u8]) -> Todo {
        match read.outcome {
            Ok(received) if received.bytes == 0 => {
                let why = state.tls.as_ref().map_or("the other end closed it", |tls| tls.end_of_stream());
                state.session.disconnected(why);
            }
            Ok(received) => {
                let (now, bytes) = (Instant::now(), &buffer[..received.bytes]);
                if let Some(tls) = &mut state.tls {
                    tls.receive(bytes, now, &mut state.session);
                } else {
                    let attachments =
                        read.descriptors.into_iter().map(|fd| Arc::new(fd) as Attachment).collect();
                    state.session.receive(now, bytes, attachments, received.truncated);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => state.session.disconnected(&error.to_string()),
        }
        self.digest(state)
    }

    /// Has the poller watch for what is needed now, where there is one and nobody reads by hand.
    pub(crate) fn arm(&self, state: &mut State) {
        self.arm_for(state, !state.kept);
    }

    fn arm_for(&self, state: &mut State, read: bool) {
        if state.reader && !state.blind {
            return; // whoever reads arms when done
        }
        let write = state.full; // what waits for other reasons is sent by whoever holds it back
        let (pool, token) = match &state.executor {
            Executor::Pool(pool, token) => (pool, token),
            Executor::Thread(queue) if write && state.blind => return queue.push_out(),
            Executor::Task(task) => return task.look(state),
            _ => return,
        };
        let Some(socket) = &state.socket else { return };
        let interest = match (read && !state.reader, write) {
            (false, false) => return,
            (false, true) => Interest::WRITE | Interest::ONE_SHOT,
            (true, false) => Interest::READ | Interest::ONE_SHOT,
            (true, true) => Interest::READ | Interest::WRITE | Interest::ONE_SHOT,
        };
        if state.armed == Some(interest) {
            return;
        }
        pool.watch(socket, *token, interest);
        state.armed = Some(interest);
    }

    /// Has the poller look away while a thread reads by hand.
    pub(super) fn disarm(&self, state: &mut State) {
        if let (Executor::Pool(pool, token), Some(socket), Some(_)) =
            (&state.executor, &state.socket, state.armed)
        {
            pool.watch(socket, *token, Interest::NONE | Interest::ONE_SHOT);
        }
        state.armed = None;
    }
}

impl Link {
    /// The poller saw something: reads once, does what runs inline, sends, and has the poller watch again. Tells what this thread should
    /// do next.
    pub(crate) fn read_ready(&self, buffer: &mut [u8]) -> Next {
        let mut state = self.lock();
        state.armed = None;
        self.read_turn_of_pool(state, buffer)
    }

    /// The same where the poller was not asked, for a thread that keeps the connection.
    pub(crate) fn read_again(&self, buffer: &mut [u8]) -> Next {
        self.read_turn_of_pool(self.lock(), buffer)
    }

    fn read_turn_of_pool<'a>(&'a self, mut state: MutexGuard<'a, State>, buffer: &mut [u8]) -> Next {
        state.kept = false;
        if state.reader {
            // A thread reads by hand and does not see that there is room to write.
            let todo = self.flush(&mut state);
            self.arm(&mut state);
            drop(state);
            todo.run();
            return Next::Leave;
        }
        let Some(socket) = state.socket.clone() else { return Next::Leave };
        state.reader = true;
        drop(state);
        let read = read(&socket, buffer, true);
        drop(socket);
        state = self.lock();
        let nobody_behind = !state.has_calls();
        let todo = self.take(&mut state, read, buffer);
        state.holding += 1;
        state = self.run_inline(state, todo);
        state.holding -= 1;
        state.reader = false;
        let run = state.has_calls() && (state.runners == 0 || nobody_behind);
        let mut next = Next::Leave;
        if run {
            state.runners += 1;
            state.kept = state.incoming.len() > 1;
            next = if state.kept { Next::RunAndKeep } else { Next::Run };
        }
        let todo = if state.kept && !state.session.is_congested() {
            Todo::default()
        } else {
            self.flush(&mut state)
        };
        self.arm(&mut state);
        drop(state);
        todo.run();
        next
    }

    /// Gives the connection back to the poller.
    pub(crate) fn let_go(&self) {
        let mut state = self.lock();
        state.kept = false;
        self.arm(&mut state);
    }

    /// Does what a read brought, and then the inline calls that were held, as long as the peer reads their answers. For the reader, who
    /// keeps the role meanwhile: what runs inline runs in the order it came.
    pub(super) fn run_inline<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mut todo: Todo,
    ) -> MutexGuard<'a, State> {
        loop {
            if !state.held_inline.is_empty() {
                todo.extend(self.flush(&mut state));
                if !state.session.is_congested() {
                    let held = std::mem::take(&mut state.held_inline);
                    todo = held.into_iter().fold(Todo::default(), Todo::inline).followed_by(todo);
                }
            }
            if todo.is_empty() {
                return state;
            }
            drop(state);
            std::mem::take(&mut todo).run();
            state = self.lock();
        }
    }

    /// Gives an inline call back where it can run now. It cannot while the peer does not read the answers to those before it.
    pub(super) fn unless_congested(object: Arc<dyn Object>, call: Call) -> Option<(Arc<dyn Object>, Call)> {
        if let Some(link) = call.link().cloned() {
            let mut state = link.lock();
            if state.session.is_congested() || !state.held_inline.is_empty() {
                state.held_inline.push_back((object, call));
                return None;
            }
        }
        Some((object, call))
    }

    /// The next call for this thread to run.
    fn next_call(&self, state: &mut State, refuse: bool, todo: &mut Todo) -> Option<Admitted> {
        if state.session.is_congested() {
            todo.extend(self.flush(state));
            if state.session.is_congested() {
                return None; // room to write starts it again
            }
        }
        if let Some(admitted) = state.admitted.pop_front() {
            return Some(admitted);
        }
        // Acquire pairs with the Release of `starting`: what began there is seen here.
        if self.starting.load(Ordering::Acquire) > 0 {
            return None; // whoever starts that one comes back for this, or the monitor sends somebody
        }
        let Incoming { object, call, .. } = state.incoming.pop_front()?;
        if refuse {
            return Some(Admitted::Refused(call, too_many()));
        }
        let admitted = admit(object, call);
        if let Admitted::Run(job) = &admitted {
            job.call.start();
        }
        Some(admitted)
    }

    /// Counts a call that a thread took, or off again when it begins.
    pub(crate) fn starting(&self, more: bool) {
        if more {
            self.starting.fetch_add(1, Ordering::Relaxed); // under the lock
        } else {
            self.starting.fetch_sub(1, Ordering::Release); // pairs with the Acquire of `next_call`
        }
    }

    /// Has a call run whose turn has come. Gives it back where nobody is there to do it.
    pub(crate) fn run_later(&self, job: Job) -> Option<Job> {
        let mut state = self.lock();
        if state.waiter_of(job.call.chain()).is_some() {
            state.chain(job);
            return None;
        }
        state.admitted.push_back(Admitted::Run(job));
        self.dispatch(&mut state);
        let nobody = state.ended.is_some() && state.runners == 0;
        match if nobody { state.admitted.pop_back() } else { None } {
            Some(Admitted::Run(job)) => Some(job),
            _ => None, // of a connection that is over nothing else is of use
        }
    }

    /// Has the next step of a method done that waited.
    pub(crate) fn step_later(&self, steps: Arc<Steps>) {
        let mut state = self.lock();
        state.admitted.push_back(Admitted::Step(steps));
        state.wake_pollers();
        self.dispatch(&mut state);
        let nobody = state.ended.is_some() && state.runners == 0;
        let left = if nobody { state.admitted.pop_back() } else { None };
        drop(state);
        left.into_iter().for_each(Admitted::run);
    }

    /// Runs the calls that wait until none is left. `refuse`: there are too many handlers already. `began` is called for each, and tells whether
    /// this thread may go on behind it; else it asks for another turn.
    pub(crate) fn run_incoming(&self, refuse: bool, began: impl Fn() -> bool) {
        let mut state = self.lock();
        state.called_up = false;
        let (mut todo, mut yields) = (Todo::default(), false);
        while let Some(admitted) = self.next_call(&mut state, refuse, &mut todo) {
            drop(state);
            std::mem::take(&mut todo).run();
            yields = !began();
            admitted.run();
            state = self.lock();
            if yields {
                break;
            }
        }
        state.runners = state.runners.saturating_sub(1);
        if yields {
            self.dispatch(&mut state);
        }
        todo.extend(self.flush(&mut state));
        self.arm(&mut state);
        drop(state);
        todo.run();
    }

    /// Calls of this connection have been running for a while: sends the answers that they hold up, and has the poller watch, for what
    /// need not wait for them. `stuck`: it is all one call; another thread runs those behind it.
    pub(crate) fn look_after(&self, stuck: bool) {
        let mut state = self.lock();
        let todo = self.flush(&mut state);
        self.arm_for(&mut state, true);
        if stuck && state.has_calls() && !state.session.is_congested() {
            self.call_up(&mut state);
        }
        drop(state);
        todo.run();
    }
}

/// What a thread of the pool does with a connection that it read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: others run its calls, or there are none.
    Leave,
    /// Run the call that came. The poller watches the connection again, so that another thread reads on meanwhile.
    Run,
    /// Run the calls that came, and read again: where many come together more are on their way. Another thread that read them meanwhile
    /// would only have them wait behind these, and this thread wait for its lock.
    RunAndKeep,
}

fn too_many() -> Error {
    Error::new(
        crate::ErrorKind::Overloaded,
        "the server runs as many calls as it can; this one did not run, try again later",
    )
}
