"""Pyro4's asynchronous proxies and futures (Pyro5 has them no more)."""

import threading

from pyro_serving import raised, serving

GENERATION = 4


def main(pyro):
    barrier = threading.Barrier(3, timeout=60)

    @pyro.expose
    @pyro.behavior(instance_mode="single")
    class Thing:
        def divide(self, first, second):
            return first // second

        def meet(self):
            barrier.wait()
            return "met"

    go_on = threading.Event()

    def slow(first, second=1):
        go_on.wait(60)
        return first + second

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Thing)
        with serving(daemon), pyro.Proxy(uri) as thing:
            said.append(thing.divide(100, 5))
            thing._pyroAsync()
            result = thing.divide(200, 5)
            said += [type(result).__name__, result.wait(60), result.ready, result.value, result.value]
            failed = thing.divide(1, 0)
            said += [failed.wait(60), raised(ZeroDivisionError, lambda: failed.value)]

            # Three at once, each of which waits for the others.
            said.append([met.value for met in [thing.meet(), thing.meet(), thing.meet()]])

            heard = []
            chained = (
                thing.divide(100, 5)
                .then(lambda value: value + 1)
                .then(lambda value, more: value + more, more=1000)
            )
            said.append(chained.value)
            chained.then(heard.append)
            said.append(heard)
            said.append(chained.ready)

            failed, errors = threading.Event(), []
            thing.divide(1, 0).iferror(lambda error: (errors.append(type(error).__name__), failed.set()))
            failed.wait(60)
            said.append(errors)
            pyro.asyncproxy(thing, False)
            said.append(thing.divide(9, 3))

            batch = pyro.batch(thing)
            batch.divide(10, 5)
            batch.divide(20, 5)
            results = batch(asynchronous=True)
            said.append(list(results.value))
            batch = pyro.batch(thing)
            batch.divide(10, 5)
            batch.divide(1, 0)
            both = batch(asynchronous=True).value
            said += [next(both), raised(ZeroDivisionError, lambda: next(both))]
            batch = thing._pyroBatch()
            said.append(raised(pyro.errors.PyroError, lambda: batch(oneway=True, asynchronous=True)))
            batch.divide(6, 2)
            said.append(list(batch()))

    future = pyro.Future(slow)
    waiting = future(10, second=5)
    said += [waiting.ready, waiting.wait(0.01)]
    go_on.set()
    said += [
        waiting.value,
        waiting.ready,
        future.cancel(),
        future.delay(1),
        raised(RuntimeError, lambda: future(1)),
    ]
    said.append(
        pyro.Future(slow).then(lambda value: value * 2).then(lambda value, by: value - by, by=2)(10).value
    )
    future = pyro.Future(slow)
    said += [future.delay(0.01), future(1).value]
    future = pyro.Future(slow)
    said += [future.delay(100), future.cancel(), future.cancelled, raised(RuntimeError, lambda: future(1))]
    future = pyro.Future(slow)
    future.delay(0.5)
    result = future(1)
    said += [future.cancel(), raised(RuntimeError, lambda: result.value)]
    heard = []
    failing = pyro.Future(lambda: 1 // 0).iferror(lambda error: heard.append(str(error)))()
    said += [raised(ZeroDivisionError, lambda: failing.value), heard]
    return said


GIVES = [
    20,
    "FutureResult",
    True,
    True,
    40,
    40,
    True,
    ("ZeroDivisionError", "integer division or modulo by zero"),
    ["met", "met", "met"],
    1021,
    [1021],
    True,
    ["ZeroDivisionError"],
    3,
    [2, 4],
    2,
    ("ZeroDivisionError", "integer division or modulo by zero"),
    ("PyroError", "async oneway calls make no sense"),
    [3],
    False,
    False,
    15,
    True,
    False,
    False,
    ("RuntimeError", "the future has already been evaluated"),
    20,
    True,
    2,
    True,
    True,
    True,
    ("RuntimeError", "the future has been cancelled"),
    True,
    ("RuntimeError", "future has been cancelled"),
    ("ZeroDivisionError", "integer division or modulo by zero"),
    ["integer division or modulo by zero"],
]
