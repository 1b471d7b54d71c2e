"""One connection, the same at both ends: what its session tells is done here, and what this end does goes into it."""

from __future__ import annotations

from _collections import deque
from _thread import get_ident
from time import monotonic

from andiron import _host
from andiron._pure import hooks
from andiron._pure.failure import Failure
from andiron._pure.flows import Flows
from andiron._pure.held import Held
from andiron._pure.reading import SLICE
from andiron._pure.relay import Passing, only_object
from andiron._pure.remote import Remote
from andiron._pure.streams import Sending
from andiron._pure.target import Call, Relay, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from andiron._pure.codec import Encoded
    from andiron._pure.root import Directory
    from andiron._pure.session import IncomingCall, Session
    from andiron._pure.transport.channel import Channel

#: How deep calls may go to and fro on one thread. The other end could fill its stack with them.
DEEPEST = 24

#: Of so many one-way calls it is known what was called.
MOST_NOTIFIED = 1024


class Link(Flows):
    """One connection."""

    def __init__(self, channel: Channel, session: Session, bound: bool) -> None:
        super().__init__(channel, session, bound)
        #: The object that answers to number 0: it has ``run(call)``.
        self.root: Any = None
        #: Names of objects of this process that were registered at the other end, which finds them here as well. Of a server: all names.
        self.directory: Directory | None = None
        #: Own calls that are not answered, by number.
        self._calls: dict[int, Any] = {}
        #: Calls of the other end that are not answered.
        self._handling: dict[int, Call] = {}
        #: Threads whose calls are held back to go together, and how often they were told to.
        self._batching: dict[int, int] = {}
        self._passing = Passing(self)
        self._held = Held(self)
        self._notified: dict[int, str] = {}

    def is_used(self) -> bool:
        """Whether something of it is in use: a call of either end, a stream, or an object that the other end has, as one that was registered."""
        with self.lock:
            streams = self._sendings or any(watched() is not None for watched in self._inflows.values())
            return bool(self._calls or self._handling or streams or self.objects.are_held())

    def know(self, name: str, target: Target) -> None:
        """An object of this process was registered at the other end."""
        if self.directory is not None and self.directory.lookup(name) is None:
            self.directory.add(name, target, self)
            self.on_end(lambda _failure: self._forget_names())

    def _forget_names(self) -> None:
        if self.directory is not None:
            self.directory.forget(self)

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
        body, refs, attachments, parts = self._names(encoded)
        stream = None if encoded.stream is None else encoded.stream.begin()
        session = self.session
        try:
            number = session.call(
                monotonic(),
                target,
                method,
                body,
                codec,
                refs,
                attachments,
                parts,
                stream is not None,
                chain,
                deadline,
                promise,
                annotations,
                notify,
            )
            if not notify:
                self._calls[number] = waiting
                if stream is not None:
                    self._sendings[True, number] = Sending(self, (True, number), stream)
            if self.attendant is not None:
                due = session.poll_timeout()
                if due is not None and (self._due is None or due < self._due):
                    self._due = due
                    self.attendant.wants(self)
        except Failure:
            if refs:
                session.forget_unsent(refs)
            raise
        except BaseException as error:
            self._break(error)
            raise
        return number

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
            raise Failure(
                "bad arguments",
                "a stream cannot be sent one way, since nobody waits for its end; call the method",
            )
        with self.lock:
            number = self._send_call(
                None, target, method, encoded, chain, deadline, annotations, False, 1, True
            )
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
        self.check_fork()
        number = 0
        entered = False
        try:
            with self.lock:
                # Ahead of the call, so that what is called back in its chain is for this thread.
                entered = self._enter(chain)
                number = self._send_call(
                    waiting, target, method, encoded, chain, deadline, annotations, False
                )
                todo = self._settle()
                # What could not be sent has ended the connection, and then there is nothing to read from.
                occupied = self._reader or self.attendant is not None or self.jobs or self._chained
                reads = self.ended is None and not occupied
                if reads:
                    self._reader = get_ident()
            if todo:
                self.do(todo)
            if reads:
                self._read(SLICE)  # as mostly the answer is what comes next
                if _host.asks and not waiting.ready:
                    _host.check()
            if not waiting.ready or self._chained:
                self._wait(waiting, chain, None)
        except BaseException:
            self._let_go()
            if number and not waiting.ready:
                self.forget(number)
                self.cancel(number)
            raise
        finally:
            if entered:
                self._leave(chain)

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
        return number, self._settle()

    def answer(self, call: Call, encoded: Encoded | None, codec: int, failure: Failure | None) -> None:
        """Answers a call of the other end."""
        if self._is_inherited():
            return
        session = self.session
        with self.lock:
            self._handling.pop(call.id, None)
            if failure is not None or encoded is None:
                session.fail(call.id, failure or Failure("internal", "there is no answer"))
            elif call.notify:
                session.done(call.id)
            elif encoded.refs or encoded.memories or encoded.stream is not None:
                self._reply(call, encoded, codec)
            else:
                session.reply(call.id, encoded.body, codec)
            todo = self._settle()
            if call.dependents:
                dependents, call.dependents = call.dependents, []
                outcome = failure or (None if encoded is None else only_object(encoded, codec))
                for dependent in dependents:
                    self._settle_dependent(dependent, outcome, todo)
        if todo:
            self.do(todo)

    def _reply(self, call: Call, encoded: Encoded, codec: int) -> None:
        try:
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
            todo = self._settle()
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
            todo = self._settle()
        self.do(todo)

    # What comes in.

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
        what = f" `{method}`" if method and method != "$call" else ""
        why = f"{failure.type_name}: {failure.message}" if failure.type_name else failure.message
        raised = failure.exception() if failure.trace else None
        todo.append(
            (hooks.package.log, ("warning", f"a one-way call{what} to {self.label} failed: {why}", raised))
        )

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

    def take_job(self) -> Any:
        """What came first of what waits to be run; `None`: there is nothing, or the other end has to read first."""
        with self.lock:
            if self.jobs and self.session.is_congested:
                self._held.hold(self.jobs)
            return self.jobs.popleft() if self.jobs else None

    def _go_on(self) -> None:
        if not self.session.is_congested:
            stalled, self._stalled = self._stalled, {}
            for sending in stalled:
                self._schedule(sending)
            self._stuck = self._held.go_on()

    def _begin(self, call: Call, thing: Any, todo: list[Any]) -> None:
        """Has a call run, by whoever should."""
        if thing is None:
            why = Failure("no object", "this object was released, or its provider is gone")
            todo.append((call.fail, (why,)))
            return
        call.object = thing
        if thing.inline:
            todo.append((self._held.run, (call,)))
        elif call.chain and call.chain in self._chains:
            if self._chains[call.chain] >= DEEPEST:
                text = "calls that go to and fro are nested too deep here; this one did not run"
                todo.append((call.fail, (Failure("overloaded", text),)))
            else:
                self._chained.append(call)
        else:
            elsewhere = self.attendant.chains.get(call.chain) if call.chain and self.attendant else None
            if elsewhere is None:
                self._enqueue(call)
            else:
                elsewhere._chained.append(call)

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
            told = Failure(
                outcome.kind, outcome.message, outcome.type_name, (), outcome.remote_args, outcome.attributes
            )
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

    # Its end.

    def goodbye(self, reason: int, text: str) -> None:
        """Takes no further calls, and tells the other end; it ends when what is under way is done."""
        if self._is_inherited():
            return
        todo: list[Any] = []
        with self.lock:
            self.session.goodbye(reason, text)
            self._end_idle_streams(todo)
            todo.extend(self._settle())
        self.do(todo)

    def close(self) -> None:
        """Says goodbye and ends it. What is outstanding fails."""
        if self._is_inherited():
            return
        with self.lock:
            self.closed_here = True
            self.session.leave()
            todo = self._settle()
            self.session.disconnected("it was closed here")
            todo.extend(self._settle(False))
        self.do(todo)

    def _on_closed(self, failure: Failure, todo: list[Any]) -> None:
        # What the channel itself says of its end tells more than that it ended.
        failure = self.channel.failure or failure
        self.ended = failure
        self._flush()  # last words
        self.channel.close(bool(self._reader))
        # Ahead of the answers: who hears that the other end is gone finds its names gone.
        todo[:0] = [(hook, (failure,)) for hook in self._on_end]
        self._on_end = []
        todo.append((_drop, (self.objects.clear(),)))
        todo.extend((sending.drop, ()) for sending in self._sendings.values())
        self._sendings.clear()
        self._stalled.clear()
        gone = Failure("cancelled", "the caller's connection ended")
        self.jobs.extendleft(reversed(self._held.end()))
        kept = deque(job for job in self.jobs if self.attendant is not None and job.notify)
        unrun = [job for job in (*self.jobs, *self._chained) if type(job) is Call and job not in kept]
        todo.extend((call.fail, (gone,)) for call in unrun)
        self.jobs = kept
        self._chained.clear()
        if self.attendant is not None:
            self.attendant.wants(self)


class _Room:
    """There is room in the socket for what waits to be sent."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def ready(self) -> bool:
        link = self._link
        return not link.wants_write or link.ended is not None


def _drop(_: object) -> None:
    """Has something dropped behind the lock."""
