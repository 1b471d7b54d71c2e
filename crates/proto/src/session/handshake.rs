//! From the first byte to the open session (`spec/PROTOCOL.md`, sections 1 and 2).

use std::ops::RangeInclusive;
use std::time::Instant;

use super::{Event, Role, Session};
use crate::failure::{ErrorKind, Failure};
use crate::hello::{AUTH_USER, Hello};
use crate::wire::{self, Kind, PREFACE_LEN, Reason, VERSIONS};

/// The longest payload before the session is open.
pub(super) const MOST_PAYLOAD: u32 = 4096;

#[derive(Debug)]
pub(super) enum Stage {
    Preface { deadline: Instant },
    Hello { deadline: Instant, version: u16 },
    Open,
    Closed,
}

impl Stage {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Stage::Preface { deadline } | Stage::Hello { deadline, .. } => Some(*deadline),
            Stage::Open | Stage::Closed => None,
        }
    }
}

impl Session {
    /// Queues preface and hello.
    pub(super) fn introduce(&mut self, versions: RangeInclusive<u16>) {
        let hello = Hello {
            agent: self.config.agent.clone(),
            auth: vec![AUTH_USER.to_owned()],
            features: self.config.features.clone(),
            limits: self.config.limits.clone(),
            store: self.config.store,
        };
        self.outbox.buffer(Vec::new()).bytes.extend_from_slice(&wire::preface(&versions));
        self.outbox.frame(Kind::Hello, 0, 0, &hello.to_bytes());
    }

    pub(super) fn on_preface(&mut self, bytes: &[u8; PREFACE_LEN]) {
        let Stage::Preface { deadline } = self.stage else { return };
        let Some(theirs) = wire::parse_preface(bytes) else {
            return self.violation("this is not an Andiron stream".to_owned());
        };
        let common = wire::common_version(&VERSIONS, &theirs);
        let agreed = match self.role {
            Role::Acceptor => common.is_some(),
            Role::Initiator => common.is_some() && theirs.start() == theirs.end(),
        };
        if let (true, Some(version)) = (agreed, common) {
            self.stage = Stage::Hello { deadline, version };
            return;
        }
        if self.role == Role::Acceptor {
            self.outbox.buffer(Vec::new()).bytes.extend_from_slice(&wire::preface(&VERSIONS));
        }
        self.close(Failure::new(
            ErrorKind::Unsupported,
            format!(
                "no common protocol version: the other end speaks {} to {}, this program {} to {}; update the older one",
                theirs.start(),
                theirs.end(),
                VERSIONS.start(),
                VERSIONS.end(),
            ),
        ));
    }

    pub(super) fn on_hello(&mut self, payload: &[u8]) -> Result<(), String> {
        let Stage::Hello { version, .. } = self.stage else { return Err("a second HELLO".to_owned()) };
        let hello = Hello::parse(payload)?;
        let acceptable = match self.role {
            Role::Acceptor => hello.auth.iter().any(|method| method == AUTH_USER),
            Role::Initiator => hello.auth == [AUTH_USER],
        };
        if !acceptable {
            let text =
                format!("no common authentication method: offered {:?}, known {AUTH_USER:?}", hello.auth);
            self.say_goodbye(Reason::Authentication, &text);
            self.close(Failure::new(ErrorKind::Authentication, text));
            return Ok(());
        }
        if self.role == Role::Acceptor {
            self.introduce(version..=version);
        }
        self.stage = Stage::Open;
        self.outbox.most_chunk = hello.limits.frame as usize;
        self.peer = hello.clone();
        self.events.push_back(Event::Opened(hello));
        self.send_held();
        Ok(())
    }

    /// The most body bytes that fit into one frame to the peer beside `overhead` bytes.
    pub(super) fn room(&self, overhead: usize) -> usize {
        (self.peer.limits.frame as usize).saturating_sub(overhead)
    }
}
