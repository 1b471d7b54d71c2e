"""The small store as its wire object, for tests: without a connection, and with a clock that one sets."""

import contextlib

from andiron._pure import keep
from andiron._pure.keep.store import Store

SECOND = 1_000_000
BIG = 1 << 20


class Feed:
    """What the engine sends a stream with, where the reader has room for so many items."""

    def __init__(self, wanted, closed):
        self.told, self.error, self.room = [], None, 0
        self._wanted, self.closed = wanted, closed

    def item(self, item):
        self.told.append(item)
        self.room -= 1
        return self.room > 0

    def end(self, error=None):
        self.error = error

    def take(self, room=1 << 60):
        """Wants so many more items; gives what was told since."""
        self.room = max(self.room, 0) + room
        self._wanted()
        self.told, told = [], self.told
        return told


class Rights:
    """Those of a secret."""

    def __init__(self, authors=None, read_only_store=False):
        self.authors, self.read_only_store = authors, read_only_store


class Kept:
    """A store whose methods are called as from afar: ``kept.set("x", b"1", 3)``."""

    def __init__(self, folder=None, limits=None, **options):
        self.now = 1000 * SECOND  # of both clocks, in microseconds
        self.rights = None
        self.store = self._opened(folder, limits) if folder else self._made(limits, **options)
        self.methods = keep.methods_of(self.store, Feed, iter, 1 << 30, lambda: self.rights)

    def _made(self, limits, disk=None, durability="relaxed", unkept=None, **options):
        kept = {} if unkept is None else {"unkept": unkept}
        clocks = {"clock": lambda: self.now * 1000, "wall": lambda: 1.7e9 + self.now / SECOND}
        return Store(limits, disk, durability, **{**kept, **clocks, **options})

    def _opened(self, folder, limits):
        made, keep.Store = keep.Store, self._made
        try:
            return keep.open_store(str(folder), limits=limits)
        finally:
            keep.Store = made

    def __getattr__(self, name):
        return self.methods[name]

    def value(self, name, author=None):
        """The bytes of an entry."""
        found = self.get(name, None, author)
        return found[7] if found[0] == 1 else None

    def names(self, author=None):
        return [row[1] for row in self.list(author)[1]]

    def keys(self):
        """Authors and names of all entries."""
        return " ".join(row[0] + row[1] for row in self.list()[1])

    def close(self):
        self.store.close()


@contextlib.contextmanager
def kept(folder, **options):
    """One that is closed behind the block."""
    one = Kept(folder, **options)
    try:
        yield one
    finally:
        one.close()


def later_kept(folder, passed):
    """One that is opened so many microseconds later."""

    class Later(Kept):
        def _opened(self, folder, limits):
            self.now += passed
            return super()._opened(folder, limits)

    return Later(folder)


def persist(store, name, value=b"v", author=None, ttl=None, durability=None):
    return store.set(name, value, 3, author, ttl, None, True, durability)[0]


def rows_of(store):
    """All entries: author, name, value, time of writing, whether it is persistent."""
    return [
        (author, name, store.value(name, author), timestamp, persistent)
        for author, name, _, timestamp, _, persistent in store.list()[1]
    ]


def put(name, value=b"v", author=None, ttl=None, if_version=None, persist=None):
    return [name, value, 3, author, ttl, if_version, persist]


def shown(change):
    """Name and value of a change, or that it is gone."""
    return change[2], change[7] if change[0] else None
