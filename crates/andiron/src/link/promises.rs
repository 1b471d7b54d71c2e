//! Calls of what an earlier call will give (`spec/PROTOCOL.md`, section 4): held until that is known, or passed on with it.

use std::sync::{Arc, MutexGuard, Weak};

use andiron_proto::Ref;
use andiron_proto::codec::FIRST_REFERENCE;

use super::events::Do;
use super::{Callee, Link, State, Todo};
use crate::call::{Call, Parcel};
use crate::object::{Object, Relay};
use crate::target::Target;
use crate::{Error, ErrorKind, Result};

/// The object that a result is, where it is nothing else.
pub(crate) fn only_object(codec: u8, body: &[u8], targets: &[Target]) -> Option<Target> {
    match targets {
        [target] if codec == andiron_proto::wire::codecs::NATIVE && body == FIRST_REFERENCE => {
            Some(target.clone())
        }
        _ => None,
    }
}

/// The error of a call whose earlier call gave something else than an object.
pub(crate) fn no_object() -> Error {
    let text = "the result of the earlier call is not a single object; this call did not run";
    Error::new(ErrorKind::BadArguments, text)
}

impl Link {
    /// A call came of what the peer's unanswered call `of` will give.
    pub(super) fn on_promised(&self, state: &mut State, of: u64, call: Call, todo: &mut Todo) {
        let Some(handling) = state.handling.get_mut(&of) else {
            return todo.refuse(call, no_object());
        };
        match &handling.passed_to {
            Some((to, number)) => todo.push(Do::PassOn { call, of, to: to.clone(), number: *number }),
            None => handling.dependents.push(call),
        }
    }

    /// A call of the peer was passed on to another connection, under this number there: what depends on it follows.
    pub(crate) fn passed_on(&self, id: u64, to: &Weak<Link>, number: u64) {
        let mut state = self.lock();
        let Some(handling) = state.handling.get_mut(&id) else { return };
        handling.passed_to = Some((to.clone(), number));
        let dependents = std::mem::take(&mut handling.dependents);
        drop(state);
        for call in dependents {
            call.forward_to_promise(id, to, number);
        }
    }

    /// A call of what the peer's call `of` gave, which was answered meanwhile.
    pub(crate) fn start_kept(&self, of: u64, call: Call) {
        let mut state = self.lock();
        if let Some(handling) = state.handling.get_mut(&of) {
            // By the provider, and whoever read that is about to pass it back here.
            return handling.dependents.push(call);
        }
        let mut todo = Todo::default();
        let kept = state.session.kept(of).cloned();
        let object = match kept {
            Some(Ok(Ref::Local(object))) => state.objects.shown(object).ok_or_else(no_object),
            Some(Err(failure)) => Err(failure.into()),
            _ => Err(no_object()),
        };
        match object {
            Ok(object) => self.start_call(&mut state, object, call, &mut todo),
            Err(error) => todo.refuse(call, error),
        }
        self.dispatch(&mut state);
        drop(state);
        todo.run();
    }

    /// What became of a call that others depend on.
    pub(super) fn settle_dependents(
        &self,
        state: &mut State,
        dependents: Vec<Call>,
        outcome: &Result<Option<Target>>,
        todo: &mut Todo,
    ) {
        for call in dependents {
            match outcome {
                Ok(Some(target)) => {
                    let object: Arc<dyn Object> = match target {
                        Target::Local(object) => object.clone(),
                        Target::Remote(remote) => Arc::new(Relay(remote.clone())),
                        Target::Promised(_) => return todo.refuse(call, no_object()),
                    };
                    self.start_call(state, object, call, todo);
                }
                Ok(None) => todo.refuse(call, no_object()),
                Err(error) => todo.refuse(call, error.to_failure().into()),
            }
        }
        self.dispatch(state);
    }

    /// What is called: an object, or with `true` the result of an own call that is not answered.
    pub(super) fn callee(&self, state: &State, callee: Callee) -> Result<(u64, bool)> {
        let call = match callee {
            Callee::Object(object) => return Ok((object, false)),
            Callee::ResultOf(call) => call,
        };
        match state.calls.get(&call).and_then(|call| call.outcome.as_ref()) {
            None => Ok((call, true)),
            Some(Err(error)) => Err(error.to_failure().into()),
            Some(Ok(parcel)) => match only_object(parcel.codec, &parcel.body, &parcel.targets) {
                Some(Target::Remote(remote)) if std::ptr::eq(&*remote.link, self) => Ok((remote.id, false)),
                _ => Err(no_object()),
            },
        }
    }

    /// Guards the state for a call of this; `None` where it is the result of a call that is not under way any more.
    pub(crate) fn lock_for(&self, callee: Callee) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        match callee {
            Callee::ResultOf(call) if !state.session.is_under_way(call) => None,
            _ => Some(state),
        }
    }

    /// The answer to an own call, if it is there and nobody has taken it.
    pub(crate) fn take_answer(&self, id: u64) -> Option<Result<Parcel>> {
        let mut state = self.lock();
        let outcome = state.calls.get_mut(&id)?.outcome.take()?;
        state.calls.remove(&id);
        Some(outcome)
    }
}
