"""What is open when the program ends is closed then, in order."""

from __future__ import annotations

import atexit
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Closes(Protocol):
        """A server or a client."""

        def close(self) -> None:
            """Ends it."""


_open: WeakSet[Closes] = WeakSet()


def close_at_exit(what: Closes) -> None:
    """Has it closed."""
    _open.add(what)


@atexit.register
def _close_all() -> None:
    for each in list(_open):
        each.close()
