"""Signals, in-progress objects and coroutines of `andiron.compat.kaa_rpc`."""

import asyncio
import sys
import threading
import types

import pytest

import andiron
from andiron.compat import kaa_rpc as kaa
from andiron.compat._kaa import signals
from andiron.compat._kaa.turns import ThreadTurns
from kaa_house import LONG, House, happening


@pytest.fixture
def house(home):
    house = House()
    yield house
    house.close()


# Signals.


@pytest.mark.parametrize(
    ("connected", "opened", "closed"),
    [("client-connected", "open", "closed"), ("client_connected", "authenticated", "disconnected")],
)
def test_signals_have_the_names_of_both_generations(house, connected, opened, closed):
    server = house.server()
    came, channels = happening(server.signals[connected])
    client = house.client()
    is_open, _ = happening(client.signals[opened])
    is_closed, _ = happening(getattr(client.signals, closed))
    assert came.wait(LONG)
    assert is_open.wait(LONG)
    assert isinstance(channels[0], kaa.rpc.Channel)
    gone, _ = happening(channels[0].signals[closed])
    client.close()
    assert gone.wait(LONG)
    assert is_closed.wait(LONG)


def test_what_happened_meanwhile_is_told_to_the_first_who_connects(house):
    server, client = house.pair()
    came, channels = happening(server.signals["client-connected"])
    opened, _ = happening(client.signals["open"])
    assert came.wait(LONG)
    assert opened.wait(LONG)
    assert isinstance(channels[0], kaa.rpc.Channel)


def test_what_happened_long_ago_is_told_to_nobody(monkeypatch, house):
    monkeypatch.setattr(signals, "EARLY", 0.0)
    server, client = house.pair()
    told = []
    server.signals["client-connected"].connect(told.append)
    client.rpc("name").wait(LONG)
    server.close()
    assert told == []


def test_what_waits_for_clients_is_there_before_they_call(house):
    server = house.server()
    special = kaa.rpc.expose("special")(lambda: "only for this one")
    server.signals["client-connected"].connect(lambda channel: channel.register(special))
    clients = [house.client() for _ in range(5)]
    assert {client.rpc("special").wait(LONG) for client in clients} == {"only for this one"}


def test_what_waits_for_clients_may_call_them(house):
    server = house.server()
    answers = []
    server.signals["client-connected"].connect(
        lambda channel: answers.append(channel.rpc("hear", "hello").wait(LONG))
    )
    client = house.client()
    kaa.inprogress(client).wait(LONG)
    assert (house.ear.heard, answers) == (["hello"], [1])


def test_a_signal_calls_what_is_connected():
    signal, said = kaa.Signal(), []
    signal.connect(said.append)
    signal.connect(lambda *args: said.append(args), "more")
    signal.connect_once(lambda word: said.append("once"))
    signal.connect_first(lambda word: said.append("first"))
    assert signal.emit("a")
    assert said == ["first", "a", ("a", "more"), "once"]
    assert (len(signal), signal.count(), said.append in signal) == (3, 3, True)
    assert signal.disconnect(said.append)
    assert not signal.disconnect(said.append)
    signal.connect(lambda word: False)
    assert signal.emit("b") is False
    signal.disconnect_all()
    assert signal.emit("c")
    assert "c" not in said


def test_a_callback_that_raises_is_logged_and_stops_no_other(caplog):
    signal, said = kaa.Signal(), []
    signal.connect(lambda: [][0])
    signal.connect(said.append, "heard")
    assert signal.emit()
    assert said == ["heard"]
    assert "which a signal called, raised" in caplog.text


def test_what_is_connected_weakly_is_not_kept():
    class Hearer:
        def hear(self):
            heard.append(1)

    signal, hearer, heard = kaa.Signal(), Hearer(), []
    signal.connect_weak(hearer.hear)
    signal.emit()
    del hearer
    signal.emit()
    assert heard == [1]


def test_a_signal_takes_no_endless_number_of_callbacks():
    signal = kaa.Signal()
    for _ in range(1000):
        signal.connect(print)
    with pytest.raises(ValueError, match="disconnect those that are done"):
        signal.connect(print)


# In-progress objects.


def test_a_result_is_told_with_more_arguments(house):
    _, client = house.pair()
    told, said = happening(
        types.SimpleNamespace(connect=lambda hear: client.rpc("name").connect(hear, "extra"))
    )
    assert told.wait(LONG)
    assert said == ["player", "extra"]


def test_callbacks_of_a_channel_run_one_after_the_other(house):
    _, client = house.pair()
    threads, done = [], threading.Event()
    calls = [client.rpc("name") for _ in range(20)]
    for call in calls:
        call.connect(lambda _: threads.append(threading.current_thread().name))
    calls[-1].connect(lambda _: client.rpc("name").connect(lambda _: done.set()))
    assert done.wait(LONG)
    assert set(threads) == {"andiron-kaa_rpc"}


def test_a_callback_may_wait(house):
    _, client = house.pair()
    said, done = [], threading.Event()

    @kaa.coroutine()
    def inner():
        yield client.rpc("player.seek", 2)  # goes on on this thread, which waits

    def then(name):
        said.append(client.rpc("add_up", [1]).wait(LONG))
        said.append(inner().wait(LONG))
        done.set()

    client.rpc("name").connect(then)
    assert done.wait(LONG)
    assert said == [2, None]


def test_waiting_ends_in_time_and_the_call_goes_on(house):  # K17
    _, client = house.pair()
    call = client.rpc("block")
    with pytest.raises(kaa.TimeoutException) as raised:
        call.wait(0.01)
    assert raised.value.inprogress is call
    house.player.blocked.set()
    assert call.wait(LONG) is None


def test_a_call_that_is_out_of_time_can_be_given_up(house):  # K17
    _, client = house.pair()
    called = []
    call = client.rpc("forever")
    assert house.player.waiting.wait(LONG)
    limited = call.timeout(0.01, lambda: called.append(1), abort=True)
    with pytest.raises(kaa.TimeoutException):
        limited.wait(LONG)
    assert called == [1]
    assert call.failed
    assert not client._calls._running, "the call is forgotten"
    assert house.player.blocked.wait(LONG), "the coroutine at the other end was told"


def test_a_call_in_time_is_not_limited(house):
    _, client = house.pair()
    assert client.rpc("name").timeout(LONG).wait(LONG) == "player"
    with pytest.raises(IOError, match="there is none"):
        client.rpc("read", "/x").timeout(LONG).wait(LONG)


def test_a_call_is_given_up(house):
    _, client = house.pair()
    call = client.rpc("forever")
    assert house.player.waiting.wait(LONG)
    call.abort()
    with pytest.raises(kaa.InProgressAborted):
        call.wait(LONG)
    with pytest.raises(RuntimeError, match="finished already"):
        call.abort()
    assert house.player.blocked.wait(LONG)


def test_an_in_progress_object_is_finished_once():
    slow, said = kaa.InProgress(), []
    slow.connect_both(said.append, lambda *_: said.append("failed"))
    assert (slow.finished, slow.failed) == (False, False)
    with pytest.raises(RuntimeError, match="not finished"):
        slow.result
    with pytest.raises(RuntimeError, match="cannot be given up"):
        slow.abort()
    slow.finish(1)
    with pytest.raises(RuntimeError, match="finished already"):
        slow.finish(2)
    slow.connect(said.append)  # late, and told as well
    assert (slow.finished, slow.result, said) == (True, 1, [1, 1])


def test_an_in_progress_object_fails():
    slow, said = kaa.InProgress(), []
    slow.exception.connect(lambda cls, error, tb: said.append(cls))
    slow.connect(said.append)
    slow.throw(ValueError, ValueError("bad"), None)
    assert (slow.finished, slow.failed, said) == (True, True, [ValueError])
    with pytest.raises(ValueError, match="bad"):
        slow.result
    try:
        raise KeyError("here")
    except KeyError:
        other = kaa.InProgress()
        other.throw()
    with pytest.raises(KeyError, match="here"):
        other.wait(LONG)


def test_an_in_progress_object_waits_for_another():
    first, second = kaa.InProgress(), kaa.InProgress()
    first.finish(second)
    assert not first.finished
    second.finish(3)
    assert first.result == 3
    assert kaa.InProgress().execute(int, "7").result == 7
    with pytest.raises(ValueError, match="invalid literal"):
        kaa.InProgress().execute(int, "x").result
    with pytest.raises(RuntimeError, match="cannot be given up"):
        kaa.InProgress(True).noabort().abort()


def test_several_are_waited_for():
    slow = [kaa.InProgress() for _ in range(3)]
    first, every = kaa.InProgressAny(*slow), kaa.InProgressAll(iter_of(slow))
    filtered = kaa.InProgressAny(slow, finish=kaa.FINISH_RESULT, filter=lambda result: result == "b")
    slow[1].finish("b")
    assert first.result == (1, "b")
    assert not filtered.finished
    slow[0].finish("a")
    assert filtered.result == "a"
    assert not every.finished
    slow[2].finish("c")
    assert [each.result for each in every.result] == ["a", "b", "c"]
    assert kaa.InProgressAll().finished
    signals = kaa.Signals("one", "two")
    one = signals.subset("one", "two").any()
    signals["two"].emit("said")
    assert one.result == (1, "said")


@pytest.mark.parametrize("is_late", [True, False])
def test_the_results_of_all_tell_of_those_that_failed(is_late):
    good, bad = kaa.InProgress(), kaa.InProgress()
    every = kaa.InProgressAll(good, bad, finish=kaa.FINISH_RESULT) if is_late else None
    error = ValueError("broken")
    bad.throw(ValueError, error, None)
    good.finish(1)
    every = every or kaa.InProgressAll(good, bad, finish=kaa.FINISH_RESULT)
    assert every.wait(0) == [1, (ValueError, error, None)]


def iter_of(items):
    yield from items


def test_what_is_in_progress_of_something():
    signal = kaa.Signal()
    one = kaa.inprogress(signal)
    assert kaa.inprogress(one) is one
    signal.emit("next")
    assert one.result == "next"
    with pytest.raises(TypeError, match="nothing of a int"):
        kaa.inprogress(1)


def test_what_comes_behind_the_end_of_a_channel_is_done_as_well():
    turns, done, last = ThreadTurns(), [], threading.Event()
    turns.soon(done.append, 1)
    turns.close()
    assert done == [1]
    turns.soon(done.append, 2)
    turns.later(0, last.set)
    assert last.wait(LONG)
    assert done == [1, 2]


def test_what_waits_for_a_while_goes_on_behind_the_end_of_a_channel(house):
    server, client = house.pair()
    again = threading.Event()

    @kaa.coroutine()
    def reconnect():
        yield kaa.delay(0.01)
        again.set()

    client.signals["closed"].connect(reconnect)
    server.close()
    client.close()
    assert again.wait(LONG)


# Coroutines.


def test_a_coroutine_waits_and_gives_a_result():
    slow = kaa.InProgress()

    @kaa.coroutine()
    def work(end):
        first = yield slow
        again = yield kaa.InProgress().finish(first)
        yield kaa.NotFinished
        try:
            yield failing()
        except ValueError:
            if end == "return":
                return first + again
            yield first + again + 1
        raise AssertionError("it has ended")

    @kaa.coroutine()
    def failing():
        yield kaa.delay(0)
        raise ValueError("later")

    returned, yielded = work("return"), work("yield")
    assert not returned.finished
    slow.finish(20)
    assert (returned.wait(LONG), yielded.wait(LONG)) == (40, 41)


def test_a_coroutine_raises_at_once_what_it_raises_at_once():
    @kaa.coroutine()
    def work():
        raise ValueError("at once")
        yield

    with pytest.raises(ValueError, match="at once"):
        work()
    with pytest.raises(TypeError, match="no generator"):
        kaa.coroutine()(lambda: 1)()


def test_a_coroutine_is_no_part_of_the_call_that_it_waited_for(house):
    server, client = house.pair()
    finished = kaa.InProgress()
    server.register(kaa.rpc.expose("finish")(lambda: finished.finish() and None))

    @kaa.coroutine()
    def work():
        yield finished
        yield andiron.caller()

    working = work()
    client.rpc("finish").wait(LONG)
    assert working.wait(LONG) is None


def test_a_coroutine_is_given_up_with_what_it_waits_for():
    inner = kaa.InProgress(abortable=True)
    ended = []

    @kaa.coroutine()
    def work():
        try:
            yield inner
        finally:
            ended.append("cleaned up")

    running = work()
    running.abort()
    assert ended == ["cleaned up"]
    assert inner.failed
    with pytest.raises(kaa.InProgressAborted):
        running.wait(LONG)


# asyncio.


def test_a_loop_awaits_calls_and_runs_callbacks(house):
    async def work():
        server = house.server()
        loop = threading.get_ident()
        came = asyncio.get_running_loop().create_future()
        server.signals["client-connected"].connect(lambda _: came.set_result(threading.get_ident()))
        client = house.client()
        assert await kaa.inprogress(client) is client
        assert await came == loop
        assert await client.rpc("ask_back", 4) == 8
        told = asyncio.get_running_loop().create_future()
        client.rpc("name").connect(lambda name: told.set_result((name, threading.get_ident())))
        assert await told == ("player", loop)
        with pytest.raises(FileNotFoundError):
            await client.rpc("read", "/x")
        forever = client.rpc("forever")
        assert house.player.waiting.wait(LONG)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(forever, 0.01)
        assert house.player.blocked.wait(LONG), "who gives up the task gives up the call"

    asyncio.run(work())


# The main loop that there is not.


def test_a_program_waits_in_place_of_a_main_loop(house):
    server, client = house.pair()
    server.register(kaa.rpc.expose("quit")(lambda: kaa.main.stop()))
    threading.Timer(0, client.rpc, ["quit"]).start()
    kaa.main.run()
    assert not kaa.main.is_running()


def test_a_callback_that_ends_the_program_ends_the_wait(house):
    server, client = house.pair()
    client.signals["closed"].connect(sys.exit)
    threading.Timer(0, server.close).start()
    kaa.main.run()
    assert not kaa.main.is_running()


def test_a_callback_that_ends_the_program_ends_the_loop(house):
    async def work():
        server, client = house.server(), house.client()
        await kaa.inprogress(client)
        client.signals["closed"].connect(sys.exit, 3)
        server.close()
        await asyncio.sleep(LONG)

    with pytest.raises(SystemExit) as raised:
        asyncio.run(work())
    assert raised.value.code == 3
