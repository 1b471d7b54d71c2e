"""`multiprocessing.connection`, by hand."""

from __future__ import annotations

import contextlib
from multiprocessing.connection import Client, Connection, Listener
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(start: harness.Start) -> None:
    """Answers one client: with a sum, an array, or so many items."""
    harness.end_with_the_harness()
    with Listener(start.path, "AF_UNIX") as listener, contextlib.suppress(EOFError):
        harness.say_ready()
        peer = listener.accept()
        while True:
            method, *args = peer.recv()
            if method == "add":
                peer.send(args[0] + args[1])
            elif method == "echo":
                peer.send_bytes(peer.recv_bytes())
            else:
                for item in range(args[0]):
                    peer.send(item)


def client(start: harness.Start) -> harness.Client:
    """Who knows what is on the connection."""
    return _ByHand(Client(start.path, "AF_UNIX"))


class _ByHand(harness.Client):
    def __init__(self, peer: Connection) -> None:
        self._peer = peer

    def operation(self, workload: str) -> Callable[[], object]:
        if workload in (harness.ECHO, harness.ECHO_IN_PLACE):
            array = harness.big()
            harness.expect_big(self._echo(array))
            return lambda: self._echo(array)
        harness.expect(self._add(), 3)
        return self._add

    def _add(self) -> Any:
        self._peer.send(("add", 1, 2))
        return self._peer.recv()

    def _echo(self, array: Any) -> Any:
        import numpy

        self._peer.send(("echo",))
        self._peer.send_bytes(array.data.cast("B"))
        return numpy.frombuffer(self._peer.recv_bytes(), dtype=numpy.int64)

    def loop(self, workload: str) -> Callable[[int], object]:
        if workload == harness.STREAM:
            return self._stream
        peer = self._peer
        return harness.together(
            harness.windowed(lambda: peer.send(("add", 1, 2)), lambda _: int(peer.recv()))
        )

    def _stream(self, items: int) -> None:
        self._peer.send(("count", items))
        harness.expect(sum(1 for _ in range(items) if self._peer.recv() >= 0), items)
