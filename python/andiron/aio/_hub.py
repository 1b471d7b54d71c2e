"""Connections that an event loop reads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from typing import TYPE_CHECKING, Any

from andiron import _engine, _errors
from andiron._hub import OfCall, calling, check_choices, check_name, chosen, named_target
from andiron._server import Server as ThreadedServer
from andiron._server import one_at_least
from andiron.aio._loop import Loop
from andiron.aio._proxy import Proxy, Stream
from andiron.aio._store import Store
from andiron.aio._tasks import Calls, OfLoop, hold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager
    from typing import NoReturn

#: The pauses between two tries, in seconds: the first, and the longest.
_PAUSES = 0.01, 0.2


class Hub(OfLoop):
    """One connection, read by the loop in which it was made: ``await hub["player"]`` gives the object of that name. ``async with`` closes it."""

    def __init__(self, connection: _engine.Connection, calls: Calls, wait: float = 0.0) -> None:
        self._connection = connection
        self._wait = wait
        self._root = connection.root()
        self._calls = calls
        self._store: Store | None = None
        #: What ends with it, and may block.
        self._ends: list[Callable[[], object]] = []
        # The connection does not keep what keeps it.
        known = weakref.ref(calls)

        def caller() -> Calls:
            calls = known()
            assert calls is not None, "what came over the connection is read by who calls"
            return calls

        connection.makes(lambda remote: Proxy(remote, caller()), lambda items: Stream(items, caller()))

    @property
    def store(self) -> Store:
        """The store of the server."""
        if self._store is None:
            raise _errors.UnsupportedError("this server has no store; a daemon (`andiron serve`) has one")
        return self._store

    def __getitem__(self, name: str) -> Awaitable[Any]:
        return self._lookup(name)

    # Without these two Python would try numbers as names, for ever.
    def __iter__(self) -> NoReturn:
        raise TypeError("a hub of a loop is asked for its names: `for name in await hub.names()`")

    def __contains__(self, name: object) -> NoReturn:
        raise TypeError("a hub of a loop is asked for its names: `name in await hub.names()`")

    async def _lookup(self, name: str) -> Any:
        check_name(name)
        try:
            return await patiently(lambda: self._look_up(name), _errors.NoObjectError, self._wait)
        except _errors.NoObjectError:
            text = f"no object is named '{name}': {_errors.hint(name, await self.names(), 'there are')}"
            raise _errors.NoObjectError(text) from None

    async def _look_up(self, name: str) -> Any:
        found = await self._calls.call(self._root.method("lookup"), name)
        if type(found) is not Proxy:
            return found  # an object of this process, that was registered there
        return Proxy(self._connection.named(found.__andiron_remote__(), name), self._calls)

    async def names(self) -> list[str]:
        """The names of all objects, sorted."""
        names: list[str] = await self._calls.call(self._root.method("names"))
        return names

    async def register(self, name: str, value: Any) -> None:
        """Offers an object of this process under a name, until the connection ends. Its methods run in the loop."""
        target = named_target(name, value)
        await self._calls.call(self._root.method("register"), name, target)
        self._connection.registered(name, target)

    async def run(self) -> None:
        """Waits for the end of the connection; raises why it ended, where nobody here closed it.

        Objects of this process are served all the time, whether this is awaited or not.
        """
        loop = self._calls
        if not isinstance(loop, Loop):
            raise _errors.UnsupportedError("this end of the connection is read by the threads of its server")
        while not loop.closed:
            await loop.over()
            if loop.closed:
                return
            if not loop.retries:
                raise loop.why() or _errors.UnavailableError("the connection is over")
            try:
                await loop.blocking(self._root.method("names").renew, False)
            except _errors.UnavailableError:
                continue  # there is no other yet

    def batch(self) -> AbstractContextManager[None]:
        """Holds back the calls that are started in the block: they go together. Nothing is awaited in it."""
        return self._connection.batch()

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return self._connection.peer()

    async def close(self) -> None:
        """Ends the connection."""
        self._connection.close()
        if isinstance(self._calls, Loop):
            self._calls.close()
        while self._ends:
            await self._calls.blocking(self._ends.pop())

    async def __aenter__(self) -> Hub:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<andiron.aio.{type(self).__name__} {self.peer}>"

    async def _find_store(self) -> None:
        """Knows the store, and what shows its writes, so that nothing later has to be waited for."""
        try:
            found = await self._calls.call(self._root.method("lookup"), "store")
        except _errors.NoObjectError:
            return
        remote = self._connection.named(found.__andiron_remote__(), "store")
        looking = self._connection.store().look(remote)
        if looking is not None:
            await self._calls.answer(looking)
        if self._store is None:
            self._store = Store(self._connection, remote, self._calls)

    async def _find_store_again(self) -> None:
        # Where it is not found each read asks.
        with contextlib.suppress(_errors.Error):
            await self._find_store()


async def patiently(attempt: Any, unless: type[Exception], wait: float) -> Any:
    """What an attempt gives, which is made again for so many seconds as long as it fails so, with growing pauses."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    pause = _PAUSES[0]
    while True:
        try:
            return await attempt()
        except unless:
            left = until - loop.time()
            if left <= 0:
                raise
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _PAUSES[1])


async def connect(
    address: str | None = None,
    *,
    objects: Mapping[str, Any] | None = None,
    wait: float = 0.0,
    timeout: float | None = None,
    retry: float | None = None,
    cache: int | None = None,
    secret_file: str | os.PathLike[str] | None = None,
) -> Hub:
    """Connects as `andiron.connect` does.

    The loop does it by itself, but for finding and reaching a host of a network, and what ``retry`` connects anew: these may block, and are done by other threads.
    """
    check_choices(address, objects, cache, wait=wait, timeout=timeout, retry=retry)
    if objects is not None:
        return await _inside(objects)
    where = chosen(address)
    file = None if secret_file is None else os.fspath(secret_file)

    async def connected() -> Hub:
        loop = Loop(retry is not None)

        def opened() -> _engine.Driver:
            return _engine.open_for_loop(
                loop.bell, loop.token, where, timeout=timeout, retry=retry, cache=cache, secret_file=file
            )

        far = where.startswith(("tcp:", "tls:"))
        return await over(loop, await loop.blocking(opened) if far else opened(), wait)

    hub: Hub = await patiently(connected, _errors.UnavailableError, wait)
    return hub


async def over(loop: Loop, driver: _engine.Driver, wait: float = 0.0) -> Hub:
    """The hub of a connection that was only just made."""
    try:
        await loop.drive(driver)
        hub = Hub(driver.connection(), loop, wait)
        await hub._find_store()
    except BaseException:
        loop.close()
        raise
    loop.renewed = lambda: hold(hub._find_store_again())
    return hub


async def _inside(objects: Mapping[str, Any]) -> Hub:
    """A hub of a server in this process, which has these objects and an empty store, and ends with the hub."""
    server = ThreadedServer(objects, [], state=False, threads=one_at_least(None))
    try:
        loop = Loop(False)
        hub = await over(loop, server._running.open(loop.bell, loop.token))
    except BaseException:
        await asyncio.get_running_loop().run_in_executor(None, server.stop)
        raise
    hub._ends.append(server.stop)
    return hub


class Caller(OfCall, Hub):
    """The hub that calls, in a method: as `andiron.Caller`, for tasks."""

    def __init__(self, context: _engine.Context, connection: _engine.Connection) -> None:
        super().__init__(connection, Calls())
        self._context = context


def caller() -> Caller | None:
    """Who calls, in a method that was called over a connection; `None` elsewhere."""
    found = calling()
    return None if found is None else Caller(*found)
