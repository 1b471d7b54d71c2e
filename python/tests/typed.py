"""A program with types, which a type checker reads; see `test_typing.py`. Lines that are wrong say why."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import andiron
from andiron import aio


class Player(Protocol):
    """What `andiron describe player --python` prints."""

    volume: int

    def seek(self, seconds: float) -> float: ...


@andiron.expose
class Radio:
    @andiron.expose
    def tune(self, frequency: float) -> str:
        return str(frequency)

    @property
    def volume(self) -> int:
        return 5

    @andiron.expose
    @staticmethod
    def stations() -> list[str]:
        return []


@andiron.expose
def double(number: int) -> int:
    return 2 * number


def threads() -> None:
    radio: Radio = Radio()  # `expose` keeps the type of a class
    station: str = radio.tune(96.5)
    volume: int = radio.volume
    four: int = double(2)
    radio.tune("far")  # error: "str"; expected "float"
    double("two")  # error: "str"; expected "int"
    with andiron.connect(wait=1, retry=5, secret_file="secret") as hub:
        player: Player = hub["player"]
        position: float = player.seek(12.5)
        player.seek("far")  # error: "str"; expected "float"
        hub.register("radio", radio)
        store: andiron.Store = hub.store
        store["x"] = [position, station, volume, four]
        entry: andiron.Entry | None = store.entry("x")
        if entry is not None:
            version: int = entry.version
            store.set("x", 1, if_version=version)
        count: int = store.incr("n", 2)
        store.incr("n", "two")  # error: "str"; expected "int"
        for change in store.watch("x*"):
            name: str = change.name
            print(name, count)
        with andiron.timeout(2), hub.batch():
            pending: andiron.Pending = hub["player"].seek.start(1.0)
        result: Any = pending.result()
        print(result)
    caller: andiron.Caller | None = andiron.caller()
    if caller is not None:
        left: float | None = caller.time_left
        print(left)
    try:
        andiron.connect("nobody")
    except andiron.UnavailableError as error:
        again: bool = error.is_temporary()
        print(again, error.message)
    andiron.connect(7)  # error: "int"; expected "str | None"
    with andiron.Server({"radio": radio}, ["radio", "tls://0.0.0.0"], state=False, threads=1) as server:
        addresses: list[str] = server.addresses
        print(addresses)


async def tasks() -> None:
    async with await aio.connect(objects={"radio": Radio()}) as hub:
        radio = await hub["radio"]
        await radio.tune(96.5)
        await hub.store.set("x", 20)
        version: int = await hub.store.set("x", 20)
        entry: andiron.Entry | None = await hub.store.entry("x")
        async for change in hub.store.watch():
            print(change.name, version, entry)
        task: asyncio.Task[Any] = radio.tune.start(96.5)
        await task
    async with aio.Server({"radio": Radio()}, state=False) as server:
        inside: aio.Hub = await server.connect()
        await inside.close()
