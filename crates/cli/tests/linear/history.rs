//! What happened to the store as its clients saw it: operations, when they began and ended, and what they were answered.
//!
//! All times are nanoseconds of the clock that every process of this machine shares and nobody can set.

use serde::{Deserialize, Serialize};

/// What is asked of one entry. Values are numbers; no two operations set the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Op {
    /// Reads it, also from what the client remembers.
    Get,
    /// Reads it, and may be told what it was so many nanoseconds ago.
    GetWithin { age: u64 },
    /// Reads it, and always asks the daemon.
    Ask,
    /// Sets it for good.
    Set { value: i64 },
    /// Sets it for a time in nanoseconds.
    SetFor { value: i64, ttl: u64 },
    /// Sets it for good if it has this version; 0: if it is missing.
    SetIf { value: i64, version: u64 },
    /// Sets it for good, and to be there again in the next daemon.
    Keep { value: i64 },
    /// Has it be there again in the next daemon, or not any more, as it is.
    Persist { persist: bool },
    /// Takes it out and gives what was there.
    Delete,
    /// Takes it out if it has this version.
    DeleteIf { version: u64 },
    /// Adds to it; to 0 where it is missing. It expires when it did before.
    Incr { by: i64 },
    /// The daemon ended and another one began, which remembers what was to be kept and nothing else. From the signal that killed the one to the moment the other was ready.
    Restart,
}

impl Op {
    /// Whether it changes nothing.
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Op::Get | Op::GetWithin { .. } | Op::Ask)
    }

    /// Whether what is there before makes no difference to what is there behind it.
    pub(crate) fn overwrites(self) -> bool {
        matches!(self, Op::Set { .. } | Op::SetFor { .. } | Op::Keep { .. } | Op::Delete)
    }
}

/// What an operation was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A read or a deletion found this.
    Found { value: i64, version: u64 },
    /// A read or a deletion found nothing.
    Missing,
    /// The value is set and has this version.
    Written { version: u64 },
    /// The number is this now.
    Counted { value: i64 },
    /// The entry had another version than the operation asked for.
    Conflict,
    /// It is done, and there is nothing to tell.
    Done,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// With an answer.
    Answered { at: u64, answer: Answer },
    /// Without: it may have happened or not, and may happen still as long as the daemon lives that had it at this time, when nobody could
    /// send it any more.
    Lost { at: u64 },
}

/// One operation on one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Who did it: the number of a process and of a thread in it.
    pub(crate) by: (u32, u32),
    pub(crate) key: u32,
    pub(crate) op: Op,
    pub(crate) begun: u64,
    pub(crate) end: End,
}

impl Event {
    /// The first moment at which it may happen.
    pub(crate) fn earliest(&self) -> u64 {
        match self.op {
            Op::GetWithin { age } => self.begun.saturating_sub(age),
            _ => self.begun,
        }
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Event { by, key, op, begun, end } = self;
        let (at, ended) = match end {
            End::Answered { at, answer } => (at, format!("{answer:?}")),
            End::Lost { at } => (at, "no answer".to_owned()),
        };
        write!(f, "{begun:>16} to {at:>16}  {by:?}  entry {key}: {op:?} -> {ended}")
    }
}

/// The time now.
pub(crate) fn now() -> u64 {
    andiron_sys::clock::since_boot().as_nanos() as u64
}
