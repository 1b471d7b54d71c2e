//! Calls of objects that are not known yet: of the results of calls that are not answered (`spec/PROTOCOL.md`, section 4).

use std::collections::VecDeque;

use super::{IncomingCall, Session};
use crate::codec;
use crate::failure::{ErrorKind, Failure, FailureDetail};
use crate::message::{Body, Ref};

/// The feature by which an end says that it knows promises.
pub const PROMISES: &str = "promises";

/// So many calls may depend on each other in a row.
const DEEPEST: u8 = 16;
/// Of so many answers it is remembered what a promise of them means.
const MOST_KEPT: usize = 1024;
/// Characters of a failure that are remembered.
const MOST_TEXT: usize = 500;

/// What is kept for promises that the peer calls.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What became of calls of the peer that can be the target of a promise: the latest ones, by number of the call. Nothing is kept of
    /// results that are not one reference.
    answers: VecDeque<(u64, Result<Ref, Failure>)>,
    /// Calls of what others will give that are not here whole, so that nobody knows of those yet.
    early: Vec<IncomingCall>,
}

impl Kept {
    pub(super) fn clear(&mut self) {
        *self = Kept::default();
    }
}

/// What a call of the peer calls.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) target: u64,
    pub(super) promise: bool,
    pub(super) depth: u8,
}

impl Session {
    /// Whether a call of a promised object can be made.
    pub(super) fn check_promise(&self, of: u64) -> Result<(), Failure> {
        if !self.peer.knows(PROMISES) {
            return Err(Failure::new(ErrorKind::Unsupported, "the other end does not know promises"));
        }
        if !self.is_under_way(of) {
            let text = "the call that was to give this object is not under way any more";
            return Err(Failure::new(ErrorKind::NoObject, text));
        }
        Ok(())
    }

    /// True while this own call is neither answered nor given up.
    pub fn is_under_way(&self, call: u64) -> bool {
        self.own.get(&call).is_some_and(|call| !call.abandoned)
    }

    /// Remembers an answer, for calls that are under way to what it gives.
    pub(super) fn keep_promise(&mut self, call: u64, outcome: Result<(&[Ref], &Body<'_>), &Failure>) {
        let kept = match outcome {
            Ok((&[object], body)) if body.as_bytes() == codec::FIRST_REFERENCE => Ok(object),
            Ok(_) => return,
            Err(failure) => Err(shortened(failure)),
        };
        if !self.lists(PROMISES) {
            return;
        }
        if self.kept.answers.len() == MOST_KEPT {
            self.kept.answers.pop_front();
        }
        self.kept.answers.push_back((call, kept));
    }

    /// What became of a call of the peer that this end answered: its object, or its failure; `None` where it is neither, or forgotten.
    pub fn kept(&self, of: u64) -> Option<&Result<Ref, Failure>> {
        self.kept.answers.iter().rev().find(|(number, _)| *number == of).map(|(_, kept)| kept)
    }

    /// What a call with the number `call` calls that is to go to the result of the peer's call `of`. The outer error is the sentence for
    /// the peer.
    pub(super) fn promised(&self, of: u64, call: u64) -> Result<Result<Called, Failure>, String> {
        if of == 0 || of >= call {
            return Err(format!("call {call} depends on call {of}, which is not an earlier one"));
        }
        if let Some(earlier) = self.theirs.get(&of) {
            let depth = earlier.depth + 1;
            return Ok(if earlier.notify {
                Err(not_one_reference())
            } else if depth > DEEPEST {
                let text = format!("more than {DEEPEST} calls depend on each other; this one did not run");
                Err(Failure::new(ErrorKind::Overloaded, text))
            } else {
                Ok(Called { target: of, promise: true, depth })
            });
        }
        Ok(self.given(of).map(|target| Called { target, promise: false, depth: 0 }))
    }

    /// The object that the peer's call `of` gave, or why what depends on it does not run.
    fn given(&self, of: u64) -> Result<u64, Failure> {
        match self.kept(of) {
            Some(Ok(Ref::Local(object))) => Ok(*object),
            Some(Ok(Ref::Remote(_))) => {
                let text = "the promised object is one of the caller itself; this call did not run";
                Err(Failure::new(ErrorKind::Unsupported, text))
            }
            Some(Err(failure)) => Err(failure.clone()),
            None => Err(not_one_reference()),
        }
    }

    /// What a call of a promise calls now that it is here whole: meanwhile the earlier one may have been answered, or may not be here yet.
    /// `None` where it waits for that, or has failed.
    pub(super) fn settle_promise(&mut self, mut call: IncomingCall) -> Option<IncomingCall> {
        if !call.promise {
            return Some(call);
        }
        match self.theirs.get(&call.target) {
            Some(earlier) if earlier.told => return Some(call),
            Some(_) => {
                self.kept.early.push(call);
                return None;
            }
            None => {}
        }
        match self.given(call.target) {
            Ok(object) => {
                (call.target, call.promise) = (object, false);
                Some(call)
            }
            Err(failure) => {
                self.discard(&call.payload.refs);
                self.fail(call.id, &failure);
                self.tell_dependents(call.id);
                None
            }
        }
    }

    /// A call of the peer was handed on, or will not be: what depends on it need not wait for that any more. At most `DEEPEST` in a row.
    pub(super) fn tell_dependents(&mut self, of: u64) {
        if self.kept.early.is_empty() {
            return; // as mostly
        }
        let (of_it, others) =
            std::mem::take(&mut self.kept.early).into_iter().partition(|call| call.target == of);
        self.kept.early = others;
        let of_it: Vec<IncomingCall> = of_it;
        of_it.into_iter().for_each(|call| self.tell_call(call));
    }

    /// A call that waits for an earlier one to be here is not wanted any more.
    pub(super) fn forget_dependent(&mut self, id: u64) {
        if let Some(index) = self.kept.early.iter().position(|call| call.id == id) {
            let call = self.kept.early.remove(index);
            self.discard(&call.payload.refs);
        }
    }
}

fn not_one_reference() -> Failure {
    let text = "the result of the earlier call is not a single object; this call did not run";
    Failure::new(ErrorKind::BadArguments, text)
}

fn shortened(failure: &Failure) -> Failure {
    let FailureDetail { message, type_name, .. } = &failure.detail;
    let short = |text: &str| text.chars().take(MOST_TEXT).collect::<String>().into();
    let detail =
        FailureDetail { message: short(message), type_name: short(type_name), ..FailureDetail::default() };
    Failure { kind: failure.kind, detail }
}
