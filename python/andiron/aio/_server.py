"""Hosting objects from an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import andiron
from andiron.aio import _loop

if TYPE_CHECKING:
    from collections.abc import Mapping


class Server:
    """Hosts objects as `andiron.Server` does; their ``async def`` methods run in this loop, others on threads. For ``async with``."""

    def __init__(self, objects: Mapping[str, Any], address: str | None = None, **options: Any) -> None:
        self._arguments = objects, address
        self._options = options
        self._server: andiron.Server | None = None

    async def __aenter__(self) -> Server:
        loop = asyncio.get_running_loop()
        _loop.serving.append(loop)
        try:
            self._server = await loop.run_in_executor(
                None, lambda: andiron.Server(*self._arguments, **self._options)
            )
        except BaseException:
            _loop.serving.remove(loop)
            raise
        return self

    @property
    def addresses(self) -> list[str]:
        """By which it is reached."""
        return [] if self._server is None else self._server.addresses

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        if self._server is not None:
            # Meanwhile methods that wait go on in the loop.
            await loop.run_in_executor(None, self._server.stop)
        _loop.serving.remove(loop)


async def serve(objects: Mapping[str, Any], address: str | None = None, **options: Any) -> None:
    """Hosts objects until the task is cancelled."""
    async with Server(objects, address, **options):
        await asyncio.get_running_loop().create_future()
