"""How long to look for something again and again, before one sleeps until it comes."""

from __future__ import annotations

from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

#: In seconds: about what it costs to be put to sleep and woken, which is more than a small call takes that is answered at once.
_LONGEST = 50e-6
#: What is shorter is not worth it.
_SHORTEST = 5e-6
#: Where it was in vain, so many waits go by before it is tried again: the other end may need the very core that looks.
_RESTS = 64


class Eager:
    """Of one who waits. Goes by what it was worth the last times."""

    __slots__ = ("_rests", "_seconds")

    def __init__(self) -> None:
        self._seconds = _LONGEST
        self._rests = 0

    def look(self, at: Callable[[float], T]) -> T | None:
        """What ``at(0)`` gives, once that is something; `None`, or what it gave last, where one should sleep."""
        if self._rests:
            self._rests -= 1
            return None
        ends = perf_counter() + self._seconds
        while True:
            found = at(0)
            if found:
                self._seconds = _LONGEST
                return found
            if perf_counter() >= ends:
                break
        self._seconds /= 2
        if self._seconds < _SHORTEST:
            self._seconds = _LONGEST
            self._rests = _RESTS
        return found
