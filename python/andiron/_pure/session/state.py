"""What one end of a session knows, and what its user gets of it."""

from __future__ import annotations

import os
from _collections import deque
from heapq import heapify, heappop, heappush

from andiron._pure.session.bodies import Bodies
from andiron._pure.session.hello import Hello, clamped
from andiron._pure.session.inbox import Inbox
from andiron._pure.session.outbox import SHARE_FROM, Outbox
from andiron._pure.session.proof import Transcript
from andiron._pure.session.references import References

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Tuple

    from andiron._pure.failure import Failure
    from andiron._pure.session.budget import Budget, Share
    from andiron._pure.session.outbox import Buffer
    from andiron._pure.session.send import Request
    from andiron._pure.session.streams import Received, Sent
    from andiron._pure.session.wire import Message, Ref

    #: A stream of items: whether the call that it belongs to was made by this end, and the number that whoever made it gave it. A call may
    #: have one each way: which one is meant is clear from what is done with it.
    Stream = Tuple[bool, int]

#: How many bytes a payload has at most before the session is open.
FIRST_PAYLOADS = 4096


class Config:
    """What a session is built with."""

    __slots__ = (
        "agent",
        "auth",
        "budget",
        "ended",
        "features",
        "handshake_timeout",
        "heartbeat",
        "limits",
        "nonce",
        "refuse",
        "store",
    )

    def __init__(
        self,
        agent: str = "andiron-python",
        features: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
        store: bytes | None = None,
        handshake_timeout: float = 10.0,
        auth: str | Sequence[bytes] = "user",
        refuse: tuple[int, str, Failure] | None = None,
        heartbeat: tuple[float, float] | None = None,
        ended: Sequence[tuple[bytes, str]] = (),
        nonce: bytes | None = None,
        budget: Budget | None = None,
    ) -> None:
        #: Program and version, for the people at the other end.
        self.agent = agent
        #: What this end can do; see the features of the specification.
        self.features = features
        #: What this end accepts, where that is not the default.
        self.limits = clamped(limits or {})
        #: The incarnation of the store behind this end.
        self.store = store
        self.handshake_timeout = handshake_timeout
        #: How this end knows who is at the other one: "user", "certificate", or keys of 32 bytes. What an initiator proves to have is the first;
        #: an acceptor takes any, and answers with the same.
        self.auth = auth
        #: An acceptor that can take nobody sends everybody away: with which reason, what the peer is told, what the session fails with here.
        self.refuse = refuse
        #: Whether it asks the peer for signs of life while it waits for it: after how many seconds without any, and how long it waits for one.
        self.heartbeat = heartbeat
        #: Keys that an acceptor takes no more, each with what both ends are told where somebody proves to have it.
        self.ended = ended
        #: Random bytes that no other session uses.
        self.nonce = nonce
        #: What it may hold together with other sessions of what it received and did not work off.
        self.budget = budget

    @property
    def method(self) -> str:
        """The name of its way of authentication in a HELLO."""
        return self.auth if isinstance(self.auth, str) else "secret"


class Payload:
    """A body as it arrived, with what it names."""

    __slots__ = ("attachments", "body", "codec", "parts", "refs", "stream")

    def __init__(
        self,
        codec: int,
        body: Buffer,
        refs: Any = (),
        attachments: Any = (),
        parts: bool = False,
        stream: Any = False,
    ) -> None:
        #: How the body is encoded.
        self.codec = codec
        #: The encoded value: bytes, or a view of them where they are many.
        self.body = body
        #: The references that the body names by position, as they stand in the frame: owner 0 is the sender, 1 the receiver. Whoever drives the session puts here, and in what
        #: follows, what it makes of them.
        self.refs = refs
        #: What else the body names by position: `Descriptor`s, or with ``parts`` views of what came in the body.
        self.attachments = attachments
        self.parts = parts
        #: Of a call or result: a stream of items comes with it.
        self.stream = stream

    def fill(self, body: Buffer) -> None:
        """Takes the whole body, of which ``attachments`` so far has the lengths of the parts."""
        if self.parts:
            view = memoryview(body)
            at = len(view) - sum(self.attachments)
            body = body[:at]
            parts = []
            for length in self.attachments:
                parts.append(view[at : at + length])
                at += length
            self.attachments = tuple(parts)
        self.body = body


class IncomingCall:
    """A call or notify of the peer, until it is answered."""

    __slots__ = (
        "annotations",
        "awaits",
        "cancelled",
        "chain",
        "cost",
        "deadline",
        "depth",
        "id",
        "method",
        "notify",
        "payload",
        "promise",
        "target",
        "timed",
        "told",
    )

    def __init__(
        self,
        id_: int,
        target: int,
        method: str,
        chain: int,
        deadline: float | None,
        notify: bool,
        payload: Payload,
        cost: int,
    ) -> None:
        #: The peer's number of it; for `Session.reply` and the like.
        self.id = id_
        #: The object of this end that is called; 0 is the root. With `promise`: the peer's number of an earlier call of its own.
        self.target = target
        #: What is called is the result of the call `target`, which this end has not answered: it waits for that, or is passed on as such.
        self.promise = False
        self.method = method
        #: The call chain; 0: none.
        self.chain = chain
        #: When the caller will have given up.
        self.deadline = deadline
        #: What the caller says beside the arguments: a map of text to values in the native codec.
        self.annotations: bytes | None = None
        #: True if no answer is wanted. Then `Session.done` or `Session.fail` ends it.
        self.notify = notify
        #: The arguments.
        self.payload = payload
        # The rest is the session's own. What it counts for against the buffer:
        self.cost = cost
        #: The body that it still waits for; 0: none.
        self.awaits = 0
        #: Its event is there.
        self.told = True
        #: The deadline is still to be told.
        self.timed = deadline is not None and not notify
        #: The peer waits no more, and that is told.
        self.cancelled = False
        #: On how many unanswered calls in a row it depends.
        self.depth = 0


class OwnCall:
    """A call of this end."""

    __slots__ = ("abandoned", "answering", "deadline", "ends_at")

    def __init__(self, deadline: float | None, ends_at: int | None) -> None:
        #: When it is given up; ``None`` also once it was.
        self.deadline = deadline
        #: Where in the stream its frame ends; ``None`` while it is held back.
        self.ends_at = ends_at
        #: Nobody waits any more; the peer's answer is still to come.
        self.abandoned = False
        #: The answer has begun; its body is under way.
        self.answering = False


class State:
    """The state of a session. What is done with it stands beside: who is there, what the peer does, what this end does."""

    __slots__ = (
        "answered",
        "answering",
        "asked",
        "backlog",
        "bodies",
        "buffered",
        "config",
        "deadlines",
        "early",
        "events",
        "features",
        "goodbye_received",
        "goodbye_sent",
        "handshake_until",
        "heard",
        "in_flight",
        "inbox",
        "initiator",
        "is_closed",
        "is_open",
        "last_own",
        "last_sent",
        "last_theirs",
        "limits",
        "most_buffer",
        "most_calls",
        "most_frame",
        "most_peer_calls",
        "most_small",
        "most_small_out",
        "outbox",
        "own",
        "peer",
        "proved",
        "received",
        "references",
        "said",
        "sent",
        "share",
        "stage",
        "their_calls",
        "theirs",
        "transcript",
        "turns",
        "unread",
        "unread_until",
    )

    def __init__(self, initiator: bool, config: Config, now: float) -> None:
        self.initiator = initiator
        self.config = config
        self.features = frozenset(config.features)
        #: What this end accepts; those that are looked at with every small frame by themselves.
        limits = self.limits = config.limits
        self.most_frame = FIRST_PAYLOADS
        self.most_calls = limits["calls"]
        self.most_buffer = limits["buffer"]
        #: A frame with a payload of so many bytes breaks no limit by its size alone, whatever it is.
        self.most_small = min(limits["frame"], limits["message"], limits["buffer"] // 4 * 3)

        #: "preface", "hello", "proof": what the peer is to say next; then "open", at last "closed".
        self.stage = "preface"
        #: True after the handshake and until the session is over.
        self.is_open = False
        #: True when the session is over; what `transmit` still gives may be sent, then the stream is to be closed.
        self.is_closed = False
        self.handshake_until: float | None = now + config.handshake_timeout
        #: Where a secret is to be proved, until it is.
        self.transcript = Transcript(initiator) if config.method == "secret" else None
        #: Which key the peer proved to have.
        self.proved: int | None = None
        #: What the peer said of itself; nothing before it is known who that is, when it waits in ``said``.
        self.peer = Hello()
        self.said: Hello | None = None
        #: How many calls the peer takes, and how long a body may be that it takes in any case, in one frame.
        self.most_peer_calls = 0
        self.most_small_out = 0

        self.inbox = Inbox(limits["attachments"])
        self.outbox = Outbox()
        #: What happened, in order: see `Session`.
        self.events: deque[tuple[Any, ...]] = deque()
        self.references = References()
        self.bodies = Bodies(limits["window"])

        self.own: dict[int, OwnCall] = {}
        self.last_own = 0
        self.last_sent = 0
        #: Own calls that the peer has not answered.
        self.in_flight = 0
        #: Calls and notifies that wait for their turn, by number.
        self.backlog: dict[int, Request] = {}
        #: These numbers in order, and those of calls that were given up meanwhile.
        self.turns: deque[int] = deque()
        #: When calls are over, whether they are own ones, and their numbers. Those that ended before may still be here.
        self.deadlines: list[tuple[float, bool, int]] = []
        #: When something was last heard, or this end began to wait, and when it asked for a sign of life since.
        self.heard = now
        self.asked: float | None = None

        self.theirs: dict[int, IncomingCall] = {}
        self.last_theirs = 0
        #: Of them those that are no notifies.
        self.their_calls = 0
        #: What they count for.
        self.buffered = 0
        self.share: Share | None = None
        #: Bytes that this end answered by itself (pongs, refusals, credit) and the peer did not read yet: at least half of them are not sent.
        #: When so much of the stream is sent, counting begins anew.
        self.unread = 0
        self.unread_until = 0

        #: The streams that did not end, and how many answers of this end stream: their calls are in flight.
        self.sent: dict[Stream, Sent] = {}
        self.received: dict[Stream, Received] = {}
        self.answering = 0
        #: What became of calls of the peer that can be the target of a promise: the latest ones, by number of the call. Nothing is kept of
        #: results that are not one reference.
        self.answered: dict[int, Ref | Failure] = {}
        #: Calls of what others will give that are not here whole, so that nobody knows of those yet.
        self.early: list[IncomingCall] = []
        self.goodbye_sent = False
        #: The peer's goodbye: the highest id of ours that it takes.
        self.goodbye_received: int | None = None

    if TYPE_CHECKING:  # what the files beside do for each other

        def close(self, failure: Failure) -> None: ...
        def say_goodbye(self, reason: int, text: str) -> None: ...
        def send_held(self, now: float) -> None: ...
        def fail(self, id_: int, failure: Failure) -> None: ...
        def done(self, id_: int) -> None: ...
        def release(self, number: int, count: int) -> None: ...
        def check_promise(self, of: int) -> None: ...
        def keep_result(self, id_: int, refs: Sequence[Ref], body: list[Buffer], length: int) -> None: ...
        def keep_failure(self, id_: int, failure: Failure) -> None: ...
        def open_sent(self, stream: Stream, waits: bool) -> None: ...
        def go_on(self, stream: Stream) -> None: ...
        def stopped(self, stream: Stream) -> bool: ...
        def ended(self, stream: Stream, failure: Failure | None) -> None: ...
        def forget_stopped(self, stream: Stream) -> None: ...
        def give_up_own_items(self, call: int) -> None: ...
        def needs(self, feature: str) -> None: ...
        def check_announced(self, message: Message) -> None: ...
        def drop_message(self, message: Message) -> None: ...
        def discard(self, refs: Sequence[Ref]) -> None: ...
        def tell_call(self, call: IncomingCall) -> None: ...
        def tell_stream(self, stream: Stream, wanted: bool) -> None: ...
        def wait(self, waiting: Any, message: Message) -> None: ...

    def opened(self, hello: Hello) -> None:
        """The peer is who it should be, and says this."""
        self.stage = "open"
        self.is_open = True
        self.handshake_until = None
        self.peer = hello
        self.said = None
        limits = hello.limits
        self.outbox.limit_frames(limits["frame"])
        self.most_frame = self.limits["frame"]
        self.most_peer_calls = limits["calls"]
        self.most_small_out = min(SHARE_FROM, limits["frame"] - 281, limits["message"])
        self.events.append(("opened", hello))

    def can_speak(self) -> bool:
        """True once the preface is sent that makes sense of a frame. An acceptor says nothing to a stranger."""
        return self.initiator or self.stage != "preface"

    def at(self, deadline: float, own: bool, id_: int) -> None:
        """A call is over then."""
        deadlines = self.deadlines
        if len(deadlines) > 64 + 2 * (len(self.own) + len(self.theirs)):
            deadlines[:] = [entry for entry in deadlines if self.is_awaited(*entry)]
            heapify(deadlines)
        heappush(deadlines, (deadline, own, id_))

    def is_awaited(self, deadline: float, own: bool, id_: int) -> bool:
        """True while a call has this deadline and did not end."""
        if own:
            mine = self.own.get(id_)
            return mine is not None and mine.deadline == deadline
        theirs = self.theirs.get(id_)
        return theirs is not None and theirs.timed

    def next_deadline(self) -> float | None:
        """When the first call is over."""
        deadlines = self.deadlines
        while deadlines:
            if self.is_awaited(*deadlines[0]):
                return deadlines[0][0]
            heappop(deadlines)
        return None


def fresh_nonce() -> bytes:
    """Random bytes for a proof."""
    return os.urandom(32)
