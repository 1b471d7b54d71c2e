"""What waits for the thread that runs a daemon's loop."""

from __future__ import annotations

import socket
from _collections import deque
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], object]


class Loop:
    """Jobs for one thread, and a socket that can be read when there are some, or when there is something to look at."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._lock = allocate_lock()
        self.sock, self._bell = socket.socketpair()
        self.sock.setblocking(False)
        self._bell.setblocking(False)
        #: The thread that runs jobs now.
        self._thread = 0

    def add(self, job: Job) -> None:
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

    def into(self, other: Loop) -> None:
        """Gives its jobs to another loop."""
        while self._jobs:
            other.add(self._jobs.popleft())

    def close(self) -> None:
        """Is not waited for any more."""
        self._bell.close()
        self.sock.close()
