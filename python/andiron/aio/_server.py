"""Hosting objects from an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import andiron
from andiron import _errors, _later
from andiron._hub import named_targets
from andiron._server import one_at_least
from andiron.aio._hub import Hub, connect, over
from andiron.aio._loop import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The pauses between two tries to find a server, in seconds: the first, and the longest.
_PAUSES = 0.05, 1.0


class Server:
    """Hosts objects as `andiron.Server` does, within ``async with``; their ``async def`` methods run in this loop, others on threads.

    In the pure engine that is one thread, if no number is given.

    Starting and stopping may block, on a lock of a predecessor or on methods that run, and are done by a thread of the loop's.
    """

    def __init__(
        self, objects: Mapping[str, Any], address: str | Sequence[str] | None = None, **options: Any
    ) -> None:
        self._objects = objects
        self._address = address
        self._options = options
        self._server: andiron.Server | None = None

    async def __aenter__(self) -> Server:
        loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()  # before Python 3.10 it belongs to the loop in which it is made
        # In the loop, so that it runs their methods.
        targets = named_targets(self._objects)
        threads = one_at_least(self._options.get("threads"))
        _later.serving.append(loop)
        try:
            self._server = await loop.run_in_executor(
                None, lambda: andiron.Server(targets, self._address, **{**self._options, "threads": threads})
            )
        except BaseException:
            _later.serving.remove(loop)
            raise
        return self

    @property
    def addresses(self) -> list[str]:
        """By which it is reached."""
        return [] if self._server is None else self._server.addresses

    async def connect(self) -> Hub:
        """A connection within this process."""
        if self._server is None:
            raise _errors.UnavailableError("the server has not been started: write `async with`")
        loop = Loop(False)
        return await over(loop, self._server._running.open(loop.bell, loop.token))

    async def wait(self) -> None:
        """Waits until another task stops it."""
        await self._stopped.wait()

    async def stop(self) -> bool:
        """Takes no further calls and ends all connections. True if all calls under way were finished in time."""
        loop = asyncio.get_running_loop()
        if self._server is None or self._stopped.is_set():
            return True
        # Meanwhile methods that wait go on in the loop.
        finished = await loop.run_in_executor(None, self._server.stop)
        if not self._stopped.is_set():
            self._stopped.set()
            _later.serving.remove(loop)
        return finished

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def serve(objects: Mapping[str, Any], address: str | None = None, **options: Any) -> None:
    """Offers objects under their names until the task is cancelled, as `andiron.serve` does."""
    pause = _PAUSES[0]
    while True:
        try:
            async with Server(objects, address, **options) as server:
                await server.wait()
            return
        except _errors.ConflictError:
            pass  # a server is there, or was just now
        try:
            async with await connect(address) as hub:
                for name, value in objects.items():
                    await hub.register(name, value)
                pause = _PAUSES[0]
                await hub.run()
        except (_errors.UnavailableError, _errors.UnknownError):
            pass  # it went
        await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSES[1])
