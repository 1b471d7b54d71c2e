"""The store, for tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from andiron import _engine, _errors, _values
from andiron._store import Change, Entry
from andiron.aio._tasks import OfLoop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andiron._engine import Connection, Remote
    from andiron.aio._proxy import Stream
    from andiron.aio._tasks import Calls

#: The codec of values, and the name of the author where none is chosen.
_NATIVE, _DEFAULT = 1, "default"


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

    async def entry(self, name: str) -> Entry | None:
        """The entry of this name."""
        known = self._engine.known(name)
        found = known[0] if known is not None else await self._loop.answer(self._engine.start(name))
        return None if found is None else Entry(*found)

    async def get(self, name: str, default: Any = None) -> Any:
        """The value of this name, or the default."""
        known = self._engine.known(name)
        found = known[0] if known is not None else await self._loop.answer(self._engine.start(name))
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
        if ttl is not None and not ttl > 0:
            raise _errors.BadArgumentsError("a ttl is more than 0 seconds")
        micros = None if ttl is None else max(1, int(ttl * 1e6))
        data = _engine.encode(value)
        version: int
        version, *_ = await self._call(
            "set", name, data, _NATIVE, self._author, micros, if_version, persist, durability
        )
        return version

    async def update(self, values: Mapping[str, Any]) -> None:
        """Sets several values at once: all of them or none."""
        entries = [[name, _engine.encode(value), _NATIVE, self._author] for name, value in values.items()]
        await self._call("set_many", entries)

    async def delete(self, name: str, *, if_version: int | None = None) -> bool:
        """Takes an entry out; whether there was one."""
        state, *_ = await self._call("delete", name, self._author, if_version)
        return bool(state)

    async def incr(self, name: str, by: int = 1) -> int:
        """Adds to a whole number, or to 0 where there is none. Gives what it is now."""
        value: int
        _, _, value, *_ = await self._call("incr", name, by, self._author)
        return value

    async def keys(self) -> list[str]:
        """The names, sorted."""
        names: list[str] = []
        more, after = True, None
        while more:
            more, rows = await self._call("list", self._author, after)
            names.extend(row[1] for row in rows)
            after = rows[-1][:2] if rows else None
            more = more and bool(rows)
        return names

    async def clear(self) -> None:
        """Removes all entries of this author."""
        await self._call("clear", self._author)

    def watch(self, pattern: str = "*", *, present: bool = True, since: int | None = None) -> Changes:
        """Tells of entries whose name fits, for ``async for``; as `andiron.Store.watch`."""
        args = [pattern, self._author, present and since is None]
        return Changes(self, args if since is None else [*args, since])


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
            entry = Entry(_value(codec, data), version, timestamp, False)
        return Change(name, entry, version, skipped, told or None)

    async def aclose(self) -> None:
        """Wants to hear no more."""
        if self._rows is not None:
            await self._rows.aclose()


def _value(codec: int, data: Any) -> Any:
    return _engine.decode(bytes(data)) if codec == _NATIVE else _values.foreign(codec, bytes(data))
