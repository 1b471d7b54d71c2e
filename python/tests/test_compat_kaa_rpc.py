"""Programs of `kaa.rpc` by `andiron.compat.kaa_rpc`, and what must not come back of its faults."""

import errno
import logging
import os
import queue
import socket
import threading
import types

import pytest

import andiron
from andiron.compat import kaa_rpc as kaa
from andiron.compat._kaa import functions, proof
from andiron.compat._kaa.addresses import Place
from andiron.compat._kaa.calls import End
from conftest import free_port, needs_unix
from kaa_house import LONG, House, happening


@pytest.fixture
def house(home):
    house = House()
    yield house
    house.close()


# Calls.


@pytest.fixture
def late(monkeypatch):
    """Has nothing waited for that is about to be registered."""
    monkeypatch.setattr(functions, "EARLY", 0.0)


def test_functions_are_called_by_their_exposed_names(late, house):
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
    assert client.rpc("ask_back", 5).wait(LONG) == 10, (
        "a function may answer with a call that is not finished"
    )


def test_a_coroutine_is_exposed(house):
    _, client = house.pair()
    assert client.rpc("add_up", [1, 2, 3]).wait(LONG) == 12


def test_a_function_and_a_module_are_registered_as_well(late, house):
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


def test_a_method_is_registered_alone(late, house):
    server, client = house.pair()
    server.disconnect(house.player)
    server.register(house.player.name)
    assert client.rpc("name").wait(LONG) == "player"
    with pytest.raises(KeyError):
        client.rpc("read").wait(LONG)


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


def test_functions_that_wait_for_each_other_go_on(house):
    server, client = house.pair()

    @kaa.rpc.expose(add_client=True)
    def deep(channel, number):
        return 1 + channel.rpc("deep", number - 1).wait(LONG) if number else 0

    server.register(deep)
    client.register(deep)
    assert [call.wait(LONG) for call in [client.rpc("deep", 2) for _ in range(100)]] == [2] * 100


class Logged(logging.Handler):
    """Tells what is logged with an exception."""

    def __init__(self):
        super().__init__()
        self.errors = queue.Queue()

    def emit(self, record):
        if record.exc_info:
            self.errors.put(record.exc_info[1])


@pytest.fixture
def logged():
    logged = Logged()
    logging.getLogger("andiron").addHandler(logged)
    yield logged.errors
    logging.getLogger("andiron").removeHandler(logged)


def test_a_failure_that_nobody_looks_at_is_logged(house, logged):
    _, client = house.pair()
    handled = threading.Event()
    client.rpc("read", "/handled").exception.connect(lambda *_: handled.set() or False)
    assert handled.wait(LONG)
    client.rpc("read", "/unseen")
    assert logged.get(timeout=LONG).filename == "/unseen"


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
    called = threading.Event()

    class Dying:
        @andiron.expose
        def greet(self, _):
            called.wait(LONG)
            andiron.caller().close()

    with andiron.Server({proof.DOOR: Dying()}, "beacon", state=False, threads=2):
        client = house.client()
        waits = client.rpc("name")
        called.set()
        with pytest.raises(IOError, match=r"."):
            kaa.inprogress(client).wait(LONG)
        with pytest.raises(IOError, match=r"."):
            waits.wait(LONG)


def test_calls_wait_for_the_next_attempt_as_well(house):
    tries, goes_on = [], threading.Event()
    again = threading.Event()

    class Doubting:
        @andiron.expose
        def greet(self, _):
            tries.append(1)
            if len(tries) > 1:
                again.set()
                goes_on.wait(LONG)
            andiron.caller().close()

    with andiron.Server({proof.DOOR: Doubting()}, "beacon", state=False, threads=2):
        client = house.client(retry=0.01)
        assert again.wait(LONG)
        assert client.status == kaa.CONNECTING
        waits = client.rpc("name")
        assert not waits.finished
        client.close()
        goes_on.set()
    with pytest.raises(IOError, match="the channel was closed"):
        waits.wait(LONG)


def test_no_server_is_told(house):
    client = house.client()
    with pytest.raises(IOError, match=r"^no server at 'beacon': start it first$"):
        kaa.inprogress(client).wait(LONG)
    client._thread.join(LONG)
    assert not client._thread.is_alive(), "without `retry` nothing is tried again"


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


def test_calls_under_way_fail_when_the_server_goes(house):
    server, client = house.pair()
    calls = [client.rpc(command) for command in ("forever", "block")]
    assert house.player.waiting.wait(LONG)
    client.rpc("name").wait(LONG)
    house.player.blocked.set()
    server.close()
    with pytest.raises(IOError, match=r"."):
        calls[0].wait(LONG)
    assert calls[1].wait(LONG) is None, "what was answered is told, though the end came behind it"
    assert not client._calls._running


def test_what_is_registered_at_once_is_there_for_the_first_call(house):
    server = kaa.rpc.Server("beacon")
    house._open.append(server)
    client = house.client()
    waits = client.rpc("late")
    kaa.inprogress(client).wait(LONG)
    server.register(kaa.rpc.expose("late")(lambda: "here"))
    assert waits.wait(LONG) == "here"


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
    with pytest.raises(IOError, match=r"."):
        client.rpc("bye").wait(LONG)
    assert closed.wait(LONG)


def test_a_function_may_close_its_server(house):
    server, client = house.pair()
    server.register(kaa.rpc.expose("stop")(lambda: server.close()))
    closed, _ = happening(client.signals["closed"])
    client.rpc("stop").wait(LONG)  # its caller is answered
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
        return {thread for thread in threading.enumerate() if thread.name == "andiron-kaa_rpc"}

    before = threads()
    server, client = house.pair()
    called, _ = happening(client.rpc("ask_back", 1))
    assert called.wait(LONG)
    client.rpc("forever").timeout(LONG).exception.connect(lambda *_: False)
    of_channels = {client._thread, client._turns._thread}
    assert of_channels <= threads() - before
    client.close()
    server.close()
    assert not of_channels & threads(), "to close a channel waits for its threads"
    for thread in threads() - before:  # that of all channels, which have nothing more to do
        thread.join(LONG)
    assert threads() <= before


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


@pytest.mark.parametrize(
    "prove", [lambda shown: shown, lambda shown: b"", lambda shown: None, lambda shown: "x" * 32]
)
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
    of_client = os.urandom(32)
    of_server, gate = hub[proof.DOOR].greet(of_client)
    with pytest.raises(PermissionError):
        gate.open(End(None, None))
    with pytest.raises(PermissionError):
        gate.prove(b"wrong")
    with pytest.raises(PermissionError):  # and there is no second try
        gate.prove(proof._proof("secret", "client", of_client, of_server))
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


def test_a_password_does_not_leave_this_machine(home, monkeypatch):  # K10
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))  # where there is no secret
    for server in (True, False):
        for address in ("0.0.0.0:4444", ("example.org", 4444), "tls://example.org:4444"):
            with pytest.raises(ValueError, match="andiron secret new"):
                Place(address, "password", server)
    with pytest.raises(andiron.AuthenticationError, match=r"give it to both ends by `auth_secret`$"):
        kaa.rpc.Server(("0.0.0.0", free_port()))


@pytest.mark.parametrize(
    "form", [lambda port: port, lambda port: f"127.0.0.1:{port}", lambda port: ("localhost", port)]
)
def test_a_port_is_one_of_this_machine(house, form):
    port = free_port()
    server = house.server(form(port), "password")
    assert "tls" not in server.addresses[0]
    client = house.client(port, "password")
    assert client.rpc("name").wait(LONG) == "player"
    with pytest.raises(OSError, match=r".") as taken:
        kaa.rpc.Server(form(port), "password")
    assert taken.value.errno == errno.EADDRINUSE


def test_a_taken_name_is_an_error(house):
    house.server()
    with pytest.raises(OSError, match=r".") as taken:
        kaa.rpc.Server("beacon")
    assert taken.value.errno == errno.EADDRINUSE


@needs_unix
def test_the_socket_of_a_server_that_was_killed_is_replaced(house):
    path = os.path.join(os.environ["XDG_RUNTIME_DIR"], "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        house.server(path)
    with pytest.raises(OSError, match=r".") as taken:
        kaa.rpc.Server(path)
    assert taken.value.errno == errno.EADDRINUSE
    assert house.client(path).rpc("name").wait(LONG) == "player"


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


@pytest.mark.parametrize(
    "address",
    [
        "::1",
        "1.2.3.4",
        "a:b:c",
        None,
        ("a",),
        "",
        1.5,
        (None, 1),
        ("", None),
        -1,
        "box:65536",
        "box:no-such-service",
    ],
)
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
