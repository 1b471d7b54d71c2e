"""Programs of script.module.ipc, and what they call."""

import contextlib
import copy
import gc
import json
import os
import pickle
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import types
import weakref

import pytest

import andiron
import as_native
from andiron.compat import _shared
from andiron.compat.ipc import AddressInUseError, IPCClient, IPCServer, ObjectNotSerializableError
from conftest import ROOT, TESTS, free_port, needs_unix

MOVING = os.path.join(TESTS, "moving")


@pytest.fixture(autouse=True)
def bare(home, monkeypatch):
    """The engine begins no threads by itself, and this user has no secret."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.delenv("ANDIRON_SECRET_FILE", raising=False)
    with as_native.bare():
        yield


@pytest.fixture
def serve(home):
    """Starts servers, which are stopped behind the test."""
    with contextlib.ExitStack() as stack:

        def start(exposed, **options):
            server = IPCServer(exposed, **{"port": 0, **options})
            server.start()
            stack.callback(server.stop)
            return server

        yield start


class Radio:
    """Nothing of it is marked."""

    stations = 3

    def __init__(self):
        self._volume = 5
        self.closed = 0
        self.heard = []

    def tune(self, frequency, unit="MHz"):
        return f"{frequency} {unit}"

    @property
    def volume(self):
        return self._volume

    @volume.setter
    def volume(self, volume):
        self._volume = volume

    @staticmethod
    def double(number):
        return 2 * number

    def fail(self, error):
        raise error

    def hear(self, listener):
        self.heard.append(listener("ring"))

    def itself(self):
        return self

    def give(self, name):
        return {"lock": threading.Lock(), "list": [1, (2,), {3}]}[name]

    def connection(self):
        return hash(andiron.caller())

    def __len__(self):
        return self.stations

    def __getitem__(self, number):
        return ("one", "two", "three")[number]

    def __contains__(self, name):
        return name in ("one", "two", "three")

    def __iter__(self):
        return iter(("one", "two", "three"))

    def _hidden(self):
        return "nobody else gets this"

    def close(self):
        self.closed += 1


def proxy_of(server, **options):
    return IPCClient(name=server.name, host=server.host, port=server.port, **options).get_exposed_object()


def new_secret():
    from andiron._pure.transport.secret import Secret

    return Secret.new().text()


# What they are given, and have.


def test_arguments_may_be_given_by_place():
    server = IPCServer(Radio(), "", "radio", "127.0.0.1", 9200, "serpent")
    assert (server.name, server.host, server.port, server.serializer) == (
        "radio",
        "127.0.0.1",
        9200,
        "serpent",
    )
    client = IPCClient("", "radio", "127.0.0.1", 9200, "json")
    assert server.uri == client.uri == "PYRO:radio@127.0.0.1:9200"


def test_a_server_has_the_attributes_and_defaults_that_it_had():
    exposed = Radio()
    server = IPCServer(exposed)
    assert (server.name, server.host, server.port, server.serializer) == (
        "kodi-IPC",
        "localhost",
        9099,
        "pickle",
    )
    assert server.uri == IPCClient().uri == "PYRO:kodi-IPC@localhost:9099"
    assert server.expose_obj is exposed
    assert (server.p4daemon, server.running, server.shutdown, server.exception) == (None, False, False, None)
    assert not server.is_alive()


def test_a_server_has_the_methods_that_threads_had():
    server = IPCServer(Radio(), name="radio")
    server.setDaemon(True)
    assert (server.getName(), server.isDaemon(), server.isAlive()) == ("radio", True, False)
    server.setName("another")
    assert (server.name, server.uri) == ("another", "PYRO:another@localhost:9099")


def test_a_server_has_the_states_that_it_had(serve):
    server = serve(Radio())
    assert (server.running, server.shutdown, server.is_alive(), server.isAlive()) == (True, False, True, True)
    assert server.p4daemon is not None
    assert server.daemon, "it keeps no process alive"
    server.join(0.0)
    assert server.stop() is None
    assert (server.running, server.shutdown, server.is_alive(), server.p4daemon) == (False, True, False, None)
    server.join()


@pytest.mark.parametrize("name", ["pickle", "serpent", "json", "marshal", "msgpack", "native"])
def test_a_serializer_is_a_name_and_means_the_same(serve, name):
    server = serve(Radio(), serializer=name)
    assert proxy_of(server, datatype=name).give("list") == [1, (2,), {3}]


@pytest.mark.parametrize(
    "make", [lambda name: IPCServer(Radio(), serializer=name), lambda name: IPCClient(datatype=name)]
)
def test_a_serializer_that_nobody_knows_is_refused(make):
    with pytest.raises(ValueError, match="'yaml' is no serializer: give one of pickle, serpent, json"):
        make("yaml")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"name": ""}, ValueError),
        ({"name": None}, ValueError),
        ({"name": "tcp://localhost:9", "port": None}, ValueError),
        ({"host": 7}, TypeError),
        ({"port": "http"}, TypeError),
        ({"port": 1 << 16}, ValueError),
        ({"port": None, "host": "192.0.2.1"}, ValueError),
        ({"secret": "hello"}, PermissionError),
        ({"secret": 7}, TypeError),
        ({"secret": b"hello"}, TypeError),
    ],
)
def test_what_cannot_be_a_place_is_refused_where_it_is_given(given, error):
    with pytest.raises(error):
        IPCServer(Radio(), **given)
    with pytest.raises(error):
        IPCClient(**given)


# Calls.


def test_all_that_is_public_is_called_though_nothing_is_marked(serve):
    radio = proxy_of(serve(Radio()))
    assert radio.tune(96.5) == "96.5 MHz"
    assert radio.tune(96.5, unit="kHz") == "96.5 kHz"
    assert radio.double(4) == 8
    assert radio.volume == 5
    radio.volume = 7
    assert radio.volume == 7
    assert (len(radio), radio[1], "two" in radio, list(radio), bool(radio)) == (
        3,
        "two",
        True,
        ["one", "two", "three"],
        True,
    )
    with pytest.raises(AttributeError, match="do you mean `tune`"):
        radio.tone(1)
    with pytest.raises(AttributeError):
        radio._hidden()
    with pytest.raises(TypeError):
        radio.tune()


def test_to_offer_an_object_marks_neither_it_nor_its_class(serve):
    radio, other = Radio(), Radio()
    before = dict(vars(radio)), set(vars(Radio))
    server = serve(radio)
    assert proxy_of(server).tune(1) == "1 MHz"
    assert (vars(radio), set(vars(Radio))) == before
    assert not andiron.can_send(other)
    assert proxy_of(server).itself() == proxy_of(server).itself(), "it is known where it is offered"
    server.stop()
    with pytest.raises(andiron.BadArgumentsError):
        andiron.Server({"radio": other}, [], state=False)


def test_of_an_object_that_is_marked_only_that_is_called(serve):
    class Marked:
        @andiron.expose
        def shown(self):
            return "shown"

        def close(self):
            raise AssertionError("a client called it")

    marked = Marked()
    server = serve(marked)
    assert proxy_of(server).shown() == "shown"
    with pytest.raises(AttributeError):
        proxy_of(server).close()
    marked.close = lambda: None


@pytest.mark.parametrize("nothing", [None, Radio, types.ModuleType("empty")])
def test_what_has_no_methods_is_refused(nothing):
    with pytest.raises(andiron.BadArgumentsError, match="give an instance"):
        IPCServer(nothing, port=0).start()


def test_a_function_that_is_passed_is_called_back(serve):
    radio = Radio()
    proxy_of(serve(radio)).hear(str.upper)
    assert radio.heard == ["RING"]


def test_a_proxy_can_be_passed_on(serve):
    radio = Radio()
    server = serve(radio)
    proxy_of(server).hear(lambda _: proxy_of(server))
    assert radio.heard == [radio]


def test_several_objects_are_told_apart_by_name_and_port(serve):
    first, second = serve(Radio(), name="first"), serve(Radio(), name="second")
    proxy_of(first).volume = 1
    assert (proxy_of(first).volume, proxy_of(second).volume) == (1, 5)
    assert not IPCClient(name="second", port=first.port).server_available()
    with pytest.raises(KeyError, match="no object is named 'second'"):
        IPCClient(name="second", port=first.port).get_exposed_object().tune(1)


def test_a_proxy_is_copied_and_pickled_as_where_its_object_is(serve, home):
    server = serve(Radio())
    proxy = proxy_of(server)
    for other in (copy.copy(proxy), copy.deepcopy(proxy), pickle.loads(pickle.dumps(proxy))):
        assert other == proxy
        assert other.tune(1) == "1 MHz"
    with pytest.raises(TypeError, match="a secret is not pickled"):
        pickle.dumps(proxy_of(server, secret=new_secret()))


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "::1"])
def test_hosts_of_this_machine_need_no_secret(serve, host):
    try:
        server = serve(Radio(), host=host)
    except TypeError:
        pytest.skip(f"this machine has no {host}")
    assert proxy_of(server).tune(1) == "1 MHz"


def test_a_name_needs_no_port(serve):
    server = serve(Radio(), name="radio", port=None)
    assert server.uri == "PYRO:radio@./u:radio"
    for host in (None, "localhost"):
        assert IPCClient(name="radio", host=host, port=None).get_exposed_object().tune(1) == "1 MHz"
    assert andiron.connect("radio")["radio"].tune(1) == "1 MHz"


@pytest.mark.parametrize("port", [None, 9099])
def test_a_path_needs_no_port(serve, home, port):
    path = f"unix:{home}/radio.sock"
    server = serve(Radio(), host=path, port=port)
    assert server.uri == f"PYRO:kodi-IPC@./u:{home}/radio.sock"
    assert proxy_of(server).tune(1) == "1 MHz"
    with pytest.raises(AddressInUseError, match=r"the name 'unix:.*' is taken"):
        IPCServer(Radio(), host=path).start()


def test_an_object_of_another_server_of_this_machine_is_called(home):
    with andiron.Server({"radio": andiron.expose(Radio())}, "house", state=False, threads=1):
        client = IPCClient(name="radio", host="unix:house")
        assert client.uri == "PYRO:radio@./u:house"
        assert client.get_exposed_object().tune(1) == "1 MHz"


def test_the_address_of_a_client_may_be_set(serve):
    client = IPCClient()
    client.uri = serve(Radio()).uri
    assert client.get_exposed_object().tune(1) == "1 MHz"
    client.uri = "nowhere"
    with pytest.raises(ValueError, match="PYRO:NAME@HOST:PORT"):
        client.get_exposed_object()


def test_the_library_of_andiron_finds_it_too(serve):
    server = serve(Radio())
    with andiron.connect(f"tcp://localhost:{server.port}") as hub:
        assert hub["kodi-IPC"].tune(1) == "1 MHz"


# Secrets.


def test_a_secret_is_given_as_text_or_as_a_file(serve, home):
    secret = new_secret()
    file = home / "secret.txt"
    file.write_text(secret + "\n")
    file.chmod(0o600)
    server = serve(Radio(), secret=secret)
    for own in (secret, str(file), file):
        assert proxy_of(server, secret=own).tune(1) == "1 MHz"
    for own in (None, new_secret()):
        assert not IPCClient(port=server.port, secret=own).server_available()
        with pytest.raises(PermissionError):
            proxy_of(server, secret=own).tune(1)


def test_a_secret_that_is_no_secret_is_told_as_what_was_given(home):
    with pytest.raises(TypeError, match="the text of a secret, or the path of its file, not a int"):
        IPCClient(secret=7)
    for call in (
        IPCServer(Radio(), port=0, secret="andiron1-short").start,
        IPCClient(port=free_port(), secret="andiron1-short").get_exposed_object()._pyroBind,
    ):
        with pytest.raises(PermissionError, match=r"^`secret=`: this secret is damaged"):
            call()


@pytest.mark.skipif(
    not os.path.exists("/proc/self/fd") or not hasattr(os, "memfd_create"), reason="files of memory"
)
def test_a_secret_outlives_the_descriptors_of_a_program(home):
    files, secret = _shared._Files(), new_secret()
    path = files.path(secret)
    assert files.path(secret) == path
    descriptor = int(path.rpartition("/")[2])
    with open(os.devnull, "rb") as other:
        os.dup2(other.fileno(), descriptor)
    anew = files.path(secret)
    os.close(descriptor)
    with open(anew) as file:
        assert file.read() == secret + "\n"
    os.close(int(anew.rpartition("/")[2]))


def test_the_text_of_a_secret_stands_in_no_folder_of_others(monkeypatch):
    monkeypatch.setattr(os, "memfd_create", None, raising=False)
    monkeypatch.delattr(os, "memfd_create")
    files = _shared._Files()
    path = files.path(new_secret())
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    files._remove(os.path.dirname(path), os.getpid())
    assert not os.path.exists(path)
    anew = files.path("andiron1-another")
    assert os.path.exists(anew)
    files._remove(os.path.dirname(anew), os.getpid())


def test_a_host_beyond_this_machine_needs_a_secret():
    for make in (
        lambda: IPCServer(Radio(), host="0.0.0.0", port=0).start(),
        lambda: IPCClient(host="192.0.2.1").get_exposed_object().tune(1),
    ):
        with pytest.raises(
            PermissionError, match="`andiron secret new` and give it to both ends by `secret=`"
        ):
            make()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl is here to make a certificate")
def test_a_host_beyond_this_machine_is_reached_by_tls(serve, tmp_path, monkeypatch):
    certificate = str(tmp_path / "certificate.pem")
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=andiron -keyout {certificate} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("ANDIRON_CERTIFICATE_FILE", certificate)
    secret = new_secret()
    server = serve(Radio(), host="0.0.0.0", secret=secret)
    assert server.p4daemon.addresses == [f"tls://0.0.0.0:{server.port}"]
    assert proxy_of(server, secret=secret).tune(1) == "1 MHz"


# Start and stop.


def test_a_port_that_is_taken_is_said_at_once(serve):
    radio = Radio()
    first = serve(radio)
    second = IPCServer(radio, port=first.port)
    with pytest.raises(OSError, match=f"Socket {first.port} already in use") as caught:
        second.start()
    assert isinstance(caught.value, AddressInUseError)
    assert caught.value.errno == 98 or sys.platform != "linux"
    assert caught.value.message == str(caught.value)
    assert second.exception is caught.value
    assert not second.running
    first.stop()
    second.start()
    assert second.exception is None
    assert proxy_of(second).tune(1) == "1 MHz"
    second.stop()


def test_a_name_that_is_taken_is_said_at_once(serve):
    serve(Radio(), name="radio", port=None)
    with pytest.raises(AddressInUseError, match="the name 'radio' is taken"):
        IPCServer(Radio(), name="radio", port=None).start()


class Keeping(Radio):
    """Stands for the store of its server, as `DataObjects` does."""

    def __init__(self, folder, *names):
        super().__init__()
        self.folder, self.names, self.offered = folder, names, []

    def _begin_serving(self, place):
        self.offered.append(place.name)
        return self.folder, self.names

    def _served(self, server):
        self.offered.append(server)


def test_an_object_says_where_the_store_of_its_server_is_and_how_it_is_found_too(serve, home):
    keeping = Keeping(str(home / "kept"), "beside")
    server = serve(keeping)
    assert keeping.offered == ["kodi-IPC", server.p4daemon]
    with andiron.connect("beside") as hub:
        assert hub["kodi-IPC"].tune(1) == "1 MHz"
        hub.store.set("x", 20, persist=True)
    other = serve(Keeping(None, "beside"))
    assert proxy_of(other).tune(1) == "1 MHz", "a name that is taken is done without"
    server.stop()
    again = serve(keeping)
    assert again.p4daemon.connect().store["x"] == 20


def test_a_conflict_that_is_about_no_address_is_told_as_it_is(monkeypatch):
    def in_use(*_args, **_options):
        raise andiron.ConflictError("the folder is in use")  # which is waited for some seconds in truth

    monkeypatch.setattr(andiron, "Server", in_use)
    with pytest.raises(andiron.ConflictError, match="the folder is in use") as caught:
        IPCServer(Keeping("kept", "beside"), port=0).start()
    assert not isinstance(caught.value, AddressInUseError)


def test_a_server_starts_once(serve):
    server = serve(Radio())
    with pytest.raises(RuntimeError, match="started once"):
        server.start()
    server.stop()
    with pytest.raises(RuntimeError, match="started once"):
        server.start()


def test_the_store_keeps_its_name():
    with pytest.raises(ValueError, match="choose another name"):
        IPCServer(Radio(), name="store", port=0).start()


def test_stop_closes_the_object_once(serve):
    radio = Radio()
    server = serve(radio)
    server.stop()
    server.stop()
    assert radio.closed == 1


def test_stop_without_a_start_closes_the_object(home):
    radio = Radio()
    server = IPCServer(radio)
    server.stop()
    assert (radio.closed, server.shutdown, server.running) == (1, True, False)


def test_the_object_is_closed_when_nobody_calls_it_any_more(serve):
    class Log(Radio):
        def close(self):
            super().close()
            self.heard.append(IPCClient(port=self.port).server_available())

    log = Log()
    server = serve(log)
    log.port = server.port
    kept = proxy_of(server)
    kept.tune(1)
    server.stop()
    assert log.heard == [False]
    with pytest.raises(ConnectionError):
        kept.tune(2)


def test_a_method_that_waits_for_the_close_holds_up_no_stop(serve):
    class Waiting:
        def __init__(self):
            self.begun, self.over = threading.Event(), threading.Event()

        def wait(self):
            self.begun.set()
            return self.over.wait(60)

        def close(self):
            self.over.set()

    waiting = Waiting()
    server = serve(waiting)
    said = []
    caller = threading.Thread(target=lambda: said.append(proxy_of(server).wait()))
    caller.start()
    assert waiting.begun.wait(60)
    server.stop()
    caller.join(60)
    assert said == [True]


def test_an_error_of_close_is_raised_when_all_has_ended(serve):
    class Broken:
        def call(self):
            return 1

        def close(self):
            raise OSError("the disk is full")

    server = serve(Broken())
    with pytest.raises(OSError, match="the disk is full"):
        server.stop()
    assert not server.running
    assert not IPCClient(port=server.port).server_available()


def test_a_method_may_stop_its_server(serve):
    class Ending:
        def end(self):
            self.server.stop()
            return "ends"

    ending = Ending()
    ending.server = serve(ending)
    assert proxy_of(ending.server).end() == "ends"
    ending.server.join()
    assert not ending.server.running


def test_all_threads_end_with_the_stop(serve):
    before = set(threading.enumerate())
    server = serve(Radio())
    assert proxy_of(server).tune(1) == "1 MHz"
    server.stop()
    assert set(threading.enumerate()) <= before


def test_the_same_object_is_served_again(serve):
    radio = Radio()
    first = serve(radio)
    proxy = proxy_of(first)
    assert proxy.tune(1) == "1 MHz"
    first.stop()
    second = serve(radio, port=first.port)
    assert proxy.tune(2) == "2 MHz", "the same proxy finds the new server"
    third = serve(radio)
    second.stop()
    assert proxy_of(third).tune(3) == "3 MHz"


def test_an_object_of_several_servers_is_closed_with_the_last_of_them(serve):
    radio = Radio()
    first = serve(radio)
    taken = IPCServer(radio, port=first.port)
    with pytest.raises(OSError, match="in use"):
        taken.start()
    taken.stop()
    assert (radio.closed, proxy_of(first).tune(1)) == (0, "1 MHz")
    first.stop()
    assert radio.closed == 1


def test_an_object_that_fails_when_it_hears_of_its_server_leaves_no_port_taken(serve):
    class Told(Radio):
        def _served(self, server):
            raise LookupError(server.addresses[0])

    port = free_port()
    with pytest.raises(LookupError, match=str(port)):
        serve(Told(), port=port)
    assert proxy_of(serve(Radio(), port=port)).tune(1) == "1 MHz"


def test_a_server_needs_nobody_who_keeps_it(home):
    def started():
        server = IPCServer(Radio(), name="radio", port=None)
        server.start()
        return weakref.ref(server)

    server = started()
    gc.collect()
    assert IPCClient(name="radio", port=None).get_exposed_object().tune(1) == "1 MHz"
    server().stop()
    gc.collect()
    assert server() is None


def test_run_serves_until_it_is_stopped(home):
    server = IPCServer(Radio(), name="radio", port=None)
    thread = threading.Thread(target=server.run)
    thread.start()
    with andiron.connect("radio", wait=60) as hub:
        assert hub["radio"].tune(1) == "1 MHz"
    server.stop()
    thread.join(60)
    assert not thread.is_alive()


def test_a_forked_child_calls_over_a_connection_of_its_own(serve):
    server = serve(Radio())
    proxy = proxy_of(server)
    own = proxy.connection()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        child = os.fork()
        if child == 0:
            try:
                said = f"{proxy.connection() != own} {proxy_of(server).tune(1)}"
                socket.create_connection(listener.getsockname()).sendall(said.encode())
            finally:
                os._exit(0)
        listener.settimeout(60)
        said = listener.accept()[0].makefile().read()
        os.waitpid(child, 0)
    assert said == "True 1 MHz"
    assert proxy.connection() == own


SERVICE = """
    import threading
    from andiron.compat.ipc import IPCServer

    class Desk:
        over = threading.Event()

        def double(self, number):
            return 2 * number

        def end(self):
            self.over.set()

    threading.current_thread()  # which counts from here on
    before = threading.active_count()
    server = IPCServer(Desk(), name="desk", port=None)
    server.start()
    assert Desk.over.wait(60)
    server.stop()
    tell(server.running, threading.active_count() - before)
"""

PLUGIN = """
    from andiron.compat.ipc import IPCClient
    client = IPCClient(name="desk", port=None)
    desk = client.get_exposed_object()
    tell(client.server_available(), [desk.double(number) for number in range(3)])
"""


@needs_unix
def test_scripts_in_interpreters_of_one_process_call_each_other(home):
    Inside = pytest.importorskip("test_subinterpreters").Inside  # noqa: N806 - it is a class
    service = Inside(home, SERVICE)
    andiron.connect("desk", wait=60).close()
    plugins = [Inside(home, PLUGIN) for _ in range(3)]
    assert [plugin.told() for plugin in plugins] == [["True [0, 2, 4]"]] * 3
    IPCClient(name="desk", port=None).get_exposed_object().end()
    assert service.told() == ["False 0"]


def test_join_comes_back_where_the_host_ends(serve):
    server = serve(Radio())
    andiron.abort_when(lambda: True)
    try:
        server.join()
    finally:
        andiron.abort_when(None)
    assert server.is_alive()
    with pytest.raises(RuntimeError, match="before it is started"):
        IPCServer(Radio()).join()


def test_a_process_ends_though_it_serves(processes, tmp_path):
    program = """
        from andiron.compat.ipc import IPCClient, IPCServer
        class Thing:
            def call(self):
                return "called"
        server = IPCServer(Thing(), port=0)
        server.start()
        print(IPCClient(port=server.port).get_exposed_object().call())
    """
    process = processes.python(program)
    assert process.wait(60) == 0
    assert process.stdout.read() == "called\n"


# The client.


def test_a_server_is_available_while_it_runs(serve):
    client = IPCClient(port=free_port())
    assert not client.server_available()
    server = serve(Radio(), port=int(client.uri.rpartition(":")[2]))
    assert client.server_available()
    assert client.server_available()
    server.stop()
    assert not client.server_available()


def test_a_server_that_stopped_is_unavailable_at_once(serve):
    server = serve(Radio())
    proxy = proxy_of(server)
    assert proxy.tune(1) == "1 MHz"
    server.stop()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            proxy.tune(2)
        with pytest.raises(ConnectionError, match="no server at"):
            proxy._pyroReconnect(100000000)


def test_to_get_the_object_connects_to_nobody():
    proxy = IPCClient(port=free_port()).get_exposed_object()
    assert "RemoteObject PYRO:kodi-IPC@localhost" in repr(proxy)
    assert not hasattr(proxy, "_hidden")
    with pytest.raises(ConnectionError, match="no server at tcp://localhost"):
        proxy.tune(1)


def test_all_proxies_of_a_process_share_one_connection(serve):
    server = serve(Radio())
    connections = {proxy_of(server).connection() for _ in range(50)}
    with proxy_of(server) as kept:
        connections.add(kept.connection())
        kept._pyroRelease()
        connections.add(kept.connection())
    assert len(connections) == 1


@pytest.mark.skipif(not hasattr(select, "poll"), reason="nobody tells of an end here")
def test_the_first_call_behind_a_crash_of_the_server_reaches_the_next_one(processes):
    program = """
        import os, sys
        from andiron.compat.ipc import IPCServer

        class Who:
            def pid(self):
                return os.getpid()

        IPCServer(Who(), port=int(sys.argv[1])).start()
        print("started")
        sys.stdin.read()
    """
    port = free_port()
    who = IPCClient(port=port).get_exposed_object()
    for _ in range(3):
        server = processes.python(program, str(port))
        assert server.stdout.readline() == "started\n", server.stderr.read()
        assert who.pid() == server.pid
        server.kill()
        server.communicate()


def test_silent_connections_are_in_nobodys_way(serve):
    server = serve(Radio())
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert proxy_of(server).tune(1) == "1 MHz"


def test_a_call_that_may_have_run_is_not_made_again(serve):
    class Slow:
        def __init__(self):
            self.calls, self.go_on = [], threading.Event()

        def take(self, attempt):
            self.calls.append(attempt)
            self.go_on.wait(60)

        def close(self):
            self.go_on.set()

    slow = Slow()
    proxy = proxy_of(serve(slow))
    proxy._pyroBind()
    attempt = 0
    while (
        attempt not in slow.calls
    ):  # until its time is long enough for it to begin, however busy this machine is
        attempt += 1
        proxy._pyroTimeout = 0.02 * 2**attempt
        with pytest.raises(TimeoutError):
            proxy.take(attempt)
    slow.go_on.set()
    proxy._pyroTimeout = None
    proxy.take("at last")
    assert (slow.calls.count(attempt), slow.calls.count("at last")) == (1, 1)


def test_a_client_changes_nothing_of_others(serve):
    server = serve(Radio())
    first = proxy_of(server)
    first._pyroTimeout = 60
    second = proxy_of(server, datatype="json")
    assert (first._pyroTimeout, second._pyroTimeout) == (60, 5)
    assert socket.getdefaulttimeout() is None
    assert first.give("list") == second.give("list") == [1, (2,), {3}]


def test_a_proxy_is_for_all_threads(serve):
    radio = proxy_of(serve(Radio()))
    found = []
    threads = [threading.Thread(target=lambda n=n: found.append(radio.double(n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [2 * n for n in range(20)]


# Errors.


def test_what_a_method_raises_arrives_with_where_it_did(serve):
    radio = proxy_of(serve(Radio()))
    with pytest.raises(LookupError, match="no such title"):
        radio.fail(LookupError("no such title"))
    try:
        radio.fail(ValueError("no"))
    except ValueError:
        said = IPCClient.get_traceback()
    assert "in fail\n    raise error\nValueError: no" in said
    assert "test_compat_ipc.py" in said.rpartition("direct cause")[2]


def test_no_error_has_no_traceback():
    assert IPCClient.get_traceback() == "NoneType: None\n"


class Unknown:
    def __init__(self):
        self.lock = threading.Lock()


def test_what_cannot_be_sent_is_said_with_its_part(serve):
    radio = proxy_of(serve(Radio()))
    with pytest.raises(ObjectNotSerializableError) as caught:
        radio.tune([1, {"a": Unknown()}])
    said = str(caught.value)
    assert "argument 1[1]['a']" in said
    assert "test_compat_ipc.Unknown" in said
    assert "`andiron.register`" in said
    assert caught.value.message == said
    assert isinstance(caught.value, TypeError)
    assert caught.value.errno == 5
    with pytest.raises(ObjectNotSerializableError, match=r"the result cannot be sent: .*lock"):
        radio.give("lock")
    assert radio.tune(1) == "1 MHz"


def test_whether_something_can_be_sent_is_a_bool(caplog):
    assert IPCServer.test_pickle([1, "a", {"b": (2,)}]) is True
    assert IPCServer.test_pickle(threading.Lock()) is False
    assert IPCServer.test_pickle({"items": [Unknown()]}) is False
    assert "at ['items'][0]" in caplog.text


# Kodi.


@pytest.fixture
def kodi(monkeypatch):
    """A Kodi with these settings of add-ons, and what it logged."""
    settings, logged = {}, []

    class Addon:
        def __init__(self, id=None):  # noqa: A002 - Kodi calls it so
            if id not in settings:
                raise RuntimeError(f"Unknown addon id '{id}'.")
            self.getSetting = lambda name: settings[id].get(name, "")

    log = types.SimpleNamespace(
        log=lambda text, level=0: logged.append((level, text)), LOGINFO=1, LOGWARNING=2, LOGERROR=4
    )
    monkeypatch.setitem(sys.modules, "xbmc", log)
    monkeypatch.setitem(sys.modules, "xbmcaddon", types.SimpleNamespace(Addon=Addon))
    return types.SimpleNamespace(settings=settings, logged=logged)


def test_the_settings_of_an_add_on_decide_where_both_ends_are(kodi, home):
    port = free_port()
    kodi.settings["service.radio"] = {"data_name": "radio", "host": "127.0.0.1", "port": str(port)}
    server = IPCServer(Radio(), add_on_id="service.radio")
    client = IPCClient(add_on_id="service.radio")
    assert (server.name, server.host, server.port) == ("radio", "127.0.0.1", port)
    assert server.uri == client.uri == f"PYRO:radio@127.0.0.1:{port}"
    server.start()
    try:
        assert server.p4daemon.addresses == [f"tcp://127.0.0.1:{port}"]
        assert client.get_exposed_object().tune(1) == "1 MHz"
    finally:
        server.stop()
    assert [text for _, text in kodi.logged] == [
        f"andiron: IPC Server Started: PYRO:radio@127.0.0.1:{port}",
        f"andiron: IPC Server Stopped: PYRO:radio@127.0.0.1:{port}",
    ]


def test_spaces_around_a_host_in_settings_are_no_part_of_it(kodi):
    kodi.settings["service.radio"] = {"data_name": "radio", "host": " localhost ", "port": " 9300 "}
    assert IPCClient("service.radio").uri == "PYRO:radio@localhost:9300"


def test_the_secret_of_an_add_on_is_used(kodi, home):
    secret, port = new_secret(), free_port()
    kodi.settings["service.radio"] = {
        "data_name": "radio",
        "host": "localhost",
        "port": str(port),
        "secret": secret,
    }
    server = IPCServer(Radio(), "service.radio")
    server.start()
    try:
        assert IPCClient("service.radio").server_available()
        assert not IPCClient(name="radio", port=port).server_available()
    finally:
        server.stop()


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {"data_name": "radio", "host": "localhost", "port": "many"},
        {"data_name": "radio", "host": "localhost", "port": "70000"},
        {"data_name": "radio", "host": "localhost"},
        {"data_name": "", "host": "localhost", "port": "9200"},
        {"data_name": "radio", "host": "", "port": "9200"},
        {"data_name": "radio", "host": "localhost", "port": "9200", "secret": "hello"},
    ],
)
def test_settings_that_are_wrong_are_logged_and_the_arguments_taken(kodi, settings):
    if settings is not None:
        kodi.settings["service.radio"] = settings
    server = IPCServer(Radio(), "service.radio", "given", "127.0.0.1", 9300)
    client = IPCClient("service.radio", "given", "127.0.0.1", 9300)
    assert server.uri == client.uri == "PYRO:given@127.0.0.1:9300"
    assert len(kodi.logged) == 2
    level, text = kodi.logged[0]
    assert level == 2
    assert "the settings of 'service.radio' cannot be used, so PYRO:given@127.0.0.1:9300" in text


def test_outside_of_kodi_an_add_on_has_no_settings():
    assert IPCClient("service.radio", "given", port=9300).uri == "PYRO:given@localhost:9300"


# Programs, and the page about them.


def test_the_examples_of_the_page_run(home):
    page = ROOT / "docs" / "moving" / "ipc.md"
    names = {"__name__": "page"}
    for block in re.finditer(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        line = page.read_text()[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(page), "exec"), names)


def run(processes, program, *arguments, env=None):
    return processes.start(sys.executable, "-u", os.path.join(MOVING, program), *map(str, arguments), env=env)


def in_kodi(settings):
    """The environment of a program in a Kodi with these settings of add-ons."""
    path = [os.path.join(MOVING, "kodi"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "KODI_SETTINGS": json.dumps(settings),
    }


def output_of(process):
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return said


def test_a_plugin_calls_a_service(processes):
    settings = {"service.watched": {"data_name": "watched", "host": "localhost", "port": str(free_port())}}
    kodi = in_kodi(settings)
    assert output_of(run(processes, "ipc_plugin.py", env=kodi)) == "Server unavailable\n"
    service = run(processes, "ipc_service.py", env=kodi)
    assert "IPC Server Started: PYRO:watched@localhost:" in service.stdout.readline()
    said = output_of(run(processes, "ipc_plugin.py", env=kodi))
    assert said.startswith("['Ash', 'Embers']\n")
    assert "in seconds\n    return self.times[title]" in said
    second = output_of(run(processes, "ipc_service.py", env=kodi))
    assert re.search(r"Error starting server: Socket \d+ already in use", second)
    told = output_of(service)
    assert told.startswith("closed after 2 titles\n")
    assert told.endswith("running: False, shutdown: True\n")


def test_two_servers_are_told_apart(processes):
    said = output_of(run(processes, "ipc_two_servers.py", free_port(), free_port()))
    assert said == "1 101 2 102\nFalse\nfirst False\nsecond False\n"


def test_a_program_hears_what_goes_wrong(processes):
    port = free_port()
    said = output_of(run(processes, "ipc_errors.py", port)).splitlines()
    assert said[:3] == ["available: False", "available: True", said[2]]
    assert said[2].startswith(f"Socket {port} already in use")
    assert "no such title: Embers" in said[3]
    assert any("in find" in line for line in said)
    assert said[-2:] == ["can be sent: True False", "the server is gone"]
