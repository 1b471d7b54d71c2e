"""Programs of `kaa.rpc` by `andiron.compat.kaa_rpc`, and what must not come back of its faults."""

import asyncio
import errno
import logging
import os
import socket
import threading
import types

import pytest

import andiron
from andiron.compat import kaa_rpc as kaa
from andiron.compat._kaa import proof
from andiron.compat._kaa.addresses import Place
from andiron.compat._kaa.calls import End

#: Seconds in which everything here is there, unless it is broken.
LONG = 30


class Player:
    """What a server offers."""

    def __init__(self):
        self.noted = []
        self.blocked = threading.Event()
        self.waiting = threading.Event()

    @property
    def broken(self):
        raise AssertionError("nobody asked for it")

    @kaa.rpc.expose("player.seek")
    def seek(self, seconds):
        return seconds

    @kaa.rpc.expose()
    def name(self):
        return "player"

    @kaa.rpc.expose("note")
    def note_it(self, word):
        self.noted.append(word)

    @kaa.rpc.expose(add_client=True)
    def ask_back(self, client, number):
        return client.rpc("double", number)

    @kaa.rpc.expose(add_client=True, coroutine=True)
    def add_up(self, client, numbers):
        total = 0
        for number in numbers:
            total += yield client.rpc("double", number)
        yield total

    @kaa.rpc.expose(coroutine=True)
    def forever(self):
        self.waiting.set()
        try:
            yield kaa.InProgress()
        except kaa.InProgressAborted:
            self.blocked.set()

    @kaa.rpc.expose()
    def read(self, path):
        raise FileNotFoundError(errno.ENOENT, "there is none", path)

    @kaa.rpc.expose()
    def leave(self):
        raise SystemExit(3)

    @kaa.rpc.expose()
    def unsendable(self):
        return threading.Lock()

    @kaa.rpc.expose(coroutine=True)
    def unsendable_later(self):
        yield kaa.delay(0)
        yield threading.Lock()

    @kaa.rpc.expose()
    def raises_unsendable(self):
        raise ValueError(threading.Lock())

    @kaa.rpc.expose()
    def block(self):
        self.waiting.set()
        self.blocked.wait(LONG)

    def secret(self):
        return "not exposed"


class Ear:
    """What a client offers."""

    def __init__(self):
        self.heard = []

    @kaa.rpc.expose()
    def double(self, number):
        return 2 * number

    @kaa.rpc.expose()
    def hear(self, word):
        self.heard.append(word)
        return len(self.heard)


class House:
    """Servers and clients that are closed behind a test."""

    def __init__(self):
        self.player = Player()
        self.ear = Ear()
        self._open = []

    def server(self, address="beacon", *args, **options):
        server = kaa.rpc.Server(address, *args, **options)
        self._open.append(server)
        server.register(self.player)
        return server

    def client(self, address="beacon", *args, **options):
        client = kaa.rpc.Client(address, *args, **options)
        self._open.append(client)
        client.register(self.ear)
        return client

    def pair(self, *args, **options):
        server = self.server("beacon", *args, **options)
        client = self.client("beacon", *args, **options)
        kaa.inprogress(client).wait(LONG)
        return server, client

    def close(self):
        self.player.blocked.set()
        for each in reversed(self._open):
            each.close()


@pytest.fixture
def house(home):
    house = House()
    yield house
    house.close()


def happening(signal, *names):
    """An event, and what the signal says."""
    happened = threading.Event()
    said = []

    def hear(*args):
        said.extend(args)
        happened.set()

    signal.connect(hear)
    return happened, said


# Calls.


def test_functions_are_called_by_their_exposed_names(house):
    _, client = house.pair()
    assert client.rpc("player.seek", 12.5).wait(LONG) == 12.5
    assert client.rpc("player.seek", seconds=1).wait(LONG) == 1
    assert client.rpc("name").wait(LONG) == "player"
    for unknown in ("seek", "secret", "note_it"):
        with pytest.raises(KeyError, match="no function is exposed as"):
            client.rpc(unknown).wait(LONG)


def test_each_end_calls_the_other(house):
    server = house.server()
    channels = []
    server.signals["client-connected"].connect(channels.append)
    client = house.client()
    kaa.inprogress(client).wait(LONG)
    assert [channel.rpc("double", 4).wait(LONG) for channel in channels] == [8]
    assert client.rpc("ask_back", 5).wait(LONG) == 10, "a function may answer with a call that is not finished"


def test_a_coroutine_is_exposed(house):
    _, client = house.pair()
    assert client.rpc("add_up", [1, 2, 3]).wait(LONG) == 12


def test_a_function_and_a_module_are_registered_as_well(house):
    server, client = house.pair()
    module = types.ModuleType("module")

    @kaa.rpc.expose("one")
    def one():
        return 1

    @kaa.rpc.expose()
    def two():
        return 2

    module.two, module._hidden, module.three = two, kaa.rpc.expose("hidden")(lambda: 0), lambda: 3
    server.register(one)
    server.connect(module)  # its name before
    assert (client.rpc("one").wait(LONG), client.rpc("two").wait(LONG)) == (1, 2)
    with pytest.raises(KeyError):
        client.rpc("hidden").wait(LONG)
    server.disconnect(one)
    server.disconnect(one)  # what is not there is left alone
    with pytest.raises(KeyError):
        client.rpc("one").wait(LONG)
    assert server.objects == [house.player, module]


def test_the_latest_of_a_name_is_called(house):
    server, client = house.pair()
    newer = kaa.rpc.expose("name")(lambda: "newer")
    server.register(newer)
    assert client.rpc("name").wait(LONG) == "newer"
    server.disconnect(newer)
    assert client.rpc("name").wait(LONG) == "player"


def test_calls_that_wait_fail_with_the_attempt(house):
    client = house.client(retry=LONG)
    try:
        waits = client.rpc("name")
    except kaa.NotConnectedError:
        return  # it has failed already
    with pytest.raises(IOError, match="no server"):
        waits.wait(LONG)


def test_calls_that_wait_are_made_in_their_order(house):
    house.server()
    client = house.client()
    for number in range(50):
        client.rpc("note", number)
    client.rpc("name").wait(LONG)
    assert house.player.noted == list(range(50))


def test_arguments_of_all_names_are_passed_on(house):  # K16
    server, client = house.pair()
    server.register(kaa.rpc.expose("keywords")(lambda **kwargs: kwargs))
    given = {"cmd": 1, "self": 2, "_kaa_rpc_callback": 3, "number": 4}
    assert client.rpc("keywords", **given).wait(LONG) == given


def test_messages_of_any_size_go_both_ways(house):  # K1
    _, client = house.pair()
    big = os.urandom(5 << 20)
    assert client.rpc("player.seek", big).wait(LONG) == big


def test_thousands_of_calls_are_under_way_at_once(house):  # K1
    _, client = house.pair()
    calls = [client.rpc("player.seek", b"x" * 1000) for _ in range(2000)]
    assert {call.wait(LONG) for call in calls} == {b"x" * 1000}
    assert not client._calls._running


def test_a_result_that_cannot_be_sent_is_an_error(house):  # K2
    _, client = house.pair()
    for command in ("unsendable", "unsendable_later"):
        with pytest.raises(TypeError, match="lock"):
            client.rpc(command).wait(LONG)
    with pytest.raises(ValueError, match="lock"):
        client.rpc("raises_unsendable").wait(LONG)
    with pytest.raises(TypeError, match="lock"):
        client.rpc("name", threading.Lock())


def test_a_blocking_function_stops_no_other(house):  # K11
    _, client = house.pair()
    other = house.client()
    blocked = client.rpc("block")
    assert house.player.waiting.wait(LONG)
    assert client.rpc("name").wait(LONG) == "player"
    assert other.rpc("name").wait(LONG) == "player"
    assert not blocked.finished
    house.player.blocked.set()
    assert blocked.wait(LONG) is None


def test_an_answer_to_no_call_is_left_alone(house):  # K6
    _, client = house.pair()
    far = client._calls._far
    far["answer"](12345, "surprise")
    far["fail"](12345, ["application", "surprise", "ValueError", [], [], {}])
    far["abort"](12345)
    with pytest.raises(TypeError):
        far["call"]("nonsense")
    assert client.rpc("name").wait(LONG) == "player"  # K7


# Errors.


def test_an_exception_is_of_the_class_that_was_raised(house):  # K15
    _, client = house.pair()
    try:
        client.rpc("read", "/x").wait(LONG)
    except IOError as error:
        assert (error.errno, error.filename, error.args) == (errno.ENOENT, "/x", (errno.ENOENT, "there is none"))
        assert isinstance(error, FileNotFoundError)
        assert isinstance(error, kaa.rpc.RemoteException)
        said = str(error)
    assert said.startswith("Exception during RPC call 'read'; remote traceback follows:\nTraceback")
    assert "in read" in said
    assert said.endswith("FileNotFoundError: [Errno 2] there is none: '/x'")
    with pytest.raises(kaa.rpc.RemoteException, match="missing 1 required positional argument"):
        client.rpc("player.seek").wait(LONG)


def test_an_exception_stays_what_it_is_on_its_way_through_others(house):
    server, client = house.pair()

    @kaa.rpc.expose(add_client=True)
    def fail(channel):
        return channel.rpc("fail_there")

    @kaa.rpc.expose(add_client=True)
    def fail_at_once(channel):
        return channel.rpc("fail_there").wait(LONG)

    @kaa.rpc.expose()
    def fail_there():
        raise ZeroDivisionError("there")

    server.register(fail)
    server.register(fail_at_once)
    client.register(fail_there)
    for command in ("fail", "fail_at_once"):
        with pytest.raises(ZeroDivisionError, match="in fail_there"):
            client.rpc(command).wait(LONG)


def test_a_function_that_ends_the_program_only_fails(house):  # K13
    _, client = house.pair()
    with pytest.raises(andiron.RemoteError, match="SystemExit"):
        client.rpc("leave").wait(LONG)
    assert client.rpc("name").wait(LONG) == "player"


def test_a_failure_that_nobody_looks_at_is_logged(house, caplog):
    _, client = house.pair()
    client.rpc("read", "/unseen")
    client.rpc("read", "/handled").exception.connect(lambda *_: False)
    client.rpc("name").wait(LONG)
    client.rpc("name").wait(LONG)  # behind those that were told before
    client.close()
    said = [record.exc_info[1].filename for record in caplog.records if record.exc_info]
    assert said == ["/unseen"]


# The connection.


def test_a_wrong_secret_is_told_at_both_ends(house, caplog):  # K3
    house.server(auth_secret="right")
    client = house.client(auth_secret="wrong")
    with pytest.raises(andiron.AuthenticationError, match="give both the same one"):
        kaa.inprogress(client).wait(LONG)
    assert client.status == kaa.DISCONNECTED
    assert not client.connected
    said = [record.getMessage() for record in caplog.records]
    assert any("a client of kaa_rpc was refused" in line for line in said)
    with pytest.raises(kaa.NotConnectedError):
        client.rpc("name")


def test_with_a_wrong_secret_it_is_tried_again(house):  # K3
    wrong = house.server(auth_secret="right")
    client = house.client(auth_secret="other", retry=0.01)
    with pytest.raises(andiron.AuthenticationError):
        kaa.inprogress(client).wait(LONG)
    opened, _ = happening(client.signals["open"])
    wrong.close()
    house.server(auth_secret="other")
    assert opened.wait(LONG)


def test_a_server_that_is_none_of_it_is_told(house):
    with andiron.Server({}, "beacon", state=False):
        client = house.client()
        with pytest.raises(IOError, match="none of kaa_rpc"):
            kaa.inprogress(client).wait(LONG)


def test_a_server_that_dies_meanwhile_fails_what_waits(house):  # K3
    door = threading.Event()

    class Dying:
        @andiron.expose
        def greet(self, _):
            door.set()
            andiron.caller().close()

    with andiron.Server({proof.DOOR: Dying()}, "beacon", state=False, threads=2):
        client = house.client()
        waits = client.rpc("name")
        with pytest.raises(IOError, match="."):
            kaa.inprogress(client).wait(LONG)
        with pytest.raises(IOError, match="."):
            waits.wait(LONG)
    assert door.is_set()


def test_no_server_is_told(house):
    client = house.client()
    with pytest.raises(IOError, match="no server at"):
        kaa.inprogress(client).wait(LONG)


def test_a_client_connects_again_until_it_is_closed(house):  # K4
    server = house.server()
    client = house.client(retry=0.01)
    assert client.monitoring
    kaa.inprogress(client).wait(LONG)
    closed, _ = happening(client.signals["closed"])
    server.close()
    assert closed.wait(LONG)
    house.server()
    kaa.inprogress(client).wait(LONG)
    assert client.status == kaa.CONNECTED
    assert client.rpc("ask_back", 1).wait(LONG) == 2, "what was registered is there again"
    client.close()
    assert client.status == kaa.DISCONNECTED
    assert not client._thread.is_alive(), "nobody is left that could connect again"
    with pytest.raises(kaa.NotConnectedError):
        client.rpc("name")


def test_what_is_registered_later_is_there_for_open_channels(house):  # K5
    server, client = house.pair()
    server.register(kaa.rpc.expose("late")(lambda: "here"))
    assert client.rpc("late").wait(LONG) == "here"


def test_a_server_that_is_closed_serves_nobody(house):  # K5
    server = house.server()
    channels = []
    server.signals["client-connected"].connect(channels.append)
    client = house.client()
    kaa.inprogress(client).wait(LONG)
    closed, _ = happening(client.signals["closed"])
    server.close()
    assert closed.wait(LONG)
    assert not channels[0].connected
    with pytest.raises(kaa.NotConnectedError):
        client.rpc("name")


def test_calls_under_way_fail_when_the_channel_is_closed(house):
    _, client = house.pair()
    call = client.rpc("forever")
    failed, said = happening(call.exception)
    client.close()
    assert failed.wait(LONG)
    assert issubclass(said[0], IOError)
    with pytest.raises(IOError, match="the channel was closed"):
        call.wait(LONG)


def test_a_channel_is_closed_by_the_server(house):
    server, client = house.pair()
    server.register(kaa.rpc.expose("bye", add_client=True)(lambda channel: channel.close()))
    closed, _ = happening(client.signals["closed"])
    with pytest.raises(IOError, match="."):
        client.rpc("bye").wait(LONG)
    assert closed.wait(LONG)


def test_a_function_may_close_its_server(house):
    server, client = house.pair()
    server.register(kaa.rpc.expose("stop")(lambda: server.close()))
    closed, _ = happening(client.signals["closed"])
    client.rpc("stop")
    assert closed.wait(LONG)


def test_who_is_not_connected_is_told_in_any_thread(house):  # K14
    client = house.client()
    with pytest.raises(IOError, match="no server"):
        kaa.inprogress(client).wait(LONG)
    raised = []

    def call():
        try:
            client.rpc("name")
        except kaa.NotConnectedError as error:
            raised.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(LONG)
    assert raised == ["'name' cannot be called: the channel is not connected"]


def test_no_thread_is_left_behind(house):
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "andiron-kaa_rpc"]

    before = threads()
    server, client = house.pair()
    client.rpc("ask_back", 1).connect(house.player.noted.append)
    client.rpc("forever").timeout(LONG).exception.connect(lambda *_: False)
    assert len(threads()) > len(before)
    client.close()
    server.close()
    assert threads() == before


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


def test_what_waits_for_clients_is_there_before_they_call(house):
    server = house.server()
    special = kaa.rpc.expose("special")(lambda: "only for this one")
    server.signals["client-connected"].connect(lambda channel: channel.register(special))
    clients = [house.client() for _ in range(5)]
    assert {client.rpc("special").wait(LONG) for client in clients} == {"only for this one"}


def test_what_waits_for_clients_may_call_them(house):
    server = house.server()
    answers = []
    server.signals["client-connected"].connect(lambda channel: answers.append(channel.rpc("hear", "hello").wait(LONG)))
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
    told, said = happening(types.SimpleNamespace(connect=lambda hear: client.rpc("name").connect(hear, "extra")))
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

    def then(name):
        client.rpc("player.seek", 1).connect(said.append)
        said.append(client.rpc("add_up", [1]).wait(LONG))
        inner = kaa.coroutine()(lambda: (yield client.rpc("player.seek", 2)))()
        said.append(inner.wait(LONG))  # which goes on, on this thread
        done.set()

    client.rpc("name").connect(then)
    assert done.wait(LONG)
    assert sorted(said, key=str) == [1, 2, None] or said[0] in (1, 2)


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


def iter_of(items):
    yield from items


def test_what_is_in_progress_of_something():
    assert kaa.inprogress(kaa.inprogress(signal := kaa.Signal())).finished is False
    one = kaa.inprogress(signal)
    signal.emit("next")
    assert one.result == "next"
    with pytest.raises(TypeError, match="nothing of a int"):
        kaa.inprogress(1)


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


# Who may connect.


class Rogue:
    """A server that does not know the secret."""

    def __init__(self, prove):
        self.prove = prove
        self.shown = []
        self.ends = []

    def door(self):
        rogue = self

        @andiron.expose
        class Gate:
            def prove(self, shown):
                rogue.shown.append(shown)
                return rogue.prove(shown)

            def open(self, end):
                rogue.ends.append(end)

        @andiron.expose
        class Door:
            def greet(self, of_client):
                return of_client, Gate()  # its own number given back

        return Door()


@pytest.mark.parametrize("prove", [lambda shown: shown, lambda shown: b"", lambda shown: None, lambda shown: "x" * 32])
def test_a_server_without_the_secret_learns_nothing_and_calls_nothing(house, prove):  # K12
    rogue = Rogue(prove)
    with andiron.Server({proof.DOOR: rogue.door()}, "beacon", state=False, threads=2):
        client = house.client(auth_secret="secret")
        with pytest.raises(andiron.AuthenticationError, match="the server has not proved"):
            kaa.inprogress(client).wait(LONG)
    assert rogue.shown
    assert rogue.ends == []


def test_the_proof_of_one_client_is_none_of_a_server(house):  # K12
    """It lets two clients answer each other's numbers, as a rogue server could."""
    of_one, of_other = os.urandom(32), os.urandom(32)
    shown = proof._proof("secret", "client", of_one, of_other)
    assert not proof._is_proof(shown, proof._proof("secret", "server", of_one, of_other))
    assert not proof._is_proof(shown, proof._proof("secret", "client", of_other, of_one))
    assert proof._is_proof(shown, proof._proof("secret", "client", of_one, of_other))


def test_a_client_without_the_secret_gets_no_further(house):
    house.server(auth_secret="secret")
    hub = andiron.connect("beacon")
    number, gate = hub[proof.DOOR].greet(os.urandom(32))
    assert len(number) == 32
    with pytest.raises(PermissionError):
        gate.open(End(None, None))
    with pytest.raises(PermissionError):
        gate.prove(b"wrong")
    with pytest.raises(PermissionError):
        gate.prove(b"")  # and there is no second try
    with pytest.raises(TypeError):
        hub[proof.DOOR].greet(b"short")
    hub.close()


def test_nothing_that_is_sent_is_executed(house):  # K10
    class Bad:
        def __reduce__(self):
            return os.abort, ()

    _, client = house.pair()
    with pytest.raises(TypeError, match="no value that travels"):
        client.rpc("player.seek", Bad())


def test_a_password_does_not_leave_this_machine(home):  # K10
    for server in (True, False):
        for address in ("0.0.0.0:4444", ("example.org", 4444), "tls://example.org:4444"):
            with pytest.raises(ValueError, match="andiron secret new"):
                Place(address, "password", server)
    with pytest.raises((andiron.Error, ValueError), match="secret"):
        kaa.rpc.Server(("0.0.0.0", free_port()))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("form", [lambda port: port, lambda port: f"127.0.0.1:{port}", lambda port: ("localhost", port)])
def test_a_port_is_one_of_this_machine(house, form):
    port = free_port()
    server = house.server(form(port), "password")
    assert "tls" not in server.addresses[0]
    client = house.client(port, "password")
    assert client.rpc("name").wait(LONG) == "player"
    with pytest.raises(OSError, match=".") as taken:
        kaa.rpc.Server(form(port), "password")
    assert taken.value.errno == errno.EADDRINUSE


def test_a_taken_name_is_an_error(house):
    house.server()
    with pytest.raises(OSError, match=".") as taken:
        kaa.rpc.Server("beacon")
    assert taken.value.errno == errno.EADDRINUSE


SECRET = "andiron1-"


@pytest.mark.parametrize(
    ("address", "listens", "secret", "written"),
    [
        ("beacon", True, "", "beacon"),
        ("vfs/beacon socket", True, "", "vfs-beacon-socket"),
        ("/run/x", False, "pw", "unix:/run/x"),
        ("unix:/run/x", False, "pw", "unix:/run/x"),
        (4444, True, "", "tcp://127.0.0.1:4444"),
        (4444, True, "secret", "tls://0.0.0.0:4444"),
        (4444, False, "secret", "tls://127.0.0.1:4444"),
        ("127.0.0.1:4444", True, "secret", "tcp://127.0.0.1:4444"),
        ("192.168.1.5:4444", False, "secret", "tls://192.168.1.5:4444"),
        ("localhost:http", True, "", "tcp://localhost:80"),
        ("[::1]:4444", True, "", "tcp://[::1]:4444"),
        ("[fe80::1]:4444%eth0", False, "secret", "tls://[fe80::1%eth0]:4444"),
        (("", 4444), True, "", "tcp://127.0.0.1:4444"),
        (("::1", 4444, 0, 0), True, "", "tcp://[::1]:4444"),
        ("tls://box:1", False, "secret", "tls://box:1"),
    ],
)
def test_addresses_are_written_as_before(tmp_path, address, listens, secret, written):
    if secret == "secret":
        secret = tmp_path / "secret"
        secret.touch()
    assert Place(address, secret, listens).address == written


@pytest.mark.parametrize("address", ["::1", "1.2.3.4", "a:b:c", None, ("a",), "", 1.5])
def test_what_is_no_address_is_told(address):
    with pytest.raises(ValueError, match="is no address"):
        Place(address, "", True)


def test_a_secret_is_used_as_such(house, tmp_path):
    if andiron.engine != "native":
        pytest.skip("a server of TLS in Python alone has to be given a certificate")
    from andiron._pure.transport.secret import Secret

    text = Secret.new().text()
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(0o600)
    server = house.server("tls://127.0.0.1:0", text)
    client = house.client(server.addresses[0], path)
    assert client.rpc("name").wait(LONG) == "player"
    other = house.client(server.addresses[0], Secret.new().text())
    with pytest.raises(andiron.AuthenticationError):
        kaa.inprogress(other).wait(LONG)


# The main loop that there is not.


def test_a_program_waits_in_place_of_a_main_loop(house):
    server, client = house.pair()
    server.register(kaa.rpc.expose("quit")(lambda: kaa.main.stop()))
    threading.Timer(0, client.rpc, ["quit"]).start()
    kaa.main.run()
    assert not kaa.main.is_running()


logging.getLogger("andiron").setLevel(logging.INFO)
