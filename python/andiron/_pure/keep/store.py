"""The entries of a server in memory, their versions and their limits, with a disk beside them where there is one.

Each operation is done under the one lock, all of it or nothing: what a disk has to know of, it knows before anybody sees it. Nothing here has a thread: what expired is
taken out by whoever comes next, or by `Store.expire`.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from contextlib import suppress
from functools import wraps
from heapq import heapify, heappop, heappush
from os import urandom

from andiron import _errors
from andiron._pure.keep.limits import Ages, Limits, admit, author_cost, check_version, entry_cost
from andiron._pure.keep.order import Names
from andiron._pure.keep.watch import Watchers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import Any, Protocol, TypeVar

    from andiron._pure.memory import Memory

    T = TypeVar("T")
    F = TypeVar("F", bound=Callable[..., Any])
    Key = tuple[str, str]

    class Disk(Protocol):
        """What keeps entries when the server does not; see `andiron._pure.keep.disk`."""

        high_water: int

        def commit(self, changes: Sequence[tuple[Any, ...]], high_water: int, durability: str) -> None: ...
        def restore(self, changes: Sequence[tuple[Any, ...]], high_water: int, backup: Any) -> None: ...
        def close(self) -> None: ...


#: How counters are written: the native codec.
_NATIVE = 1
#: Neither a version nor a time on a disk goes beyond.
_LAST = (1 << 64) - 1
#: Versions that a commit leaves for writes that no disk hears of, so that they seldom wait for it.
_ROOM = 1 << 17
#: Nanoseconds after which what could not be forgotten by the disk is tried again, where nobody waits for it.
_AGAIN = 1_000_000_000

#: The time by a clock that nobody sets, in nanoseconds. It goes on while the machine sleeps, where there is such a one.
if hasattr(time, "CLOCK_BOOTTIME"):

    def steady() -> int:
        """The time by the clock that nobody sets."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
else:
    steady = time.monotonic_ns


def today() -> float:
    """The time in seconds since 1970. A clock that stands before that is taken as standing there."""
    return max(time.time(), 0.0)


class Entry:
    """A value and what is known about it. It never changes: a write makes another one."""

    __slots__ = ("codec", "cost", "expiry", "persistent", "timestamp", "value", "version")

    def __init__(
        self,
        value: bytes | Memory,
        codec: int,
        version: int,
        timestamp: float,
        expiry: int | None,
        persistent: bool,
        cost: int,
    ) -> None:
        self.value = value
        self.codec = codec
        self.version = version
        self.timestamp = timestamp
        #: By the steady clock, in nanoseconds.
        self.expiry = expiry
        self.persistent = persistent
        #: Bytes that it counts for.
        self.cost = cost


class Put:
    """An entry that is to be set. ``ttl`` is in nanoseconds; ``timestamp``: of an entry that is to be as it once was."""

    __slots__ = ("author", "codec", "cost", "if_version", "name", "persist", "timestamp", "ttl", "value")

    def __init__(
        self,
        author: str,
        name: str,
        value: bytes | Memory,
        codec: int,
        ttl: int | None = None,
        if_version: int | None = None,
        persist: bool = False,
        timestamp: float | None = None,
    ) -> None:
        self.author = author
        self.name = name
        self.value = value
        self.codec = codec
        self.ttl = ttl
        self.if_version = if_version
        self.persist = persist
        self.timestamp = timestamp
        self.cost = 0


class Shelf:
    """The entries of one author, who has some."""

    __slots__ = ("bytes", "entries", "names")

    def __init__(self, author: str) -> None:
        self.entries: dict[str, Entry] = {}
        self.names = Names()
        self.bytes = author_cost(author)


def _locked(operation: F) -> F:
    """An operation under the lock, without what expired; who watches is told of what it did when the lock is free again."""

    @wraps(operation)
    def locked(self: Store, *args: Any) -> Any:
        told: Sequence[Callable[[], object]] = ()
        try:
            with self.lock:
                try:
                    if self._expiring and self._expiring[0][0] <= self.clock():
                        self._sweep()
                    return operation(self, *args)
                finally:
                    if self._is_sooner or self.watchers.woken:
                        told = self._to_be_told()
        finally:
            for tell in told:
                tell()

    return locked  # type: ignore[return-value] # it takes and gives the same


class Store:
    """All entries. ``incarnation`` names this life of the store; ``disk`` is to have its persistent entries, else ``unkept`` says why there is none.

    ``durability``: what a persistent write survives where its caller does not say. ``clock`` and ``wall`` are the steady clock in nanoseconds, and the time in seconds since 1970.
    """

    __slots__ = (
        "_durability",
        "_ended",
        "_expiring",
        "_hits",
        "_is_sooner",
        "_questions",
        "_stale",
        "ages",
        "authors",
        "bytes",
        "clock",
        "count",
        "disk",
        "evicted",
        "incarnation",
        "limits",
        "lock",
        "shelves",
        "sooner",
        "unkept",
        "version",
        "wall",
        "watchers",
    )

    def __init__(
        self,
        limits: Limits | None = None,
        disk: Disk | None = None,
        durability: str = "relaxed",
        unkept: str = "this daemon keeps nothing beyond its life: start it with a folder for its state",
        clock: Callable[[], int] = steady,
        wall: Callable[[], float] = today,
    ) -> None:
        self.lock = allocate_lock()
        self.limits = limits or Limits()
        self.disk = disk
        self.unkept = unkept
        self._durability = durability
        self.clock = clock
        self.wall = wall
        self.incarnation = urandom(16)
        #: Only authors who have entries, and their names in their order.
        self.shelves: dict[str, Shelf] = {}
        self.authors = Names()
        self.count = self.bytes = self.evicted = self._hits = self._questions = 0
        #: Entries by their expiry. What was set again meanwhile stays until then, and is known by its expiry.
        self._expiring: list[tuple[int, str, str]] = []
        #: Called when an entry was set that expires sooner than all others, without the lock.
        self.sooner: Callable[[], object] = lambda: None
        self._is_sooner = self._ended = False
        self.ages = Ages() if self.limits.evict == "oldest" else None
        #: What the disk has and the store has not: it could not be read, or is over and could not be forgotten. Who writes it takes it from the disk.
        self._stale: set[Key] = set()
        self.watchers = Watchers()
        # One more, so that no version of an earlier life is where this one begins.
        high_water = 0 if disk is None else disk.high_water + 1
        self.version = max(high_water, int(wall() * 1_000_000))

    # What it holds

    def find(self, author: str, name: str) -> Entry | None:
        """The entry of this key; under the lock."""
        shelf = self.shelves.get(author)
        return None if shelf is None else shelf.entries.get(name)

    def is_due(self, entry: Entry) -> bool:
        """Whether its time is over."""
        return entry.expiry is not None and entry.expiry <= self.clock()

    def ttl_left(self, entry: Entry) -> int:
        """What is left of its time in microseconds; 0: it stays. Rounded down, so that nobody keeps an entry for too long."""
        return 0 if entry.expiry is None else max((entry.expiry - self.clock()) // 1000, 1)

    def behind(self, author: str | None, after: Key | None) -> Iterator[tuple[Key, Entry]]:
        """The entries of an author, or all, behind a key in the order of keys; under the lock."""
        first = author if after is None else after[0] if author is None else max(author, after[0])
        authors: Iterable[str] = self.authors.behind(first, True) if author is None else (author,)
        if author is not None and (author not in self.shelves or first != author):
            return
        for one in authors:
            shelf = self.shelves[one]
            for name in shelf.names.behind(after[1] if after is not None and after[0] == one else None):
                yield (one, name), shelf.entries[name]

    def _to_be_told(self) -> list[Callable[[], object]]:
        """Who is to be told something of what was done, when the lock is free again."""
        told: list[Callable[[], object]] = [watcher.changed for watcher in self.watchers.woken]
        self.watchers.woken.clear()
        if self._is_sooner:
            self._is_sooner = False
            told.append(self.sooner)
        return told

    @_locked
    def swept(self, look: Callable[[], T]) -> T:
        """Looks at it when nothing is there whose time is over."""
        return look()

    @_locked
    def get(self, author: str, name: str, hits: int = 0) -> Entry | None:
        """Reads an entry. ``hits``: so many reads the reader answered from its own memory since it last said."""
        self._questions += 1
        self._hits += hits
        shelf = self.shelves.get(author)
        return None if shelf is None else shelf.entries.get(name)

    @_locked
    def counted(self, authors: Collection[str] | None) -> int:
        """How many entries these authors have, or all."""
        if authors is None:
            return self.count
        shelves = self.shelves
        return sum(len(shelves[author].entries) for author in authors if author in shelves)

    @_locked
    def listed(
        self, authors: Collection[str] | None, after: Key | None, most: int, most_bytes: int
    ) -> tuple[bool, list[tuple[Key, Entry]]]:
        """Whether more follow, and entries behind a key in their order: so many at most, with keys of so many bytes but for the first."""
        found: list[tuple[Key, Entry]] = []
        length = 0
        for author in (None,) if authors is None else sorted(authors):
            if author is not None and after is not None and author < after[0]:
                continue
            for key, entry in self.behind(author, after):
                length += len(key[0].encode()) + len(key[1].encode())
                if len(found) >= most or (length > most_bytes and found):
                    return True, found
                found.append((key, entry))
        return False, found

    @_locked
    def view(self, author: str) -> list[tuple[str, Entry]]:
        """The entries of one author as they are now, whatever is written later."""
        shelf = self.shelves.get(author)
        return [] if shelf is None else [(name, shelf.entries[name]) for name in shelf.names]

    @_locked
    def stats(self) -> list[int]:
        """Entries, the bytes that they count for, authors who have entries, hits, questions, and entries that were removed to make room."""
        return [self.count, self.bytes, len(self.shelves), self._hits, self._questions, self.evicted]

    # What changes it

    @_locked
    def set(self, puts: Sequence[Put], durability: str | None = None) -> tuple[int, float]:
        """Sets entries under one version, all or none. Gives that, and the time; of nothing the version of the store."""
        return self._set(puts, durability)

    @_locked
    def set_default(self, put: Put, durability: str | None = None) -> tuple[Entry | None, int]:
        """The entry that is there; or sets it, and gives the version of that."""
        entry = self.find(put.author, put.name)
        return (entry, 0) if entry is not None else (None, self._set([put], durability)[0])

    @_locked
    def replace(self, put: Put, durability: str | None = None) -> tuple[int, float]:
        """Sets another value of an entry that is there, which stays as long as it would have, and persistent if it was."""
        entry = self.find(put.author, put.name)
        if entry is None:
            check_version(self, put.author, put.name, -1)
        return self._set([self._staying(put, entry)], durability)

    @_locked
    def incr(self, author: str, name: str, by: int) -> tuple[int, float, int]:
        """Adds to a whole number, or to 0 where there is none. Gives version, time, and the number that it is now."""
        from andiron._pure import codec

        entry = self.find(author, name)
        old = 0 if entry is None else _number(entry)
        new = old + by
        if not -(1 << 63) <= new < 1 << 63:
            raise _errors.BadArgumentsError(
                f"the sum of {old} and {by} is beyond 64 bits: set the entry to a smaller number first"
            )
        put = self._staying(Put(author, name, codec.encode(new), _NATIVE), entry)
        return (*self._set([put], None), new)

    def _staying(self, put: Put, entry: Entry | None) -> Put:
        """With the time and the place on a disk that an entry has."""
        if entry is not None:
            put.ttl = None if entry.expiry is None else max(entry.expiry - self.clock(), 1)
            put.persist = entry.persistent
        return put

    def _set(self, puts: Sequence[Put], durability: str | None) -> tuple[int, float]:
        now = self.wall()
        admit(self, puts)
        if not puts:
            return self.version, now
        version = self._next_version()
        changes: list[tuple[Any, ...]] = []
        for put in puts:
            if put.persist:
                changes.append(self._kept(put, version, now))
            elif self._is_kept(put.author, put.name):
                changes.append(("delete", put.author, put.name))
        if changes:
            self._commit(changes, version, durability)
        self._publish(puts, version, now)
        return version, now

    def _publish(self, puts: Sequence[Put], version: int, now: float) -> None:
        """Sets what the disk knows of."""
        note = self.watchers.note
        self.version = version
        for put in puts:
            note(put.author, put.name, version)
            expiry = None if put.ttl is None else self.clock() + put.ttl
            timestamp = now if put.timestamp is None else put.timestamp
            self._put(
                put.author,
                put.name,
                Entry(put.value, put.codec, version, timestamp, expiry, put.persist, put.cost),
            )

    @_locked
    def delete(self, author: str, name: str, if_version: int | None = None) -> Entry | None:
        """Takes an entry out, and gives it."""
        check_version(self, author, name, if_version)
        return self._delete(author, name)

    @_locked
    def delete_first(self, author: str) -> tuple[str, Entry] | None:
        """Takes out the entry of an author whose name comes first, and gives it."""
        shelf = self.shelves.get(author)
        if shelf is None:
            return None
        name = shelf.names.first()
        entry = shelf.entries[name]
        self._delete(author, name)
        return name, entry

    def _delete(self, author: str, name: str) -> Entry | None:
        entry = self.find(author, name)
        kept = self._is_kept(author, name)
        if entry is None and not kept:
            return None
        version = self._next_version()
        if kept:
            self._commit([("delete", author, name)], version, None)
        if entry is not None:
            self.drop(author, name)
        return entry

    @_locked
    def clear(self, author: str | None) -> int:
        """Removes the entries of an author, or all, under one version. Gives how many there were."""
        shelves = self.shelves
        cleared = dict(shelves) if author is None else {author: shelves[author]} if author in shelves else {}
        stale = any(author is None or author == key[0] for key in self._stale)
        if not cleared and not stale:
            return 0
        version = self._next_version()
        kept = stale or any(
            entry.persistent for shelf in cleared.values() for entry in shelf.entries.values()
        )
        if kept:
            self._commit([("clear", author)], version, None)
        count = 0
        for one, shelf in cleared.items():
            for name in shelf.names:
                self.watchers.note(one, name, version)
            count += len(shelf.entries)
            self.bytes -= shelf.bytes
            del shelves[one]
            self.authors.remove(one)
        self.count -= count
        if count:
            self.version = version
        return count

    @_locked
    def persist(self, author: str, name: str, persist: bool, durability: str | None = None) -> bool:
        """Has the disk keep an entry, or forget it. Gives whether there is one."""
        self.need_disk()
        entry = self.find(author, name)
        if entry is None or entry.persistent == persist:
            return entry is not None
        ttl = None if entry.expiry is None else max(entry.expiry - self.clock(), 1)
        put = Put(author, name, entry.value, entry.codec, ttl, None, persist, entry.timestamp)
        change = self._kept(put, entry.version, 0.0) if persist else ("delete", author, name)
        self._commit([change], self.version, durability)
        self._put(
            author,
            name,
            Entry(
                entry.value, entry.codec, entry.version, entry.timestamp, entry.expiry, persist, entry.cost
            ),
        )
        return True

    @_locked
    def restore(self, puts: Sequence[Put], backup: Any = None) -> None:
        """Sets entries as they once were, under a new version: all or none. With a backup all that is persistent, and the snapshots, are as they are there."""
        self.need_disk()
        now = self.wall()
        admit(self, puts)
        if not puts and backup is None:
            return
        version = self._next_version()
        changes: list[tuple[Any, ...]] = [] if backup is None else [("clear", None)]
        for put in puts:
            if put.persist:
                changes.append(self._kept(put, version, now))
            elif backup is None and self._is_kept(put.author, put.name):
                changes.append(("delete", put.author, put.name))
        self._commit(changes, version, "sync", backup)
        if backup is not None:
            stay = {(put.author, put.name) for put in puts}
            gone = [key for key, entry in self.behind(None, None) if entry.persistent and key not in stay]
            for author, name in gone:
                self.drop(author, name, version)
        self._publish(puts, version, now)

    def load(self, put: Put, version: int) -> None:
        """Puts an entry that the disk gave back, before anything else is done. No limit refuses it: what was acknowledged is there."""
        self.version = max(self.version, version)
        expiry = None if put.ttl is None else self.clock() + put.ttl
        cost = entry_cost(put.name, len(put.value), expiry is not None)
        timestamp = put.timestamp or 0.0
        self._put(put.author, put.name, Entry(put.value, put.codec, version, timestamp, expiry, True, cost))

    def loaded(self, unreadable: Iterable[Key]) -> None:
        """All that the disk gave back is here, but for what it cannot read, which stays there as it is until it is set again or deleted."""
        self._stale.update(unreadable)
        assert self.disk is not None
        with suppress(_errors.Error):
            # So that what is written from now on need not wait for that. Where it fails the first write tries again.
            self.disk.commit([], self.version + _ROOM, "relaxed")
        self.expire()

    # What expires

    @_locked
    def next_expiry(self) -> float | None:
        """In how many seconds something expires that nobody may have asked for by then; `None`: nothing does."""
        while self._expiring:
            expiry, author, name = self._expiring[0]
            entry = self.find(author, name)
            if (entry is not None and entry.expiry == expiry) or (author, name) in self._stale:
                return max(expiry - self.clock(), 0) / 1e9
            heappop(self._expiring)
        return None

    @_locked
    def expire(self) -> None:
        """Takes out what expired, so that who watches hears of it. Every other operation does so as well."""

    def _sweep(self) -> None:
        now = self.clock()
        # Each once: what was set again with the time that it had is there twice.
        due: dict[Key, None] = {}
        forget: dict[Key, None] = {}
        while self._expiring and self._expiring[0][0] <= now:
            expiry, author, name = heappop(self._expiring)
            entry = self.find(author, name)
            if entry is None:
                if (author, name) in self._stale:
                    forget[author, name] = None
            elif entry.expiry == expiry:
                due[author, name] = None
                if entry.persistent:
                    forget[author, name] = None
        # It is a write, and one that waits for nobody: its version counts on from the time, whatever the disk was told of.
        for author, name in due:
            self.drop(author, name)
        if forget and self.disk is not None:
            try:
                self.disk.commit([("delete", *key) for key in forget], self.version + _ROOM, "relaxed")
                self._stale.difference_update(forget)
            except _errors.Error:
                self._stale.update(forget)
                for author, name in forget:
                    heappush(self._expiring, (now + _AGAIN, author, name))

    # How it is kept

    def need_disk(self) -> Any:
        """The disk. Raises why nothing is kept beyond the life of the server, if so."""
        if self._ended:
            raise _errors.UnavailableError("the store has ended")
        if self.disk is None:
            raise _errors.UnsupportedError(self.unkept)
        return self.disk

    def _is_kept(self, author: str, name: str) -> bool:
        """Whether the disk has an entry of this key."""
        entry = self.find(author, name)
        return entry.persistent if entry is not None else (author, name) in self._stale

    def _kept(self, put: Put, version: int, now: float) -> tuple[Any, ...]:
        """A change that keeps an entry."""
        self.need_disk()
        # What is left of its time is told by the wall clock: the steady one does not know what it said before the machine was started.
        expires_at = None
        if put.ttl is not None:
            expires_at = min(int(self.wall() * 1_000_000) + put.ttl // 1000, _LAST)
        timestamp = now if put.timestamp is None else put.timestamp
        return ("put", put.author, put.name, version, timestamp, put.codec, expires_at, bytes(put.value))

    def _commit(
        self, changes: Sequence[tuple[Any, ...]], version: int, durability: str | None, backup: Any = None
    ) -> None:
        """Makes changes durable, all or none."""
        disk = self.need_disk()
        try:
            if backup is None:
                disk.commit(changes, version + _ROOM, durability or self._durability)
            else:
                disk.restore(changes, version + _ROOM, backup)
        except _errors.Error as error:
            raise type(error)(
                f"the write did not happen, for it could not be made durable: {error.message}"
            ) from error
        if self._stale:
            for change in changes:
                if change[0] == "clear":
                    self._stale = {key for key in self._stale if change[1] not in (None, key[0])}
                else:
                    self._stale.discard(change[1:3])

    def _next_version(self) -> int:
        """The next version, which the disk knows to be given out."""
        version = self.version + 1
        if version > _LAST:
            raise _errors.InternalError(
                "the store has no version left to write with: it was started with a damaged high-water mark or a wrong clock; mend that and start it anew"
            )
        if self.disk is not None and version > self.disk.high_water:
            self._commit([], version, "relaxed")
        return version

    def _put(self, author: str, name: str, entry: Entry) -> None:
        shelf = self.shelves.get(author)
        if shelf is None:
            shelf = self.shelves[author] = Shelf(author)
            self.authors.add(author)
            self.bytes += shelf.bytes
        old = shelf.entries.get(name)
        grown = entry.cost
        if old is None:
            shelf.names.add(name)
            self.count += 1
        else:
            grown -= old.cost
        shelf.entries[name] = entry
        shelf.bytes += grown
        self.bytes += grown
        if entry.expiry is not None:
            self._remember(entry.expiry, author, name)
        if self.ages is not None and not entry.persistent:
            self.ages.add(self.shelves, entry.version, author, name)

    def _remember(self, expiry: int, author: str, name: str) -> None:
        """Notes when an entry expires."""
        expiring = self._expiring
        if not expiring or expiry < expiring[0][0]:
            self._is_sooner = True
        heappush(expiring, (expiry, author, name))
        if len(expiring) > 2 * self.count + 64:
            # Most of them were set again since.
            self._expiring = expiring = list({due for due in expiring if self._expires(due)})
            heapify(expiring)

    def _expires(self, due: tuple[int, str, str]) -> bool:
        entry = self.find(due[1], due[2])
        return entry.expiry == due[0] if entry is not None else due[1:] in self._stale

    def drop(self, author: str, name: str, version: int | None = None) -> None:
        """Takes out an entry that is there and that the disk has not any more; a write of its own, where no version is given."""
        if version is None:
            version = self.version + 1
        self.watchers.note(author, name, version)
        self.version = version
        shelf = self.shelves[author]
        cost = shelf.entries.pop(name).cost
        self.count -= 1
        if shelf.entries:
            shelf.names.remove(name)
            shelf.bytes -= cost
            self.bytes -= cost
        else:
            del self.shelves[author]
            self.authors.remove(author)
            self.bytes -= shelf.bytes

    def close(self) -> None:
        """Ends it, and closes its disk."""
        with self.lock:
            disk, self.disk = self.disk, None
            self._ended = True
        if disk is not None:
            disk.close()


def _number(entry: Entry) -> int:
    """The number that an entry is, in the native codec: the one place where the store reads a value."""
    data = bytes(entry.value) if entry.codec == _NATIVE and len(entry.value) < 10 else b""
    first = data[0] if data else 0xC1
    if len(data) == 1 and (first < 0x80 or first >= 0xE0):
        return first if first < 0x80 else first - 256
    if 0xCC <= first <= 0xD3 and len(data) == 1 + (1 << (first & 3)):
        number = int.from_bytes(data[1:], "big", signed=first >= 0xD0)
        if number < 1 << 63:
            return number
    raise _errors.EncodingError(
        "the value is no whole number that can be counted up or down: set the entry to one first, or use another"
    )
