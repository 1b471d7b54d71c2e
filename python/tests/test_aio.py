"""Event loops."""

import asyncio

import pytest

import andiron
from andiron import aio


@pytest.fixture
def address(serve):
    class Player:
        volume = 5

        def seek(self, seconds, done=None):
            if done is not None:
                done("ok")
            return seconds

        def count(self, up_to):
            yield from range(up_to)

        def fail(self):
            raise KeyError("x")

        def itself(self):
            return andiron.expose(self)

    hub = serve({"player": andiron.expose(Player()), "double": lambda x: 2 * x})
    yield hub.peer.strip("'")
    hub.close()


def run(main):
    return asyncio.run(asyncio.wait_for(main, 60))


def test_tasks_call_at_once_and_hear_errors(address):
    async def main():
        async with await aio.connect(address) as hub:
            assert await hub.names() == ["double", "player", "store"]
            player = await hub["player"]
            assert await asyncio.gather(*(player.seek(number) for number in range(1000))) == list(range(1000))
            assert await (await hub["double"])(21) == 42
            with pytest.raises(KeyError):
                await player.fail()
            with pytest.raises(andiron.NoObjectError):
                await hub["nobody"]
            assert await player.itself() == await player.itself()

    run(main())


def test_a_stream_is_iterated_over(address):
    async def main():
        async with await aio.connect(address) as hub:
            player = await hub["player"]
            assert [item async for item in await player.count(1000)] == list(range(1000))
            stream = await player.count(10**9)
            assert await stream.__anext__() == 0
            await stream.aclose()

    run(main())


def test_the_store(address):
    async def main():
        async with await aio.connect(address) as hub:
            store = hub.store
            assert await store.get("x", 5) == 5
            version = await store.set("x", {"a": (1,)}, if_version=0)
            entry = await store.entry("x")
            assert entry[:2] == ({"a": (1,)}, version)
            assert (await store.entry("x")).cached
            with pytest.raises(andiron.ConflictError):
                await store.set("x", 1, if_version=0)
            await store.update({"y": 1, "z": 2})
            assert await store.incr("y", 3) == 4
            assert await store.keys() == ["x", "y", "z"]
            assert await store.author("other").keys() == []
            assert await store.delete("x")
            assert not await store.delete("x")
            await store.clear()
            changes = store.watch("room *")
            await store.set("room 1", [1])
            change = await changes.__anext__()
            assert (change.name, change.entry.value) == ("room 1", [1])
            await changes.aclose()

    run(main())


def test_an_object_with_methods_that_wait_is_called_back(address):
    async def main():
        async with await aio.connect(address) as hub:
            reached, release = asyncio.Event(), asyncio.Event()

            class Waits:
                @andiron.expose
                async def wait(self):
                    reached.set()
                    await release.wait()
                    return "waited"

                @andiron.expose
                def at_once(self):
                    return "at once"

            # Without a daemon's names both ends are called over the one connection.
            other = await aio.connect(address)
            await hub.register("waits", Waits())
            far = await other["waits"]
            waiting = asyncio.ensure_future(far.wait())
            await reached.wait()
            assert await far.at_once() == "at once"
            release.set()
            assert await waiting == "waited"
            heard = []
            assert await (await hub["player"]).seek(1, heard.append) == 1
            assert heard == ["ok"]
            await other.close()

    run(main())


def test_cancelling_a_task_cancels_the_call_at_the_other_end(home):
    async def main():
        reached, cancelled = asyncio.Event(), asyncio.Event()

        async def hang():
            reached.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with (
            aio.Server({"hang": hang}, f"unix:{home}/socket", state=False) as server,
            await aio.connect(server.addresses[0]) as hub,
        ):
            hang_there = await hub["hang"]
            task = asyncio.ensure_future(hang_there())
            await reached.wait()
            task.cancel()
            await cancelled.wait()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_a_server_that_goes_fails_what_waits(home):
    async def main():
        server = aio.Server({"f": lambda: 1}, f"unix:{home}/socket", state=False)
        await server.__aenter__()
        hub = await aio.connect(server.addresses[0])
        f = await hub["f"]
        assert await f() == 1
        await server.__aexit__()
        with pytest.raises(ConnectionError):
            await f()
        with pytest.raises(ConnectionError):
            await f()

    run(main())


def test_a_method_that_waits_needs_a_loop(serve):
    async def wait():
        raise AssertionError("it never begins")

    hub = serve({"wait": wait})
    with pytest.raises(andiron.UnsupportedError, match=r"andiron\.aio"):
        hub["wait"]()
