"""Who watches which entries, and what of their changes was not told yet.

A watcher who reads slowly is told less, not late: of an entry that changed several times meanwhile it gets the latest state, and how many changes that stands for. So what is
kept for it is at most one note for each entry, and their number is bounded. Whoever watched before may resume from a version: what changed after it, as far as the
history has it, counts as untold.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from weakref import ref

from andiron._errors import BadArgumentsError, ConflictError, OverloadedError
from andiron._pure.keep.limits import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from re import Pattern
    from typing import Any

    from andiron._pure.keep.store import Entry, Store

    Key = tuple[str, str]

#: So many changes are kept, of a watcher and in the history, with keys of so many bytes in all.
MOST_CHANGES = 65_536
MOST_BYTES = 16 << 20
#: How many of the entries that are there from the start are looked up at a time.
_PAGE = 256
#: A pattern may have so many bytes.
_LONGEST_PATTERN = 1024


def _fitting(pattern: str) -> Callable[[str], bool]:
    """What says whether a name fits a pattern, in which ``*`` stands for any characters, ``?`` for one, and a character behind a backslash for itself.

    >>> [_fitting("r*m?")(name) for name in ("rooms", "rmm1", "room")]
    [True, True, False]
    """
    if size(pattern) > _LONGEST_PATTERN:
        raise BadArgumentsError(
            f"a pattern has at most {_LONGEST_PATTERN} bytes, this one has {size(pattern)}"
        )
    parts: list[list[str | None]] = [[]]  # what stands between stars; `None` is any character
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            parts.append([])
        elif character == "?":
            parts[-1].append(None)
        else:
            parts[-1].append(next(characters, character) if character == "\\" else character)
    if len(parts) == 2 and not parts[1] and None not in parts[0]:
        beginning = "".join(part or "" for part in parts[0])
        return lambda name: name.startswith(beginning)
    import re

    found = [
        re.compile("".join("." if one is None else re.escape(one) for one in part), re.DOTALL)
        for part in parts
    ]
    lengths = [len(part) for part in parts]
    return lambda name: _fits(found, lengths, name)


def _fits(parts: list[Pattern[str]], lengths: list[int], name: str) -> bool:
    """Each part where it comes first: no pattern takes longer than its length times that of the name."""
    if len(parts) == 1:
        return parts[0].fullmatch(name) is not None
    end = len(name) - lengths[-1]
    if end < lengths[0] or not parts[0].match(name) or not parts[-1].match(name, end):
        return False
    at = lengths[0]
    for part in parts[1:-1]:
        found = part.search(name, at, end)
        if found is None:
            return False
        at = found.end()
    return True


class Watchers:
    """The watchers of a store, and the latest changes in the order in which they happened. To be used under the lock of the store."""

    __slots__ = ("_all", "_bytes", "_changes", "_floor", "woken")

    def __init__(self) -> None:
        #: Held weakly: one that nobody has any more is told nothing.
        self._all: list[ref[Watcher]] = []
        #: From the first watcher on: nothing is kept where nobody ever watched.
        self._changes: deque[tuple[int, Key]] | None = None
        self._bytes = 0
        #: Of the changes up to this version not all are known; of those after it, all.
        self._floor = 0
        #: To be told, once the store is free, that there is something for them.
        self.woken: list[Watcher] = []

    def note(self, author: str, name: str, version: int) -> None:
        """An entry changes."""
        changes = self._changes
        if changes is None:
            return
        key = (author, name)
        for one in self._all:
            watcher = one()
            if watcher is not None and watcher.note(key, version):
                self.woken.append(watcher)
        changes.append((version, key))
        self._bytes += _length(key)
        while len(changes) > MOST_CHANGES or self._bytes > MOST_BYTES:
            self._floor, gone = changes.popleft()
            self._bytes -= _length(gone)

    def join(self, watcher: Watcher, version: int, since: int | None) -> None:
        """Has a watcher be told of what changes from now on, and of what changed since a version."""
        if self._changes is None:
            self._changes = deque()
            self._floor = version
        if since is not None:
            if not self._floor <= since <= version:
                raise ConflictError(
                    f"the changes since version {since} are not known any more: begin anew, with a listing of what is there"
                )
            for changed, key in self._changes:
                if changed > since:
                    watcher.note(key, changed)
        self.leave(watcher)
        self._all.append(ref(watcher))

    def leave(self, watcher: Watcher) -> None:
        """It is told no more."""
        self._all = [one for one in self._all if one() not in (watcher, None)]


class Watcher:
    """What one who watches is told: what it begins with, and every change from then on."""

    __slots__ = (
        "__weakref__",
        "_after",
        "_authors",
        "_bytes",
        "_fits",
        "_more",
        "_notes",
        "_overrun",
        "_page",
        "_store",
        "changed",
    )

    def __init__(
        self,
        store: Store,
        pattern: str,
        authors: Collection[str] | None,
        present: bool = True,
        since: int | None = None,
    ) -> None:
        self._store = store
        self._fits = _fitting(pattern)
        self._authors = authors
        #: In the order in which they changed first: the version of that, that of the last change, and how many came before this.
        self._notes: OrderedDict[Key, list[int]] = OrderedDict()
        self._bytes = 0
        #: The version of the first change that was too much to be kept. No other is noted from there on.
        self._overrun: int | None = None
        #: How far those are told that are there from the start.
        self._page: deque[Key] = deque()
        self._after: Key | None = None
        self._more = present and since is None
        #: Called when there is something to be told, on the thread that changed it.
        self.changed: Callable[[], object] = lambda: None
        with store.lock:
            store.watchers.join(self, store.version, since)

    def close(self) -> None:
        """Nobody wants to be told any more."""
        with self._store.lock:
            self._store.watchers.leave(self)

    def _takes(self, key: Key) -> bool:
        return (self._authors is None or key[0] in self._authors) and self._fits(key[1])

    def note(self, key: Key, version: int) -> bool:
        """An entry changes. True where the watcher is to be woken for it."""
        if not self._takes(key):
            return False
        note = self._notes.get(key)
        if note is not None:
            note[1] = version
            note[2] += 1
            return False
        if self._overrun is not None:
            return False
        length = _length(key)
        if len(self._notes) == MOST_CHANGES or self._bytes + length > MOST_BYTES:
            self._overrun = version
        else:
            self._notes[key] = [version, version, 0]
            self._bytes += length
        return True

    def _taken(self, key: Key) -> list[int] | None:
        note = self._notes.pop(key, None)
        if note is not None:
            self._bytes -= _length(key)
        return note

    def _told_to(self) -> int:
        """Up to which version all changes are told."""
        for note in self._notes.values():
            return note[0] - 1
        return self._store.version if self._overrun is None else self._overrun - 1

    def next(self) -> list[Any] | None:
        """What is to be told next, as it travels; `None` where that is nothing yet. Raises where too much changed before it was asked for."""
        store = self._store
        while self._more or self._page:
            # The store is given back after each page: where nothing fits, this goes through all there is.
            if self._more and len(self._page) < 2:
                with store.lock:
                    self._look_ahead()
                continue
            with store.lock:
                told = self._next_present()
            if told is not None:
                return told
        return store.swept(self._next_change)

    def _look_ahead(self) -> None:
        """Finds out which come next, until it is known whether one follows the next."""
        only = next(iter(self._authors)) if self._authors is not None and len(self._authors) == 1 else None
        keys = [key for key, _ in islice(self._store.behind(only, self._after), _PAGE)]
        self._more = len(keys) == _PAGE
        if keys:
            self._after = keys[-1]
        self._page.extend(key for key in keys if self._takes(key))

    def _next_present(self) -> list[Any] | None:
        key = self._page.popleft()
        entry = self._store.find(*key)
        if entry is None or self._store.is_due(entry):
            return None
        # It is the newest: what changed before is told by it. Where one of those that follow is gone by then, its removal is untold.
        note = self._taken(key)
        return _change(key, entry, 0, note[2] if note else 0, 0 if self._page else self._told_to())

    def _next_change(self) -> list[Any] | None:
        key = next(iter(self._notes), None)
        if key is None:
            if self._overrun is not None:
                raise OverloadedError(
                    f"more than {MOST_CHANGES} entries, or such with names of more than {MOST_BYTES} bytes, changed before this watcher read of them: "
                    "begin anew, and read faster or watch less"
                )
            return None
        note = self._taken(key)
        assert note is not None
        _, version, skipped = note
        return _change(key, self._store.find(*key), version, skipped, self._told_to())


def _length(key: Key) -> int:
    return size(key[0]) + size(key[1])


def _change(key: Key, entry: Entry | None, version: int, skipped: int, told: int) -> list[Any]:
    """What an entry is now; ``version`` is that of its last change where it is not there."""
    if entry is None:
        return [0, *key, version, skipped, 0.0, 0, b"", told]
    return [1, *key, entry.version, skipped, entry.timestamp, entry.codec, entry.value, told]
