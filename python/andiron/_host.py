"""What the program that hosts this one says: whether it ends, and this has to end with it."""

from __future__ import annotations

import sys

from andiron import _errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: The longest time in which nobody asks, in seconds.
SLICE = 1.0

_question: Callable[[], object] | None = None

#: Whether there is something to ask.
asks = False

#: Whether any thread may ask, so that threads which nobody stops end with the host.
anywhere = False


def abort_when(check: Callable[[], object] | None) -> None:
    """Has waits ask this at least once a second, on the thread that waits: what is true ends the wait with `CancelledError`. `None`: nothing is asked any more.

    For a program inside another one that has to end in time. `serve` and `Hub.run` come back then. In Kodi its ``Monitor().abortRequested`` is asked from the import on, also by
    threads of servers and connections: those that nobody has stopped end a second later.
    """
    global _question, asks
    if check is not None and not callable(check):
        raise TypeError(f"abort_when takes a function that tells whether to end, not {check!r}")
    _question = check
    asks = check is not None


def ends() -> bool:
    """Whether the host ends."""
    return _question is not None and bool(_question())


def check() -> None:
    """Raises where the host ends."""
    if ends():
        raise _errors.CancelledError("the program that this runs in ends, so nothing is waited for any more")


if (
    "xbmc" in sys.builtin_module_names
):  # Kodi, which asks its scripts to end one after the other, and waits for each
    SLICE = 0.1
    anywhere = True
    import xbmc  # type: ignore[import-not-found]

    abort_when(xbmc.Monitor().abortRequested)
