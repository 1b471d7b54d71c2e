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
    Hello { deadline: Instant },
    Open,
    Closed,
}

impl Stage {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Stage::Preface { deadline } | Stage::Hello { deadline } => Some(*deadline),
            Stage::Open | Stage::Closed => None,
        }
    }
}

impl Session {
    pub(super) fn send_preface(&mut self, versions: RangeInclusive<u16>) {
        self.outbox.buffer(Vec::new()).bytes.extend_from_slice(&wire::preface(&versions));
    }

    pub(super) fn send_hello(&mut self) {
        let hello = Hello {
            agent: self.config.agent.clone(),
            auth: vec![AUTH_USER.to_owned()],
            features: self.config.features.clone(),
            limits: self.config.limits.clone(),
            store: self.config.store,
        };
        self.outbox.frame(Kind::Hello, 0, 0, &hello.to_bytes());
    }

    /// True once the preface is sent that makes sense of a frame. An acceptor says nothing to a stranger.
    pub(super) fn can_speak(&self) -> bool {
        self.role == Role::Initiator || !matches!(self.stage, Stage::Preface { .. })
    }

    pub(super) fn on_preface(&mut self, bytes: &[u8; PREFACE_LEN]) -> Result<(), String> {
        let Stage::Preface { deadline } = self.stage else { return Ok(()) };
        let theirs =
            wire::parse_preface(bytes).ok_or("this is not an Andiron stream: its versions make no sense")?;
        let common = wire::common_version(&VERSIONS, &theirs);
        match (self.role, common) {
            (Role::Acceptor, Some(version)) => {
                self.send_preface(version..=version);
                self.stage = Stage::Hello { deadline };
            }
            (Role::Initiator, Some(_)) if theirs.start() == theirs.end() => {
                self.stage = Stage::Hello { deadline }
            }
            _ => {
                if self.role == Role::Acceptor {
                    self.send_preface(VERSIONS);
                }
                let (start, end) = (theirs.start(), theirs.end());
                self.close(Failure::new(
                    ErrorKind::Unsupported,
                    format!(
                        "no common protocol version: the other end speaks {start} to {end}, this program {} to {}; \
                         update the older one",
                        VERSIONS.start(),
                        VERSIONS.end(),
                    ),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn on_hello(&mut self, payload: &[u8]) -> Result<(), String> {
        let Stage::Hello { .. } = self.stage else { return Err("a second HELLO".to_owned()) };
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
            self.send_hello();
        }
        self.stage = Stage::Open;
        self.outbox.limit_frames(hello.limits.frame);
        self.peer = hello.clone();
        self.events.push_back(Event::Opened(hello));
        Ok(())
    }
}
