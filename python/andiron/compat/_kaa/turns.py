"""Where callbacks run: one after the other, on a thread of a channel's own or in the loop of `asyncio` in which it was made."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from functools import partial
from itertools import count

from andiron import _fork, _host, _log
from andiron._later import running_loop
from andiron.compat._kaa.main import main

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, Union

    Turns = Union["ThreadTurns", "LoopTurns"]

#: A thread without work ends after so many seconds; the next work begins another one.
_IDLE = 5.0
#: So many seconds are what is under way at the end waited for.
_PATIENCE = 5.0

_local = threading.local()


class ThreadTurns:
    """Runs what it is given on one thread, which begins with the first and ends when there was nothing more to do for a while."""

    def __init__(self, idle: float = _IDLE) -> None:
        self._idle = idle
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._ready: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Has a function run behind those that were given before; where these are closed, and nothing runs there any more, by those that belong to nobody."""
        with self._changed:
            over = self._is_closed and self._thread is None
            if not over:
                self._ready.append((function, args))
                if self._thread is None:
                    self._thread = _begun(self._serve)
                self._changed.notify_all()
        if over:
            _of_all.soon(function, *args)

    def later(self, seconds: float, function: Callable[[], object]) -> Timed:
        """Has a function run so many seconds later, unless it is given up before."""
        return _clock.later(seconds, partial(self.soon, function))

    def is_here(self) -> bool:
        """Whether this is its thread."""
        return of_thread() is self

    def wake(self) -> None:
        """Has `run_until` look again."""
        with self._changed:
            self._changed.notify_all()

    def run_until(self, done: Callable[[], bool], until: float | None) -> None:
        """Goes on with what there is to do, on its own thread, within something that waits there: as a main loop within a main loop."""
        while not done() and (until is None or time.monotonic() < until):
            _host.check()
            self._run_next(done, _host.SLICE if until is None else until - time.monotonic())

    def close(self) -> None:
        """Does what there is to do now, and then ends its thread, for which it waits shortly."""
        self.end()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_PATIENCE)

    def end(self) -> None:
        """The same without waiting."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _serve(self) -> None:
        _local.turns = self
        while True:
            if self._run_next(lambda: self._is_closed, self._idle):
                continue
            with self._changed:
                if not self._ready:
                    self._thread = None
                    return

    def _run_next(self, done: Callable[[], bool], seconds: float) -> bool:
        """Runs what is next. False where nothing came in time, or it is done."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._ready:
                left = until - time.monotonic()
                if done() or left <= 0:
                    return False
                self._changed.wait(left)
            function, args = self._ready.popleft()
        _run(function, args)
        return True


class _OfAll(ThreadTurns):
    """Those that belong to nobody. Their thread ends as soon as nothing is left to be done, and a forked child has none of it."""

    def __init__(self) -> None:
        super().__init__(0.0)
        _fork.inherits(self)

    def forked(self) -> None:
        """Begins anew."""
        self._begin()


class LoopTurns:
    """Runs what it is given in a loop of `asyncio`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Has a function run in the loop; where that is closed, at once."""
        try:
            self._loop.call_soon_threadsafe(_run_in_loop, function, args)
        except RuntimeError:
            _run(function, args)

    def later(self, seconds: float, function: Callable[[], object]) -> Timed:
        """Has a function run so many seconds later, unless it is given up before."""
        timed = Timed(function)
        self.soon(self._loop.call_later, seconds, timed.run)
        return timed

    def is_here(self) -> bool:
        """Whether this is called by the loop."""
        return running_loop() is self._loop

    def close(self) -> None:
        """Nothing: the loop belongs to the program."""

    end = close


class Timed:
    """Something that is to be run later."""

    def __init__(self, function: Callable[[], object], told: Callable[[], object] | None = None) -> None:
        self._function: Callable[[], object] | None = function
        #: Hears that it was given up.
        self._told = told

    def run(self) -> None:
        """Runs it, unless it was given up."""
        function, self._function = self._function, None
        if function is not None:
            function()

    def give_up(self) -> None:
        """Has it not run."""
        self._function = None
        if self._told is not None:
            self._told()

    def is_over(self) -> bool:
        """Whether it has run, or was given up."""
        return self._function is None


class _Clock:
    """Has things begin at their times, on the threads of others; its own is there as long as there are any."""

    def __init__(self) -> None:
        self.forked()
        _fork.inherits(self)

    def forked(self) -> None:
        """Begins anew."""
        self._changed = threading.Condition()
        #: The soonest first.
        self._timed: list[tuple[float, int, Timed]] = []
        self._numbers = count()
        self._thread: threading.Thread | None = None

    def later(self, seconds: float, function: Callable[[], object]) -> Timed:
        timed = Timed(function, self._look)
        with self._changed:
            heapq.heappush(self._timed, (time.monotonic() + seconds, next(self._numbers), timed))
            if self._thread is None:
                self._thread = _begun(self._serve)
            self._changed.notify_all()
        return timed

    def _look(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while self._timed and self._timed[0][2].is_over():
                    heapq.heappop(self._timed)
                if not self._timed:
                    self._thread = None
                    return
                left = self._timed[0][0] - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                due = heapq.heappop(self._timed)[2]
            due.run()


def _begun(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, name="andiron-kaa_rpc", daemon=True)
    thread.start()
    return thread


def _run(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        function(*args)
    except SystemExit as error:  # the end of the program, and not of this thread
        if not main.is_running():
            _log.log("error", f"{function!r} raised it where no `kaa.main.run` waits", error)
        main.stop()
    except BaseException as error:
        _log.log("error", f"{function!r} raised", error)


def _run_in_loop(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        function(*args)
    except SystemExit:  # ends the loop
        raise
    except BaseException as error:
        _log.log("error", f"{function!r} raised", error)


def chosen() -> Turns:
    """Those for what is made here: in the loop that runs here, or on a thread of their own."""
    loop = running_loop()
    return ThreadTurns() if loop is None else LoopTurns(loop)


def of_thread() -> ThreadTurns | None:
    """Those whose thread this is."""
    return getattr(_local, "turns", None)


_of_all = _OfAll()
_clock = _Clock()


def here() -> Turns:
    """Those that run here, or else some that belong to nobody: for what goes on later."""
    loop = running_loop()
    if loop is not None:
        return LoopTurns(loop)
    return of_thread() or _of_all
