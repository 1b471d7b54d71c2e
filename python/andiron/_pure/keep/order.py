"""Texts in their order, which is that of their bytes in UTF-8."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: A leaf of more than so many is split, so that no change moves more.
_MOST = 1000


class Names:
    """Names in their order, each once. A change costs about the same however many there are.

    Invariants: no leaf is empty, and ``_lasts`` has the last name of each.
    """

    __slots__ = ("_lasts", "_leaves")

    def __init__(self) -> None:
        self._leaves: list[list[str]] = []
        self._lasts: list[str] = []

    def add(self, name: str) -> None:
        """Adds one that is not there."""
        leaves, lasts = self._leaves, self._lasts
        if not leaves:
            leaves.append([name])
            lasts.append(name)
            return
        at = min(bisect_left(lasts, name), len(leaves) - 1)
        leaf = leaves[at]
        insort(leaf, name)
        if len(leaf) > _MOST:
            # Where names come in their order the full leaf stays full.
            half = _MOST if leaf[-1] is name and at == len(leaves) - 1 else _MOST // 2
            leaves.insert(at + 1, leaf[half:])
            del leaf[half:]
            lasts.insert(at, leaf[-1])
            at += 1
        lasts[at] = leaves[at][-1]

    def remove(self, name: str) -> None:
        """Removes one that is there."""
        leaves, lasts = self._leaves, self._lasts
        at = bisect_left(lasts, name)
        leaf = leaves[at]
        del leaf[bisect_left(leaf, name)]
        if leaf:
            lasts[at] = leaf[-1]
        else:
            del leaves[at], lasts[at]

    def first(self) -> str:
        """The first of them; there is one."""
        return self._leaves[0][0]

    def behind(self, after: str | None, including: bool = False) -> Iterator[str]:
        """Those behind a name, or all. They are not to be changed meanwhile."""
        leaves = self._leaves
        if after is None:
            for leaf in leaves:
                yield from leaf
            return
        bisect = bisect_left if including else bisect_right
        at = bisect(self._lasts, after)
        if at < len(leaves):
            leaf = leaves[at]
            yield from leaf[bisect(leaf, after) :]
            for leaf in leaves[at + 1 :]:
                yield from leaf

    def __iter__(self) -> Iterator[str]:
        return self.behind(None)
