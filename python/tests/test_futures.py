"""Calls under way, batches, and what is said beside the arguments of calls."""

import contextlib
import gc
import queue
import socket
import threading
import weakref

import pytest

import andiron


@andiron.expose
class Desk:
    def __init__(self):
        self.opened = threading.Event()
        self.begun = threading.Semaphore(0)
        self.heard = []

    def wait(self):
        self.begun.release()
        assert self.opened.wait(60)
        return "done"

    def give(self, value=None):
        return value

    def fail(self):
        raise ValueError("no")

    def hear(self, value):
        self.heard.append(value)

    def count(self):
        return len(self.heard)

    def cancelled(self):
        self.begun.release()
        caller = andiron.caller()
        while not caller.cancelled:
            self.opened.wait(0.001)
        self.opened.set()


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def far(serve, desk):
    hub = serve({"desk": desk})
    return hub["desk"]


def test_a_result_is_waited_for_no_longer_than_one_wants(far, desk):
    call = far.wait.start()
    assert not call.done()
    for _ in range(2):
        with pytest.raises(TimeoutError, match="the call goes on"):
            call.result(timeout=0.01)
        with pytest.raises(TimeoutError):
            call.exception(timeout=0)
    desk.opened.set()
    assert call.result(timeout=60) == "done"
    assert call.done()
    assert call.exception() is None


def test_a_call_is_over_for_who_asks_again_and_again_and_reads_nothing(far):
    call = far.give.start(1)
    while not call.done():
        pass
    assert call.result(0) == 1


def test_what_a_call_failed_with_is_raised_or_given(far):
    call = far.fail.start()
    assert isinstance(call.exception(), ValueError)
    with pytest.raises(ValueError, match="no"):
        call.result()
    assert not call.cancelled()


def test_all_threads_that_wait_for_a_result_get_it(far, desk):
    call = far.wait.start()
    results = []
    threads = [threading.Thread(target=lambda: results.append(call.result())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert desk.begun.acquire(timeout=60)
    desk.opened.set()
    for thread in threads:
        thread.join(60)
    assert results == ["done"] * 4


def test_a_call_is_given_up_and_the_method_hears_of_it(far, desk):
    call = far.cancelled.start()
    assert desk.begun.acquire(timeout=60)
    assert call.cancel()
    assert desk.opened.wait(60)
    assert call.done()
    assert call.cancelled()
    assert not call.cancel()
    with pytest.raises(andiron.CancelledError):
        call.result()


def test_a_call_is_given_up_while_another_thread_waits_for_it(far, desk):
    call = far.wait.start()
    raised = []

    def wait():
        with pytest.raises(andiron.CancelledError):
            call.result()
        raised.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    assert desk.begun.acquire(timeout=60)
    while not call.cancel():
        pass
    thread.join(60)
    assert raised == [True]
    assert call.cancelled()
    desk.opened.set()


def test_a_call_that_is_over_is_not_given_up(far):
    call = far.give.start(1)
    assert call.result() == 1
    assert not call.cancel()
    assert not call.cancelled()


def test_callbacks_are_called_once_whoever_reads_the_answer(far, desk):
    heard = []
    came = threading.Semaphore(0)

    def hear(call):
        heard.append(call)
        came.release()

    call = far.wait.start()
    call.add_done_callback(hear)
    call.add_done_callback(hear)
    desk.opened.set()
    for _ in range(2):
        assert came.acquire(timeout=60), "nobody waits for the result"
    call.add_done_callback(hear)
    assert heard == [call] * 3, "at once, where it is over"
    waited_for = far.give.start(1)
    waited_for.add_done_callback(hear)
    assert waited_for.result() == 1
    assert came.acquire(timeout=60)
    assert came.acquire(timeout=60)
    assert heard[3:] == [waited_for]


def test_a_callback_that_was_waited_for_in_vain_before_is_called(far, desk):
    came = threading.Event()
    call = far.wait.start()
    call.add_done_callback(lambda call: came.set())
    with pytest.raises(TimeoutError):
        call.result(0.01)
    desk.opened.set()
    assert came.wait(60)


def test_a_callback_makes_calls_of_its_own(far):
    results = []
    came = threading.Event()

    def go_on(call):
        results.append(far.give(call.result() + 1))
        came.set()

    far.give.start(1).add_done_callback(go_on)
    assert came.wait(60)
    assert results == [2]


def test_callbacks_are_called_where_nobody_pumps_by_who_polls(serve, desk):
    hub = serve({"desk": desk})
    with andiron.connect(hub.peer.strip("'"), pump=False) as hub:
        heard = []
        call = hub["desk"].wait.start()
        call.add_done_callback(heard.append)
        desk.opened.set()
        while not heard:
            hub.poll(0.01)
        assert heard == [call]


def test_callbacks_hear_of_the_end_of_the_connection(serve, desk):
    hub = serve({"desk": desk})
    call = hub["desk"].wait.start()
    heard = []
    call.add_done_callback(lambda call: heard.append(call.exception()))
    assert desk.begun.acquire(timeout=60)
    hub.close()
    desk.opened.set()
    assert isinstance(call.exception(), andiron.UnknownError)
    assert [type(error) for error in heard] == [andiron.UnknownError]


def test_a_call_that_nobody_keeps_goes_on(far, desk):
    for number in range(100):
        far.hear.start(number)
    gc.collect()
    far.give.start().result()
    assert desk.heard == list(range(100)) or far.count() == 100


def test_calls_of_a_batch_go_together_at_its_end(serve, desk):
    other = serve({"desk": desk})
    hub = andiron.connect(other.peer.strip("'"), pump=False)  # nobody else has something to send
    far, other = hub["desk"], other["desk"]
    far.give()
    with hub.batch():
        started = [far.hear.start(number) for number in range(10)]
        far.hear.notify("one way")
        with hub.batch():
            started.append(far.hear.start("inner"))
        assert other.count() == 0, "an inner batch is part of the outer one"
    for call in started:
        call.result()
    assert other.count() == 12
    with hub.batch():
        assert far.hear.start("waited for").result() is None, "who waits sends what is held back"
    started = []

    def fail():
        with hub.batch():
            started.append(far.hear.start("behind an exception"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert started[0].result() is None


def test_a_batch_is_of_its_thread(serve, desk):
    hub = serve({"desk": desk})
    far = hub["desk"]
    with hub.batch():
        thread = threading.Thread(target=lambda: far.hear.start("other").result())
        thread.start()
        thread.join(60)
        assert desk.heard == ["other"]


def test_ten_thousand_calls_of_a_batch_are_answered_in_order(serve, desk):
    hub = serve({"desk": desk})
    give = hub["desk"].give
    with hub.batch():
        started = [give.start(number) for number in range(10_000)]
    assert [call.result() for call in started] == list(range(10_000))


@pytest.mark.usefixtures("directly")
def test_a_caller_is_the_hub_that_calls(serve):
    callers = []

    @andiron.expose
    class Door:
        def knock(self, who):
            caller = andiron.caller()
            callers.append(caller)
            assert list(caller) == []
            return caller.get("name"), who(caller.peer)

    hub = serve({"door": Door()})
    other = andiron.connect(hub.peer.strip("'"))
    for each in (hub, other, hub):
        assert each["door"].knock(str.upper)[0] is None
    first, second, again = callers
    assert isinstance(first, andiron.Hub)
    assert first == again
    assert hash(first) == hash(again)
    assert first != second
    assert len({first, second, again}) == 2
    assert first.peer.startswith("process" if hasattr(socket, "AF_UNIX") else "tcp")
    assert not first.cancelled
    assert first.time_left is None


@pytest.mark.usefixtures("directly")
def test_a_method_finds_what_its_caller_registered(serve):
    hub = serve({"ask": lambda name: andiron.caller()[name]() + 1, "names": lambda: list(andiron.caller())})
    hub.register("answer", lambda: 41)
    other = andiron.connect(hub.peer.strip("'"))
    assert hub["ask"]("answer") == 42
    assert hub["names"]() == ["answer"]
    with pytest.raises(andiron.RemoteError, match="no object is named 'answer'") as raised:
        other["ask"]("answer")
    assert raised.value.type_name == "andiron.NoObjectError", "of the method's call, not of this one"
    assert other["names"]() == []


def test_what_is_said_beside_the_arguments_is_heard_by_the_method(serve):
    def say():
        return andiron.caller().annotations

    hub = serve({"say": say})
    say = hub["say"]
    assert say() == {}
    with andiron.annotations(trace="abc", more=(1, {"x": b"y"})):
        assert say() == {"trace": "abc", "more": (1, {"x": b"y"})}
        with andiron.annotations(trace="def", span=2):
            assert say() == {"trace": "def", "more": (1, {"x": b"y"}), "span": 2}
            with andiron.timeout(60):
                assert say()["span"] == 2
        assert say()["trace"] == "abc"
        started = say.start()
    assert started.result()["trace"] == "abc"
    assert say() == {}


def test_a_method_passes_on_what_was_said_only_by_saying_so(serve):
    heard = []

    def back():
        heard.append(dict(andiron.caller().annotations))

    def pass_on(back, on):
        back()
        if on:
            with andiron.annotations(**andiron.caller().annotations):
                back()

    hub = serve({"pass_on": pass_on})
    with andiron.annotations(trace="abc"):
        hub["pass_on"](back, False)
        hub["pass_on"](back, True)
        hub["pass_on"].notify(back, False)
    assert heard[:3] == [{}, {}, {"trace": "abc"}], "and not by running on the thread of a block"


def test_calls_of_a_callback_are_no_calls_of_the_block_on_whose_thread_it_runs(serve):
    threads = []

    def say():
        caller = andiron.caller()
        return caller.annotations, caller.time_left

    def ask():
        threads.append(threading.current_thread())
        return hub["say"]()

    hub = serve({"say": say, "call": lambda function: function()})
    with andiron.annotations(trace="abc"), andiron.timeout(60):
        annotations, left = hub["call"](ask)
        assert (annotations, left is not None) == ({}, True), "the time is the caller's all the same"
        assert hub["say"]()[0] == {"trace": "abc"}, "and the block goes on"
    assert threads == [threading.current_thread()]


def test_what_a_block_says_is_bounded_and_plain(serve):
    hub = serve({"double": lambda x: 2 * x})
    with andiron.annotations(long="x" * 9000):
        with pytest.raises(andiron.TooLargeError, match="annotations of 90"):
            hub["double"](1)
    with pytest.raises(TypeError):
        andiron.annotations(lock=threading.Lock())
    with pytest.raises(TypeError):
        andiron.annotations(callback=print)
    assert hub["double"](1) == 2


def test_what_is_said_goes_through_a_daemon_unchanged(home):
    with andiron.Server({}, f"unix:{home}/s", state=False) as server:
        provider = andiron.connect(server.addresses[0])
        provider.register("say", lambda: andiron.caller().annotations)
        with andiron.connect(server.addresses[0]) as hub, andiron.annotations(trace="abc", n=2**70):
            assert hub["say"]() == {"trace": "abc", "n": 2**70}


def test_an_error_that_was_raised_keeps_nothing_alive(serve):
    class Big:
        pass

    def fail():
        raise ValueError

    failing = serve({"fail": fail})["fail"]
    alive = []

    def use():
        big = Big()
        alive.append(weakref.ref(big))
        pending = failing.start()
        with contextlib.suppress(ValueError):
            pending.result()

    for _ in range(10):
        use()
    gc.collect()
    assert [one() for one in alive] == [None] * 10


def test_who_is_to_hear_of_a_call_hears_of_one_of_what_was_an_argument(serve):
    kept, given = [], queue.Queue()

    def ask(desk):
        call = desk.give.start(3)
        kept.append(call)  # nobody waits for it
        call.add_done_callback(lambda call: given.put(call.result()))

    serve({"ask": ask})["ask"](Desk())
    assert given.get(timeout=60) == 3
