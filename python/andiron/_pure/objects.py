"""Which objects this end showed to the other, and which of the other's it holds. Under the lock of its connection."""

from __future__ import annotations

import weakref
from _collections import deque

from andiron._pure.failure import Failure
from andiron._pure.remote import Far, Remote
from andiron._pure.target import Gone, Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from andiron._pure.link import Link
    from andiron._pure.session import Session


class _Held(weakref.ref):  # type: ignore[type-arg] # of a Far
    """An object of the other end that somebody here has, and how often it was named."""

    __slots__ = ("count", "id")

    count: int
    id: int


class Objects:
    """The tables of one connection."""

    __slots__ = ("_held", "_note", "_numbers", "_shown")

    def __init__(self, dropped: deque[Any]) -> None:
        self._shown: dict[int, Any] = {}
        #: The number of a shown object by its place in memory, which is its own while it is shown.
        self._numbers: dict[int, int] = {}
        self._held: dict[int, _Held] = {}
        #: Gets the objects of the other end that nobody has any more.
        self._note = dropped.append

    def shown(self, number: int) -> Any:
        """What can be called by this number: it has ``run(call)``; `None` where there is nothing (any more)."""
        return self._shown.get(number)

    def show(self, session: Session, link: Link, thing: Any) -> tuple[int, int]:
        """How a message names a `Target` or a `Remote`: owner and number."""
        if isinstance(thing, Remote):
            far = thing.far
            if far.link is link and far.id:
                return 1, far.id
            number = self._numbers.get(id(far))
            if number is None:
                number = self._add(session, Relay(far), id(far))
            return 0, number
        number = self._numbers.get(id(thing))
        return 0, self._add(session, thing, id(thing)) if number is None else number

    def _add(self, session: Session, shown: Any, place: int) -> int:
        number = session.show()
        self._shown[number] = shown
        self._numbers[place] = number
        return number

    def received(self, link: Link, owner: int, number: int) -> Any:
        """What the other end names: a `Target` of this process, or a `Far`. Dropping that gives it back."""
        if owner:
            shown = self._shown.get(number) or Gone()
            # So that it comes home as itself when it is passed on.
            return shown.far if type(shown) is Relay else shown
        held = self._held.get(number)
        far = None if held is None else held()
        if held is None or far is None:
            far = Far(link, number)
            held = _Held(far, self._note)
            self._held[number] = held
            held.id = number
            held.count = 0
        held.count += 1
        return far

    def are_held(self) -> bool:
        """Whether either end has an object of the other."""
        return bool(self._shown) or any(held() is not None for held in self._held.values())

    def give_back(self, session: Session, held: _Held) -> None:
        """Tells the session what was dropped, so that the other end is told with what is sent next."""
        if self._held.get(held.id) is held:
            del self._held[held.id]
        session.release(held.id, held.count)

    def released(self, number: int) -> Any:
        """The other end holds it no more. What it was, to be dropped without the lock."""
        shown = self._shown.pop(number, None)
        if shown is not None:
            self._numbers.pop(id(shown.far if type(shown) is Relay else shown), None)
        return shown

    def clear(self) -> list[Any]:
        """The connection is over. All that was shown, to be dropped without the lock."""
        shown = list(self._shown.values())
        self._shown.clear()
        self._numbers.clear()
        self._held.clear()
        return shown


def resolve(things: Any, position: int) -> Any:
    """What a value names by position."""
    if position >= len(things):
        raise Failure("encoding", f"the value names the object {position}, and {len(things)} came with it")
    return things[position]
