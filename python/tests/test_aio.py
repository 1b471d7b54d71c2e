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
            assert await store.setdefault("y", 7) == 4
            assert await store.setdefault("w", [7]) == [7]
            async with store.edit("w") as w:
                w.append(8)
            assert await store.change("n", lambda n: n + 1, 1) == 2
            assert await store.pop("n") == 2
            assert await store.pop("n", None) is None
            with pytest.raises(KeyError):
                await store.pop("n")
            assert await store.count() == 3
            assert [item async for item in store.items()] == [("w", [7, 8]), ("y", 4), ("z", 2)]
            assert [value async for value in store.values()] == [[7, 8], 4, 2]
            assert await store.popitem() == ("w", [7, 8])
            await store.clear()
            with pytest.raises(KeyError):
                await store.popitem()
            assert (await store.stats()).entries == 0
            changes = store.watch("room *")
            await store.set("room 1", [1])
            change = await changes.__anext__()
            assert (change.name, change.entry.value) == ("room 1", [1])
            await changes.aclose()

    run(main())


def test_an_edit_that_somebody_else_was_faster_than_is_a_conflict(address):
    async def main():
        async with await aio.connect(address) as hub:
            store = hub.store
            await store.set("x", [1])
            with pytest.raises(andiron.ConflictError, match="'x' was changed"):  # noqa: PT012
                async with store.edit("x") as x:
                    x.append(2)
                    await store.set("x", [3])
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with store.edit("x") as x:
                    x.append(4)
                    raise ZeroDivisionError
            assert await store.get("x") == [3]
            with pytest.raises(TypeError, match=r"store\.change"):
                await store.edit("n", 1).__aenter__()
            await asyncio.gather(*(store.change("n", lambda n: n + 1, 0) for _ in range(20)))
            assert await store.get("n") == 20

    run(main())


def test_all_entries_are_as_they_were_at_one_moment(address):
    async def main():
        async with await aio.connect(address) as hub:
            store = hub.store
            wanted = [(f"{number:05}", number) for number in range(6000)]
            await store.update(wanted)
            items = store.items()
            assert await anext(items) == wanted[0]
            await store.clear()
            assert [item async for item in items] == wanted[1:]
            assert await store.keys() == []

    run(main())


def test_a_big_array_is_stored_by_reference(address):
    numpy = pytest.importorskip("numpy")

    async def main():
        async with await aio.connect(address) as hub:
            array = numpy.arange(400_000)
            await hub.store.update({"a": [array, b"x" * (1 << 20)], "b": array})
            await hub.store.set("c", array)
            assert await hub.store.setdefault("d", {"e": array}) is not None
            first, second = await hub.store.get("c"), await hub.store.get("c")
            first[:] = 0
            assert (second == array).all()
            stored = {name: value async for name, value in hub.store.items()}
            assert (stored["a"][0] == array).all()
            assert stored["a"][1] == b"x" * (1 << 20)
            assert (stored["d"]["e"] == array).all()
            assert (await hub.store.pop("b") == array).all()

    run(main())


def test_snapshots(home):
    async def main():
        async with (
            aio.Server({}, f"unix:{home}/socket", state=home / "kept") as server,
            await aio.connect(server.addresses[0]) as hub,
        ):
            store = hub.store
            await store.set("x", 1)
            assert await store.persist("x")
            assert await store.save("morning") == 1
            await store.set("x", 2)
            assert await store.load("morning") == 1
            assert await store.get("x") == 1
            assert [snapshot.name for snapshot in await store.snapshots()] == ["morning"]
            await store.delete_snapshot("morning")
            assert await store.snapshots() == []

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
