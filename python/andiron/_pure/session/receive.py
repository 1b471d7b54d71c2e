"""What arrives: frames to events."""

from __future__ import annotations

from andiron._pure.failure import Failure
from andiron._pure.session.handshake import Handshaking
from andiron._pure.session.inbox import Descriptor
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
    NOTIFY,
    OPTIONAL,
    OVERLOADED,
    PING,
    PONG,
    PROMISE,
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
    from typing import Any

    from andiron._pure.session.bodies import Grant
    from andiron._pure.session.inbox import Found
    from andiron._pure.session.wire import Data, Ref

#: A peer that provokes more bytes of refusals, pongs and the like, and does not read them, is given up.
_MOST_UNREAD = 8 << 20
#: A descriptor counts for so many bytes: a process may open few of them, compared with the bytes that it may have.
_DESCRIPTOR = 64 << 10
#: An entry of a reference table counts for so many.
_REFERENCE = 80
#: Shorter bodies are copied out of what was read, so that they keep nothing else alive.
_VIEW_FROM = 16 << 10
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


class Receiving(Handshaking):
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
        if not owned and not cut_off and self.is_open and self.inbox.is_between():
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
                body = data[at + 17 : ends] if length < _VIEW_FROM else _part(data, at + 17, ends)
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
                body = data[begins:ends] if length < _VIEW_FROM else _part(data, begins, ends)
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
                body = data[at + 17 : ends] if length < _VIEW_FROM else _part(data, at + 17, ends)
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
            self._on_chunk(id_, memoryview(data)[begins:ends], more)
            return
        if not self.is_open or kind < CALL or kind == GOODBYE:
            self._on_frame_of_session(kind, id_, data[begins:ends])
            return
        if kind >= OPTIONAL:
            return
        on_message = _ON_MESSAGE.get(kind)
        if on_message is None:
            _ON_SIGNAL[kind](self, flags, id_, data[begins:ends])
            return
        if kind == ITEM:
            self.needs("streams")
        on_message(self, now, kind, flags, id_, Message(kind, flags, data, begins, ends), more, lost)

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

    def _on_call(
        self,
        now: float,
        kind: int,
        flags: int,
        id_: int,
        message: Message,
        descriptors: list[Descriptor],
        lost: bool,
    ) -> None:
        stream = bool(flags & STREAM)
        if flags & PROMISE:
            self.needs("promises")
        if stream:
            self.needs("streams")
        if id_ <= self.last_theirs:
            raise Violation(f"call {id_} comes after call {self.last_theirs}")
        self.check_announced(message)
        if message.refs:
            self.references.received(message.refs, self.limits["objects"])
        if self.goodbye_sent:
            self.drop_message(message)  # the peer knows from the goodbye that it does not run
            return
        self.last_theirs = id_
        notify = kind == NOTIFY
        cost = self._cost(message, len(descriptors))
        target, promise, depth = message.target, False, 0
        try:
            self._check_room(notify, cost, lost)
            if flags & PROMISE:
                target, promise, depth = self.promised(target, id_)
            if self.share is not None and not self.share.take(cost):
                text = "all clients together have more under way than this server takes; try again later"
                raise Failure("overloaded", text)
        except Failure as failure:
            self.drop_message(message)
            self.keep_failure(id_, failure)
            self.send_failure(ERROR, 0, id_, failure)
            return
        deadline = now + message.timeout / 1e6 if message.timeout else None
        payload = self.payload_of(message, descriptors, stream)
        call = IncomingCall(id_, target, message.method, message.chain, deadline, notify, payload, cost)
        call.promise = promise
        call.depth = depth
        call.annotations = message.annotations or None
        call.awaits = message.body
        # As most are: it is handed on at once, and nobody can have asked for what it gives before.
        call.told = not message.body and not promise
        self.theirs[id_] = call
        if call.timed and deadline is not None:
            self.at(deadline, False, id_)
        if stream:
            self.open_received((False, id_))
        self.buffered += cost
        if not notify:
            self.their_calls += 1
        if message.body:
            self.wait((CALL, call), message)
        elif promise:
            self.tell_call(call)
        else:
            self.events.append(("call", call))
            if stream:
                self.tell_stream((False, id_), True)

    def _cost(self, message: Message, descriptors: int) -> int:
        """What a call counts for against the buffer: never all of it, so that small calls still pass beside the largest one."""
        beside = len(message.refs) * _REFERENCE + len(message.annotations) + descriptors * _DESCRIPTOR
        return min(message.length + beside, self.most_buffer // 4 * 3)

    def _check_room(self, notify: bool, cost: int, lost: bool) -> None:
        """Raises why a call is not taken, if so."""
        # A call is in flight until the last byte of its answer is on its way.
        in_flight = self.their_calls + self.outbox.answers + self.answering
        most = self.most_calls
        if lost:
            text = "descriptors of this call were lost: the receiver has no more descriptors free"
        elif not notify and in_flight >= most:
            text = f"more than {most} calls in flight"
        elif notify and len(self.theirs) >= 8 * most:
            text = f"more than {8 * most} calls and notifies wait"
        elif self.buffered + cost > self.most_buffer:
            text = f"more than {self.most_buffer} bytes of calls wait"
        else:
            return
        raise Failure("overloaded", text)

    def payload_of(self, message: Message, descriptors: list[Descriptor], stream: bool) -> Payload:
        """What a message brings, with its body where that is here whole."""
        parts = bool(message.parts)
        beside = message.parts if parts else tuple(descriptors)
        payload = Payload(message.codec, b"", message.refs, beside, parts, stream)
        if not message.body:
            payload.fill(_part(message.data, message.begins, message.ends))
        return payload

    def drop_message(self, message: Message) -> None:
        """A message that is not taken leaves nothing behind."""
        if message.body:
            self.bodies.announce(message.body, message.length, message.ends - message.begins)
        self.discard(message.refs)

    def _on_answer(
        self,
        now: float,  # noqa: ARG002
        kind: int,
        flags: int,
        id_: int,
        message: Message,
        descriptors: list[Descriptor],
        lost: bool,
    ) -> None:
        stream = bool(flags & STREAM)
        if stream:
            self.needs("streams")
        if id_ == 0 or id_ > self.last_sent:
            raise Violation(f"an answer to call {id_}, which was never made")
        call = self.own.get(id_)
        if call is not None and call.answering:
            raise Violation(f"a second answer to call {id_}")
        if kind == RESULT:
            if call is None:
                raise Violation(f"a result for call {id_}, which was answered before or wants none")
            call.answering = bool(message.body)
            self.check_announced(message)
        if message.refs:
            self.references.received(message.refs, self.limits["objects"])
        self.outbox.abort((CALL, id_))
        if kind == ERROR:
            self.discard(message.refs)
            self._settle(id_, None, read_failure(message.codec, bytes(message.beginning())))
            return
        if lost:
            # The rest of the answer comes as it would after a cancel.
            text = "descriptors of the result were lost: this process has no more descriptors free"
            self.abandon(id_, Failure("overloaded", text))
        if stream:
            self.open_received((True, id_))  # its end may overtake the rest of the answer
        payload = self.payload_of(message, descriptors, stream)
        if message.body:
            self.wait((RESULT, id_, payload), message)
        else:
            self._settle(id_, payload, None)

    def _on_item(
        self,
        now: float,  # noqa: ARG002
        kind: int,  # noqa: ARG002
        flags: int,
        id_: int,
        message: Message,
        descriptors: list[Descriptor],
        lost: bool,
    ) -> None:
        self.on_item(flags, id_, message, descriptors, lost)

    def check_announced(self, message: Message) -> None:
        """Checks the length of a message's body against the limit."""
        if message.length > self.limits["message"]:
            most = self.limits["message"]
            raise Violation(f"a body of {message.length} bytes, allowed are {most}")

    def wait(self, waiting: tuple[Any, ...], message: Message) -> None:
        """What waits for the rest of its body: the kind of its frame, and what `_on_chunk` does with it then."""
        self._grant(self.bodies.begin(message.body, message.length, message.beginning(), waiting))

    def tell_call(self, call: IncomingCall) -> None:
        """A call is here whole; where it is of a promise it may have to wait, or fail."""
        if not self.settle_promise(call):
            return
        call.told = True
        self.events.append(("call", call))
        if call.payload.stream:
            self.tell_stream((False, call.id), True)
        self.tell_dependents(call.id)

    def _settle(self, id_: int, payload: Payload | None, failure: Failure | None) -> None:
        """The answer to an own call, or the failure of a notify, is here."""
        call = self.own.pop(id_, None)
        if call is None:
            if payload is not None:
                self.discard(payload.refs)
            else:
                self.events.append(("notify_failed", id_, failure))
            return
        stream = (True, id_)
        streams = payload is not None and payload.stream
        if not streams:
            self.received.pop(stream, None)  # of an answer that was given up
            self.in_flight -= 1
            if self.sent:
                self.stopped(stream)
        if not call.abandoned:
            self.events.append(("answer", id_, payload, failure))
        elif payload is not None:
            self.discard(payload.refs)
        if streams:
            self.tell_stream(stream, not call.abandoned)  # the call is in flight until its stream ends

    def _on_chunk(self, body: int, piece: memoryview, left: int) -> None:
        if not self.is_open:
            raise Violation("a chunk before the session is open")
        waiting, whole, grant = self.bodies.piece(body, piece, left)
        self._grant(grant)
        if waiting is None or whole is None:
            return
        view = memoryview(whole).toreadonly()
        if waiting[0] == CALL:
            call: IncomingCall = waiting[1]
            call.awaits = 0
            call.payload.fill(view)
            self.tell_call(call)
            return
        payload: Payload = waiting[2]
        payload.fill(view)
        if waiting[0] == RESULT:
            self._settle(waiting[1], payload, None)
        else:
            self.deliver_item(waiting[1], payload)

    def _on_abort(self, body: int) -> None:
        waiting, grant = self.bodies.abort(body)
        self._grant(grant)
        if waiting is None:
            return
        if waiting[0] == CALL:
            self.discard(waiting[1].payload.refs)
            self._refuse(waiting[1], Failure("cancelled", "the caller gave the call up"))
            return
        self.discard(waiting[2].refs)
        if waiting[0] == RESULT:
            own = self.own.get(waiting[1])
            if own is not None:
                own.answering = False  # its ERROR follows; and that of an item is an END

    def _on_cancel(self, id_: int) -> None:
        if id_ == 0 or (id_ > self.last_theirs and not self.goodbye_sent):
            raise Violation(f"a cancel of call {id_}, which was never made")
        failure = Failure("cancelled", "the caller gave the call up")
        call = self.theirs.get(id_)
        if call is not None and not call.notify:
            self.stop(call, failure)
        elif self.outbox.abort((RESULT, id_)):
            # A RESULT that was to stream opened nothing yet for its caller.
            self.stopped((False, id_))
            self.send_failure(ERROR, 0, id_, failure)
        else:
            self.cancel_streaming_answer(id_)
        # Otherwise it is late: the call was answered.

    def stop(self, call: IncomingCall, failure: Failure) -> None:
        """The peer waits no longer for the answer to its call: a running one is told, one that is not here yet never comes."""
        if call.awaits:
            waiting, grant = self.bodies.forget(call.awaits)
            self._grant(grant)
            if waiting is not None:
                self.discard(call.payload.refs)
            self._refuse(call, failure)
        elif not call.told:
            self.forget_dependent(call.id)
            self._refuse(call, failure)
        elif not call.cancelled:
            call.cancelled = True
            call.timed = False
            self.give_up_items((False, call.id), failure)
            self.events.append(("cancelled", call.id))

    def _refuse(self, call: IncomingCall, failure: Failure) -> None:
        """Ends a call or notify whose body did not come; to a notify nothing is said."""
        call.awaits = 0
        if call.notify:
            self.done(call.id)
        else:
            self.fail(call.id, failure)
        self.tell_dependents(call.id)

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
            self._settle(id_, None, not_run)
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
            self._on_abort(id_)
        else:
            self._on_cancel(id_)

    def _on_ping(self, flags: int, id_: int, payload: Data) -> None:  # noqa: ARG002
        if len(payload) > 64:
            raise Violation("a ping has at most 64 bytes")
        self.outbox.frame(PONG, 0, id_, bytes(payload))

    def _on_pong(self, flags: int, id_: int, payload: Data) -> None:  # noqa: ARG002
        if len(payload) > 64:
            raise Violation("a ping has at most 64 bytes")
        if id_ != PING_ID:  # to the session's own question it is enough that something came
            self.events.append(("pong", bytes(payload)))

    def needs(self, feature: str) -> None:
        """Refuses what belongs to a feature that this end does not list."""
        if feature not in self.features:
            raise Violation(f"{feature} were not agreed on")

    def _grant(self, grant: Grant) -> None:
        if grant is not None:
            self.outbox.frame(CREDIT, 0, grant[0], U64.pack(grant[1]))

    def discard(self, refs: Sequence[Ref]) -> None:
        """Gives back references that nobody will look at."""
        counts: dict[int, int] = {}
        for owner, number in refs:
            if not owner:
                counts[number] = counts.get(number, 0) + 1
        for number, count in counts.items():
            self.release(number, count)


_ON_MESSAGE: dict[int, Callable[..., None]] = {
    CALL: Receiving._on_call,
    NOTIFY: Receiving._on_call,
    RESULT: Receiving._on_answer,
    ERROR: Receiving._on_answer,
    ITEM: Receiving._on_item,
}
_ON_SIGNAL: dict[int, Callable[..., None]] = {
    CANCEL: Receiving._on_empty,
    CHUNK: Receiving._on_empty,
    END: Receiving._on_end_frame,
    CREDIT: Receiving._on_credit,
    RELEASE: Receiving._on_release,
    PING: Receiving._on_ping,
    PONG: Receiving._on_pong,
}


def _part(data: Data, begins: int, ends: int) -> Any:
    """A body that lies in what was read: as bytes, or as a view where it is long and most of that."""
    size = ends - begins
    if size < _VIEW_FROM or 2 * size < len(data):
        return bytes(data[begins:ends]) if type(data) is not bytes else data[begins:ends]
    return memoryview(data)[begins:ends].toreadonly()


def _exactly_u64(payload: Data) -> int:
    if len(payload) != 8:
        raise Violation("a number of 8 bytes was expected")
    number: int = U64.unpack_from(payload)[0]
    return number
