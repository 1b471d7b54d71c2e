"""Systems that have no Unix sockets, pass no descriptors and no memory, and lock no records: as Windows and Android, with each other and with systems that have all of that."""

import os
import sys

import pytest

import andiron
import peer
from conftest import TESTS, environment

PEER = os.path.join(TESTS, "peer.py")


def on(system):
    """The environment of a process: of one of the engines, or the pure one `without`."""
    if system != "without":
        return environment(system)
    path = os.pathsep.join([os.path.join(TESTS, "without"), os.environ.get("PYTHONPATH", "")])
    return {**environment("pure"), "PYTHONPATH": path}


def check(processes, client, address):
    env = {**on(client), "ANDIRON_ADDRESS": address}
    out, err = processes.start(sys.executable, "-u", PEER, "check", env=env).communicate(timeout=120)
    assert err == ""
    assert out.splitlines() == ["native" if client == "native" else "pure", *peer.BEHAVIOURS]


def host(processes, server, address):
    """Starts a server; gives where it is."""
    process = processes.start(sys.executable, "-u", PEER, "host", address, env=on(server))
    where = process.stdout.readline().strip()
    assert where, process.communicate()[1]
    return where


def test_what_is_taken_away_is_not_there(processes):
    code = """
        import os, socket
        print(hasattr(socket, "AF_UNIX"), hasattr(socket.socket, "recvmsg"), hasattr(os, "memfd_create"))
        import fcntl
    """
    out, err = processes.python(code, env=on("without")).communicate(timeout=60)
    assert out.split() == ["False"] * 3
    assert err.splitlines()[-1].startswith("ModuleNotFoundError: import of fcntl halted")


@pytest.mark.parametrize("client", ["without", "pure"])
def test_a_server_without_them_is_found_by_its_name(processes, client):
    host(processes, "without", "desk")
    check(processes, client, "desk")


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("without", "without"),
        ("without", "pure"),
        ("without", "native"),
        ("pure", "without"),
        ("native", "without"),
    ],
)
def test_over_the_loopback_network_all_reach_each_other(processes, server, client):
    address = host(processes, server, "tcp://127.0.0.1:0")
    check(processes, client, address)


def test_values_of_any_size_are_stored_and_read(processes):
    address = host(processes, "without", "tcp://127.0.0.1:0")
    code = """
        import andiron

        with andiron.connect() as hub:
            for length in (0, 1, 300, 70_000, 3 << 20):
                value = {"bytes": bytes(length), "more": bytearray(length), "text": "x" * length}
                hub.store["value"] = value
                assert hub.store["value"] == value
                frozen = andiron.freeze(bytes(length))
                hub.store["frozen"] = frozen
                assert bytes(hub.store["frozen"]) == bytes(length)
            room = andiron.buffer(3 << 20)
            room[:3] = b"abc"
            hub.store["built"] = andiron.freeze(room)
            assert bytes(hub.store["built"][:4]) == b"abc\\0"
            print("stored")
    """
    client = processes.python(code, env={**on("without"), "ANDIRON_ADDRESS": address})
    assert client.communicate(timeout=120) == ("stored\n", "")


def test_values_of_there_are_read_here(processes):
    address = host(processes, "without", "tcp://127.0.0.1:0")
    with andiron.connect(address) as hub:
        hub.store["x"] = bytearray(3 << 20)
        assert hub.store["x"] == bytearray(3 << 20)
        assert hub.store["x"] == bytearray(3 << 20), "and once more"
        with hub["peer"].count(10**9) as numbers:
            assert next(numbers) == 0


def test_a_name_is_taken_once(processes):
    host(processes, "without", "desk")
    second = processes.start(sys.executable, "-u", PEER, "host", "desk", env=on("without"))
    out, err = second.communicate(timeout=60)
    assert out == ""
    assert err.splitlines()[-1].startswith("andiron._errors.ConflictError: ")
