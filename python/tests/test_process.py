"""Signals, and the end of a process."""

import signal
import subprocess
import sys

import pytest

import andiron


@pytest.mark.parametrize(
    "what", ["hub['hang']()", "hub['hang'].__call__()", "hub.run()", "next(hub.store.watch('nothing'))"]
)
def test_ctrl_c_ends_a_wait(processes, home, what):
    address = f"unix:{home}/socket"
    import threading

    reached, release = threading.Event(), threading.Event()

    def hang():
        reached.set()
        release.wait()

    with andiron.Server({"hang": hang}, address, state=False):
        code = f"""
            import andiron
            hub = andiron.connect({address!r})
            print("begins")
            {what}
        """
        client = processes.python(code)
        assert client.stdout.readline() == "begins\n"
        if "hang" in what:
            assert reached.wait(60)
        # It may not wait yet: whoever asks once more ends it.
        while True:
            client.send_signal(signal.SIGINT)
            try:
                client.wait(1)
                break
            except subprocess.TimeoutExpired:
                continue
        assert "KeyboardInterrupt" in client.communicate()[1]
        release.set()


def test_a_process_that_serves_and_calls_ends_by_itself(processes, home):
    code = f"""
        import andiron
        server = andiron.Server({{"f": lambda callback: callback(1)}}, "unix:{home}/socket", state=False)
        hub = andiron.connect(server.addresses[0])
        assert hub["f"](lambda x: x + 1) == 2
        hub.register("g", print)
        hub["g"]("said")
        print("done")
    """
    process = processes.python(code)
    assert process.communicate(timeout=60) == ("said\ndone\n", "")
    assert process.returncode == 0


def test_the_command_is_there_and_as_a_module(command, home):
    for program in ([command], [sys.executable, "-m", "andiron"]):
        assert subprocess.run(
            [*program, "--version"], capture_output=True, text=True, check=True
        ).stdout.startswith("andiron ")
        missing = subprocess.run([*program, "get", "x"], capture_output=True, text=True, check=False)
        assert missing.returncode == 1
        assert "no server" in missing.stderr


def test_importing_is_light():
    code = "import sys, andiron; print(*[name for name in ('asyncio', 'ssl', 'sqlite3', 'numpy', 'inspect') if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "\n"
    )


def _work(objects, results):
    hub, double, store, named = objects
    store.incr("n")
    results.put((double(21), named(1), hub["double"](4), store["n"] > 0))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_multiprocessing_has_a_connection_of_its_own(serve, method):
    import multiprocessing

    context = multiprocessing.get_context(method)
    hub = serve({"double": lambda x: 2 * x})
    double, store = hub["double"], hub.store
    assert double(1) == 2
    store["n"] = 0
    results = context.Queue()
    objects = (hub, double, store, hub["double"])
    children = [context.Process(target=_work, args=(objects, results)) for _ in range(3)]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [(42, 2, 8, True)] * 3
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert double(3) == 6
    assert store["n"] == 3


def test_a_sub_interpreter_is_refused_in_words():
    interpreters = pytest.importorskip("_xxsubinterpreters")
    code = f"""
import sys
sys.path[:] = {sys.path!r}
import andiron
"""
    with pytest.raises(Exception, match="sub-interpreter: use it from another process"):
        interpreters.run_string(interpreters.create(), code)
