"""Pyro5, and Pyro4 with pickle: an object, and a dict behind one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _pyro(peer: str) -> Any:
    """The module, set up for this contestant."""
    if peer.startswith("pyro5"):
        pyro = importlib.import_module("Pyro5.api")
        pyro.config.SERIALIZER = peer.removeprefix("pyro5-")
        # One client at a time, so the server that needs no threads is the faster one.
        pyro.config.SERVERTYPE = "multiplex"
    else:
        pyro = importlib.import_module("Pyro4")
        pyro.config.SERIALIZER = "pickle"
        pyro.config.SERIALIZERS_ACCEPTED = {"pickle"}
        # As ipcdatastore has it.
        pyro.config.SERVERTYPE = "thread" if peer == "ipcdatastore" else "multiplex"
    return pyro


class Adder:
    """What is called, and what keeps values."""

    def __init__(self) -> None:
        self._entries: dict[str, Any] = {}

    def add(self, a: int, b: int) -> int:
        return a + b

    def echo(self, value: Any) -> Any:
        return value

    def count(self, items: int) -> Iterator[int]:
        return iter(range(items))

    def get(self, name: str) -> Any:
        return self._entries[name]

    def set(self, name: str, value: Any) -> None:
        self._entries[name] = value


def serve(start: harness.Start) -> None:
    """Hosts the object."""
    pyro = _pyro(start.peer)
    daemon = pyro.Daemon() if start.peer == "ipcdatastore" else pyro.Daemon(unixsocket=start.path)
    uri = daemon.register(pyro.expose(Adder)(), "adder")
    with open(f"{start.path}.uri", "w") as file:
        file.write(str(uri))
    harness.end_with_the_harness()
    harness.say_ready()
    daemon.requestLoop()


def client(start: harness.Start) -> harness.Client:
    """Who has a proxy of it."""
    with open(f"{start.path}.uri") as file:
        return _Pyro(start.peer, file.read())


class _Pyro(harness.Client):
    def __init__(self, peer: str, uri: str) -> None:
        self._pyro = _pyro(peer)
        self._peer = peer
        self._uri = uri
        self._adder = self._pyro.Proxy(self._uri)

    def operation(self, workload: str) -> Callable[[], object]:
        adder, name = self._adder, harness.NAME
        if workload == harness.CALL:
            harness.expect(adder.add(1, 2), 3)
            return lambda: adder.add(1, 2)
        if workload in (harness.ECHO, harness.ECHO_IN_PLACE):
            array = harness.big()
            harness.expect_big(self._here(adder.echo(self._there(array))))
            return lambda: self._here(adder.echo(self._there(array)))
        if workload == harness.GET_BIG:
            adder.set(name, self._there(harness.big()))
            return lambda: self._here(adder.get(name))
        if workload == harness.SET_BIG:
            array = harness.big()
            return lambda: adder.set(name, self._there(array))
        adder.set(name, harness.SMALL)
        harness.expect(adder.get(name), harness.SMALL)
        if self._peer == "ipcdatastore":
            return self._set_anew if workload == harness.SET else self._get_anew
        if workload == harness.SET:
            return lambda: adder.set(name, harness.SMALL)
        return lambda: adder.get(name)

    def _there(self, array: Any) -> Any:
        """An array as it is sent: msgpack knows bytes only."""
        return array.tobytes() if self._peer == "pyro5-msgpack" else array

    def _here(self, array: Any) -> Any:
        import numpy

        return numpy.frombuffer(array, dtype=numpy.int64) if self._peer == "pyro5-msgpack" else array

    def _get_anew(self) -> Any:
        """As ipcdatastore asks: over a connection of its own each time."""
        with self._pyro.Proxy(self._uri) as adder:
            return adder.get(harness.NAME)

    def _set_anew(self) -> None:
        with self._pyro.Proxy(self._uri) as adder:
            adder.set(harness.NAME, harness.SMALL)

    def loop(self, workload: str) -> Callable[[int], object]:
        count = self._adder.count
        if workload == harness.BATCHED:
            return harness.together(self._batch)
        return lambda items: harness.expect(sum(1 for _ in count(items)), items)

    def _batch(self, calls: int) -> None:
        batch = (
            self._pyro.BatchProxy(self._adder)
            if hasattr(self._pyro, "BatchProxy")
            else self._pyro.batch(self._adder)
        )
        for _ in range(calls):
            batch.add(1, 2)
        harness.expect(sum(batch()), 3 * calls)
