//! Whose turn it is at one object: `&self` methods run at the same time, `&mut self` methods one by one, in the order in which they came.
//!
//! Who has to wait occupies no thread: its job is parked here, and whoever leaves gets the jobs that may run now.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::Access;
use crate::sync::lock;

/// The queue in front of one object. `J` is what is parked.
#[derive(Debug)]
pub(crate) struct Turnstile<J> {
    turns: Mutex<Turns<J>>,
}

#[derive(Debug)]
struct Turns<J> {
    /// The call chains inside; with `exclusive` there is exactly one.
    inside: Vec<u64>,
    exclusive: bool,
    waiting: VecDeque<(Access, u64, J)>,
}

/// What came of entering.
#[derive(Debug)]
pub(crate) enum Entered<J> {
    /// Run it, then [`Turnstile::leave`].
    Now(J),
    /// Somebody who leaves will get it.
    Parked,
    /// Its own chain is inside: waiting would be for ever.
    Reentrant(J),
}

impl<J> Default for Turnstile<J> {
    fn default() -> Self {
        Turnstile {
            turns: Mutex::new(Turns { inside: Vec::new(), exclusive: false, waiting: VecDeque::new() }),
        }
    }
}

impl<J> Turnstile<J> {
    /// Takes a turn or a place in the queue. `chain` 0 belongs to nobody.
    pub(crate) fn enter(&self, access: Access, chain: u64, job: J) -> Entered<J> {
        let mut turns = lock(&self.turns);
        let own_chain = chain != 0 && turns.inside.contains(&chain);
        if own_chain && (turns.exclusive || access == Access::Exclusive) {
            return Entered::Reentrant(job);
        }
        // A chain that is inside already is not held up by those who wait for it to leave.
        if turns.admits(access) && (turns.waiting.is_empty() || own_chain) {
            turns.admit(access, chain);
            return Entered::Now(job);
        }
        turns.waiting.push_back((access, chain, job));
        Entered::Parked
    }

    /// Ends a turn of this chain. What it gives back has entered and is to be run.
    pub(crate) fn leave(&self, chain: u64) -> Vec<J> {
        let mut turns = lock(&self.turns);
        if let Some(index) = turns.inside.iter().position(|&inside| inside == chain) {
            turns.inside.swap_remove(index);
        }
        turns.exclusive = false; // an exclusive turn was the only one
        let mut next = Vec::new();
        while let Some((access, chain, _)) = turns.waiting.front() {
            let (access, chain) = (*access, *chain);
            if !turns.admits(access) {
                break;
            }
            turns.admit(access, chain);
            next.extend(turns.waiting.pop_front().map(|(_, _, job)| job));
        }
        next
    }
}

impl<J> Turns<J> {
    fn admits(&self, access: Access) -> bool {
        !self.exclusive && (access == Access::Shared || self.inside.is_empty())
    }

    fn admit(&mut self, access: Access, chain: u64) {
        self.inside.push(chain);
        self.exclusive = access == Access::Exclusive;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered<J: std::fmt::Debug>(entered: Entered<J>) -> bool {
        match entered {
            Entered::Now(_) => true,
            Entered::Parked => false,
            Entered::Reentrant(job) => panic!("{job:?} is reentrant"),
        }
    }

    #[test]
    fn shared_turns_overlap_and_exclusive_ones_wait_in_order() {
        let turnstile = Turnstile::default();
        assert!(entered(turnstile.enter(Access::Shared, 1, "a")));
        assert!(entered(turnstile.enter(Access::Shared, 2, "b")));
        assert!(!entered(turnstile.enter(Access::Exclusive, 3, "c")));
        assert!(!entered(turnstile.enter(Access::Shared, 4, "d")), "nobody overtakes");
        assert!(!entered(turnstile.enter(Access::Shared, 5, "e")));
        assert!(turnstile.leave(1).is_empty());
        assert_eq!(turnstile.leave(2), ["c"]);
        assert_eq!(turnstile.leave(3), ["d", "e"]);
    }

    #[test]
    fn a_chain_that_holds_an_object_is_told_instead_of_waiting() {
        let turnstile = Turnstile::default();
        assert!(entered(turnstile.enter(Access::Exclusive, 7, "a")));
        assert!(matches!(turnstile.enter(Access::Shared, 7, "b"), Entered::Reentrant("b")));
        assert!(turnstile.leave(7).is_empty());
        assert!(entered(turnstile.enter(Access::Shared, 7, "c")));
        assert!(matches!(turnstile.enter(Access::Exclusive, 7, "d"), Entered::Reentrant("d")));
        assert!(!entered(turnstile.enter(Access::Exclusive, 8, "e")));
        assert!(entered(turnstile.enter(Access::Shared, 7, "f")), "it would wait for itself behind e");
        assert!(turnstile.leave(7).is_empty());
        assert_eq!(turnstile.leave(7), ["e"]);
    }

    #[test]
    fn calls_of_no_chain_are_never_reentrant() {
        let turnstile = Turnstile::default();
        assert!(entered(turnstile.enter(Access::Exclusive, 0, "a")));
        assert!(!entered(turnstile.enter(Access::Exclusive, 0, "b")));
        assert_eq!(turnstile.leave(0), ["b"]);
    }
}
