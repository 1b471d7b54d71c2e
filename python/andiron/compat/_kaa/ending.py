"""What is open when the program ends is closed then, in order."""

from __future__ import annotations

import atexit
from weakref import WeakSet

from andiron import _fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Closes(Protocol):
        """A server or a client."""

        def close(self) -> None:
            """Ends it."""


class _Open:
    """Servers and clients that nobody has closed."""

    def __init__(self) -> None:
        self._all: WeakSet[Closes] = WeakSet()
        _fork.inherits(self)

    def add(self, what: Closes) -> None:
        self._all.add(what)

    def close(self) -> None:
        for each in list(self._all):
            each.close()

    def forked(self) -> None:
        """Has none of them: they are the parent's, and so are their threads."""
        self._all = WeakSet()


_open = _Open()
close_at_exit = _open.add
atexit.register(_open.close)
