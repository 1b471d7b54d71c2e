"""What the system itself takes from Python: the bare socket, with messages as long as those of Andiron, and an interpreter that starts."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from collections.abc import Callable

#: The bytes of question and answer, as Andiron sends them.
_LENGTHS = {
    harness.CALL: (48, 18),
    harness.ASYNCIO_CALL: (48, 18),
    harness.GET: (64, 80),
    harness.SET: (80, 64),
}


def serve(start: harness.Start) -> None:
    """Answers one client."""
    harness.end_with_the_harness()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(start.path)
    listener.listen()
    harness.say_ready()
    peer, _ = listener.accept()
    if start.workload in (harness.ECHO, harness.ECHO_IN_PLACE):
        buffer = memoryview(bytearray(harness.BIG))
        while _fill(peer, buffer):
            peer.sendall(buffer)
        return
    answer = bytes(_LENGTHS[start.workload][1])
    while peer.recv(65536):
        peer.send(answer)


def _fill(peer: socket.socket, buffer: memoryview) -> bool:
    begun = 0
    while begun < len(buffer):
        count = peer.recv_into(buffer[begun:])
        if not count:
            return False
        begun += count
    return True


def client(start: harness.Start) -> harness.Client:
    """Who asks."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(start.path)
    return _Loop(peer) if start.workload == harness.ASYNCIO_CALL else _Floor(peer)


class _Floor(harness.Client):
    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def operation(self, workload: str) -> Callable[[], object]:
        if workload in (harness.ECHO, harness.ECHO_IN_PLACE):
            array = harness.big()
            harness.expect_big(self._echo(array))
            return lambda: self._echo(array)
        peer, question = self._peer, bytes(_LENGTHS[workload][0])

        def ping() -> bytes:
            peer.send(question)
            return peer.recv(65536)

        return ping

    def _echo(self, array: Any) -> Any:
        # The other end sends back when it has all, so nobody needs to read meanwhile.
        self._peer.sendall(array.data.cast("B"))
        echoed = type(array)(array.shape, array.dtype)
        _fill(self._peer, echoed.data.cast("B"))
        return echoed


class _Loop(harness.Client):
    """The loop watches the socket, and an answer wakes the task."""

    def __init__(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        self._peer = peer
        self._loop = asyncio.new_event_loop()

    def loop(self, workload: str) -> Callable[[int], object]:
        question = bytes(_LENGTHS[workload][0])
        return lambda calls: self._loop.run_until_complete(self._calls(calls, question))

    async def _calls(self, calls: int, question: bytes) -> None:
        peer, future = self._peer, self._loop.create_future()

        def came() -> None:
            future.set_result(peer.recv(65536))

        self._loop.add_reader(peer, came)
        for _ in range(calls):
            future = self._loop.create_future()
            peer.send(question)
            await future
        self._loop.remove_reader(peer)
