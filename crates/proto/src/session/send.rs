//! What this end does: calls, answers, cancels, releases.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::outbox::{Attachments, BodyOf, SHARE_FROM};
use super::streams::{STREAMS, StreamId};
use super::{Event, OwnCall, Payload, Session, Side, TheirCall};
use crate::codec;
use crate::failure::{ErrorKind, Failure, FailureDetail};
use crate::message::{self, Body, Head, Long, MOST_ANNOTATIONS, MOST_PARTS, Named, Ref};
use crate::wire::{Header, Kind, Reason, codecs, flags};

/// A body on its way out, with what it names.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    /// How the body is encoded.
    pub codec: u8,
    /// The encoded value.
    pub body: Body<'a>,
    /// The references that the body names by position. Own objects have ids of [`Session::show`].
    pub refs: Vec<Ref>,
    /// What else the body names by position.
    pub attachments: Attachments,
    /// Of a call or result: it opens a stream of items.
    pub stream: bool,
}

impl Default for Outgoing<'_> {
    fn default() -> Self {
        Outgoing {
            codec: codecs::NONE,
            body: Body::Slice(&[]),
            refs: Vec::new(),
            attachments: Attachments::default(),
            stream: false,
        }
    }
}

impl<'a> Outgoing<'a> {
    /// A body in the native codec that names nothing.
    pub fn native(body: &'a [u8]) -> Outgoing<'a> {
        Outgoing { codec: codecs::NATIVE, body: Body::Slice(body), ..Outgoing::default() }
    }

    pub(super) fn into_owned(self) -> Outgoing<'static> {
        Outgoing {
            codec: self.codec,
            body: Body::Shared(self.body.into_bytes()),
            refs: self.refs,
            attachments: self.attachments,
            stream: self.stream,
        }
    }
}

impl From<Payload> for Outgoing<'_> {
    fn from(payload: Payload) -> Self {
        Outgoing {
            codec: payload.codec,
            body: Body::Shared(payload.body),
            refs: payload.refs,
            attachments: payload.attachments,
            stream: payload.stream,
        }
    }
}

/// A call or notify to make.
#[derive(Clone, Debug, Default)]
pub struct CallRequest<'a> {
    /// The object of the peer; 0 is its root. With `promise`: an own call.
    pub target: u64,
    /// The object that is called is the result of the own call `target`, which is not answered yet.
    pub promise: bool,
    /// The method's name, 1 to 255 bytes.
    pub method: &'a str,
    /// The call chain that this belongs to; 0: none.
    pub chain: u64,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// What is said beside the arguments: a map of text to values in the native codec, which names no objects; at most 8192 bytes.
    pub annotations: Option<Arc<[u8]>>,
    /// The arguments.
    pub arguments: Outgoing<'a>,
}

/// A call or notify that waits for its turn because the peer takes no more at once.
#[derive(Debug)]
pub(super) struct Held {
    id: u64,
    kind: Kind,
    target: u64,
    promise: bool,
    method: String,
    chain: u64,
    deadline: Option<Instant>,
    annotations: Option<Arc<[u8]>>,
    arguments: Outgoing<'static>,
}

impl Session {
    /// Calls a method. The number stands in the [`Event::Answer`] that ends the call. More calls than the peer takes at once wait here.
    ///
    /// # Errors
    /// What is wrong with the request or the session; then nothing was sent and no event follows. Numbers of [`show`](Session::show) in it
    /// stay shown, or go by [`forget_unsent`](Session::forget_unsent).
    pub fn call(&mut self, now: Instant, request: CallRequest<'_>) -> Result<u64, Failure> {
        self.start(now, Kind::Call, request)
    }

    /// Calls a method without waiting for an answer; if it fails, [`Event::NotifyFailed`] may tell.
    ///
    /// # Errors
    /// As for [`call`](Session::call).
    pub fn notify(&mut self, now: Instant, request: CallRequest<'_>) -> Result<u64, Failure> {
        self.start(now, Kind::Notify, request)
    }

    fn start(&mut self, now: Instant, kind: Kind, request: CallRequest<'_>) -> Result<u64, Failure> {
        if !self.is_open() || self.is_ending() {
            let text = if self.is_open() { "the session is being closed" } else { "the session is not open" };
            return Err(Failure::new(ErrorKind::Unavailable, text));
        }
        if request.method.is_empty() || request.method.len() > 255 {
            return Err(Failure::new(ErrorKind::NoMethod, "a method name has 1 to 255 bytes"));
        }
        self.check_call(&request)?;
        self.check_features(kind, &request)?;
        self.references.count(&request.arguments.refs);
        self.last_own += 1;
        let id = self.last_own;
        let deadline = request.deadline;
        let held = !self.backlog.is_empty() || kind == Kind::Call && self.in_flight >= self.peer.limits.calls;
        if request.arguments.stream {
            self.open_sent(StreamId { own: true, call: id }, held);
        }
        if !held {
            self.send_call(now, id, kind, request);
        } else {
            self.backlog.push_back(Held {
                id,
                kind,
                target: request.target,
                promise: request.promise,
                method: request.method.to_owned(),
                chain: request.chain,
                deadline: request.deadline,
                annotations: request.annotations,
                arguments: request.arguments.into_owned(),
            });
        }
        if kind == Kind::Call {
            let ends_at = if held { u64::MAX } else { self.outbox.end() };
            self.own.insert(id, OwnCall { deadline, abandoned: false, ends_at, answering: false });
            self.deadlines.extend(deadline.map(|deadline| (deadline, Side::Own, id)));
        }
        Ok(id)
    }

    /// Sends what was held back, as far as the peer takes it.
    pub(super) fn send_held(&mut self, now: Instant) {
        while let Some(next) = self.backlog.front() {
            if next.kind == Kind::Call && self.in_flight >= self.peer.limits.calls {
                return;
            }
            let Some(held) = self.backlog.pop_front() else { return };
            let request = CallRequest {
                target: held.target,
                promise: held.promise,
                method: &held.method,
                chain: held.chain,
                deadline: held.deadline,
                annotations: held.annotations,
                arguments: held.arguments,
            };
            self.send_call(now, held.id, held.kind, request);
            self.go_on(StreamId { own: true, call: held.id });
            if let Some(call) = self.own.get_mut(&held.id) {
                call.ends_at = self.outbox.end();
            }
        }
    }

    fn send_call(&mut self, now: Instant, id: u64, kind: Kind, request: CallRequest<'_>) {
        if self.in_flight == 0 {
            self.pulse.begin(now);
        }
        self.in_flight += u32::from(kind == Kind::Call);
        self.last_sent = id;
        let timeout_us = request.deadline.map_or(0, |deadline| {
            let left = deadline.saturating_duration_since(now).as_micros();
            u64::try_from(left).unwrap_or(u64::MAX).max(1)
        });
        let Outgoing { codec, body, refs, attachments, stream } = request.arguments;
        let head = Head::Call {
            target: request.target,
            chain: request.chain,
            timeout_us,
            codec,
            method: request.method,
            annotations: request.annotations.as_deref().unwrap_or_default(),
        };
        let promise = if request.promise { flags::PROMISE } else { 0 };
        let stream = if stream { flags::STREAM } else { 0 };
        let frame = Frame { kind, flags: promise | stream, id };
        self.send_message(frame, &head, &refs, attachments, body);
    }

    /// Drops what was held back: no more calls are made.
    pub(super) fn drop_held(&mut self, failure: &Failure) {
        for held in std::mem::take(&mut self.backlog) {
            self.uncount(&held.arguments.refs);
            let Some(call) = self.own.remove(&held.id) else {
                self.events.push_back(Event::NotifyFailed { id: held.id, failure: failure.clone() });
                continue;
            };
            if let Some(deadline) = call.deadline {
                self.deadlines.remove(&(deadline, Side::Own, held.id));
            }
            self.stopped(StreamId { own: true, call: held.id });
            self.events.push_back(Event::Answer { id: held.id, outcome: Err(failure.clone()) });
        }
    }

    pub(super) fn uncount(&mut self, refs: &[Ref]) {
        self.references.uncount(refs);
        self.forget_unsent(refs);
    }

    /// Answers a call of the peer. For a notify this is [`done`](Session::done). A result that cannot be sent becomes a failure.
    pub fn reply<'a>(&mut self, id: u64, result: impl Into<Outgoing<'a>>) {
        let result = result.into();
        if self.theirs.get(&id).is_none_or(|call| call.notify) {
            self.finish_theirs(id);
            return self.forget_unsent(&result.refs);
        }
        if let Err(failure) = self.check(&result) {
            self.forget_unsent(&result.refs);
            return self.fail(id, &failure);
        }
        let stream = result.stream;
        if stream && let Err(failure) = self.check_answering_stream(id) {
            self.forget_unsent(&result.refs);
            return self.fail(id, &failure);
        }
        self.take_theirs(id, stream);
        if stream {
            self.open_sent(StreamId { own: false, call: id }, false);
        }
        let Outgoing { codec, body, refs, attachments, .. } = result;
        self.references.count(&refs);
        self.keep_promise(id, Ok((&refs, &body)));
        let frame = Frame { kind: Kind::Result, flags: if stream { flags::STREAM } else { 0 }, id };
        self.send_message(frame, &Head::Value { codec }, &refs, attachments, body);
    }

    /// Ends a notify of the peer.
    pub fn done(&mut self, id: u64) {
        self.finish_theirs(id);
    }

    /// Tells the peer that its call or notify failed.
    pub fn fail(&mut self, id: u64, failure: &Failure) {
        if self.finish_theirs(id).is_some() {
            self.keep_promise(id, Err(failure));
            self.send_failure(id, failure);
        }
    }

    /// Tells the peer that a notify of its own, which is [`done`](Session::done) here, failed after all: for a relay that passed it on.
    pub fn notify_failed(&mut self, id: u64, failure: &Failure) {
        if self.is_open() && id <= self.last_theirs {
            self.send_failure(id, failure);
        }
    }

    /// Takes a call of the peer off the books; `None` if it is not there, as after the end of the session.
    fn finish_theirs(&mut self, id: u64) -> Option<TheirCall> {
        self.take_theirs(id, false)
    }

    /// The same, but where the answer streams the items of the caller go on too.
    fn take_theirs(&mut self, id: u64, streaming: bool) -> Option<TheirCall> {
        let call = self.theirs.remove(&id)?;
        if self.streams.is_empty() {
            // As mostly.
        } else if !streaming {
            let failure =
                Failure::new(ErrorKind::Cancelled, "the call that the items belong to was answered");
            self.ended(StreamId { own: false, call: id }, Err(failure));
        } else {
            self.forget_stopped(StreamId { own: false, call: id });
        }
        self.buffered -= call.cost;
        self.share.give_back(call.cost);
        self.their_calls -= u32::from(!call.notify);
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, Side::Theirs, id));
        }
        Some(call)
    }

    pub(super) fn send_failure(&mut self, id: u64, failure: &Failure) {
        self.send_failure_in(Frame { kind: Kind::Error, flags: 0, id }, failure);
    }

    pub(super) fn send_failure_in(&mut self, frame: Frame, failure: &Failure) {
        let body = failure_body(&failure.detail, self.room(2));
        let head = Head::Failure { kind: failure.kind.number() };
        self.send_message(frame, &head, &[], Attachments::default(), Body::Slice(&body));
    }

    /// Gives an own call up and asks the peer to stop it. Its [`Event::Answer`] follows at once, unless it is there already.
    pub fn cancel(&mut self, id: u64) {
        self.abandon(id, Failure::new(ErrorKind::Cancelled, "the caller cancelled the call"));
    }

    pub(super) fn abandon(&mut self, id: u64, failure: Failure) {
        let Some(call) = self.own.get_mut(&id).filter(|call| !call.abandoned) else { return };
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, Side::Own, id));
        }
        if let Ok(index) = self.backlog.binary_search_by_key(&id, |held| held.id) {
            self.own.remove(&id);
            if let Some(held) = self.backlog.remove(index) {
                self.uncount(&held.arguments.refs);
            }
        } else {
            call.abandoned = true;
            self.outbox.abort(BodyOf::Call(id));
            self.outbox.frame(Kind::Cancel, 0, id, &[]);
        }
        self.give_up_own_items(id);
        self.events.push_back(Event::Answer { id, outcome: Err(failure) });
    }

    /// A number under which the peer can be shown an own object, by [`Ref::Local`] in a message.
    ///
    /// # Errors
    /// *Overloaded* if the peer holds references to as many objects as it takes.
    pub fn show(&mut self) -> Result<u64, Failure> {
        let most = self.peer.limits.objects;
        self.references.show(most).map_err(|()| {
            Failure::new(
                ErrorKind::Overloaded,
                format!("the other end holds references to {most} objects and takes no more; drop some proxies there"),
            )
        })
    }

    /// Takes back numbers of [`show`](Session::show) that were not sent after all; [`Event::Released`] follows for them.
    pub fn forget_unsent(&mut self, refs: &[Ref]) {
        if self.is_closed() {
            return;
        }
        for entry in refs {
            if let Ref::Local(object) = *entry
                && self.references.is_unused(object)
            {
                self.events.push_back(Event::Released { object });
            }
        }
    }

    /// Gives back references to an object of the peer: as many as arrived and were counted.
    pub fn release(&mut self, object: u64, count: u64) {
        let told = self.references.release(object, count);
        if told > 0 && self.is_open() {
            self.outbox.frame(Kind::Release, 0, object, &told.to_be_bytes());
        }
    }

    /// Asks the peer for a sign of life; [`Event::Pong`] brings the same bytes, of which the first 64 go.
    pub fn ping(&mut self, bytes: &[u8]) {
        if self.is_open() {
            self.outbox.frame(Kind::Ping, 0, 0, &bytes[..bytes.len().min(64)]);
        }
    }

    /// Says goodbye for want of anything more to do.
    pub fn leave(&mut self) {
        self.goodbye(Reason::Done, "done");
    }

    /// Whether the peer knows what the request needs.
    fn check_features(&self, kind: Kind, request: &CallRequest<'_>) -> Result<(), Failure> {
        if request.arguments.stream && kind == Kind::Notify {
            return Err(Failure::new(ErrorKind::Unsupported, "a one-way call cannot have a stream"));
        }
        if request.arguments.stream && !self.peer.knows(STREAMS) {
            return Err(no_streams());
        }
        if request.promise { self.check_promise(request.target) } else { Ok(()) }
    }

    fn check_answering_stream(&self, id: u64) -> Result<(), Failure> {
        if !self.peer.knows(STREAMS) {
            return Err(no_streams());
        }
        if self.theirs.get(&id).is_some_and(|call| call.cancelled) {
            let text = "the caller gave the call up and would take no items"; // nor say so again
            return Err(Failure::new(ErrorKind::Cancelled, text));
        }
        Ok(())
    }

    fn check_call(&self, request: &CallRequest<'_>) -> Result<(), Failure> {
        let annotations = request.annotations.as_deref().unwrap_or_default();
        let room = (self.peer.limits.frame as usize).saturating_sub(LONGEST_HEAD);
        let most = MOST_ANNOTATIONS.min(room.saturating_sub(message::further_len(&[0])));
        if annotations.len() > most {
            let text = format!("annotations of {} bytes; at most {most} go beside a call", annotations.len());
            return Err(Failure::new(ErrorKind::TooLarge, text));
        }
        self.check_beside(&request.arguments, message::further_len(annotations))
    }

    pub(super) fn check(&self, outgoing: &Outgoing<'_>) -> Result<(), Failure> {
        self.check_beside(outgoing, 0)
    }

    /// Whether the peer takes this beside so many bytes of further fields.
    fn check_beside(&self, outgoing: &Outgoing<'_>, further: usize) -> Result<(), Failure> {
        let limits = &self.peer.limits;
        let room = (limits.frame as usize).saturating_sub(LONGEST_HEAD + further);
        let most_refs = MOST_REFS.min(room / ENTRY);
        let text = if outgoing.body.len() as u64 > limits.message {
            format!("a message of {} bytes; the other end takes {}", outgoing.body.len(), limits.message)
        } else if outgoing.refs.len() > most_refs {
            format!("a message with {} references; the other end takes {most_refs}", outgoing.refs.len())
        } else if outgoing.attachments.descriptors().len() > usize::from(limits.attachments) {
            let count = outgoing.attachments.descriptors().len();
            format!("{count} descriptors; the other end takes {}", limits.attachments)
        } else if outgoing.attachments.parts().len() > MOST_PARTS {
            format!("{} big values in one message; at most {MOST_PARTS}", outgoing.attachments.parts().len())
        } else {
            return outgoing.refs.iter().try_for_each(|entry| self.check_ref(*entry));
        };
        Err(Failure::new(ErrorKind::TooLarge, text))
    }

    fn check_ref(&self, entry: Ref) -> Result<(), Failure> {
        match entry {
            Ref::Local(0) | Ref::Remote(0) => Err(Failure::new(
                ErrorKind::Encoding,
                "the root object cannot stand in a message: it is always there",
            )),
            Ref::Local(object) if !self.references.is_shown(object) => Err(Failure::new(
                ErrorKind::NoObject,
                format!("the other end has released object {object}: show it again under a new number"),
            )),
            _ => Ok(()),
        }
    }

    /// The most body bytes that fit into one frame to the peer beside `overhead` bytes.
    fn room(&self, overhead: usize) -> usize {
        (self.peer.limits.frame as usize).saturating_sub(overhead)
    }

    /// Queues a message that was checked and whose references are counted. True where its body is long.
    pub(super) fn send_message(
        &mut self,
        frame: Frame,
        head: &Head<'_>,
        refs: &[Ref],
        attachments: Attachments,
        body: Body<'_>,
    ) -> bool {
        let Frame { kind, id, .. } = frame;
        let (attachments, parts) = attachments.split();
        let named = Named { refs, parts: &parts };
        let room = self.room(message::overhead(head, named, false));
        let long = body.len() > room;
        let first = if long { self.room(message::overhead(head, named, true)) } else { body.len() };
        let window = self.peer.limits.window as usize;
        let first = if long { first.min(window) } else { first };
        let length = message::overhead(head, named, long) + first;
        let header = Header {
            length: length as u32, // within the peer's frame limit
            kind,
            flags: frame.flags | message::tail_flags(head, named, long),
            attachments: attachments.len() as u16, // at most 64
            id,
        };
        let long = long.then(|| Long { body: self.outbox.next_body(), total: body.len() as u64 });
        let out = self.outbox.buffer(attachments);
        out.bytes.extend_from_slice(&header.to_bytes());
        message::write(head, named, long, out.bytes);
        match (long, body) {
            (None, Body::Slice(slice)) => out.bytes.extend_from_slice(slice),
            (None, Body::Owned(bytes)) if bytes.len() < SHARE_FROM => out.bytes.extend_from_slice(&bytes),
            (None, body) => {
                drop(out);
                self.outbox.body(body.into_bytes());
            }
            (Some(long), body) => {
                drop(out);
                let mut rest: Bytes = body.into_bytes();
                let beginning = rest.split_to(first);
                self.outbox.body(beginning);
                self.outbox.long(long.body, frame.owner(), rest, (window - first) as u64);
            }
        }
        long.is_some()
    }
}

/// The fixed part of a frame that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) id: u64,
}

impl Frame {
    /// Whose body it has.
    fn owner(self) -> BodyOf {
        match self.kind {
            Kind::Result => BodyOf::Answer(self.id),
            Kind::Item => BodyOf::Item(StreamId { own: self.flags & flags::CALLEE == 0, call: self.id }),
            _ => BodyOf::Call(self.id),
        }
    }
}

#[cold]
fn no_streams() -> Failure {
    Failure::new(ErrorKind::Unsupported, "the other end does not know streams")
}

/// References on one message.
const MOST_REFS: usize = 65535;
/// Bytes of a reference in the table.
const ENTRY: usize = 9;
/// The fixed fields, the longest method name and the counts of a tail.
const LONGEST_HEAD: usize = 26 + 255 + 2 + 2 + 8 * MOST_PARTS + 16;

/// Encodes an error so that it fits into `most` bytes: it loses its trace, then what it was made with and has, then its words, before it is lost.
fn failure_body(detail: &FailureDetail, most: usize) -> Vec<u8> {
    let mut detail = detail.clone();
    loop {
        let body = codec::to_vec(&detail).unwrap_or_default();
        if body.len() <= most {
            return body;
        }
        if !detail.trace.is_empty() {
            detail.trace.truncate(detail.trace.len() / 2);
        } else if !(detail.args.is_empty() && detail.attributes.is_none()) {
            detail.args.clear();
            detail.attributes = None;
        } else {
            halve(&mut detail.message);
            halve(&mut detail.type_name);
        }
    }
}

fn halve(text: &mut Cow<'static, str>) {
    let half: String = text.chars().take(text.chars().count() / 2).collect();
    *text = half.into();
}
