"""What all sessions of a server may hold together of what they received and did not work off."""

from __future__ import annotations

from _thread import allocate_lock


class Budget:
    """Bytes that several sessions share, of any threads."""

    __slots__ = ("_left", "_lock")

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = allocate_lock()

    @property
    def left(self) -> int:
        """Bytes that nobody has taken."""
        return self._left

    def take(self, size: int) -> bool:
        """Takes so many, if there are."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Gives so many back."""
        with self._lock:
            self._left += size


#: Taken at a time, so that small calls seldom touch what all share; and kept by who has called once.
_PIECE = 16 << 10
#: What a call costs beside its body.
_OVERHEAD = 256


class Share:
    """One session's part of a budget. It is given back with `clear`."""

    __slots__ = ("_budget", "_taken", "_used")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0
        self._used = 0

    def take(self, cost: int) -> bool:
        """Takes what a call of this cost needs; false where too little is left."""
        used = self._used + cost + _OVERHEAD
        if used > self._taken:
            pieces = _pieces(used - self._taken)
            if not self._budget.take(pieces):
                return False
            self._taken += pieces
        self._used = used
        return True

    def give_back(self, cost: int) -> None:
        """A call of this cost is worked off."""
        self._used = max(0, self._used - cost - _OVERHEAD)
        kept = max(_PIECE, _pieces(self._used))
        if self._taken > kept:
            self._budget.give_back(self._taken - kept)
            self._taken = kept

    def clear(self) -> None:
        """Gives everything back: the session is over."""
        self._budget.give_back(self._taken)
        self._taken = self._used = 0

    def __del__(self) -> None:
        if self._taken:
            self.clear()


def _pieces(size: int) -> int:
    return -(-size // _PIECE) * _PIECE
