"""script.module.ipc, in scripts that run at the same time in one Kodi."""

import pytest

from conftest import zip_of


@pytest.fixture(scope="module")
def kodi(new_kodi, zips):
    kodi = new_kodi(zip_of(zips, "script.module.ipc")).start()
    yield kodi
    kodi.quit()


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
