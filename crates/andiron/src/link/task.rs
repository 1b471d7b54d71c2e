//! What a connection needs where a task of an asynchronous program reads it, and what other tasks wait for at it. No runtime is known here:
//! whoever drives the connection has one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::{Executor, Link, Sleeper, State, Todo, io};
use crate::call::Parcel;
use crate::{Error, ErrorKind, Result};

/// The task that reads a connection.
#[derive(Default)]
pub(super) struct Task {
    waker: Option<Waker>,
    /// It wakes by itself at that time.
    sleeps_until: Option<Instant>,
    /// It wakes by itself when there is room to write.
    awaits_room: bool,
    /// When it looked a thread read by hand, so that it does not wait for bytes.
    passed_over: bool,
}

impl Task {
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Wakes it where it sleeps and does not know yet what to wait for.
    pub(super) fn look(&self, state: &State) {
        let due = state.session.poll_timeout();
        let oversleeps = due.is_some_and(|due| self.sleeps_until.is_none_or(|until| due < until));
        if oversleeps || state.full && !self.awaits_room || self.passed_over && !state.reader {
            self.wake();
        }
    }
}

impl State {
    /// Has a task woken when something other than an answer changes.
    fn wake_too(&mut self, context: &Context<'_>) {
        if !self.tasks.iter().any(|waker| waker.will_wake(context.waker())) {
            self.tasks.push(context.waker().clone());
        }
    }

    fn end(&self) -> Option<Error> {
        self.ended.as_ref().map(|ended| Error::new(ended.kind(), ended.message().to_owned()))
    }
}

/// What came of one read of a task.
#[cfg_attr(not(feature = "tokio"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskRead {
    /// There may be more.
    More,
    /// All that was there is read.
    Drained,
    /// A thread reads by hand, and wakes the task when it has done.
    PassedOver,
    /// The connection is over.
    Over,
}

/// What a task that has read everything waits for, besides bytes.
#[cfg_attr(not(feature = "tokio"), allow(dead_code))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TaskRest {
    pub(crate) until: Option<Instant>,
    pub(crate) room: bool,
    pub(crate) over: bool,
}

#[cfg_attr(not(feature = "tokio"), allow(dead_code))]
impl Link {
    /// Leaves reading and running calls to a task, whose waker is told with [`task_begins`](Link::task_begins). Before anything was shown to the peer.
    pub(crate) fn leave_to_task(&self) {
        self.lock().executor = Executor::Task(Task::default());
    }

    /// What the task reads; `None` where the connection is over.
    pub(crate) fn socket(&self) -> Option<Arc<OwnedFd>> {
        self.lock().socket.clone()
    }

    /// The task is awake: whoever has something for it wakes it again.
    pub(crate) fn task_begins(&self, context: &Context<'_>) {
        if let Executor::Task(task) = &mut self.lock().executor {
            task.passed_over = false;
            match &mut task.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
    }

    /// Reads once and does what came: runs inline calls and starts the others.
    pub(crate) fn task_reads(&self, buffer: &mut [u8]) -> TaskRead {
        let mut state = self.lock();
        if state.reader {
            if let Executor::Task(task) = &mut state.executor {
                task.passed_over = true;
            }
            return TaskRead::PassedOver;
        }
        let Some(socket) = state.socket.clone() else { return TaskRead::Over };
        state.reader = true;
        drop(state);
        let read = io::read(&socket, buffer, true);
        drop(socket);
        let drained = read.drained(buffer.len());
        state = self.lock();
        let todo = self.take(&mut state, read, buffer);
        state.holding += 1;
        state = self.run_inline(state, todo);
        state.holding -= 1;
        state.reader = false;
        let over = state.ended.is_some();
        if state.has_calls() {
            drop(state);
            self.task_runs_calls();
        } else {
            let todo = self.flush(&mut state);
            drop(state);
            todo.run();
        }
        match (over, drained) {
            (true, _) => TaskRead::Over,
            (false, true) => TaskRead::Drained,
            (false, false) => TaskRead::More,
        }
    }

    /// Starts the calls that wait.
    pub(crate) fn task_runs_calls(&self) {
        let mut state = self.lock();
        if state.has_calls() && state.runners == 0 {
            state.runners += 1;
            drop(state);
            self.run_incoming(false, || true);
        }
    }

    /// Nobody will drive the connection any more: it is over.
    pub(crate) fn task_is_gone(&self) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.lock();
        state.session.disconnected("the runtime that drove it has ended");
        let todo = self.digest(&mut state);
        drop(state);
        todo.run();
    }

    /// There may be room to write, or the time of something may be over.
    pub(crate) fn task_cares(&self) {
        self.tick();
        let mut state = self.lock();
        let todo = self.flush(&mut state);
        drop(state);
        todo.run();
    }

    /// The task has nothing more to do: what it has to wait for.
    pub(crate) fn task_rests(&self) -> TaskRest {
        let mut state = self.lock();
        let rest = TaskRest {
            until: state.session.poll_timeout(),
            room: state.full && state.wants_write(),
            over: state.ended.is_some(),
        };
        let mut todo = Todo::default();
        if !state.session.is_congested() {
            todo.wake_tasks(&mut state.tasks); // one that waits for something else looks in vain
        }
        if let Executor::Task(task) = &mut state.executor {
            task.sleeps_until = rest.until;
            task.awaits_room = rest.room;
        }
        drop(state);
        todo.run();
        rest
    }

    /// The answer to a call, or this task is woken by it.
    pub(crate) fn poll_answer(&self, id: u64, context: &Context<'_>) -> Poll<Result<Parcel>> {
        let mut state = self.lock();
        let Some(call) = state.calls.get_mut(&id) else {
            return Poll::Ready(Err(Error::new(ErrorKind::Internal, "this call was waited for before")));
        };
        match call.outcome.take() {
            Some(outcome) => {
                state.calls.remove(&id);
                Poll::Ready(outcome)
            }
            None => {
                call.sleeper = Some(Sleeper::Task(context.waker().clone()));
                // Where no server's threads and no task read, a thread does.
                state.hooks += usize::from(!std::mem::replace(&mut call.read_for, true));
                self.read_for_hooks(&mut state);
                if state.wants_write() && !state.full {
                    let todo = self.flush(&mut state); // who waits for an answer wants the calls of a batch sent
                    drop(state);
                    todo.run();
                }
                Poll::Pending
            }
        }
    }

    /// The end of the handshake, or this task is woken by it.
    pub(crate) fn poll_opened(&self, context: &Context<'_>) -> Poll<Result<()>> {
        let mut state = self.lock();
        if state.session.is_open() {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = state.end() {
            return Poll::Ready(Err(error));
        }
        state.wake_too(context);
        Poll::Pending
    }

    /// The end of the connection, or this task is woken by it.
    pub(crate) fn poll_ended(&self, context: &Context<'_>) -> Poll<Error> {
        let mut state = self.lock();
        if let Some(error) = state.end() {
            return Poll::Ready(error);
        }
        state.wake_too(context);
        Poll::Pending
    }

    /// Room for what is to be sent, or this task is woken when the peer has read enough.
    pub(crate) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.ended.is_some() || !state.session.is_congested() {
            return Poll::Ready(());
        }
        state.wake_too(context);
        Poll::Pending
    }
}
