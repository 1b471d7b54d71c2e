"""Daemons of programs of Pyro: their loops, what a method knows of its call, streams, secrets, and what must not come back."""

import gc
import os
import select
import shutil
import socket
import subprocess
import threading
import uuid

import pytest

import andiron
import andiron.compat.pyro as Pyro5
import pyro_parts
from andiron.compat.pyro import errors
from andiron.compat.pyro._config import Configuration
from conftest import needs_unix
from pyro_parts import Radio, proxy_of

pyro_settings, loops, daemon, threaded, hooks = pyro_parts.FIXTURES


def new_secret():
    from andiron._pure.transport.secret import Secret

    return Secret.new().text()


# The loop.


def test_a_loop_ends_when_its_condition_does(daemon):
    going = [True]

    class Ending:
        @Pyro5.expose
        def end(self):
            going.clear()
            return "ended"

    with Pyro5.Daemon() as other:
        thread = threading.Thread(target=other.requestLoop, args=(lambda: going,))
        thread.start()
        with proxy_of(other, Ending()) as ending:
            assert ending.end() == "ended"
            thread.join(60)
            assert not thread.is_alive()
        assert other.objectsById


def test_a_method_may_shut_its_daemon_down(daemon):
    class Ending:
        @Pyro5.expose
        def end(self):
            self._pyroDaemon.shutdown()
            return "ended"

    ending = proxy_of(daemon, Ending(), "ending")
    assert ending.end() == "ended"
    daemon.close()  # waits until it is closed
    with pytest.raises(errors.CommunicationError):
        ending.end()


def test_a_daemon_without_a_loop_is_shut_down_by_its_method_too():
    class Ending:
        @Pyro5.expose
        def end(self):
            self._pyroDaemon.shutdown()
            return "ended"

    daemon = Pyro5.Daemon()
    assert proxy_of(daemon, Ending()).end() == "ended"
    closing = [thread for thread in threading.enumerate() if thread.name == "andiron-pyro-close"]
    for thread in closing:
        thread.join(60)
    daemon.requestLoop()  # comes back at once


def test_an_object_is_served_again_after_a_stop(loops):
    radio = Radio()
    for _ in range(2):
        with Pyro5.Daemon() as daemon, proxy_of(daemon, radio, "radio") as proxy:
            assert proxy.double(1) == 2
    assert not hasattr(radio, "_pyroDaemon")
    with pytest.raises(errors.DaemonError, match="closed"):
        daemon.register(radio)


def test_no_thread_is_left_when_a_daemon_is_closed():
    before = set(threading.enumerate())
    for kind in ("thread", "multiplex"):
        Pyro5.config.SERVERTYPE = kind
        with Pyro5.Daemon() as daemon:
            thread = threading.Thread(target=daemon.requestLoop)
            thread.start()
            with proxy_of(daemon, Radio()) as radio:
                assert radio.double(1) == 2
            daemon.shutdown()
            thread.join()
    gc.collect()
    assert [
        thread
        for thread in set(threading.enumerate()) - before
        if not isinstance(thread, threading._DummyThread)
    ] == []


def test_methods_of_a_multiplex_daemon_run_on_the_thread_of_its_loop():
    Pyro5.config.SERVERTYPE = "multiplex"

    class Where:
        @Pyro5.expose
        def here(self):
            return threading.get_ident()

        @Pyro5.expose
        def stream(self):
            for _ in range(3):
                yield threading.get_ident()

    with Pyro5.Daemon() as daemon, Pyro5.Daemon() as other:
        daemon.combine(other)
        where = [proxy_of(daemon, Where()), proxy_of(other, Where())]
        seen = []

        def ask():
            for proxy in where:
                seen.extend([proxy.here(), *proxy.stream()])

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():
            ready, _, _ = select.select(daemon.sockets, [], [], 0.05)
            daemon.events(ready)
        assert seen == [threading.get_ident()] * 8
        for proxy in where:
            proxy._pyroRelease()


def test_only_loops_are_combined():
    with Pyro5.Daemon() as daemon, Pyro5.Daemon() as other, pytest.raises(TypeError, match="multiplex"):
        daemon.combine(other)
    Pyro5.config.SERVERTYPE = "fibres"
    with pytest.raises(errors.PyroError, match="fibres"):
        Pyro5.Daemon()


def test_a_loop_keeps_house():
    kept = threading.Event()

    class Keeping(Pyro5.Daemon):
        def housekeeping(self):
            kept.set()

    Pyro5.config.POLLTIMEOUT = 0.01
    with Keeping() as daemon:
        daemon.requestLoop(lambda: not kept.is_set())
    assert kept.is_set()


def test_a_loop_ends_with_its_host():
    ending = []
    andiron.abort_when(lambda: ending)
    try:
        with Pyro5.Daemon() as daemon:
            ending.append("now")
            daemon.requestLoop()
    finally:
        andiron.abort_when(None)


def test_serve_registers_and_tells(capsys):
    class Ending:
        @Pyro5.expose
        def end(self):
            self._pyroDaemon.shutdown()

    daemon = Pyro5.Daemon()
    thread = threading.Thread(
        target=Pyro5.Daemon.serveSimple, args=({Ending(): "ending"},), kwargs={"daemon": daemon, "ns": False}
    )
    thread.start()
    proxy = Pyro5.Proxy(f"PYRO:ending@{daemon.locationStr}")
    proxy._pyroReconnect(100)
    proxy.end()
    thread.join()
    told = capsys.readouterr().out
    assert f"uri = PYRO:ending@{daemon.locationStr}" in told
    assert "Pyro daemon running." in told


# Who calls.


class Knowing:
    def __init__(self):
        self.closed = []

    @Pyro5.expose
    def said(self):
        return Pyro5.current_context.annotations

    @Pyro5.expose
    def answer(self, said, fail=False):
        Pyro5.current_context.response_annotations = said
        if fail:
            raise ValueError("failed")

    @Pyro5.expose
    def correlation(self, proxy=None):
        own = Pyro5.current_context.correlation_id
        return own if proxy is None else (own, proxy.correlation())

    @Pyro5.expose
    def address(self):
        context = Pyro5.current_context
        return context.client_sock_addr, context.client.sock.getpeername(), context.seq

    @Pyro5.expose
    def open(self):
        resource = Resource(self)
        Pyro5.current_context.track_resource(resource)
        self.last = resource
        return len(self.closed)

    @Pyro5.expose
    def untrack(self):
        Pyro5.current_context.untrack_resource(self.last)


class Resource:
    def __init__(self, owner):
        self.owner = owner
        self.gone = threading.Event()

    def close(self):
        self.owner.closed.append(self)
        self.gone.set()


def test_a_method_knows_what_was_said(daemon):
    knowing = proxy_of(daemon, Knowing())
    context = Pyro5.current_context
    context.annotations = {"MINE": b"x"}
    try:
        assert knowing.said() == {"MINE": b"x"}
    finally:
        context.annotations = {}
    assert knowing.said() == {}


def test_answers_say_something_too_and_nothing_of_one_is_in_the_next(daemon):
    knowing, other = proxy_of(daemon, Knowing(), "knowing"), Pyro5.Proxy(f"PYRO:knowing@{daemon.locationStr}")
    context = Pyro5.current_context
    knowing.answer({"TOLD": b"x"})
    assert context.response_annotations == {"TOLD": b"x"}
    with pytest.raises(ValueError, match="failed"):
        knowing.answer({"TOLD": b"y"}, fail=True)
    assert context.response_annotations == {}
    for proxy in (other, knowing):
        assert proxy.said() == {}
        assert context.response_annotations == {}


def test_what_a_daemon_always_says_is_in_each_answer(loops):
    class Saying(Pyro5.Daemon):
        def annotations(self):
            return {"DAEM": b"here"}

    heard = []

    class Hearing(Pyro5.Proxy):
        def _pyroAnnotations(self):
            return {"PROX": b"me"}

        def _pyroResponseAnnotations(self, annotations, msgtype):
            heard.append(annotations)

    daemon = loops(Saying())
    hearing = Hearing(daemon.register(Knowing()))
    assert hearing.said() == {"PROX": b"me"}
    assert heard == [{"DAEM": b"here"}]


def test_calls_that_belong_together_have_one_number(daemon, loops):
    knowing = proxy_of(daemon, Knowing())
    other = proxy_of(loops(Pyro5.Daemon()), Knowing())
    own, below = knowing.correlation(other)
    assert isinstance(own, uuid.UUID)
    assert own == below
    assert knowing.correlation() != own
    Pyro5.current_context.correlation_id = chosen = uuid.uuid4()
    try:
        assert knowing.correlation(other) == (chosen, chosen)
    finally:
        Pyro5.current_context.correlation_id = None


def test_a_method_knows_who_calls(daemon):
    knowing = proxy_of(daemon, Knowing())
    address, same, first = knowing.address()
    assert address == same
    assert address[0] in ("127.0.0.1", "::1")
    assert knowing.address()[2] == first + 1


def test_resources_are_closed_with_their_connection(daemon):
    radio = Knowing()
    knowing = proxy_of(daemon, radio)
    assert knowing.open() == 0
    resource = radio.last
    knowing._pyroRelease()
    assert resource.gone.wait(60)
    assert knowing.open() == 1
    knowing.untrack()
    last = radio.last
    knowing._pyroRelease()
    assert not last.gone.is_set()
    with pytest.raises(errors.PyroError, match="belongs to a connection"):
        Pyro5.current_context.track_resource(last)


class Guarded(Pyro5.Daemon):
    def __init__(self, **options):
        self.left = threading.Semaphore(0)
        self.who = []
        super().__init__(**options)

    def validateHandshake(self, conn, data):
        if data != "friend":
            raise ValueError(f"{data} is no friend")
        self.who.append(conn.sock.getpeername())
        return ["welcome", data]

    def clientDisconnect(self, conn):
        self.left.release()


@pytest.mark.parametrize("kind", ["thread", "multiplex"])
def test_a_daemon_chooses_whom_it_serves(loops, kind):
    Pyro5.config.SERVERTYPE = kind
    daemon = loops(Guarded())
    heard = []

    class Hearing(Pyro5.Proxy):
        def _pyroValidateHandshake(self, response):
            heard.append(response)

    radio = Hearing(daemon.register(Radio(), "radio"))
    with pytest.raises(errors.CommunicationError, match="rejected: hello is no friend"):
        radio.double(1)
    radio._pyroHandshake = "friend"
    assert radio.double(1) == 2
    assert heard == [["welcome", "friend"]]
    assert len(daemon.who) == 1
    radio._pyroRelease()
    assert daemon.left.acquire(timeout=60)
    # A proxy that nobody has any more ends its connection as well.
    radio = Pyro5.Proxy(daemon.uriFor("radio"))
    radio._pyroHandshake = "friend"
    radio._pyroBind()
    del radio
    gc.collect()
    assert daemon.left.acquire(timeout=60)
    with andiron.connect(f"tcp://{daemon.locationStr}") as hub, pytest.raises(
        Exception, match="validates who connects"
    ):
        hub["Pyro.Daemon"].registered()


def test_clients_of_andiron_find_its_objects(threaded):
    threaded.register(Radio(), "radio")
    with andiron.connect(f"tcp://{threaded.locationStr}") as hub:
        daemon = hub["Pyro.Daemon"]
        assert daemon.registered() == ["Pyro.Daemon", "radio"]
        radio = daemon.object("radio")
        assert radio.tune(1) == "1 MHz"
        radio.volume = 9
        assert (radio.volume, len(radio), radio[0], radio(1)) == (9, 3, "one", 2)
        assert list(radio.count(3)) == [0, 1, 2]


# Streams.


def test_items_come_one_by_one(daemon):
    closed = threading.Event()

    class Source:
        @Pyro5.expose
        def numbers(self):
            number = 0
            try:
                while True:
                    yield number
                    number += 1
            finally:
                closed.set()

        @Pyro5.expose
        def failing(self):
            yield 1
            raise ValueError("the second")

        @Pyro5.expose
        @property
        def items(self):
            return iter([1, 2])

        @Pyro5.expose
        def keys(self):
            return {"a": 1}.keys()

    source = proxy_of(daemon, Source())
    numbers = source.numbers()
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    numbers.close()
    assert closed.wait(60)
    failing = source.failing()
    assert next(failing) == 1
    with pytest.raises(ValueError, match="the second") as caught:
        next(failing)
    assert caught.value._pyroTraceback
    assert list(source.items) == [1, 2]
    with pytest.raises(errors.PyroError):
        source.keys()
    Pyro5.config.ITER_STREAMING = False
    with pytest.raises(errors.ProtocolError, match="ITER_STREAMING"):
        source.numbers()


def test_a_stream_ends_with_its_time(threaded):
    Pyro5.config.ITER_STREAM_LIFETIME = 1e-9
    with pytest.raises(errors.PyroError, match="item stream terminated"):
        list(proxy_of(threaded, Radio()).count(10))


# Where.


@needs_unix
def test_a_daemon_has_a_socket_in_place_of_a_port(home):
    path = f"{home}/radio.sock"
    with Pyro5.Daemon(unixsocket=path) as daemon:
        uri = daemon.register(Radio(), "radio")
        assert str(uri) == f"PYRO:radio@./u:{path}"
        with Pyro5.Proxy(uri) as radio:
            assert radio.double(1) == 2
    with pytest.raises(ValueError, match="without a file"):
        Pyro5.Daemon(unixsocket="\0radio")
    with pytest.raises(ValueError, match="nathost"):
        Pyro5.Daemon(unixsocket=path, nathost="example.org")


def test_a_daemon_has_a_name_in_place_of_a_port():
    with Pyro5.Daemon(unixsocket="radios") as daemon:
        uri = daemon.register(Radio(), "radio")
        assert str(uri) == "PYRO:radio@./u:radios"
        with Pyro5.Proxy(uri) as radio, andiron.connect("radios") as hub:
            assert radio.double(1) == hub["Pyro.Daemon"].object("radio").double(1) == 2


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_daemon_is_at_a_host_of_this_machine(host):
    with Pyro5.Daemon(host) as daemon, proxy_of(daemon, Radio()) as radio:
        assert radio._pyroUri.host == host
        assert radio.double(1) == 2


def test_addresses_may_be_those_of_another_place():
    with Pyro5.Daemon(nathost="127.0.0.1", natport=4000) as daemon:
        daemon.register(Radio(), "radio")
        assert str(daemon.uriFor("radio")) == "PYRO:radio@127.0.0.1:4000"
        assert daemon.uriFor("radio", nat=False).location == daemon.locationStr != daemon.natLocationStr
        assert daemon.proxyFor("radio", nat=False).double(1) == 2
    with Pyro5.Daemon(nathost="127.0.0.1") as daemon:
        assert daemon.natLocationStr == f"127.0.0.1:{daemon.locationStr.rpartition(':')[2]}"


def test_beyond_this_machine_a_secret_is_needed():
    for where in ({"host": "0.0.0.0"}, {"nathost": "example.org"}):
        with pytest.raises(
            errors.SecurityError,
            match=r"andiron secret new.*config\.SECRET|config\.SECRET.*andiron secret new",
        ):
            Pyro5.Daemon(**where)
    Pyro5.config.SECRET = "password"
    with pytest.raises(errors.SecurityError, match="andiron secret new"):
        Pyro5.Daemon(host="0.0.0.0")


@pytest.fixture
def certificate(home, monkeypatch):
    """What the pure engine has no way to make."""
    if andiron.engine == "native":
        return
    if shutil.which("openssl") is None:
        pytest.skip("no openssl is here to make a certificate")
    path = f"{home}/certificate.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=andiron -keyout {path} -out {path}".split(),
        check=True,
        capture_output=True,
    )
    os.chmod(path, 0o600)
    monkeypatch.setenv("ANDIRON_CERTIFICATE_FILE", path)


def test_with_a_secret_it_is_by_tls(certificate):
    secret = new_secret()
    with Pyro5.Daemon(host="0.0.0.0", secret=secret) as daemon:
        uri = daemon.register(Radio(), "radio")
        assert uri.host == "0.0.0.0"
        with pytest.raises(errors.SecurityError):
            Pyro5.Proxy(uri)._pyroBind()
        Pyro5.config.SECRET = new_secret()
        with pytest.raises(errors.SecurityError):
            Pyro5.Proxy(uri)._pyroBind()
        own = Pyro5.Proxy(uri)
        own._pyroSecret = secret
        assert own.double(1) == 2
        assert secret.encode()[9:] not in andiron.encode([own, uri])
        own._pyroRelease()
        Pyro5.config.SECRET = secret
        with Pyro5.Proxy(uri) as radio:
            assert radio.double(1) == 2
            # A silent stranger holds up nobody.
            with socket.create_connection(("127.0.0.1", uri.port)):
                assert Pyro5.Proxy(uri).double(2) == 4
            assert secret.encode()[9:] not in andiron.encode(radio)


def test_what_has_no_place_here_says_so(threaded):
    with socket.socket() as sock:
        with pytest.raises(NotImplementedError):
            Pyro5.Daemon(connected_socket=sock)
        with pytest.raises(NotImplementedError):
            Pyro5.Proxy("PYRO:a@localhost:1", connected_socket=sock)


# Settings.


def test_settings_are_those_of_the_process(monkeypatch):
    config = Configuration()
    assert (config.HOST, config.NS_PORT, config.SERVERTYPE, config.COMMTIMEOUT, config.THREADPOOL_SIZE) == (
        "localhost",
        9090,
        "thread",
        0.0,
        80,
    )
    config.SERIALIZERS_ACCEPTED.add("pickle")
    assert "pickle" not in Configuration().SERIALIZERS_ACCEPTED
    monkeypatch.setenv("PYRO_COMMTIMEOUT", "2.5")
    monkeypatch.setenv("PYRO_THREADPOOL_SIZE", "7")
    monkeypatch.setenv("PYRO_DETAILED_TRACEBACK", "true")
    monkeypatch.setenv("PYRO_SERIALIZERS_ACCEPTED", "json, pickle")
    monkeypatch.setenv("PYRO_SECRET", "/a/file")
    config.reset()
    assert (config.COMMTIMEOUT, config.THREADPOOL_SIZE, config.DETAILED_TRACEBACK) == (2.5, 7, True)
    assert {"json", "pickle"} == config.SERIALIZERS_ACCEPTED
    assert "/a/file" not in config.dump()
    assert config.copy().as_dict() == config.as_dict()
    config.reset(use_environment=False)
    assert config.COMMTIMEOUT == 0.0
    monkeypatch.setenv("PYRO_COMMTIMEOUT", "long")
    with pytest.raises(ValueError, match="PYRO_COMMTIMEOUT='long'"):
        Configuration()
    monkeypatch.delenv("PYRO_COMMTIMEOUT")
    monkeypatch.setenv("PYRO_NOTHING", "1")
    with pytest.raises(ValueError, match="no setting NOTHING"):
        Configuration()
    with pytest.raises(AttributeError):
        config.NOTHING = 1


def test_settings_are_used(threaded):
    Pyro5.config.COMMTIMEOUT = 3.5
    assert Pyro5.Proxy("PYRO:a@localhost:1")._pyroTimeout == 3.5
    Pyro5.config.SERIALIZER = "smoke"
    with pytest.raises(ValueError, match="smoke"):
        Pyro5.Proxy("PYRO:a@localhost:1")
    Pyro5.config.SERIALIZER = "pickle"
    assert proxy_of(threaded, Radio()).double(1) == 2


@pytest.mark.parametrize("said", ["host", "unixsocket", "nathost"])
def test_a_port_in_the_place_of_a_host_is_named(said):
    with pytest.raises(TypeError, match=f"{said}=9999: it is a str"):
        Pyro5.Daemon(**{said: 9999})


def test_the_modules_have_the_names_that_they_had():
    from andiron.compat.pyro.api import Daemon, Proxy, expose

    from andiron.compat.pyro import api, client, core, server, util

    assert (api.Daemon, client.Proxy, expose) == (Daemon, Proxy, server.expose)
    assert (core.Daemon, core.Proxy, core.URI) == (Daemon, Proxy, Pyro5.URI)
    assert util.SerializerBase is Pyro5.SerializerBase
