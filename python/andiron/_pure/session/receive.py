"""What arrives: frames to events."""

from __future__ import annotations

from andiron._pure.failure import Failure
from andiron._pure.memory import Descriptor
from andiron._pure.session.incoming import VIEW_FROM, Incoming, part_of
from andiron._pure.session.state import IncomingCall, Payload
from andiron._pure.session.told import read_failure
from andiron._pure.session.wire import (
    ABORT,
    ABRUPT,
    AUTHENTICATION,
    CALL,
    CALL_HEAD,
    CALLEE,
    CANCEL,
    CHUNK,
    CREDIT,
    END,
    ERROR,
    EXTRA,
    GOODBYE,
    HELLO,
    ITEM,
    NAMES,
    OPTIONAL,
    OVERLOADED,
    PING,
    PONG,
    PROOF,
    PROTOCOL,
    REFS,
    RELEASE,
    RESULT,
    SHORT_HEADER,
    STREAM,
    TIMEOUT,
    U16,
    U64,
    VERSION,
    Message,
    Violation,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andiron._pure.session.inbox import Found
    from andiron._pure.session.wire import Data

#: A peer that provokes more bytes of refusals, pongs and the like, and does not read them, is given up.
_MOST_UNREAD = 8 << 20
#: The id of pings that the session itself sends; those of its user have another.
PING_ID = 1

_SMALL_CALL = CALL << 8
_SMALL_RESULT = RESULT << 8
#: Whether the call was made by this end.
_SMALL_ITEMS = {ITEM << 8: False, ITEM << 8 | CALLEE: True}
_short_header = SHORT_HEADER.unpack_from
_call_head = CALL_HEAD.unpack_from

_KIND_OF_REASON = {
    AUTHENTICATION: "authentication",
    VERSION: "unsupported",
    PROTOCOL: "protocol",
    OVERLOADED: "overloaded",
    TIMEOUT: "deadline",
}


class Receiving(Incoming):
    """The part of a session that the peer drives."""

    __slots__ = ()

    def receive(self, now: float, data: Data, descriptors: Sequence[int] = (), cut_off: bool = False) -> None:
        """Takes the bytes of one read, with the descriptors that came with it, which are the session's from here on.

        ``cut_off``: there were more descriptors than could be received. What the bytes mean comes out of ``events``.
        """
        owned = [Descriptor(number) for number in descriptors] if descriptors else ()
        if self.is_closed:
            return
        self.heard = now
        self.asked = None
        at = 0
        inbox = self.inbox
        if not (owned or cut_off or inbox.partial or inbox.left) and self.is_open:
            at = self._receive_small(now, data)
            if at == len(data):
                if self.backlog:
                    self.send_held(now)
                return
        self._receive(now, data, at, owned, cut_off)

    def _receive_small(self, now: float, data: Data) -> int:
        """Handles small calls, results and items that lie whole in what was read and have nothing beside their bodies, as most do.

        Gives the place of the first frame that is something else: all rules are looked after there, also for frames of which it is not sure here
        that they are good.
        """
        outbox = self.outbox
        if self.goodbye_sent:
            return 0
        # What an answer may end: long bodies and streams of items of the calls of this end.
        bodies, sent = outbox.bodies, self.sent
        most_calls = self.most_calls - outbox.answers - self.answering
        at = 0
        size = len(data)
        events = self.events
        share = self.share
        most = self.most_small
        while size - at > 16:
            length, kind, attached, id_ = _short_header(data, at)
            ends = at + 16 + length
            if ends > size or attached or not 0 < length <= most:
                break
            if kind == _SMALL_RESULT:
                call = self.own.get(id_)
                if call is None or call.answering or call.abandoned or call.ends_at is None:
                    break
                if (bodies and (CALL, id_) in bodies) or (sent and (True, id_) in sent):
                    break
                del self.own[id_]
                self.in_flight -= 1
                body = data[at + 17 : ends] if length < VIEW_FROM else part_of(data, at + 17, ends)
                events.append(("answer", id_, Payload(data[at + 16], body), None))
            elif kind == _SMALL_CALL:
                if length < 27:
                    break
                target, chain, timeout, codec, named = _call_head(data, at + 16)
                begins = at + 42 + named
                cost = ends - begins
                if (
                    not named
                    or cost < 0
                    or id_ <= self.last_theirs
                    or self.their_calls >= most_calls
                    or self.buffered + cost > self.most_buffer
                ):
                    break
                try:
                    method = data[at + 42 : begins].decode()
                except UnicodeDecodeError:
                    break
                if share is not None and not share.take(cost):
                    break
                body = data[begins:ends] if length < VIEW_FROM else part_of(data, begins, ends)
                self.last_theirs = id_
                deadline = None
                if timeout:
                    deadline = now + timeout / 1e6
                incoming = IncomingCall(
                    id_, target, method, chain, deadline, False, Payload(codec, body), cost
                )
                self.theirs[id_] = incoming
                if deadline is not None:
                    self.at(deadline, False, id_)
                self.buffered += cost
                self.their_calls += 1
                events.append(("call", incoming))
            elif kind in _SMALL_ITEMS:
                stream = _SMALL_ITEMS[kind], id_
                stream_in = self.received.get(stream)
                if stream_in is None or not stream_in.credit or stream_in.stopped:
                    break
                stream_in.credit -= 1
                body = data[at + 17 : ends] if length < VIEW_FROM else part_of(data, at + 17, ends)
                events.append(("item", stream, Payload(data[at + 16], body)))
            else:
                break
            at = ends
        return at

    def _receive(
        self, now: float, data: Data, at: int, descriptors: Sequence[Descriptor], cut_off: bool
    ) -> None:
        inbox, outbox = self.inbox, self.outbox
        inbox.read(data, at, descriptors, cut_off)
        try:
            while True:
                found = inbox.next(self.most_frame)
                if found is None:
                    inbox.finish()
                    break
                end = outbox.end
                self._on_found(now, found)
                if self.is_closed:
                    return
                if outbox.end != end:
                    self._count_unread(outbox.end - end)
        except Violation as violation:
            self._violated(str(violation))
            return
        if self.backlog:
            self.send_held(now)

    def _violated(self, text: str) -> None:
        """The peer broke the rules."""
        # To a stranger who does not even speak the protocol nothing is said, by neither end.
        if self.stage != "preface":
            self.say_goodbye(PROTOCOL, text)
        self.close(Failure("protocol", text))

    def _count_unread(self, queued: int) -> None:
        """Counts what this end answered by itself."""
        if self.outbox.position >= self.unread_until:
            self.unread = 0
            self.unread_until = self.outbox.end
        self.unread += queued
        if self.unread > _MOST_UNREAD:
            raise Violation("the other end asks on and on and does not read the answers")

    def _on_found(self, now: float, found: Found) -> None:
        kind, flags, id_, data, begins, ends, more, lost = found
        if isinstance(more, int):
            self.on_chunk(id_, memoryview(data)[begins:ends], more)
            return
        if not self.is_open or kind < CALL or kind == GOODBYE:
            self._on_frame_of_session(kind, id_, data[begins:ends])
            return
        if kind >= OPTIONAL:
            return
        on_signal = _ON_SIGNAL.get(kind)
        if on_signal is not None:
            on_signal(self, flags, id_, data[begins:ends])
            return
        if kind == ITEM:
            self.needs("streams")
        message = Message(kind, flags, data, begins, ends)
        if kind == ITEM:
            self.on_item(flags, id_, message, more, lost)
        elif kind in (RESULT, ERROR):
            self.on_answer(kind, flags, id_, message, more, lost)
        else:
            self.on_call(now, kind, flags, id_, message, more, lost)

    def _on_frame_of_session(self, kind: int, id_: int, payload: Data) -> None:
        """What belongs to the beginning and the end of the session."""
        if kind == 0:
            self.on_preface(bytes(payload))
        elif kind == GOODBYE:
            self._on_goodbye(id_, bytes(payload))
        elif kind == HELLO:
            self.on_hello(id_, bytes(payload))
        elif kind == PROOF:
            self.on_proof(bytes(payload))
        else:
            raise Violation(f"{NAMES.get(kind, 'Optional')} before the session is open")

    def _on_goodbye(self, last: int, payload: bytes) -> None:
        if len(payload) < 2:
            raise Violation("a GOODBYE without a reason")
        (reason,) = U16.unpack_from(payload)
        text = payload[2:].decode("utf-8", "replace")[:1024]
        self.goodbye_received = last
        not_run = Failure("unavailable", f"the other end takes no further calls: {text}")
        self.drop_held(not_run)
        for id_ in sorted([id_ for id_ in self.own if id_ > last]):
            self.outbox.abort((CALL, id_))
            self.settle(id_, None, not_run)
        self.events.append(("goodbye", reason if reason <= TIMEOUT else 0, text))
        if reason in ABRUPT or not self.is_open:
            kind = _KIND_OF_REASON.get(reason, "unavailable")
            self.close(Failure(kind, f"the other end closed the session: {text}"))

    def _on_end_frame(self, flags: int, id_: int, payload: Data) -> None:
        self.needs("streams")
        failure = None
        if payload or flags & (REFS | EXTRA):
            message = Message(END, flags, payload, 0, len(payload))
            if message.refs:
                self.references.received(message.refs, self.limits["objects"])
                self.discard(message.refs)
            failure = read_failure(message.codec, bytes(message.beginning()))
        self.on_end(flags, id_, failure)

    def _on_credit(self, flags: int, id_: int, payload: Data) -> None:
        amount = _exactly_u64(payload)
        if flags & STREAM:
            self.needs("streams")
            self.on_stream_credit(flags, id_, amount)
        elif flags:
            raise Violation("Credit with flags that make no sense on it")
        else:
            self.outbox.credit(id_, amount)

    def _on_release(self, flags: int, id_: int, payload: Data) -> None:  # noqa: ARG002
        if self.references.released(id_, _exactly_u64(payload)):
            self.events.append(("released", id_))

    def _on_empty(self, flags: int, id_: int, payload: Data) -> None:
        """A CANCEL, or a CHUNK with ABORT: the others are found piece by piece."""
        if payload:
            raise Violation(f"{NAMES[CHUNK if flags & ABORT else CANCEL]} with a payload")
        if flags & ABORT:
            self.on_abort(id_)
        else:
            self.on_cancel(id_)

    def _on_ping(self, flags: int, id_: int, payload: Data) -> None:  # noqa: ARG002
        if len(payload) > 64:
            raise Violation("a ping has at most 64 bytes")
        self.outbox.frame(PONG, 0, id_, bytes(payload))

    def _on_pong(self, flags: int, id_: int, payload: Data) -> None:  # noqa: ARG002
        if len(payload) > 64:
            raise Violation("a ping has at most 64 bytes")
        if id_ != PING_ID:  # to the session's own question it is enough that something came
            self.events.append(("pong", bytes(payload)))


_ON_SIGNAL: dict[int, Callable[..., None]] = {
    CANCEL: Receiving._on_empty,
    CHUNK: Receiving._on_empty,
    END: Receiving._on_end_frame,
    CREDIT: Receiving._on_credit,
    RELEASE: Receiving._on_release,
    PING: Receiving._on_ping,
    PONG: Receiving._on_pong,
}


def _exactly_u64(payload: Data) -> int:
    if len(payload) != 8:
        raise Violation("a number of 8 bytes was expected")
    number: int = U64.unpack_from(payload)[0]
    return number
