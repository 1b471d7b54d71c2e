"""One connection: the driver of its session, the same at both ends.

Locking rules:
1. `Link.lock` guards the session and everything about it. No thread holds two of them, and none runs foreign code (methods, callbacks, hooks, the end of objects) while it holds
   one: that waits in a list of things to be done, which `Link.do` does when the lock was given back.
2. Reading is a role (`Link._reading`), not a lock: who has it reads the socket with the lock given back.
"""

from __future__ import annotations

import os
import weakref
from _collections import deque
from _thread import allocate_lock, get_ident
from time import monotonic

from andiron import _host
from andiron._pure import hooks
from andiron._pure.codec import Encoded
from andiron._pure.failure import Failure
from andiron._pure.memory import Descriptor, Memory
from andiron._pure.objects import Objects, resolve
from andiron._pure.remote import Far, Remote
from andiron._pure.relay import Passing, only_object
from andiron._pure.streams import Inflow, Sending
from andiron._pure.target import Call, Relay, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from andiron._pure.channel import Channel
    from andiron._pure.root import Directory
    from andiron._pure.session import IncomingCall, Payload, Session

    class Attendant(Protocol):
        """Who reads connections so that those who wait need not."""

        def wants(self, link: Link) -> None:
            """There is something to be run, to be sent when the socket takes it, or it is over. Called on any thread, under the link's lock: it may only leave a note."""

        def drives(self) -> bool:
            """Whether this thread is the one that reads, so it has to go on with that while it waits."""

        def step(self, timeout: float) -> None:
            """Reads what comes within that time."""

        @property
        def chains(self) -> dict[int, Link]:
            """Where the thread that reads waits in chains of calls: those of them that come on other connections are for it too."""

    class Ready(Protocol):
        """What can be waited for."""

        @property
        def ready(self) -> bool:
            """Whether it is there. Changes under the link's lock."""


#: The longest wait that does not ask the host whether it ends.
SLICE = 1.0

#: How deep calls may go to and fro on one thread. The other end could fill its stack with them.
DEEPEST = 24

#: While so many descriptors were sent that the other end may not have read, bytes go in place of others: the system counts those of all processes of a user together.
MOST_PASSED = 64

#: Of so many one-way calls it is known what was called.
MOST_NOTIFIED = 1024

Todo = "list[tuple[Callable[..., object], tuple[Any, ...]]]"

_generation = 0


def _forked() -> None:
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Link:
    """One connection."""

    def __init__(self, channel: Channel, session: Session, bound: bool) -> None:
        self.lock = allocate_lock()
        self.session = session
        self.channel = channel
        #: The descriptor, which says who it was when it is closed.
        self.channel_number = channel.fileno()
        self._generation = _generation
        #: The object that answers to number 0: it has ``run(call)``.
        self.root: Any = None
        #: Names of objects of this process that were registered at the other end, which finds them here as well. Of a server: all names.
        self.directory: Directory | None = None
        #: What ties the proof of a secret to the channel is known to the session.
        self._bound = bound
        self.objects = Objects()
        self.attendant: Attendant | None = None
        #: Why it is over.
        self.ended: Failure | None = None
        self.closed_here = False
        #: Own calls that are not answered, by number.
        self._calls: dict[int, Any] = {}
        #: Calls of the other end that are not answered.
        self._handling: dict[int, Call] = {}
        #: What waits to be run by somebody: calls of the other end, and turns of streams.
        self.jobs: deque[Any] = deque()
        #: Calls in the chain of a thread that waits here.
        self._chained: deque[Call] = deque()
        #: How deep the thread is in calls that waits here in a chain.
        self._chains: dict[int, int] = {}
        #: Streams that come, as long as somebody here has them.
        self._inflows: dict[tuple[bool, int], _Watched] = {}
        self._dropped_streams: deque[_Watched] = deque()
        self._sendings: dict[tuple[bool, int], Sending] = {}
        self._reading = False
        #: Who sleeps while another thread reads: its lock, what it waits for, and its chain.
        self._sleepers: list[tuple[Any, Ready, int]] = []
        #: The socket took no more when something was sent last.
        self._full = False
        self._passed = 0
        #: When who reads will look at the session.
        self._due: float | None = None
        #: Threads whose calls are held back to go together, and how often they were told to.
        self._batching: dict[int, int] = {}
        self._passing = Passing(self)
        self._notified: dict[int, str] = {}
        self._takes_no_calls = False
        self._opened = False
        self._on_open: list[Callable[[], object]] = []
        self._on_end: list[Callable[[Failure], object]] = []

    # What it is.

    @property
    def label(self) -> str:
        """Who is at the other end, for people."""
        return self.channel.label

    @property
    def ready(self) -> bool:
        """Whether the handshake is over, in whatever way: what is waited for by who connects."""
        return self._opened or self.ended is not None

    def fileno(self) -> int:
        """The descriptor of the socket; -1 when the connection is over."""
        return -1 if self.ended is not None or self._is_inherited() else self.channel.fileno()

    @property
    def is_leaving(self) -> bool:
        """Whether no call can be made any more: it is over, or goodbye was said."""
        return self.ended is not None or self.session.is_ending

    @property
    def wants_write(self) -> bool:
        """Whether something waits for room in the socket."""
        return self._full or self.channel.wants_write

    @property
    def wants_read(self) -> bool:
        """Whether more of what comes can be taken."""
        return self.session.want_read

    def next_timeout(self) -> float | None:
        """When the session wants to be looked at, by `time.monotonic`. Who reads asks before it waits, and is told where that becomes earlier."""
        due = self._due = self.session.poll_timeout()
        return due

    def _is_inherited(self) -> bool:
        return self._generation != _generation

    def check_fork(self) -> None:
        """Refuses to use a connection that belongs to the parent process."""
        if self._generation != _generation:
            raise Failure(
                "unavailable",
                "this connection was made before this process was forked and belongs to the parent; connect again",
            )

    def push(self) -> None:
        """Sends what is to be sent, as far as the socket takes it."""
        with self.lock:
            todo = self._settle(True)
        self.do(todo)

    def know(self, name: str, target: Target) -> None:
        """An object of this process was registered at the other end."""
        if self.directory is not None and self.directory.lookup(name) is None:
            self.directory.add(name, target, self)
            self.on_end(lambda _failure: self.directory and self.directory.forget(self))

    def wait_opened(self, timeout: float) -> None:
        """Waits for the end of the handshake, whose time the session limits itself."""
        self.step(0)  # sends what it begins with
        self.wait(self, 0, monotonic() + timeout)
        if self.ended is not None:
            raise self.ended
        if not self._opened:
            raise Failure("deadline", "the handshake took too long")

    def on_open(self, hook: Callable[[], object]) -> None:
        """Has this called when the handshake is done. Before anybody reads."""
        self._on_open.append(hook)

    def on_end(self, hook: Callable[[Failure], object]) -> None:
        """Has this called when the connection ends; at once if it has."""
        with self.lock:
            if self.ended is None:
                self._on_end.append(hook)
                return
        hook(self.ended)

    # What goes out.

    def call(
        self,
        waiting: Any,
        target: int,
        method: str,
        encoded: Encoded,
        chain: int,
        deadline: float | None,
        annotations: bytes | None = None,
        promise: bool = False,
    ) -> int:
        """Makes a call. ``waiting.settle(payload, failure)`` gets the answer, under the lock; what it returns is called without."""
        self.check_fork()
        with self.lock:
            number = self._send_call(waiting, target, method, encoded, chain, deadline, annotations, promise)
            todo = self._settle(get_ident() not in self._batching if self._batching else True)
        if todo:
            self.do(todo)
        return number

    def _send_call(
        self,
        waiting: Any,
        target: int,
        method: str,
        encoded: Encoded,
        chain: int,
        deadline: float | None,
        annotations: bytes | None,
        promise: bool,
        codec: int = 1,
        notify: bool = False,
    ) -> int:
        if self.ended is not None:
            raise Failure("unavailable", self.ended.message)
        body, refs, attachments, parts = encoded.body, (), (), ()  # type: Any, Any, Any, Any
        if encoded.refs or encoded.memories:
            body, refs, attachments, parts = self._names(encoded)
        try:
            number = self.session.call(
                monotonic(),
                target,
                method,
                body,
                codec,
                refs,
                attachments,
                parts,
                encoded.stream is not None,
                chain,
                deadline,
                promise,
                annotations,
                notify,
            )
        except Failure:
            if refs:
                self.session.forget_unsent(refs)
            raise
        if self.attendant is not None:
            due = self.session.poll_timeout()
            if due is not None and (self._due is None or due < self._due):
                self._due = due
                self.attendant.wants(self)
        if not notify:
            self._calls[number] = waiting
            if encoded.stream is not None:
                self._sendings[True, number] = Sending(self, (True, number), encoded.stream.begin())
        return number

    def _names(self, encoded: Encoded) -> tuple[Any, list[tuple[int, int]], Any, Any]:
        """What a message names, as the other end understands it: body, references, descriptors and lengths of parts."""
        refs: list[tuple[int, int]] = []
        try:
            for thing in encoded.refs:
                refs.append(self.objects.show(self.session, self, thing))
        except Failure:
            self.session.forget_unsent(refs)
            raise
        memories = encoded.memories
        if not memories:
            return encoded.body, refs, (), ()
        limits = self.session.peer.limits
        passable = self.channel.passes_descriptors and len(memories) <= limits["attachments"]
        if passable and self._passed < MOST_PASSED and all(memory.fileno() >= 0 for memory in memories):
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

    def notify(
        self,
        target: int,
        method: str,
        encoded: Encoded,
        chain: int,
        deadline: float | None,
        annotations: bytes | None = None,
    ) -> None:
        """Calls one way. Waits only where the other end reads too slowly."""
        self.check_fork()
        if encoded.stream is not None:
            encoded.stream.close()
            raise Failure("bad arguments", "a stream cannot be sent one way, since nobody waits for its end; call the method")
        with self.lock:
            number = self._send_call(None, target, method, encoded, chain, deadline, annotations, False, 1, True)
            if len(self._notified) >= MOST_NOTIFIED:
                del self._notified[next(iter(self._notified))]
            self._notified[number] = method
            batching = self._batching and get_ident() in self._batching
            todo = self._settle(not batching or self.session.is_congested)
            slow = self._full and (not batching or self.session.is_congested) and self.attendant is None
        if todo:
            self.do(todo)
        if slow:
            self.wait(_Room(self), chain, deadline)

    def call_and_wait(
        self,
        waiting: Any,
        target: int,
        method: str,
        encoded: Encoded,
        chain: int,
        deadline: float | None,
        annotations: bytes | None = None,
    ) -> None:
        """Makes a call and waits for its answer."""
        if self._generation != _generation:
            self.check_fork()
        number = 0
        chains = self._chains
        # Ahead of the call, so that what is called back in its chain is for this thread.
        depth = chains.get(chain, 0)
        chains[chain] = depth + 1
        try:
            with self.lock:
                number = self._send_call(waiting, target, method, encoded, chain, deadline, annotations, False)
                todo = self._settle(True)
            if todo:
                self.do(todo)
            self._wait(waiting, chain, None)
        except BaseException:
            if number and not waiting.ready:
                self.forget(number)
                self.cancel(number)
            raise
        finally:
            self._leave(chain, depth)

    def is_under_way(self, number: int) -> bool:
        """Whether an own call is not answered. Under the lock."""
        return number in self._calls

    def send_on(
        self, call: Call, raw: Any, waiting: Any, target: int, promise: bool
    ) -> tuple[int, list[Any]]:
        """Sends a call of another connection; its number, and what has to wait until the lock, which is held, was given back."""
        number = self._send_call(
            waiting,
            target,
            call.method,
            raw,
            call.chain,
            call.deadline,
            call.annotated,
            promise,
            call.payload.codec,
            call.notify,
        )
        return number, self._settle(True)

    def answer(self, call: Call, encoded: Encoded | None, codec: int, failure: Failure | None) -> None:
        """Answers a call of the other end."""
        if self._is_inherited():
            return
        session = self.session
        with self.lock:
            self._handling.pop(call.id, None)
            dependents, call.dependents = call.dependents, []
            outcome = failure or (only_object(encoded, codec) if dependents and encoded is not None else None)
            if failure is not None or encoded is None:
                session.fail(call.id, failure or Failure("internal", "there is no answer"))
            elif call.notify:
                session.done(call.id)
            else:
                self._reply(call, encoded, codec)
            todo = self._settle(True)
            for dependent in dependents:
                self._settle_dependent(dependent, outcome, todo)
        if todo:
            self.do(todo)

    def _reply(self, call: Call, encoded: Encoded, codec: int) -> None:
        body, refs, attachments, parts = encoded.body, (), (), ()  # type: Any, Any, Any, Any
        try:
            if encoded.refs or encoded.memories:
                body, refs, attachments, parts = self._names(encoded)
        except Failure as failure:
            self.session.fail(call.id, failure)
            return
        stream = encoded.stream
        self.session.reply(call.id, body, codec, refs, attachments, parts, stream is not None)
        if stream is not None:
            self._sendings[False, call.id] = Sending(self, (False, call.id), stream.begin())
        if refs:
            self.session.forget_unsent(refs)  # if it could not be sent

    def cancel(self, number: int) -> None:
        """Gives an own call up."""
        if self._is_inherited():
            return
        with self.lock:
            self.session.cancel(number)
            todo = self._settle(True)
        self.do(todo)

    def forget(self, number: int) -> None:
        """Nobody wants the outcome of an own call, which is not given up."""
        self._calls.pop(number, None)

    def hold(self) -> None:
        """Calls that this thread makes from now on go together."""
        thread = get_ident()
        with self.lock:
            self._batching[thread] = self._batching.get(thread, 0) + 1

    def send_held(self) -> None:
        """They go."""
        thread = get_ident()
        with self.lock:
            count = self._batching.pop(thread, 1) - 1
            if count > 0:
                self._batching[thread] = count
            todo = self._settle(count <= 0)
        self.do(todo)

    def tell_failed(self, number: int, failure: Failure) -> None:
        """A one-way call of the other end, which was passed on, failed."""
        with self.lock:
            self.session.notify_failed(number, failure)
            todo = self._settle(True)
        self.do(todo)

    # Streams.

    def want_items(self, inflow: Inflow) -> None:
        """Asks for as many items as there is room for."""
        if self._is_inherited():
            return
        with self.lock:
            room = inflow.room()
            if room and self.ended is None:
                self.session.want_items(inflow.stream, room)
                todo = self._settle(True)
            else:
                return
        self.do(todo)

    def stop_inflow(self, inflow: Inflow) -> None:
        """Nobody wants its items any more."""
        if self._is_inherited():
            return
        with self.lock:
            known = self._inflows.pop(inflow.stream, None)
            if known is None:
                return
            self.session.stop_stream(inflow.stream)
            todo = self._settle(True)
        self.do(todo)

    def send_item(self, sending: Sending, encoded: Encoded) -> bool:
        """Sends the next item of a stream; whether it is wanted to go on."""
        with self.lock:
            if self._sendings.get(sending.stream) is not sending:
                return False
            body, refs, attachments, parts = encoded.body, (), (), ()  # type: Any, Any, Any, Any
            try:
                if encoded.refs or encoded.memories:
                    body, refs, attachments, parts = self._names(encoded)
                self.session.item(sending.stream, body, 1, refs, attachments, parts)
            except Failure as failure:
                if refs:
                    self.session.forget_unsent(refs)
                del self._sendings[sending.stream]
                self.session.end_stream(sending.stream, failure)
            todo = self._settle(True)
            goes_on = sending.stream in self._sendings
        self.do(todo)
        return goes_on

    def end_items(self, sending: Sending, failure: Failure | None) -> None:
        """There are no more items."""
        with self.lock:
            if self._sendings.pop(sending.stream, None) is None:
                return
            self.session.end_stream(sending.stream, failure)
            todo = self._settle(True)
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
        with self.lock:
            if self._sendings.get(sending.stream) is not sending:
                return True
            if waits and self._takes_no_calls:
                return False
            sending.busy = False
            if sending.again or (not waits and self.session.stream_credit(sending.stream) > 0):
                sending.again = False
                self._schedule(sending)
            return False

    def sends(self, sending: Sending) -> bool:
        """Whether its items are wanted. Under the lock."""
        return self._sendings.get(sending.stream) is sending

    def _schedule(self, sending: Sending) -> None:
        if sending.busy:
            sending.again = True
        elif not sending.scheduled:
            sending.scheduled = True
            self._enqueue(sending)

    # What comes in.

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
                    thing = Far(self, 0)  # it is gone, which calls will tell
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

    def _take_in(self, payload: Payload, stream: tuple[bool, int] | None) -> None:
        """Every reference that arrived becomes a handle, so that dropping it gives it back; and a stream that comes with it is there."""
        if payload.refs:
            payload.refs = [self.objects.received(self, owner, number) for owner, number in payload.refs]
        if payload.attachments:
            make = Memory.of_bytes if payload.parts else _owned
            payload.attachments = [make(attached) for attached in payload.attachments]
        if payload.stream and stream is not None:
            payload.stream = inflow = Inflow(self, stream)
            watched = self._inflows[stream] = _Watched(inflow, self._stream_dropped)
            watched.stream = stream
            self.session.want_items(stream, inflow.room())

    def _stream_dropped(self, watched: _Watched) -> None:
        """Nobody has a stream any more. A collector may find that out anywhere, so it is told at once only where that waits for nobody."""
        self._dropped_streams.append(watched)
        if not self._is_inherited() and self.lock.acquire(False):
            try:
                todo = self._settle(True)
            finally:
                self.lock.release()
            self.do(todo)

    def _stop_dropped(self) -> None:
        while self._dropped_streams:
            watched = self._dropped_streams.popleft()
            if self._inflows.get(watched.stream) is watched:
                del self._inflows[watched.stream]
                self.session.stop_stream(watched.stream)

    def _inflow(self, stream: tuple[bool, int]) -> Inflow | None:
        watched = self._inflows.get(stream)
        return None if watched is None else watched()

    def _digest(self, todo: list[Any]) -> None:
        """Works through the session's events."""
        events = self.session.events
        while events:
            event = events.popleft()
            kind = event[0]
            if kind == "answer":
                _, number, payload, failure = event
                waiting = self._calls.pop(number, None)
                if payload is not None and (payload.refs or payload.attachments or payload.stream):
                    self._take_in(payload, (True, number))
                if waiting is not None:
                    after = waiting.settle(payload, failure)
                    if after is not None:
                        todo.append((after, ()))
            elif kind == "call":
                self._on_call(event[1], todo)
            else:
                self._on_other(event, todo)

    def _on_other(self, event: Any, todo: list[Any]) -> None:
        kind = event[0]
        if kind == "item":
            _, stream, payload = event
            self._take_in(payload, None)
            inflow = self._inflow(stream)
            if inflow is not None:
                todo.extend(inflow.arrived(payload))
        elif kind == "end":
            inflow = self._inflow(event[1])
            self._inflows.pop(event[1], None)
            if inflow is not None:
                todo.extend(inflow.ends(event[2]))
        elif kind == "credit":
            sending = self._sendings.get(event[1])
            if sending is not None:
                self._schedule(sending)
        elif kind == "stopped":
            sending = self._sendings.pop(event[1], None)
            if sending is not None:
                todo.append((sending.drop, ()))
        elif kind == "cancelled":
            call = self._handling.get(event[1])
            # A one-way call is not given up by a caller who is gone: nobody waits for it in any case.
            if call is not None and not call.notify:
                todo.append((call.cancel, ()))
        elif kind == "released":
            todo.append((_drop, (self.objects.released(event[1]),)))
        elif kind == "notify_failed":
            self._on_notify_failed(event[1], event[2], todo)
        elif kind == "opened":
            self._opened = True
            todo.extend((hook, ()) for hook in self._on_open)
        elif kind == "goodbye":
            self._end_idle_streams(todo)
        elif kind == "closed":
            self._on_closed(event[1], todo)

    def _on_notify_failed(self, number: int, failure: Failure, todo: list[Any]) -> None:
        if self._passing.told(number, failure, todo):
            return
        method = self._notified.pop(number, None)
        what = "a one-way call" if method is None else f"the one-way call of `{method}`"
        todo.append((hooks.package.log, ("warning", f"{what} failed", failure.exception())))

    def _on_call(self, told: IncomingCall, todo: list[Any]) -> None:
        call = Call(self, told)
        if call.payload.refs or call.payload.attachments or call.payload.stream:
            self._take_in(call.payload, (False, call.id))
        self._handling[call.id] = call
        if told.promise:
            self._on_promised(call, told.target, todo)
        elif told.target == 0:
            self._begin(call, self.root, todo)
        else:
            self._begin(call, self.objects.shown(told.target), todo)

    def _begin(self, call: Call, thing: Any, todo: list[Any]) -> None:
        """Has a call run, by whoever should."""
        if thing is None:
            why = Failure("no object", "this object was released, or its provider is gone")
            todo.append((call.fail, (why,)))
            return
        call.object = thing
        if thing.inline:
            todo.append((thing.run, (call,)))
        elif call.chain and call.chain in self._chains:
            if self._chains[call.chain] >= DEEPEST:
                text = "calls that go to and fro are nested too deep here; this one did not run"
                todo.append((call.fail, (Failure("overloaded", text),)))
            else:
                self._chained.append(call)
        elif call.chain and self.attendant is not None and call.chain in self.attendant.chains:
            self.attendant.chains[call.chain]._chained.append(call)
        else:
            self._enqueue(call)

    def _enqueue(self, job: Any) -> None:
        self.jobs.append(job)
        if self.attendant is not None:
            self.attendant.wants(self)

    def _on_promised(self, call: Call, of: int, todo: list[Any]) -> None:
        """A call of what the call ``of`` will give, or gave."""
        before = self._handling.get(of)
        if before is None:
            kept = self.session.kept(of)
            self._settle_dependent(call, kept, todo)
        elif before.passed_to is not None:
            todo.append((before.passed_to[0].pass_on, (call, before.passed_to[1], of)))
        else:
            before.dependents.append(call)

    def _settle_dependent(self, call: Call, outcome: Any, todo: list[Any]) -> None:
        """What became of the call that another one depends on: a failure, a reference as this end names it, or what was named."""
        if isinstance(outcome, Failure):
            told = Failure(outcome.kind, outcome.message, outcome.type_name, (), outcome.remote_args, outcome.attributes)
            todo.append((call.fail, (told,)))
            return
        thing = outcome
        if isinstance(outcome, tuple):  # as it was sent: owner and number
            thing = self.objects.shown(outcome[1]) if outcome[0] == 0 else None
        if isinstance(thing, Remote):
            thing = Relay(thing.far)
        if thing is None:
            text = "the result of the earlier call is not a single object; this call did not run"
            todo.append((call.fail, (Failure("bad arguments", text),)))
        else:
            self._begin(call, thing, todo)

    def start_kept(self, call: Call, of: int) -> None:
        """A call of what the other end's call ``of`` gave, which was answered meanwhile."""
        todo: list[Any] = []
        with self.lock:
            before = self._handling.get(of)
            if before is not None:
                before.dependents.append(call)
            else:
                self._settle_dependent(call, self.session.kept(of), todo)
        self.do(todo)

    def pass_on(self, call: Call, target: int, promise_of: int | None) -> None:
        """Passes a call of another connection on to an object at the end of this one, or to what a call that was passed on will give."""
        self._passing.pass_on(call, target, promise_of)

    # Waiting and reading.

    def wait(self, thing: Ready, chain: int = 0, until: float | None = None) -> bool:
        """Waits until something is ready, or that time, and runs calls of its chain meanwhile. Whether it is."""
        if thing.ready and not self._chained:
            return True
        self.check_fork()
        with self.lock:
            depth = self._chains.get(chain, 0)
            self._chains[chain] = depth + 1
            # What came since the call was made is for this thread as well.
            for job in [job for job in self.jobs if chain and type(job) is Call and job.chain == chain]:
                self.jobs.remove(job)
                self._chained.append(job)
        try:
            return self._wait(thing, chain, until)
        finally:
            self._leave(chain, depth)

    def _wait(self, thing: Ready, chain: int, until: float | None) -> bool:
        while True:
            self.lock.acquire()
            if self._chained:
                call = self._take_chained(chain)
                if call is not None:
                    self.lock.release()
                    call.object.run(call)
                    continue
            if thing.ready:
                self.lock.release()
                return True
            timeout = SLICE
            if until is not None:
                timeout = until - monotonic()
                if timeout <= 0:
                    self.lock.release()
                    return False
                timeout = min(timeout, SLICE)
            self._wait_once(thing, chain, timeout)

    def _leave(self, chain: int, depth: int) -> None:
        chains = self._chains
        if depth:
            chains[chain] = depth
        else:
            chains.pop(chain, None)
        if not (self._sleepers or self._chained):
            return
        with self.lock:
            # What came at the last moment is run as others are.
            for call in [call for call in self._chained if call.chain not in chains]:
                self._chained.remove(call)
                self._enqueue(call)
            if self._sleepers and not self._reading and self.attendant is None:
                self._sleepers.pop(0)[0].release()  # it reads on

    def run_chained(self) -> None:
        """Runs here what came in the chains of those who wait, for a thread that is one of them, and deeper in calls than there."""
        while self._chained:
            with self.lock:
                job = self._chained.popleft() if self._chained else None
            if type(job) is Call:
                job.object.run(job)
            elif job is not None:
                job.run()

    def _take_chained(self, chain: int) -> Call | None:
        for call in list(self._chained):
            if call.chain == chain:
                self._chained.remove(call)
                return call
        return None

    def _wait_once(self, thing: Ready, chain: int, timeout: float) -> None:
        """One turn of waiting: reads, or sleeps while another thread does, or has a stream go on. Is called with the lock and gives it back."""
        attendant = self.attendant
        if attendant is not None and attendant.drives():
            self.lock.release()
            before = attendant.chains.get(chain)
            attendant.chains[chain] = self
            try:
                attendant.step(timeout)
            finally:
                if before is None:
                    del attendant.chains[chain]
                else:
                    attendant.chains[chain] = before
        elif attendant is None and self.jobs and type(self.jobs[0]) is Sending:
            job = self.jobs.popleft()
            self.lock.release()
            job.run()
        elif attendant is None and not self._reading:
            self._reading = True
            self.lock.release()
            self._read(timeout)
        else:
            sleeper = allocate_lock()
            sleeper.acquire()
            entry = sleeper, thing, chain
            self._sleepers.append(entry)
            self.lock.release()
            try:
                sleeper.acquire(True, timeout)
            finally:
                with self.lock:
                    if entry in self._sleepers:
                        self._sleepers.remove(entry)
        _host.check()

    def step(self, timeout: float) -> None:
        """Reads what comes within that time, where nobody else does, and sends what waits."""
        if self._is_inherited():
            return
        with self.lock:
            if self._reading or self.ended is not None:
                return
            self._reading = True
        self._read(timeout)

    def glance(self) -> None:
        """Looks at what came, where nobody else will."""
        attendant = self.attendant
        if attendant is None:
            self.step(0)
        elif attendant.drives():
            attendant.step(0)

    def _read(self, timeout: float) -> None:
        """Reads once. Is called in the role of the reader, and gives it back."""
        session, channel = self.session, self.channel
        arrived: Any = None
        lost = None
        try:
            due = session.poll_timeout()
            if due is not None:
                timeout = max(0.0, min(timeout, due - monotonic()))
            reads = session.want_read
            readable, writable = channel.wait(reads, self._full or channel.wants_write, timeout)
            if readable:
                try:
                    arrived = channel.recv()
                except (BlockingIOError, InterruptedError):
                    pass
                except Failure as failure:
                    lost = failure.message
                except OSError as error:
                    lost = str(error)
        except BaseException:
            with self.lock:
                self._reading = False
                self._wake(True)
            raise
        with self.lock:
            self._reading = False
            try:
                now = monotonic()
                if lost is not None:
                    session.disconnected(lost)
                elif arrived is not None:
                    data, descriptors, cut_off = arrived
                    if not self._bound:
                        self._bind()
                    if data or descriptors:
                        session.receive(now, data, descriptors, cut_off)
                    else:
                        session.disconnected(channel.end_of_stream)
                if due is not None:
                    session.handle_timeout(now)
                todo = self._settle(True)
            except BaseException as error:
                # The session may be half way: it cannot go on.
                session.disconnected(f"{type(error).__name__} interrupted it")
                self._wake(True)
                raise
            self._wake(self.ended is not None)
        if todo:
            self.do(todo)

    def _bind(self) -> None:
        """Over TLS that is known when its own handshake is done."""
        binding = self.channel.binding()
        if binding is not None:
            self.session.bind(binding)
            self._bound = True

    def _wake(self, everybody: bool) -> None:
        """Wakes who sleeps and has what it waits for, or a call to run."""
        if not self._sleepers:
            return
        asleep = []
        for entry in self._sleepers:
            sleeper, thing, chain = entry
            if everybody or thing.ready or (self._chained and any(call.chain == chain for call in self._chained)):
                sleeper.release()
            else:
                asleep.append(entry)
        self._sleepers[:] = asleep

    def _settle(self, send: bool) -> list[Any]:
        """Sends what is to be sent, and works through what happened. What has to wait until the lock was given back."""
        if self.objects.dropped:
            self.objects.give_back(self.session)
        if self._dropped_streams:
            self._stop_dropped()
        todo: list[Any] = []
        session = self.session
        if session.events:
            self._digest(todo)
        if send and session.want_write or self.channel.wants_write:
            self._flush()
            if session.events:
                self._digest(todo)
        if session.is_finished and self.ended is None:
            session.disconnected("it was closed here" if self.closed_here else "both ends said goodbye")
            self._digest(todo)
        if self._sleepers:
            self._wake(self.ended is not None)
        return todo

    def _flush(self) -> None:
        session, channel = self.session, self.channel
        full = False
        try:
            while True:
                out = session.transmit()
                if out is None:
                    if channel.wants_write:
                        channel.send((), ())
                        full = channel.wants_write
                    break
                session.transmitted(channel.send(out[0], out[1]))
        except (BlockingIOError, InterruptedError):
            full = True
        except OSError as error:
            session.disconnected(str(error))
        if full != self._full:
            self._full = full
            if self.attendant is not None:
                self.attendant.wants(self)
        if not full:
            self._passed = 0

    def wake(self, everybody: bool = False) -> None:
        """Something that a thread may wait for changed; ``everybody``: also who reads."""
        with self.lock:
            self._wake(everybody)

    def leave_attendant(self) -> None:
        """Nobody reads for those who wait any more."""
        with self.lock:
            self.attendant = None
            self._wake(True)

    @staticmethod
    def do(todo: Iterable[Any]) -> None:
        """Does what had to wait for the lock."""
        for function, arguments in todo:
            try:
                function(*arguments)
            except Exception as error:  # of whatever others gave
                hooks.package.log("warning", f"{function} raised", error)

    # Jobs.

    def run_job(self) -> bool:
        """Runs what came first of what waits to be run. Whether there was something."""
        try:
            job = self.jobs.popleft()
        except IndexError:
            return False
        if type(job) is Sending:
            job.run()
        else:
            job.object.run(job)
        return True

    def poll(self, timeout: float) -> bool:
        """Reads what the other end sent, waiting so long at most for it, and runs the calls in it on this thread. Whether a call came."""
        self.check_fork()
        until = monotonic() + max(0.0, timeout)
        first = True
        while True:
            ran = False
            while self.jobs:
                ran = type(self.jobs[0]) is not Sending or ran
                self.run_job()
            if ran:
                return True
            if self.ended is not None:
                raise self.why_ended()
            left = until - monotonic()
            if left <= 0 and not first:
                return False
            first = False
            self.wait(_Jobs(self), 0, max(until, monotonic() + 0.000001))
            if not self.jobs and self.attendant is None:
                self.step(0)

    def why_ended(self) -> Failure:
        """Why the connection is over, for who makes use of it."""
        ended = self.ended or Failure("unavailable", "the connection is over")
        return Failure(ended.kind, ended.message)

    # Its end.

    def goodbye(self, reason: int, text: str) -> None:
        """Takes no further calls, and tells the other end; it ends when what is under way is done."""
        if self._is_inherited():
            return
        todo: list[Any] = []
        with self.lock:
            self.session.goodbye(reason, text)
            self._end_idle_streams(todo)
            todo.extend(self._settle(True))
        self.do(todo)

    def _end_idle_streams(self, todo: list[Any]) -> None:
        """Streams that only wait for something to happen end too, or else they would be waited for."""
        self._takes_no_calls = True
        for stream, sending in list(self._sendings.items()):
            if sending.waits and not sending.busy and not sending.scheduled:
                del self._sendings[stream]
                self.session.end_stream(stream, Failure("unavailable", "the stream's process is shutting down"))
                todo.append((sending.drop, ()))

    def close(self) -> None:
        """Says goodbye and ends it. What is outstanding fails."""
        if self._is_inherited():
            return
        with self.lock:
            self.closed_here = True
            self.session.leave()
            todo = self._settle(True)
            self.session.disconnected("it was closed here")
            todo.extend(self._settle(False))
        self.do(todo)

    def _on_closed(self, failure: Failure, todo: list[Any]) -> None:
        # What the channel itself says of its end tells more than that it ended.
        failure = self.channel.failure or failure
        self.ended = failure
        self._flush()  # last words
        self.channel.close(self._reading)
        # Ahead of the answers: who hears that the other end is gone finds its names gone.
        todo[:0] = [(hook, (failure,)) for hook in self._on_end]
        self._on_end = []
        todo.append((_drop, (self.objects.clear(),)))
        for sending in self._sendings.values():
            todo.append((sending.drop, ()))
        self._sendings.clear()
        gone = Failure("cancelled", "the caller's connection ended")
        kept = deque(job for job in self.jobs if self.attendant is not None and job.notify)
        for job in [*self.jobs, *self._chained]:
            if type(job) is Call and job not in kept:
                todo.append((job.fail, (gone,)))
        self.jobs = kept
        self._chained.clear()
        if self.attendant is not None:
            self.attendant.wants(self)


class _Watched(weakref.ref):  # type: ignore[type-arg] # of an Inflow
    """A stream that comes, as long as somebody has it."""

    __slots__ = ("stream",)

    stream: tuple[bool, int]


class _Room:
    """There is room in the socket for what waits to be sent."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def ready(self) -> bool:
        link = self._link
        return not link.wants_write or link.ended is not None


class _Jobs:
    """There is something to be run, or the connection is over."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def ready(self) -> bool:
        return bool(self._link.jobs) or self._link.ended is not None


def _owned(attached: Any) -> Descriptor:
    """A descriptor that came, as the codec knows it."""
    return Descriptor(attached.take())


def _whole(memory: Memory | Descriptor) -> memoryview:
    """All bytes of memory, for where it cannot go as a descriptor."""
    known = memory if isinstance(memory, Memory) else Memory.received(memory, os.fstat(memory.fileno()).st_size)
    return known.buffer()


def _drop(_: object) -> None:
    """Has something dropped behind the lock."""

