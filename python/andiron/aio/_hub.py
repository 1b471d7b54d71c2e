"""Connections that an event loop reads."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import TYPE_CHECKING, Any

from andiron import _engine, _errors
from andiron._hub import chosen, named_target
from andiron.aio._loop import Loop
from andiron.aio._proxy import Proxy, Stream
from andiron.aio._store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable

#: The pauses between two tries, in seconds: the first, and the longest.
_PAUSES = 0.01, 0.2


class Hub:
    """One connection, read by the loop in which it was made: ``await hub["player"]`` gives the object of that name."""

    def __init__(self, connection: _engine.Connection, store: _engine.Remote | None, wait: float) -> None:
        self._connection = connection
        self._wait = wait
        self._root = connection.root()
        self._loop = Loop(connection)
        connection.makes(lambda remote: Proxy(remote, self._loop), lambda items: Stream(items, self._loop))
        self._store = None if store is None else Store(connection, store, self._loop)

    @property
    def store(self) -> Store:
        """The store of the server."""
        if self._store is None:
            raise _errors.UnsupportedError("this server has no store")
        return self._store

    def __getitem__(self, name: str) -> Awaitable[Any]:
        return self._lookup(name)

    async def _lookup(self, name: str) -> Any:
        lookup = self._root.method("lookup")
        return await patiently(lambda: self._loop.call(lookup, name), _errors.NoObjectError, self._wait)

    async def names(self) -> list[str]:
        """The names of all objects, sorted."""
        names: list[str] = await self._loop.call(self._root.method("names"))
        return names

    async def register(self, name: str, value: Any) -> None:
        """Offers an object of this process under a name, until the connection ends. Its methods run in the loop."""
        await self._loop.call(self._root.method("register"), name, named_target(name, value))

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return self._connection.peer()

    async def close(self) -> None:
        """Ends the connection."""
        self._connection.close()
        self._loop.close()

    async def __aenter__(self) -> Hub:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<andiron.aio.Hub {self.peer}>"


async def patiently(attempt: Any, unless: type[Exception], wait: float) -> Any:
    """What an attempt gives, which is made again for so many seconds as long as it fails so, with growing pauses."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    pause = _PAUSES[0]
    while True:
        try:
            return await attempt()
        except unless:
            if loop.time() >= until:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSES[1])


def _opened(
    address: str, timeout: float | None, cache: int | None, secret_file: str | None
) -> tuple[_engine.Connection, _engine.Remote | None]:
    """A connection, whose board is known, so that nothing later has to be waited for."""
    connection = _engine.connect(address, timeout=timeout, cache=cache, secret_file=secret_file, pump=False)
    try:
        store = connection.lookup("store")
    except _errors.NoObjectError:
        return connection, None
    connection.store().has("")
    return connection, store


async def connect(
    address: str | None = None,
    *,
    wait: float = 0.0,
    timeout: float | None = None,
    cache: int | None = None,
    secret_file: str | os.PathLike[str] | None = None,
) -> Hub:
    """Connects as `andiron.connect` does. To find a server and to shake hands may block, and is done by a thread of the loop's."""
    file = None if secret_file is None else os.fspath(secret_file)
    loop = asyncio.get_running_loop()
    opened = functools.partial(_opened, chosen(address), timeout, cache, file)
    attempt = functools.partial(loop.run_in_executor, None, opened)
    connection, store = await patiently(attempt, _errors.UnavailableError, wait)
    return Hub(connection, store, wait)
