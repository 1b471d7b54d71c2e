"""Names of objects, kept in the store of an Andiron server."""

import contextlib
import importlib
import signal
import socket
import sys
import threading

import pytest

import andiron
from andiron.compat import _shared
from andiron.compat.pyro import batches, errors, names, nameserver
from andiron.compat.pyro._config import config
from andiron.compat.pyro.client import Proxy
from andiron.compat.pyro.core import URI
from andiron.compat.pyro.server import Daemon, expose
from conftest import free_port, needs_unix
from test_compat_pyro_daemon import certificate, new_secret  # noqa: F401 - a fixture

HERE = "PYRO:thing@localhost:4444"
THERE = "PYRO:other@localhost:5555"


@pytest.fixture
def at(home, monkeypatch):
    """A server that takes the place of a name server: host and port."""
    monkeypatch.setattr(config, "NS_PORT", 1)  # where nobody is
    with andiron.Server({}, "tcp://localhost:0", state=False, threads=_shared.serving_threads()) as server:
        yield "localhost", int(server.addresses[0].rpartition(":")[2])


@pytest.fixture
def ns(at):
    with names.locate_ns(*at) as found:
        yield found


def test_a_name_is_registered_found_and_removed(ns):
    assert (ns.ping(), ns.count(), ns.list()) == (None, 0, {})
    assert ns.register("a", HERE) is None
    ns.register("b", URI(THERE), metadata=("blue", "red"))
    assert (ns.lookup("a"), ns.lookup("b")) == (URI(HERE), URI(THERE))
    assert ns.lookup("a", return_metadata=True) == (URI(HERE), set())
    assert ns.lookup("b", True) == (URI(THERE), {"red", "blue"})
    assert ns.list() == {"a": HERE, "b": THERE}
    assert ns.list(return_metadata=True) == {"a": (HERE, set()), "b": (THERE, {"red", "blue"})}
    ns.register("a", THERE)
    assert ns.lookup("a") == URI(THERE)
    assert (ns.remove("a"), ns.remove("a"), ns.remove(), ns.count()) == (1, 0, 0, 1)
    with pytest.raises(errors.NamingError, match="unknown name: a"):
        ns.lookup("a")


def test_a_name_that_is_taken_is_left_alone_where_that_is_asked_for(ns):
    ns.register("a", HERE, safe=True)
    with pytest.raises(errors.NamingError, match="already registered: a"):
        ns.register("a", THERE, safe=True)
    assert ns.lookup("a") == URI(HERE)


def test_of_those_who_ask_for_a_free_name_at_once_one_gets_it(at):
    given = []

    def register(number):
        with names.locate_ns(*at) as ns:
            try:
                ns.register("one", f"PYRO:thing{number}@localhost:1", safe=True)
            except errors.NamingError:
                return
            given.append(f"thing{number}")

    threads = [threading.Thread(target=register, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with names.locate_ns(*at) as ns:
        assert given == [ns.lookup("one").object]


def test_a_prefix_means_itself_and_a_pattern_is_one_of_python(ns):
    for name in ("a_1", "a_2", "ab1", "aX", "A_3", "b%", "b1", "ünïcode", "a/b~c@d", "xa_"):
        ns.register(name, HERE)
    assert sorted(ns.list(prefix="a_")) == ["a_1", "a_2"]
    assert sorted(ns.list(prefix="b%")) == ["b%"]
    assert sorted(ns.list(prefix="ü")) == ["ünïcode"]
    assert sorted(ns.list(regex=r"a_\d$")) == ["a_1", "a_2"]
    assert sorted(ns.list(regex="(?i)A_")) == ["A_3", "a_1", "a_2"]
    assert ns.list(regex="1") == {}
    assert ns.remove(prefix="a_") == 2
    assert ns.remove(regex="b.") == 2
    assert sorted(ns.list()) == ["A_3", "a/b~c@d", "aX", "ab1", "xa_", "ünïcode"]
    with pytest.raises(errors.NamingError, match="invalid regex"):
        ns.list(regex="(")
    with pytest.raises(ValueError, match="one thing at a time"):
        ns.list("a", "b")


def test_tags_are_asked_for_all_or_any(ns):
    ns.register("car", HERE, metadata={"red", "fast"})
    ns.register("rose", HERE, metadata=["red"])
    ns.register("stone", HERE)
    assert ns.yplookup(meta_all={"red"}) == {"car": (HERE, {"red", "fast"}), "rose": (HERE, {"red"})}
    assert ns.yplookup(meta_all=["red", "fast"], return_metadata=False) == {"car": HERE}
    assert sorted(ns.yplookup(meta_any=["fast", "slow"])) == ["car"]
    assert (ns.yplookup(meta_any=["slow"]), ns.yplookup()) == ({}, {})
    ns.set_metadata("rose", {"white"})
    ns.set_metadata("car", None)
    assert (ns.lookup("rose", True)[1], ns.lookup("car", True)) == ({"white"}, (URI(HERE), set()))
    with pytest.raises(ValueError, match="meta_all or meta_any"):
        ns.yplookup({"a"}, {"b"})
    with pytest.raises(errors.NamingError, match="unknown name: nothing"):
        ns.set_metadata("nothing", {"a"})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda ns: ns.register("a", 7),
        lambda ns: ns.register(7, HERE),
        lambda ns: ns.register("a", HERE, metadata="text"),
        lambda ns: ns.register("a", HERE, metadata=[7]),
        lambda ns: ns.register("a", HERE, metadata=7),
        lambda ns: ns.set_metadata("a", "text"),
        lambda ns: ns.set_metadata(7, {"a"}),
        lambda ns: ns.yplookup(meta_all="text"),
        lambda ns: ns.yplookup(meta_any="text"),
    ],
)
def test_what_is_no_name_address_or_tag_is_refused(ns, wrong):
    with pytest.raises(TypeError):
        wrong(ns)
    assert ns.count() == 0


def test_what_is_no_address_is_not_registered(ns):
    with pytest.raises(errors.PyroError):
        ns.register("a", "no address")
    assert ns.count() == 0


def test_names_are_entries_of_the_store(at, ns):
    ns.register("a", HERE, metadata={"x"})
    with andiron.connect(f"tcp://localhost:{at[1]}") as hub:
        store = hub.store.author("pyro.names")
        assert dict(store.items()) == {"a": {"uri": HERE, "metadata": ["x"]}}
        store["by hand"] = THERE
        assert ns.lookup("by hand", True) == (URI(THERE), set())
        ns.set_metadata("by hand", {"y"})
        assert store["by hand"] == {"uri": THERE, "metadata": ["y"]}
        for broken in (7, {}, {"uri": 7}, {"uri": HERE, "metadata": 7}, {"uri": HERE, "metadata": [[]]}):
            store["broken"] = broken
            with pytest.raises(errors.NamingError, match="'broken'"):
                ns.lookup("broken")
            with pytest.raises(errors.NamingError, match="'broken'"):
                ns.set_metadata("broken", ["y"])
            assert sorted(ns.list()) == ["a", "by hand"]  # it is in nobody's way
            assert sorted(ns.yplookup(meta_any={"x", "y"})) == ["a", "by hand"]
            assert ns.remove("broken") == 1


def test_without_a_host_it_is_the_server_of_this_machine(home, monkeypatch):
    monkeypatch.setattr(config, "NS_PORT", 1)
    with pytest.raises(errors.NamingError, match="andiron serve"):
        names.locate_ns()
    with andiron.Server({}, threads=_shared.serving_threads()):
        for locate in (names.locate_ns, names.locateNS):
            with locate() as ns:
                ns.register(locate.__name__, HERE)
                assert ns._pyroUri.object == "Pyro.NameServer"
        assert names.resolve("PYRONAME:locateNS") == URI(HERE)
    with andiron.Server({}, threads=_shared.serving_threads()), names.locate_ns() as ns:
        assert sorted(ns.list()) == ["locateNS", "locate_ns"]  # it keeps what it has


def test_the_settings_say_where_it_is(at, monkeypatch):
    monkeypatch.setattr(config, "NS_PORT", at[1])
    with names.locate_ns() as ns, names.locate_ns(*at) as same:
        ns.register("a", HERE)
        assert same.lookup("a") == URI(HERE)
    with andiron.Server({}, state=False, threads=_shared.serving_threads()):
        with names.locate_ns() as ns:  # it goes before the one of the machine
            assert ns.list() == {"a": HERE}
        with pytest.raises(errors.NamingError, match="localhost:1"):
            names.locate_ns(port=1)  # where it was said, and nowhere else
    monkeypatch.setattr(config, "NS_PORT", 1)
    with names.locate_ns(port=at[1]) as ns:
        assert ns.list() == {"a": HERE}


def test_where_there_is_none_that_is_said_at_once(home):
    with pytest.raises(errors.NamingError, match="localhost:1"):
        names.locate_ns("localhost", 1)
    with pytest.raises(errors.NamingError, match="localhost:1"):
        names.resolve("PYRONAME:thing@localhost:1")


def test_nobody_who_is_no_server_of_this_user_is_believed(home):
    """Y17: a name server was whoever answered first."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        with pytest.raises(errors.NamingError, match="secret"):
            names.locate_ns("localhost", stranger.getsockname()[1])


def test_addresses_by_name_and_by_tags_are_resolved(at, ns):
    ns.register("a", HERE, metadata={"red", "big"})
    ns.register("b", THERE, metadata={"red"})
    where = f"@localhost:{at[1]}"
    assert names.resolve(f"PYRONAME:a{where}") == URI(HERE)
    assert names.resolve(URI(f"pyroname:b{where}")) == URI(THERE)
    assert names.resolve(f"PYROMETA:red,big{where}") == URI(HERE)
    assert {str(names.resolve(f"PYROMETA:red{where}")) for _ in range(60)} == {HERE, THERE}
    assert names.resolve(HERE) == URI(HERE)
    with pytest.raises(errors.NamingError, match="unknown name: c"):
        names.resolve(f"PYRONAME:c{where}")
    with pytest.raises(errors.NamingError, match="'blue', 'red'"):
        names.resolve(f"PYROMETA:red,blue{where}")
    with pytest.raises(TypeError):
        names.resolve(7)


def test_a_name_that_is_not_there_yet_is_waited_for(at, ns, monkeypatch):
    where = f"@localhost:{at[1]}"
    asked = threading.Event()
    lookup = names.NameServer.lookup

    def seen(self, *arguments):
        try:
            return lookup(self, *arguments)
        finally:
            asked.set()

    monkeypatch.setattr(names.NameServer, "lookup", seen)

    def register():
        asked.wait(60)
        ns.register("late", HERE, metadata={"late"})

    thread = threading.Thread(target=register)
    thread.start()
    assert names.resolve(f"PYRONAME:late{where}", delay_time=20) == URI(HERE)
    thread.join()
    monkeypatch.setattr(config, "NS_LOOKUP_DELAY", 20)
    assert names.resolve(f"PYROMETA:late{where}") == URI(HERE)
    assert names.yplookup(ns, {"never"}, delay_time=0.01) == {}


def test_a_connection_is_ended_and_made_anew(at):
    ns = names.locate_ns(*at)
    assert (ns._pyroBind(), ns._pyroConnection is not None) == (False, True)
    ns._pyroRelease()
    assert ns._pyroConnection is None
    assert (ns._pyroBind(), ns._pyroBind(), ns.count()) == (True, False, 0)
    ns._pyroReconnect()
    ns._pyroTimeout = 5
    assert ns.count() == 0
    ns._pyroRelease()
    assert ns.count() == 0
    ns._pyroRelease()


def test_a_name_server_that_ended_and_came_back_is_found_again(home):
    def serve(port):
        return andiron.Server({}, f"tcp://localhost:{port}", state=False, threads=_shared.serving_threads())

    port = free_port()
    with serve(port):
        ns = names.locate_ns("localhost", port)
        ns.register("a", HERE)
    for attempt in (lambda: ns.lookup("a"), lambda: ns._pyroReconnect(tries=1)):
        with pytest.raises(errors.PyroError):
            attempt()
    with serve(port):
        ns._pyroReconnect(tries=2)
        assert ns.list() == {}
    with pytest.raises(errors.PyroError):
        ns.list()
    with serve(port):
        assert ns.list() == {}
        ns._pyroRelease()


def test_any_thread_may_use_it(ns):
    found = []

    def use(number):
        ns.register(f"name{number}", HERE)
        found.append(ns.lookup(f"name{number}"))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [URI(HERE)] * 5
    assert ns.count() == 5


def test_keys_of_old_are_not_taken_for_a_proof(home):
    for wrong in (
        lambda: names.locateNS(hmac_key=b"key"),
        lambda: names.resolve("PYRONAME:a", hmac_key=b"key"),
    ):
        with pytest.raises(NotImplementedError, match="secret"):
            wrong()


def test_classes_are_told_by_tags():
    class Base:
        pass

    class Derived(Base):
        pass

    tags = names.type_meta(Derived)
    assert names.type_meta(Derived()) == tags
    assert {tag.rpartition(".")[2] for tag in tags} == {"Base", "Derived"}
    assert all(tag.startswith("class:test_compat_pyro_names.") for tag in tags)
    assert names.type_meta(Derived, prefix="is ") == {"is " + tag[len("class:") :] for tag in tags}


# Name servers.


@contextlib.contextmanager
def running(**options):
    """A name server at a free port, whose loop runs on a thread."""
    _, daemon, broadcast = nameserver.start_ns(port=0, **options)
    assert broadcast is None
    thread = threading.Thread(target=daemon.requestLoop)
    thread.start()
    try:
        yield daemon
    finally:
        daemon.shutdown()
        thread.join(60)
        assert not thread.is_alive()


def located(daemon):
    host, _, port = daemon.locationStr.rpartition(":")
    return names.locate_ns(host, int(port))


def test_a_name_server_is_a_daemon_with_an_object(home):
    with running() as daemon, located(daemon) as ns:
        uri = daemon.uriFor("Pyro.NameServer")
        assert (ns.lookup("Pyro.NameServer"), ns.count()) == (uri, 1)
        assert ns.lookup("Pyro.NameServer", True)[1] == {"class:Pyro5.nameserver.NameServer"}
        with Proxy(uri) as proxy:
            proxy.register("a", HERE, metadata={"x"})
            assert proxy.lookup("a", return_metadata=True) == (URI(HERE), {"x"})
            with pytest.raises(errors.NamingError, match="unknown name: b"):
                proxy.lookup("b")
            assert [ns.remove("Pyro.NameServer"), ns.remove(prefix="Pyro"), ns.remove(regex=".*")] == [
                0,
                0,
                1,
            ]
            assert proxy.count() == 1


def test_names_are_kept_in_a_folder(home):
    storage = f"sql:{home}/names"
    with running(storage=storage) as daemon, located(daemon) as ns:
        ns.register("a_1", HERE, metadata={"x"})
    with running(storage=storage) as daemon, located(daemon) as ns:
        assert ns.lookup("a_1", True) == (URI(HERE), {"x"})
        assert ns.lookup("Pyro.NameServer") == daemon.uriFor("Pyro.NameServer")
        ns.register("ab1", HERE)
        assert ns.remove(prefix="a_") == 1  # Y10
        assert sorted(ns.list()) == ["Pyro.NameServer", "ab1"]
    with running() as daemon, located(daemon) as ns:
        assert ns.count() == 1


def test_what_is_no_storage_is_refused(home):
    file = home / "names.sql"
    file.write_text("")
    for wrong in ("sql:", "sql", "oracle:names", f"sql:{file}"):
        with pytest.raises(ValueError, match="storage"):
            nameserver.start_ns(port=0, storage=wrong)


@needs_unix
def test_a_name_server_may_be_at_a_socket(home):
    path = f"{home}/names.sock"
    uri, daemon, _ = nameserver.start_ns(unixsocket=path)
    with daemon, names.locate_ns(f"./u:{path}") as ns:
        assert ns.lookup("Pyro.NameServer") == uri
        ns.register("a", HERE)
        assert names.resolve(f"PYRONAME:a@./u:{path}") == URI(HERE)


def test_a_proxy_finds_its_object_by_name_and_where_it_has_moved(home):
    @expose
    class Thing:
        def __init__(self, number):
            self.number = number

        def which(self):
            return self.number

    with running() as names_daemon, located(names_daemon) as ns:
        proxy = Proxy(f"PYRONAME:thing@{names_daemon.locationStr}")
        for number in range(2):
            with Daemon() as daemon:
                ns.register("thing", daemon.register(Thing(number)))
                proxy._pyroReconnect(tries=1)
                assert proxy.which() == number
        proxy._pyroRelease()


def test_the_loop_of_a_name_server_may_be_that_of_another_daemon(home, monkeypatch):
    monkeypatch.setattr(config, "SERVERTYPE", "multiplex")
    uri, names_daemon, _ = nameserver.start_ns(port=0)
    with names_daemon, Daemon() as daemon:
        daemon.combine(names_daemon)
        thread = threading.Thread(target=daemon.requestLoop)
        thread.start()
        with Proxy(uri) as proxy, located(names_daemon) as ns:
            proxy.register("a", HERE)
            assert ns.lookup("a") == URI(HERE)
        daemon.shutdown()
        thread.join(60)
        assert not thread.is_alive()


def test_a_name_server_runs_by_itself(processes, home):
    program = processes.start(
        sys.executable,
        "-u",
        "-m",
        "andiron.compat.pyro.nameserver",
        "--port",
        "0",
        "--storage",
        "sql:names",
        cwd=home,
    )
    assert program.stdout.readline().startswith("NS running on localhost:")
    uri = URI(program.stdout.readline().strip().partition(" = ")[2])
    with names.locate_ns(uri.host, uri.port) as ns:
        ns.register("a", HERE)
        assert ns.list() == {"a": HERE, "Pyro.NameServer": str(uri)}
    program.send_signal(signal.SIGINT)
    said, failed = program.communicate(timeout=60)
    assert (said, failed) == ("NS shut down.\n", "")


def test_a_loop_ends_by_its_condition(home, capsys):
    nameserver.start_ns_loop(port=0, loopCondition=lambda: False)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in said] == ["NS", "URI", "NS"]


def test_names_of_what_is_gone_are_removed(home, monkeypatch):
    """Y11: whatever is registered, names go on to be cleaned."""
    with running() as daemon, located(daemon) as ns, Daemon() as there:
        with Daemon() as gone:
            ns.register("gone", gone.uriFor("thing"))
        ns.register("socket", "PYRO:thing@./u:/nonexistent/socket")
        ns.register("there", there.uriFor("thing"))
        ns.register("by name", "PYRONAME:there")
        ns.register("at a name", "PYRO:thing@./u:andiron")
        with andiron.connect(f"tcp://{daemon.locationStr}") as hub:
            hub.store.author("pyro.names")["no address"] = "text"
        cleaner = nameserver.AutoCleaner(daemon.nameserver, 3)
        cleaner.clean()
        assert sorted(cleaner.unreachable) == ["gone", *(["socket"] if hasattr(socket, "AF_UNIX") else [])]
        cleaner.clean()
        assert ns.count() == 7
        monkeypatch.setattr(cleaner, "max_unreachable_time", 0)
        cleaner.clean()
        assert cleaner.unreachable == {}
        left = {"Pyro.NameServer", "there", "by name", "at a name", "no address"}
        assert set(ns.list()) - {"socket"} == left


def test_cleaning_ends_with_the_name_server(home, monkeypatch):
    monkeypatch.setattr(config, "NS_AUTOCLEAN", 0.01)
    with pytest.raises(ValueError, match="NS_AUTOCLEAN"):
        nameserver.start_ns(port=0)
    monkeypatch.setattr(nameserver.AutoCleaner, "min_autoclean_value", 0)
    monkeypatch.setattr(nameserver.AutoCleaner, "max_unreachable_time", 0)
    with running() as daemon, located(daemon) as ns:
        with Daemon() as gone:
            uri = gone.uriFor("thing")
        ns.register("gone", uri)
        for _ in range(100_000):
            if "gone" not in ns.list():
                break
        assert ns.count() == 1
        thread = daemon.cleaner_thread
        assert thread.is_alive()
    assert not thread.is_alive()


def test_beyond_this_machine_it_is_reached_with_a_secret(certificate, monkeypatch):  # noqa: F811
    secret = new_secret()
    with pytest.raises(errors.SecurityError):
        nameserver.start_ns("0.0.0.0", port=0)
    uri, daemon, _ = nameserver.start_ns("0.0.0.0", port=0, secret=secret)
    with daemon:
        with pytest.raises(errors.NamingError, match="secret"):
            names.locate_ns("0.0.0.0", uri.port)
        with pytest.raises(errors.NamingError, match="secret"):
            names.locate_ns("0.0.0.0", uri.port, secret=new_secret())
        with names.locate_ns("0.0.0.0", uri.port, secret=secret) as ns:
            assert ns.list() == {"Pyro.NameServer": str(uri)}
            ns.register("a", HERE)
        assert names.resolve(f"PYRONAME:a@0.0.0.0:{uri.port}", secret=secret) == URI(HERE)
        monkeypatch.setattr(config, "SECRET", secret)
        assert names.resolve(f"PYRONAME:a@0.0.0.0:{uri.port}") == URI(HERE)


def test_names_are_in_the_modules_in_which_they_were():
    from andiron.compat import pyro

    for module, name, own in (
        ("core", "locate_ns", names.locate_ns),
        ("core", "resolve", names.resolve),
        ("core", "type_meta", names.type_meta),
        ("core", "batch", batches.batch),
        ("core", "expose", expose),
        ("client", "BatchProxy", batches.BatchProxy),
        ("nameserver", "start_ns", nameserver.start_ns),
        ("nameserver", "start_ns_loop", nameserver.start_ns_loop),
        ("naming", "startNS", nameserver.start_ns),
    ):
        assert getattr(getattr(pyro, module), name) is own
        assert getattr(pyro.api, name, own) is own
    for module in ("callcontext", "naming", "socketutil"):
        assert importlib.import_module(f"andiron.compat.pyro.{module}") is getattr(pyro, module)
    assert pyro.callcontext.current_context is pyro.current_context
    assert pyro.naming.locateNS is pyro.locateNS
    assert pyro.socketutil.getIpAddress("localhost", ipVersion=4) == "127.0.0.1"
    assert str(pyro.socketutil.get_ip_address("127.0.0.1")) == "127.0.0.1"
    everything = {}
    exec("from andiron.compat.pyro.api import *", everything)
    assert everything["locate_ns"] is names.locate_ns
    assert everything["start_ns"] is nameserver.start_ns
    for module in (pyro.core, pyro.client, pyro):
        with pytest.raises(AttributeError):
            module.nothing


def test_the_server_of_this_machine_may_be_one_that_the_environment_says(at, monkeypatch):
    monkeypatch.setenv("ANDIRON_ADDRESS", f"tcp://localhost:{at[1]}")
    with names.locate_ns() as ns:
        assert str(ns._pyroUri) == f"PYRO:Pyro.NameServer@localhost:{at[1]}"
    for address, location in (
        ("tls://house", "house:9099"),
        ("tls://[::1]:7", "[::1]:7"),
        ("unix:/run/names", "./u:/run/names"),
        ("house", "./u:house"),
    ):
        assert names._location_of(address) == location
        assert URI(f"PYRO:Pyro.NameServer@{location}").location == location


def test_threads_that_find_no_connection_make_one(at):
    with names.locate_ns(*at) as ns:
        ns._pyroRelease()
        met = threading.Barrier(5, timeout=60)
        hubs = []

        def use():
            met.wait()
            ns.count()
            hubs.append(ns._pyroConnection)

        threads = [threading.Thread(target=use) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert hubs == [ns._pyroConnection] * 5
