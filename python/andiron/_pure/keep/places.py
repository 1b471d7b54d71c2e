"""How much of what takes long may be under way at a time."""

from __future__ import annotations

from _thread import allocate_lock

from andiron._errors import OverloadedError
from andiron._pure.keep.store import steady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: So many seconds a client may stand still when others want its place.
_STANDSTILL = 60


class Places:
    """So many may be under way at a time. Who stands still for a while gives way to others."""

    __slots__ = ("_lock", "_most", "_taken")

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: list[Place] = []
        self._lock = allocate_lock()

    def take(self) -> Place | None:
        """A place; `None`: all are taken, by who moves."""
        with self._lock:
            if len(self._taken) >= self._most:
                oldest = min(self._taken, key=lambda place: place.moved)
                if steady() - oldest.moved < _STANDSTILL * 1_000_000_000:
                    return None
                oldest.lost = True
                self._taken.remove(oldest)
            place = Place(self)
            self._taken.append(place)
            return place

    def leave(self, place: Place) -> None:
        """It is free again, if it was not before."""
        with self._lock:
            if place in self._taken:
                self._taken.remove(place)


class Place:
    """A place of those there are, until it is left."""

    __slots__ = ("_of", "lost", "moved")

    def __init__(self, of: Places) -> None:
        self._of = of
        self.lost = False
        self.moved = steady()

    def moves(self) -> None:
        """Something moves."""
        self.moved = steady()
        if self.lost:
            raise OverloadedError(f"nothing of it moved for {_STANDSTILL} s, and another one came")

    def leave(self) -> None:
        """It is for others."""
        self._of.leave(self)


class Taking:
    """Items that take a place until they end, in whatever way."""

    __slots__ = ("_items", "_place")

    def __init__(self, items: Iterator[Any], place: Place) -> None:
        self._items: Iterator[Any] | None = items
        self._place = place

    def __iter__(self) -> Taking:
        return self

    def __next__(self) -> Any:
        if self._items is None:
            raise StopIteration
        try:
            self._place.moves()
            return next(self._items)
        except BaseException:
            self.close()  # before that is told
            raise

    def close(self) -> None:
        """Nobody wants the rest."""
        items, self._items = self._items, None
        self._place.leave()
        close = getattr(items, "close", None)
        if close is not None:
            close()

    def __del__(self) -> None:
        self.close()
