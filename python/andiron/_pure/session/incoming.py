"""What the messages of the peer come to: its calls, its answers, and their bodies."""

from __future__ import annotations

from andiron._pure.failure import Failure
from andiron._pure.session.handshake import Handshaking
from andiron._pure.session.state import IncomingCall, Payload
from andiron._pure.session.told import read_failure
from andiron._pure.session.wire import (
    CALL,
    CREDIT,
    ERROR,
    NOTIFY,
    PROMISE,
    RESULT,
    STREAM,
    U64,
    Message,
    Violation,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from andiron._pure.memory import Descriptor
    from andiron._pure.session.bodies import Grant
    from andiron._pure.session.wire import Data, Ref

#: A descriptor counts for so many bytes: a process may open few of them, compared with the bytes that it may have.
_DESCRIPTOR = 64 << 10
#: An entry of a reference table counts for so many.
_REFERENCE = 80
#: Shorter bodies are copied out of what was read, so that they keep nothing else alive.
VIEW_FROM = 16 << 10


class Incoming(Handshaking):
    """The part of a session that takes what the peer asks and answers."""

    __slots__ = ()

    def on_call(
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
            payload.fill(part_of(message.data, message.begins, message.ends))
        return payload

    def drop_message(self, message: Message) -> None:
        """A message that is not taken leaves nothing behind."""
        if message.body:
            self.bodies.announce(message.body, message.length, message.ends - message.begins)
        self.discard(message.refs)

    def on_answer(
        self,
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
            self.settle(id_, None, read_failure(message.codec, bytes(message.beginning())))
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
            self.settle(id_, payload, None)

    def check_announced(self, message: Message) -> None:
        """Checks the length of a message's body against the limit."""
        if message.length > self.limits["message"]:
            most = self.limits["message"]
            raise Violation(f"a body of {message.length} bytes, allowed are {most}")

    def wait(self, waiting: tuple[Any, ...], message: Message) -> None:
        """What waits for the rest of its body: the kind of its frame, and what `on_chunk` does with it then."""
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

    def settle(self, id_: int, payload: Payload | None, failure: Failure | None) -> None:
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

    def on_chunk(self, body: int, piece: memoryview, left: int) -> None:
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
            self.settle(waiting[1], payload, None)
        else:
            self.deliver_item(waiting[1], payload)

    def on_abort(self, body: int) -> None:
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

    def on_cancel(self, id_: int) -> None:
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


def part_of(data: Data, begins: int, ends: int) -> Any:
    """A body that lies in what was read: as bytes, or as a view where it is long and most of that."""
    size = ends - begins
    if size < VIEW_FROM or 2 * size < len(data):
        return bytes(data[begins:ends]) if type(data) is not bytes else data[begins:ends]
    return memoryview(data)[begins:ends].toreadonly()
