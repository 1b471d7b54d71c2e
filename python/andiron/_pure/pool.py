"""The loop that reads many connections, and the threads that run methods where they are asked for."""

from __future__ import annotations

import os
import selectors
import socket
import weakref
from _collections import deque
from _thread import allocate_lock, get_ident
from time import monotonic

from andiron import _host
from andiron._pure import hooks
from andiron._pure.target import Call
from andiron._pure.transport.channel import owned
from andiron._pure.transport.eager import Eager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.link import Link

#: A method that runs for so long does not hold up further calls of its connection, where there are threads.
LONG = 0.005

_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE

#: The longest time in which nothing is looked at.
SLICE = 1.0
#: How long the host has been ending when threads that nobody has stopped end by themselves: what is left behind would keep it from its end.
_LEFT = 1.0


class Run:
    """A thread that runs the calls of a connection, or will."""

    __slots__ = ("began", "job", "link")

    def __init__(self, link: Link) -> None:
        self.link = link
        #: What it runs. None of others begins the next before the method of this has begun: the reading of its arguments may take long as well.
        self.job: Any = None
        #: When its latest call began; while it waits for a thread none of others takes over.
        self.began = float("inf")

    def has_begun(self) -> bool:
        """Whether it is at a method, or beyond."""
        job = self.job
        return job is not None and (type(job) is not Call or job.begun or job.answered)


class Pool:
    """Reads connections.

    Without ``threads`` it does so, and runs their calls one after the other, while `turn` runs. With them one thread reads, and so many at most run methods: the calls of a
    connection one after the other, unless one takes long.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self._process = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._eager = Eager()
        self._links: dict[int, tuple[Link, int]] = {}
        #: When sessions want to be looked at, of those that do, and when all were asked last: a thread that calls may have one look earlier.
        self._dues: dict[Link, float] = {}
        self._asked = 0.0
        #: Connections that want something; those who tell must not wait.
        self._noted: deque[Link] = deque()
        #: The connection that is being read.
        self._stepped: Link | None = None
        self._here, self._there = map(owned, socket.socketpair())
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._selector.register(self._here, selectors.EVENT_READ, None)
        self._awake = False
        self.chains: dict[int, Link] = {}
        #: When it was looked last for what connections hold back.
        self._gave_back = 0.0
        #: The thread that reads.
        self._reader = 0
        self._stopping = False
        self._timers: list[tuple[float, Callable[[], object]]] = []
        #: Connections with something to run, while there are no threads.
        self._waiting: deque[Link] = deque()
        self._lock = allocate_lock()
        #: Threads that run calls of a connection, the one last that took over last.
        self._runs: dict[Link, list[Run]] = {}
        self._queue: deque[Run] = deque()
        self._idle: list[Any] = []
        self._workers = 0
        self._threads: list[Any] = []
        #: Since when the host ends, as the thread that reads has seen it; and what it does when nobody else has ended this then.
        self._ending: float | None = None
        self.when_left: Callable[[], object] = lambda: self.stop(0.0)
        #: Who has this, whether something else is waited for here, and what ends it once neither is so.
        self._owned: tuple[Callable[[], object], Callable[[], bool], Callable[[], object]] | None = None

    # What others ask for.

    def belong_to(self, owner: object, is_used: Callable[[], bool], end: Callable[[], Any]) -> None:
        """Has ``end()`` called by a thread when nobody has the owner any more, and nothing else is in use.

        The collector drops owners at any moment and under any lock, also when this interpreter is nearly gone: so all that is done then is to wake who reads.
        """
        there = self._there

        def dropped(_owner: object) -> None:
            try:
                there.send(b"\0")
            except OSError:  # it is full, and wakes as well; or closed
                pass

        self._owned = weakref.ref(owner, dropped), is_used, end

    def attend(self, link: Link) -> None:
        """Reads this connection from now on."""
        with link.lock:
            link.attendant = self
        self.wants(link)

    def listen(self, sock: Any, ready: Callable[[], object]) -> None:
        """Calls ``ready()`` whenever something can be accepted here. Before it runs, or on its thread."""
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def unlisten(self, sock: Any) -> None:
        """No more is accepted here. On its thread, or when it has ended."""
        try:
            self._selector.unregister(sock)
        except (KeyError, ValueError):
            pass

    def at(self, when: float, function: Callable[[], object]) -> None:
        """Has this called at that time, by `time.monotonic`, by who reads."""
        with self._lock:
            self._timers.append((when, function))
        self.wake()

    def wants(self, link: Link) -> None:
        """There is something to be run or sent; on any thread."""
        if link is self._stepped and get_ident() == self._reader:
            return  # it is looked at behind its step
        self._noted.append(link)
        self.wake()

    def wake(self) -> None:
        """Has the loop look around."""
        if not self._awake and get_ident() != self._reader:
            self._awake = True
            try:
                self._there.send(b"\0")
            except (BlockingIOError, OSError):  # it is full, and wakes as well; or closed
                pass

    def drives(self) -> bool:
        """Whether this thread is the one that reads."""
        return get_ident() == self._reader

    # Reading.

    def start(self) -> None:
        """Has a thread read."""
        self.begin(self._run)

    def begin(self, run: Callable[[], object]) -> None:
        """Has a thread do this."""
        import threading

        thread = threading.Thread(target=run, name="andiron", daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except BaseException:  # the system has no more, or this interpreter may have none
            self._threads.remove(thread)
            raise

    def _run(self) -> None:
        self._reader = get_ident()
        try:
            while not self._stopping:
                try:
                    self.step(SLICE)
                    if _host.anywhere and self._is_left():
                        self.when_left()
                    elif self._owned is not None:
                        self._end_if_dropped(*self._owned)
                except Exception as error:  # noqa: PERF203 - a defect must not end all connections
                    hooks.package.log("error", "the loop that reads connections had a defect", error)
        finally:  # also where the host raises something here to end it: nobody else would wake those that sleep
            self._stopping = True
            self._wake_idle()

    def _is_left(self) -> bool:
        """Whether the host has been ending for a while."""
        if not _host.ends():
            self._ending = None
            return False
        now = monotonic()
        if self._ending is None:
            self._ending = now
        return now - self._ending >= _LEFT

    def _end_if_dropped(
        self, owner: Callable[[], object], is_used: Callable[[], bool], end: Callable[[], object]
    ) -> None:
        if owner() is None and not is_used():
            self.begin(end)  # which reads on meanwhile
            self._owned = None

    def turn(self, seconds: float) -> bool:
        """Reads and runs calls for so long at most, on this thread. False where threads do that."""
        if self.threads is not None:
            return False
        before = self._reader
        try:
            self._reader = get_ident()
            until = monotonic() + seconds
            while not self._stopping:
                left = until - monotonic()
                self.step(max(0.0, min(left, _host.SLICE)) if not self._waiting else 0.0)
                self.run_waiting()
                if _host.asks:
                    _host.check()
                if left <= 0:
                    break
        finally:
            self._reader = before
        return True

    def turn_once(self, timeout: float) -> None:
        """Reads once, waiting so long at most, and runs what is there, on this thread. Only where no thread does."""
        before = self._reader
        try:
            self._reader = get_ident()
            self.step(timeout if not self._waiting else 0.0)
            self.run_waiting()
        finally:
            self._reader = before

    def run_waiting(self) -> None:
        """Runs what waits, one after the other. Only where no thread does."""
        for _ in range(len(self._waiting)):
            link = self._waiting.popleft()
            try:
                link.run_taken(link.take_job())
            finally:
                if link.jobs and link not in self._waiting:
                    self._waiting.append(link)

    def step(self, timeout: float) -> None:
        """Reads what comes within that time, for all connections."""
        if self._stepped is not None:  # something that runs in its step waits
            self._noted.append(self._stepped)
            self._stepped = None
        self._look_at_noted()
        if self._timers or self._dues:
            timeout = min(timeout, self._next_timer(monotonic()))
        if self._runs and timeout > LONG and self._ought_to_hand_over():
            timeout = LONG
        if self._noted:
            timeout = 0.0
        select = self._selector.select
        events = (self._eager.look(select) if timeout else None) or select(timeout)
        for key, _ in events:
            if key.data is None:
                self._hear()  # ahead of what follows: a byte of who tells something behind that must not be taken
        self._awake = False
        for key, _ in events:
            if callable(key.data):
                key.data()
            elif key.data is not None:
                self._step_link(key.data[0])
        if not events:
            self._give_back(monotonic())
        if self._timers or self._dues:
            now = monotonic()
            self._run_timers(now)
            for link in [link for link, due in self._dues.items() if due <= now]:
                self._step_link(link)
        self._look_at_noted()
        if self._runs:
            self._look_after_long(monotonic())

    def _give_back(self, now: float) -> None:
        """Has connections tell what nobody here has any more, where nothing else has been sent on them for a while."""
        if now - self._gave_back >= SLICE / 4:
            self._gave_back = now
            for link in self.links():
                if link.holds_back:
                    link.push()

    def _hear(self) -> None:
        """Takes the bytes by which it was woken."""
        try:
            self._here.recv(4096)
        except (BlockingIOError, OSError):
            pass

    def _step_link(self, link: Link) -> None:
        self._stepped = link
        try:
            link.step(0)
        finally:
            self._stepped = None
        self._look_at(link)

    def _look_at_noted(self) -> None:
        while self._noted:
            self._look_at(self._noted.popleft())

    def _look_at(self, link: Link) -> None:
        """Sees what a connection wants."""
        # First what could not be found out again: where it is closed at this moment it cannot be watched.
        if link.jobs:
            if self.threads is not None:
                self._have_run(link)
            elif link not in self._waiting:
                self._waiting.append(link)
        if link.is_behind:
            link.push()
        self._watch(link)

    def _watch(self, link: Link) -> None:
        """Watches for what a connection waits for."""
        number = link.channel_number
        known = self._links.get(number)
        if link.ended is not None:
            # Its number may be another one's by now.
            if known is not None and known[0] is link:
                self._forget(number)
            return
        if known is not None and known[0] is not link:
            self._forget(number)
            known = None
        interest = _BOTH if link.wants_write else selectors.EVENT_READ
        try:
            if known is None:
                self._selector.register(number, interest, (link,))
                self._links[number] = link, interest
            elif known[1] != interest:
                self._selector.modify(number, interest, (link,))
                self._links[number] = link, interest
        except (KeyError, ValueError, OSError):
            if link.ended is None:
                raise
            return  # another thread has closed it meanwhile, and notes that
        self._ask(link)

    def _ask(self, link: Link) -> None:
        """When its session wants to be looked at."""
        due = link.next_timeout()
        if due is not None:
            self._dues[link] = due
        elif link in self._dues:
            del self._dues[link]

    def _forget(self, number: int) -> None:
        self._dues.pop(self._links.pop(number)[0], None)
        try:
            self._selector.unregister(number)
        except (KeyError, ValueError, OSError):
            pass

    def _next_timer(self, now: float) -> float:
        with self._lock:
            dues = [when for when, _ in self._timers]
        if now - self._asked >= SLICE:
            self._asked = now
            for link, _interest in self._links.values():
                self._ask(link)
        dues.extend(self._dues.values())
        return max(0.0, min(dues) - now) if dues else SLICE

    def _run_timers(self, now: float) -> None:
        while True:
            with self._lock:
                due = next((timer for timer in self._timers if timer[0] <= now), None)
                if due is None:
                    return
                self._timers.remove(due)
            due[1]()

    # Running, with threads.

    def _have_run(self, link: Link) -> None:
        with self._lock:
            if link not in self._runs:
                self._hand_over(link, self._runs.setdefault(link, []))

    def _hand_over(self, link: Link, runs: list[Run]) -> None:
        """Has a thread run the calls of a connection, an idle one or a new one; or the first that is free."""
        run = Run(link)
        runs.append(run)
        self._queue.append(run)
        if self._idle:
            self._idle.pop().release()
        elif self._workers < (self.threads or 0):
            self._workers += 1
            self.begin(self._work)

    def _ought_to_hand_over(self) -> bool:
        """Whether another thread is to run what waits, should the method that began last take long."""
        with self._lock:
            # One that waits for a thread while all are at methods begins no sooner for being looked at.
            free = self._workers + len(self._queue) - sum(map(len, self._runs.values())) > 0
            return any(
                link.jobs and len(runs) < (self.threads or 0) and (free or runs[-1] not in self._queue)
                for link, runs in self._runs.items()
            )

    def _look_after_long(self, now: float) -> None:
        """Where the method of a connection that began last takes long another thread runs the next."""
        with self._lock:
            for link, runs in self._runs.items():
                last = runs[-1]
                many = len(runs) >= (self.threads or 0)
                if link.jobs and now - last.began > LONG and last.has_begun() and not many:
                    self._hand_over(link, runs)

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._queue:
                    run = self._queue.popleft()
                elif self._stopping:
                    self._workers -= 1
                    return
                else:
                    run = None
                    sleeper = allocate_lock()
                    sleeper.acquire()
                    self._idle.append(sleeper)
            if run is None:
                sleeper.acquire()
            else:
                self._run_all(run)

    def _run_all(self, run: Run) -> None:
        """Runs the calls of a connection until there are none, or another thread has taken over."""
        link = run.link
        while True:
            with self._lock:
                runs = self._runs[link]
                if not link.jobs or runs[-1] is not run:
                    runs.remove(run)
                    if not runs:
                        del self._runs[link]
                    return
                run.began = monotonic()
                run.job = None
            try:
                run.job = job = link.take_job()
                link.run_taken(job)
            except BaseException as error:  # a method may raise anything
                hooks.package.log("error", "a thread that runs methods met this", error)

    # The end.

    def _wake_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for sleeper in idle:
            sleeper.release()

    def is_busy(self) -> bool:
        """Whether methods run or wait to be run."""
        with self._lock:
            return bool(self._runs or self._waiting)

    def links(self) -> list[Link]:
        """The connections that it reads."""
        return [link for link, _ in list(self._links.values())]

    def stop(self, seconds: float) -> None:
        """Ends its threads, once they have done what they are at, for which it waits so long at most. In a forked child, which has none of them, nothing."""
        if self._process != os.getpid():
            return
        self._stopping = True
        self._awake = False
        self.wake()
        self._wake_idle()
        until = monotonic() + seconds
        for thread in self._threads:
            if thread.ident != get_ident():
                thread.join(max(0.0, until - monotonic()))
        for link in self.links():
            link.leave_attendant()
        if all(not thread.is_alive() or thread.ident == get_ident() for thread in self._threads):
            self._selector.close()
            self._here.close()
            self._there.close()
