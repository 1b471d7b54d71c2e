//! Calls of objects that are not known yet: of the results of calls that are not answered (`spec/PROTOCOL.md`, section 4).

use std::collections::VecDeque;

use super::Session;
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

/// What became of calls of the peer that can be the target of a promise: the latest ones, by number of the call. Nothing is kept of results
/// that are not one reference.
#[derive(Debug, Default)]
pub(super) struct Kept(VecDeque<(u64, Result<Ref, Failure>)>);

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
        if self.own.get(&of).is_none_or(|call| call.abandoned) {
            let text = "the call that was to give this object is not under way any more";
            return Err(Failure::new(ErrorKind::NoObject, text));
        }
        Ok(())
    }

    /// Remembers an answer, for calls that are under way to what it gives.
    pub(super) fn keep_promise(&mut self, call: u64, outcome: Result<(&[Ref], &Body<'_>), &Failure>) {
        let kept = match outcome {
            Ok((&[object], body)) if body.as_bytes() == codec::FIRST_REFERENCE => Ok(object),
            Ok(_) => return,
            Err(failure) => Err(shortened(failure)),
        };
        if !self.peer.knows(PROMISES) {
            return;
        }
        if self.kept.0.len() == MOST_KEPT {
            self.kept.0.pop_front();
        }
        self.kept.0.push_back((call, kept));
    }

    /// What became of a call of the peer that this end answered: its object, or its failure; `None` where it is neither, or forgotten.
    pub fn kept(&self, of: u64) -> Option<&Result<Ref, Failure>> {
        self.kept.0.iter().rev().find(|(number, _)| *number == of).map(|(_, kept)| kept)
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
        Ok(match self.kept(of) {
            Some(Ok(Ref::Local(object))) => Ok(Called { target: *object, promise: false, depth: 0 }),
            Some(Ok(Ref::Remote(_))) => {
                let text = "the promised object is one of the caller itself; this call did not run";
                Err(Failure::new(ErrorKind::Unsupported, text))
            }
            Some(Err(failure)) => Err(failure.clone()),
            None => Err(not_one_reference()),
        })
    }
}

fn not_one_reference() -> Failure {
    let text = "the result of the earlier call is not a single object; this call did not run";
    Failure::new(ErrorKind::BadArguments, text)
}

fn shortened(failure: &Failure) -> Failure {
    let FailureDetail { message, type_name, .. } = &failure.detail;
    let short = |text: &str| text.chars().take(MOST_TEXT).collect::<String>().into();
    let detail = FailureDetail { message: short(message), type_name: short(type_name), trace: Vec::new() };
    Failure { kind: failure.kind, detail }
}
