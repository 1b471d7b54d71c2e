"""What waits for the thread that runs a daemon's loop."""

from __future__ import annotations

import socket
from _collections import deque
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """Something to be done once: it is either run or refused."""

    def __init__(self, run: Callable[[], object], refuse: Callable[[], object]) -> None:
        self._left = [(run, refuse)]

    def _do(self, which: int) -> None:
        try:
            ways = self._left.pop()
        except IndexError:  # it was done already
            return
        ways[which]()

    def __call__(self) -> None:
        self._do(0)

    def refuse(self) -> None:
        """Does not run it any more."""
        self._do(1)


class Loop:
    """Jobs for one thread, and a socket that can be read when there are some, or when there is something to look at."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], object]] = deque()
        self._lock = allocate_lock()
        #: How many daemons have it.
        self._users = 1
        self.sock, self._bell = socket.socketpair()
        self.sock.setblocking(False)
        self._bell.setblocking(False)
        #: The thread that runs jobs now.
        self._thread = 0

    def add(self, job: Callable[[], object]) -> None:
        """Has the thread of the loop run this; on any thread."""
        self._jobs.append(job)
        self.wake()

    def wake(self) -> None:
        """Has it look around."""
        try:
            self._bell.send(b"\0")
        except (BlockingIOError, OSError):  # it is full, and wakes as well; or closed
            pass

    def is_here(self) -> bool:
        """Whether this thread runs a job of it."""
        return self._thread == get_ident()

    def wait(self, seconds: float) -> None:
        """Waits until it is woken, for so long at most."""
        if self._jobs:
            return
        self.sock.settimeout(max(0.001, seconds))
        try:
            self.sock.recv(4096)
        except OSError:  # the time is over, or it was closed
            pass
        finally:
            self._quiet()

    def _quiet(self) -> None:
        try:
            self.sock.setblocking(False)
        except OSError:
            pass

    def run(self) -> None:
        """Runs the jobs that are there."""
        try:
            while self.sock.recv(4096):
                pass
        except OSError:  # there is no more
            pass
        before, self._thread = self._thread, get_ident()
        try:
            for _ in range(len(self._jobs)):
                try:
                    job = self._jobs.popleft()
                except IndexError:  # another thread took it
                    return
                job()
        finally:
            self._thread = before
            if self._jobs:
                self.wake()

    def take_over(self, other: Loop) -> None:
        """Has the jobs of another loop, which one daemon had, and that daemon."""
        with self._lock:
            self._users += 1
        while other._jobs:
            self.add(other._jobs.popleft())
        other.leave()

    def leave(self) -> None:
        """A daemon has it no more."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self._bell.close()
            self.sock.close()
