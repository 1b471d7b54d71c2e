"""What the pure engine does by itself, where no threads are asked for."""

import gc
import socket
import struct
import subprocess
import sys
import threading

import pytest

import andiron
import as_native
from conftest import needs_unix
from peer import eventually

if andiron.engine != "pure":
    pytest.skip("about the pure engine", allow_module_level=True)


@pytest.fixture(autouse=True)
def bare():
    with as_native.bare():
        yield


class Elsewhere:
    """What another thread does, which is waited for while this one serves."""

    def __init__(self, work, *args):
        self.result = []
        self.wrong = []
        self.thread = threading.Thread(target=self._run, args=(work, *args))
        self.thread.start()

    def _run(self, work, *args):
        try:
            self.result.append(work(*args))
        except BaseException as error:
            self.wrong.append(error)

    def served_by(self, turn):
        while self.thread.is_alive():
            turn(0.01)
        assert self.wrong == []
        return self.result[0]


def test_a_server_serves_while_it_is_waited_for_and_begins_no_thread(home):
    before = set(threading.enumerate())
    threads = set()

    def double(number):
        threads.add(threading.get_ident())
        return 2 * number

    with andiron.Server({"double": double}, f"unix:{home}/socket", state=False) as server:

        def call():
            with andiron.connect(server.addresses[0]) as hub:
                hub.store["x"] = 1
                return hub["double"](21), hub.store["x"]

        assert set(threading.enumerate()) <= before
        assert Elsewhere(call).served_by(server.wait) == (42, 1)
    assert threads == {threading.get_ident()}
    assert set(threading.enumerate()) <= before


def test_its_methods_run_one_after_the_other(home):
    inside = []
    most = []

    def enter(number):
        inside.append(number)
        most.append(len(inside))
        inside.remove(number)

    with andiron.Server({"enter": enter}, f"unix:{home}/socket", state=False) as server:

        def call():
            hubs = [andiron.connect(server.addresses[0]) for _ in range(3)]
            started = [hub["enter"].start(number) for number in range(10) for hub in hubs]
            for one in started:
                one.result()

        Elsewhere(call).served_by(server.wait)
    assert set(most) == {1}
    assert len(most) == 30


def test_a_method_calls_its_caller_back_meanwhile(home):
    with andiron.Server(
        {"each": lambda numbers, call: [call(number) for number in numbers]},
        f"unix:{home}/socket",
        state=False,
    ) as server:

        def call():
            with andiron.connect(server.addresses[0]) as hub:
                return hub["each"](iter(range(100)), lambda number: number + 1)

        assert Elsewhere(call).served_by(server.wait) == list(range(1, 101))


def test_who_connects_and_is_gone_before_it_is_looked_at_holds_nobody_up(home, caplog):
    with andiron.Server({"double": lambda x: 2 * x}, "tcp://127.0.0.1:0", state=False) as server:
        place = "127.0.0.1", int(server.addresses[0].rpartition(":")[2])
        for _ in range(3):
            with socket.create_connection(place) as gone:
                # What it had is thrown away, so its end knows at once that it is over.
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def call():
            with andiron.connect(server.addresses[0]) as hub:
                return hub["double"](21)

        assert Elsewhere(call).served_by(server.wait) == 42
    assert "a connection was refused" in caplog.text
    assert "cannot accept" not in caplog.text


def test_its_threads_end_with_it(home):
    before = set(threading.enumerate())
    with andiron.Server({"double": lambda x: 2 * x}, f"unix:{home}/socket", state=False, threads=3) as server:
        with andiron.connect(server.addresses[0]) as hub:
            assert hub["double"](21) == 42
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before


def test_the_threads_of_what_nobody_has_any_more_end(home):
    before = set(threading.enumerate())
    hub = andiron.connect(objects={"double": lambda x: 2 * x})
    assert hub["double"](21) == 42
    assert set(threading.enumerate()) - before
    del hub
    gc.collect()
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_who_comes_and_goes_in_the_midst_of_a_stop_is_no_hindrance(home):
    server = andiron.Server({}, f"unix:{home}/socket", state=False, threads=1)
    running = server._running._site
    leave = running._leave

    def leave_late():
        running._gone(None, None)  # who was accepted just before
        leave()

    running._leave = leave_late
    assert server.stop()


def test_a_server_that_gets_no_thread_leaves_its_address_to_others(home, monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            andiron.Server({}, f"unix:{home}/socket", state=home / "state", threads=1)
    with andiron.Server({}, f"unix:{home}/socket", state=home / "state", threads=1) as server:
        andiron.connect(server.addresses[0]).close()


@pytest.fixture
def keeper(home):
    """A server that keeps what it is given, with all threads that it will have; its address, and what it kept."""
    kept = []
    with andiron.Server({"keep": kept.append}, f"unix:{home}/socket", state=False, threads=1) as server:
        with andiron.connect(server.addresses[0]) as hub:
            hub["keep"](None)
        kept.clear()
        yield server.addresses[0], kept


def test_who_is_called_back_later_runs_its_hub(keeper):
    address, kept = keeper
    before = set(threading.enumerate())
    with andiron.connect(address) as hub:
        heard = []

        def hear(word):
            heard.append((word, threading.get_ident()))
            return len(heard)

        hub["keep"](hear)
        assert Elsewhere(kept.pop(), "loud").served_by(hub.poll) == 1
        assert heard == [("loud", threading.get_ident())]
        assert set(threading.enumerate()) <= before


def test_a_thread_that_is_asked_for_hears_meanwhile(keeper):
    address, kept = keeper
    before = set(threading.enumerate())
    with andiron.connect(address, pump=True) as hub:
        hub["keep"](lambda word: word + "!")
        assert kept.pop()("loud") == "loud!"
    assert set(threading.enumerate()) <= before, "it ended with the connection"


def test_a_hub_of_objects_has_a_thread_until_it_is_closed():
    before = set(threading.enumerate())
    with andiron.connect(objects={"double": lambda x: 2 * x}) as hub:
        assert hub["double"](21) == 42
        hub.store["x"] = [1]
        assert hub.store["x"] == [1]
    assert set(threading.enumerate()) <= before


def test_a_wait_for_an_answer_ends_with_the_host(home):
    reached = threading.Event()
    over = threading.Event()

    def hang():
        reached.set()
        over.wait(60)

    with andiron.Server({"hang": hang}, f"unix:{home}/socket", state=False, threads=2) as server:
        hub = andiron.connect(server.addresses[0])
        here = threading.get_ident()
        andiron.abort_when(lambda: threading.get_ident() == here and reached.is_set())
        try:
            with pytest.raises(andiron.CancelledError, match="the program that this runs in ends"):
                hub["hang"]()
        finally:
            andiron.abort_when(None)
            over.set()
        assert hub["hang"]() is None, "the connection is as it was"


FAR = """
import andiron
with andiron.Server({"double": lambda x: 2 * x}, "far", state=False) as server:
    print("ready", flush=True)
    server.wait()
"""


@needs_unix
@pytest.mark.parametrize("retry", [None, 30])
def test_a_call_after_the_other_end_is_gone_says_so_or_finds_the_next_one(processes, retry):
    def begin():
        server = processes.python(FAR)
        assert server.stdout.readline() == "ready\n"
        return server

    server = begin()
    with andiron.connect("far", retry=retry) as hub:
        double = hub["double"]
        server.kill()
        server.wait()
        if retry:
            begin()
            assert double(21) == 42
        else:
            with pytest.raises(andiron.UnavailableError, match="the other end closed it"):
                double(21)
            with pytest.raises(andiron.UnavailableError, match="the other end closed it"):
                hub.store.get("x")


def test_nothing_of_the_network_is_imported_before_it_is_used():
    code = "import sys, andiron; print([name for name in ('ssl', 'sqlite3', 'selectors', 'asyncio', 'threading', 'collections') if name in sys.modules])"
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-E",
            "-c",
            f"import sys; sys.path[:] = {sys.path!r}; import os; os.environ['ANDIRON_PURE'] = '1'; {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
