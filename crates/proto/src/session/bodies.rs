//! Long bodies that are coming in (`spec/PROTOCOL.md`, section 6).
//!
//! Credit is given to one body after the other for its whole rest, so that half-received bodies never wait for each other. Memory is
//! taken as the bytes arrive, not as they are announced, and none for a body that nobody wants.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::ids::IdMap;

#[derive(Debug)]
struct Receiving<T> {
    /// What waits for this body.
    message: T,
    data: Vec<u8>,
    total: u64,
    credit: u64,
}

/// The bodies under way. Their number is bounded by that of the calls they belong to.
#[derive(Debug)]
pub(crate) struct Bodies<T> {
    receiving: IdMap<Receiving<T>>,
    last: u64,
    /// Bodies that want credit. The first one has it all; their numbers are in the order they came.
    waiting: BTreeSet<u64>,
    window: u64,
}

/// A message and its body.
pub(crate) type Complete<T> = (T, Bytes);

/// Credit to be granted: body and bytes.
pub(crate) type Grant = (u64, u64);

impl<T> Bodies<T> {
    pub(crate) fn new(window: u32) -> Bodies<T> {
        Bodies { receiving: IdMap::default(), last: 0, waiting: BTreeSet::new(), window: window.into() }
    }

    /// A body begins for which `message` waits.
    pub(crate) fn begin(
        &mut self,
        body: u64,
        total: u64,
        beginning: &[u8],
        message: T,
    ) -> Result<Option<Grant>, String> {
        self.announce(body, total, beginning)?;
        self.receiving
            .insert(body, Receiving { message, data: beginning.to_vec(), total, credit: self.window });
        if total <= self.window {
            return Ok(None);
        }
        self.waiting.insert(body);
        Ok(if self.waiting.len() == 1 { self.grant_first() } else { None })
    }

    /// A body begins that nobody wants: its chunks will be skipped, it gets no credit.
    pub(crate) fn announce(&mut self, body: u64, total: u64, beginning: &[u8]) -> Result<(), String> {
        if body <= self.last {
            return Err(format!("body {body} comes after body {}", self.last));
        }
        self.last = body;
        let received = beginning.len() as u64;
        if total <= received {
            return Err("a long body is complete in its first frame".to_owned());
        }
        if received > self.window {
            return Err(format!(
                "body {body} begins with {received} bytes, more than the window of {}",
                self.window
            ));
        }
        Ok(())
    }

    /// A piece of a chunk, of which `left` bytes are still to come: a chunk that is too long is refused before any of it is taken.
    /// The message with its body, when that is complete; and credit for the next.
    pub(crate) fn piece(
        &mut self,
        body: u64,
        piece: &[u8],
        left: usize,
    ) -> Result<(Option<Complete<T>>, Option<Grant>), String> {
        let Some(receiving) = self.receiving.get_mut(&body) else {
            return self.known(body).map(|()| (None, None));
        };
        let received = (receiving.data.len() + piece.len()) as u64;
        if received + left as u64 > receiving.total.min(receiving.credit) {
            return Err(format!("body {body} is longer than announced or than its credit"));
        }
        receiving.data.extend_from_slice(piece);
        if received < receiving.total {
            return Ok((None, None));
        }
        let arrived = self.receiving.remove(&body).map(|done| (done.message, done.data.into()));
        Ok((arrived, self.next_grant(body)))
    }

    /// The sender gives a body up: what waited for it, and credit for the next.
    pub(crate) fn abort(&mut self, body: u64) -> Result<(Option<T>, Option<Grant>), String> {
        self.known(body)?;
        Ok(self.forget(body))
    }

    /// The rest of a body is not wanted any more: what waited for it, and credit for the next.
    pub(crate) fn forget(&mut self, body: u64) -> (Option<T>, Option<Grant>) {
        (self.receiving.remove(&body).map(|receiving| receiving.message), self.next_grant(body))
    }

    fn known(&self, body: u64) -> Result<(), String> {
        if body == 0 || body > self.last {
            Err(format!("a chunk of body {body}, which never began"))
        } else {
            Ok(())
        }
    }

    fn next_grant(&mut self, done: u64) -> Option<Grant> {
        let was_first = self.waiting.first() == Some(&done);
        self.waiting.remove(&done);
        if was_first { self.grant_first() } else { None }
    }

    fn grant_first(&mut self) -> Option<Grant> {
        let first = *self.waiting.first()?;
        let receiving = self.receiving.get_mut(&first)?;
        let amount = receiving.total - receiving.credit;
        receiving.credit = receiving.total;
        Some((first, amount))
    }

    /// Forgets everything: the session is over.
    pub(crate) fn clear(&mut self) {
        self.receiving.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_goes_to_one_body_after_the_other() {
        let mut bodies = Bodies::new(10);
        assert_eq!(bodies.begin(1, 100, b"0123", "a"), Ok(Some((1, 90))));
        assert_eq!(bodies.begin(2, 50, b"", "b"), Ok(None));
        assert!(bodies.piece(2, &[0; 11], 0).is_err(), "no credit yet");
        assert!(bodies.piece(1, &[0; 96], 1).is_err(), "the whole chunk counts");
        let (arrived, grant) = bodies.piece(1, &[0; 96], 0).unwrap();
        assert_eq!(arrived.map(|(message, body)| (message, body.len())), Some(("a", 100)));
        assert_eq!(grant, Some((2, 40)));
    }

    #[test]
    fn an_aborted_body_passes_its_turn_on() {
        let mut bodies = Bodies::new(0);
        assert_eq!(bodies.begin(1, 100, b"", "a"), Ok(Some((1, 100))));
        assert_eq!(bodies.begin(2, 50, b"", "b"), Ok(None));
        assert_eq!(bodies.abort(1), Ok((Some("a"), Some((2, 50)))));
        assert_eq!(bodies.abort(1), Ok((None, None)), "late");
        assert!(bodies.abort(3).is_err(), "never began");
        assert!(bodies.begin(2, 50, b"", "again").is_err());
    }

    #[test]
    fn more_than_the_window_is_not_sent_unasked() {
        let mut bodies = Bodies::new(10);
        assert!(bodies.begin(1, 100, &[0; 11], "a").is_err());
        assert!(bodies.begin(2, 10, &[0; 10], "b").is_err(), "nothing is left for chunks");
    }

    #[test]
    fn bytes_that_nobody_wants_are_skipped_and_leave_nothing_behind() {
        let mut bodies = Bodies::<()>::new(10);
        bodies.announce(1, 20, b"").unwrap();
        assert_eq!(bodies.piece(1, &[0; 10], 0), Ok((None, None)));
        assert!(bodies.receiving.is_empty() && bodies.waiting.is_empty());
    }
}
