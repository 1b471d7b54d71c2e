//! What arrives: frames to events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::heartbeat::PING_ID;
use super::inbox::Found;
use super::outbox::{Attachment, Attachments, BodyOf};
use super::promises::{Called, PROMISES};
use super::streams::{STREAMS, StreamId};
use super::{Event, IncomingCall, Payload, Session, Side, Stage, TheirCall};
use crate::codec;
use crate::failure::{ErrorKind, Failure, FailureDetail};
use crate::message::{self, Head, Message, Ref};
use crate::wire::{Header, Kind, Reason, flags};

/// A message that waits for the rest of its body.
#[derive(Debug)]
pub(super) enum Waiting {
    Call(IncomingCall),
    Answer { id: u64, payload: Payload },
    Item { stream: StreamId, payload: Payload },
}

/// A peer that provokes more bytes of refusals, pongs and the like, and does not read them, is given up.
const MOST_UNREAD: usize = 8 << 20;

impl Session {
    /// Takes the bytes of one read, with the attachments that came with it. `cut_off`: there were more attachments than could be
    /// received. What the bytes mean comes out of [`poll_event`](Session::poll_event).
    pub fn receive(&mut self, now: Instant, bytes: &[u8], attachments: Vec<Attachment>, cut_off: bool) {
        if self.is_closed() {
            return;
        }
        self.pulse.begin(now);
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut reading = inbox.read(bytes, attachments, cut_off);
        let outcome = loop {
            let most = if self.is_open() { self.config.limits.frame } else { super::handshake::MOST_PAYLOAD };
            let found = match reading.next(most) {
                Ok(Some(found)) => found,
                Ok(None) => break reading.finish(),
                Err(text) => break Err(text),
            };
            let queued = self.outbox.queued();
            let handled = match found {
                Found::Preface(bytes) => self.on_preface(bytes),
                Found::Frame { header, payload, attachments, cut_off } => {
                    self.on_frame(now, header, payload, attachments, cut_off)
                }
                Found::Chunk { body, piece, left } => self.on_chunk(body, piece, left),
            };
            if handled.is_err() || self.is_closed() {
                break handled;
            }
            if let Err(text) = self.count_unread(self.outbox.queued() - queued) {
                break Err(text);
            }
        };
        self.inbox = inbox;
        match outcome {
            Ok(()) => self.send_held(now),
            Err(text) => self.violation(text),
        }
    }

    /// Counts what this end answered by itself.
    fn count_unread(&mut self, queued: usize) -> Result<(), String> {
        if queued == 0 {
            return Ok(());
        }
        if self.outbox.position() >= self.unread.until {
            self.unread = super::Unread { bytes: 0, until: self.outbox.end() };
        }
        self.unread.bytes += queued;
        if self.unread.bytes > MOST_UNREAD {
            return Err("the other end asks on and on and does not read the answers".to_owned());
        }
        Ok(())
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
            Kind::Hello => return self.on_hello(header, payload),
            Kind::Proof => return self.on_proof(payload),
            kind if !open => return Err(format!("{kind:?} before the session is open")),
            _ => {}
        }
        if header.attachments > self.config.limits.attachments {
            return Err(format!(
                "{} descriptors on one frame, allowed are {}",
                header.attachments, self.config.limits.attachments
            ));
        }
        if header.attachments > 0 && header.kind.takes_parts() && header.flags & flags::PARTS != 0 {
            return Err("descriptors and parts on one frame".to_owned());
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
            Kind::Cancel if payload.is_empty() => self.on_cancel(header.id),
            Kind::Chunk if payload.is_empty() => self.on_abort(header.id), // the others are found piece by piece
            Kind::Cancel | Kind::Chunk => Err(format!("{:?} with a payload", header.kind)),
            Kind::Item => {
                self.needs(STREAMS)?;
                let message = message::parse(header.kind, header.flags, payload)?;
                self.on_item(header, message, attachments, cut_off)
            }
            Kind::End => {
                self.needs(STREAMS)?;
                let outcome = self.end_of(header, payload)?;
                self.on_end(header, outcome)
            }
            Kind::Credit if header.flags & flags::STREAM != 0 => {
                self.needs(STREAMS)?;
                self.on_stream_credit(header, exactly_u64(payload)?)
            }
            Kind::Credit if header.flags == 0 => self.outbox.credit(header.id, exactly_u64(payload)?),
            Kind::Release => {
                if self.references.released(header.id, exactly_u64(payload)?)? {
                    self.events.push_back(Event::Released { object: header.id });
                }
                Ok(())
            }
            Kind::Ping if payload.len() <= 64 => {
                self.outbox.frame(Kind::Pong, 0, header.id, payload);
                Ok(())
            }
            Kind::Pong if payload.len() <= 64 => {
                // To the session's own question it is enough that something came.
                if header.id != PING_ID {
                    self.events.push_back(Event::Pong(payload.to_vec()));
                }
                Ok(())
            }
            Kind::Ping | Kind::Pong => Err("a ping has at most 64 bytes".to_owned()),
            Kind::Optional(_) => Ok(()),
            kind => Err(format!("{kind:?} with flags that make no sense on it")),
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
        let Head::Call { target, chain, timeout_us, codec, method, annotations } = message.head else {
            return Err("a call without its head".to_owned());
        };
        let (promise, stream) = (header.flags & flags::PROMISE != 0, header.flags & flags::STREAM != 0);
        if promise {
            self.needs(PROMISES)?;
        }
        if stream {
            self.needs(STREAMS)?;
        }
        if header.id <= self.last_theirs {
            return Err(format!("call {} comes after call {}", header.id, self.last_theirs));
        }
        let length = self.announced(&message)?;
        self.references.received(&message.refs, self.config.limits.objects)?;
        let notify = header.kind == Kind::Notify;
        if self.goodbye_sent {
            return self.drop_message(&message); // the peer knows from the goodbye that it does not run
        }
        self.last_theirs = header.id;
        let cost = self.cost(length, &message, attachments.len());
        let called = match self.refusal(notify, cost, cut_off) {
            Some(refusal) => Err(refusal),
            None if promise => self.promised(target, header.id)?,
            None => Ok(Called { target, promise: false, depth: 0 }),
        };
        let called = called.and_then(|called| {
            let text = "all clients together have more under way than this server takes; try again later";
            let taken = self.share.take(cost);
            if taken { Ok(called) } else { Err(Failure::new(ErrorKind::Overloaded, text)) }
        });
        let Called { target, promise, depth } = match called {
            Ok(called) => called,
            Err(refusal) => {
                self.drop_message(&message)?;
                self.keep_promise(header.id, Err(&refusal));
                self.send_failure(header.id, &refusal);
                return Ok(());
            }
        };
        let deadline =
            if timeout_us == 0 { None } else { now.checked_add(Duration::from_micros(timeout_us)) };
        // As most are: it is handed on at once, and nobody can have asked for what it gives before.
        let told = message.long.is_none() && !promise;
        let body = message.long.map(|long| long.body);
        let waited_for = deadline.filter(|_| !notify);
        let call = TheirCall { notify, cost, body, told, deadline: waited_for, cancelled: false, depth };
        self.theirs.insert(header.id, call);
        if stream {
            self.open_received(StreamId { own: false, call: header.id });
        }
        self.deadlines.extend(waited_for.map(|deadline| (deadline, Side::Theirs, header.id)));
        self.buffered += cost;
        self.their_calls += u32::from(!notify);
        let call = IncomingCall {
            id: header.id,
            target,
            promise,
            method: method.to_owned(),
            chain,
            deadline,
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()).map(Arc::from),
            notify,
            payload: Payload {
                codec,
                body: if message.long.is_none() {
                    Bytes::copy_from_slice(message.body)
                } else {
                    Bytes::new()
                },
                refs: message.refs,
                attachments: Attachments::received(attachments, message.parts),
                stream,
            },
        };
        match message.long {
            Some(long) => self.wait(Waiting::Call(call), long, message.body)?,
            None if promise => self.tell_call(call),
            None => {
                self.events.push_back(Event::Call(call));
                if stream {
                    self.tell_stream(StreamId { own: false, call: header.id }, true);
                }
            }
        }
        Ok(())
    }

    /// What a call counts for against the buffer: never all of it, so that small calls still pass beside the largest one.
    fn cost(&self, length: u64, message: &Message<'_>, attachments: usize) -> u64 {
        let names = message.refs.len() * size_of::<Ref>();
        let annotations = match message.head {
            Head::Call { annotations, .. } => annotations.len(),
            _ => 0,
        };
        (length + (names + annotations) as u64 + attachments as u64 * ATTACHMENT)
            .min(self.config.limits.buffer / 4 * 3)
    }

    /// Why a call is not taken, if so.
    fn refusal(&self, notify: bool, cost: u64, cut_off: bool) -> Option<Failure> {
        let limits = &self.config.limits;
        // A call is in flight until the last byte of its answer is on its way.
        let in_flight = self.their_calls as usize + self.outbox.answers().count + self.streams.answering();
        let most_unfinished = 8 * u64::from(limits.calls);
        let text = if cut_off {
            "descriptors of this call were lost: the receiver has no more descriptors free".to_owned()
        } else if !notify && in_flight >= limits.calls as usize {
            format!("more than {} calls in flight", limits.calls)
        } else if notify && self.theirs.len() as u64 >= most_unfinished {
            format!("more than {most_unfinished} calls and notifies wait")
        } else if self.buffered + cost > limits.buffer {
            format!("more than {} bytes of calls wait", limits.buffer)
        } else {
            return None;
        };
        Some(Failure::new(ErrorKind::Overloaded, text))
    }

    /// A message that is not taken leaves nothing behind.
    pub(super) fn drop_message(&mut self, message: &Message<'_>) -> Result<(), String> {
        if let Some(long) = message.long {
            self.bodies.announce(long.body, long.total, message.body)?;
        }
        self.discard(&message.refs);
        Ok(())
    }

    fn on_answer(
        &mut self,
        header: Header,
        message: Message<'_>,
        attachments: Vec<Attachment>,
        cut_off: bool,
    ) -> Result<(), String> {
        let Header { id, .. } = header;
        let stream = header.flags & flags::STREAM != 0;
        if stream {
            self.needs(STREAMS)?;
        }
        if id == 0 || id > self.last_sent {
            return Err(format!("an answer to call {id}, which was never made"));
        }
        let own = self.own.get_mut(&id);
        if own.as_ref().is_some_and(|call| call.answering) {
            return Err(format!("a second answer to call {id}"));
        }
        let codec = match message.head {
            Head::Failure { kind } => {
                self.references.received(&message.refs, self.config.limits.objects)?;
                self.outbox.abort(BodyOf::Call(id));
                self.discard(&message.refs);
                self.settle(id, Err(read_failure(kind, message.body)));
                return Ok(());
            }
            Head::Value { codec } => codec,
            Head::Call { .. } => return Err("an answer with the head of a call".to_owned()),
        };
        let call =
            own.ok_or_else(|| format!("a result for call {id}, which was answered before or wants none"))?;
        call.answering = message.long.is_some();
        self.announced(&message)?;
        self.references.received(&message.refs, self.config.limits.objects)?;
        self.outbox.abort(BodyOf::Call(id));
        if cut_off {
            // The rest of the answer comes as it would after a cancel.
            let text = "descriptors of the result were lost: this process has no more descriptors free";
            self.abandon(id, Failure::new(ErrorKind::Overloaded, text));
        }
        if stream {
            self.open_received(StreamId { own: true, call: id }); // its end may overtake the rest of the answer
        }
        let attachments = Attachments::received(attachments, message.parts);
        let payload = Payload { codec, body: Bytes::new(), refs: message.refs, attachments, stream };
        match message.long {
            None => {
                let body = Bytes::copy_from_slice(message.body);
                self.settle(id, Ok(Payload { body, ..payload }));
            }
            Some(long) => self.wait(Waiting::Answer { id, payload }, long, message.body)?,
        }
        Ok(())
    }

    /// The length of a message's body, checked against the limit.
    pub(super) fn announced(&self, message: &Message<'_>) -> Result<u64, String> {
        let length = message.long.map_or(message.body.len() as u64, |long| long.total);
        if length > self.config.limits.message {
            return Err(format!("a body of {length} bytes, allowed are {}", self.config.limits.message));
        }
        Ok(length)
    }

    pub(super) fn wait(
        &mut self,
        waiting: Waiting,
        long: message::Long,
        beginning: &[u8],
    ) -> Result<(), String> {
        let grant = self.bodies.begin(long.body, long.total, beginning, waiting)?;
        self.grant(grant);
        Ok(())
    }

    /// A call is here whole; where it is of a promise it may have to wait, or fail.
    pub(super) fn tell_call(&mut self, call: IncomingCall) {
        let Some(call) = self.settle_promise(call) else { return };
        let (id, streams) = (call.id, call.payload.stream);
        if let Some(theirs) = self.theirs.get_mut(&id) {
            theirs.told = true;
        }
        self.events.push_back(Event::Call(call));
        if streams {
            self.tell_stream(StreamId { own: false, call: id }, true);
        }
        self.tell_dependents(id);
    }

    /// The answer to an own call, or the failure of a notify, is here.
    fn settle(&mut self, id: u64, outcome: Result<Payload, Failure>) {
        let Some(call) = self.own.remove(&id) else {
            match outcome {
                Ok(payload) => self.discard(&payload.refs),
                Err(failure) => self.events.push_back(Event::NotifyFailed { id, failure }),
            }
            return;
        };
        let stream = StreamId { own: true, call: id };
        let streams = outcome.as_ref().is_ok_and(|payload| payload.stream);
        if !streams {
            self.forget_received(stream); // of an answer that was given up
            self.in_flight -= 1;
            self.stopped(stream);
        }
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, Side::Own, id));
        }
        match outcome {
            Ok(payload) if call.abandoned => self.discard(&payload.refs),
            Err(_) if call.abandoned => {}
            outcome => self.events.push_back(Event::Answer { id, outcome }),
        }
        if streams {
            self.tell_stream(stream, !call.abandoned); // the call is in flight until its stream ends
        }
    }

    fn on_chunk(&mut self, body: u64, piece: &[u8], left: usize) -> Result<(), String> {
        if !self.is_open() {
            return Err("a chunk before the session is open".to_owned());
        }
        let (arrived, grant) = self.bodies.piece(body, piece, left)?;
        self.grant(grant);
        match arrived {
            Some((Waiting::Call(mut call), body)) => {
                if let Some(theirs) = self.theirs.get_mut(&call.id) {
                    theirs.body = None;
                }
                call.payload.body = body;
                self.tell_call(call);
            }
            Some((Waiting::Answer { id, payload }, body)) => self.settle(id, Ok(Payload { body, ..payload })),
            Some((Waiting::Item { stream, payload }, body)) => {
                self.deliver_item(stream, Payload { body, ..payload });
            }
            None => {}
        }
        Ok(())
    }

    fn on_abort(&mut self, body: u64) -> Result<(), String> {
        let (message, grant) = self.bodies.abort(body)?;
        self.grant(grant);
        match message {
            Some(Waiting::Call(call)) => {
                self.discard(&call.payload.refs);
                self.refuse(call.id, &Failure::new(ErrorKind::Cancelled, "the caller gave the call up"));
            }
            Some(Waiting::Item { payload, .. }) => self.discard(&payload.refs), // its END follows
            Some(Waiting::Answer { id, payload }) => {
                self.discard(&payload.refs);
                if let Some(own) = self.own.get_mut(&id) {
                    own.answering = false; // its ERROR follows
                }
            }
            None => {}
        }
        Ok(())
    }

    fn on_cancel(&mut self, id: u64) -> Result<(), String> {
        if id == 0 || id > self.last_theirs && !self.goodbye_sent {
            return Err(format!("a cancel of call {id}, which was never made"));
        }
        let failure = Failure::new(ErrorKind::Cancelled, "the caller gave the call up");
        if self.theirs.get(&id).is_some_and(|call| !call.notify) {
            self.stop(id, failure);
        } else if self.outbox.abort(BodyOf::Answer(id)) {
            // A RESULT that was to stream opened nothing yet for its caller.
            self.stopped(StreamId { own: false, call: id });
            self.send_failure(id, &failure);
        } else {
            self.cancel_streaming_answer(id);
        }
        Ok(()) // otherwise it is late: the call was answered
    }

    /// The peer waits no longer for the answer to its call: a running one is told, one that is not here yet never comes.
    pub(super) fn stop(&mut self, id: u64, failure: Failure) {
        let Some(call) = self.theirs.get_mut(&id) else { return };
        if let Some(body) = call.body {
            let (message, grant) = self.bodies.forget(body);
            self.grant(grant);
            if let Some(Waiting::Call(call)) = message {
                self.discard(&call.payload.refs);
            }
            self.refuse(id, &failure);
        } else if !call.told {
            self.forget_dependent(id);
            self.refuse(id, &failure);
        } else if !std::mem::replace(&mut call.cancelled, true) {
            if let Some(deadline) = call.deadline.take() {
                self.deadlines.remove(&(deadline, Side::Theirs, id));
            }
            self.give_up_items(StreamId { own: false, call: id }, failure);
            self.events.push_back(Event::Cancelled { id });
        }
    }

    /// Ends a call or notify whose body did not come; to a notify nothing is said.
    fn refuse(&mut self, id: u64, failure: &Failure) {
        let Some(call) = self.theirs.get_mut(&id) else { return };
        call.body = None;
        if call.notify {
            self.done(id)
        } else {
            self.fail(id, failure)
        }
        self.tell_dependents(id);
    }

    fn on_goodbye(&mut self, last: u64, payload: &[u8]) -> Result<(), String> {
        let (number, text) = payload.split_first_chunk().ok_or("a GOODBYE without a reason")?;
        let reason = Reason::from_number(u16::from_be_bytes(*number));
        let text: String = String::from_utf8_lossy(text).chars().take(1024).collect();
        self.goodbye_received = Some(last);
        let not_run =
            Failure::new(ErrorKind::Unavailable, format!("the other end takes no further calls: {text}"));
        self.drop_held(&not_run);
        let mut ids: Vec<u64> = self.own.keys().copied().filter(|&id| id > last).collect();
        ids.sort_unstable();
        for id in ids {
            self.outbox.abort(BodyOf::Call(id));
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

    /// What an END says.
    fn end_of(&mut self, header: Header, payload: &[u8]) -> Result<Result<(), Failure>, String> {
        if payload.is_empty() && header.flags & (flags::REFS | flags::EXTRA) == 0 {
            return Ok(Ok(()));
        }
        let message = message::parse(header.kind, header.flags, payload)?;
        self.references.received(&message.refs, self.config.limits.objects)?;
        self.discard(&message.refs);
        match message.head {
            Head::Failure { kind } => Ok(Err(read_failure(kind, message.body))),
            _ => Err("an END without its head".to_owned()),
        }
    }

    /// Refuses what belongs to a feature that this end does not list.
    fn needs(&self, feature: &str) -> Result<(), String> {
        match self.lists(feature) {
            true => Ok(()),
            false => Err(format!("{feature} were not agreed on")),
        }
    }

    /// True where this end said that it has this feature.
    pub(super) fn lists(&self, feature: &str) -> bool {
        self.config.features.iter().any(|own| own == feature)
    }

    fn grant(&mut self, grant: Option<(u64, u64)>) {
        if let Some((body, amount)) = grant {
            self.outbox.frame(Kind::Credit, 0, body, &amount.to_be_bytes());
        }
    }

    /// Gives back references that nobody will look at.
    pub(super) fn discard(&mut self, refs: &[Ref]) {
        let remote = |entry: &Ref| match *entry {
            Ref::Remote(object) => Some(object),
            Ref::Local(_) => None,
        };
        let mut objects: Vec<u64> = refs.iter().filter_map(remote).collect();
        objects.sort_unstable();
        for same in objects.chunk_by(|a, b| a == b) {
            self.release(same[0], same.len() as u64);
        }
    }
}

/// A descriptor counts for so many bytes: a process may open few of them, compared with the bytes that it may have.
const ATTACHMENT: u64 = 64 << 10;

fn read_failure(kind: u16, body: &[u8]) -> Failure {
    let detail = codec::from_slice(body).unwrap_or_else(|_| FailureDetail {
        message: "the other end sent an error that cannot be read".into(),
        ..FailureDetail::default()
    });
    Failure { kind: ErrorKind::from_number(kind), detail }
}

fn exactly_u64(payload: &[u8]) -> Result<u64, String> {
    payload.try_into().map(u64::from_be_bytes).map_err(|_| "a number of 8 bytes was expected".to_owned())
}
