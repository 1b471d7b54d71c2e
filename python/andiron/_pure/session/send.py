"""What this end does: calls, answers, cancels, releases."""

from __future__ import annotations

from _collections import deque

from andiron._pure.failure import Failure
from andiron._pure.session.outbox import SHARE_FROM, cut
from andiron._pure.session.state import OwnCall, State
from andiron._pure.session.told import failure_body
from andiron._pure.session.wire import (
    CALL,
    CALL_HEAD,
    CALLEE,
    CANCEL,
    DONE,
    ENTRY_SIZE,
    ERROR,
    EXTRA,
    HEADER,
    ITEM,
    LONG,
    LONGEST_HEAD,
    MOST_ANNOTATIONS,
    MOST_PARTS,
    NOTIFY,
    NUMBER_OF_KIND,
    PARTS,
    PING,
    PLAIN_CALL,
    PLAIN_RESULT,
    PROMISE,
    REFS,
    RELEASE,
    RESULT,
    STREAM,
    TWO_U64,
    U16,
    U64,
    further,
    tail,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Iterable, Union

    from andiron._pure.session.outbox import Buffer, Owner
    from andiron._pure.session.state import IncomingCall
    from andiron._pure.session.wire import Ref

    Body = Union[Buffer, Sequence[Buffer]]

#: References on one message.
_MOST_REFS = 65535

_pack_call = PLAIN_CALL.pack
_pack_result = PLAIN_RESULT.pack


class Outgoing:
    """A body on its way out, with what it names."""

    __slots__ = ("attachments", "buffers", "codec", "length", "parts", "refs")

    def __init__(
        self, codec: int, body: Body, refs: Sequence[Ref], attachments: Sequence[Any], parts: Sequence[int]
    ) -> None:
        self.codec = codec
        self.buffers = flat(body)
        self.length = sum([len(buffer) for buffer in self.buffers])
        self.refs = refs
        self.attachments = attachments
        #: The lengths of what stands behind the value in the body.
        self.parts = parts


def flat(body: Body) -> list[Buffer]:
    """A body as buffers of single bytes."""
    if type(body) is bytes:
        return [body] if body else []
    if isinstance(body, (bytes, bytearray, memoryview)):
        body = (body,)
    buffers: list[Buffer] = []
    for buffer in body:
        if type(buffer) is not bytes:
            view = memoryview(buffer)
            if not view.nbytes:
                continue
            buffer = view if view.format == "B" and view.ndim == 1 else view.cast("B")
        if buffer:
            buffers.append(buffer)
    return buffers


class Request:
    """A call or notify to make."""

    __slots__ = (
        "annotations",
        "arguments",
        "chain",
        "deadline",
        "kind",
        "method",
        "promise",
        "stream",
        "target",
    )

    def __init__(
        self,
        kind: int,
        target: int,
        promise: bool,
        method: bytes,
        chain: int,
        deadline: float | None,
        annotations: bytes | None,
        arguments: Outgoing,
        stream: bool,
    ) -> None:
        self.kind = kind
        self.target = target
        self.promise = promise
        self.method = method
        self.chain = chain
        self.deadline = deadline
        self.annotations = annotations
        self.arguments = arguments
        self.stream = stream


def _microseconds(deadline: float | None, now: float) -> int:
    if deadline is None:
        return 0
    left = (deadline - now) * 1e6
    return 1 if left < 1 else int(left) if left < 1 << 63 else 1 << 63


class Sending(State):
    """The part of a session that its user drives."""

    __slots__ = ()

    def call(
        self,
        now: float,
        target: int,
        method: str,
        body: Body = b"",
        codec: int = 1,
        refs: Sequence[Ref] = (),
        attachments: Sequence[Any] = (),
        parts: Sequence[int] = (),
        stream: bool = False,
        chain: int = 0,
        deadline: float | None = None,
        promise: bool = False,
        annotations: bytes | None = None,
        notify: bool = False,
    ) -> int:
        """Calls a method. The number stands in the *answer* that ends the call. More calls than the peer takes at once wait here.

        ``promise``: the object that is called is the result of the own call ``target``, which is not answered yet. ``notify``: no answer
        comes; if it fails, *notify_failed* may tell.

        Raises a `Failure` for what is wrong with the request or the session; then nothing was sent and no event follows. Numbers of `show` in it
        stay shown, or go by `forget_unsent`.
        """
        if not self.is_open or self.goodbye_sent or self.goodbye_received is not None:
            text = "the session is being closed" if self.is_open else "the session is not open"
            raise Failure("unavailable", text)
        name = method.encode("utf-8", "replace")
        if not 1 <= len(name) <= 255:
            raise Failure("no method", "a method name has 1 to 255 bytes")
        if (
            type(body) is not bytes
            or len(body) > self.most_small_out
            or notify
            or self.backlog
            or self.in_flight >= self.most_peer_calls
            or refs
            or attachments
            or parts
            or stream
            or promise
            or annotations
        ):
            arguments = Outgoing(codec, body, refs, attachments, parts)
            kind = NOTIFY if notify else CALL
            request = Request(kind, target, promise, name, chain, deadline, annotations, arguments, stream)
            return self._start(now, request)
        # As most are: one small frame that goes at once.
        if not self.in_flight:
            self.heard = now
            self.asked = None
        self.in_flight += 1
        id_ = self.last_own = self.last_sent = self.last_own + 1
        timeout = 0 if deadline is None else _microseconds(deadline, now)
        length = 26 + len(name) + len(body)
        outbox = self.outbox
        outbox.put(
            _pack_call(length, CALL << 8, 0, id_, target, chain, timeout, codec, len(name)) + name + body
        )
        self.own[id_] = OwnCall(deadline, outbox.end)
        if deadline is not None:
            self.at(deadline, True, id_)
        return id_

    def _start(self, now: float, request: Request) -> int:
        arguments = request.arguments
        self._check_call(request)
        self._check_features(request)
        self.references.count(arguments.refs)
        id_ = self.last_own = self.last_own + 1
        is_call = request.kind == CALL
        held = bool(self.backlog) or (is_call and self.in_flight >= self.most_peer_calls)
        if request.stream:
            self.open_sent((True, id_), held)
        if held:
            self.backlog[id_] = request
            self.turns.append(id_)
        else:
            self._send_call(now, id_, request)
        if is_call:
            self.own[id_] = OwnCall(request.deadline, None if held else self.outbox.end)
            if request.deadline is not None:
                self.at(request.deadline, True, id_)
        return id_

    def send_held(self, now: float) -> None:
        """Sends what was held back, as far as the peer takes it."""
        while self.backlog:
            id_ = self.turns[0]
            request = self.backlog.get(id_)
            if request is not None and request.kind == CALL and self.in_flight >= self.most_peer_calls:
                return
            self.turns.popleft()
            if request is None:
                continue
            del self.backlog[id_]
            self._send_call(now, id_, request)
            self.go_on((True, id_))
            call = self.own.get(id_)
            if call is not None:
                call.ends_at = self.outbox.end

    def _send_call(self, now: float, id_: int, request: Request) -> None:
        if not self.in_flight:
            self.heard = now
            self.asked = None
        if request.kind == CALL:
            self.in_flight += 1
        self.last_sent = id_
        timeout = _microseconds(request.deadline, now)
        name = request.method
        codec = request.arguments.codec
        head = CALL_HEAD.pack(request.target, request.chain, timeout, codec, len(name)) + name
        flags = (PROMISE if request.promise else 0) | (STREAM if request.stream else 0)
        if request.annotations:
            flags |= EXTRA
            head += further(request.annotations)
        self.send_message(request.kind, flags, id_, (CALL, id_), head, request.arguments)

    def drop_held(self, failure: Failure) -> None:
        """Drops what was held back: no more calls are made."""
        while self.backlog:
            id_ = self.turns.popleft()
            request = self.backlog.pop(id_, None)
            if request is None:
                continue
            self.uncount(request.arguments.refs)
            if self.own.pop(id_, None) is None:
                self.events.append(("notify_failed", id_, failure))
                continue
            self.stopped((True, id_))
            self.events.append(("answer", id_, None, failure))

    def uncount(self, refs: Sequence[Ref]) -> None:
        """What was counted for a message does not go."""
        self.references.uncount(refs)
        self.forget_unsent(refs)

    def reply(
        self,
        id_: int,
        body: Body = b"",
        codec: int = 1,
        refs: Sequence[Ref] = (),
        attachments: Sequence[Any] = (),
        parts: Sequence[int] = (),
        stream: bool = False,
    ) -> None:
        """Answers a call of the peer. For a notify this is `done`. A result that cannot be sent becomes a failure."""
        call = self.theirs.get(id_)
        if call is None or call.notify:
            self._take_theirs(id_, False)
            self.forget_unsent(refs)
        elif (
            type(body) is bytes
            and len(body) <= self.most_small_out
            and not (refs or attachments or parts or stream)
            and not (self.received and (False, id_) in self.received)
        ):
            # As most are: one small frame, and nothing else depends on it.
            del self.theirs[id_]
            self.buffered -= call.cost
            self.their_calls -= 1
            if self.share is not None:
                self.share.give_back(call.cost)
            self.outbox.put(_pack_result(1 + len(body), RESULT << 8, 0, id_, codec) + body)
        else:
            self._reply(call, Outgoing(codec, body, refs, attachments, parts), stream)

    def _reply(self, call: IncomingCall, result: Outgoing, stream: bool) -> None:
        try:
            self.check(result)
            if stream:
                self._check_answering_stream(call)
        except Failure as failure:
            self.forget_unsent(result.refs)
            self.fail(call.id, failure)
            return
        self._take_theirs(call.id, stream)
        if stream:
            self.open_sent((False, call.id), False)
        self.references.count(result.refs)
        self.keep_result(call.id, result.refs, result.buffers, result.length)
        head = bytes((result.codec,))
        flags = STREAM if stream else 0
        self.send_message(RESULT, flags, call.id, (RESULT, call.id), head, result)

    def done(self, id_: int) -> None:
        """Ends a notify of the peer."""
        self._take_theirs(id_, False)

    def fail(self, id_: int, failure: Failure) -> None:
        """Tells the peer that its call or notify failed."""
        if self._take_theirs(id_, False):
            self.keep_failure(id_, failure)
            self.send_failure(ERROR, 0, id_, failure)

    def notify_failed(self, id_: int, failure: Failure) -> None:
        """Tells the peer that a notify of its own, which is `done` here, failed after all: for a relay that passed it on."""
        if self.is_open and id_ <= self.last_theirs:
            self.send_failure(ERROR, 0, id_, failure)

    def _take_theirs(self, id_: int, streaming: bool) -> bool:
        """Takes a call of the peer off the books; false if it is not there, as after the end of the session.

        ``streaming``: its answer streams, so the items of the caller go on too.
        """
        call = self.theirs.pop(id_, None)
        if call is None:
            return False
        if self.received:
            if streaming:
                self.forget_stopped((False, id_))
            else:
                text = "the call that the items belong to was answered"
                self.ended((False, id_), Failure("cancelled", text))
        self.buffered -= call.cost
        if self.share is not None:
            self.share.give_back(call.cost)
        if not call.notify:
            self.their_calls -= 1
        return True

    def send_failure(self, kind: int, flags: int, id_: int, failure: Failure) -> None:
        """Sends an ERROR, or an END with an error."""
        body = failure_body(failure, self.peer.limits["frame"] - 2)
        head = U16.pack(NUMBER_OF_KIND[failure.kind])
        self.outbox.frame(kind, flags, id_, head + body)

    def cancel(self, id_: int) -> None:
        """Gives an own call up and asks the peer to stop it. Its *answer* follows at once, unless it is there already."""
        self.abandon(id_, Failure("cancelled", "the caller cancelled the call"))

    def abandon(self, id_: int, failure: Failure) -> None:
        """Gives an own call up for this reason."""
        call = self.own.get(id_)
        if call is None or call.abandoned:
            return
        call.deadline = None
        held = self.backlog.pop(id_, None)
        if held is not None:
            del self.own[id_]
            self.uncount(held.arguments.refs)
            if len(self.turns) > 64 + 2 * len(self.backlog):
                self.turns = deque(self.backlog)
        else:
            call.abandoned = True
            self.outbox.abort((CALL, id_))
            self.outbox.frame(CANCEL, 0, id_)
        self.give_up_own_items(id_)
        self.events.append(("answer", id_, None, failure))

    def show(self) -> int:
        """A number under which the peer can be shown an own object, as ``(0, number)`` in a message.

        Raises *overloaded* if the peer holds references to as many objects as it takes.
        """
        most = self.peer.limits["objects"]
        if len(self.references.shown) >= most:
            text = (
                f"the other end holds references to {most} objects and takes no more; drop some proxies there"
            )
            raise Failure("overloaded", text)
        return self.references.show()

    def forget_unsent(self, refs: Iterable[Ref]) -> None:
        """Takes back numbers of `show` that were not sent after all; *released* follows for them."""
        if self.is_closed:
            return
        for owner, number in refs:
            if not owner and self.references.forget_unused(number):
                self.events.append(("released", number))

    def release(self, number: int, count: int) -> None:
        """Gives back references to an object of the peer: as many as arrived and were counted."""
        told = self.references.release(number, count)
        if told and self.is_open:
            self.outbox.frame(RELEASE, 0, number, U64.pack(told))

    def ping(self, content: bytes) -> None:
        """Asks the peer for a sign of life; *pong* brings the same bytes, of which the first 64 go."""
        if self.is_open:
            self.outbox.frame(PING, 0, 0, content[:64])

    def leave(self) -> None:
        """Says goodbye for want of anything more to do."""
        self.goodbye(DONE, "done")

    if TYPE_CHECKING:

        def goodbye(self, reason: int, text: str) -> None: ...

    def _check_features(self, request: Request) -> None:
        """Whether the peer knows what the request needs."""
        if request.stream and request.kind == NOTIFY:
            raise Failure("unsupported", "a one-way call cannot have a stream")
        if request.stream:
            self._check_streams()
        if request.promise:
            self.check_promise(request.target)

    def _check_streams(self) -> None:
        if "streams" not in self.peer.features:
            raise Failure("unsupported", "the other end does not know streams")

    def _check_answering_stream(self, call: IncomingCall) -> None:
        self._check_streams()
        if call.cancelled:
            # It would take none, nor say so again.
            raise Failure("cancelled", "the caller gave the call up and would take no items")

    def _check_call(self, request: Request) -> None:
        annotations = request.annotations or b""
        room = self.peer.limits["frame"] - LONGEST_HEAD
        most = min(MOST_ANNOTATIONS, room - len(further(b"\x80")))
        if len(annotations) > most:
            text = f"annotations of {len(annotations)} bytes; at most {most} go beside a call"
            raise Failure("too large", text)
        self.check(request.arguments, len(further(annotations)))

    def check(self, outgoing: Outgoing, beside: int = 0) -> None:
        """Whether the peer takes this, with so many bytes of further fields."""
        limits = self.peer.limits
        most_refs = min(_MOST_REFS, (limits["frame"] - LONGEST_HEAD - beside) // ENTRY_SIZE)
        if outgoing.length > limits["message"]:
            text = f"a message of {outgoing.length} bytes; the other end takes {limits['message']}"
        elif len(outgoing.refs) > most_refs:
            text = f"a message with {len(outgoing.refs)} references; the other end takes {most_refs}"
        elif len(outgoing.attachments) > limits["attachments"]:
            text = f"{len(outgoing.attachments)} descriptors; the other end takes {limits['attachments']}"
        elif len(outgoing.parts) > MOST_PARTS:
            text = f"{len(outgoing.parts)} big values in one message; at most {MOST_PARTS}"
        else:
            for owner, number in outgoing.refs:
                self._check_ref(owner, number)
            return
        raise Failure("too large", text)

    def _check_ref(self, owner: int, number: int) -> None:
        if not number:
            text = "the root object cannot stand in a message: it is always there"
            raise Failure("encoding", text)
        if not owner and number not in self.references.shown:
            text = f"the other end has released object {number}: show it again under a new number"
            raise Failure("no object", text)

    def send_message(
        self, kind: int, flags: int, id_: int, owner: Owner, head: bytes, outgoing: Outgoing
    ) -> bool:
        """Queues a message that was checked and whose references are counted. True where its body is long."""
        refs, parts, attachments = outgoing.refs, outgoing.parts, outgoing.attachments
        fixed = head + tail(refs, parts) if refs or parts else head
        flags |= (REFS if refs else 0) | (PARTS if parts else 0)
        room = self.peer.limits["frame"] - len(fixed)
        length = outgoing.length
        outbox = self.outbox
        if attachments:
            outbox.attach(attachments)
        if length <= room:
            header = HEADER.pack(len(fixed) + length, kind, flags, len(attachments), id_)
            if length < SHARE_FROM:
                outbox.put(b"".join((header, fixed, *outgoing.buffers)))
                return False
            outbox.put(header + fixed)
            for buffer in outgoing.buffers:
                outbox.put(buffer)
            return False
        window = self.peer.limits["window"]
        first = min(room - 16, window)
        body = outbox.last_body = outbox.last_body + 1
        header = HEADER.pack(len(fixed) + 16 + first, kind, flags | LONG, len(attachments), id_)
        outbox.put(header + fixed + TWO_U64.pack(body, length))
        rest = deque([memoryview(buffer) for buffer in outgoing.buffers])
        for piece in cut(rest, first):
            outbox.put(piece)
        outbox.long(owner, rest, length - first, window - first)
        return True


def owner_of_item(flags: int, id_: int) -> tuple[int, tuple[bool, int]]:
    """Whose body the body of an item is."""
    return ITEM, (not flags & CALLEE, id_)
