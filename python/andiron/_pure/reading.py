"""Who reads a connection, and who waits at it meanwhile.

Locking rules:
1. `Reading.lock` guards the session and everything about it. No thread holds two of them, and none runs foreign code (methods, callbacks, hooks, the end of objects) while it holds
   one: that waits in a list of things to be done, which `Reading.do` does when the lock was given back.
2. Reading is a role (`Reading._reader`), not a lock: who has it reads the socket with the lock given back.
3. The end of objects may come on any thread, also under the lock: it leaves a note (`Reading._dropped`), and tells the other end where the lock can be had shortly.

A signal's handler may raise at any place. What waits gives its role back then (`Reading._let_go`), and a session that was interrupted half way is over (`Reading._break`).
"""

from __future__ import annotations

import os
from _collections import deque
from _thread import allocate_lock, get_ident
from _weakrefset import WeakSet
from time import monotonic

from andiron import _host
from andiron._pure import hooks
from andiron._pure.failure import Failure
from andiron._pure.streams import Sending
from andiron._pure.target import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from andiron._pure.session import Session
    from andiron._pure.transport.channel import Channel

    class Attendant(Protocol):
        """Who reads connections so that those who wait need not."""

        def wants(self, link: Any) -> None:
            """There is something to be run, to be sent when the socket takes it, or it is over. Called on any thread, under the link's lock: it may only leave a note."""

        def drives(self) -> bool:
            """Whether this thread is the one that reads, so it has to go on with that while it waits."""

        def step(self, timeout: float) -> None:
            """Reads what comes within that time."""

        @property
        def chains(self) -> dict[int, Any]:
            """Where the thread that reads waits in chains of calls: those of them that come on other connections are for it too."""

    class Ready(Protocol):
        """What can be waited for."""

        @property
        def ready(self) -> bool:
            """Whether it is there. Changes under the link's lock."""


#: How long what is dropped waits for the lock: longer than anybody has it.
SHORTLY = 0.05

#: The longest wait that does not ask the host whether it ends.
SLICE = _host.SLICE

_generation = 0

_all: WeakSet[Reading] = WeakSet()


def _forked() -> None:
    global _generation
    _generation += 1
    for reading in _all:  # a thread that is not there may have had the lock
        reading.lock = allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Reading:
    """A connection as far as it is read, written and waited at. What its events mean is known to `Link`."""

    def __init__(self, channel: Channel, session: Session, bound: bool) -> None:
        self.lock = allocate_lock()
        _all.add(self)
        self.session = session
        self.channel = channel
        #: The descriptor, which says who it was when it is closed.
        self.channel_number = channel.fileno()
        self._generation = _generation
        #: What ties the proof of a secret to the channel is known to the session.
        self._bound = bound
        self.attendant: Attendant | None = None
        #: Why it is over.
        self.ended: Failure | None = None
        self.closed_here = False
        #: What waits to be run by somebody: calls of the other end, and turns of streams.
        self.jobs: deque[Any] = deque()
        #: Calls in the chain of a thread that waits here.
        self._chained: deque[Call] = deque()
        #: How deep the thread is in calls that waits here in a chain.
        self._chains: dict[int, int] = {}
        #: The thread that reads; 0: none.
        self._reader = 0
        #: Who sleeps while another thread reads: its lock, what it waits for, its chain, and which thread it is.
        self._sleepers: list[tuple[Any, Ready, int, int]] = []
        #: What is to be done behind the lock, as far as it was not taken yet.
        self._undone: list[Any] = []
        #: The socket took no more when something was sent last.
        self._full = False
        #: Something here waits until the other end has read more.
        self._stuck = False
        #: What nobody here has any more. A collector may find that out anywhere, so it only leaves a note.
        self._dropped: deque[Any] = deque()
        #: Whether the session looks at the clock though no call has a limit.
        self._ticks = session.config.heartbeat is not None
        #: When who reads will look at the session.
        self._due: float | None = None
        self._opened = False
        self._on_open: list[Callable[[], object]] = []
        self._on_end: list[Callable[[Failure], object]] = []

    def _digest(self, todo: list[Any]) -> None:
        """Works through the session's events."""
        raise NotImplementedError

    def _give_back(self) -> None:
        """Tells the session what nobody here has any more."""
        raise NotImplementedError

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
    def holds_back(self) -> bool:
        """Whether something was dropped that the other end is to be told with what is sent next."""
        return bool(self._dropped) and self.ended is None

    def next_timeout(self) -> float | None:
        """When the session wants to be looked at, by `time.monotonic`. Who reads asks before it waits, and is told where that becomes earlier."""
        if self._due is None and not self._is_timed():
            return None  # who makes a call with a limit meanwhile finds that it is earlier
        with self.lock:
            due = self._due = self.session.poll_timeout() if self._is_timed() else None
        return due

    def _is_timed(self) -> bool:
        """Whether the session may have anything to do at some time."""
        return bool(self._ticks or not self._opened or self.session.deadlines)

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
            todo = self._settle()
        self.do(todo)

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

    # Waiting.

    def wait(self, thing: Ready, chain: int = 0, until: float | None = None) -> bool:
        """Waits until something is ready, or that time, and runs calls of its chain meanwhile. Whether it is."""
        if thing.ready and not self._chained:
            return True
        self.check_fork()
        entered = False
        try:
            with self.lock:
                entered = self._enter(chain)
                # What came since the call was made is for this thread as well.
                for job in [job for job in self.jobs if chain and type(job) is Call and job.chain == chain]:
                    self.jobs.remove(job)
                    self._chained.append(job)
            return self._wait(thing, chain, until)
        except BaseException:
            self._let_go()
            raise
        finally:
            if entered:
                self._leave(chain)

    def _enter(self, chain: int) -> bool:
        """A thread waits in a chain. Under the lock."""
        self._chains[chain] = self._chains.get(chain, 0) + 1
        return True

    def _wait(self, thing: Ready, chain: int, until: float | None) -> bool:
        while True:
            timeout = SLICE if until is None else min(until - monotonic(), SLICE)
            attendant = self.attendant
            drives = attendant is not None and attendant.drives()
            call = job = sleeper = None
            with self.lock:
                if self._chained:
                    call = self._take_chained(chain)
                if call is None:
                    if thing.ready:
                        return True
                    if timeout <= 0:
                        return False
                    if drives:
                        pass
                    elif self.attendant is None and self.jobs and type(self.jobs[0]) is Sending:
                        job = self.jobs.popleft()
                    elif self.attendant is None and not self._reader:
                        self._reader = get_ident()
                    else:
                        sleeper = self._fall_asleep(thing, chain)
            if call is not None:
                call.object.run(call)
                continue
            if sleeper is not None:
                self._sleep(sleeper, timeout)
            elif job is not None:
                job.run()
            elif drives:
                self._drive(attendant, chain, timeout)
            else:
                self._read(timeout)
            if _host.asks:
                _host.check()

    def _leave(self, chain: int) -> None:
        with self.lock:
            chains = self._chains
            depth = chains[chain] - 1
            if depth:
                chains[chain] = depth
            else:
                del chains[chain]
            if self._chained:
                # What came at the last moment is run as others are.
                for call in [call for call in list(self._chained) if call.chain not in chains]:
                    self._chained.remove(call)
                    self._enqueue(call)
            if self._sleepers and not self._reader and self.attendant is None:
                self._sleepers.pop(0)[0].release()  # it reads on
            todo, self._undone = self._undone, []
        if todo:
            self.do(todo)

    def _let_go(self) -> None:
        """The thread was interrupted while it waited: others read on."""
        me = get_ident()
        with self.lock:
            self._sleepers = [entry for entry in self._sleepers if entry[3] != me]
            if self._reader == me:
                self._reader = 0
            if not self._reader:
                self._wake(True)

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
        waiting: Call
        for waiting in list(self._chained):
            if waiting.chain == chain:
                self._chained.remove(waiting)
                return waiting
        return None

    def _fall_asleep(self, thing: Ready, chain: int) -> tuple[Any, Ready, int, int]:
        """Under the lock; behind it `_sleep` follows."""
        sleeper = allocate_lock()
        sleeper.acquire()
        entry = sleeper, thing, chain, get_ident()
        self._sleepers.append(entry)
        return entry

    def _sleep(self, entry: tuple[Any, Ready, int, int], timeout: float) -> None:
        """Sleeps while another thread reads."""
        if not entry[0].acquire(True, timeout):
            with self.lock:
                if entry in self._sleepers:
                    self._sleepers.remove(entry)

    def _drive(self, attendant: Any, chain: int, timeout: float) -> None:
        """Has who reads go on, as this is its thread."""
        before = attendant.chains.get(chain)
        attendant.chains[chain] = self
        try:
            attendant.step(timeout)
        finally:
            if before is None:
                del attendant.chains[chain]
            else:
                attendant.chains[chain] = before

    def step(self, timeout: float) -> None:
        """Reads what comes within that time, where nobody else does, and sends what waits."""
        if self._is_inherited():
            return
        try:
            with self.lock:
                if self._reader or self.ended is not None:
                    return
                self._reader = get_ident()
            self._read(timeout)
        except BaseException:
            self._let_go()
            raise

    def glance(self) -> None:
        """Looks at what came, where nobody else will."""
        attendant = self.attendant
        if attendant is None:
            self.step(0)
        elif attendant.drives():
            attendant.step(0)

    def _read(self, timeout: float) -> None:
        """Reads once. Is called in the role of the reader, and gives it back; where it raises, those who called it do."""
        session, channel = self.session, self.channel
        arrived: Any = None
        lost = None
        due = None
        if self._ticks or not self._opened or session.deadlines:
            with self.lock:
                due = session.poll_timeout()
            if due is not None:
                timeout = max(0.0, min(timeout, due - monotonic()))
        # Without a wait a look at what is there is as good.
        if not timeout or channel.wait(True, self._full or channel.wants_write, timeout)[0]:
            try:
                arrived = channel.recv()
            except (BlockingIOError, InterruptedError):
                pass
            except Failure as failure:
                lost = failure.message
            except OSError as error:
                lost = str(error)
            except BaseException as error:  # with it goes what was read
                with self.lock:
                    self._break(error)
                raise
        wrong: BaseException | None = None
        with self.lock:
            self._reader = 0
            try:
                now = monotonic()
                if lost is not None:
                    session.disconnected(lost)
                elif arrived is not None:
                    if not self._bound:
                        self._bind()
                    if arrived[0] or arrived[1]:
                        session.receive(now, *arrived)
                    else:
                        session.disconnected(channel.end_of_stream)
                if due is not None:
                    session.handle_timeout(now)
            except BaseException as error:
                self._break(error)
                wrong = error
            todo = self._settle()
        if todo:
            self.do(todo)
        if wrong is not None:
            raise wrong

    def _break(self, error: BaseException) -> None:
        """Something interrupted the session half way, and it cannot go on."""
        self.session.disconnected(f"{type(error).__name__} interrupted it")
        self._digest(self._undone)
        self._wake(True)

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
            sleeper, thing, chain, _ = entry
            if (
                everybody
                or thing.ready
                or (self._chained and any(call.chain == chain for call in list(self._chained)))
            ):
                sleeper.release()
            else:
                asleep.append(entry)
        self._sleepers[:] = asleep

    def _settle(self, send: bool = True) -> list[Any]:
        """Sends what is to be sent, and works through what happened. What has to wait until the lock was given back."""
        # What one that was interrupted left comes first.
        todo = self._undone
        session = self.session
        try:
            if session.events:
                self._digest(todo)
            if self._dropped:
                self._give_back()
            wants_write = self.channel.wants_write
            if send or wants_write:
                outbox = session.outbox
                if outbox.pieces or outbox.ready or outbox.finished_items or self._full or wants_write:
                    self._flush()
                    if session.events:
                        self._digest(todo)
                if self._stuck:
                    self._go_on()
            # As `is_ending`, which is asked here with every message.
            ending = session.goodbye_sent or session.goodbye_received is not None
            if ending and self.ended is None and session.is_finished:
                session.disconnected("it was closed here" if self.closed_here else "both ends said goodbye")
                self._digest(todo)
            if self._sleepers:
                self._wake(self.ended is not None)
        except BaseException as error:
            self._break(error)
            raise
        self._undone = []
        return todo

    @property
    def is_behind(self) -> bool:
        """Whether something waits for somebody to work through it."""
        return bool(self._dropped or self._undone or self.session.events)

    def tell_dropped(self) -> None:
        """Something was dropped, and noted. Runs nothing, and waits for the lock only shortly: it may be this very thread that has it."""
        if self._is_inherited():
            return
        if self.lock.acquire(True, SHORTLY):
            try:
                self._give_back()
                self._flush()
                if self._stuck:
                    self._go_on()
                self._wake(False)
            finally:
                self.lock.release()
        if self.attendant is not None and self.is_behind:
            self.attendant.wants(self)

    def _flush(self) -> None:
        session, channel = self.session, self.channel
        full = False
        try:
            session.send_by(channel.send)
            if channel.wants_write:
                channel.send((), ())
                full = channel.wants_write
        except (BlockingIOError, InterruptedError):
            full = True
        except BrokenPipeError:
            session.disconnected(channel.end_of_stream)
        except OSError as error:
            session.disconnected(str(error))
        if full != self._full:
            self._full = full
            if self.attendant is not None:
                self.attendant.wants(self)

    def _go_on(self) -> None:
        """Has what waits for the other end to read go on, if that did."""
        raise NotImplementedError

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
        left = iter(todo)
        try:
            for function, arguments in left:
                try:
                    function(*arguments)
                except Exception as error:  # noqa: PERF203 - of whatever others gave
                    hooks.package.log("error", f"{function} raised", error)
        except BaseException:  # a Ctrl-C is for who waits; others are told all the same
            Reading.do(left)
            raise

    # Jobs.

    def _enqueue(self, job: Any) -> None:
        self.jobs.append(job)
        if self.attendant is not None:
            self.attendant.wants(self)

    def run_job(self) -> Any:
        """Runs what came first of what waits to be run, and gives it; `None` where there was nothing."""
        job = self.take_job()
        self.run_taken(job)
        return job

    def take_job(self) -> Any:
        """What came first of what waits to be run; `None`: there is nothing."""
        with self.lock:
            return self.jobs.popleft() if self.jobs else None

    @staticmethod
    def run_taken(job: Any) -> None:
        """Runs it."""
        if type(job) is Sending:
            job.run()
        elif job is not None:
            job.object.run(job)

    def poll(self, timeout: float) -> bool:
        """Reads what the other end sent, waiting so long at most for it, and runs the calls in it on this thread. Whether a call came."""
        self.check_fork()
        until = monotonic() + max(0.0, timeout)
        first = True
        while True:
            ran = False
            while self.jobs:
                ran = type(self.run_job()) is Call or ran
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


class _Jobs:
    """There is something to be run, or the connection is over."""

    __slots__ = ("_link",)

    def __init__(self, link: Reading) -> None:
        self._link = link

    @property
    def ready(self) -> bool:
        return bool(self._link.jobs) or self._link.ended is not None
