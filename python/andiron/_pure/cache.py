"""What was read of a store through one connection, and how it is known that it is still current.

An entry is current while the stamp of its slot on the version board is the one that came with it (section 12 of the protocol). Where there is no board, or the stamp is
another, the store is asked, with the version that is here, and sends no value if that is the current one. What stands here is never changed for a reader, only replaced.
"""

from __future__ import annotations

import _thread
import marshal
import time

from andiron._pure import board as boards
from andiron._pure.failure import Failure
from andiron._pure.memory import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.board import Board

#: Bytes that are kept where nobody says how many.
DEFAULT_LIMIT = 64 << 20
#: What an entry counts for beside its value and its key, and each part of a value that is kept as it was decoded.
_OVERHEAD, _PART = 256, 64
#: Dicts and lists of more elements are not kept as they were decoded: that takes many times as much memory.
_FEW = 32

#: In place of a value: there is no such entry; it was not decoded yet, or is decoded each time.
MISSING: Any = type("Missing", (), {"__slots__": ()})()
ENCODED: Any = type("Encoded", (), {"__slots__": ()})()

#: Values of these types nobody can change.
_FIXED = frozenset((str, int, float, bool, bytes, complex, type(None)))
#: What an answer with a value has from the stamp on.
_VALUES = frozenset((int, int, float, int, kind) for kind in (bytes, Memory))
_CONTAINERS = frozenset((list, tuple, set, frozenset))

#: In place of the words of a board where there is none: no stamp is found there.
_NOWHERE = (None,) * (boards.LIFE + 1)


def _clock() -> Callable[[], float]:
    """A clock that nobody sets, and that goes on while the machine sleeps, where there is one that does."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return time.monotonic
    clock, read = time.CLOCK_BOOTTIME, time.clock_gettime
    return lambda: read(clock)


#: Seconds.
now = _clock()


class Kept:
    """What an answer said of an entry, or of there being none. It is replaced when there is another; only how its value is given is found out later."""

    __slots__ = (
        "codec",
        "copy",
        "data",
        "expires",
        "hits",
        "life",
        "place",
        "size",
        "stamp",
        "timestamp",
        "value",
        "version",
        "words",
    )

    words: Any
    #: Where the stamp is among the words, and what both words have to be.
    place: int
    stamp: int
    life: int
    #: By the clock of `now`. Counted from when the question was sent, so that nothing outlives its time because an answer was slow.
    expires: float | None
    #: Gives a copy of the value, of which nothing that can be changed is anybody else's.
    copy: Callable[[], Any] | None
    #: Otherwise: the value, which nobody can change, or why there is none here.
    value: Any
    data: Any
    codec: int
    version: int
    timestamp: float
    #: How often it was given out since it was looked at by who makes room.
    hits: int
    size: int

    def is_current(self) -> bool:
        """Whether the board says that nobody wrote it since. Readers do most of this themselves, since a call takes as long as all of it."""
        words = self.words
        return (
            words[self.place] == self.stamp
            and (words[boards.LIFE] == self.life or boards.is_live(words[boards.LIFE]))
            and (self.expires is None or now() < self.expires)
        )


class Source:
    """A store at the other end of a connection, and its board where this process can see it."""

    __slots__ = ("board", "incarnation", "link")

    def __init__(self, link: Any, incarnation: bytes | None, board: Board | None) -> None:
        self.link = link
        self.incarnation = incarnation
        self.board = board


class Cache:
    """What was read through one connection, by author and name, up to so many bytes; of one store at a time. `close` lets all of it go for good."""

    __slots__ = ("_authors", "_bytes", "_holder", "_lock", "hits", "limit", "remote", "source")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        #: Reads that were answered from here, and that the store was not told of.
        self.hits = 0
        #: The store of the connection that was asked last.
        self.source: Source | None = None
        #: The object that is the store, once it was found. It does not know of the connection, which has this and could never be dropped else.
        self.remote: Any = None
        self._authors: dict[str, dict[str, Kept]] = {}
        self._bytes = 0
        self._lock = _thread.allocate_lock()
        self._holder = 0

    def of(self, author: str) -> dict[str, Kept]:
        """What there is of an author. Only to be read; it is the same dict for ever."""
        return self._authors.setdefault(author, {})

    def source_of(self, link: Any) -> Source | None:
        """The store at the other end of this connection, if it was asked before."""
        source = self.source
        return source if source is not None and source.link is link else None

    def set_source(self, link: Any, incarnation: bytes | None, descriptor: Any) -> Source:
        """The store at the other end of this connection. ``descriptor``: what it gave when it was asked for its board.

        Without a board, or with one that is none, entries are asked for.
        """
        board = None
        if descriptor is not None and incarnation is not None:
            try:
                board = boards.opened(descriptor.fileno(), incarnation)
            except (Failure, OSError, AttributeError):  # what came is none
                pass
        before, source = self.source, Source(link, incarnation, board)
        self.source = source
        if before is not None and (incarnation is None or before.incarnation != incarnation):
            self.drop()
        return source

    def drop(self) -> None:
        """Lets go of all entries: they are of another store."""
        freed: list[Kept] = []
        if self._hold():
            for entries in self._authors.values():
                freed += entries.values()
                entries.clear()
            self._bytes = 0
            self._release()

    def close(self) -> None:
        """Nothing is answered from here any more."""
        self.limit = 0
        self.source = None
        self.drop()

    def learn(
        self, author: str, name: str, row: Any, known: Kept | None, sent: float, source: Source | None
    ) -> Kept:
        """Keeps an answer to ``get``. ``known``: what was here when the store was asked, at ``sent``; ``source``: the store that gave it, None where that is not certain."""
        kept = _kept(row, known, len(author) + len(name))
        left = row[4] if kept.value is not MISSING else 0
        kept.expires = sent + left * 1e-6 if left else None
        _place(kept, source, row[2], row[3])
        if source is not None and kept.size <= self.limit:
            self._insert(self.of(author), name, kept, source)
        return kept

    def decoded(self, author: str, name: str, kept: Kept, value: Any) -> None:
        """Keeps what makes a value again faster than decoding it. ``value``: what was decoded of what is kept; its reader may go on with it where there is no copy."""
        if type(kept.data) is not bytes:
            return
        more, copy = len(kept.data), None
        if not _is_fixed(value):
            found = _copier(value)
            if found is None:
                return
            size, copy = found
            more += size
        if not self._hold():
            return
        freed: list[Kept] = []
        if self._authors[author].get(name) is kept and kept.value is ENCODED and kept.copy is None:
            kept.size += more
            self._bytes += more
            if copy is None:
                kept.value = value
            else:
                kept.copy = copy
            if self._bytes > self.limit:
                freed = self._make_room()
        self._release()
        del freed

    def _insert(self, entries: dict[str, Kept], name: str, kept: Kept, source: Source) -> None:
        if not self._hold():
            return
        before: Kept | None = None
        freed: list[Kept] = []
        latest = self.source
        if latest is source or (latest is not None and latest.incarnation == source.incarnation):
            # Taken out first, so that the latest stand last.
            before = entries.pop(name, None)
            entries[name] = kept
            self._bytes += kept.size
            if before is not None:
                self._bytes -= before.size
                self.hits += before.hits
            if self._bytes > self.limit:
                freed = self._make_room()
        self._release()
        del freed  # and what it closes, with the lock free

    def _make_room(self) -> list[Kept]:
        """Lets go of what was not read lately, and if that is too little of anything, until an eighth is free. Gives it back, to be freed where the lock is not held."""
        enough = self.limit - self.limit // 8
        freed: list[Kept] = []
        for wanted in (True, False):
            for entries in self._authors.values():
                for name, kept in list(entries.items()):
                    if self._bytes <= enough:
                        return freed
                    self.hits, hits, kept.hits = self.hits + kept.hits, kept.hits, 0
                    if not (wanted and hits):
                        del entries[name]
                        self._bytes -= kept.size
                        freed.append(kept)
        return freed

    def take_hits(self, known: Kept | None) -> int:
        """Reads that were answered from here since this was asked last, those of what is asked for now among them."""
        hits, self.hits = self.hits, 0
        if known is not None:
            hits, known.hits = hits + known.hits, 0
        return hits

    def _hold(self) -> bool:
        """Takes the lock; False where this thread has it: something that ends while it is held may read the store."""
        thread = _thread.get_ident()
        if self._holder == thread:
            return False
        self._lock.acquire()
        self._holder = thread
        return True

    def _release(self) -> None:
        self._holder = 0
        self._lock.release()


def _kept(row: Any, known: Kept | None, key: int) -> Kept:
    """What an answer says: an array of state, version, slot, stamp, ttl, timestamp, codec and value, as far as the state goes. ``key``: the length of author and name."""
    if type(row) is not list or tuple(map(type, row[:2])) != (int, int):
        raise _foreign()
    kept = Kept()
    state, kept.version = row[:2]
    kept.hits, kept.copy, kept.size = 0, None, _OVERHEAD + key
    if state == 0 and len(row) > 3:
        kept.value, kept.data, kept.codec, kept.timestamp = MISSING, None, 0, 0.0
    elif state == 1 and tuple(map(type, row[3:8])) in _VALUES:
        kept.timestamp, kept.codec, kept.data = row[5:8]
        kept.value = ENCODED
        kept.size += len(kept.data)
    elif state == 2 and tuple(map(type, row[3:5])) == (int, int):
        if known is None or known.version != kept.version or known.value is MISSING:
            text = "the store says that a version is current which it was not asked about"
            raise Failure("protocol", text)
        kept.timestamp, kept.codec, kept.data = known.timestamp, known.codec, known.data
        kept.copy, kept.value, kept.size = known.copy, known.value, known.size
    else:
        raise _foreign()
    return kept


def _foreign() -> Failure:
    return Failure("encoding", "the answer of the store is not what this program knows as one")


def _place(kept: Kept, source: Source | None, slot: Any, stamp: Any) -> None:
    """Where on the board it is seen whether it is current, and by what."""
    board = None if source is None else source.board
    if board is None or type(slot) is not int or not 0 <= slot < boards.STAMPS or stamp == boards.NEVER:
        kept.words, kept.place, kept.stamp, kept.life = _NOWHERE, 0, 0, 0
    else:
        kept.words, kept.place, kept.stamp, kept.life = board.words, boards.FIRST + slot, stamp, board.life


def _is_fixed(value: Any) -> bool:
    """Whether nobody can change it."""
    kind = type(value)
    return kind in _FIXED or (kind in (tuple, frozenset) and all(map(_is_fixed, value)))


def _is_plain(value: Any) -> bool:
    """Whether it and all in it are of types that `marshal` brings back as they were. Its depth is that of what was decoded."""
    kind = type(value)
    if kind in _FIXED:
        return True
    if kind is dict:
        return all(map(_is_fixed, value)) and all(map(_is_plain, value.values()))
    return kind in _CONTAINERS and all(map(_is_plain, value))


def _copier(value: Any) -> tuple[int, Callable[[], Any]] | None:
    """What makes copies of a value, and about how many bytes it takes; None where it has to be decoded each time."""
    kind = type(value)
    if kind in (dict, list) and len(value) <= _FEW:
        parts = [*value, *value.values()] if kind is dict else value
        if _FIXED.issuperset(map(type, parts)):
            return _PART * (1 + len(parts)), value.copy
    if not _is_plain(value):
        return None
    try:
        dumped = marshal.dumps(value)
    except ValueError:  # it is too deep
        return None
    return len(dumped), lambda: marshal.loads(dumped)
