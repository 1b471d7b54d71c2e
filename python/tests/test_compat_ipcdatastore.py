"""Programs that were written for service.ipcdatastore, and what went wrong there."""

import gc
import json
import os
import re
import shutil
import signal
import sys
import threading

import pytest

import andiron
from andiron.compat import _shared, ipcdatastore
from andiron.compat.ipc import IPCClient, IPCServer
from andiron.compat.ipcdatastore import DataObject, DataObjects, IPCClientX
from conftest import ROOT, free_port, needs_unix
from stores import Scenario, served

#: How many scenarios there are; 1000 in `make soak`.
SCENARIOS = int(os.environ.get("ANDIRON_SCENARIOS", "20"))
#: In one of so many the server is a process, and killed: a start of Python takes longer than the rest.
KILLED = 10

SERVER = """
    import sys
    from andiron.compat.ipc import IPCServer
    from andiron.compat.ipcdatastore import DataObjects

    server = IPCServer(DataObjects(persist_dir=sys.argv[1]), port=int(sys.argv[2]))
    server.start()
    print("started", flush=True)
    server.join()
"""


@pytest.fixture
def port(home):
    return free_port()


@pytest.fixture
def store(port, tmp_path):
    """A server that keeps what is persistent."""
    with served(port, tmp_path / "kept") as server:
        yield server


@pytest.fixture
def client(store):
    client = IPCClientX(port=store.port)
    yield client
    client.close()


def process(processes, folder, port):
    """A server in a process of its own."""
    started = processes.python(SERVER, str(folder), str(port))
    assert started.stdout.readline() == "started\n", started.stderr.read()
    return started


def play(number, processes, folder, port):
    scenario = Scenario(number, port)
    try:
        with served(port, folder):
            scenario.run(10)
        scenario.server_ended()
        scenario.unavailable()
        if number % KILLED == 0:
            server = process(processes, folder, port)
            scenario.look()
            scenario.run(10)
            server.kill()
            server.communicate()
            scenario.server_ended()
        with served(port, folder):
            scenario.look()
            scenario.run(5)
    finally:
        scenario.close()


def test_whatever_is_done_in_whatever_order_is_what_is_read_also_behind_a_stop_and_a_kill(
    processes, tmp_path
):
    for number in range(SCENARIOS):
        try:
            play(number, processes, tmp_path / str(number), free_port())
        except Exception as error:
            raise AssertionError(f"in scenario {number}: {error!r}") from error


# What went wrong there.


def test_clients_of_one_name_do_not_spoil_each_others_cache(store, client):
    other = IPCClientX(port=store.port)
    client.set("x", 1)
    assert client.get("x") == other.get("x") == 1
    other.set("x", 2)
    assert other.get("x") == 2
    assert client.get("x", return_tuple=True)[::2] == (2, False)
    assert client.get("x", return_tuple=True)[::2] == (2, True)


def test_what_is_read_is_the_readers_own(client):
    client.set("x", {"a": [1]})
    for _ in range(3):
        got = client.get("x")
        assert got == {"a": [1]}
        got["a"].append(2)
    assert client.cache[client.addonname, "x"].value == {"a": [1]}
    client.cache = {}
    assert client.cache == {}
    assert client.get("x", return_tuple=True).cached is False


def test_what_was_set_is_read_by_everybody_and_the_last_one_wins(store, client):
    other = IPCClientX(port=store.port)
    for number in range(20):
        for value in range(5):
            assert client.set("x", (number, value))
        assert other.get("x") == (number, 4)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nobody is killed here")
def test_neither_a_stop_nor_two_crashes_in_a_row_lose_what_was_persistent(processes, port, tmp_path):
    client = IPCClientX(port=port)
    with served(port, tmp_path):
        client.set("stop", 1, persist=True)
        client.set("cleared", 1, author="cleared", persist=True)
    for crash in ("first", "second"):
        server = process(processes, tmp_path, port)
        client.set("plain again", 1, persist=True)
        client.set("plain again", 2)
        assert client.delete("cleared", author="cleared") in (1, None)
        assert client.set(crash, bytearray(3 << 20), persist=True)
        server.kill()
        server.communicate()
    with served(port, tmp_path):
        assert client.get_data_list() == {client.addonname: ["first", "second", "stop"]}
        assert client.get("second") == bytearray(3 << 20)


def test_what_was_cleared_does_not_come_back(processes, port, tmp_path):
    client = IPCClientX(port=port)
    server = process(processes, tmp_path, port)
    client.set("x", 1, persist=True)
    client.clearall()
    client.set("y", 1, persist=True)
    server.kill()
    server.communicate()
    with served(port, tmp_path):
        assert client.get_data_list() == {client.addonname: ["y"]}


def test_files_of_others_in_the_folder_are_neither_read_nor_touched(port, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    import gzip
    import pickle

    for name in ("persist.p.gz", "@weather~x.p.gz", "@what"):
        with gzip.open(tmp_path / name, "wb") as file:
            pickle.dump(["closed", {("weather", "x"): Evil()}], file)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    with served(port, tmp_path):
        assert IPCClientX(port=port).get_data_list() == {}
    assert not (tmp_path / "executed").exists()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_no_caller_ends_the_store_or_has_it_keep_less(store, client):
    far = client.get_exposed_object()
    for name in ("close", "_leave", "_served", "_begin_serving"):
        with pytest.raises(AttributeError):
            getattr(far, name)()
    far.setautosave(False)
    far.set("x", 1, "weather", True)
    far.clearcache("tests")
    port, folder = store.port, store.expose_obj._folder
    store.stop()
    with served(port, folder):
        assert client.get("x", author="weather") == 1


def test_no_caller_chooses_a_path(store, client, tmp_path):
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    before = folder.stat().st_mode
    far = client.get_exposed_object()
    far.set("x", 1, "weather")
    path = str(folder / "saved")
    assert far.savedata("weather", path) is True
    far.set("x", 2, "weather")
    assert far.restoredata("weather", path) is True
    assert far.get("tests", "x", "weather").value == 1
    assert far.restoredata("weather", "/etc/passwd") is False
    assert (list(folder.iterdir()), folder.stat().st_mode) == ([], before)


def test_what_a_server_cannot_keep_is_told(port):
    with served(port):
        client = IPCClientX(port=port)
        assert client.set("x", 1)
        calls = [
            ("savedata",),
            ("add_persistence", "x"),
            ("remove_persistence", "x"),
            ("set", "x", 2, None, True),
        ]
        for method, *arguments in calls:
            client.raise_exception = False
            assert getattr(client, method)(*arguments) is False
            client.raise_exception = True
            with pytest.raises(ipcdatastore.SaveFailedError, match="folder") as raised:
                getattr(client, method)(*arguments)
            assert raised.value.errno == ipcdatastore.IPCERROR_SAVEFAILED
        with pytest.raises(ipcdatastore.RestoreFailedError, match="folder"):
            client.restoredata()
        assert client.get("x") == 1
        far = client.get_exposed_object()
        for method, arguments in [("savedata", (7, "x")), ("set", ("x", 2, 7, True))]:
            with pytest.raises(ipcdatastore.SaveFailedError, match="folder"):
                getattr(far, method)(*arguments)


@pytest.mark.parametrize("datatype", ["pickle", "json", "serpent", "marshal", "native"])
def test_every_serializer_works_and_a_string_is_no_error(store, datatype):
    client = IPCClientX(port=store.port, datatype=datatype)
    for value in map(chr, range(10)):
        assert client.set("x", value)
        assert client.get("x") == value
        assert client.delete("x") == value


def test_a_disk_that_cannot_be_written_ends_no_connection(port, tmp_path):
    """Of others who write meanwhile nothing fails."""
    with served(port, tmp_path / "kept") as server:
        client = IPCClientX(port=port)
        client.raise_exception = True
        assert client.set("x", 1, persist=True)
        hub = client.hub
        shutil.rmtree(tmp_path / "kept")
        for call in (
            lambda: client.set("x", 2, persist=True),
            client.savedata,
            lambda: server.expose_obj.set("x", 2, "weather", True),
            lambda: client.get_exposed_object().savedata("weather", "x"),
        ):
            with pytest.raises(ipcdatastore.SaveFailedError, match=r"removed or replaced") as raised:
                call()
            assert raised.value.errno == ipcdatastore.IPCERROR_SAVEFAILED
        assert client.set("y", 1)
        assert client.hub is hub
        client.close()


KINDS = [
    (andiron.UnavailableError, "SaveFailedError", 6),  # the server is there, so it is about its disk
    (andiron.DeadlineError, "ServerUnavailableError", 3),
    (andiron.AuthenticationError, "ServerUnavailableError", 3),
    (andiron.UnknownError, "ServerReconnectFailedError", 4),
    (andiron.QuotaError, "SaveFailedError", 6),
    (andiron.UnsupportedError, "SaveFailedError", 6),
    (andiron.TooLargeError, "UnknownError", 0),
    (andiron.DeniedError, "UnknownError", 0),
    (TypeError, "UnknownError", 0),
    (RuntimeError, "UnknownError", 0),
]


@pytest.mark.parametrize(("raised", "named", "number"), KINDS)
def test_each_failure_has_the_class_and_number_that_it_had_and_says_what_it_is(
    client, monkeypatch, raised, named, number
):
    tries = []

    def fail(*_, **__):
        tries.append(raised)
        raise raised("this is what went wrong")

    monkeypatch.setattr(andiron.Store, "set", fail)
    client.num_of_server_retries = 3
    client.get("x")
    assert client.set("x", 1) is False
    client.raise_exception = True
    with pytest.raises(getattr(ipcdatastore, named)) as caught:
        client.set("x", 1)
    error = caught.value
    assert isinstance(error, ipcdatastore.IPCClientError)
    assert (type(error).__name__, error.errno) == (named, number)
    assert error.message == str(error)
    assert "this is what went wrong" in str(error)
    assert type(error.__cause__) is raised
    assert "in fail" in error.tb
    # What cannot have been done is tried again.
    assert len(tries) == (3 + 3 if raised is andiron.UnavailableError else 2)


@pytest.mark.parametrize("method", ["get", "delete"])
def test_what_may_have_been_done_is_done_once(client, monkeypatch, method):
    tries = []
    of, name = (andiron.Store, "entry") if method == "get" else (ipcdatastore._datastore, "taken")
    real = getattr(of, name)

    def lost_after(*arguments):
        tries.append(name)
        done = real(*arguments)
        if len(tries) == 1:
            raise andiron.UnknownError("the connection was lost")
        return done

    client.set("x", 1)
    monkeypatch.setattr(of, name, lost_after)
    assert getattr(client, method)("x") == (1 if method == "get" else None)
    assert len(tries) == (2 if method == "get" else 1)


def test_none_and_missing_differ_and_no_tries_are_no_success(store, client):
    client.set("x", None, persist=1)
    assert client.get("x", return_tuple=True).ts is not None
    assert client.get("y", return_tuple=True).ts is None
    client.num_of_server_retries = 0
    assert client.set("y", 1) is True
    port, folder = store.port, store.expose_obj._folder
    store.stop()
    assert client.set("y", 2) is False
    with served(port, folder):
        assert client.get_data_list() == {client.addonname: ["x"]}


def test_a_client_remembers_a_bounded_number_of_entries(client, monkeypatch):
    monkeypatch.setattr(ipcdatastore, "_GIVEN", 10)
    monkeypatch.setattr(ipcdatastore, "_AUTHORS", 5)
    for number in range(20):
        client.set("x", number, author=number)
        assert client.get("x", author=number) == number
    assert (len(client.cache), len(client._stores)) == (10, 5)
    assert client.get("x", author=0, return_tuple=True)[::2] == (0, False)


def test_whoever_writes_meanwhile_disturbs_nobody(store, client):
    over = threading.Event()

    def write():
        own = IPCClientX(port=store.port)
        number = 0
        while not over.is_set():
            number += 1
            assert own.set(number % 50, number, persist=number % 2)
        own.close()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    client.raise_exception = True
    for _ in range(10):
        assert client.savedata()
        assert set(client.get_data_list()) <= {client.addonname}
        assert client.clearcache()
    over.set()
    for writer in writers:
        writer.join()


# What is new.


@needs_unix
def test_what_nobody_wrote_is_read_without_a_question(store, client, native):
    client.set("x", [1, 2])
    assert client.get("x") == [1, 2]
    with store.p4daemon.connect() as hub:
        before = hub.store.stats().questions
        for _ in range(100):
            assert client.get("x") == [1, 2]
        assert hub.store.stats().questions == before


def test_every_program_of_andiron_has_the_same_entries(store, client):
    client.set("x", 20, author="weather")
    with andiron.connect(f"tcp://localhost:{store.port}") as hub:
        weather = hub.store.author("weather")
        assert weather["x"] == 20
        assert weather.entry("x").timestamp == client.get("x", author="weather", return_tuple=True).ts
        weather["y"] = {"a": 1}
    assert client.get("y", author="weather") == {"a": 1}
    assert client.get_data_list("weather") == {"weather": ["x", "y"]}


def test_the_store_of_a_plain_server_is_named_store(port):
    with andiron.Server({}, f"tcp://127.0.0.1:{port}", state=False, threads=1):
        client = IPCClientX(name="store", port=port)
        assert client.set("x", 1)
        assert client.get("x") == 1
        other = IPCClientX(port=port)
        other.raise_exception = True
        with pytest.raises(ipcdatastore.ServerUnavailableError, match=r"'kodi-IPC'.*there are 'store'"):
            other.get("x")


def test_an_object_may_stand_for_the_store_of_a_server_in_another_process(processes, port):
    server = processes.python(
        """
        import sys
        import andiron

        with andiron.Server({}, f"tcp://127.0.0.1:{sys.argv[1]}", state=False, threads=4):
            print("started", flush=True)
            sys.stdin.readline()
        """,
        str(port),
    )
    assert server.stdout.readline() == "started\n"
    data = DataObjects()
    data.set("early", 1, "weather")
    with andiron.connect(f"tcp://127.0.0.1:{port}", pump=True) as hub:
        data._stands_for(hub)
        hub.register("kodi-IPC", data)
        client = IPCClientX(port=port)
        assert client.set("x", 1, author="weather")
        assert data.get("me", "x", "weather").value == 1
        assert client.get_exposed_object().get("me", "x", "weather").value == 1
        assert client.get_data_list() == {"weather": ["early", "x"]}
        data.close()
        assert hub.store.author("weather")["x"] == 1


def test_without_a_port_the_name_is_enough(home, tmp_path):
    server = IPCServer(DataObjects(tmp_path / "kept"), name="weather", port=None)
    server.start()
    client = IPCClientX(name="weather", port=None)
    assert client.set("x", 1, persist=True)
    assert client.get("x", return_tuple=True).value == 1
    server.stop()


def test_a_secret_is_for_its_holders(port):
    from andiron._pure.transport.secret import Secret

    right, wrong = (Secret.new().text() for _ in range(2))
    server = IPCServer(DataObjects(), port=port, secret=right)
    server.start()
    assert not [address for address in server.p4daemon.addresses if address.startswith("unix:")]
    client = IPCClientX(port=port, secret=right)
    assert client.set("x", 1)
    assert client.get("x") == 1
    for other in (None, wrong):
        stranger = IPCClientX(port=port, secret=other)
        stranger.raise_exception = True
        with pytest.raises(ipcdatastore.ServerUnavailableError, match="secret"):
            stranger.get("x")
    server.stop()


def test_the_address_is_looked_at_for_each_call(store, client):
    uri = client.uri
    client.set("x", 1)
    assert client.get("x") == 1
    client.uri = "PYRO:kodi-IGA@localhost:1"
    assert not client.server_available()
    assert client.get("x") is None
    client.uri = uri
    assert client.get("x") == 1


def test_a_client_is_for_all_threads_and_ends_when_it_is_closed(client):
    def work(number):
        for value in range(20):
            assert client.set("x", value, author=number)
            assert client.get("x", author=number) == value
            client.clearcache()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(client.get_data_list()) == ["0", "1", "2", "3"]
    client.close()
    assert client.get("x", author=0) == 19


def test_the_author_is_the_add_on_that_runs(monkeypatch):
    class Addon:
        def getAddonInfo(self, what):  # noqa: N802 - Kodi calls it so
            return {"id": "script.weather"}[what]

    assert IPCClientX().addonname == "service.ipcdatastore"
    monkeypatch.setitem(sys.modules, "xbmcaddon", type(sys)("xbmcaddon"))
    sys.modules["xbmcaddon"].Addon = Addon
    assert IPCClientX().addonname == "script.weather"


def test_a_try_takes_no_longer_than_it_may_also_to_connect(port, monkeypatch):
    asked = []

    def connect(_address, *, timeout, secret_file):
        asked.append((timeout, secret_file))
        raise andiron.UnavailableError("nobody answers")

    monkeypatch.setattr(_shared, "connect", connect)
    client = IPCClientX(port=port)
    client.num_of_server_retries = 2
    for client.timeout in (0.5, 25.0):
        assert client.get("x") is None
    assert asked == [(0.5, None)] * 2 + [(5.0, None)] * 2


def test_it_gives_the_connection_that_it_has(store, client):
    client.set("x", 1, "a")
    hub = client.hub
    assert hub.store.author("a")["x"] == 1
    assert client.hub is hub
    client.close()
    assert client.hub is not hub
    assert client.get("x", "a") == 1


def test_it_is_a_client_of_objects_as_well(client):
    assert isinstance(client, IPCClient)
    assert client.server_available()
    assert (client.num_of_server_retries, client.raise_exception) == (5, False)
    assert client.ReturnData(1, 2.5, True)._asdict() == {"value": 1, "ts": 2.5, "cached": True}
    assert client.ReturnData.__name__ == "Data"


def test_scripts_of_one_kodi_share_it(port, tmp_path):
    """Each runs in an interpreter of its own."""
    from test_subinterpreters import Inside

    service = """
        from andiron.compat.ipc import IPCServer
        from andiron.compat.ipcdatastore import DataObjects

        server = IPCServer(DataObjects(kept), port=port)
        server.start()
        with server.p4daemon.connect() as hub, hub.store.author("scripts").watch("over") as changes:
            next(changes)
        server.stop()
        tell("stopped")
    """
    script = """
        from andiron.compat.ipcdatastore import IPCClientX

        client = IPCClientX(port=port)
        tell(client.set("x", [1, 2], persist=True), client.get("x"))
        tell(client.set("over", True, author="scripts"))
        client.close()
    """
    serving = Inside(tmp_path, service, port=port, kept=str(tmp_path / "kept"))
    client = IPCClientX(port=port)
    while not client.server_available():
        assert serving._wrong is None, serving._wrong
    assert Inside(tmp_path, script, port=port).told() == ["True [1, 2]", "True"]
    assert serving.told() == ["stopped"]
    with served(port, tmp_path / "kept"):
        assert client.get("x") == [1, 2]


# The object.


@pytest.fixture(params=["alone", "of an IPCServer", "of a Server"])
def data(request, port, tmp_path):
    """The object as its own program has it, and as others call it."""
    data = DataObjects(tmp_path / "kept")
    if request.param == "alone":
        yield data
        data.close()
        return
    if request.param == "of an IPCServer":
        server = IPCServer(data, port=port)
        server.start()
        yield IPCClientX(port=port).get_exposed_object()
        server.stop()
        return
    with andiron.Server({"data": data}, f"tcp://127.0.0.1:{port}", state=False, threads=2) as server:
        with andiron.connect(server.addresses[0]) as hub:
            yield hub["data"]
    data.close()


def test_the_object_has_its_methods_and_tells_what_is_missing_as_an_error(data):
    assert data.set("x", [1, 2], 7) is None
    found = data.get("tests", "x", "7")
    assert (type(found), found.value) == (DataObject, [1, 2])
    assert data.get("tests", "x", 7, True) == found
    assert data.get_data_list() == data.get_data_list("7") == {"7": ["x"]}
    assert data.get_data_list("8") == {}
    assert data.savedata(7, "morning") is True
    assert data.add_persistence("x", 7) is True
    assert data.remove_persistence("x", 7) is True
    assert data.delete("x", 7) == found
    for method, arguments in [
        ("get", ("tests", "x", 7)),
        ("delete", ("x", 7)),
        ("add_persistence", ("x", 7)),
    ]:
        with pytest.raises(ipcdatastore.VarNotFoundError, match="author=7, var_name=x") as raised:
            getattr(data, method)(*arguments)
        assert (raised.value.errno, raised.value.message) == (1, str(raised.value))
    assert data.restoredata(7, "evening") is False
    assert data.restoredata(7, "morning") is True
    assert data.get("tests", "x", 7) == found
    assert data.clearall() is data.clearcache("tests") is None
    assert data.get_data_list() == {}


def test_what_was_set_before_it_is_served_is_there_when_it_is(port, tmp_path):
    data = DataObjects(tmp_path)
    data.set("x", 1, "weather")
    data.set("y", 2, "weather", persist=True)
    server = IPCServer(data, port=port)
    server.start()
    client = IPCClientX(port=port)
    assert client.get_data_list() == {"weather": ["x", "y"]}
    client.set("z", 3, persist=True)
    assert data.get("me", "z", client.addonname).value == 3
    server.stop()
    assert data.get_data_list() == {client.addonname: ["z"], "weather": ["y"]}
    again = IPCServer(data, port=port)
    again.start()
    assert client.get("z") == 3
    again.stop()


def test_an_object_that_nobody_has_any_more_leaves_its_folder(tmp_path):
    before = set(threading.enumerate())
    for number in range(3):
        data = DataObjects(os.fsencode(tmp_path))
        data.set("x", number, "weather", persist=True)
        del data
        gc.collect()
    assert DataObjects(tmp_path).get("me", "x", "weather").value == 2
    gc.collect()
    assert set(threading.enumerate()) <= before


def test_one_server_at_a_time_offers_it(port, tmp_path):
    with served(port, tmp_path) as server:
        data = server.expose_obj
        other = IPCServer(data, port=0)
        with pytest.raises(andiron.ConflictError, match="stop that one"):
            other.start()
        other.stop()
        client = IPCClientX(port=port)
        assert client.set("x", 1)
        assert data.get("me", "x", client.addonname).value == 1
        client.close()


def test_no_folder_is_the_same_as_an_empty_one():
    data = DataObjects("")
    with pytest.raises(ipcdatastore.SaveFailedError):
        data.set("x", 1, "weather", persist=True)
    data.close()


def test_a_port_that_is_taken_leaves_the_object_as_it_was(port, tmp_path):
    data = DataObjects(tmp_path)
    data.set("x", 1, "weather")
    with served(port):
        with pytest.raises(OSError, match="in use"):
            IPCServer(data, port=port).start()
    assert data.get("me", "x", "weather").value == 1
    data.close()


# Programs.

MOVING = ROOT / "python" / "tests" / "moving"


def output_of(process):
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, said + errors
    return said


def test_a_service_and_its_clients_run_as_they_were_written(processes, tmp_path, port):
    settings = {"service.ipcdatastore": {"data_name": "kodi-IPC", "host": "localhost", "port": str(port)}}
    kodi = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(MOVING / "kodi"), str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
        ),
        "KODI_SETTINGS": json.dumps(settings),
        "KODI_PROFILE": str(tmp_path),
    }

    def program(name):
        return processes.start(sys.executable, str(MOVING / f"ipcdatastore_{name}.py"), env=kodi)

    uri = f"PYRO:kodi-IPC@localhost:{port}"
    assert f"ipcdatastore: asking the server at {uri}\nTest: Server unavailable" in output_of(
        program("testclient")
    )
    service = program("service")
    said = []
    while "ready\n" not in said:
        said.append(service.stdout.readline())
        assert said[-1], service.stderr.read()
    assert f"ipcdatastore: server started at {uri}\n" in said
    assert "Test: successful\n" in output_of(program("testclient"))
    assert output_of(program("simple")).splitlines() == [
        "set: True",
        "service.ipcdatastore variable 'x' = 20",
        "20, float, True",
        "1920x1080 @ 23.976",
    ]
    assert output_of(service).endswith("ipcdatastore: server stopped\n")


def test_the_test_suite_runs_as_it_was_written(processes, tmp_path, port):
    path = os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])
    output_of(
        processes.start(
            sys.executable,
            str(MOVING / "ipcdatastore_tests.py"),
            str(port),
            str(tmp_path),
            env={**os.environ, "PYTHONPATH": path},
        )
    )


def test_the_examples_of_the_page_run(home):
    page = ROOT / "docs" / "moving" / "ipcdatastore.md"
    text = page.read_text()
    names = {"__name__": "page"}
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(page), "exec"), names)


@pytest.mark.parametrize(
    "error",
    [
        ipcdatastore.IPCClientError("words"),
        ipcdatastore.ObjectNotSerializableError("words"),
        ipcdatastore.UseCachedCopyError("words"),
        ipcdatastore.ServerUnavailableError("PYRO:x@localhost:1", "trace", "words"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_their_words_wherever_they_go(store, client, error):
    class Failing:
        def fail(self):
            raise error

    client.set("error", error)
    server = IPCServer(Failing(), port=0)
    server.start()
    try:
        with pytest.raises(type(error)) as raised:
            IPCClient(port=server.port).get_exposed_object().fail()
    finally:
        server.stop()
    for other in (client.get("error"), raised.value):
        assert type(other) is type(error)
        assert (str(other), other.errno) == (str(error), error.errno)
        assert "words" in str(other)
    if type(error) is not ipcdatastore.IPCClientError:
        assert client.get("error").message == raised.value.message == error.message == str(error)


def test_the_page_has_every_error():
    text = (ROOT / "docs" / "moving" / "ipcdatastore.md").read_text()
    rows = re.findall(r"^\| `(IPCERROR_\w+)`.*? \| (\d) \| `(\w+)` \|", text, re.MULTILINE)
    assert len(rows) == 8
    for constant, number, name in rows:
        assert getattr(ipcdatastore, constant) == getattr(ipcdatastore, name).errno == int(number)
