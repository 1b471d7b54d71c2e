"""The same for programs with an event loop of :mod:`asyncio`.

The loop reads the connection itself: there is no other thread, and an answer wakes the task that waits for it::

    import asyncio
    from andiron import aio

    async def main():
        async with await aio.connect() as hub:
            player = await hub["player"]
            print(await player.seek(12.5))
            await hub.store.set("x", 20)
            async for change in hub.store.watch("x"):
                print(change.entry)

    asyncio.run(main())

Objects that are offered over such a connection may have ``async def`` methods, which run in the loop; other methods run in the loop too, and should not take long.
"""

from andiron.aio._hub import Hub, connect
from andiron.aio._proxy import Proxy, Stream
from andiron.aio._server import Server, serve
from andiron.aio._store import Changes, Store

__all__ = ["Changes", "Hub", "Proxy", "Server", "Store", "Stream", "connect", "serve"]
