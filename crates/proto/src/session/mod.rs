//! One end of a session as a state machine. This file has its state, its beginning and its end; `receive` what the peer does, `send` what
//! this end does.

mod auth;
mod bodies;
mod budget;
mod handshake;
mod heartbeat;
mod ids;
mod inbox;
mod outbox;
mod promises;
mod receive;
mod references;
mod send;
mod streams;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::auth::Transcript;
pub use self::auth::{Auth, Key, binding};
use self::bodies::Bodies;
pub use self::budget::Budget;
use self::budget::Share;
use self::handshake::Stage;
pub use self::heartbeat::Heartbeat;
use self::heartbeat::Pulse;
pub use self::ids::{IdHasher, IdMap};
use self::inbox::Inbox;
use self::outbox::Outbox;
pub use self::outbox::{Attachment, Attachments, Transmit};
use self::promises::Kept;
pub use self::promises::PROMISES;
use self::receive::Waiting;
use self::references::References;
pub use self::send::{CallRequest, Outgoing};
use self::streams::Streams;
pub use self::streams::{STREAMS, StreamId};
use crate::failure::{ErrorKind, Failure};
use crate::hello::{Hello, Limits};
use crate::message::Ref;
use crate::wire::{Kind, Reason, VERSIONS};

/// Which end of the stream this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opened the stream; speaks first.
    Initiator,
    /// Took the stream.
    Acceptor,
}

/// What a session is built with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Program and version, for the people at the other end.
    pub agent: String,
    /// What this end can do; see the features of the specification.
    pub features: Vec<String>,
    /// What this end accepts.
    pub limits: Limits,
    /// The incarnation of the store behind this end.
    pub store: Option<[u8; 16]>,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// How this end knows who is at the other one.
    pub auth: Auth,
    /// Whether it asks the peer for signs of life while it waits for it.
    pub heartbeat: Option<Heartbeat>,
    /// What it may hold together with other sessions of what it received and did not work off. Calls beyond that are answered *overloaded*.
    pub budget: Option<Arc<Budget>>,
    /// An acceptor that can take nobody sends everybody away, as this says.
    pub refuse: Option<Refusal>,
}

/// Why an acceptor sends a peer away, whoever that is.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// With which reason.
    pub reason: Reason,
    /// What the peer is told.
    pub told: String,
    /// What the session fails with at this end, where more may be said.
    pub failure: Failure,
}

impl Refusal {
    /// There are too many already, which both ends may know in the same words.
    pub fn overloaded(text: impl Into<String>) -> Refusal {
        let told: String = text.into();
        let failure = Failure::new(ErrorKind::Overloaded, told.clone());
        Refusal { reason: Reason::Overloaded, told, failure }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            agent: concat!("andiron/", env!("CARGO_PKG_VERSION")).to_owned(),
            features: Vec::new(),
            limits: Limits::default(),
            store: None,
            handshake_timeout: Duration::from_secs(10),
            auth: Auth::User,
            heartbeat: None,
            budget: None,
            refuse: None,
        }
    }
}

/// A body as it arrived, with what it names.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// How the body is encoded, one of [`crate::wire::codecs`].
    pub codec: u8,
    /// The encoded value.
    pub body: Bytes,
    /// The references that the body names by position.
    pub refs: Vec<Ref>,
    /// What else the body names by position.
    pub attachments: Attachments,
    /// Of a call or result: a stream of items comes with it.
    pub stream: bool,
}

impl Payload {
    /// Takes the parts out of the body, which is the value alone then.
    pub fn take_parts(&mut self) -> Vec<Bytes> {
        let lengths = match std::mem::take(&mut self.attachments) {
            Attachments::Parts(lengths) => lengths,
            descriptors => {
                self.attachments = descriptors;
                return Vec::new();
            }
        };
        // Their sum was compared with the body when the message began.
        let of_parts = lengths.iter().sum::<u64>() as usize;
        let mut rest = self.body.split_off(self.body.len().saturating_sub(of_parts));
        lengths.iter().map(|&length| rest.split_to((length as usize).min(rest.len()))).collect()
    }
}

/// A call or notify of the peer.
#[derive(Clone, Debug)]
pub struct IncomingCall {
    /// The peer's number of it; for [`Session::reply`] and the like.
    pub id: u64,
    /// The object of this end that is called; 0 is the root. With `promise`: the peer's number of an earlier call of its own.
    pub target: u64,
    /// What is called is the result of the call `target`, which this end has not answered: it waits for that, or is passed on as such.
    pub promise: bool,
    /// The method's name.
    pub method: String,
    /// The call chain; 0: none.
    pub chain: u64,
    /// When the caller will have given up.
    pub deadline: Option<Instant>,
    /// What the caller says beside the arguments: a map of text to values in the native codec.
    pub annotations: Option<Arc<[u8]>>,
    /// True if no answer is wanted. Then [`Session::done`] or [`Session::fail`] ends it.
    pub notify: bool,
    /// The arguments.
    pub payload: Payload,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The handshake is complete; the peer said this.
    Opened(Hello),
    /// The peer calls. Ends with [`Session::reply`], [`Session::fail`] or [`Session::done`].
    Call(IncomingCall),
    /// The peer no longer waits for the answer to this call of its own: it said so, its time is over, or the session is. The call may be
    /// running and is answered all the same. At most once for each call, behind its [`Event::Call`]; never for a notify.
    Cancelled {
        /// The peer's number of the call.
        id: u64,
    },
    /// An own call came to its end: by an answer, a deadline, a cancel, or the end of the session. Exactly one for each call.
    Answer {
        /// The own number of the call.
        id: u64,
        /// What came of it.
        outcome: Result<Payload, Failure>,
    },
    /// An item of a stream that the peer sends.
    Item {
        /// Which stream.
        stream: StreamId,
        /// The item.
        payload: Payload,
    },
    /// The peer's items are over. Exactly one for each stream that was not [stopped](Session::stop_stream).
    End {
        /// Which stream.
        stream: StreamId,
        /// Whether all items came.
        outcome: Result<(), Failure>,
    },
    /// More items of a stream of this end can be sent: the peer asks for them, or a long one is on its way; see
    /// [`Session::stream_credit`].
    Credit {
        /// Which stream.
        stream: StreamId,
    },
    /// The peer wants no more items of a stream of this end, or can have none. Not for one that was [ended](Session::end_stream).
    Stopped {
        /// Which stream.
        stream: StreamId,
    },
    /// The peer says that an own notify failed.
    NotifyFailed {
        /// The own number of the notify.
        id: u64,
        /// Why.
        failure: Failure,
    },
    /// The peer holds no reference to this own object any more.
    Released {
        /// Its number.
        object: u64,
    },
    /// The answer to an own ping.
    Pong(Vec<u8>),
    /// The peer takes no further calls.
    Goodbye {
        /// Why.
        reason: Reason,
        /// The peer's words.
        text: String,
    },
    /// The session is over. No event follows.
    Closed(Failure),
}

/// A call of this end.
#[derive(Debug)]
struct OwnCall {
    deadline: Option<Instant>,
    /// Nobody waits any more; the peer's answer is still to come.
    abandoned: bool,
    /// Where in the stream its frame ends; `u64::MAX` while it is held back.
    ends_at: u64,
    /// The answer has begun; its body is under way.
    answering: bool,
}

/// A call or notify of the peer that is not finished.
#[derive(Debug)]
struct TheirCall {
    notify: bool,
    /// What it counts for against the buffer.
    cost: u64,
    /// The body that it still waits for.
    body: Option<u64>,
    /// Its event is there.
    told: bool,
    /// When the peer stops waiting, until that is told.
    deadline: Option<Instant>,
    /// The peer waits no more, and that is told.
    cancelled: bool,
    /// On how many unanswered calls in a row it depends.
    depth: u8,
}

/// Whose call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Own,
    Theirs,
}

/// One end of a session: bytes and the time in, bytes and events out.
///
/// It owns everything that is half done: half-read frames, half-written ones, calls without an answer. Whoever drives it moves bytes and
/// does what the events say; it decides nothing.
///
/// ```
/// use std::time::Instant;
/// use andiron_proto::{CallRequest, Config, Event, Payload, Role, Session};
///
/// # fn now() -> Instant { static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new(); *START.get_or_init(Instant::now) }
/// fn pass(from: &mut Session, to: &mut Session) {
///     while let Some(transmit) = from.poll_transmit() {
///         let bytes: Vec<u8> = transmit.slices().iter().flat_map(|slice| slice.to_vec()).collect();
///         from.transmitted(bytes.len());
///         to.receive(now(), &bytes, Vec::new(), false);
///     }
/// }
///
/// let mut client = Session::new(Role::Initiator, Config::default(), now());
/// let mut server = Session::new(Role::Acceptor, Config::default(), now());
/// pass(&mut client, &mut server);
/// pass(&mut server, &mut client);
/// assert!(client.is_open() && server.is_open());
///
/// let id = client.call(now(), CallRequest { target: 0, method: "names", chain: 1, ..CallRequest::default() }).unwrap();
/// pass(&mut client, &mut server);
/// while let Some(event) = server.poll_event() {
///     if let Event::Call(call) = event {
///         assert_eq!(call.method, "names");
///         server.reply(call.id, Payload::default());
///     }
/// }
/// pass(&mut server, &mut client);
/// let answered = std::iter::from_fn(|| client.poll_event()).any(|event| matches!(event, Event::Answer { id: i, .. } if i == id));
/// assert!(answered);
/// ```
#[derive(Debug)]
pub struct Session {
    role: Role,
    config: Config,
    stage: Stage,
    peer: Hello,
    /// Where a secret is to be proved, until it is.
    transcript: Option<Box<Transcript>>,
    /// Which key the peer proved to have.
    proved: Option<usize>,
    inbox: Inbox,
    outbox: Outbox,
    events: VecDeque<Event>,

    own: IdMap<OwnCall>,
    last_own: u64,
    last_sent: u64,
    /// Own calls that the peer has not answered.
    in_flight: u32,
    /// Calls and notifies that wait for their turn, by number.
    backlog: VecDeque<send::Held>,
    deadlines: BTreeSet<(Instant, Side, u64)>,
    pulse: Pulse,

    theirs: IdMap<TheirCall>,
    last_theirs: u64,
    their_calls: u32,
    buffered: u64,
    share: Share,
    unread: Unread,

    bodies: Bodies<Waiting>,
    streams: Streams,
    kept: Kept,
    references: References,
    goodbye_sent: bool,
    /// The peer's goodbye: the highest id of ours that it takes.
    goodbye_received: Option<u64>,
}

/// Bytes that this end answered by itself (pongs, refusals, credit) and the peer did not read yet: at least half of them are not sent.
#[derive(Debug, Default)]
struct Unread {
    bytes: usize,
    /// When so much of the stream is sent, counting begins anew.
    until: u64,
}

/// The driver should start no further handlers while so many bytes wait to be sent.
const CONGESTED_FROM: usize = 8 << 20;
/// While so many events wait, nothing more should be read.
const MOST_EVENTS: usize = 4096;

impl Session {
    /// A session at the beginning of its stream. The initiator has something to send at once.
    pub fn new(role: Role, config: Config, now: Instant) -> Session {
        let config = Config { limits: config.limits.clamped(), ..config };
        let handshake_deadline = now + config.handshake_timeout;
        let mut session = Session {
            role,
            stage: Stage::Preface { deadline: handshake_deadline },
            peer: Hello::default(),
            transcript: matches!(config.auth, Auth::Secret { .. }).then(Box::default),
            proved: None,
            inbox: Inbox::default(),
            outbox: Outbox::new(),
            events: VecDeque::new(),
            own: IdMap::default(),
            last_own: 0,
            last_sent: 0,
            in_flight: 0,
            backlog: VecDeque::new(),
            deadlines: BTreeSet::new(),
            pulse: Pulse::default(),
            theirs: IdMap::default(),
            last_theirs: 0,
            their_calls: 0,
            buffered: 0,
            share: Share::of(config.budget.clone()),
            unread: Unread::default(),
            bodies: Bodies::new(config.limits.window),
            streams: Streams::default(),
            kept: Kept::default(),
            references: References::default(),
            goodbye_sent: false,
            goodbye_received: None,
            config,
        };
        if role == Role::Initiator {
            session.send_preface(VERSIONS);
            session.send_hello();
        }
        session
    }

    /// What this end was configured to accept.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// What the peer said of itself; empty before [`Event::Opened`].
    pub fn peer(&self) -> &Hello {
        &self.peer
    }

    /// What ties the proof of a secret to the channel, of [`binding`]. To be called before any byte is received; without it no proof is
    /// made or believed.
    pub fn bind(&mut self, binding: &[u8]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.binding = binding.to_vec();
        }
    }

    /// Which of the keys in [`Auth::Secret`] the peer proved to have, counted from 0.
    pub fn proved_with(&self) -> Option<usize> {
        self.proved
    }

    /// True after the handshake and until the session is over.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// True when the session is over; what [`poll_transmit`](Session::poll_transmit) still gives may be sent, then the stream is to be closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// True when a goodbye was said or heard: what is outstanding is finished, and no call can be made.
    pub fn is_ending(&self) -> bool {
        self.goodbye_sent || self.goodbye_received.is_some()
    }

    /// True when a goodbye was said or heard and nothing is outstanding: the stream can be closed.
    pub fn is_finished(&self) -> bool {
        self.is_closed()
            || self.is_ending()
                && self.theirs.is_empty()
                && self.own.is_empty()
                && self.streams.is_empty()
                && self.outbox.is_empty()
    }

    /// False while so many events wait that the driver should read no further.
    pub fn want_read(&self) -> bool {
        self.events.len() < MOST_EVENTS
    }

    /// True where something can be sent now.
    pub fn want_write(&self) -> bool {
        self.outbox.wants_write()
    }

    /// Bytes that wait to be sent, without the rest of long bodies.
    pub fn queued(&self) -> usize {
        self.outbox.queued()
    }

    /// True while the peer reads so slowly that no further handler should be started for it.
    pub fn is_congested(&self) -> bool {
        self.outbox.queued() > CONGESTED_FROM
            || self.outbox.answers().bytes as u64 > self.config.limits.buffer
    }

    /// What to send next. Send any part of it and tell [`transmitted`](Session::transmitted) how many bytes went.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.send_held_items();
        self.outbox.transmit()
    }

    /// How many attachments wait to be sent.
    pub fn attached(&self) -> usize {
        self.outbox.attached()
    }

    /// So many bytes of the last [`poll_transmit`](Session::poll_transmit) were sent, with its attachments if there was at least one.
    pub fn transmitted(&mut self, count: usize) {
        self.outbox.transmitted(count);
    }

    /// The attachments of the last [`poll_transmit`](Session::poll_transmit) cannot be sent: its frame goes without them. Its receiver finds that
    /// its value names what did not come.
    pub fn detach(&mut self) {
        self.outbox.detach();
    }

    /// True where something happened. What is sent can make it happen too: a stream goes on once a long item of it is on its way.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            let event = self.events.pop_front()?;
            match event {
                // It may have been shown again since: only whoever is told this forgets the object.
                Event::Released { object } if !self.references.forget_unused(object) => {}
                event => return Some(event),
            }
        }
    }

    /// When [`handle_timeout`](Session::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.deadlines.first().map(|(deadline, ..)| *deadline);
        [self.stage.deadline(), call, self.pulse_due()].into_iter().flatten().min()
    }

    /// Ends what has come to its time. Bytes that have arrived before are to be given to [`receive`](Session::receive) first: they may be the
    /// sign of life that is missed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.stage.deadline().is_some_and(|deadline| deadline <= now) {
            let text = "the handshake took too long";
            if self.can_speak() {
                self.say_goodbye(Reason::Timeout, text);
            }
            return self.close(Failure::new(ErrorKind::Deadline, text));
        }
        if self.take_pulse(now) {
            return;
        }
        while let Some(&(deadline, side, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            match side {
                Side::Own => {
                    self.abandon(id, Failure::new(ErrorKind::Deadline, "no answer came in the time allowed"))
                }
                Side::Theirs => {
                    self.stop(id, Failure::new(ErrorKind::Deadline, "the call did not arrive in time"))
                }
            }
        }
    }

    /// The stream has ended or failed; `why` is for the people who wait for an answer.
    pub fn disconnected(&mut self, why: &str) {
        let said_goodbye = self.is_ending();
        // Who is owed an answer cannot know what became of the call, goodbye or not.
        let owed = self.own.values().any(|call| !call.abandoned);
        let failure = match (&self.stage, said_goodbye && !owed) {
            (Stage::Closed, _) => return,
            (Stage::Open, true) => {
                Failure::new(ErrorKind::Unavailable, format!("the connection is over: {why}"))
            }
            (Stage::Open, false) => {
                Failure::new(ErrorKind::Unknown, format!("the connection was lost: {why}"))
            }
            _ => Failure::new(
                ErrorKind::Unavailable,
                format!("the other end closed the connection during the handshake ({why})"),
            ),
        };
        self.close(failure);
    }

    /// Takes no further calls from the peer and tells it so; none can be made either. What is outstanding is finished, see
    /// [`is_finished`](Session::is_finished), except with a reason that ends the session at once; that can also follow a milder one.
    pub fn goodbye(&mut self, reason: Reason, text: &str) {
        if self.is_closed() || self.goodbye_sent && !reason.is_abrupt() {
            return;
        }
        if self.can_speak() {
            self.say_goodbye(reason, text);
        }
        if reason.is_abrupt() || !self.is_open() {
            self.close(Failure::new(ErrorKind::Unavailable, text.to_owned()));
        } else {
            self.drop_held(&Failure::new(ErrorKind::Unavailable, "this end has said goodbye"));
        }
    }

    fn say_goodbye(&mut self, reason: Reason, text: &str) {
        self.goodbye_sent = true;
        let mut end = text.len().min(1024);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut payload = reason.number().to_be_bytes().to_vec();
        payload.extend_from_slice(&text.as_bytes()[..end]);
        self.outbox.frame(Kind::Goodbye, 0, self.last_theirs, &payload);
    }

    /// The peer broke the rules.
    fn violation(&mut self, text: String) {
        // To a stranger who does not even speak the protocol nothing is said, by neither end.
        if !matches!(self.stage, Stage::Preface { .. }) {
            self.say_goodbye(Reason::Protocol, &text);
        }
        self.close(Failure::new(ErrorKind::Protocol, text));
    }

    /// The one way to the end: every outstanding call is told.
    fn close(&mut self, failure: Failure) {
        self.stage = Stage::Closed;
        self.outbox.drop_bodies();
        self.bodies.clear();
        self.deadlines.clear();
        self.backlog.clear();
        self.share = Share::default();
        let sent = self.outbox.position();
        let mut own: Vec<(u64, OwnCall)> = self.own.drain().filter(|(_, call)| !call.abandoned).collect();
        own.sort_unstable_by_key(|(id, _)| *id);
        for (id, call) in own {
            let mut failure = failure.clone();
            failure.kind = match failure.kind {
                _ if call.ends_at > sent => ErrorKind::Unavailable, // it never left: it cannot have run
                ErrorKind::Protocol | ErrorKind::Deadline => failure.kind,
                _ => ErrorKind::Unknown,
            };
            if failure.kind == ErrorKind::Unknown {
                failure.detail.message =
                    format!("{}; the method may have run", failure.detail.message).into();
            }
            self.events.push_back(Event::Answer { id, outcome: Err(failure) });
        }
        self.close_streams(&failure);
        self.kept.clear();
        let waited_for = |call: &TheirCall| call.told && !call.notify && !call.cancelled;
        let mut theirs: Vec<u64> =
            self.theirs.drain().filter(|(_, call)| waited_for(call)).map(|(id, _)| id).collect();
        theirs.sort_unstable();
        self.events.extend(theirs.into_iter().map(|id| Event::Cancelled { id }));
        self.events.push_back(Event::Closed(failure));
    }
}
