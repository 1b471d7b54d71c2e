"""Uses the package as a folder that was copied, of any Python from 3.8 on and with its standard library alone: ``PYTHONPATH=.. python plain.py``. Says what works, line by line."""

import os
import subprocess
import sys
import tempfile

#: What runs in a process of its own.
SERVER = """
import sys
import andiron

kept = []

@andiron.expose
class Desk:
    def double(self, number):
        return 2 * number

    def each(self, numbers, call):
        return [call(number) for number in numbers]

    def count(self, up_to):
        yield from range(up_to)

    def fail(self):
        raise KeyError("no such thing")

    def end(self):
        kept.append(True)

with andiron.Server({"desk": Desk()}, sys.argv[1], state=sys.argv[2]) as server:
    print(server.addresses[0], flush=True)
    while not kept:
        server.wait(0.05)
"""


class Server:
    """A server in another process."""

    def __init__(self, address, state):
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, address, state],
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )
        self.address = self._process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()


def raised_by(call):
    try:
        call()
    except KeyError as error:
        return error
    raise AssertionError("nothing was raised")


def calls(hub):
    desk = hub["desk"]
    assert desk.double(21) == 42
    assert desk.each(iter([1, 2, 3]), lambda number: number + 1) == [2, 3, 4]
    assert list(desk.count(1000)) == list(range(1000))
    assert [call.result() for call in [desk.double.start(number) for number in range(10)]][9] == 18
    error = raised_by(desk.fail)
    assert error.args == ("no such thing",)
    assert "in fail" in str(error.__cause__)


def values(hub):
    import datetime
    import decimal

    value = {
        "a": [1, 2.5, None, b"x", (1, {2}), 2**70, decimal.Decimal("1.5")],
        "when": datetime.date(2026, 10, 5),
    }
    hub.store["value"] = value
    assert hub.store["value"] == value
    hub.store["big"] = bytearray(3 << 20)
    assert hub.store["big"] == bytearray(3 << 20)
    assert hub.store.incr("count", 5) == 5
    assert sorted(hub.store) == ["big", "count", "value"]
    with hub.store.watch("count") as changes:
        assert next(changes).entry.value == 5
        hub.store.incr("count")
        assert next(changes).entry.value == 6


def tasks(address):
    import asyncio

    from andiron import aio

    async def main():
        async with await aio.connect(address) as hub:
            desk = await hub["desk"]
            assert await asyncio.gather(*[desk.double(number) for number in range(10)]) == list(
                range(0, 20, 2)
            )
            assert [number async for number in await desk.count(10)] == list(range(10))
            assert await hub.store.get("count") == 6

    asyncio.run(main())


def main():
    import andiron

    assert andiron.engine == "pure", andiron.engine
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        state = os.path.join(folder, "state")
        for address in ("desk", "tcp://127.0.0.1:0"):
            with Server(address, state) as server, andiron.connect(server.address) as hub:
                calls(hub)
                print("calls", address)
                hub.store.clear()
                values(hub)
                print("values", address)
                tasks(server.address)
                print("tasks", address)
                hub.store.set("kept", "still there", persist=True)
            with Server(address, state) as server, andiron.connect(server.address) as hub:
                assert hub.store["kept"] == "still there"
                assert "count" not in hub.store
                hub["desk"].end()
                print("persistence", address)


if __name__ == "__main__":
    main()
