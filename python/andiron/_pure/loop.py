"""Connections that an event loop reads, and what its tasks wait for."""

from __future__ import annotations

from _collections import deque
from _thread import get_ident
from itertools import count
from time import monotonic

from andiron._pure.connection import TIMEOUT, Connection, reached
from andiron._pure.failure import Failure
from andiron._pure.line import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from andiron._pure.link import Link
    from andiron._pure.pending import Pending
    from andiron._pure.streams import Inflow

    #: Seconds until the next step without bytes, whether room to write is waited for, whether the connection is over, and tokens of what is there.
    Step = tuple[Union[float, None], bool, bool, list[Any]]


class Bell:
    """What tasks of a loop wait for, on whatever connection. Other threads ring it when something is there."""

    __slots__ = ("__weakref__", "_here", "_numbers", "_ready", "_there", "_waiting", "awake")

    def __init__(self) -> None:
        import socket

        from andiron._pure.transport.channel import owned

        self._here, self._there = map(owned, socket.socketpair())
        self._here.setblocking(False)
        self._there.setblocking(False)
        #: The loop is at it, and looks by itself.
        self.awake = False
        self._numbers = count(1)
        #: Numbers of what is there.
        self._ready: deque[int] = deque()
        #: What is waited for, or `None` where it is the next step of a connection, again and again; and the token that is given when it is there.
        self._waiting: dict[int, tuple[Pending | Inflow | None, Any]] = {}

    def fileno(self) -> int:
        """A descriptor that can be read when it was rung."""
        return self._here.fileno()

    def rung(self) -> list[Any]:
        """It was rung: tokens of what is there."""
        try:
            while len(self._here.recv(64)) == 64:
                pass
        except BlockingIOError:
            pass
        return self.ready()

    def ready(self) -> list[Any]:
        """The same where the loop looks by itself."""
        self.awake = False  # from here on it is to be rung
        tokens = []
        for _ in range(len(self._ready)):
            number = self._ready.popleft()
            awaited, token = self._waiting.get(number, (None, None))
            if awaited is not None:
                if not awaited.attend(self._ringer(number)):
                    continue  # it was there, and another one has it
                self._waiting.pop(number, None)
            if token is not None:
                tokens.append(token)
        return tokens

    def attend(self, awaited: Pending | Inflow, token: Any) -> int:
        """0 where the result, or the item, is there. Else its token is given when it is, under this number."""
        number = next(self._numbers)
        # Ahead of asking: what is there at once is told of by another thread.
        self._waiting[number] = awaited, token
        if awaited.attend(self._ringer(number)):
            del self._waiting[number]
            return 0
        return number

    def expect(self, token: Any) -> int:
        """A number by which to ring for the step of a connection."""
        number = next(self._numbers)
        self._waiting[number] = None, token
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._waiting.pop(number, None)

    def _ringer(self, number: int) -> Callable[[], None]:
        return lambda: self.ring(number)

    def ring(self, number: int) -> None:
        """What has this number is there. On any thread; waits for nothing."""
        self._ready.append(number)
        if not self.awake:
            self.awake = True
            try:
                self._there.send(b"\0")
            except OSError:  # it is full, and the loop wakes as well; or it is closed
                pass


class _Steps:
    """Who reads a connection, and those that take its place: the loop, step by step."""

    __slots__ = ("_number", "bell", "chains", "closed", "link", "next", "stepping", "thread")

    def __init__(self, bell: Bell, token: Any, link: Link) -> None:
        self.bell = bell
        self._number = bell.expect(token)
        #: The connection that is read.
        self.link = link
        #: That which takes its place, until it is taken over.
        self.next: Link | None = None
        #: The thread of the loop, as far as it is known.
        self.thread = 0
        #: A step is made, which looks by itself what there is.
        self.stepping = False
        self.closed = False
        #: Chains in which that thread waits, and at which connection.
        self.chains: dict[int, Link] = {}
        link.attendant = self

    def ring(self) -> None:
        """Another step is to be made, though no bytes came."""
        if not self.stepping:
            self.bell.ring(self._number)

    def wants(self, _link: Link) -> None:
        """There is something to be run or sent, or it is over."""
        self.ring()

    def drives(self) -> bool:
        """Whether it is the thread of the loop that waits."""
        return get_ident() == self.thread

    def step(self, timeout: float) -> None:
        """Reads for that thread, which waits in place of its loop."""
        self.link.step(timeout)

    def take_over(self, link: Link) -> None:
        """Another connection takes the place of the one that was lost. On any thread."""
        if self.closed:
            raise Failure("unavailable", "the loop that read this connection is over")
        link.attendant = self
        self.next = link
        self.bell.ring(self._number)

    def end(self) -> None:
        """The loop makes no further step."""
        self.closed = True
        self.bell.forget(self._number)


class Driver:
    """Drives a connection on the thread of its event loop."""

    __slots__ = ("_connection", "_not_opened", "_socket", "_steps")

    def __init__(
        self, steps: _Steps, connection: Connection, not_opened: Callable[[Failure], Failure]
    ) -> None:
        self._steps = steps
        self._connection = connection
        self._not_opened = not_opened
        #: The loop watches a descriptor of its own: that of the connection may be closed by others at any time.
        self._socket = _watched(steps.link)

    def connection(self) -> Connection:
        """What it drives."""
        return self._connection

    def fileno(self) -> int:
        """A descriptor to watch; -1 where the connection is over."""
        return -1 if self._socket is None else int(self._socket.fileno())

    def is_open(self) -> bool:
        """Whether the handshake is done; else to be asked again behind the next step."""
        link = self._steps.link
        if self._steps.closed:
            raise Failure("unavailable", "the connection was closed here").exception()
        if link.ended is not None:
            raise self._not_opened(link.ended).exception("connect")
        return link.ready

    def ended(self) -> BaseException | None:
        """Why the connection is over, if it is and nobody here closed it."""
        link = self._steps.link
        if link.ended is None or link.closed_here or self._steps.closed:
            return None
        return Failure(link.ended.kind, link.ended.message).exception()

    def step(self) -> Step:
        """Reads what is there, runs the calls in it, and sends what can be sent."""
        steps, bell = self._steps, self._steps.bell
        if steps.closed:
            return None, False, True, bell.ready()
        bell.awake = True
        steps.thread = get_ident()
        try:
            return *self._stepped(steps), bell.ready()
        finally:
            bell.awake = steps.stepping = False

    def _stepped(self, steps: _Steps) -> tuple[float | None, bool, bool]:
        if self._socket is None and steps.next is not None:  # the loop was told that the one before is over
            steps.link, steps.next = steps.next, None
            self._socket = _watched(steps.link)
        link = steps.link
        steps.stepping = True
        link.step(0)  # once: where there is more the loop comes back, and others have their turn before
        steps.stepping = False  # from here on it is to be rung
        # Calls that come meanwhile have their turn in the next step.
        for _ in range(len(link.jobs)):
            link.run_job()
        if link.ended is not None:
            self._unwatch()
            return (None if steps.next is None else 0.0), False, True
        due = link.next_timeout()
        until = 0.0 if link.jobs else None if due is None else max(0.0, due - monotonic())
        return until, link.wants_write, False

    def _unwatch(self) -> None:
        watched, self._socket = self._socket, None
        if watched is not None:
            watched.close()

    def close(self) -> None:
        """The connection is over."""
        self._steps.end()
        self._connection.close()
        self._unwatch()


def _watched(link: Link) -> Any:
    if link.ended is not None:
        return None
    try:
        from andiron._pure.transport.channel import owned

        return owned(link.channel.sock.dup())
    except OSError:  # it is closed by now, or no descriptor is left
        return None


def drive(bell: Bell, token: Any, connect: Callable[[], Link]) -> Driver:
    """Has a loop drive a connection within this process, of whose handshake nothing was read."""
    link = connect()
    steps = _Steps(bell, token, link)
    return Driver(steps, Connection(Line(link), None), lambda failure: failure)


def open(  # noqa: A001 - it is used by its module's name
    bell: Bell,
    token: Any,
    address: str,
    *,
    timeout: float | None = None,
    retry: float | None = None,
    cache: int | None = None,
    secret_file: str | None = None,
) -> Driver:
    """Connects for a loop, without waiting for the handshake. It blocks where a host is to be found and reached over a network.

    ``token`` is given by the bell where a step is to be made.
    """
    within = TIMEOUT if timeout is None else timeout
    try:
        link = reached(address, within, secret_file)
    except Failure as failure:
        raise failure.exception("connect") from None
    steps = _Steps(bell, token, link)

    def not_opened(failure: Failure) -> Failure:
        from andiron._pure.transport import connector

        return connector.not_opened(address, failure)

    def again(left: float) -> Link:
        """Connects anew, on a thread that may wait; the loop reads from the handshake on."""
        until = monotonic() + min(left, within)
        following = reached(address, min(left, within), secret_file)
        try:
            steps.take_over(following)
            following.wait_opened(max(0.0, until - monotonic()) + 1.0)
        except Failure as failure:
            following.close()
            raise not_opened(failure) from None
        return following

    line = Line(link, None if retry is None else again, retry, f"'{address}'")
    return Driver(steps, Connection(line, cache), not_opened)
