//! The thread that runs calls of the peer where no server's threads do.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError, Weak};

use super::Link;
use crate::object::Admitted;
use crate::sync::lock;

/// The queue of a connection's handler thread. The thread holds the queue only, so it does not keep the connection open.
#[derive(Default)]
pub(super) struct HandlerQueue {
    link: Weak<Link>,
    jobs: Mutex<Jobs>,
    filled: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Admitted>,
    /// Bytes wait to be sent.
    push_out: bool,
    closed: bool,
}

impl HandlerQueue {
    pub(super) fn of(link: Weak<Link>) -> HandlerQueue {
        HandlerQueue { link, ..HandlerQueue::default() }
    }

    pub(super) fn push(&self, admitted: Admitted) {
        lock(&self.jobs).waiting.push_back(admitted);
        self.filled.notify_one();
    }

    /// Has the thread send what waits to be sent.
    pub(super) fn push_out(&self) {
        lock(&self.jobs).push_out = true;
        self.filled.notify_one();
    }

    /// Ends the thread once it has run what is there.
    pub(super) fn close(&self) {
        lock(&self.jobs).closed = true;
        self.filled.notify_one();
    }

    pub(super) fn work(&self) {
        while let Some(admitted) = self.next() {
            admitted.run();
            self.send_out();
        }
    }

    /// The next call, when there is one; `None`: never again.
    fn next(&self) -> Option<Admitted> {
        let mut jobs = lock(&self.jobs);
        loop {
            if std::mem::take(&mut jobs.push_out) {
                drop(jobs);
                self.send_out();
                jobs = lock(&self.jobs);
            } else if let Some(admitted) = jobs.waiting.pop_front() {
                return Some(admitted);
            } else if jobs.closed {
                return None;
            } else {
                jobs = self.filled.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits until the peer has taken what this thread had to say, unless somebody else sees to it.
    fn send_out(&self) {
        while let Some(link) = self.link.upgrade() {
            let mut state = link.lock();
            let todo = link.flush(&mut state);
            let alone = !state.reader || state.blind || state.session.is_congested();
            let socket = state.socket.clone().filter(|_| alone && state.wants_write());
            drop(state);
            todo.run();
            drop(link); // the socket alone does not keep the connection open
            let Some(socket) = socket else { return };
            // An error shows again at the next write.
            let _ = andiron_sys::poll::wait(&*socket, false, true, None);
        }
    }
}
