"""`multiprocessing.managers`: an object and a dict."""

from __future__ import annotations

from multiprocessing.managers import BaseManager
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEY = b"bench"


class _Adder:
    def add(self, a: int, b: int) -> int:
        return a + b

    def echo(self, value: Any) -> Any:
        return value

    def count(self, items: int) -> Iterator[int]:
        return iter(range(items))


class _Manager(BaseManager):
    """Knows them."""


_adder, _entries = _Adder(), dict[str, Any]()
_Manager.register("Iterator", exposed=["__next__"], create_method=False)
_Manager.register("adder", lambda: _adder, None, ["add", "echo", "count"], {"count": "Iterator"})
_Manager.register("entries", lambda: _entries, None, ["__getitem__", "__setitem__"])


def serve(start: harness.Start) -> None:
    """Hosts them."""
    server = _Manager(start.path, _KEY).get_server()
    harness.end_with_the_harness()
    harness.say_ready()
    server.serve_forever()


def client(start: harness.Start) -> harness.Client:
    """Who has proxies of them."""
    manager = _Manager(start.path, _KEY)
    manager.connect()
    return _Managed(manager)


class _Managed(harness.Client):
    def __init__(self, manager: Any) -> None:
        self._adder, self._entries = manager.adder(), manager.entries()

    def operation(self, workload: str) -> Callable[[], object]:
        adder, entries, name = self._adder, self._entries, harness.NAME
        if workload == harness.CALL:
            harness.expect(adder.add(1, 2), 3)
            return lambda: adder.add(1, 2)
        if workload in (harness.ECHO, harness.ECHO_IN_PLACE):
            array = harness.big()
            harness.expect_big(adder.echo(array))
            return lambda: adder.echo(array)
        value: Any = harness.big() if workload in (harness.GET_BIG, harness.SET_BIG) else harness.SMALL
        entries.__setitem__(name, value)
        if workload in (harness.SET, harness.SET_BIG):
            return lambda: entries.__setitem__(name, value)
        return lambda: entries.__getitem__(name)

    def loop(self, workload: str) -> Callable[[int], object]:
        if workload == harness.STREAM:
            return self._stream
        self._entries.__setitem__(harness.NAME, harness.cached(workload))
        return harness.reading(lambda: self._entries.__getitem__(harness.NAME))

    def _stream(self, items: int) -> None:
        following = self._adder.count(items)
        harness.expect(sum(1 for _ in range(items) if following.__next__() >= 0), items)
