"""What goes over a connection beside values: objects, memory, and streams."""

from __future__ import annotations

import os
import weakref

from andiron._pure import hooks
from andiron._pure.failure import Failure
from andiron._pure.memory import Descriptor, Memory
from andiron._pure.objects import Objects, resolve
from andiron._pure.reading import Reading
from andiron._pure.remote import Far, Remote
from andiron._pure.streams import Inflow, Sending
from andiron._pure.target import Call, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from andiron._pure.codec import Encoded
    from andiron._pure.session import Payload, Session
    from andiron._pure.transport.channel import Channel

#: While so many descriptors wait to be sent, because the other end does not read, bytes go in place of others.
MOST_QUEUED = 64

#: While so many descriptors were sent that the other end may not have read, bytes go in place of others: the system counts those of all processes of a user together.
MOST_PASSED = 64


class Flows(Reading):
    """A connection as far as it names objects, passes memory and streams items."""

    def __init__(self, channel: Channel, session: Session, bound: bool) -> None:
        super().__init__(channel, session, bound)
        self.objects = Objects(self._dropped)
        #: Streams that come, as long as somebody here has them.
        self._inflows: dict[tuple[bool, int], _Watched] = {}
        self._sendings: dict[tuple[bool, int], Sending] = {}
        #: Those that go on when the other end has read more.
        self._stalled: dict[Sending, None] = {}
        #: Goodbye was said: streams do not wait for anything any more.
        self._takes_no_calls = False
        #: Descriptors that were sent since the other end was seen to have read all.
        self._passed = 0

    def _give_back(self) -> None:
        while self._dropped:
            dropped = self._dropped.popleft()
            if type(dropped) is Call:
                why = Failure("internal", "the handler ended without an answer")
                self._undone.append((dropped.fail, (why,)))
                continue
            if type(dropped) is not _Watched:
                self.objects.give_back(self.session, dropped)
                continue
            stream = dropped.stream
            if self._inflows.get(stream) is dropped:
                del self._inflows[stream]
                self.session.stop_stream(stream)

    def _names(self, encoded: Encoded) -> tuple[Any, Sequence[tuple[int, int]], Any, Any]:
        """What a message names, as the other end understands it: body, references, descriptors and lengths of parts."""
        if not (encoded.refs or encoded.memories):
            return encoded.body, (), (), ()
        this: Any = self
        refs: list[tuple[int, int]] = []
        try:
            for thing in encoded.refs:
                refs.append(self.objects.show(self.session, this, thing))  # noqa: PERF401 - those before one that fails are shown
        except Failure:
            self.session.forget_unsent(refs)
            raise
        memories = encoded.memories
        if not memories:
            return encoded.body, refs, (), ()
        limits = self.session.peer.limits
        few = len(memories) <= limits["attachments"] and self.session.attached < MOST_QUEUED
        if few and self._takes_descriptors() and all(memory.fileno() >= 0 for memory in memories):
            self._passed += len(memories)
            return encoded.body, refs, memories, ()
        body = encoded.body if isinstance(encoded.body, list) else [encoded.body]
        parts = [_whole(memory) for memory in memories]
        total = sum(map(len, body)) + sum(map(len, parts))
        if total > limits["message"]:
            self.session.forget_unsent(refs)
            raise Failure(
                "too large",
                f"a message of {total} bytes with the big values in it; the other end takes {limits['message']}",
            )
        return body + parts, refs, (), [len(part) for part in parts]

    def _takes_descriptors(self) -> bool:
        """Whether descriptors can go, and the other end has read most of those that went."""
        if not self.channel.passes_descriptors:
            return False
        if self._passed >= MOST_PASSED and self.channel.is_read():
            self._passed = 0
        return self._passed < MOST_PASSED

    def beside(self, payload: Payload, makes: Any) -> tuple[Any, Any, Any]:
        """What a message has beside its value: how its objects are found, its memory, and what makes its stream."""
        refs = payload.refs
        found = None
        if refs:
            make = hooks.package.proxy if makes is None else makes[0]

            def find(position: int) -> Any:
                thing = resolve(refs, position)
                if type(thing) is Target:
                    return thing.value
                if type(thing) is not Far:
                    gone: Any = self
                    thing = Far(gone, 0)  # it is gone, which calls will tell
                return make(Remote(thing))

            found = find
        memories = payload.attachments
        taken = None
        inflow = payload.stream
        if inflow:
            inflow.makes = makes
            make_stream = hooks.package.stream if makes is None else makes[1]

            def take() -> Any:
                return make_stream(inflow)

            taken = take
        return found, memories, taken

    def want_items(self, inflow: Inflow) -> None:
        """Asks for as many items as there is room for."""
        if self._is_inherited():
            return
        with self.lock:
            room = inflow.room()
            if room and self.ended is None:
                self.session.want_items(inflow.stream, room)
                todo = self._settle()
            else:
                return
        self.do(todo)

    def stop_inflow(self, inflow: Inflow) -> None:
        """Nobody wants its items any more. A generator that has them may end anywhere, so this waits no longer than what is dropped does."""
        watched = self._inflows.get(inflow.stream)
        if watched is not None:
            self._stream_dropped(watched)

    def send_item(self, sending: Sending, encoded: Encoded) -> bool:
        """Sends the next item of a stream; whether it is wanted to go on."""
        with self.lock:
            if self._sendings.get(sending.stream) is not sending:
                return False
            refs: Any = ()
            try:
                body, refs, attachments, parts = self._names(encoded)
                self.session.item(sending.stream, body, 1, refs, attachments, parts)
            except Failure as failure:
                if refs:
                    self.session.forget_unsent(refs)
                del self._sendings[sending.stream]
                self.session.end_stream(sending.stream, failure)
            todo = self._settle()
            goes_on = sending.stream in self._sendings
        self.do(todo)
        return goes_on

    def end_items(self, sending: Sending, failure: Failure | None) -> None:
        """There are no more items."""
        with self.lock:
            if self._sendings.pop(sending.stream, None) is None:
                return
            self.session.end_stream(sending.stream, failure)
            todo = self._settle()
        self.do(todo)

    def more(self, sending: Sending) -> None:
        """There may be another item of a stream."""
        with self.lock:
            self._schedule(sending)

    def has_credit(self, sending: Sending) -> bool:
        """Whether another item may be sent now."""
        with self.lock:
            return (
                self._sendings.get(sending.stream) is sending
                and self.session.stream_credit(sending.stream) > 0
                and not self.session.is_congested
            )

    def rest(self, sending: Sending, waits: bool) -> bool:
        """A turn of a stream is over. Whether the stream is."""
        todo: list[Any] = []
        with self.lock:
            if self._sendings.get(sending.stream) is not sending:
                return True
            over = waits and self._takes_no_calls and not sending.again
            if over:
                self._end_idle(sending)
                todo = self._settle()
            else:
                sending.busy = False
                if sending.again or (not waits and self.session.stream_credit(sending.stream) > 0):
                    sending.again = False
                    self._schedule(sending)
        self.do(todo)
        return over

    def sends(self, sending: Sending) -> bool:
        """Whether its items are wanted. Under the lock."""
        return self._sendings.get(sending.stream) is sending

    def _schedule(self, sending: Sending) -> None:
        if sending.busy:
            sending.again = True
        elif self.session.is_congested:
            self._stalled[sending] = None
            self._stuck = True
        elif not sending.scheduled:
            sending.scheduled = True
            self._enqueue(sending)

    def unanswered(self, call: Call) -> None:
        """Nobody will answer a call any more."""
        self._dropped.append(call)
        self.tell_dropped()

    def _take_in(self, payload: Payload, stream: tuple[bool, int] | None) -> None:
        """Every reference that arrived becomes a handle, so that dropping it gives it back; and a stream that comes with it is there."""
        if payload.refs:
            this: Any = self
            payload.refs = [self.objects.received(this, owner, number) for owner, number in payload.refs]
        if payload.attachments and payload.parts:
            payload.attachments = [Memory.of_bytes(part) for part in payload.attachments]
        if payload.stream and stream is not None:
            link: Any = self
            payload.stream = inflow = Inflow(link, stream)
            watched = _Watched(inflow, self._stream_dropped)
            self._inflows[stream] = watched
            watched.stream = stream
            self.session.want_items(stream, inflow.room())

    def _stream_dropped(self, watched: _Watched) -> None:
        """Nobody has a stream any more."""
        self._dropped.append(watched)
        self.tell_dropped()

    def _inflow(self, stream: tuple[bool, int]) -> Inflow | None:
        watched = self._inflows.get(stream)
        return None if watched is None else watched()

    def _end_idle_streams(self, todo: list[Any]) -> None:
        """Streams that only wait for something to happen end too, or else they would be waited for."""
        self._takes_no_calls = True
        for sending in list(self._sendings.values()):
            if sending.waits and not sending.busy and not sending.scheduled:
                self._end_idle(sending)
                todo.append((sending.drop, ()))

    def _end_idle(self, sending: Sending) -> None:
        del self._sendings[sending.stream]
        why = Failure("unavailable", "the stream's process is shutting down")
        self.session.end_stream(sending.stream, why)


class _Watched(weakref.ref):  # type: ignore[type-arg] # of an Inflow
    """A stream that comes, as long as somebody has it."""

    __slots__ = ("stream",)

    stream: tuple[bool, int]


def _whole(memory: Memory | Descriptor) -> memoryview:
    """All bytes of memory, for where it cannot go as a descriptor."""
    known = (
        memory if isinstance(memory, Memory) else Memory.received(memory, os.fstat(memory.fileno()).st_size)
    )
    return known.buffer()
