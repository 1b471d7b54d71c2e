"""What should not be done with objects, and is."""

import signal
import threading

import pytest

import andiron


@pytest.fixture
def echo(serve):
    return serve({"echo": lambda *args, **kwargs: (args, kwargs)})["echo"]


def test_a_value_in_itself_is_refused(echo):
    knot = []
    knot.append({"knot": knot})
    ring = {}
    ring["ring"] = (ring,)
    for value in (knot, ring):
        with pytest.raises(andiron.EncodingError):
            echo(value)
        with pytest.raises(andiron.EncodingError):
            echo(x=value)
    deep = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(andiron.EncodingError):
        echo(deep)
    assert echo(1) == ((1,), {})


def test_a_result_in_itself_is_refused(serve):
    def knot():
        knot = []
        knot.append(knot)
        return knot

    with pytest.raises(andiron.EncodingError):
        serve({"knot": knot})["knot"]()


def test_arguments_with_names_of_the_machinery_are_arguments(echo):
    for name in ("__class__", "self", "timeout", "$set", "args", "", "größe", "\N{FIRE}"):
        assert echo({name: 1}, **{name: 2}) == (({name: 1},), {name: 2})
    with pytest.raises((UnicodeEncodeError, andiron.EncodingError)):
        echo("\ud800")
    with pytest.raises((UnicodeEncodeError, andiron.EncodingError)):
        echo(**{"\ud800": 1})


def test_a_method_of_an_odd_name_is_no_method(serve):
    class Plain:
        @andiron.expose
        def fine(self):
            return 1

    far = serve({"far": Plain()})["far"]
    for name in ("\ud800", "x" * 300, "\N{FIRE}", "fine\n", "fine()"):
        with pytest.raises((AttributeError, UnicodeEncodeError)):
            getattr(far, name)
        with pytest.raises((andiron.NoMethodError, UnicodeEncodeError)):
            object.__getattribute__(far, "_andiron").method(name)()
    assert far.fine() == 1


def test_callbacks_call_back_deeply_and_too_deep_is_an_error(serve):
    def down(depth, up):
        return depth if depth == 0 else up(depth - 1, down)

    hub = serve({"down": down})
    # Python's own frames go no deeper where the engine has some among them.
    assert hub["down"](100 if andiron.engine == "native" else 40, down) == 0
    with pytest.raises(andiron.RemoteError, match="nested too deep"):
        hub["down"](1000, down)
    assert hub["down"](10, down) == 0


def test_a_callback_comes_back_into_the_object_that_calls_it(serve):
    class Counter:
        def __init__(self):
            self.count = 0

        @andiron.expose
        def add(self, callback=None):
            self.count += 1
            if callback is not None:
                callback()
            return self.count

    far = serve({"counter": Counter()})["counter"]
    assert far.add(lambda: far.add(lambda: far.add())) == 3


def test_a_callback_that_nobody_reads_is_waited_for_as_long_as_one_says(serve):
    kept = []
    hub = serve({"keep": kept.append})
    with andiron.connect(hub.peer.strip("'"), pump=False) as quiet:
        heard = []
        quiet["keep"](heard.append)
        with andiron.timeout(0.1), pytest.raises(TimeoutError) as raised:
            kept[0]("in vain")
        assert raised.value.kind == "deadline"
        call = kept[0].__call__.start("patient")  # its `start` would ask first what it is
        assert not call.done()
        while not call.done():
            quiet.poll(0.01)
        assert heard[-1] == "patient"
        waiting = kept[0].__call__.start("never")
    with pytest.raises(andiron.Error) as raised:
        waiting.result()
    assert raised.value.kind in ("unknown", "unavailable"), "the hub was closed"
    with pytest.raises(andiron.Error):
        kept[0]("gone")


def test_a_closed_hub_says_that_it_is_closed(serve):
    hub = serve({"echo": lambda x: x})
    echo, other = hub["echo"], hub["echo"]
    echo(1)
    hub.close()
    hub.close()
    attempts = [
        lambda: echo(1),
        lambda: other(1),
        lambda: echo.start(1),
        lambda: echo.__call__.start(1),
        lambda: echo.__call__.notify(1),
        lambda: hub["echo"],
        lambda: list(hub),
        lambda: hub.register("x", print),
        lambda: hub.store["x"],
        lambda: hub.store.set("x", 1),
        lambda: hub.poll(),
    ]
    for attempt in attempts:
        with pytest.raises(ConnectionError, match="closed here"):
            attempt()
    assert repr(hub)
    assert repr(echo)


def test_a_server_that_goes_in_the_middle_of_a_call_leaves_it_unknown(processes, home):
    server = processes.python(
        """
        import threading
        import andiron

        def hang():
            print("begun", flush=True)
            threading.Event().wait()

        andiron.serve({"hang": hang, "quick": lambda: 1}, "going")
        """
    )
    hub = andiron.connect("going", wait=60)
    quick = hub["quick"]
    call = hub["hang"].start()
    heard = []
    call.add_done_callback(lambda call: heard.append(type(call.exception())))
    assert server.stdout.readline() == "begun\n"
    server.send_signal(signal.SIGKILL)
    with pytest.raises(andiron.UnknownError, match="may have run"):
        call.result()
    assert heard == [andiron.UnknownError]
    with pytest.raises(andiron.UnavailableError) as raised:
        quick()
    assert raised.value.is_temporary()


def test_a_method_that_never_returns_holds_up_neither_others_nor_the_exit(processes, home):
    server = processes.python(
        """
        import threading
        import andiron

        def hang():
            print("begun", flush=True)
            threading.Event().wait()

        server = andiron.Server({"hang": hang, "quick": lambda: 1}, "hanging", state=False)
        print("ready", flush=True)
        input()
        """
    )
    assert server.stdout.readline() == "ready\n"
    hub = andiron.connect("hanging")
    call = hub["hang"].start()
    assert server.stdout.readline() == "begun\n"
    assert hub["quick"]() == 1
    server.communicate("\n", timeout=60)
    assert server.returncode == 0
    with pytest.raises(ConnectionError):
        call.result()


def test_a_client_that_waits_for_ever_ends_with_its_interpreter(processes, serve, home):
    begun, release = threading.Semaphore(0), threading.Event()

    def hang():
        begun.release()
        release.wait(60)

    hub = serve({"hang": hang})
    client = processes.python(
        f"""
        import threading
        import andiron

        hub = andiron.connect({hub.peer.strip("'")!r})
        hang = hub["hang"]
        thread = threading.Thread(target=hang, daemon=True)
        thread.start()
        hang.start().add_done_callback(print)
        hang.notify()
        input()
        """
    )
    for _ in range(3):
        assert begun.acquire(timeout=60)
    client.communicate("\n", timeout=60)
    assert client.returncode == 0
    release.set()


def test_a_handler_that_exits_does_not_end_the_server(processes, home):
    server = processes.python(
        """
        import sys
        import andiron

        def leave():
            sys.exit(3)

        def interrupt():
            raise KeyboardInterrupt

        andiron.serve({"leave": leave, "interrupt": interrupt, "quick": lambda: 1}, "steady")
        """
    )
    hub = andiron.connect("steady", wait=60)
    for name in ("leave", "interrupt"):
        for _ in range(3):
            with pytest.raises(andiron.RemoteError):
                hub[name]()
        hub[name].notify()
    assert hub["quick"]() == 1
    assert server.poll() is None
