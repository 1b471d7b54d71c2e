//! Between socket and session.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use andiron_proto::Attachment;
use andiron_sys::epoll::Interest;
use andiron_sys::socket;

use super::{Executor, Incoming, Link, State, Todo};
use crate::Error;
use crate::object::Admitted;

/// The size of the buffer that a thread reads into.
pub(crate) const READ_BUFFER: usize = 64 << 10;

/// What one read brought, outside of the lock.
pub(super) struct Read {
    outcome: io::Result<socket::Received>,
    descriptors: Vec<OwnedFd>,
}

/// Reads once. Waits for bytes unless `nonblocking`.
pub(super) fn read(socket: &OwnedFd, buffer: &mut [u8], nonblocking: bool) -> Read {
    let mut descriptors = Vec::new();
    let outcome = socket::recv(socket, buffer, nonblocking, &mut descriptors);
    Read { outcome, descriptors }
}

/// Sends what can be sent without waiting.
pub(super) fn send_what_goes(state: &mut State) {
    let Some(socket) = state.socket.clone() else { return };
    while let Some(transmit) = state.session.poll_transmit() {
        let sent = if transmit.attachments.is_empty() {
            socket::send(&socket, transmit.slices(), &[])
        } else {
            let descriptors: Vec<BorrowedFd<'_>> =
                transmit.attachments.iter().filter_map(descriptor).collect();
            socket::send(&socket, transmit.slices(), &descriptors)
        };
        match sent {
            Ok(count) => state.session.transmitted(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                // The peer's last words may still be readable: the reader notices the end.
                if state.reader || state.session.is_closed() {
                    return;
                }
                return state.session.disconnected(&error.to_string());
            }
        }
    }
}

fn descriptor(attachment: &Attachment) -> Option<BorrowedFd<'_>> {
    attachment.downcast_ref::<OwnedFd>().map(|descriptor| descriptor.as_fd())
}

impl Link {
    /// Sends what can be sent now. Returns what is to be done without the lock.
    pub(super) fn flush(&self, state: &mut State) -> Todo {
        self.give_back(state);
        send_what_goes(state);
        if state.session.is_closed() || state.session.is_finished() {
            self.digest(state)
        } else {
            Todo::default()
        }
    }

    /// Takes what a read brought.
    pub(super) fn take(&self, state: &mut State, read: Read, buffer: &[u8]) -> Todo {
        match read.outcome {
            Ok(received) if received.bytes == 0 => state.session.disconnected("the other end closed it"),
            Ok(received) => {
                let attachments = read.descriptors.into_iter().map(|fd| Arc::new(fd) as Attachment).collect();
                state.session.receive(
                    Instant::now(),
                    &buffer[..received.bytes],
                    attachments,
                    received.truncated,
                );
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => state.session.disconnected(&error.to_string()),
        }
        self.digest(state)
    }

    /// Has the poller watch for what is needed now, where there is one and nobody reads by hand.
    pub(crate) fn arm(&self, state: &mut State) {
        if state.reader {
            return; // whoever reads arms when done
        }
        let (Executor::Pool(pool, token), Some(socket)) = (&state.executor, &state.socket) else { return };
        let mut interest = Interest::READ | Interest::ONE_SHOT;
        if state.session.want_write() {
            interest = interest | Interest::WRITE;
        }
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
    /// The poller saw something: reads once, does what runs inline, sends, and has the poller watch again. True if calls wait that this
    /// thread should run.
    pub(crate) fn read_ready(&self, buffer: &mut [u8]) -> bool {
        let mut state = self.lock();
        state.armed = None;
        let Some(socket) = state.socket.clone().filter(|_| !state.reader) else { return false };
        state.reader = true;
        drop(state);
        let read = read(&socket, buffer, true);
        drop(socket);
        state = self.lock();
        let nobody_behind = state.incoming.is_empty();
        let todo = self.take(&mut state, read, buffer);
        if !todo.is_empty() {
            state.holding += 1;
            drop(state); // the role is kept: what runs inline runs in the order it came
            todo.run();
            state = self.lock();
            state.holding -= 1;
        }
        state.reader = false;
        let run = !state.incoming.is_empty() && (state.runners == 0 || nobody_behind);
        if run {
            state.runners += 1;
        }
        let todo =
            if run && !state.session.is_congested() { Todo::default() } else { self.flush(&mut state) };
        self.arm(&mut state);
        drop(state);
        todo.run();
        run
    }

    /// Runs the calls that wait until none is left. `refuse`: there are too many handlers already. `began` is called for each.
    pub(crate) fn run_incoming(&self, refuse: bool, began: impl Fn()) {
        let mut state = self.lock();
        loop {
            let incoming = if state.session.is_congested() { None } else { state.incoming.pop_front() };
            let Some(Incoming { object, call }) = incoming else { break };
            let admitted = if refuse {
                Admitted::Refused(call, too_many())
            } else {
                object.clone().admit(call, &object)
            };
            drop(state);
            began();
            super::run_admitted(admitted);
            state = self.lock();
        }
        state.runners = state.runners.saturating_sub(1);
        let todo = self.flush(&mut state);
        self.arm(&mut state);
        drop(state);
        todo.run();
    }

    /// A handler of this connection runs long: sends the answers that it holds up. True if calls wait behind it.
    pub(crate) fn send_held_up(&self) -> bool {
        let mut state = self.lock();
        let todo = self.flush(&mut state);
        self.arm(&mut state);
        let waiting = !state.incoming.is_empty() && !state.session.is_congested();
        if waiting {
            state.runners += 1;
        }
        drop(state);
        todo.run();
        waiting
    }
}

fn too_many() -> Error {
    Error::new(
        crate::ErrorKind::Overloaded,
        "the server runs as many calls as it can; this one did not run, try again later",
    )
}
