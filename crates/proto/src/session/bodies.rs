//! Long bodies that are coming in (`spec/PROTOCOL.md`, section 6).
//!
//! Credit is given to one body after the other for its whole rest, so that half-received bodies never wait for each other. Memory is
//! taken as the bytes arrive, not as they are announced.

use std::collections::VecDeque;

use bytes::Bytes;

use super::ids::IdMap;

/// What a finished body is handed back with.
#[derive(Debug)]
pub(crate) struct Arrived<T> {
    pub(crate) message: Option<T>,
    pub(crate) body: Bytes,
}

#[derive(Debug)]
struct Receiving<T> {
    /// What waits for this body; `None`: nobody, its bytes are dropped.
    message: Option<T>,
    data: Vec<u8>,
    received: u64,
    total: u64,
    credit: u64,
}

#[derive(Debug)]
pub(crate) struct Bodies<T> {
    receiving: IdMap<Receiving<T>>,
    last: u64,
    /// Bodies that want credit, in the order they came; the first one has it all.
    waiting: VecDeque<u64>,
    window: u64,
}

/// Credit to be granted: body and bytes.
pub(crate) type Grant = (u64, u64);

impl<T> Bodies<T> {
    pub(crate) fn new(window: u32) -> Bodies<T> {
        Bodies { receiving: IdMap::default(), last: 0, waiting: VecDeque::new(), window: window.into() }
    }

    /// A body begins. `message: None` where its bytes are not wanted.
    pub(crate) fn begin(
        &mut self,
        body: u64,
        total: u64,
        beginning: &[u8],
        message: Option<T>,
    ) -> Result<Option<Grant>, String> {
        let received = beginning.len() as u64;
        if body <= self.last {
            return Err(format!("body {body} comes after body {}", self.last));
        }
        if total <= received {
            return Err("a long body is complete in its first frame".to_owned());
        }
        self.last = body;
        let data = if message.is_some() { beginning.to_vec() } else { Vec::new() };
        let credit = self.window.max(received);
        let wants = message.is_some() && credit < total;
        self.receiving.insert(body, Receiving { message, data, received, total, credit });
        if !wants {
            return Ok(None);
        }
        self.waiting.push_back(body);
        Ok(if self.waiting.len() == 1 { self.grant_first() } else { None })
    }

    /// A piece of a chunk. The body, when it is complete; and credit for the next.
    pub(crate) fn piece(
        &mut self,
        body: u64,
        piece: &[u8],
    ) -> Result<(Option<Arrived<T>>, Option<Grant>), String> {
        let receiving = self.receiving.get_mut(&body).ok_or_else(|| format!("a chunk of no body: {body}"))?;
        receiving.received += piece.len() as u64;
        if receiving.received > receiving.total || receiving.received > receiving.credit {
            return Err(format!("body {body} is longer than announced or than its credit"));
        }
        if receiving.message.is_some() {
            receiving.data.extend_from_slice(piece);
        }
        if receiving.received < receiving.total {
            return Ok((None, None));
        }
        let arrived = self
            .receiving
            .remove(&body)
            .map(|done| Arrived { message: done.message, body: done.data.into() });
        Ok((arrived, self.next_grant(body)))
    }

    /// The sender gives a body up: what waited for it, and credit for the next.
    pub(crate) fn abort(&mut self, body: u64) -> Result<(Option<T>, Option<Grant>), String> {
        let receiving = self.receiving.remove(&body).ok_or_else(|| format!("an abort of no body: {body}"))?;
        Ok((receiving.message, self.next_grant(body)))
    }

    fn next_grant(&mut self, done: u64) -> Option<Grant> {
        let was_first = self.waiting.front() == Some(&done);
        self.waiting.retain(|&body| body != done);
        if was_first { self.grant_first() } else { None }
    }

    fn grant_first(&mut self) -> Option<Grant> {
        let first = *self.waiting.front()?;
        let receiving = self.receiving.get_mut(&first)?;
        let amount = receiving.total - receiving.credit;
        receiving.credit = receiving.total;
        Some((first, amount))
    }

    /// All messages that still wait for a body; the session is over.
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
        assert_eq!(bodies.begin(1, 100, b"0123", Some("a")), Ok(Some((1, 90))));
        assert_eq!(bodies.begin(2, 50, b"", Some("b")), Ok(None));
        assert!(bodies.piece(2, &[0; 11]).is_err(), "no credit yet");
        let (arrived, grant) = bodies.piece(1, &[0; 96]).unwrap();
        assert_eq!(arrived.unwrap().body.len(), 100);
        assert_eq!(grant, Some((2, 40)));
    }

    #[test]
    fn an_aborted_body_passes_its_turn_on() {
        let mut bodies = Bodies::new(0);
        assert_eq!(bodies.begin(1, 100, b"", Some("a")), Ok(Some((1, 100))));
        assert_eq!(bodies.begin(2, 50, b"", Some("b")), Ok(None));
        assert_eq!(bodies.abort(1), Ok((Some("a"), Some((2, 50)))));
        assert!(bodies.abort(1).is_err());
        assert!(bodies.begin(2, 50, b"", Some("again")).is_err());
    }

    #[test]
    fn unwanted_bytes_are_counted_but_not_kept() {
        let mut bodies = Bodies::<()>::new(10);
        bodies.begin(1, 20, b"", None).unwrap();
        let (arrived, _) = bodies.piece(1, &[0; 10]).unwrap();
        assert!(arrived.is_none());
        assert!(bodies.piece(1, &[0; 1]).is_err(), "nobody gave credit");
    }
}
