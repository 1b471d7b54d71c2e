"""The end of a process, with whatever is still going on. Each is a process of its own, which has to end by itself."""

import signal
import textwrap

import pytest

#: Has ``reached`` and ``release``, and objects that wait for the one when they have told of the other.
BEGINNING = """
import atexit, sys, threading
import andiron

reached, release = threading.Event(), threading.Event()

def hang(*_):
    reached.set()
    release.wait()

def begin(work):
    threading.Thread(target=work, daemon=True).start()

def numbers():
    while True:
        yield 1
"""

#: What goes on in a client at its end.
CLIENTS = {
    "nothing": "",
    "calls in daemon threads": """
        for _ in range(4):
            begin(hub["hang"])
        while hub["hung"]() < 4:
            pass
    """,
    "daemon threads that call again and again": """
        def work():
            while True:
                hub["double"](1)
                hub.store["x"] = 1
                hub.store.get("y")
                hub["call"](lambda: began.set())
        began = threading.Event()
        for _ in range(4):
            begin(work)
        began.wait()
    """,
    "daemon threads with a connection each": """
        def work():
            hub = andiron.connect(sys.argv[1])
            while True:
                hub["double"](1)
                began.set()
        began = threading.Event()
        for _ in range(4):
            begin(work)
        began.wait()
    """,
    "a watch in a daemon thread": """
        def work():
            for change in hub.store.watch():
                reached.set()
        begin(work)
        hub.store["x"] = 1
        reached.wait()
    """,
    "a watch that nobody reads": """
        watch = hub.store.watch()
    """,
    "a stream in a daemon thread, and one that nobody reads": """
        def work():
            for _ in hub["numbers"]():
                reached.set()
        begin(work)
        unread = hub["numbers"]()
        next(unread)
        reached.wait()
    """,
    "a callback that runs": """
        begin(lambda: hub["call"](hang))
        reached.wait()
    """,
    "an object that is called": """
        hub.register("me", hang)
        begin(hub.run)
        begin(hub["me"])
        reached.wait()
    """,
    "a call whose result nobody asked for": """
        pending = hub["player"].wait.start()
    """,
    "a thread that ends by SystemExit": """
        def work():
            hub["double"](1)
            sys.exit(3)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """,
    "a hook of atexit that calls": """
        double, store = hub["double"], hub.store
        @atexit.register
        def last():
            store["x"] = double(4)
            assert store["x"] == 8
    """,
    "finalizers": """
        class Owner:
            def __del__(self):
                try:
                    self.double(1)
                except Exception:
                    pass
        owner = Owner()
        owner.double = hub["double"]
        sys.kept = [owner, hub, hub.store, hub.store.watch(), hub["numbers"](), hub["player"].wait.start()]
        sys.kept.append(sys.kept)
    """,
    "a loop that is running": """
        import asyncio
        from andiron import aio
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # nothing of that is told
            hub = await aio.connect(sys.argv[1])
            player = await hub["player"]
            waiting = player.wait.start()
            async for _ in await (await hub["numbers"])():
                break
            reached.set()
            await waiting
        begin(lambda: asyncio.run(main()))
        reached.wait()
    """,
    "a server of its own": """
        own = andiron.Server({"f": lambda: 1}, [], state=False)
        inside = own.connect()
        watch = inside.store.watch()
        assert inside["f"]() == 1
    """,
}

SERVER = """
hung = 0

def waits(*_):
    global hung
    hung += 1
    release.wait()

class Player:
    @andiron.expose
    def wait(self):
        release.wait()

objects = {
    "hang": waits, "hung": lambda: hung, "double": lambda x: 2 * x, "call": lambda f: f(), "numbers": numbers, "player": Player()
}
server = andiron.Server(objects, sys.argv[1], state=False)
print("up", flush=True)
"""


def code_of(*parts):
    return BEGINNING + "".join(textwrap.dedent(part) for part in parts)


@pytest.fixture
def address(processes, home):
    """A server in another process, with methods that hang."""
    address = f"unix:{home}/socket"
    server = processes.python(code_of(SERVER, "server.wait()"), address)
    assert server.stdout.readline() == "up\n"
    return address


@pytest.mark.parametrize("going_on", CLIENTS)
def test_a_client_ends_whatever_goes_on(processes, address, going_on):
    code = code_of("hub = andiron.connect(sys.argv[1])\n", CLIENTS[going_on], "print('ends')")
    client = processes.python(code, address, flags=("-X", "dev", "-W", "error"))
    assert client.communicate(timeout=60) == ("ends\n", "")
    assert client.returncode == 0


@pytest.mark.parametrize("method", ["hang", "numbers", "call"])
def test_a_server_ends_although_a_method_does_not(processes, home, method):
    address = f"unix:{home}/socket"
    server = processes.python(code_of(SERVER, "sys.stdin.readline()"), address)
    assert server.stdout.readline() == "up\n"
    client = processes.python(
        code_of(
            "hub = andiron.connect(sys.argv[1])\n",
            f"pending = hub['{method}'](lambda: (print('called', flush=True), release.wait()))"
            if method == "call"
            else f"print('called', flush=True)\npending = list(hub['{method}']())",
        ),
        address,
    )
    assert client.stdout.readline() == "called\n"
    assert server.communicate("\n", timeout=60) == ("", "")
    assert server.returncode == 0
    client.kill()


def test_a_thread_that_is_no_daemon_hears_that_its_server_is_dead(processes, home):
    address = f"unix:{home}/socket"
    server = processes.python(code_of(SERVER, "server.wait()"), address)
    assert server.stdout.readline() == "up\n"
    code = """
        hub = andiron.connect(sys.argv[1])
        def work():
            pending = hub["player"].wait.start()
            print("waits", flush=True)
            try:
                pending.result()
            except andiron.UnknownError:
                print("heard")
        threading.Thread(target=work).start()
    """
    client = processes.python(code_of(code), address)
    assert client.stdout.readline() == "waits\n"
    server.send_signal(signal.SIGKILL)
    assert client.communicate(timeout=60) == ("heard\n", "")


def test_an_exit_of_the_process_in_a_method_and_in_a_callback_is_none(processes, address):
    code = """
        hub = andiron.connect(sys.argv[1])
        def leaves():
            sys.exit(3)
        try:
            hub["call"](leaves)
        except andiron.RemoteError as error:
            print(error.type_name)
    """
    client = processes.python(code_of(code), address)
    assert client.communicate(timeout=60) == ("SystemExit\n", "")
    assert client.returncode == 0


@pytest.mark.parametrize("where", ["a method", "a generator", "an object of a hub", "after stop"])
def test_code_that_never_waits_does_not_abort_the_end(processes, home, where):
    code = """
        def spin(*_):
            reached.set()
            while True:
                pass

        def spins():
            reached.set()
            while True:
                if not reached.is_set():
                    yield

        def take():
            try:
                next(hub["spins"]())
            except andiron.Error:
                pass  # the server ends

        server = andiron.Server({"spin": spin, "spins": spins}, [], state=False)
        hub, other = server.connect(), server.connect()
        where = sys.argv[1]
        if where == "an object of a hub":
            other.register("mine", spin)
            hub["mine"].start()
        elif where == "a generator":
            begin(take)
        else:
            hub["spin"].start()
        reached.wait()
        if where == "after stop":
            server.stop()
        print("ends")
    """
    program = processes.python(code_of(code), where)
    assert program.communicate(timeout=60) == ("ends\n", "")
    assert program.returncode == 0


@pytest.mark.parametrize("number", range(3))
def test_a_process_that_logs_something_at_its_very_end_ends_in_order(processes, home, number):
    code = """
        import socket, andiron
        server = andiron.Server({}, "tcp://127.0.0.1:0", state=False)
        stranger = socket.create_connection(("127.0.0.1", int(server.addresses[0].rpartition(":")[2])))
        stranger.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
        stranger.recv(1)
        server.stop()
    """
    process = processes.python(code)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 0), err
