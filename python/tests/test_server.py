"""How many methods run at once, what is logged, and how a server ends."""

import contextlib
import gc
import logging
import socket
import threading

import pytest

import andiron
import as_native
from conftest import needs_unix


class Gate:
    """A method that waits to be let through, and how many were in it at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    @andiron.expose
    def enter(self):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.opened.wait(60)
        with self.lock:
            self.inside -= 1

    def wait_for(self, number):
        for _ in range(number):
            assert self.entered.acquire(timeout=60)


class Tally(logging.Handler):
    """What was logged by `andiron`, waited for."""

    def __init__(self):
        super().__init__()
        self.records = []
        self.came = threading.Condition()

    def emit(self, record):
        with self.came:
            self.records.append(record)
            self.came.notify_all()

    def wait(self, *words):
        def found():
            texts = [(record, record.getMessage()) for record in self.records]
            return next((record for record, text in texts if all(word in text for word in words)), None)

        with self.came:
            assert self.came.wait_for(found, timeout=60), [record.getMessage() for record in self.records]
            return found()


@pytest.fixture
def logged():
    tally = Tally()
    logger = logging.getLogger("andiron")
    logger.addHandler(tally)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield tally
    logger.removeHandler(tally)
    logger.setLevel(level)


def test_methods_overlap_and_a_number_of_threads_bounds_them(serve):
    gate = Gate()
    hub = serve({"gate": gate}, threads=3)
    enter = hub["gate"].enter
    started = [enter.start() for _ in range(8)]
    gate.wait_for(3)
    hub.store["x"] = 1
    assert hub.store["x"] == 1, "the store is asked beside them"
    gate.opened.set()
    for call in started:
        call.result()
    assert gate.most == 3


def test_one_thread_runs_the_methods_of_all_connections_and_objects_one_after_the_other(serve):
    gate = Gate()
    hub = serve({"gate": gate, "again": Gate.enter.__get__(gate), "give": lambda: gate.enter}, threads=1)
    hubs = [andiron.connect(hub.peer.strip("'")) for _ in range(3)]
    enters = (
        [hub["gate"].enter for hub in hubs] + [hub["again"] for hub in hubs] + [hub["give"]() for hub in hubs]
    )
    starts = [enter.start for enter in enters]
    started = [start() for start in starts for _ in range(3)]
    gate.wait_for(1)
    gate.opened.set()
    for call in started:
        call.result()
    assert gate.most == 1


def test_with_one_thread_calls_go_to_and_fro_all_the_same(serve):
    def down(depth, up):
        return depth if depth == 0 else up(depth - 1, down)

    hub = serve({"down": down}, threads=1)
    assert hub["down"](20, down) == 0


def test_a_stream_shares_the_one_thread_with_others(serve):
    def numbers():
        number = 0
        while True:
            yield number
            number += 1

    hub = serve({"numbers": numbers, "double": lambda x: 2 * x}, threads=1)
    with hub["numbers"]() as items:
        for number in range(1000):
            assert next(items) == number
            if number % 100 == 0:
                assert hub["double"](number) == 2 * number


def test_connections_take_turns_at_the_one_thread(serve):
    @andiron.expose
    class Doubler:
        def double(self, x):
            return 2 * x

    hub = serve({"doubler": Doubler()}, threads=1)
    other = andiron.connect(hub.peer.strip("'"))
    here, there = hub["doubler"], other["doubler"]
    stop = threading.Event()

    def hurry():
        while not stop.is_set():
            with other.batch():
                started = [there.double.start(1) for _ in range(100)]
            for call in started:
                call.result()

    thread = threading.Thread(target=hurry)
    thread.start()
    try:
        assert [here.double(number) for number in range(100)] == [2 * number for number in range(100)]
    finally:
        stop.set()
        thread.join()


def test_a_server_that_stops_waits_for_no_place(serve, home):
    gate = Gate()
    server = andiron.Server({"gate": gate}, f"unix:{home}/s", state=False, threads=1)
    hub = andiron.connect(server.addresses[0])
    enter = hub["gate"].enter
    started = [enter.start() for _ in range(3)]
    gate.wait_for(1)
    assert not server.stop(), "one did not end in time"
    for call in started:
        with pytest.raises(ConnectionError):
            call.result()
    gate.opened.set()


def test_a_server_has_one_thread_at_least(home):
    with pytest.raises(ValueError, match="threads=0"):
        andiron.Server({}, f"unix:{home}/s", threads=0)


def test_more_than_it_can_run_is_refused_as_overloaded(native, serve):
    gate = Gate()
    hub = serve({"gate": gate})
    hubs = [andiron.connect(hub.peer.strip("'")) for _ in range(3)]
    enters = [hub["gate"].enter for hub in hubs]
    started = [enters[number % 3].start() for number in range(300)]
    refused = threading.Event()
    for call in started:
        call.add_done_callback(lambda call: call.exception() and refused.set())
    assert refused.wait(60), "the caller hears of it while the others run"
    gate.opened.set()
    outcomes = [call.exception() for call in started]
    assert {type(outcome) for outcome in outcomes} == {type(None), andiron.OverloadedError}
    assert all(outcome.is_temporary() for outcome in outcomes if outcome)
    assert hubs[0]["gate"].enter() is None, "later there is room again"


def test_serve_keeps_to_its_threads_at_another_server(serve, processes, home):
    address = f"unix:{home}/shared"
    with andiron.Server({}, address, state=False):
        processes.python(
            f"""
            import threading
            import andiron

            inside = 0
            most = 0
            lock = threading.Lock()
            pause = threading.Event()

            @andiron.expose
            class Work:
                def work(self):
                    global inside, most
                    with lock:
                        inside += 1
                        most = max(most, inside)
                    pause.wait(0.02)
                    with lock:
                        inside -= 1

                def most(self):
                    return most

            andiron.serve({{"work": Work()}}, {address!r}, threads=1)
            """
        )
        hub = andiron.connect(address, wait=60)
        work = hub["work"]
        for call in [work.work.start() for _ in range(20)]:
            call.result()
        assert work.most() == 1


def test_a_one_way_call_that_fails_is_logged_at_both_ends(serve, logged):
    @andiron.expose
    class Ear:
        def hear(self, word):
            raise ValueError(word)

    hub = serve({"ear": Ear()})
    hub["ear"].hear.notify("loud")
    caller = logged.wait("a one-way call `hear` to", "failed", "ValueError: loud")
    assert caller.levelname == "WARNING"
    assert "in hear" in str(caller.exc_info[1].__cause__)
    callee = logged.wait("`hear`, which was called one way, raised")
    assert callee.levelname == "ERROR"
    assert isinstance(callee.exc_info[1], ValueError)
    object.__getattribute__(hub["ear"], "_andiron").method("listen").notify()
    logged.wait("a one-way call `listen`", "no method `listen`")


def test_hooks_and_callbacks_that_raise_are_logged(serve, logged):
    def greet():
        andiron.caller().on_end(lambda: 1 / 0)

    hub = serve({"greet": greet})
    other = andiron.connect(hub.peer.strip("'"))
    other["greet"]()
    other.close()
    record = logged.wait("called at the end of a connection, raised")
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    hub["greet"].start().add_done_callback(lambda call: [][0])
    record = logged.wait("the callback", "of a call raised")
    assert isinstance(record.exc_info[1], IndexError)


class Guide:
    """Tells of the end of those who ask, and gives them what they can keep."""

    def __init__(self):
        self.gate = Gate()
        self.ended = threading.Event()

    @andiron.expose
    def greet(self):
        andiron.caller().on_end(self.ended.set)

    @andiron.expose
    def call(self):
        self.gate.enter()
        return "done"

    @andiron.expose
    def numbers(self):
        return iter(range(10_000))

    @andiron.expose
    def double(self):
        return lambda x: 2 * x


class Ears:
    """Keeps what it is given, and tells it something."""

    @andiron.expose
    def keep(self, ear):
        self.ear = ear

    @andiron.expose
    def tell(self, said):
        return self.ear(said)


def a_call(far, guide):
    call = far.call.start()
    guide.gate.wait_for(1)
    return call


def end_of_call(call, guide):
    guide.gate.opened.set()
    assert call.result(60) == "done"


def all_numbers(items, guide):
    assert list(items) == list(range(10_000))


def many_calls(double, guide):
    assert [double(x) for x in range(100)] == [2 * x for x in range(100)]


@pytest.mark.parametrize(
    ("take", "use"),
    [
        (lambda far, guide: None, lambda nothing, guide: None),
        (a_call, end_of_call),
        (lambda far, guide: far.numbers(), all_numbers),
        (lambda far, guide: far.double(), many_calls),
    ],
    ids=["nothing", "a call", "a stream", "an object"],
)
def test_a_connection_ends_when_nobody_has_anything_of_it(home, take, use):
    guide = Guide()
    with andiron.Server({"guide": guide}, f"unix:{home}/socket", state=False) as server:
        hub = andiron.connect(server.addresses[0])
        hub["guide"].greet()
        hub.store["x"] = 1
        assert hub.store["x"] == 1
        taken = take(hub["guide"], guide)
        del hub
        gc.collect()
        use(taken, guide)
        del taken
        gc.collect()
        assert guide.ended.wait(60)


def test_what_was_registered_is_there_though_nobody_has_the_hub(home):
    with andiron.Server({"ears": Ears()}, f"unix:{home}/socket", state=False) as server:
        provider = andiron.connect(server.addresses[0])
        provider.register("double", lambda x: 2 * x)
        provider["ears"].keep(lambda x: 3 * x)
        del provider
        gc.collect()
        with andiron.connect(server.addresses[0]) as hub:
            assert [hub["double"](x) for x in range(100)] == [2 * x for x in range(100)]
            assert hub["ears"].tell(2) == 6


def test_what_was_registered_is_there_again_though_nobody_has_the_hub_or_calls(home):
    address = f"unix:{home}/socket"
    with andiron.Server({}, address, state=False):
        provider = andiron.connect(address, retry=60)
        provider.register("double", lambda x: 2 * x)
        del provider
        gc.collect()
    with andiron.Server({}, address, state=False), andiron.connect(address, wait=60) as hub:
        assert hub["double"](2) == 4


@pytest.mark.parametrize("begins", [contextlib.nullcontext, as_native.bare], ids=["threads", "none"])
def test_who_serves_over_connections_after_one_another_comes_back_when_they_are_closed(home, begins):
    with begins():
        address = f"unix:{home}/socket"
        server = andiron.Server({}, address, state=False, threads=1)
        hub = andiron.connect(address, retry=60)
        hub.register("double", lambda x: 2 * x)
        serving = threading.Thread(target=hub.run)
        serving.start()
        server.stop()
        with andiron.Server({}, address, state=False, threads=1), andiron.connect(address, wait=60) as other:
            assert other["double"](2) == 4
            hub.close()
            serving.join(60)
        assert not serving.is_alive()


@pytest.mark.parametrize("begins", [contextlib.nullcontext, as_native.bare], ids=["threads", "none"])
def test_who_serves_is_told_why_there_will_be_no_other_connection(home, begins, processes, command):
    with begins():
        server = andiron.Server(
            {},
            "tcp://localhost:0",
            state=False,
            secret_file=secret(processes, command, home / "one"),
            threads=1,
        )
        address = server.addresses[0]
        hub = andiron.connect(address, retry=60, secret_file=home / "one")
        raised = []

        def run():
            with pytest.raises(andiron.AuthenticationError) as told:
                hub.run()
            raised.append(told.value)

        serving = threading.Thread(target=run)
        serving.start()
        server.stop()
        with andiron.Server(
            {}, address, state=False, secret_file=secret(processes, command, home / "other"), threads=1
        ):
            serving.join(60)
        assert len(raised) == 1
        hub.close()


def test_a_server_that_nobody_has_ends(home):
    guide = Guide()
    server = andiron.Server({"guide": guide}, f"unix:{home}/socket", state=False)
    hub = andiron.connect(server.addresses[0])
    hub["guide"].greet()
    del server
    gc.collect()
    assert guide.ended.wait(60)
    with pytest.raises(andiron.UnavailableError):
        hub["guide"].greet()
    with andiron.Server({"double": lambda x: 2 * x}, f"unix:{home}/socket", state=False) as server:
        assert andiron.connect(server.addresses[0])["double"](2) == 4


def secret(processes, command, path):
    made = processes.start(command, "secret", "new", "--secret-file", str(path))
    made.communicate(timeout=60)
    assert made.returncode == 0
    return path


def test_a_wrong_secret_is_logged_by_the_server(home, logged, processes, command):
    one, other = (secret(processes, command, home / name) for name in ("one", "other"))
    with andiron.Server({}, "tcp://localhost:0", state=False, secret_file=one) as server:
        with pytest.raises(andiron.AuthenticationError):
            andiron.connect(server.addresses[0], secret_file=other)
        assert logged.wait("a connection was refused", "secret").levelname == "WARNING"


def test_a_connection_that_is_lost_and_made_anew_is_logged(home, logged):
    address = f"unix:{home}/s"
    server = andiron.Server({"double": lambda x: 2 * x}, address, state=False)
    hub = andiron.connect(address, retry=60)
    double = hub["double"]
    assert double(1) == 2
    server.stop()
    with andiron.Server({"double": lambda x: 2 * x}, address, state=False):
        assert double(2) == 4
        assert logged.wait("the connection to", "was lost").levelname == "WARNING"
        assert logged.wait("connected to", "again").levelname == "INFO"
        count = len(logged.records)
        hub.close()
    assert not [record for record in logged.records[count:] if "was lost" in record.getMessage()]


def test_logging_is_not_imported_before_there_is_something_to_log(processes):
    process = processes.python("import andiron, sys; print('logging' in sys.modules)")
    assert process.communicate(timeout=60) == ("False\n", "")


WITHOUT_DESCRIPTORS = """
import andiron, os, resource, sys
with andiron.Server({"double": lambda x: 2 * x}, sys.argv[1], state=False, threads=1) as server:
    hub = andiron.connect(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        os.close(taken.pop())
    try:
        andiron.connect(sys.argv[1], timeout=0.1)
    except andiron.UnavailableError:
        pass
    try:
        andiron.Server({}, [], state=False)
    except andiron.OverloadedError:
        print(hub["double"](2))
    for one in taken:
        os.close(one)
    with andiron.connect(sys.argv[1], wait=60, pump=False) as other:
        print(other["double"](3))
    hub.close()
"""


def test_a_server_goes_on_that_had_no_descriptor_left_not_even_to_log_that(processes, home):
    pytest.importorskip("resource")
    process = processes.python(WITHOUT_DESCRIPTORS, f"unix:{home}/socket")
    out, err = process.communicate(timeout=60)
    assert out == "4\n6\n", err
    assert "no descriptors or memory left" in err


@needs_unix
def test_who_waits_for_a_place_that_a_killed_server_left_says_so(processes, home):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{home}/socket")
    code = 'import andiron, sys; andiron.serve({"double": abs}, sys.argv[1], state=False)'
    process = processes.python(code, f"unix:{home}/socket")
    assert "left by a server that was killed; remove it" in process.stderr.readline()
