"""Event loops."""

import asyncio
import io

import pytest

import andiron
from andiron import aio
from conftest import needs_unix

#: The server of the native engine tells by a version board what was written: else its clients ask for each entry whether it changed.
HAS_BOARD = andiron.engine == "native"


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


def test_to_iterate_over_a_hub_or_to_look_into_it_says_how_its_names_are_asked_for(address):
    async def main():
        async with await aio.connect(address) as hub:
            with pytest.raises(TypeError, match=r"await hub\.names\(\)"):
                list(hub)
            with pytest.raises(TypeError, match=r"await hub\.names\(\)"):
                assert "double" in hub
            for other in hub.store, await hub["player"]:
                with pytest.raises(TypeError):
                    list(other)

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
            assert (await store.entry("x")).cached == HAS_BOARD
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


def test_entries_that_cannot_be_read_or_sent_are_named(address):
    async def main():
        async with await aio.connect(address) as hub:
            store = hub.store

            async def items():
                return [item async for item in store.items()]

            for take in (lambda: store.pop("bad"), store.popitem):
                await store._call("set", "bad", b"\xc1", 1)
                for look in (items, store.watch("bad").__anext__):
                    with pytest.raises(andiron.EncodingError, match="the entry `bad` cannot be read"):
                        await look()
                with pytest.raises(andiron.EncodingError, match="was taken out") as told:
                    await take()
                assert told.value.data == b"\xc1"
            with pytest.raises(andiron.EncodingError, match="`b`: the value cannot be sent"):
                await store.update({"a": 1, "b": object()})
            with pytest.raises(andiron.BadArgumentsError, match="a version is 0"):
                await store.delete("x", if_version=-1)
            assert await store.count() == 0

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
            assert await items.__anext__() == wanted[0]
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
        async with aio.Server({}, f"unix:{home}/socket", state=home / "kept") as server:
            async with await aio.connect(server.addresses[0]) as hub:
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
                file = io.BytesIO()
                assert await store.backup(file) == file.tell() > 0
                await store.set("x", 3)
                file.seek(0)
                assert await store.restore(file) == 1
                assert await store.get("x") == 1

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

        async with aio.Server({"hang": hang}, f"unix:{home}/socket", state=False) as server:
            async with await aio.connect(server.addresses[0]) as hub:
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


SERVER = """
    import sys
    import andiron
    objects = {"double": lambda x: 2 * x, "call": lambda f: f(), "count": lambda to: iter(range(to))}
    with andiron.Server(objects, sys.argv[1], state=False) as server:
        print("up", flush=True)
        server.wait()
"""


@pytest.fixture
def begin(processes, home):
    """Starts a server in a process of its own, always at the same address."""

    def start():
        server = processes.python(SERVER, "again")
        assert server.stdout.readline() == "up\n"
        return server

    return start


@needs_unix
def test_a_connection_that_was_lost_is_made_anew(begin):
    async def main():
        server = begin()
        async with await aio.connect("again", retry=30) as hub:
            double, store = await hub["double"], hub.store
            await hub.register("mine", lambda: "mine")
            await store.set("x", 1)
            running = asyncio.ensure_future(hub.run())
            server.kill()
            server.wait()
            waiting = asyncio.ensure_future(double(4))
            begin()
            assert await waiting == 8
            assert await hub.names() == ["call", "count", "double", "mine", "store"]
            assert await (await hub["call"])(lambda: 5) == 5
            async with await aio.connect("again") as other:
                assert await (await other["mine"])() == "mine"
            assert await store.get("x") is None
            await store.set("x", 2)
            assert (await store.entry("x")).value == 2
            assert (await store.entry("x")).cached == HAS_BOARD
            assert not running.done()
        await running

    run(main())


@needs_unix
def test_a_call_waits_for_the_next_connection_as_long_as_it_may(begin):
    async def main():
        server = begin()
        async with await aio.connect("again", retry=30) as hub:
            double = await hub["double"]
            server.kill()
            server.wait()
            with andiron.timeout(0.1), pytest.raises(andiron.UnavailableError):
                await double(4)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(double(4), 0.1)

    run(main())


def test_the_end_of_a_connection_is_told(begin):
    async def main():
        server = begin()
        hub = await aio.connect("again")
        double = await hub["double"]
        running = asyncio.ensure_future(hub.run())
        server.kill()
        server.wait()
        with pytest.raises(ConnectionError, match="the other end closed it"):
            await running
        with pytest.raises(ConnectionError, match="the other end closed it"):
            await double(1)
        await hub.close()
        await hub.run()

    run(main())


def test_who_is_not_there_is_told_of_at_once_or_waited_for(home, begin):
    async def main():
        with pytest.raises(andiron.UnavailableError, match="no server at 'again'"):
            await aio.connect("again")
        with pytest.raises(andiron.UnavailableError):
            await aio.connect("again", wait=0.05)
        with pytest.raises(andiron.AuthenticationError):
            await aio.connect("tcp://127.0.0.1:1")
        waiting = asyncio.ensure_future(aio.connect("again", wait=60))
        await asyncio.sleep(0)
        begin()
        async with await waiting as hub:
            assert await (await hub["double"])(1) == 2

    run(main())


def test_a_server_of_a_network_is_reached(home):
    async def main():
        async with aio.Server({"double": lambda x: 2 * x}, "tcp://127.0.0.1:0", state=False) as server:
            async with await aio.connect(server.addresses[0]) as hub:
                assert await asyncio.gather(*map(await hub["double"], range(100))) == list(range(0, 200, 2))
                await hub.store.set("x", 1)
                assert await hub.store.get("x") == 1

    run(main())


@needs_unix
def test_a_handshake_that_is_not_answered_is_given_up(home):
    async def main():
        heard, kept = asyncio.Event(), []
        silent = await asyncio.start_unix_server(
            lambda *ends: (kept.append(ends), heard.set()), f"{home}/silent"
        )
        with pytest.raises(andiron.UnavailableError, match="does not answer"):
            await aio.connect(f"unix:{home}/silent", timeout=0.1)
        heard.clear()
        waiting = asyncio.ensure_future(aio.connect(f"unix:{home}/silent"))
        await heard.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        for _, writer in kept:
            writer.close()
        silent.close()

    run(main())


def test_a_hub_of_another_loop_says_so(address):
    async def main():
        async with await aio.connect(address) as hub:
            double, items = await hub["double"], await (await hub["player"]).count(10)

            async def elsewhere():
                for use in (double(1), hub["double"], hub.store.set("x", 1), items.__anext__(), hub.names()):
                    with pytest.raises(RuntimeError, match="another event loop: connect in each loop"):
                        await use

            await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(elsewhere()))
            assert await double(1) == 2
            assert await items.__anext__() == 0

    run(main())


def test_one_task_at_a_time_waits_for_an_item(address):
    async def main():
        async with await aio.connect(address) as hub:
            changes = hub.store.watch("nothing")
            waiting = asyncio.ensure_future(changes.__anext__())
            while changes._rows is None:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task waits"):
                await changes._rows.__anext__()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await hub.store.set("nothing", 1)
            assert (await changes.__anext__()).name == "nothing"

    run(main())


def test_calls_and_changes_are_awaited_beside_each_other(address):
    async def main():
        async with await aio.connect(address) as hub:
            double, seen = await hub["double"], []

            async def watch():
                async for change in hub.store.watch("x"):
                    seen.append(change.entry.value)
                    if change.entry.value == 99:
                        return

            watching = asyncio.ensure_future(watch())
            for number in range(100):
                assert await double(number) == 2 * number
                await hub.store.set("x", number)
            await watching
            assert seen == sorted(seen)
            assert seen[-1] == 99

    run(main())


def test_no_thread_and_no_descriptor_is_left(begin):
    import gc
    import os
    import threading

    begin()

    async def use():
        async with await aio.connect("again") as hub:
            assert await (await hub["double"])(1) == 2
            await hub.store.set("x", 1)
            async for _ in await (await hub["count"])(10**9):
                break
            assert threading.active_count() <= threads

    threads = threading.active_count()
    run(use())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(use())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert threading.active_count() <= threads


@pytest.mark.parametrize(
    "end",
    ["", "await hub.close(); await asyncio.gather(*tasks[:4], return_exceptions=True)", "raise SystemExit"],
    ids=["", "closed", "exit"],
)
def test_a_loop_ends_in_order_with_calls_under_way(processes, begin, end):
    begin()
    code = f"""
        import asyncio, gc
        import andiron
        from andiron import aio

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # nothing of that is told
            hub = await aio.connect("again")
            began = asyncio.Semaphore(0)
            async def never():
                began.release()
                await asyncio.Event().wait()
            async def items():
                while True:
                    yield 1
                    await asyncio.sleep(0)
            calls = [(await hub["call"]).__call__(never) for _ in range(3)]
            tasks = [asyncio.ensure_future(call) for call in calls]
            changes = hub.store.watch()
            tasks.append(asyncio.ensure_future(changes.__anext__()))
            inside = await aio.connect(objects={{"never": never, "sum": lambda items: sum(items)}})
            tasks.append(asyncio.ensure_future((await inside["never"])()))
            tasks.append(asyncio.ensure_future((await inside["sum"])(items())))
            for _ in range(4):
                await began.acquire()
            {end}

        try:
            asyncio.run(main())
        except SystemExit:
            pass
        gc.collect()
        print("ends")
    """
    process = processes.python(code, flags=("-X", "dev", "-W", "error"))
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("ends\n", "")
    assert process.returncode == 0
