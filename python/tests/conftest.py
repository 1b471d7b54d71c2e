"""Servers and other processes for tests."""

import asyncio
import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import textwrap

import hypothesis
import pytest

import andiron
import as_native  # noqa: F401 - from here on the pure engine begins threads by itself, as the native one does
from andiron import _choice

# A shell that runs this in the background has had Ctrl-C ignored, which the programs under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time; others, and many, in `make soak`.
hypothesis.settings.register_profile("test", derandomize=True, deadline=None)
hypothesis.settings.register_profile("soak", max_examples=20_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

# To import what takes things away does, and the programs are run as such.
collect_ignore = ["without", "moving"]

ROOT = pathlib.Path(__file__).parents[2]
TESTS = str(ROOT / "python" / "tests")
NATIVE, WHY = _choice.native()


def environment(engine):
    """That of a process whose engine is `native` or `pure`, whatever it is here."""
    if engine == "native" and NATIVE is None:
        pytest.skip(f"the native module cannot be loaded: {WHY}")
    if engine == "native" and not hasattr(socket, "AF_UNIX"):
        pytest.skip("the native engine has Unix sockets, which were taken away here")
    return {**os.environ, "ANDIRON_PURE": "1" if engine == "pure" else "0"}


@pytest.fixture
def native():
    """Skips a test of what the pure engine does not do: the command, or threads that begin by themselves and are counted."""
    if andiron.engine != "native":
        pytest.skip("about what only the native engine does")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder for names and state, so that nothing of this user is touched."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ANDIRON_ADDRESS", raising=False)
    return tmp_path


#: Over the loopback network nobody knows at once that the other end was killed, and what was sent to it may have run.
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets were taken away")


def named(value):
    """What a test is called after, the same in each process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def in_thread(work, *arguments):
    """What a task awaits that blocks; `asyncio.to_thread` is there from Python 3.9 on."""
    return asyncio.get_running_loop().run_in_executor(None, work, *arguments)


#: Ports that no system gives to who asks for any, so that nobody else takes one before it is listened at; others for each process of tests.
_ports = itertools.cycle((number + os.getpid() * 97) % 12_000 + 20_000 for number in range(12_000))


def _is_free(port):
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) != 0


def free_port():
    """A port of this machine at which nobody listens, and another one each time."""
    return next(filter(_is_free, _ports))


class Processes:
    """Other processes, which end with the test."""

    def __init__(self):
        self.running = []

    def start(self, *arguments, **options):
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
            **options,
        )
        self.running.append(process)
        return process

    def python(self, code, *arguments, flags=(), **options):
        code = textwrap.dedent(code)
        if andiron.engine == "pure":
            code = f"import sys; sys.path.append({TESTS!r}); import as_native\n{code}"
        return self.start(sys.executable, "-u", *flags, "-c", code, *arguments, **options)

    def end(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def processes(home):
    processes = Processes()
    yield processes
    processes.end()


#: Who is the server in place of this process: `rust`, `native` or `pure`. The objects of a test are registered there, and their calls are passed on by it.
DAEMON = os.environ.get("ANDIRON_TEST_DAEMON")


def _daemon(processes, address):
    """A server in a process of its own, of whatever engine."""
    if DAEMON == "rust":
        program = [str(ROOT / "target" / "debug" / "andiron")]
        chosen = dict(os.environ)
    else:
        program = [sys.executable, str(ROOT / "python" / "tests" / "serve.py")]
        chosen = environment(DAEMON)
    process = processes.start(*program, "serve", "--address", address, "--no-state", env=chosen)
    said = process.stderr.readline()
    assert said.startswith("listening at "), said + process.stderr.read()


@pytest.fixture
def directly():
    """Skips a test of what a method knows of its caller, or one end of the other, where a server passes calls on between them."""
    if DAEMON is not None:
        pytest.skip("about two ends with nobody between them")


@pytest.fixture
def serve(processes, home):
    """Hosts objects in this process, or registers them at a server in another one (`DAEMON`); gives a hub."""
    servers = []

    def start(objects, **options):
        address = f"unix:{home}/socket{len(servers)}"
        if DAEMON is None or options:
            server = andiron.Server(objects, address, state=False, **options)
            servers.append(server.stop)
            return andiron.connect(server.addresses[0])
        _daemon(processes, address)
        provider = andiron.connect(address)
        servers.append(provider.close)
        for name, value in objects.items():
            provider.register(name, value)
        return andiron.connect(address)

    yield start
    for stop in servers:
        stop()


@pytest.fixture
def command():
    """The `andiron` command of this environment, or the one that was built."""
    places = [os.path.join(os.path.dirname(sys.executable), "andiron")] if NATIVE else []
    for place in [*places, str(ROOT / "target" / "debug" / "andiron")]:
        if os.path.exists(place):
            return place
    pytest.skip("there is no `andiron` command: it is a part of the native wheel")
