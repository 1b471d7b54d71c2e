//! What the session's events ask for.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::Waker;

use andiron_proto::{Event, Failure, IncomingCall, StreamId};

use super::{CloseHook, Executor, Handling, Hook, Incoming, Link, OpenHook, Sleeper, State, wait};
use crate::call::{Call, Parcel};
use crate::context::CallState;
use crate::object::{Admitted, Object, admit};
use crate::stream::Items;
use crate::sync::contained;
use crate::target::Target;
use crate::{Error, ErrorKind, Result, engine};

/// What is to be done when the lock is given back, in order.
#[derive(Default)]
pub(crate) struct Todo(Vec<Do>);

pub(super) enum Do {
    /// A call that never blocks.
    Inline(Arc<dyn Object>, Call),
    Refuse(Call, Error),
    Done(Hook, Result<Parcel>),
    Cancel(Arc<CallState>),
    /// A one-way call that was passed on for this connection failed.
    TellFailed(Weak<Link>, u64, Failure),
    /// A call of what the peer's call `of` will give, which was passed on to that connection under this number.
    PassOn {
        call: Call,
        of: u64,
        to: Weak<Link>,
        number: u64,
    },
    /// Something whose turn has come although nobody is there to do it.
    Run(Admitted),
    Wake(Waker),
    DropItems(Box<dyn Items>),
    Drop(Vec<Target>),
    DropParcel(Parcel),
    Opened(OpenHook),
    Closed(CloseHook, Arc<Error>),
}

impl Todo {
    pub(super) fn extend(&mut self, other: Todo) {
        self.0.extend(other.0);
    }

    pub(super) fn drop_targets(&mut self, targets: Vec<Target>) {
        if !targets.is_empty() {
            self.0.push(Do::Drop(targets));
        }
    }

    pub(super) fn push(&mut self, item: Do) {
        self.0.push(item);
    }

    pub(super) fn refuse(&mut self, call: Call, error: Error) {
        self.0.push(Do::Refuse(call, error));
    }

    pub(super) fn drop_items(&mut self, items: Option<Box<dyn Items>>) {
        self.0.extend(items.map(Do::DropItems));
    }

    pub(super) fn drop_parcel(&mut self, parcel: Parcel) {
        self.0.push(Do::DropParcel(parcel));
    }

    /// Wakes who sleeps: a thread at once, a task without the lock, since its waker may be anybody's.
    pub(super) fn wake(&mut self, sleeper: Option<Sleeper>) {
        match sleeper {
            Some(Sleeper::Thread(wake)) => wake.notify_all(),
            Some(Sleeper::Task(waker)) => self.0.push(Do::Wake(waker)),
            None => {}
        }
    }

    pub(super) fn wake_tasks(&mut self, tasks: &mut Vec<Waker>) {
        self.0.extend(tasks.drain(..).map(Do::Wake));
    }

    pub(super) fn followed_by(mut self, other: Todo) -> Todo {
        self.extend(other);
        self
    }

    /// This, and then an inline call that was held.
    pub(super) fn inline(mut self, (object, call): (Arc<dyn Object>, Call)) -> Todo {
        self.0.push(Do::Inline(object, call));
        self
    }

    /// True where nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does it. Must not be called under a link's lock.
    pub(crate) fn run(self) {
        for item in self.0 {
            contained(|| item.run());
        }
    }
}

impl Do {
    fn run(self) {
        match self {
            Do::Inline(object, call) => {
                if let Some((object, call)) = Link::unless_congested(object, call) {
                    let next = object.run(call);
                    debug_assert!(next.is_empty(), "inline objects have no turns");
                }
            }
            Do::Refuse(call, error) => call.answer(Err(error)),
            Do::PassOn { call, of, to, number } => call.forward_to_promise(of, &to, number),
            Do::Run(admitted) => admitted.run(),
            Do::Wake(waker) => waker.wake(),
            Do::DropItems(items) => drop(items),
            Do::Done(hook, outcome) => hook(outcome),
            Do::Cancel(state) => state.cancel(),
            Do::TellFailed(back, id, failure) => {
                if let Some(link) = back.upgrade() {
                    link.tell_failed(id, &failure);
                }
            }
            Do::Drop(targets) => drop(targets),
            Do::DropParcel(parcel) => drop(parcel),
            Do::Opened(hook) => hook(),
            Do::Closed(hook, error) => hook(&error),
        }
    }
}

impl Link {
    /// Works through the session's events: wakes who waits, queues calls, and returns what has to wait for the lock.
    pub(super) fn digest(&self, state: &mut State) -> Todo {
        let mut todo = Todo::default();
        while let Some(event) = state.session.poll_event() {
            match event {
                Event::Call(call) => self.on_call(state, call, &mut todo),
                Event::Answer { id, outcome } => {
                    let outcome = match outcome {
                        Ok(payload) => {
                            Ok(self.parcel(state, payload, Some(StreamId { own: true, call: id })))
                        }
                        Err(failure) => Err(failure.into()),
                    };
                    self.on_answer(state, id, outcome, &mut todo);
                }
                Event::Cancelled { id } => {
                    // A one-way call is not given up by a caller who is gone: nobody waits for it in any case.
                    let waited_for = state.handling.get(&id).filter(|handling| !handling.notify);
                    todo.0.extend(waited_for.map(|handling| Do::Cancel(handling.state.clone())));
                }
                Event::Item { stream, payload } => self.on_item(state, stream, payload, &mut todo),
                Event::End { stream, outcome } => self.on_end(state, stream, outcome, &mut todo),
                Event::Credit { stream } => {
                    self.schedule(state, stream);
                    self.dispatch(state);
                }
                Event::Stopped { stream } => todo.drop_items(Self::close_outflow(state, stream)),
                Event::Released { object } => {
                    let released = state.objects.released(object);
                    todo.drop_targets(released.into_iter().map(Target::Local).collect());
                }
                Event::NotifyFailed { id, failure } => {
                    match state.passed_on.iter().position(|call| call.id == id) {
                        Some(index) => todo.0.extend(
                            state
                                .passed_on
                                .remove(index)
                                .map(|call| Do::TellFailed(call.back, call.back_id, failure)),
                        ),
                        None => self.on_notify_failed(state, id, failure.into()),
                    }
                }
                Event::Opened(_) => {
                    todo.0.extend(state.on_open.take().map(Do::Opened));
                    self.opened(state);
                    self.wake_all(state, &mut todo);
                }
                Event::Goodbye { .. } | Event::Pong(_) => {}
                Event::Closed(failure) => {
                    // TLS knows more of its own end than that the stream is over.
                    let of_tls = state.tls.as_mut().and_then(|tls| tls.failure());
                    self.on_closed(state, of_tls.unwrap_or_else(|| failure.into()), &mut todo);
                }
            }
        }
        if state.session.is_finished() && state.ended.is_none() {
            // Last words. What TLS still holds of them goes when there is room.
            if super::io::send_what_goes(state).is_err() || !state.full {
                let why = if state.closed_here { "it was closed here" } else { "both ends said goodbye" };
                state.session.disconnected(why);
                todo.extend(self.digest(state));
            }
        }
        todo
    }

    /// An own one-way call failed.
    fn on_notify_failed(&self, state: &mut State, id: u64, error: Error) {
        if let Some(tell) = engine::failed_notifies() {
            let index = state.notified.binary_search_by_key(&id, |(of, _)| *of);
            let method = index.ok().and_then(|index| state.notified.remove(index));
            let method = method.map_or_else(String::new, |(_, method)| method.into());
            tell(engine::FailedNotify { method, peer: self.peer_label().to_owned(), error });
        } else {
            state.notify_failed = Some(error);
        }
    }

    fn on_call(&self, state: &mut State, incoming: IncomingCall, todo: &mut Todo) {
        let IncomingCall { id, target, promise, method, chain, deadline, annotations, notify, payload } =
            incoming;
        let call_state = CallState::new(chain, deadline, Some(self.arc()));
        let call_state =
            Arc::new(call_state.with_rights(self.rights().cloned()).with_annotations(annotations));
        state.handling.insert(id, Handling::of(call_state.clone(), notify));
        let parcel = self.parcel(state, payload, Some(StreamId { own: false, call: id }));
        let call = Call::arrived((id, notify), method, parcel, call_state);
        if promise {
            return self.on_promised(state, target, call, todo);
        }
        let object = if target == 0 { self.root.get().cloned() } else { state.objects.shown(target) };
        match object {
            Some(object) => self.start_call(state, object, call, todo),
            None => {
                let text = "this object was released, or its provider is gone";
                todo.0.push(Do::Refuse(call, Error::new(ErrorKind::NoObject, text)));
            }
        }
    }

    /// Has a call run that arrived, by whoever should.
    pub(super) fn start_call(&self, state: &mut State, object: Arc<dyn Object>, call: Call, todo: &mut Todo) {
        if object.is_inline() {
            return todo.0.push(Do::Inline(object, call));
        }
        let Some(waiter) = state.waiter_of(call.chain()) else {
            state.incoming.push_back(Incoming { object, call });
            return state.wake_pollers();
        };
        if waiter.depth >= wait::DEEPEST {
            let text = "calls that go to and fro are nested too deep here; this one did not run";
            return todo.0.push(Do::Refuse(call, Error::new(ErrorKind::Overloaded, text)));
        }
        match admit(object, call) {
            Admitted::Run(job) => state.chain(job),
            Admitted::Parked | Admitted::Pump(_) | Admitted::Step(_) => {}
            Admitted::Refused(call, error) => todo.0.push(Do::Refuse(call, error)),
        }
    }

    fn on_answer(&self, state: &mut State, id: u64, outcome: Result<Parcel>, todo: &mut Todo) {
        let Some(call) = state.calls.get_mut(&id) else {
            // Nobody waits any more. Its objects are given back without the lock.
            return todo.0.extend(outcome.ok().map(Do::DropParcel));
        };
        let read_for = std::mem::take(&mut call.read_for);
        match call.hook.take() {
            Some(hook) => {
                state.calls.remove(&id);
                todo.0.push(Do::Done(hook, outcome));
            }
            None => {
                call.outcome = Some(outcome);
                todo.wake(call.sleeper.take());
            }
        }
        if read_for {
            self.read_for_one_less(state, todo);
        }
    }

    /// Something that no thread waited for is there.
    pub(super) fn read_for_one_less(&self, state: &mut State, todo: &mut Todo) {
        state.hooks -= 1;
        if state.hooks == 0 && state.reads_for_hooks {
            self.wake_all(state, todo);
        }
    }

    fn on_closed(&self, state: &mut State, error: Error, todo: &mut Todo) {
        if let Some(guest) = state.guest.take() {
            guest.refused(self.peer_label(), &error);
        }
        let error = Arc::new(error);
        state.ended = Some(error.clone());
        let _ = super::io::send_what_goes(state); // last words
        if let Some(socket) = state.socket.take() {
            if let Executor::Pool(pool, token) = &state.executor {
                pool.forget(&socket, *token);
            }
            // Whoever blocks in a read of it is woken by this. An error means that the stream is gone anyway.
            let _ = andiron_sys::socket::shutdown(&socket);
        }
        todo.drop_targets(state.objects.clear().into_iter().map(Target::Local).collect());
        // Behind the calls that came before the end, which may have set what these take back, but ahead of the answers: who hears that
        // the peer is gone finds its names gone.
        let hooks = std::mem::take(&mut state.on_close);
        let behind =
            todo.0.iter().rposition(|item| matches!(item, Do::Inline(..))).map_or(0, |last| last + 1);
        todo.0.splice(behind..behind, hooks.into_iter().map(|hook| Do::Closed(hook, error.clone())));
        self.drop_unrun(state, todo);
        self.wake_all(state, todo);
    }

    /// The connection is over: nobody waits for the results of calls that did not begin. What came one way runs all the same, where
    /// somebody is there to run it.
    fn drop_unrun(&self, state: &mut State, todo: &mut Todo) {
        let gone = || Error::new(ErrorKind::Cancelled, "the caller's connection ended");
        let held = std::mem::take(&mut state.held_inline);
        todo.0.extend(held.into_iter().map(|(_, call)| Do::Refuse(call, gone())));
        let runs = !matches!(state.executor, Executor::None);
        let (kept, unrun) = std::mem::take(&mut state.incoming)
            .into_iter()
            .partition::<VecDeque<_>, _>(|incoming| runs && incoming.call.is_notify());
        state.incoming = kept;
        todo.0.extend(unrun.into_iter().map(|incoming| Do::Refuse(incoming.call, gone())));
        self.dispatch(state);
        if state.runners == 0 {
            todo.0.extend(std::mem::take(&mut state.admitted).into_iter().map(Do::Run));
            let unrun = std::mem::take(&mut state.incoming);
            todo.0.extend(unrun.into_iter().map(|incoming| Do::Refuse(incoming.call, gone())));
        }
    }

    /// Wakes everybody who waits at this connection.
    pub(super) fn wake_all(&self, state: &mut State, todo: &mut Todo) {
        for waiter in &state.waiters {
            waiter.wake();
        }
        todo.wake_tasks(&mut state.tasks);
        if let Executor::Task(task) = &state.executor {
            task.wake();
        }
    }
}
