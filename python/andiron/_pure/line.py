"""The connection of a hub, and those that take its place when it is lost.

Nothing here runs by itself: whoever finds the connection lost has the next one made, on its own thread, and others that find it too wait for that. So does a thread of those
that read it, where there are any. Restored are registered names, and objects that were got by name.
"""

from __future__ import annotations

import os
from _thread import RLock, allocate_lock
from time import monotonic

from andiron import _host
from andiron._pure import hooks
from andiron._pure.codec import decode_message, encode_arguments
from andiron._pure.failure import Failure, failure_of
from andiron._pure.remote import Far, Remote, Waiting, origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.link import Link
    from andiron._pure.session import Payload
    from andiron._pure.target import Target

#: The pause after the first connection that failed; each further one is twice as long, and none longer than the last.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


class Line:
    """One connection, and where it retries those after it."""

    def __init__(
        self,
        link: Link,
        again: Callable[[float], Link] | None = None,
        patience: float | None = None,
        peer: str = "",
    ) -> None:
        self.link = link
        #: Connects, within so many seconds.
        self._again = again
        #: How long a call without a limit of its own waits for the next connection.
        self.patience = patience or 0.0
        self._peer = peer
        self._lock = allocate_lock()
        #: A thread is at it.
        self._busy = False
        self._closed = False
        #: Held until it is closed: who rests between two tries need not rest on.
        self._closing = allocate_lock()
        self._closing.acquire()
        #: Why there will be no other connection, where that is known, and who is told.
        self._over: Failure | None = None
        self._on_over: list[Callable[[Failure], object]] = []
        #: Names that were registered, with their objects.
        self._registered: list[tuple[str, Target]] = []
        #: Has it called when another connection took the place of the one that was lost.
        self.renewed: Callable[[Link], object] = lambda _link: None
        if again is not None:
            self._watch(link)

    @property
    def retries(self) -> bool:
        """Whether there are others after the first."""
        return self._again is not None

    @property
    def closed_here(self) -> bool:
        """Whether this end closed it for good."""
        return self._closed or self.link.closed_here

    def close(self) -> None:
        """Ends the connection, and there will be no other."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._closing.release()
        self.link.close()
        self._ends(_closed_here())

    def is_used(self) -> bool:
        """Whether something of it is in use, or will be again over the next connection."""
        return self.link.is_used() or (self.retries and self._over is None and bool(self._registered))

    def on_over(self, hook: Callable[[Failure], object]) -> None:
        """Has this called when there will be no other connection, with why; at once where that is known. Only where it retries."""
        with self._lock:
            if self._over is None:
                self._on_over.append(hook)
                return
        hook(self._over)

    def _ends(self, why: Failure) -> None:
        with self._lock:
            self._over = why
            hooks, self._on_over = self._on_over, []
        for hook in hooks:
            hook(why)

    def registered(self, name: str, target: Target) -> None:
        """A name was registered, to be restored."""
        self.link.know(name, target)
        if self.retries:
            self._registered.append((name, target))

    def alive(self, until: float | None) -> Link:
        """A connection that is not over, as far as is known: the present one, or the next, waited for until then, or as long as the line is patient."""
        link = self.link
        link.check_fork()
        if not self.retries:
            if link.ended is not None:
                raise Failure("unavailable", link.ended.message)
            return link
        if not link.is_leaving:
            return link
        return self._next(link, monotonic() + self.patience if until is None else until)

    def follow(self, lost: Link) -> None:
        """Has the connection after this one made, waited for without end, but not for what no waiting will change: that is told to who waits for the end."""
        try:
            self._next(lost, None)
        except Failure as failure:
            self._ends(failure)

    def _next(self, lost: Link, until: float | None) -> Link:
        pause = FIRST_PAUSE
        last: Failure | None = None
        while True:
            if self._closed:
                raise _closed_here()
            if self.link is not lost:
                return self.link
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0 and last is not None:
                raise last
            mine = False
            try:
                with self._lock:
                    mine, self._busy = not self._busy, True
                if mine:
                    if self.link is not lost:  # another thread was quicker
                        return self.link
                    return self._renew(max(left or 0.0, 0.001) if left is not None else 10.0)
            except Failure as failure:
                if not may_pass(failure):
                    raise
                last = failure
            finally:
                if mine:
                    self._busy = False
            if not mine and left is not None and left <= 0:
                text = "the connection was lost and there is no other yet: the server has not answered so far"
                raise Failure("unavailable", text)
            rest(pause if left is None else min(pause, max(left / 2, FIRST_PAUSE)), self._closing)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _renew(self, timeout: float) -> Link:
        again: Any = self._again
        link: Link = again(timeout)
        root = Far(link, 0)
        for name, target in list(self._registered):
            try:
                ask(root, "register", (name, target), monotonic() + (self.patience or 10.0))
            except Failure as failure:
                link.close()
                raise Failure(
                    failure.kind, failure.message, operation="register", context={"name": name}
                ) from None
            link.know(name, target)
        self.link = link
        self._watch(link)
        if self._closed:
            link.close()
            raise _closed_here()
        self._over = None
        hooks.package.log("info", f"connected to {self._peer} again", None)
        self.renewed(link)
        return link

    def _watch(self, link: Link) -> None:
        def lost(failure: Failure) -> None:
            if not self._closed:
                hooks.package.log(
                    "warning", f"the connection to {self._peer} was lost: {failure.message}", None
                )

        link.on_end(lost)


def _closed_here() -> Failure:
    return Failure("unavailable", "the connection was closed here")


def rest(seconds: float, closing: Any) -> None:
    """Pauses, unless the host ends meanwhile, or this lock becomes free. Others wait as long, give or take a half, so that they do not all come back in the same moment."""
    share = int.from_bytes(os.urandom(2), "big") / 65536
    left = seconds * (0.5 + 0.5 * share)
    while left > 0:
        if closing.acquire(True, min(left, _host.SLICE)):
            closing.release()
            return
        _host.check()
        left -= _host.SLICE


def may_pass(failure: Failure) -> bool:
    """Whether another try may do better: nobody is there yet, or the server has not noticed yet that the lost connection, which has the name, is gone."""
    return failure.kind in ("unavailable", "overloaded", "conflict", "unknown", "deadline")


def ask(far: Far, method: str, args: tuple[Any, ...], until: float | None = None) -> Any:
    """Calls an object for the engine itself: its results name `Remote` and `Target` as they are."""
    chain, deadline, annotations = origin()
    if until is not None and (deadline is None or until < deadline):
        deadline = until
    waiting = Waiting()
    link = far.link
    link.call_and_wait(waiting, far.id, method, encode_arguments(args, None), chain, deadline, annotations)
    if waiting.failure is not None:
        raise waiting.failure
    payload: Any = waiting.payload
    if payload.codec == 0:
        return None
    found, memories, stream = link.beside(payload, _AS_IT_IS)
    try:
        return decode_message(payload.body, found, memories, stream)
    except Exception as error:  # which users see as it is
        raise failure_of(error) from None


def _as_it_is(thing: Any) -> Any:
    return thing


_AS_IT_IS = _as_it_is, _as_it_is


class Named:
    """An object that was got by name over a line that retries: it is looked up again over the next connection, and where its provider is another. Without a name: the root."""

    __slots__ = ("_line", "_lock", "_name", "last")

    def __init__(self, line: Line, name: str | None, found: Far) -> None:
        self._line = line
        self._name = name
        #: `None`: nothing had this name when it was looked up last.
        self.last: Far | None = found
        self._lock = RLock()

    def until(self, deadline: float | None) -> float:
        """Until when a call is tried."""
        return monotonic() + self._line.patience if deadline is None else deadline

    def is_lost(self) -> bool:
        """Whether it has to be found again."""
        return self.last is None or self.last.link.is_leaving

    def present(self, until: float) -> Far:
        """The object, over the next connection where one is over. Where nothing has its name any more its provider may be on its way as well."""
        missing: Failure | None = None
        pause = FIRST_PAUSE
        while True:
            found = self.last
            if found is not None and not found.link.is_leaving:
                return found
            link = self._line.alive(until)
            try:
                found = self.last = self._look_up(link, until)
                return found
            except Failure as failure:
                nobody = failure.kind == "no object"
                # That the time is over says less than what was waited for in it.
                if nobody or missing is None:
                    missing = failure
                left = until - monotonic()
                if (
                    not (nobody or (link.is_leaving and may_pass(failure)))
                    or left <= 0
                    or self._line.closed_here
                ):
                    raise missing from None
            rest(min(pause, max(left / 2, 0.001)), self._line._closing)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _look_up(self, link: Link, until: float | None) -> Far:
        if self._name is None:
            return Far(link, 0)
        found = ask(Far(link, 0), "lookup", (self._name,), until)
        if not isinstance(found, Remote):
            raise Failure("no object", "this name is now one of an object of this process")
        return found.far

    def after(self, lost: Far, until: float) -> Far | None:
        """The object once more, behind a call that did not reach it: over the next connection, or of who provides it now.

        `None`: it is what it was, and the call failed for a reason of its own.
        """
        if not lost.link.is_leaving:
            try:
                found = self._look_up(lost.link, until)
                if found.link is lost.link and found.id == lost.id:
                    return None
                self.last = found
            except Failure:
                self.last = None  # it may be said once more, of the next try
        return self.present(until)

    def call(
        self,
        call: Callable[[Far], Payload],
        deadline: float | None,
        idempotent: bool,
        streamed: bool,
    ) -> tuple[Far, Payload]:
        """Calls it, and again over the next connection or at the next provider where that is right: where it cannot have run, or may run twice."""
        until = self.until(deadline)
        far = self.present(until)
        while True:
            try:
                return far, call(far)
            except Failure as failure:  # noqa: PERF203 - most calls are made once
                harmless = failure.kind in ("unavailable", "no object") or (
                    failure.kind == "unknown" and idempotent
                )
                if not harmless or streamed or until <= monotonic():
                    raise
                following = self.after(far, until)
                if following is None:
                    raise
                far = following

    def renew(self, failed: bool, until: float) -> bool:
        """Waits for the next connection, and the object there. ``failed``: a call did not reach it. Whether another call is worth it."""
        before = self.last
        if failed and before is not None:
            return self.after(before, until) is not None
        self.present(until)
        return True
