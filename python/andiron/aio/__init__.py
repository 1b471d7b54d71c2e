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

Objects that are offered over such a connection may have ``async def`` methods, which run in the loop; what these get as callbacks and streams is for tasks too. Other methods
run in the loop as well, and should not take long; what they get is as in `andiron`.
"""

from andiron import can_send, expose, register, timeout
from andiron.aio._hub import Caller, Hub, caller, connect
from andiron.aio._proxy import Proxy, Stream
from andiron.aio._server import Server, serve
from andiron.aio._store import Changes, Store

__all__ = [
    "Caller",
    "Changes",
    "Hub",
    "Proxy",
    "Server",
    "Store",
    "Stream",
    "caller",
    "can_send",
    "connect",
    "expose",
    "register",
    "serve",
    "timeout",
]
