//! Whether the peer is still there: asked only while something is expected of it, and nothing comes.

use std::time::{Duration, Instant};

use super::Session;
use crate::failure::{ErrorKind, Failure};
use crate::wire::{Kind, Reason};

/// When an end that waits for the peer asks it for a sign of life. Any byte is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// So long nothing came.
    pub after: Duration,
    /// So long it waits for a sign, before the session is over.
    pub patience: Duration,
}

/// The id of pings that the session itself sends; those of its user have another.
pub(super) const PING_ID: u64 = 1;

#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When something was last heard, or this end began to wait.
    since: Option<Instant>,
    asked: Option<Instant>,
}

impl Pulse {
    /// Something came, or there is something to wait for from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Pulse { since: Some(now), asked: None };
    }

    fn due(&self, heartbeat: &Heartbeat) -> Option<Instant> {
        match (self.asked, self.since) {
            (Some(asked), _) => asked.checked_add(heartbeat.patience),
            (None, Some(since)) => since.checked_add(heartbeat.after),
            (None, None) => None,
        }
    }
}

impl Session {
    /// When the peer is to be asked, or given up.
    pub(super) fn pulse_due(&self) -> Option<Instant> {
        let heartbeat =
            self.config.heartbeat.as_ref().filter(|_| self.is_open() && self.expects_something())?;
        self.pulse.due(heartbeat)
    }

    fn expects_something(&self) -> bool {
        self.in_flight > 0
    }

    /// Asks the peer for a sign of life where it is time to. True where it was asked in vain and the session is over.
    pub(super) fn take_pulse(&mut self, now: Instant) -> bool {
        if self.pulse_due().is_none_or(|due| due > now) {
            return false;
        }
        if self.pulse.asked.is_none() {
            self.pulse.asked = Some(now);
            self.outbox.frame(Kind::Ping, 0, PING_ID, &[]);
            return false;
        }
        let silent = self.pulse.since.map_or(0, |since| now.saturating_duration_since(since).as_secs());
        let text =
            format!("nothing came from the other end for {silent} s: the network or that process is gone");
        self.say_goodbye(Reason::Timeout, &text); // it may hear after all
        self.close(Failure::new(ErrorKind::Unknown, text));
        true
    }
}
