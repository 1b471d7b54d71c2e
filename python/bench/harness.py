"""What all contestants have in common: how they are told what to do, and timed. The harness itself is `crates/bench`, whose contestants are those here as well."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

#: The name of the entry where there is one, and what it holds.
NAME = "value"
SMALL = {"title": "Embers", "volume": 7}
NUMBER = 12
#: The bytes of a big array.
BIG = 64 << 20
#: Calls that are made together.
BATCH = 10_000

#: What is measured.
CALL, ASYNCIO_CALL, BATCHED, STREAM = "python call", "python asyncio call", "python batch", "python stream"
GET, CHANGED_GET, SET = "python get", "python changed get", "python set"
CACHED_INT, CACHED_DICT = "python cached get, int", "python cached get, dict"
GET_BIG, SET_BIG = "python get, 64 MiB", "python set, 64 MiB"
ECHO, ECHO_IN_PLACE = "python echo, 64 MiB", "python echo in place, 64 MiB"
IMPORT = "python import"

#: Calls on their way at once where a contestant does not see to it.
_WINDOW = 100
#: Calls before the clock is started.
_WARM_UP = 300


class Start(NamedTuple):
    """How one end of a contestant is started."""

    peer: str
    #: Of the socket, or what stands for one.
    path: str
    workload: str
    core: str
    #: Where there may be files; not made yet.
    folder: str


class Client:
    """The calling end of a contestant, which takes part in what it has methods for."""

    def prepare(self) -> None:
        """What comes before each operation and does not count."""

    def operation(self, workload: str) -> Callable[[], object]:
        """What is timed, one after the other."""
        raise NotImplementedError(workload)

    def loop(self, workload: str) -> Callable[[int], object]:
        """What is timed altogether, for a number of calls, items or reads."""
        raise NotImplementedError(workload)


def reading(get: Callable[[], object]) -> Callable[[int], object]:
    """A loop of so many reads."""

    def read(times: int) -> None:
        for _ in range(times):
            get()

    return read


def cached(workload: str) -> object:
    """What is read again and again."""
    return NUMBER if workload == CACHED_INT else SMALL


def big(number: int = 1) -> Any:
    """A big array in ordinary memory."""
    import numpy

    return numpy.full(BIG // 8, number, dtype=numpy.int64)


def expect(found: object, wanted: object) -> None:
    """A contestant that does something else is not worth its time."""
    if found != wanted:
        raise SystemExit(f"{found!r} where {wanted!r} was expected")


def expect_big(found: Any) -> None:
    """The same of a big array: its ends, as all of it would be read into the caches."""
    expect((found.nbytes, int(found[0]), int(found[-1])), (BIG, 1, 1))


def together(call: Callable[[int], object]) -> Callable[[int], object]:
    """A loop of so many calls, no more than a batch at once."""

    def loop(calls: int) -> None:
        for begun in range(0, calls, BATCH):
            call(min(BATCH, calls - begun))

    return loop


class Starting(Client):
    """Starts an interpreter, which imports a module."""

    def __init__(self, module: str | None) -> None:
        self._code = "pass" if module is None else f"import {module}"

    def operation(self, workload: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", self._code], check=True)


def windowed(begin: Callable[[], Any], end: Callable[[Any], int]) -> Callable[[int], None]:
    """A batch for those that have none of their own: no more calls on their way at once than sockets have room for both ways."""

    def batch(calls: int) -> None:
        under_way: deque[Any] = deque()
        total = 0
        for _ in range(calls):
            if len(under_way) == _WINDOW:
                total += end(under_way.popleft())
            under_way.append(begin())
        expect(total + sum(map(end, under_way)), 3 * calls)

    return batch


def run_on(core: str) -> None:
    """Moves this process to a core, with all threads and processes that it will start."""
    os.sched_setaffinity(0, {int(core)})


def say_ready() -> None:
    """Tells the harness that clients may connect."""
    print("ready", flush=True)


def until_gone() -> None:
    """Waits until the harness is gone."""
    while os.read(0, 4096):  # not the buffered one, which would be in the way when the interpreter ends
        pass


def end_with_the_harness() -> None:
    """Ends this process when the harness is gone."""

    def wait() -> None:
        until_gone()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def obey(client: Client, workload: str) -> None:
    """Obeys the harness until it hangs up."""
    for line in sys.stdin:
        order, calls = line.split()
        count = int(calls)
        if order == "sequential":
            operation = client.operation(workload)
            _timed(client.prepare, operation, min(_WARM_UP, count))
            times = sorted(_timed(client.prepare, operation, count))
            print(_quantile(times, 0.5), _quantile(times, 0.99), flush=True)
        elif order == "looped":
            loop = client.loop(workload)
            loop(min(_WARM_UP, count))
            begin = time.perf_counter_ns()
            loop(count)
            print(time.perf_counter_ns() - begin, flush=True)
        else:
            raise SystemExit(f"no order: {line}")


def _timed(prepare: Callable[[], object], operation: Callable[[], object], count: int) -> list[int]:
    clock, times = time.perf_counter_ns, []
    for _ in repeat(None, count):
        prepare()
        begin = clock()
        result = operation()
        times.append(clock() - begin)
        del result  # what it takes to give it back is not counted
    return times


def _quantile(times: list[int], share: float) -> int:
    return times[round((len(times) - 1) * share)]
