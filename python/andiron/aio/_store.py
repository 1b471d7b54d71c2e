"""The store, for tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from andiron import _engine, _errors, _memory, _values
from andiron._store import _MISSING, Change, Edit, Entry, Snapshot, Stats, check_version
from andiron.aio._tasks import OfLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from typing import IO, TypeVar

    from andiron._engine import Connection, Remote
    from andiron.aio._proxy import Stream
    from andiron.aio._tasks import Calls

    T = TypeVar("T")

#: The codec of values, and the name of the author where none is chosen.
_NATIVE, _DEFAULT = 1, "default"
#: Bytes of a backup that travel at a time.
_PIECE = 1 << 20
#: Of a time to live, in microseconds.
_LONGEST = 2**63


class Store(OfLoop):
    """The entries of one author: ``await store.get("x")``, ``await store.set("x", 20)``. What was read before, and is current, is given without a question."""

    def __init__(self, connection: Connection, remote: Remote, loop: Calls, author: str = _DEFAULT) -> None:
        self._connection = connection
        self._remote = remote
        self._loop = loop
        self._author = author
        self._engine = connection.store(author)

    def author(self, author: str) -> Store:
        """The entries of another author."""
        return Store(self._connection, self._remote, self._loop, author)

    async def _call(self, method: str, *args: Any) -> Any:
        return await self._loop.call(self._remote.method(method), *args)

    async def _ask(self, name: str) -> Any:
        await self._loop.ready(self._remote.method("get"))
        return await self._loop.answer(self._engine.start(name))

    async def entry(self, name: str) -> Entry | None:
        """The entry of this name."""
        known = self._engine.known(name)
        found = known[0] if known is not None else await self._ask(name)
        return None if found is None else Entry(*found)

    async def get(self, name: str, default: Any = None) -> Any:
        """The value of this name, or the default."""
        known = self._engine.known(name)
        found = known[0] if known is not None else await self._ask(name)
        return default if found is None else found[0]

    async def set(
        self,
        name: str,
        value: Any,
        *,
        persist: bool = False,
        ttl: float | None = None,
        if_version: int | None = None,
        durability: str | None = None,
    ) -> int:
        """Sets a value and gives its version; as `andiron.Store.set`."""
        if ttl is not None and not _errors.check_seconds("a ttl", ttl) > 0:
            raise _errors.BadArgumentsError("a ttl is more than 0 seconds")
        check_version(if_version)
        micros = None if ttl is None else max(1, int(min(ttl * 1e6, _LONGEST)))
        data = _memory.stored(value)
        version: int
        version, *_ = await self._call(
            "set", name, data, _NATIVE, self._author, micros, if_version, persist, durability
        )
        return version

    async def setdefault(self, name: str, default: Any = None) -> Any:
        """The value of this name, which is set to the default where there is none."""
        row = await self._call("set_default", name, _memory.stored(default), _NATIVE, self._author)
        entry = _entry(row)
        return default if entry is None else entry.value

    async def update(
        self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any
    ) -> None:
        """Sets several values at once: all of them or none."""
        items = dict(values, **more).items()
        entries = [[name, _stored(name, value), _NATIVE, self._author] for name, value in items]
        await self._call("set_many", entries)

    async def delete(self, name: str, *, if_version: int | None = None) -> bool:
        """Takes an entry out; whether there was one."""
        check_version(if_version)
        state, *_ = await self._call("delete", name, self._author, if_version)
        return bool(state)

    async def pop(self, name: str, default: Any = _MISSING) -> Any:
        """Takes an entry out and gives its value."""
        row = await self._call("delete", name, self._author)
        if row[0]:
            return _named(name, *row[6:8], taken=True)
        if default is _MISSING:
            raise KeyError(name)
        return default

    async def popitem(self) -> tuple[str, Any]:
        """Takes out the entry whose name comes first."""
        first = await self._call("delete_first", self._author)
        if first is None:
            raise KeyError("the store has no entry of this author")
        name, row, *_ = first
        return name, _named(name, *row[6:8], taken=True)

    def edit(self, name: str, default: Any = _MISSING) -> AsyncEdit:
        """Gives the value to an ``async with`` block that changes it, and writes it back; as `andiron.Store.edit`."""
        return AsyncEdit(self, name, default)

    async def change(self, name: str, change: Callable[[Any], T], default: Any = _MISSING) -> T:
        """Sets the value to what ``change`` makes of it, and gives that; again where somebody else wrote meanwhile. As `andiron.Store.change`."""
        while True:
            edit = AsyncEdit(self, name, default)
            changed = change(await edit.read())
            try:
                await edit.write(changed)
            except _errors.ConflictError:
                continue
            return changed

    async def persist(self, name: str, persist: bool = True) -> bool:
        """Has an entry be there again after the end of the server, or not any more. Gives whether there is such an entry."""
        kept: bool = await self._call("persist", name, persist, self._author)
        return kept

    async def incr(self, name: str, by: int = 1) -> int:
        """Adds to a whole number, or to 0 where there is none. Gives what it is now."""
        value: int
        _, _, value, *_ = await self._call(
            "incr", name, _errors.check_whole("what is added", by), self._author
        )
        return value

    async def count(self) -> int:
        """How many entries there are."""
        count: int = await self._call("count", self._author)
        return count

    async def keys(self) -> list[str]:
        """The names, sorted, as they are at one moment."""
        return [row[0] async for row in self._rows(values=False)]

    async def items(self) -> AsyncIterator[tuple[str, Any]]:
        """The entries as they are at one moment, for ``async for``. Many come as they are taken."""
        async for row in self._rows(values=True):
            yield row[0], _named(row[0], *row[5:7])

    async def values(self) -> AsyncIterator[Any]:
        """The values; otherwise as `items`."""
        async for row in self._rows(values=True):
            yield _named(row[0], *row[5:7])

    async def _rows(self, *, values: bool) -> AsyncIterator[list[Any]]:
        rows, pages, *_ = await self._call("entries", self._author, values)
        for row in rows:
            yield row
        if pages is None:
            return
        try:
            async for page in pages:
                for row in page:
                    yield row
        finally:
            await pages.aclose()

    async def clear(self) -> None:
        """Removes all entries of this author."""
        await self._call("clear", self._author)

    async def save(self, snapshot: str) -> int:
        """Has the server keep the entries as they are now under a name; as `andiron.Store.save`."""
        count: int = await self._call("save", snapshot, self._author)
        return count

    async def load(self, snapshot: str) -> int:
        """Sets the entries that a snapshot has as they were; as `andiron.Store.load`."""
        count: int = await self._call("load", snapshot, self._author)
        return count

    async def snapshots(self) -> list[Snapshot]:
        """The snapshots of this author, sorted by name."""
        return [Snapshot(*row[1:5]) for row in await self._call("snapshots", self._author)]

    async def delete_snapshot(self, snapshot: str) -> None:
        """Deletes a snapshot of this author."""
        await self._call("delete_snapshot", snapshot, self._author)

    async def backup(self, file: IO[bytes]) -> int:
        """Writes all that is persistent to a binary file; as `andiron.Store.backup`."""
        count = 0
        async for piece in await self._call("backup"):
            count += len(piece)
            file.write(piece)
        return count

    async def restore(self, file: IO[bytes]) -> int:
        """Has all that is persistent be as it was at a backup; as `andiron.Store.restore`."""
        pieces = iter(lambda: file.read(_PIECE), b"")
        count: int = await self._call("restore", pieces)
        return count

    async def stats(self) -> Stats:
        """What the store holds, of all authors, and what it was asked."""
        return Stats(*(await self._call("stats"))[:6])

    def watch(self, pattern: str = "*", *, present: bool = True, since: int | None = None) -> Changes:
        """Tells of entries whose name fits, for ``async for``; as `andiron.Store.watch`."""
        args = [pattern, self._author, present and since is None]
        return Changes(self, args if since is None else [*args, since])


class AsyncEdit(Edit):
    """Gives the value of an entry to a block, and writes it back behind it; see `Store.edit`."""

    __slots__ = ("_of",)

    def __init__(self, store: Store, name: str, default: Any) -> None:
        super().__init__(name, default)
        self._of = store

    async def read(self) -> Any:
        """The value as it is now."""
        return self._begin(await self._of.entry(self._name))

    async def write(self, value: Any) -> None:
        """Writes another one in its place."""
        try:
            if self._version:
                args = [self._name, _memory.stored(value), _NATIVE, self._of._author, self._version]
                await self._of._call("replace", *args)
            else:
                await self._of.set(self._name, value, if_version=0)
        except _errors.ConflictError as error:
            raise self._conflict() from error

    async def __aenter__(self) -> Any:
        return self._changeable(await self.read())

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None:
            await self.write(self._value)


class Changes:
    """The changes that a `Store.watch` tells of."""

    def __init__(self, store: Store, args: list[Any]) -> None:
        self._store = store
        self._args = args
        self._rows: Stream | None = None

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        if self._rows is None:
            self._rows = await self._store._call("watch", *self._args)
        state, _, name, version, skipped, timestamp, codec, data, told, *_ = await self._rows.__anext__()
        entry = None
        if state == 1:
            entry = Entry(_named(name, codec, data), version, timestamp, False)
        return Change(name, entry, version, skipped, told or None)

    async def aclose(self) -> None:
        """Wants to hear no more."""
        if self._rows is not None:
            await self._rows.aclose()


def _entry(row: list[Any]) -> Entry | None:
    """What `get` and its like answer."""
    if not row[0]:
        return None
    _, version, _, _, _, timestamp, codec, data, *_ = row
    return Entry(_value(codec, data), version, timestamp, False)


def _value(codec: int, data: Any) -> Any:
    return _engine.decode(bytes(data)) if codec == _NATIVE else _values.foreign(codec, bytes(data))


def _named(name: str, codec: int, data: Any, *, taken: bool = False) -> Any:
    """The value of an entry that is among others, or is in the store no more."""
    try:
        return _value(codec, data)
    except _errors.EncodingError as error:
        raise _errors.unreadable(error, name, bytes(data) if taken else None) from error


def _stored(name: str, value: Any) -> bytes | memoryview:
    """A value that is set with others."""
    try:
        return _memory.stored(value)
    except _errors.EncodingError as error:
        raise _errors.EncodingError(f"`{name}`: {error}") from error
