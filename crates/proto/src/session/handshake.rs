//! From the first byte to the open session (`spec/PROTOCOL.md`, sections 1 and 2).

use std::ops::RangeInclusive;
use std::time::Instant;

use super::auth::Auth;
use super::{Event, Refusal, Role, Session};
use crate::failure::{ErrorKind, Failure};
use crate::hello::Hello;
use crate::wire::{self, Header, Kind, PREFACE_LEN, Reason, VERSIONS};

/// The longest payload before the session is open.
pub(super) const MOST_PAYLOAD: u32 = 4096;

#[derive(Debug)]
pub(super) enum Stage {
    Preface {
        deadline: Instant,
    },
    Hello {
        deadline: Instant,
    },
    /// Waits for the proof of who said this.
    Proof {
        deadline: Instant,
        hello: Box<Hello>,
    },
    Open,
    Closed,
}

impl Stage {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Stage::Preface { deadline } | Stage::Hello { deadline } | Stage::Proof { deadline, .. } => {
                Some(*deadline)
            }
            Stage::Open | Stage::Closed => None,
        }
    }
}

impl Session {
    pub(super) fn send_preface(&mut self, versions: RangeInclusive<u16>) {
        let preface = wire::preface(&versions);
        self.outbox.buffer(Vec::new()).bytes.extend_from_slice(&preface);
        if let Some(transcript) = &mut self.transcript {
            transcript.own.extend_from_slice(&preface);
        }
    }

    pub(super) fn send_hello(&mut self) {
        let hello = Hello {
            agent: self.config.agent.clone(),
            auth: vec![self.config.auth.method().to_owned()],
            nonce: self.config.auth.nonce(),
            features: self.config.features.clone(),
            limits: self.config.limits.clone(),
            store: self.config.store,
        };
        let payload = hello.to_bytes();
        self.outbox.frame(Kind::Hello, 0, 0, &payload);
        if let Some(transcript) = &mut self.transcript {
            let length = payload.len() as u32; // of at most 4096 bytes
            let header = Header { length, kind: Kind::Hello, flags: 0, attachments: 0, id: 0 };
            transcript.own.extend_from_slice(&header.to_bytes());
            transcript.own.extend_from_slice(&payload);
        }
    }

    /// True once the preface is sent that makes sense of a frame. An acceptor says nothing to a stranger.
    pub(super) fn can_speak(&self) -> bool {
        self.role == Role::Initiator || !matches!(self.stage, Stage::Preface { .. })
    }

    pub(super) fn on_preface(&mut self, bytes: &[u8; PREFACE_LEN]) -> Result<(), String> {
        let Stage::Preface { deadline } = self.stage else { return Ok(()) };
        let theirs =
            wire::parse_preface(bytes).ok_or("this is not an Andiron stream: its versions make no sense")?;
        if let Some(transcript) = &mut self.transcript {
            transcript.peer.extend_from_slice(bytes);
        }
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

    pub(super) fn on_hello(&mut self, header: Header, payload: &[u8]) -> Result<(), String> {
        let Stage::Hello { deadline } = self.stage else { return Err("a second HELLO".to_owned()) };
        let hello = Hello::parse(payload)?;
        if let Some(Refusal { reason, told, failure }) = self.config.refuse.take() {
            self.say_goodbye(reason, &told);
            self.close(failure);
            return Ok(());
        }
        let method = self.config.auth.method();
        let acceptable = match self.role {
            Role::Acceptor => hello.auth.iter().any(|offered| offered == method),
            Role::Initiator => hello.auth == [method],
        };
        if !acceptable {
            let text = match self.role {
                Role::Acceptor => self.config.auth.wanted(&hello.auth),
                Role::Initiator => {
                    let chosen = hello.auth.join(", ");
                    format!(
                        "the server chose the authentication method {chosen:?}, and only {method:?} was offered"
                    )
                }
            };
            self.refuse_peer(text);
            return Ok(());
        }
        if self.transcript.is_none() {
            if self.role == Role::Acceptor {
                self.send_hello();
            }
            self.open(hello);
            return Ok(());
        }
        if let Some(text) = self.cannot_prove() {
            self.refuse_peer(text.to_owned());
            return Ok(());
        }
        if hello.nonce.is_none() {
            return Err("a HELLO for a secret has a nonce of 32 bytes".to_owned());
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.peer.extend_from_slice(&header.to_bytes());
            transcript.peer.extend_from_slice(payload);
        }
        match self.role {
            Role::Acceptor => self.send_hello(),
            Role::Initiator => self.send_proof(0),
        }
        self.stage = Stage::Proof { deadline, hello: Box::new(hello) };
        Ok(())
    }

    /// Why this end can neither prove a secret nor check a proof, if so.
    fn cannot_prove(&self) -> Option<&'static str> {
        let (Auth::Secret { keys, .. }, Some(transcript)) = (&self.config.auth, &self.transcript) else {
            return None;
        };
        if keys.is_empty() {
            Some("this end is to know the other one by a secret, and has none")
        } else if transcript.binding.is_empty() {
            Some("this end does not know by what channel it is connected, so a proof would be good for any")
        } else {
            None
        }
    }

    /// Proves to have this key.
    fn send_proof(&mut self, index: usize) {
        let (Auth::Secret { keys, .. }, Some(transcript)) = (&self.config.auth, &self.transcript) else {
            return;
        };
        let Some(key) = keys.get(index) else { return };
        let proof = transcript.prove(key, self.role);
        self.outbox.frame(Kind::Proof, 0, 0, &proof);
    }

    pub(super) fn on_proof(&mut self, payload: &[u8]) -> Result<(), String> {
        if !matches!(self.stage, Stage::Proof { .. }) || payload.len() != 32 {
            return Err("a PROOF that was not asked for".to_owned());
        }
        let Some(index) = self.proven_key(payload) else {
            let text = self.ended_key(payload).unwrap_or_else(|| {
                "the proof of the secret is wrong: this end has another secret than the other one, or somebody \
                 stands between the two"
                    .to_owned()
            });
            self.refuse_peer(text);
            return Ok(());
        };
        self.proved = Some(index);
        if self.role == Role::Acceptor {
            self.send_proof(index);
        }
        self.transcript = None;
        if let Stage::Proof { hello, .. } = std::mem::replace(&mut self.stage, Stage::Open) {
            self.open(*hello);
        }
        Ok(())
    }

    /// Which key the peer proved to have.
    fn proven_key(&self, proof: &[u8]) -> Option<usize> {
        let (Auth::Secret { keys, .. }, Some(transcript)) = (&self.config.auth, &self.transcript) else {
            return None;
        };
        // An initiator has proved to have the first, and is to be answered with that.
        let most = if self.role == Role::Initiator { 1 } else { keys.len() };
        keys.iter().take(most).position(|key| transcript.verify(key, self.role, proof))
    }

    /// What to say to a peer who proved to have a key that this end takes no more. It is safe to say: nobody hears it who has not the key.
    fn ended_key(&self, proof: &[u8]) -> Option<String> {
        let (Auth::Secret { ended, .. }, Some(transcript)) = (&self.config.auth, &self.transcript) else {
            return None;
        };
        let found = ended.iter().find(|(key, _)| transcript.verify(key, self.role, proof));
        found.map(|(_, text)| text.clone())
    }

    /// An acceptor that waits for a peer to say who it is can take nobody any more: tells it when it does. False where it is too late for that.
    pub fn turn_away(&mut self, refusal: Refusal) -> bool {
        let early =
            self.role == Role::Acceptor && matches!(self.stage, Stage::Preface { .. } | Stage::Hello { .. });
        if early {
            self.config.refuse = Some(refusal);
        }
        early
    }

    /// Sends a peer away who is not who it should be.
    fn refuse_peer(&mut self, text: String) {
        self.say_goodbye(Reason::Authentication, &text);
        self.close(Failure::new(ErrorKind::Authentication, text));
    }

    fn open(&mut self, hello: Hello) {
        self.stage = Stage::Open;
        self.outbox.limit_frames(hello.limits.frame);
        self.peer = hello.clone();
        self.events.push_back(Event::Opened(hello));
    }
}
