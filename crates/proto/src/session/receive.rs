//! What arrives: frames to events.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::inbox::Found;
use super::outbox::{Attachment, BodyOf};
use super::{Event, IncomingCall, Payload, Session, Stage, TheirCall};
use crate::codec;
use crate::failure::{ErrorKind, Failure, FailureDetail};
use crate::message::{self, Head, Message, Ref};
use crate::wire::{Header, Kind, Reason, codecs, flags};

/// A message that waits for the rest of its body.
#[derive(Debug)]
pub(super) enum Waiting {
    Call(IncomingCall),
    Answer { id: u64, kind: Option<ErrorKind>, payload: Payload },
}

/// After so many refusals and pongs that the peer does not read, it is given up.
const MOST_SELF_ANSWERED: u32 = 65536;

impl Session {
    /// Takes the bytes of one read, with the attachments that came with it. `cut_off`: there were more attachments than could be
    /// received. What the bytes mean comes out of [`poll_event`](Session::poll_event).
    pub fn receive(&mut self, now: Instant, bytes: &[u8], attachments: Vec<Attachment>, cut_off: bool) {
        if self.is_closed() {
            return;
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut reading = inbox.read(bytes, attachments, cut_off);
        let outcome = loop {
            let most = if self.is_open() { self.config.limits.frame } else { super::handshake::MOST_PAYLOAD };
            let found = match reading.next(most) {
                Ok(Some(found)) => found,
                Ok(None) => break reading.finish(),
                Err(text) => break Err(text),
            };
            let handled = match found {
                Found::Preface(bytes) => {
                    self.on_preface(bytes);
                    Ok(())
                }
                Found::Frame { header, payload, attachments, cut_off } => {
                    self.on_frame(now, header, payload, attachments, cut_off)
                }
                Found::Chunk { body, piece } => self.on_chunk(body, piece),
            };
            if handled.is_err() || self.is_closed() {
                break handled;
            }
        };
        self.inbox = inbox;
        if let Err(text) = outcome {
            self.violation(text);
        }
    }

    fn on_frame(
        &mut self,
        now: Instant,
        header: Header,
        payload: &[u8],
        attachments: Vec<Attachment>,
        cut_off: bool,
    ) -> Result<(), String> {
        let open = matches!(self.stage, Stage::Open);
        match header.kind {
            Kind::Goodbye => return self.on_goodbye(header.id, payload),
            Kind::Hello => return self.on_hello(payload),
            Kind::Proof => return Err("a PROOF was not asked for".to_owned()),
            kind if !open => return Err(format!("{kind:?} before the session is open")),
            _ => {}
        }
        if header.attachments > self.config.limits.attachments {
            return Err(format!(
                "{} descriptors on one frame, allowed are {}",
                header.attachments, self.config.limits.attachments
            ));
        }
        match header.kind {
            Kind::Call | Kind::Notify => {
                let message = message::parse(header.kind, header.flags, payload)?;
                self.on_call(now, header, message, attachments, cut_off)
            }
            Kind::Result | Kind::Error => {
                let message = message::parse(header.kind, header.flags, payload)?;
                self.on_answer(header, message, attachments, cut_off)
            }
            Kind::Cancel => self.on_cancel(header.id),
            Kind::Chunk => self.on_abort(header.id),
            Kind::Credit if header.flags == 0 => {
                self.outbox.credit(header.id, exactly_u64(payload)?);
                Ok(())
            }
            Kind::Release => {
                if self.references.released(header.id, exactly_u64(payload)?)? {
                    self.events.push_back(Event::Released { object: header.id });
                }
                Ok(())
            }
            Kind::Ping if payload.len() <= 64 => {
                self.outbox.frame(Kind::Pong, 0, header.id, payload);
                self.answered_itself()
            }
            Kind::Pong if payload.len() <= 64 => {
                self.events.push_back(Event::Pong(payload.to_vec()));
                Ok(())
            }
            Kind::Ping | Kind::Pong => Err("a ping has at most 64 bytes".to_owned()),
            Kind::Optional(_) => Ok(()),
            kind => Err(format!("{kind:?} was not agreed on")), // streams: a feature that this end does not list
        }
    }

    fn on_call(
        &mut self,
        now: Instant,
        header: Header,
        message: Message<'_>,
        attachments: Vec<Attachment>,
        cut_off: bool,
    ) -> Result<(), String> {
        let Head::Call { target, chain, timeout_us, codec, method } = message.head else {
            return Err("a call without its head".to_owned());
        };
        if header.flags & (flags::PROMISE | flags::STREAM) != 0 {
            return Err("promises and streams were not agreed on".to_owned());
        }
        if header.id <= self.last_theirs {
            return Err(format!("call {} comes after call {}", header.id, self.last_theirs));
        }
        self.references.received(&message.refs, self.config.limits.objects)?;
        if self.goodbye_sent {
            return self.skip_body(&message); // it knows from the goodbye that the call does not run
        }
        self.last_theirs = header.id;
        let notify = header.kind == Kind::Notify;
        let length = self.announced(&message)?;
        if let Some(refusal) = self.refusal(notify, length, cut_off) {
            self.skip_body(&message)?;
            self.discard(&message.refs);
            self.send_failure(header.id, &refusal);
            return self.answered_itself();
        }
        self.theirs.insert(header.id, TheirCall { notify, bytes: length });
        self.buffered += length;
        self.their_calls += u32::from(!notify);
        let deadline =
            if timeout_us == 0 { None } else { now.checked_add(Duration::from_micros(timeout_us)) };
        let call = IncomingCall {
            id: header.id,
            target,
            method: method.to_owned(),
            chain,
            deadline,
            notify,
            payload: Payload { codec, body: Bytes::new(), refs: message.refs, attachments },
        };
        self.deliver_or_wait(Waiting::Call(call), message.long, message.body)
    }

    /// Why a call is not taken, if so.
    fn refusal(&self, notify: bool, length: u64, cut_off: bool) -> Option<Failure> {
        let limits = &self.config.limits;
        let unfinished = self.theirs.len() as u64;
        let text = if cut_off {
            "descriptors of this call were lost: the receiver has no more descriptors free".to_owned()
        } else if !notify && self.their_calls >= limits.calls {
            format!("more than {} calls in flight", limits.calls)
        } else if notify && unfinished >= 8 * u64::from(limits.calls) {
            format!("more than {unfinished} calls and notifies wait")
        } else if self.buffered > 0 && self.buffered.saturating_add(length) > limits.buffer {
            format!("more than {} bytes of calls wait", limits.buffer)
        } else {
            return None;
        };
        Some(Failure::new(ErrorKind::Overloaded, text))
    }

    fn on_answer(
        &mut self,
        header: Header,
        message: Message<'_>,
        attachments: Vec<Attachment>,
        cut_off: bool,
    ) -> Result<(), String> {
        if header.flags & flags::STREAM != 0 {
            return Err("streams were not agreed on".to_owned());
        }
        let (kind, codec) = match message.head {
            Head::Failure { kind } => (Some(ErrorKind::from_number(kind)), codecs::NATIVE),
            Head::Value { codec } => (None, codec),
            Head::Call { .. } => return Err("an answer with the head of a call".to_owned()),
        };
        if header.id == 0 || header.id > self.last_sent {
            return Err(format!("an answer to call {}, which was never made", header.id));
        }
        if kind.is_none() && !self.own.contains_key(&header.id) {
            return Err(format!("a result for call {}, which was answered before or wants none", header.id));
        }
        self.announced(&message)?;
        self.references.received(&message.refs, self.config.limits.objects)?;
        self.outbox.abort(BodyOf::Call(header.id));
        let payload = Payload { codec, body: Bytes::new(), refs: message.refs, attachments };
        if cut_off {
            self.discard(&payload.refs);
            let text = "descriptors of the result were lost: this process has no more descriptors free";
            self.settle(header.id, Err(Failure::new(ErrorKind::Overloaded, text)));
            return self.bodies_skip(message.long, message.body);
        }
        let waiting = Waiting::Answer { id: header.id, kind, payload };
        self.deliver_or_wait(waiting, message.long, message.body)
    }

    /// The length of a message's body, checked against the limit.
    fn announced(&self, message: &Message<'_>) -> Result<u64, String> {
        let length = message.long.map_or(message.body.len() as u64, |long| long.total);
        if length > self.config.limits.message {
            return Err(format!("a body of {length} bytes, allowed are {}", self.config.limits.message));
        }
        Ok(length)
    }

    fn deliver_or_wait(
        &mut self,
        waiting: Waiting,
        long: Option<message::Long>,
        body: &[u8],
    ) -> Result<(), String> {
        match long {
            None => self.deliver(waiting, Bytes::copy_from_slice(body)),
            Some(long) => {
                let grant = self.bodies.begin(long.body, long.total, body, Some(waiting))?;
                self.grant(grant);
                Ok(())
            }
        }
    }

    fn deliver(&mut self, waiting: Waiting, body: Bytes) -> Result<(), String> {
        match waiting {
            Waiting::Call(mut call) => {
                call.payload.body = body;
                self.events.push_back(Event::Call(call));
            }
            Waiting::Answer { id, kind, mut payload } => {
                payload.body = body;
                match kind {
                    None => self.settle(id, Ok(payload)),
                    Some(kind) => {
                        self.discard(&payload.refs);
                        let detail = codec::from_slice(&payload.body).unwrap_or_else(|_| FailureDetail {
                            message: "the other end sent an error that cannot be read".into(),
                            ..FailureDetail::default()
                        });
                        self.settle(id, Err(Failure { kind, detail }));
                    }
                }
            }
        }
        Ok(())
    }

    /// The answer to an own call, or the failure of a notify, is here.
    fn settle(&mut self, id: u64, outcome: Result<Payload, Failure>) {
        match (self.own.remove(&id), outcome) {
            (Some(call), outcome) => {
                self.in_flight -= 1;
                if let Some(deadline) = call.deadline {
                    self.deadlines.remove(&(deadline, id));
                }
                match outcome {
                    Ok(payload) if call.abandoned => self.discard(&payload.refs),
                    _ if call.abandoned => {}
                    outcome => self.events.push_back(Event::Answer { id, outcome }),
                }
                self.send_held();
            }
            (None, Err(failure)) => self.events.push_back(Event::NotifyFailed { id, failure }),
            (None, Ok(payload)) => self.discard(&payload.refs),
        }
    }

    fn on_chunk(&mut self, body: u64, piece: &[u8]) -> Result<(), String> {
        if !self.is_open() {
            return Err("a chunk before the session is open".to_owned());
        }
        let (arrived, grant) = self.bodies.piece(body, piece)?;
        self.grant(grant);
        match arrived {
            Some(arrived) => match arrived.message {
                Some(message) => self.deliver(message, arrived.body),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn on_abort(&mut self, body: u64) -> Result<(), String> {
        let (message, grant) = self.bodies.abort(body)?;
        self.grant(grant);
        match message {
            Some(Waiting::Call(call)) => {
                self.discard(&call.payload.refs);
                if call.notify {
                    self.done(call.id);
                } else {
                    self.fail(call.id, &Failure::new(ErrorKind::Cancelled, "the caller gave the call up"));
                }
            }
            // Its ERROR follows.
            Some(Waiting::Answer { payload, .. }) => self.discard(&payload.refs),
            None => {}
        }
        Ok(())
    }

    fn on_cancel(&mut self, id: u64) -> Result<(), String> {
        if id > self.last_theirs && !self.goodbye_sent {
            return Err(format!("a cancel of call {id}, which was never made"));
        }
        match self.theirs.get(&id) {
            Some(call) if !call.notify => self.events.push_back(Event::Cancelled { id }),
            Some(_) => {}
            None if self.outbox.abort(BodyOf::Answer(id)) => {
                self.send_failure(id, &Failure::new(ErrorKind::Cancelled, "the caller gave the call up"));
            }
            None => {} // late: it was answered
        }
        Ok(())
    }

    fn on_goodbye(&mut self, last: u64, payload: &[u8]) -> Result<(), String> {
        let (number, text) = payload.split_first_chunk().ok_or("a GOODBYE without a reason")?;
        let reason = Reason::from_number(u16::from_be_bytes(*number));
        let text: String = String::from_utf8_lossy(text).chars().take(1024).collect();
        self.goodbye_received = Some(last);
        let not_run =
            Failure::new(ErrorKind::Unavailable, format!("the other end takes no further calls: {text}"));
        self.backlog.clear();
        let mut ids: Vec<u64> = self.own.keys().copied().filter(|&id| id > last).collect();
        ids.sort_unstable();
        for id in ids {
            self.outbox.abort(BodyOf::Call(id));
            if id > self.last_sent {
                self.in_flight += 1; // settle counts it off again
            }
            self.settle(id, Err(not_run.clone()));
        }
        self.events.push_back(Event::Goodbye { reason, text: text.clone() });
        if reason.is_abrupt() || !self.is_open() {
            let kind = match reason {
                Reason::Authentication => ErrorKind::Authentication,
                Reason::Version => ErrorKind::Unsupported,
                Reason::Protocol => ErrorKind::Protocol,
                Reason::Overloaded => ErrorKind::Overloaded,
                Reason::Timeout => ErrorKind::Deadline,
                Reason::Done | Reason::ShuttingDown => ErrorKind::Unavailable,
            };
            self.close(Failure::new(kind, format!("the other end closed the session: {text}")));
        }
        Ok(())
    }

    /// The body of a message that is not wanted has to be received all the same.
    fn skip_body(&mut self, message: &Message<'_>) -> Result<(), String> {
        self.bodies_skip(message.long, message.body)
    }

    fn bodies_skip(&mut self, long: Option<message::Long>, beginning: &[u8]) -> Result<(), String> {
        if let Some(long) = long {
            self.bodies.begin(long.body, long.total, beginning, None)?;
        }
        Ok(())
    }

    fn grant(&mut self, grant: Option<(u64, u64)>) {
        if let Some((body, amount)) = grant {
            self.outbox.frame(Kind::Credit, 0, body, &amount.to_be_bytes());
        }
    }

    /// Gives back references that nobody will look at.
    fn discard(&mut self, refs: &[Ref]) {
        for entry in refs {
            if let Ref::Remote(object) = *entry {
                self.release(object, 1);
            }
        }
    }

    /// Counts frames that this end sends without being told to; a peer that provokes them and does not read is given up.
    fn answered_itself(&mut self) -> Result<(), String> {
        self.self_answered += 1;
        if self.self_answered > MOST_SELF_ANSWERED {
            return Err("the other end asks on and on and does not read the answers".to_owned());
        }
        Ok(())
    }
}

fn exactly_u64(payload: &[u8]) -> Result<u64, String> {
    payload.try_into().map(u64::from_be_bytes).map_err(|_| "a number of 8 bytes was expected".to_owned())
}
