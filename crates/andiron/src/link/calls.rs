//! Calls on their way out, and the answers to those that came.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use andiron_proto::{Body, CallRequest, Failure, StreamId};

use super::{Hook, Link, OwnCall, State, Todo, only_object, wait};
use crate::blob::Attached;
use crate::call::Parcel;
use crate::context::Annotations;
use crate::stream::Items;
use crate::sync::lock;
use crate::{Error, ErrorKind, Result, engine};

/// Answers that are held back to be sent together are sent from this many bytes: then the peer reads them while the rest is worked on.
pub(super) const SEND_FROM: usize = 1 << 10;

impl Link {
    /// Makes a call and registers who gets the answer.
    fn start(
        &self,
        state: &mut State,
        outgoing: OutCall<'_>,
        hook: Option<Hook>,
        todo: &mut Todo,
    ) -> std::result::Result<u64, (Error, Option<Hook>)> {
        let OutCall { callee, method, chain, deadline, annotations, parcel } = outgoing;
        let (target, promise) = match self.callee(state, callee) {
            Ok(callee) => callee,
            Err(error) => return Err((error, hook)),
        };
        let (arguments, items) = match self.outgoing(state, parcel, todo) {
            Ok(outgoing) => outgoing,
            Err(error) => return Err((error, hook)),
        };
        let refs = arguments.refs.clone();
        let request = CallRequest { target, promise, method, chain, deadline, annotations, arguments };
        match state.session.call(Instant::now(), request) {
            Ok(id) => {
                let read_for = hook.is_some();
                state.hooks += usize::from(read_for);
                state.calls.insert(id, OwnCall { outcome: None, hook, sleeper: None, read_for });
                if let Some(items) = items {
                    self.open_outflow(state, StreamId { own: true, call: id }, items);
                }
                Ok(id)
            }
            Err(failure) => {
                todo.drop_items(items);
                self.forget_unsent(state, &refs, todo);
                Err((state.ended_or(failure.into()), hook))
            }
        }
    }

    /// Calls; `done` gets the answer, on whatever thread reads it. `started` gets the call's number, if it was made.
    pub(crate) fn call_with(
        self: Arc<Self>,
        mut state: MutexGuard<'_, State>,
        outgoing: OutCall<'_>,
        done: impl FnOnce(Result<Parcel>) + Send + 'static,
        started: impl FnOnce(u64),
    ) {
        let mut todo = Todo::default();
        let begun = self.start(&mut state, outgoing, Some(Box::new(done)), &mut todo);
        if begun.is_ok() {
            self.read_for_hooks(&mut state);
        }
        todo.extend(self.flush(&mut state));
        self.arm(&mut state);
        drop(state);
        match begun {
            Ok(id) => started(id),
            Err((error, hook)) => {
                if let Some(hook) = hook {
                    hook(Err(error));
                }
            }
        }
        todo.run();
    }

    /// Makes a call that is waited for with [`wait`](Link::wait) and the like.
    pub(crate) fn call(&self, outgoing: OutCall<'_>) -> Result<u64> {
        self.check_fork()?;
        let mut state = self.lock();
        let mut todo = Todo::default();
        let begun = self.start(&mut state, outgoing, None, &mut todo);
        if !wait::is_batching(self) {
            todo.extend(self.flush(&mut state));
        }
        self.arm(&mut state);
        drop(state);
        todo.run();
        begun.map_err(|(error, _)| error)
    }

    /// Makes a call that this thread waits for next, with [`wait_as`](Link::wait_as): until then it is not sent, and this thread is known as
    /// one that waits in its chain. Gives the call's number and the waiter's.
    pub(crate) fn call_to_wait(&self, outgoing: OutCall<'_>) -> Result<(u64, u64)> {
        self.check_fork()?;
        let chain = outgoing.chain;
        let mut state = self.lock();
        let mut todo = Todo::default();
        let begun = self.start(&mut state, outgoing, None, &mut todo);
        let begun = begun.map(|id| (id, state.add_waiter(chain, false)));
        drop(state);
        todo.run();
        begun.map_err(|(error, _)| error)
    }

    /// Calls one way. Waits only where the peer reads too slowly.
    pub(crate) fn notify(&self, outgoing: OutCall<'_>) -> Result<()> {
        let (chain, deadline) = (outgoing.chain, outgoing.deadline);
        if self.notify_at_once(outgoing)? {
            self.wait_for_room(chain, deadline)?;
        }
        Ok(())
    }

    /// Calls one way and does not wait. True where it should be waited for room before there is more to say.
    pub(crate) fn notify_at_once(&self, outgoing: OutCall<'_>) -> Result<bool> {
        self.check_fork()?;
        self.send_notify(self.lock(), outgoing, None)
    }

    /// Passes a one-way call on that came on another connection, under that number. Never waits.
    pub(crate) fn pass_on(
        &self,
        state: MutexGuard<'_, State>,
        outgoing: OutCall<'_>,
        from: Option<(&Arc<Link>, u64)>,
    ) -> Result<()> {
        if state.session.is_congested() {
            drop(state);
            let text = "the object's process does not read what is sent to it; this call did not run, try again later";
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        self.send_notify(state, outgoing, from).map(drop)
    }

    /// True where it is not on its way yet.
    fn send_notify(
        &self,
        mut state: MutexGuard<'_, State>,
        outgoing: OutCall<'_>,
        from: Option<(&Arc<Link>, u64)>,
    ) -> Result<bool> {
        let OutCall { callee, method, chain, deadline, annotations, parcel } = outgoing;
        let mut todo = Todo::default();
        let (target, promise) = self.callee(&state, callee)?;
        let sent = self.outgoing(&mut state, parcel, &mut todo).and_then(|(arguments, items)| {
            todo.drop_items(items); // the session refuses what is streamed one way
            let refs = arguments.refs.clone();
            let request = CallRequest { target, promise, method, chain, deadline, annotations, arguments };
            state.session.notify(Instant::now(), request).map_err(|failure| {
                self.forget_unsent(&mut state, &refs, &mut todo);
                state.ended_or(failure.into())
            })
        });
        if let (Ok(id), Some((back, back_id))) = (&sent, from) {
            if state.passed_on.len() == PASSED_ON_KEPT {
                state.passed_on.pop_front();
            }
            state.passed_on.push_back(PassedOn { id: *id, back: Arc::downgrade(back), back_id });
        }
        if let (Ok(id), None, Some(_)) = (&sent, from, engine::failed_notifies()) {
            if state.notified.len() == NOTIFIED_KEPT {
                state.notified.pop_front();
            }
            state.notified.push_back((*id, method.into()));
        }
        if !wait::is_batching(self) || state.session.is_congested() {
            todo.extend(self.flush(&mut state));
        }
        self.arm(&mut state);
        let sent = sent.and_then(|_| match &state.ended {
            Some(ended) => Err(Error::new(ErrorKind::Unavailable, ended.message().to_owned())),
            None => Ok(state.lacks_room() && !wait::is_batching(self) || state.session.is_congested()),
        });
        drop(state);
        todo.run();
        sent
    }

    /// Gives a call up.
    pub(crate) fn cancel(&self, id: u64) {
        if self.check_fork().is_err() {
            return;
        }
        let mut state = self.lock();
        state.session.cancel(id);
        let mut todo = self.digest(&mut state);
        if state.reader && state.calls.contains_key(&id) {
            state.session.ping(&[]); // whoever waits for it may sleep in a read, and wakes when something comes
        }
        todo.extend(self.flush(&mut state));
        self.arm(&mut state);
        drop(state);
        todo.run();
    }

    /// Forgets a call whose outcome nobody wants, and does not give it up.
    pub(crate) fn forget(&self, id: u64) {
        if self.check_fork().is_ok() {
            let outcome = self.lock().calls.remove(&id);
            drop(outcome);
        }
    }

    /// Gives a call up whose outcome nobody wants.
    pub(crate) fn abandon(&self, id: u64) {
        if self.check_fork().is_err() {
            return;
        }
        let unanswered = self.lock().calls.get(&id).is_some_and(|call| call.outcome.is_none());
        if unanswered {
            self.cancel(id);
        }
        let outcome = self.lock().calls.remove(&id);
        drop(outcome);
    }

    /// Answers a call of the peer.
    pub(crate) fn answer(&self, id: u64, outcome: Result<OutParcel<'_>>) {
        let mut state = self.lock();
        let mut todo = Todo::default();
        let mut handled = state.handling.remove(&id);
        let dependents = handled.as_mut().map(|handled| std::mem::take(&mut handled.dependents));
        let promised = dependents.filter(|dependents| !dependents.is_empty()).map(|dependents| {
            let object = match &outcome {
                Ok(parcel) => Ok(only_object(parcel.codec, parcel.body.as_bytes(), &parcel.targets)),
                Err(error) => Err(error.to_failure().into()),
            };
            (dependents, object)
        });
        match outcome {
            Ok(parcel) if handled.as_ref().is_none_or(|handled| handled.notify) => {
                todo.drop_targets(parcel.targets);
                state.session.done(id);
            }
            Ok(parcel) => match self.outgoing(&mut state, parcel, &mut todo) {
                Ok((result, items)) => {
                    let refs = result.refs.clone();
                    state.session.reply(id, result);
                    let stream = StreamId { own: false, call: id };
                    match items {
                        Some(items) if state.session.is_streaming(stream) => {
                            self.open_outflow(&mut state, stream, items);
                        }
                        items => todo.drop_items(items), // nobody is there to take them
                    }
                    self.forget_unsent(&mut state, &refs, &mut todo); // if it could not be sent
                }
                Err(error) => state.session.fail(id, &error.to_failure()),
            },
            Err(error) => state.session.fail(id, &error.to_failure()),
        }
        if let Some((dependents, object)) = promised {
            self.settle_dependents(&mut state, dependents, &object, &mut todo);
        }
        // While a thread of the pool has more calls to run the answers are sent together; see `Pool::run_calls`.
        let held = state.holding > 0 || state.runners > 0 && state.has_calls();
        if !held || state.session.queued() > SEND_FROM {
            todo.extend(self.flush(&mut state));
        }
        self.arm(&mut state);
        drop(state);
        drop(handled);
        todo.run();
    }

    /// Tells the peer that a one-way call of its own, which was passed on, failed.
    pub(super) fn tell_failed(&self, id: u64, failure: &Failure) {
        let mut state = self.lock();
        state.session.notify_failed(id, failure);
        let todo = self.flush(&mut state);
        self.arm(&mut state);
        drop(state);
        todo.run();
    }
}

/// A one-way call that came on another connection.
pub(super) struct PassedOn {
    /// Its number here.
    pub(super) id: u64,
    /// Where it came from, and its number there.
    pub(super) back: Weak<Link>,
    pub(super) back_id: u64,
}

/// Of so many one-way calls it is known what was called.
const NOTIFIED_KEPT: usize = 1024;

/// Of so many one-way calls that were passed on, a late failure still finds its way.
const PASSED_ON_KEPT: usize = 1024;

/// What is called, at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Callee {
    Object(u64),
    /// What this own call will give.
    ResultOf(u64),
}

/// A call on its way out.
pub(crate) struct OutCall<'a> {
    pub(crate) callee: Callee,
    pub(crate) method: &'a str,
    pub(crate) chain: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) annotations: Annotations,
    pub(crate) parcel: OutParcel<'a>,
}

/// A parcel on its way out; small bodies are borrowed.
pub(crate) struct OutParcel<'a> {
    pub(crate) codec: u8,
    pub(crate) body: Body<'a>,
    pub(crate) targets: Vec<crate::target::Target>,
    pub(crate) attached: Vec<Attached>,
    pub(crate) stream: Option<Box<dyn Items>>,
}

impl OutParcel<'_> {
    pub(crate) fn into_parcel(self) -> Parcel {
        let OutParcel { codec, body, targets, attached, stream } = self;
        let stream = stream.map(|stream| Box::new(Mutex::new(Some(stream))));
        Parcel { codec, body: body.into_bytes(), targets, attached, stream }
    }
}

impl From<Parcel> for OutParcel<'_> {
    fn from(parcel: Parcel) -> Self {
        let Parcel { codec, body, targets, attached, stream } = parcel;
        let stream = stream.and_then(|stream| lock(&stream).take());
        OutParcel { codec, body: Body::Shared(body), targets, attached, stream }
    }
}
