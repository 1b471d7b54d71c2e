"""Who holds references to whose objects, counted at both ends (``spec/PROTOCOL.md``, section 5)."""

from __future__ import annotations

from andiron._pure.session.wire import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from andiron._pure.session.wire import Ref


class References:
    """The counts of one end."""

    __slots__ = ("held", "last_shown", "shown")

    def __init__(self) -> None:
        #: Own objects that were shown to the peer: how often, less what it released.
        self.shown: dict[int, int] = {}
        self.last_shown = 0
        #: Objects of the peer: how often they were shown, less what was released.
        self.held: dict[int, int] = {}

    def show(self) -> int:
        """A new id for an own object, which counts once it is in a message."""
        self.last_shown += 1
        self.shown[self.last_shown] = 0
        return self.last_shown

    def count(self, refs: Iterable[Ref]) -> None:
        """Counts what a message shows that is about to be sent, also if it is held back first: nobody shall forget the object meanwhile."""
        for owner, number in refs:
            if not owner and number in self.shown:
                self.shown[number] += 1

    def uncount(self, refs: Iterable[Ref]) -> None:
        """Takes back what `count` counted for a message that was not sent."""
        for owner, number in refs:
            if not owner and self.shown.get(number):
                self.shown[number] -= 1

    def forget_unused(self, number: int) -> bool:
        """Forgets an own object that stands in no message, and to which the peer holds no reference; true if it was there."""
        if self.shown.get(number) != 0:
            return False
        del self.shown[number]
        return True

    def received(self, refs: Iterable[Ref], most: int) -> None:
        """Counts what an arriving frame shows."""
        held = self.held
        for owner, number in refs:
            if not number:
                raise Violation("the root object is no reference")
            if not owner:
                held[number] = held.get(number, 0) + 1
        if len(held) > most:
            raise Violation(f"more than {most} objects were shown at once")

    def released(self, number: int, count: int) -> bool:
        """The peer gives back so many of an own object: true if none is left, and the object is forgotten."""
        left = self.shown.get(number, 0) - count
        if left < 0 or not count:
            raise Violation(f"object {number} was released more often than it was shown")
        if left:
            self.shown[number] = left
        else:
            del self.shown[number]
        return not left

    def release(self, number: int, count: int) -> int:
        """Gives back so many of a peer's object: how many are to be told."""
        held = self.held.get(number, 0)
        told = min(count, held)
        if told < held:
            self.held[number] = held - told
        elif held:
            del self.held[number]
        return told
