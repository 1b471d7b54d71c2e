"""What calls by `andiron.compat.kaa_rpc` fail with."""

import errno
import threading

import pytest

import andiron
from andiron.compat import kaa_rpc as kaa
from kaa_house import LONG, House


@pytest.fixture
def house(home):
    house = House()
    yield house
    house.close()


@pytest.mark.parametrize("is_open", [True, False])
def test_what_is_in_the_way_is_told_as_the_caller_counts(house, is_open):
    server, client = house.pair()
    lock = threading.Lock()
    server.register(kaa.rpc.expose("list")(lambda: [1, lock]))
    server.register(kaa.rpc.expose("list_later")(lambda: made_later(lock)))
    for command, part in [
        ("unsendable", ""),
        ("unsendable_later", ""),
        ("list", r": at \[1\]"),
        ("list_later", r": at \[0\]"),
    ]:
        with pytest.raises(
            andiron.EncodingError, match=f"{command}: the result cannot be sent{part}: _thread.lock is"
        ):
            client.rpc(command).wait(LONG)
    if not is_open:
        client._calls._far, client._calls._waiting = None, []
    with pytest.raises(
        andiron.EncodingError, match=r"^an argument cannot be sent: at argument 2\[0\]: _thread"
    ):
        client.rpc("name", 1, [lock])
    with pytest.raises(
        andiron.EncodingError, match=r"^an argument cannot be sent: at argument `word`: _thread"
    ):
        client.rpc("name", word=lock)
    with pytest.raises(TypeError, match="named by a str, not by None"):
        client.rpc(None)


@kaa.coroutine()
def made_later(lock):
    yield kaa.delay(0)
    yield [lock]


def test_an_exception_is_of_the_class_that_was_raised(house):  # K15
    _, client = house.pair()
    with pytest.raises(IOError, match="there is none") as raised:
        client.rpc("read", "/x").wait(LONG)
    error, said = raised.value, str(raised.value)
    assert (error.errno, error.filename, error.args) == (errno.ENOENT, "/x", (errno.ENOENT, "there is none"))
    assert isinstance(error, FileNotFoundError)
    assert isinstance(error, kaa.rpc.RemoteException)
    assert said.startswith("Exception during RPC call 'read'; remote traceback follows:\nTraceback")
    assert "in read" in said
    assert said.endswith("FileNotFoundError: [Errno 2] there is none: '/x'")
    with pytest.raises(kaa.rpc.RemoteException, match="missing 1 required positional argument"):
        client.rpc("player.seek").wait(LONG)


def test_an_exception_of_this_module_is_of_its_class_as_well(house):
    server, client = house.pair()
    gone = house.client()
    gone.close()

    @kaa.coroutine()
    def late():
        yield kaa.InProgress().timeout(0.001)

    def given_up():
        raise kaa.InProgressAborted("it went")

    for name, function in [("late", late), ("given_up", given_up), ("gone", lambda: gone.rpc("name"))]:
        server.register(kaa.rpc.expose(name)(function))
    with pytest.raises(kaa.TimeoutException) as raised:
        client.rpc("late").wait(LONG)
    assert raised.value.message == "it was not finished within 0.001 seconds"
    with pytest.raises(kaa.InProgressAborted) as raised:
        client.rpc("given_up").wait(LONG)
    assert raised.value.inprogress is None
    with pytest.raises(kaa.NotConnectedError) as raised:
        client.rpc("gone").wait(LONG)
    assert isinstance(raised.value, kaa.RemoteException)


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
