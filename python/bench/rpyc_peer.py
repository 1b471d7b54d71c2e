"""RPyC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rpyc
from rpyc.utils.factory import unix_connect
from rpyc.utils.server import OneShotServer

import harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Service(rpyc.Service):  # type: ignore[misc] # it has no types
    def exposed_add(self, a: int, b: int) -> int:
        return a + b

    def exposed_count(self, items: int) -> Iterator[int]:
        return iter(range(items))


def serve(start: harness.Start) -> None:
    """Hosts it for one client, without a thread for more."""
    server = OneShotServer(_Service, socket_path=start.path)
    harness.end_with_the_harness()
    harness.say_ready()
    server.start()


def client(start: harness.Start) -> harness.Client:
    """Who has its root."""
    return _Rpyc(unix_connect(start.path))


class _Rpyc(harness.Client):
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._root = connection.root

    def operation(self, workload: str) -> Callable[[], object]:
        add = self._root.add
        harness.expect(add(1, 2), 3)
        return lambda: add(1, 2)

    def loop(self, workload: str) -> Callable[[int], object]:
        if workload == harness.STREAM:
            return lambda items: harness.expect(sum(1 for _ in self._root.count(items)), items)
        add = rpyc.async_(self._root.add)
        return harness.together(harness.windowed(lambda: add(1, 2), lambda call: int(call.value)))
