"""Long bodies that are coming in (``spec/PROTOCOL.md``, section 6).

Credit is given to one body after the other for its whole rest, so that half-received bodies never wait for each other. Memory is taken as the
bytes arrive, not as they are announced, and none for a body that nobody wants.
"""

from __future__ import annotations

from andiron._pure.session.wire import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple

    #: Credit to be granted: body and bytes.
    Grant = Optional[Tuple[int, int]]


class _Receiving:
    __slots__ = ("credit", "data", "message", "total")

    def __init__(self, message: Any, data: bytearray, total: int, credit: int) -> None:
        #: What waits for this body.
        self.message = message
        self.data = data
        self.total = total
        self.credit = credit


class Bodies:
    """The bodies under way. Their number is bounded by that of the calls they belong to."""

    __slots__ = ("last", "receiving", "waiting", "window")

    def __init__(self, window: int) -> None:
        self.receiving: dict[int, _Receiving] = {}
        self.last = 0
        #: Bodies that want credit, in the order they came, which is that of their numbers. The first one has it all.
        self.waiting: dict[int, None] = {}
        self.window = window

    def begin(self, body: int, total: int, beginning: memoryview, message: Any) -> Grant:
        """A body begins for which ``message`` waits."""
        self.announce(body, total, len(beginning))
        self.receiving[body] = _Receiving(message, bytearray(beginning), total, self.window)
        if total <= self.window:
            return None
        self.waiting[body] = None
        return self._grant_first() if len(self.waiting) == 1 else None

    def announce(self, body: int, total: int, received: int) -> None:
        """A body begins that nobody wants: its chunks will be skipped, it gets no credit."""
        if body <= self.last:
            raise Violation(f"body {body} comes after body {self.last}")
        self.last = body
        if total <= received:
            raise Violation("a long body is complete in its first frame")
        if received > self.window:
            raise Violation(
                f"body {body} begins with {received} bytes, more than the window of {self.window}"
            )

    def piece(self, body: int, piece: memoryview, left: int) -> tuple[Any, bytearray | None, Grant]:
        """A piece of a chunk, of which ``left`` bytes are still to come: a chunk that is too long is refused before any of it is taken.

        Gives the message with its body, when that is complete; and credit for the next.
        """
        receiving = self.receiving.get(body)
        if receiving is None:
            self._check_known(body)
            return None, None, None
        data = receiving.data
        received = len(data) + len(piece)
        if received + left > receiving.credit or received + left > receiving.total:
            raise Violation(f"body {body} is longer than announced or than its credit")
        data += piece
        if received < receiving.total:
            return None, None, None
        del self.receiving[body]
        return receiving.message, data, self._next_grant(body)

    def abort(self, body: int) -> tuple[Any, Grant]:
        """The sender gives a body up: what waited for it, and credit for the next."""
        self._check_known(body)
        return self.forget(body)

    def forget(self, body: int) -> tuple[Any, Grant]:
        """The rest of a body is not wanted any more: what waited for it, and credit for the next."""
        receiving = self.receiving.pop(body, None)
        return None if receiving is None else receiving.message, self._next_grant(body)

    def _check_known(self, body: int) -> None:
        if body == 0 or body > self.last:
            raise Violation(f"a chunk of body {body}, which never began")

    def _next_grant(self, done: int) -> Grant:
        if done not in self.waiting:
            return None
        was_first = next(iter(self.waiting)) == done
        del self.waiting[done]
        return self._grant_first() if was_first else None

    def _grant_first(self) -> Grant:
        for first in self.waiting:
            receiving = self.receiving[first]
            amount = receiving.total - receiving.credit
            receiving.credit = receiving.total
            return first, amount
        return None

    def clear(self) -> None:
        """Forgets everything: the session is over."""
        self.receiving.clear()
        self.waiting.clear()
