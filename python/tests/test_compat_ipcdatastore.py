"""Programs that were written for service.ipcdatastore, and what went wrong there."""

import os
import signal
import subprocess
import sys
import threading

import pytest

import andiron
from andiron.compat import ipcdatastore
from andiron.compat.ipc import IPCClient, IPCServer
from andiron.compat.ipcdatastore import DataObject, DataObjects, IPCClientX
from conftest import ROOT, needs_unix
from stores import Scenario, free_port, served

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
            server.wait()
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
