"""What a loop runs for others: ``async def`` methods, asynchronous generators, and servers that belong to it."""

import asyncio
import contextvars
import threading

import pytest

import andiron
from andiron import aio
from andiron.aio import _methods
from conftest import in_thread

SOMETHING = contextvars.ContextVar("something", default="nothing")


def run(main):
    return asyncio.run(asyncio.wait_for(main, 60))


async def until_begun(began, attempt):
    """Attempts it with longer and longer limits, until one is long enough for it to begin, however busy this machine is."""
    seconds = 0.02
    while not began.is_set():
        await attempt(seconds)
        seconds *= 2


class Player:
    """Methods of each kind, and what was seen of them."""

    def __init__(self):
        self.order = []
        self.began, self.ended, self.release = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.position = 5

    @andiron.expose
    async def seek(self, seconds, done=None):
        await asyncio.sleep(0)
        if done is not None:
            await done(seconds)
        return seconds

    @andiron.expose
    def at_once(self, seconds, done):
        return done(seconds)

    @andiron.expose
    async def note(self, number):
        self.order.append(number)

    @andiron.expose
    async def hang(self):
        self.began.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.ended.set()
            raise

    @andiron.expose
    async def count(self, up_to):
        try:
            for number in range(up_to):
                yield number
                await asyncio.sleep(0)
        finally:
            self.ended.set()

    @andiron.expose
    async def total(self, items):
        return sum([item async for item in items])

    @andiron.expose
    async def fail(self, error):
        await asyncio.sleep(0)
        raise error

    @andiron.expose
    async def who(self):
        before = andiron.caller()
        await asyncio.sleep(0)
        after = andiron.caller()
        return None not in (before, after), after.cancelled, after.time_left, SOMETHING.get()

    @andiron.expose
    @property
    def volume(self):
        return self.position

    @volume.setter
    def volume(self, position):
        self.position = position

    @andiron.expose
    @property
    def length(self):
        return 90


async def inside(home, objects):
    """A hub of a server in this process, whose methods run in the loop that reads the hub."""
    return await aio.connect(objects=objects)


async def beside(home, objects):
    """A hub of a server at an address, which has the loop for its methods."""
    server = aio.Server(objects, f"unix:{home}/socket", state=False)
    await server.__aenter__()
    hub = await aio.connect(server.addresses[0])
    hub._ends.append(lambda: asyncio.run_coroutine_threadsafe(server.stop(), loop).result())
    loop = asyncio.get_running_loop()
    return hub


@pytest.fixture(params=[inside, beside])
def with_player(request, home):
    """Runs a test with the player, a hub and its proxy."""

    def begin(test):
        async def main():
            player = Player()
            async with await request.param(home, {"player": player}) as hub:
                await test(player, hub, await hub["player"])

        run(main())

    return begin


def test_methods_that_wait_get_what_can_be_awaited_and_others_what_cannot(with_player):
    async def test(player, hub, far):
        async def done(seconds):
            await asyncio.sleep(0)
            heard.append(seconds)
            return seconds

        heard = []
        assert await far.seek(1, done) == 1
        assert await far.seek(2, heard.append) == 2
        assert heard == [1, 2]
        assert await far.at_once(3, lambda seconds: seconds + 1) == 4

    with_player(test)


def test_calls_of_one_caller_begin_in_their_order(with_player):
    async def test(player, hub, far):
        await asyncio.gather(*(far.note(number) for number in range(500)))
        assert player.order == list(range(500))
        with hub.batch():
            tasks = [far.note.start(number) for number in range(500, 1000)]
        await asyncio.gather(*tasks)
        assert player.order == list(range(1000))

    with_player(test)


def test_ten_thousand_calls_at_once(with_player):
    async def test(player, hub, far):
        waiting = [far.seek.start(number) for number in range(10_000)]
        assert await asyncio.gather(*waiting) == list(range(10_000))

    with_player(test)


def test_an_asynchronous_generator_is_a_stream_both_ways(with_player):
    async def test(player, hub, far):
        assert [number async for number in await far.count(300)] == list(range(300))

        async def items():
            for number in range(300):
                await asyncio.sleep(0)
                yield number

        assert await far.total(items()) == sum(range(300))
        assert await far.total(iter(range(10))) == 45
        # One that came is passed on.
        assert await far.total(await far.count(10)) == 45

        async def breaks():
            yield 1
            raise KeyError("broken")

        with pytest.raises(KeyError, match="broken"):
            await far.total(breaks())
        with pytest.raises(andiron.EncodingError, match="an item of the stream cannot be sent"):
            await far.total(object() for _ in range(1))

    with_player(test)


def test_who_stops_taking_items_ends_the_generator(with_player):
    async def test(player, hub, far):
        async for number in await far.count(10**9):
            if number == 3:
                break
        await player.ended.wait()
        player.ended.clear()
        async with await far.count(10**9) as items:
            assert await items.__anext__() == 0
        await player.ended.wait()

        began, ended = asyncio.Event(), asyncio.Event()

        async def endless():
            began.set()
            try:
                while True:
                    yield 1
                    await asyncio.sleep(0)
            finally:
                ended.set()

        async def takes_too_long(seconds):
            with andiron.timeout(seconds), pytest.raises(TimeoutError):
                await far.total(endless())

        await until_begun(began, takes_too_long)
        await ended.wait()

    with_player(test)


def test_cancelling_what_waits_cancels_the_method(with_player):
    async def test(player, hub, far):
        for begin in (lambda: asyncio.ensure_future(far.hang()), far.hang.start):
            player.began.clear(), player.ended.clear()
            task = begin()
            await player.began.wait()
            task.cancel()
            await player.ended.wait()
            with pytest.raises(asyncio.CancelledError):
                await task

        async def given_up(seconds):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(far.hang(), seconds)

        async def out_of_time(seconds):
            with andiron.timeout(seconds), pytest.raises(andiron.DeadlineError):
                await far.hang()

        for attempt in (given_up, out_of_time):
            player.began.clear(), player.ended.clear()
            await until_begun(player.began, attempt)
            await player.ended.wait()
        assert await far.seek(1) == 1

    with_player(test)


def test_exceptions_arrive_as_what_they_are(with_player):
    async def test(player, hub, far):
        with pytest.raises(KeyError, match="x") as raised:
            await far.fail(KeyError("x"))
        assert "in fail" in str(raised.value.__cause__)
        with pytest.raises(andiron.RemoteError, match="SystemExit"):
            await far.seek(1, leave)
        with pytest.raises(andiron.BadArgumentsError, match="missing a required argument"):
            await far.note()
        with pytest.raises(andiron.BadArgumentsError):
            await far.note(1, 2, x=3)
        # What the method raises itself is its own fault.
        with pytest.raises(TypeError) as raised:
            await far.fail(TypeError("its own"))
        assert not isinstance(raised.value, andiron.Error)
        with pytest.raises(andiron.NoMethodError, match="nothing"):
            await far.nothing()

    async def leave(_):
        raise SystemExit(3)

    with_player(test)


def test_a_method_knows_its_caller_and_the_time_that_is_left_behind_an_await(with_player):
    async def test(player, hub, far):
        SOMETHING.set("of the client")
        assert await far.who() == (True, False, None, "nothing")
        with andiron.timeout(50):
            same, cancelled, left, something = await far.who()
        assert (same, cancelled, something) == (True, False, "nothing")
        assert 0 < left < 50

    with_player(test)


def test_calls_of_a_method_belong_to_the_call_that_it_runs_for(with_player):
    async def test(player, hub, far):
        cancelled = asyncio.Event()
        began = asyncio.Event()

        async def waits(_):
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async def out_of_time(seconds):
            with andiron.timeout(seconds), pytest.raises(andiron.DeadlineError):
                await far.seek(1, waits)

        await until_begun(began, out_of_time)
        await cancelled.wait()
        began.clear(), cancelled.clear()
        task = far.seek.start(1, waits)
        await began.wait()
        task.cancel()
        await cancelled.wait()

    with_player(test)


def test_properties_are_awaited_and_set(with_player):
    async def test(player, hub, far):
        assert await far.volume == 5
        await far.volume.set(7)
        assert (player.position, await far.volume, await far.length) == (7, 7, 90)
        with pytest.raises(AttributeError, match="`length` cannot be set"):
            await far.length.set(1)
        with pytest.raises(AttributeError, match=r"await \.\.volume\.set"):
            far.volume = 3
        with pytest.raises(TypeError, match=r"`seek` is a method"):
            await far.seek

    with_player(test)


def test_a_method_asks_the_hub_that_calls(home):
    class Guest:
        @andiron.expose
        async def asks(self, name):
            caller = aio.caller()
            return await caller.names(), await (await caller[name])(4)

    async def main():
        async with aio.Server({"double": lambda x: 2 * x}, f"unix:{home}/socket", state=False) as server:
            guest, hub = await aio.connect(server.addresses[0]), await server.connect()
            await guest.register("guest", Guest())
            assert await (await hub["guest"]).asks("double") == (["double", "guest", "store"], 8)
            await guest.close()
            await hub.close()

    run(main())


def test_clients_of_threads_call_what_a_loop_serves(home):
    async def main():
        player = Player()
        async with aio.Server({"player": player}, f"unix:{home}/socket", state=False) as server:

            def client():
                with andiron.connect(server.addresses[0], pump=False) as hub:
                    far = hub["player"]
                    heard = []
                    assert far.seek(1, heard.append) == 1  # runs on this thread, as part of the call
                    assert heard == [1]
                    assert list(far.count(100)) == list(range(100))
                    assert far.total(iter(range(10))) == 45
                    far.volume = 6
                    return far.volume

            assert await in_thread(client) == 6

    run(main())


def test_an_instance_of_a_class_for_each_connection_runs_in_the_loop(home):
    @andiron.expose
    class Counter:
        def __init__(self):
            self.count = 0

        async def add(self):
            await asyncio.sleep(0)
            self.count += 1
            return self.count

    async def main():
        async with aio.Server({"counter": Counter}, f"unix:{home}/socket", state=False) as server:
            hubs = [await server.connect() for _ in range(2)]
            for expected in (1, 2):
                for hub in hubs:
                    assert await (await hub["counter"]).add() == expected
            for hub in hubs:
                await hub.close()

    run(main())


def test_each_of_two_loops_in_two_threads_runs_its_own_methods(home):
    def serve(name, met):
        async def main():
            thread = threading.get_ident()

            async def where():
                return threading.get_ident() == thread

            async with aio.Server({name: where}, f"unix:{home}/{name}", state=False):
                async with await aio.connect(f"unix:{home}/{name}") as hub:
                    await in_thread(met.wait, 60)
                    told = [await (await hub[name])() for _ in range(50)]
                    assert told == [True] * 50
                    await in_thread(met.wait, 60)
                outcomes.append(name)

        run(main())

    outcomes = []
    met = threading.Barrier(2)
    threads = [threading.Thread(target=serve, args=(name, met)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["a", "b"]


def test_a_method_whose_loop_is_closed_is_unavailable(home):
    async def offer():
        async def f():
            return 1

        return andiron.Server({"f": f}, f"unix:{home}/socket", state=False)

    with asyncio.run(offer()) as server, server.connect() as hub:
        f = hub["f"]
        with pytest.raises(andiron.UnavailableError, match=r"loop .* is closed; the method did not run"):
            f()


def test_an_asynchronous_generator_is_not_sent_without_a_loop(serve):
    async def items():
        yield 1

    hub = serve({"f": lambda x: x})
    with pytest.raises(andiron.EncodingError, match=r"send it from there, by `andiron\.aio`"):
        hub["f"](items())
    assert andiron.can_send(items())


def test_aio_serve_registers_where_a_server_runs_and_takes_over_when_it_goes(home):
    async def main():
        first = andiron.Server({"one": lambda: 1}, state=False)
        serving = asyncio.ensure_future(aio.serve({"two": lambda: 2}, state=False))
        async with await aio.connect(wait=30) as hub:
            assert await (await hub["two"])() == 2
            assert await hub.names() == ["one", "store", "two"]
        await in_thread(first.stop)
        async with await aio.connect(wait=30) as hub:
            assert await (await hub["two"])() == 2
            assert await hub.names() == ["store", "two"]
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    run(main())


@pytest.mark.parametrize(("left", "told"), [(0.0, andiron.DeadlineError), (5.0, andiron.CancelledError)])
def test_a_caller_that_still_listens_is_told_why_its_method_was_given_up(left, told):
    """That its time is over both ends find out, and the other one may be first."""
    errors = []

    class Answer:
        def context(self):
            return self

        def time_left(self):
            return left

        def on_cancel(self, hook):
            hook()

        def error(self, error):
            errors.append(error)

    async def main():
        _methods.go_on(asyncio.sleep(60), Answer())
        while not errors:
            await asyncio.sleep(0)

    run(main())
    assert [type(error) for error in errors] == [told]
