"""script.module.ipc, in scripts that run at the same time in one Kodi."""

import pytest

from conftest import zip_of


@pytest.fixture(scope="module")
def kodi(new_kodi, zips):
    kodi = new_kodi(zip_of(zips, "script.module.ipc")).start()
    yield kodi
    kodi.kill()


def test_a_script_has_the_engine_in_python_alone(kodi):
    told = kodi.python("""
import andiron, ipc.ipcserver, ipc.ipcclient
answer([andiron.engine, andiron.__file__])
""")
    assert told == ["pure", str(kodi.root / "addons/script.module.ipc/lib/andiron/__init__.py")]


def test_one_script_calls_the_object_of_another(kodi):
    server = kodi.begin("""
import xbmc
from ipc.ipcserver import IPCServer

class Library(object):
    def __init__(self):
        self.seconds = {}
        self.ended = False

    def mark(self, title, seconds):
        self.seconds[title] = seconds
        return len(self.seconds)

    def tell(self, title, listener):
        listener(self.seconds[title])

    def end(self):
        self.ended = True

library = Library()
server = IPCServer(library, port=None, name="library")
server.start()
answer(server.uri)
monitor = xbmc.Monitor()
while not library.ended and not monitor.waitForAbort(0.05):
    pass
server.stop()
""")
    server.result()
    told = kodi.python("""
from ipc.ipcclient import IPCClient

client = IPCClient(name="library", port=None)
library = client.get_exposed_object()
heard = []
told = [client.server_available(), library.mark(u"B\\u00e4r", 12.5)]
library.tell(u"B\\u00e4r", heard.append)
library.end()
answer([told, heard])
""")
    assert told == [[True, 1], [12.5]]


def test_pyro4_is_there_by_its_names(kodi):
    told = kodi.python("""
import pyro4, pyro4.core, pyro4.naming, pyro4.util
from pyro4.errors import CommunicationError
from pyro4.futures import Future

@pyro4.expose
class Radio(object):
    def tune(self, frequency):
        return "%s MHz" % frequency

daemon = pyro4.Daemon(port=0)
uri = daemon.register(Radio(), "radio")
import threading
thread = threading.Thread(target=daemon.requestLoop)
thread.start()
with pyro4.core.Proxy(uri) as radio:
    told = [radio.tune(96.5), issubclass(CommunicationError, pyro4.errors.PyroError)]
daemon.shutdown()
thread.join()
daemon.close()
answer(told)
""")
    assert told == ["96.5 MHz", True]


def test_a_port_that_is_taken_is_told_at_once(kodi):
    told = kodi.python("""
import errno, socket
from ipc.ipcserver import IPCServer

class Library(object):
    def count(self):
        return 3

with socket.socket() as other:
    other.bind(("127.0.0.1", 0))
    other.listen(1)
    port = other.getsockname()[1]
    server = IPCServer(Library(), port=port)
    try:
        server.start()
    except OSError as error:
        told = [error.errno == errno.EADDRINUSE, error.message == "Socket %d already in use: end the other server there, or choose another port" % port]
server = IPCServer(Library(), port=port)
server.start()
server.stop()
answer(told)
""")
    assert told == [True, True]


def test_a_program_outside_and_add_ons_call_each_other(kodi):
    """By a name, which both find since they have the same user."""
    outside = """
import sys
import andiron

class Outside:
    def ask(self, listener):
        return listener(20) + 1

with andiron.Server({"outside": andiron.expose(Outside())}, "outside", state=False, threads=2) as server:
    print("there", flush=True)
    sys.stdin.read()
"""
    with kodi.outside(outside) as process:
        assert process.stdout.readline() == "there\n"
        told = kodi.python("""
import andiron
with andiron.connect("outside") as hub:
    hub.store["x"] = {"y": (1, b"z")}
    answer([hub["outside"].ask(lambda number: 2 * number), hub.store["x"] == {"y": (1, b"z")}])
""")
    assert told == [41, True]


def test_asyncio_works_in_a_script(kodi):
    told = kodi.python("""
import asyncio
import andiron
from andiron import aio

class Waiting:
    @andiron.expose
    async def both(self, first, second):
        return await asyncio.gather(first(), second())

async def main():
    async with aio.Server({"waiting": Waiting()}, "tasks", state=False), await aio.connect("tasks") as hub:
        waiting = await hub["waiting"]
        return await waiting.both(lambda: 1, lambda: 2)

answer(asyncio.run(main()))
""")
    assert told == [1, 2]


def test_kodi_leaves_assert_out_of_add_ons(kodi):
    """As the page says. Programs of these tests have theirs all the same."""
    told = kodi.python("""
import sys
try:
    assert False
except AssertionError:
    answer([sys.flags.optimize, __debug__])
""")
    assert told == [1, True]


#: A server that runs until Kodi ends. Its object waits, too.
SERVER = """
import threading, xbmc
from ipc.ipcserver import IPCServer

class Sleeper(object):
    def __init__(self):
        self.over = threading.Event()

    def sleep(self):
        self.over.wait()

    def close(self):
        self.over.set()

server = IPCServer(Sleeper(), name="sleeper")
server.start()
answer(None)
xbmc.Monitor().waitForAbort()
server.stop()
"""

#: A client in a call that takes any time.
CALLER = """
from ipc.ipcclient import IPCClient
sleeper = IPCClient(name="sleeper").get_exposed_object()
sleeper._pyroTimeout = None
sleeper._pyroBind()
answer(None)
sleeper.sleep()
"""

#: One that waits for what never comes, at a server outside Kodi.
WATCHER = """
import andiron
watch = andiron.connect("outside").store.watch("nothing")
answer(None)
next(watch)
"""

#: And one on a thread of its own, beside which Kodi's own wait runs.
FOLLOWER = """
import threading
import andiron
import xbmc

watch = andiron.connect("outside").store.watch("nothing")

def follow():
    try:
        next(watch)
    except andiron.CancelledError:
        xbmc.log("andiron tests: the thread has ended with Kodi", xbmc.LOGINFO)

thread = threading.Thread(target=follow)
thread.start()
answer(None)
xbmc.Monitor().waitForAbort()
thread.join()
"""

OUTSIDE = """
import sys
import andiron
with andiron.Server({}, "outside", state=False, threads=2):
    print("there", flush=True)
    sys.stdin.read()
"""


#: A script that fails, and so stops neither its server, which has been called, nor a client that has threads.
CARELESS = """
import andiron
from ipc.ipcclient import IPCClient
from ipc.ipcserver import IPCServer

class Library(object):
    def count(self):
        return 3

server = IPCServer(Library(), name="forgotten", port=None)
server.start()
hub = andiron.connect("forgotten", pump=True)
hub.register("listener", lambda: None)
assert IPCClient(name="forgotten", port=None).get_exposed_object().count() == 3
answer(None)
raise ValueError("on purpose")
"""


def test_kodi_is_not_kept_from_its_end_by_a_script_that_left_its_server_behind(kodi):
    kodi.begin(CARELESS).result()
    kodi.wait_for_log("ValueError: on purpose")
    kodi.quit()
    assert 0 < kodi.held_up() < 5
    kodi.start()


def test_kodi_is_not_kept_from_its_end_by_a_server_that_runs_and_clients_that_wait(kodi):
    """The last one, as it ends the Kodi of the others."""
    with kodi.outside(OUTSIDE) as process:
        assert process.stdout.readline() == "there\n"
        for program in (WATCHER, SERVER, CALLER, FOLLOWER, WATCHER, CALLER):
            kodi.begin(program).result()
        kodi.quit()
    assert 0 < kodi.held_up() < 2
    assert "the thread has ended with Kodi" in kodi.log()
