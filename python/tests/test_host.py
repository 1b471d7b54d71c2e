"""A host that ends, and waits that ask it: `andiron.abort_when`."""

import threading

import pytest

import andiron
from andiron import _host


class Host:
    """One that ends once it was asked so often."""

    def __init__(self, asked):
        self.left = asked
        self.threads = set()
        #: Of earlier tests, if any waits still.
        self.others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

    def ends(self):
        if threading.get_ident() in self.others:
            return False
        self.threads.add(threading.get_ident())
        self.left -= 1
        return self.left < 0


@pytest.fixture
def host():
    """Has waits ask a host that ends at the third question."""
    host = Host(2)
    andiron.abort_when(host.ends)
    yield host
    andiron.abort_when(None)


def test_a_server_that_is_waited_for_comes_back(serve, host):
    server = andiron.Server({}, [], state=False)
    with server, pytest.raises(andiron.CancelledError, match="the program that this runs in ends"):
        server.wait()
    assert host.threads == {threading.get_ident()}, "it is asked on the thread that waits"


def test_serve_comes_back(home, host):
    andiron.serve({"double": lambda x: 2 * x}, state=False)


def test_serve_at_another_server_comes_back(home, host):
    address = f"unix:{home}/socket"
    with andiron.Server({}, address, state=False):
        andiron.serve({"double": lambda x: 2 * x}, address)


def test_a_hub_that_runs_comes_back(serve, host):
    serve({}).run()


def test_what_is_not_there_yet_is_waited_for_no_longer(home, host):
    with pytest.raises(andiron.CancelledError):
        andiron.connect(f"unix:{home}/nobody", wait=600)


@pytest.mark.skipif(andiron.engine != "pure", reason="threads of the native engine hold nobody up")
def test_threads_that_nobody_stops_end_with_a_host_that_any_thread_may_ask(home, monkeypatch):
    monkeypatch.setattr(_host, "anywhere", True)
    before = set(threading.enumerate())
    server = andiron.Server({"double": lambda x: 2 * x}, f"unix:{home}/socket", state=False, threads=2)
    hub = andiron.connect(f"unix:{home}/socket", pump=True)
    assert hub["double"](21) == 42
    left = set(threading.enumerate()) - before
    assert len(left) >= 3, "two that read, and one that has run the method"
    andiron.abort_when(lambda: True)
    try:
        for thread in left:
            thread.join(60)
        assert not any(thread.is_alive() for thread in left)
    finally:
        andiron.abort_when(None)
    with pytest.raises(andiron.UnavailableError):
        andiron.connect(f"unix:{home}/socket")
    server.stop()


def test_who_asks_nobody_waits_on(serve, host):
    andiron.abort_when(None)
    server = andiron.Server({}, [], state=False)
    threading.Timer(0.01, server.stop).start()
    assert server.wait()


def test_a_question_is_a_function():
    with pytest.raises(TypeError, match="abort_when takes a function"):
        andiron.abort_when(True)


def test_a_server_is_waited_for_no_longer_than_is_said():
    with andiron.Server({}, [], state=False) as server:
        assert not server.wait(0.0)
        assert not server.wait(0.01)
        server.stop()
        assert server.wait(0.0)
        assert server.wait()
