"""Andiron."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy

import andiron
import andiron.aio
import harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = pathlib.Path(__file__).parents[2]


@andiron.expose
class _Adder:
    def add(self, a: int, b: int) -> int:
        return a + b

    def echo(self, value: Any) -> Any:
        return value

    def count(self, items: int) -> Iterator[int]:
        return iter(range(items))


def serve(start: harness.Start) -> None:
    """Hosts an object and a store; or the same object in Rust."""
    if start.peer == "andiron-python-rust":
        program = str(_ROOT / "target/release/andiron-bench")
        os.execv(program, [program, "andiron", "serve", start.path, start.core, "small call", start.folder])
    with andiron.Server({"adder": _Adder()}, f"unix:{start.path}", state=False) as server:
        harness.end_with_the_harness()
        harness.say_ready()
        server.wait()


def client(start: harness.Start) -> harness.Client:
    """Who calls."""
    address = f"unix:{start.path}"
    return _Aio(address) if start.workload == harness.ASYNCIO_CALL else _Own(address, start.workload)


class _Own(harness.Client):
    """What was read from the store is kept only where that is measured."""

    def __init__(self, address: str, workload: str) -> None:
        keeps = workload in (harness.CACHED_INT, harness.CACHED_DICT, harness.CHANGED_GET)
        self._hub = andiron.connect(address, cache=None if keeps else 0)
        self._other = andiron.connect(address).store if workload == harness.CHANGED_GET else None

    def prepare(self) -> None:
        if self._other is not None:
            self._other[harness.NAME] = harness.SMALL

    def operation(self, workload: str) -> Callable[[], object]:
        store, name = self._hub.store, harness.NAME
        if workload == harness.CALL:
            adder = self._hub["adder"]
            harness.expect(adder.add(1, 2), 3)
            return lambda: adder.add(1, 2)
        if workload in (harness.ECHO, harness.ECHO_IN_PLACE):
            adder, array = self._hub["adder"], harness.big()
            if workload == harness.ECHO_IN_PLACE:
                built = numpy.frombuffer(andiron.buffer(harness.BIG), dtype=array.dtype)
                built[:] = array
                array = andiron.freeze(built)
            harness.expect_big(adder.echo(array))
            return lambda: adder.echo(array)
        if workload in (harness.GET_BIG, harness.SET_BIG):
            array = harness.big()
            store[name] = array
            harness.expect_big(store[name])
            return (lambda: store.set(name, array)) if workload == harness.SET_BIG else lambda: store[name]
        store[name] = harness.SMALL
        harness.expect(store[name], harness.SMALL)
        return (lambda: store.set(name, harness.SMALL)) if workload == harness.SET else lambda: store[name]

    def loop(self, workload: str) -> Callable[[int], object]:
        if workload == harness.STREAM:
            count = self._hub["adder"].count
            return lambda items: harness.expect(sum(1 for _ in count(items)), items)
        if workload == harness.BATCHED:
            return harness.together(self._batch)
        store, name = self._hub.store, harness.NAME
        store[name] = harness.cached(workload)
        harness.expect(store[name], harness.cached(workload))

        def read(times: int) -> None:
            for _ in range(times):
                store[name]

        return read

    def _batch(self, calls: int) -> None:
        add = self._hub["adder"].add
        with self._hub.batch():
            started = [add.start(1, 2) for _ in range(calls)]
        harness.expect(sum(call.result() for call in started), 3 * calls)


class _Aio(harness.Client):
    """Calls from a task."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._adder = self._loop.run_until_complete(self._connect(address))

    async def _connect(self, address: str) -> Any:
        self._hub = await andiron.aio.connect(address)
        return await self._hub["adder"]

    def loop(self, workload: str) -> Callable[[int], object]:
        return lambda calls: self._loop.run_until_complete(self._calls(calls))

    async def _calls(self, calls: int) -> None:
        add = self._adder.add
        for _ in range(calls):
            await add(1, 2)
