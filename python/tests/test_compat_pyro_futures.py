"""Futures and batches as Pyro4 had them; what they do over a connection is in the programs under `moving`."""

import copy
import threading

import pytest

from andiron.compat.pyro import batches, errors, futures
from andiron.compat.pyro.client import Proxy
from andiron.compat.pyro.core import current_context
from andiron.compat.pyro.server import Daemon, expose, oneway


class Failed(Exception):
    pass


def fails(*_):
    raise Failed("it fails")


def gated(value):
    """Work that waits until it may go on."""
    gate = threading.Event()

    def work():
        gate.wait(60)
        return value

    return gate, work


def test_a_result_is_waited_for():
    gate, work = gated(20)
    result = futures.begun(work)
    assert (result.ready, result.wait(0.01)) == (False, False)
    gate.set()
    assert (result.value, result.ready, result.wait(0)) == (20, True, True)


def test_steps_are_done_in_their_order_before_and_behind_the_result():
    gate, work = gated(1)
    result = (
        futures.begun(work).then(lambda value, by: value + by, by=10).then(lambda value, by: value * by, 2)
    )
    gate.set()
    assert result.value == 22
    assert result.then(lambda value: value + 1).value == 23
    assert result.value == 23


def test_an_error_is_raised_by_the_value_and_skips_the_steps():
    result = futures.begun(fails).then(pytest.fail)
    with pytest.raises(Failed, match="it fails"):
        result.value
    result.then(pytest.fail)
    with pytest.raises(Failed):
        result.value


def test_an_error_is_told_once_however_late_one_asks_for_it():
    early, late = [], []
    gate = threading.Event()
    result = futures.begun(lambda: gate.wait(60) and fails()).iferror(early.append)
    gate.set()
    result.wait(60)
    result.then(print)
    result.iferror(late.append)
    assert [[type(error) for error in heard] for heard in (early, late)] == [[Failed], [Failed]]


def test_a_step_that_fails_is_the_error_of_the_result():
    heard = []
    result = futures.begun(lambda: 1).then(fails).then(pytest.fail).iferror(heard.append)
    with pytest.raises(Failed):
        result.value
    assert [type(error) for error in heard] == [Failed]
    result = futures.begun(lambda: 1)
    result.wait(60)
    result.then(fails)
    with pytest.raises(Failed):
        result.value


def test_a_handler_of_errors_that_fails_keeps_nobody_waiting():
    threads = threading.excepthook
    threading.excepthook = lambda _: None
    try:
        gate = threading.Event()
        result = futures.begun(lambda: gate.wait(60) and fails()).iferror(fails)
        gate.set()
        assert result.wait(60)
    finally:
        threading.excepthook = threads


def test_work_does_not_hold_the_end_of_the_program_up():
    gate, work = gated(1)
    before = set(threading.enumerate())
    result = futures.begun(work)
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    gate.set()
    assert result.value == 1
    thread.join(60)
    assert not thread.is_alive()


def test_a_future_runs_once():
    future = futures.Future(lambda first, second=1: first + second)
    assert future.then(lambda value, by: value * by, by=2).iferror(print) is future
    assert future(10, second=2).value == 24
    for late in (lambda: future(10), lambda: future.then(print)):
        with pytest.raises(RuntimeError, match="already been evaluated"):
            late()
    assert (future.cancel(), future.delay(1), future.cancelled) == (False, False, False)


def test_a_future_that_was_cancelled_never_runs():
    future = futures.Future(pytest.fail)
    assert (future.delay(60), future.cancel(), future.cancelled) == (True, True, True)
    with pytest.raises(RuntimeError, match="cancelled"):
        future()


def test_a_future_is_cancelled_while_it_is_delayed():
    future = futures.Future(pytest.fail)
    future.delay(3600)
    result = future()
    assert not result.ready
    with pytest.raises(RuntimeError, match="already been evaluated"):
        future()
    assert future.cancel()
    with pytest.raises(RuntimeError, match="future has been cancelled"):
        result.value  # at once, and not when the delay is over


def test_a_delay_may_be_made_shorter_meanwhile():
    future = futures.Future(lambda: "ran")
    future.delay(3600)
    result = future()
    assert future.delay(0)
    assert result.value == "ran"


def test_the_error_of_a_future_is_told():
    heard = []
    result = futures.Future(fails).iferror(heard.append)()
    with pytest.raises(Failed):
        result.value
    assert [type(error) for error in heard] == [Failed]


class Counting:
    """A proxy that makes batches by itself."""

    def __init__(self):
        self.batches = []

    def _pyroInvokeBatch(self, calls, oneway=False):
        self.batches.append((list(calls), oneway))
        if oneway:
            return None
        results = [args[0] for name, args, _ in calls if name == "echo"]
        return results, Failed("in the batch") if len(results) < len(calls) else None


def test_calls_are_collected_until_the_batch_is_called():
    proxy = Counting()
    batch = batches.batch(proxy)
    assert (batch.echo(1), batch.echo(2, more=3)) == (None, None)
    assert proxy.batches == []
    results = batch()
    assert proxy.batches == [([("echo", (1,), {}), ("echo", (2,), {"more": 3})], False)]
    assert list(results) == [1, 2]
    assert list(batch()) == []


def test_what_came_before_an_error_is_given_first():
    batch = batches.BatchProxy(Counting())
    batch.echo(1)
    batch.fail()
    results = batch()
    assert next(results) == 1
    with pytest.raises(Failed):
        next(results)
    assert list(results) == []


def test_a_batch_that_nobody_waits_for_gives_nothing():
    proxy = Counting()
    with batches.BatchProxy(proxy) as batch:
        batch.echo(1)
        assert batch(oneway=True) is None
    assert proxy.batches == [([("echo", (1,), {})], True)]


def test_an_asynchronous_batch_is_not_made_twice():
    proxy = Counting()
    batch = batches.BatchProxy(proxy)
    batch.echo(1)
    assert list(batch(asynchronous=True).value) == [1]
    batch.echo(2)
    assert list(batch(asynchronous=True).value) == [2]
    with pytest.raises(errors.PyroError):
        batch(oneway=True, asynchronous=True)


def test_a_copy_of_a_batch_has_its_calls():
    proxy = Counting()
    batch = batches.BatchProxy(proxy)
    batch.echo(1)
    other = copy.copy(batch)
    other.echo(2)
    assert (list(batch()), list(other())) == ([1], [1, 2])


# Over a connection.


class Thing:
    """What these calls are for."""

    def __init__(self):
        self.done = []
        self.gate = threading.Event()
        self.meeting = threading.Barrier(8, timeout=60)

    @expose
    def add(self, number):
        self.done.append(number)
        return number

    @expose
    def fail(self, code):
        error = RuntimeError("it has a code")
        error.code = code
        raise error

    @expose
    def wait(self):
        self.gate.wait(60)
        return "waited"

    @expose
    def meet(self):
        self.meeting.wait()
        return "met"

    @expose
    def said(self):
        return {name: bytes(text) for name, text in current_context.annotations.items()}

    @expose
    def stream(self):
        yield from range(3)

    @oneway
    @expose
    def open(self):
        self.gate.set()

    @expose
    @property
    def number(self):
        return 7


@pytest.fixture
def thing(home):
    """A proxy of a thing, and the thing."""
    own = Thing()
    with Daemon() as daemon, Proxy(daemon.register(own)) as proxy:
        yield proxy, own


def test_a_batch_is_one_message(thing):
    proxy, _ = thing
    batch = proxy._pyroBatch()
    proxy._pyroBind()
    before = proxy._pyroSeq
    for number in range(100):
        batch.add(number)
    assert list(batch()) == list(range(100))
    assert proxy._pyroSeq == before + 1


def test_errors_in_batches_keep_what_they_have(thing):
    """Y12: they lost their attributes."""
    proxy, own = thing
    batch = batches.BatchProxy(proxy)
    batch.add(1)
    batch.fail(42)
    batch.add(2)
    results = batch()
    assert next(results) == 1
    with pytest.raises(RuntimeError, match="it has a code") as caught:
        next(results)
    assert caught.value.code == 42
    assert "in fail" in "".join(caught.value._pyroTraceback)
    assert own.done == [1]


def test_a_batch_that_is_not_waited_for_is_done_in_its_order(thing):
    proxy, own = thing
    batch = batches.batch(proxy)
    for number in range(5):
        batch.add(number)
    batch.open()
    assert batch(oneway=True) is None
    assert own.gate.wait(60)
    assert own.done == list(range(5))


def test_what_has_no_place_in_a_batch_is_its_error(thing):
    proxy, own = thing
    for wrong in (lambda batch: batch.nothing(), lambda batch: batch._private(), lambda batch: batch.add()):
        batch = batches.batch(proxy)
        batch.add(1)
        wrong(batch)
        batch.add(2)
        results = batch()
        assert next(results) == 1
        with pytest.raises((AttributeError, TypeError)):
            next(results)
    assert own.done == [1, 1, 1]


def test_asynchronous_calls_go_on_at_once_over_one_connection(thing):
    proxy, _ = thing
    futures.asyncproxy(proxy)
    assert [met.value for met in [proxy.meet() for _ in range(8)]] == ["met"] * 8
    futures.asyncproxy(proxy, False)
    assert proxy.add(1) == 1


def test_an_asynchronous_call_says_what_its_thread_says(thing):
    proxy, _ = thing
    proxy._pyroAsync()
    current_context.annotations = {"USER": b"ann"}
    try:
        said = proxy.said()
    finally:
        current_context.annotations = {}
    assert said.value == {"USER": b"ann"}
    assert proxy.said().value == {}


def test_of_an_asynchronous_proxy_only_the_methods_are(thing):
    proxy, own = thing
    proxy._pyroAsync()
    assert proxy.number == 7
    assert list(proxy.stream().value) == [0, 1, 2]
    assert copy.copy(proxy).add(1).value == 1
    with pytest.raises(AttributeError):
        proxy.nothing
    assert proxy.open().value is None
    assert own.gate.wait(60)
    with pytest.raises(RuntimeError) as caught:
        proxy.fail(3).value
    assert caught.value.code == 3


def test_an_asynchronous_call_ends_with_its_connection(thing):
    proxy, own = thing
    proxy._pyroAsync()
    waiting = proxy.wait()
    proxy.add(1).wait(60)  # by then it is on its way
    assert not waiting.ready
    proxy._pyroRelease()
    with pytest.raises(errors.CommunicationError):
        waiting.value
    own.gate.set()


def test_a_time_limit_holds_for_asynchronous_calls_and_batches(thing):
    proxy, own = thing
    proxy._pyroBind()
    proxy._pyroTimeout = 0.05
    proxy._pyroAsync()
    with pytest.raises(errors.TimeoutError):
        proxy.wait().value
    proxy._pyroAsync(False)
    batch = proxy._pyroBatch()
    batch.wait()
    with pytest.raises(errors.TimeoutError):
        list(batch())
    own.gate.set()
