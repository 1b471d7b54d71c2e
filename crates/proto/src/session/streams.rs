//! Streams of items beside calls (`spec/PROTOCOL.md`, section 4).

use std::collections::{HashMap, VecDeque};

use super::outbox::{Attachment, Attachments, BodyOf};
use super::receive::Waiting;
use super::send::{Frame, Outgoing};
use super::{Event, Payload, Session};
use crate::failure::{ErrorKind, Failure};
use crate::message::{Head, Message};
use crate::wire::{Header, Kind, flags};

/// The feature by which an end says that it knows streams.
pub const STREAMS: &str = "streams";

/// A stream of items that belongs to a call. A call may have one each way: which one is meant is clear from what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The call was made by this end.
    pub own: bool,
    /// The number that whoever made the call gave it.
    pub call: u64,
}

impl StreamId {
    /// On a frame that this end sends.
    fn sent_flag(self) -> u8 {
        if self.own { 0 } else { flags::CALLEE }
    }

    /// Of a frame that this end received.
    fn received(header: Header) -> StreamId {
        StreamId { own: header.flags & flags::CALLEE != 0, call: header.id }
    }
}

/// Items on their way to the peer.
#[derive(Debug, Default)]
struct Sent {
    credit: u64,
    /// What comes first is not sent yet, a long item or the call itself: what comes behind it is held, so that all arrives in order.
    waits: bool,
    held: VecDeque<Held>,
}

impl Sent {
    /// True where no more items follow, for the user of this end.
    fn is_ended(&self) -> bool {
        matches!(self.held.back(), Some(Held::End(_)))
    }
}

#[derive(Debug)]
enum Held {
    Item(Outgoing<'static>),
    End(Result<(), Failure>),
}

/// Items that the peer sends.
#[derive(Debug, Default)]
struct Received {
    /// So many more may come.
    credit: u64,
    /// Nobody wants them any more; the end is still to come.
    stopped: bool,
    /// The call or result that opened it was handed on. Until then its body is under way.
    told: bool,
    /// The end came before that.
    early_end: Option<Result<(), Failure>>,
}

/// The streams of a session that did not end.
#[derive(Debug, Default)]
pub(super) struct Streams {
    sent: HashMap<StreamId, Sent>,
    received: HashMap<StreamId, Received>,
    /// Answers of this end that stream: their calls are in flight.
    answering: usize,
}

impl Streams {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.received.is_empty()
    }

    /// Calls of the peer that are answered but stream on.
    pub(super) fn answering(&self) -> usize {
        self.answering
    }
}

impl Session {
    /// True while items may come or go: the peer was told of this end's stream, and it is not over.
    pub fn is_streaming(&self, stream: StreamId) -> bool {
        self.streams.sent.get(&stream).is_some_and(|sent| !sent.is_ended())
    }

    /// How many items may be sent now: none behind a long one that is under way, so that they need not be kept.
    pub fn stream_credit(&self, stream: StreamId) -> u64 {
        self.streams.sent.get(&stream).filter(|sent| !sent.waits).map_or(0, |sent| sent.credit)
    }

    /// Sends an item of a stream that a call or result of this end opened. To be called only while there is
    /// [credit](Session::stream_credit).
    ///
    /// # Errors
    /// What is wrong with the item; then nothing was sent. Numbers of [`show`](Session::show) in it stay shown, or go by
    /// [`forget_unsent`](Session::forget_unsent). *Unavailable* where the stream is over.
    pub fn item(&mut self, stream: StreamId, item: Outgoing<'_>) -> Result<(), Failure> {
        self.check(&item)?;
        let Some(sent) = self.streams.sent.get_mut(&stream).filter(|sent| !sent.is_ended()) else {
            return Err(Failure::new(ErrorKind::Unavailable, "the stream is over"));
        };
        if sent.credit == 0 {
            return Err(Failure::new(ErrorKind::Overloaded, "the receiver did not ask for more items"));
        }
        sent.credit -= 1;
        self.references.count(&item.refs);
        if sent.waits {
            sent.held.push_back(Held::Item(item.into_owned()));
        } else {
            self.send_item(stream, item);
        }
        Ok(())
    }

    fn send_item(&mut self, stream: StreamId, item: Outgoing<'_>) {
        let Outgoing { codec, body, refs, attachments, .. } = item;
        let frame = Frame { kind: Kind::Item, flags: stream.sent_flag(), id: stream.call };
        let long = self.send_message(frame, &Head::Value { codec }, &refs, attachments, body);
        if long && let Some(sent) = self.streams.sent.get_mut(&stream) {
            sent.waits = true;
        }
    }

    /// Ends a stream of this end's items. One that is over already stays so.
    pub fn end_stream(&mut self, stream: StreamId, outcome: Result<(), Failure>) {
        let Some(sent) = self.streams.sent.get_mut(&stream).filter(|sent| !sent.is_ended()) else { return };
        if sent.waits {
            sent.held.push_back(Held::End(outcome));
            return;
        }
        self.forget_sent(stream);
        self.send_end(stream, outcome);
    }

    fn send_end(&mut self, stream: StreamId, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => self.outbox.frame(Kind::End, stream.sent_flag(), stream.call, &[]),
            Err(failure) => {
                let frame = Frame { kind: Kind::End, flags: stream.sent_flag(), id: stream.call };
                self.send_failure_in(frame, &failure);
            }
        }
    }

    /// Long items of these streams are sent whole: what was held behind them goes, up to the next long one.
    pub(super) fn send_held_items(&mut self) {
        while let Some(stream) = self.outbox.take_finished_item() {
            self.go_on(stream);
        }
    }

    /// What the rest of a stream waited for is sent.
    pub(super) fn go_on(&mut self, stream: StreamId) {
        if let Some(sent) = self.streams.sent.get_mut(&stream) {
            sent.waits = false;
        }
        while let Some(sent) = self.streams.sent.get_mut(&stream)
            && !sent.waits
            && let Some(held) = sent.held.pop_front()
        {
            match held {
                Held::Item(item) => self.send_item(stream, item),
                Held::End(outcome) => self.end_stream(stream, outcome),
            }
        }
        if self.stream_credit(stream) > 0 {
            self.events.push_back(Event::Credit { stream });
        }
    }

    /// Asks for so many more items of a stream that the peer sends.
    pub fn want_items(&mut self, stream: StreamId, more: u64) {
        if let Some(received) = self.streams.received.get_mut(&stream).filter(|received| !received.stopped) {
            received.credit = received.credit.saturating_add(more);
            let frame_flags = flags::STREAM | stream.sent_flag();
            self.outbox.frame(Kind::Credit, frame_flags, stream.call, &more.to_be_bytes());
        }
    }

    /// Wants no more items of a stream that the peer sends. No event follows for it.
    pub fn stop_stream(&mut self, stream: StreamId) {
        let Some(received) = self.streams.received.get_mut(&stream).filter(|received| !received.stopped)
        else {
            return;
        };
        received.stopped = true; // what is under way still comes, and of an own call the end
        if stream.own {
            self.outbox.frame(Kind::Cancel, 0, stream.call, &[]);
        } else {
            self.forget_stopped(stream);
            self.outbox.frame(Kind::End, flags::STREAM | flags::CALLEE, stream.call, &[]);
        }
    }

    /// Once a call of the peer is answered, what still comes for a stream that was stopped is known to be late.
    pub(super) fn forget_stopped(&mut self, stream: StreamId) {
        let stopped = self.streams.received.get(&stream).is_some_and(|received| received.stopped);
        if stopped && !self.theirs.contains_key(&stream.call) {
            self.streams.received.remove(&stream);
        }
    }

    /// A call or result of this end opens a stream of its items. `waits`: once it is sent.
    pub(super) fn open_sent(&mut self, stream: StreamId, waits: bool) {
        self.streams.sent.insert(stream, Sent { waits, ..Sent::default() });
        self.streams.answering += usize::from(!stream.own);
    }

    /// A call or result of the peer opens a stream of its items.
    pub(super) fn open_received(&mut self, stream: StreamId) {
        self.streams.received.insert(stream, Received::default());
    }

    /// The result that was to open a stream does not come.
    pub(super) fn forget_received(&mut self, stream: StreamId) {
        if !self.streams.received.is_empty() {
            self.streams.received.remove(&stream);
        }
    }

    /// The call or result that opened a stream is handed on, or came in vain.
    pub(super) fn tell_stream(&mut self, stream: StreamId, wanted: bool) {
        let Some(received) = self.streams.received.get_mut(&stream) else { return };
        received.told = true;
        received.stopped = !wanted;
        if let Some(outcome) = received.early_end.take() {
            self.ended(stream, outcome);
        }
    }

    /// Forgets a stream of this end's items; `None` where there is none. True if its user has ended it.
    fn forget_sent(&mut self, stream: StreamId) -> Option<bool> {
        if self.streams.sent.is_empty() {
            return None; // as mostly
        }
        let sent = self.streams.sent.remove(&stream)?;
        self.streams.answering -= usize::from(!stream.own);
        let ended = sent.is_ended();
        for held in sent.held {
            if let Held::Item(item) = held {
                self.uncount(&item.refs);
            }
        }
        Some(ended)
    }

    /// The peer wants no more of this end's items, or can have none. True where there was such a stream.
    pub(super) fn stopped(&mut self, stream: StreamId) -> bool {
        let Some(ended) = self.forget_sent(stream) else { return false };
        self.outbox.abort(BodyOf::Item(stream));
        if !ended {
            self.events.push_back(Event::Stopped { stream });
        }
        true
    }

    /// The items of the peer are over.
    pub(super) fn ended(&mut self, stream: StreamId, outcome: Result<(), Failure>) {
        if self.streams.received.is_empty() {
            return; // as mostly
        }
        let Some(received) = self.streams.received.remove(&stream) else { return };
        if stream.own {
            self.in_flight -= 1;
        }
        if received.told && !received.stopped {
            self.events.push_back(Event::End { stream, outcome });
        }
    }

    /// The call of the peer that its items belong to is given up. Until it is answered, some may be under way: the peer need not know of it.
    pub(super) fn give_up_items(&mut self, stream: StreamId, failure: Failure) {
        if let Some(received) = self.streams.received.get_mut(&stream)
            && !std::mem::replace(&mut received.stopped, true)
        {
            self.events.push_back(Event::End { stream, outcome: Err(failure) });
        }
    }

    /// The peer no longer waits for a call of its own: this end's streaming answer ends, if there is one.
    pub(super) fn cancel_streaming_answer(&mut self, call: u64) -> bool {
        let stream = StreamId { own: false, call };
        let was = self.stopped(stream);
        if was {
            let failure = Failure::new(ErrorKind::Cancelled, "the receiver wanted no more items");
            self.send_end(stream, Err(failure));
        }
        was
    }

    /// An own call is given up, and the stream of its items with it. A callee that has answered already hears of that by their end: the
    /// cancel alone could mean its own items.
    pub(super) fn give_up_own_items(&mut self, call: u64) {
        if self.stopped(StreamId { own: true, call }) && call <= self.last_sent {
            let failure = Failure::new(ErrorKind::Cancelled, "the caller gave the call up");
            self.send_end(StreamId { own: true, call }, Err(failure));
        }
    }

    /// All streams end with the session.
    pub(super) fn close_streams(&mut self, failure: &Failure) {
        let Streams { sent, received, .. } = std::mem::take(&mut self.streams);
        let mut ended: Vec<StreamId> = received
            .into_iter()
            .filter(|(_, received)| received.told && !received.stopped)
            .map(|(stream, _)| stream)
            .collect();
        ended.sort_unstable();
        for stream in ended {
            self.events.push_back(Event::End { stream, outcome: Err(failure.clone()) });
        }
        let open = sent.into_iter().filter(|(_, sent)| !sent.is_ended());
        let mut stopped: Vec<StreamId> = open.map(|(stream, _)| stream).collect();
        stopped.sort_unstable();
        self.events.extend(stopped.into_iter().map(|stream| Event::Stopped { stream }));
    }

    /// True where such a stream can have been: what comes for it now is late. The error is the sentence for the peer.
    fn check_late(&self, stream: StreamId) -> Result<(), String> {
        let StreamId { own, call } = stream;
        let never = call == 0
            || own && (call > self.last_sent || self.own.contains_key(&call))
            || !own && (call > self.last_theirs && !self.goodbye_sent || self.theirs.contains_key(&call));
        if never { Err(format!("a frame for a stream of call {call}, which has none")) } else { Ok(()) }
    }

    pub(super) fn on_item(
        &mut self,
        header: Header,
        message: Message<'_>,
        attachments: Vec<Attachment>,
        cut_off: bool,
    ) -> Result<(), String> {
        let Head::Value { codec } = message.head else { return Err("an item without its head".to_owned()) };
        let stream = StreamId::received(header);
        self.announced(&message)?;
        self.references.received(&message.refs, self.config.limits.objects)?;
        let wanted = match self.streams.received.get_mut(&stream) {
            Some(received) if received.credit == 0 => {
                return Err(format!("an item of call {} that was not asked for", stream.call));
            }
            Some(received) => {
                received.credit -= 1;
                !received.stopped
            }
            None => {
                self.check_late(stream)?;
                false
            }
        };
        if wanted && cut_off {
            let text = "descriptors of an item were lost: this process has no more descriptors free";
            self.stop_stream(stream);
            self.events
                .push_back(Event::End { stream, outcome: Err(Failure::new(ErrorKind::Overloaded, text)) });
        }
        if !wanted || cut_off {
            return self.drop_message(&message);
        }
        let payload = Payload {
            codec,
            body: Default::default(),
            refs: message.refs,
            attachments: Attachments::received(attachments, message.parts),
            stream: false,
        };
        match message.long {
            None => self.deliver_item(stream, Payload { body: message.body.to_vec().into(), ..payload }),
            Some(long) => self.wait(Waiting::Item { stream, payload }, long, message.body)?,
        }
        Ok(())
    }

    /// An item is here whole.
    pub(super) fn deliver_item(&mut self, stream: StreamId, payload: Payload) {
        match self.streams.received.get(&stream) {
            Some(received) if !received.stopped => self.events.push_back(Event::Item { stream, payload }),
            _ => self.discard(&payload.refs),
        }
    }

    pub(super) fn on_end(&mut self, header: Header, outcome: Result<(), Failure>) -> Result<(), String> {
        let stream = StreamId::received(header);
        if header.flags & flags::STREAM != 0 {
            // The callee wants no more items of this call.
            if !stream.own {
                return Err("a stream of items can be stopped so by who was called only".to_owned());
            }
            return if self.stopped(stream) || self.own.contains_key(&stream.call) {
                Ok(()) // or it ended at the same time
            } else {
                self.check_late(stream)
            };
        }
        match self.streams.received.get_mut(&stream) {
            None => return self.check_late(stream),
            Some(received) if !received.told => received.early_end = Some(outcome),
            Some(_) => self.ended(stream, outcome),
        }
        Ok(())
    }

    pub(super) fn on_stream_credit(&mut self, header: Header, amount: u64) -> Result<(), String> {
        let stream = StreamId::received(header);
        let Some(sent) = self.streams.sent.get_mut(&stream) else {
            // One that ended at the same time: of a call of this end also while it is not answered.
            let StreamId { own, call } = stream;
            return if own && self.own.contains_key(&call) { Ok(()) } else { self.check_late(stream) };
        };
        sent.credit = sent.credit.saturating_add(amount);
        if self.stream_credit(stream) > 0 {
            self.events.push_back(Event::Credit { stream }); // else when what is under way is sent
        }
        Ok(())
    }
}
