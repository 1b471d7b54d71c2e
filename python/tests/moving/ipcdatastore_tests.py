"""In the style of the test suite of service.ipcdatastore, with a server of its own: ``ipcdatastore_tests.py PORT FOLDER``."""

# ruff: noqa: PT009 - it is a program of unittest

import sys
import unittest

from andiron.compat import ipcdatastore as ipcclientxerrors  # was: resources.lib.ipcclientxerrors
from andiron.compat.ipc import IPCServer  # was: from ipc.ipcserver import IPCServer
from andiron.compat.ipcdatastore import (
    DataObjects,
    IPCClientX,
)  # was: of resources.lib.datastore, .ipcclientx

server = None
persist_dir = None
port = None


def start():
    global server
    server = IPCServer(DataObjects(persist_dir=persist_dir), port=port)
    server.start()


class TestIPCClient(unittest.TestCase):
    def setUp(self):
        self.client = IPCClientX(port=port)
        self.client.clearall()
        self.name = "tests.ipcdatastore"
        self.data = {
            "int": 5,
            "float": 1.314,
            "str": "abcdef",
            "tuple": (7, "hello"),
            "list": [0, 8.1, "goodbye"],
            "dict": {"name": "Ned Stark", "deceased": True},
        }
        for key in self.data:
            self.client.set(key, self.data[key], author=self.name)

    def error_of(self, method, *args, **kwargs):
        self.client.raise_exception = True
        try:
            method(*args, **kwargs)
        except Exception as e:
            return e
        finally:
            self.client.raise_exception = False

    def test_get(self):
        for key in self.data:
            x = self.client.get(key, author=self.name, requestor="tests")
            self.assertEqual(x, self.data[key])

    def test_get_ts(self):
        for key in self.data:
            x = self.client.get(key, author=self.name, requestor="tests", return_tuple=True)
            self.assertIsInstance(x.ts, float)

    def test_get_data_list(self):
        dl = self.client.get_data_list()[self.name]
        self.assertEqual(sorted(dl), sorted(self.data.keys()))

    def test_delete(self):
        x = self.client.delete("tuple", author=self.name)
        self.assertEqual(x, self.data["tuple"])
        self.assertEqual(self.client.get("tuple", author=self.name), None)

    def test_cache(self):
        x = self.client.get("str", author=self.name, requestor="tests", return_tuple=True)
        self.assertEqual(x.cached, False)
        x = self.client.get("str", author=self.name, requestor="tests", return_tuple=True)
        self.assertEqual(x.cached, True)
        x = self.client.get("str", author=self.name, requestor="others", return_tuple=True)
        self.assertEqual(x.cached, False)

    def test_clearcache(self):
        self.client.get("int", author=self.name, requestor="tests", return_tuple=True)
        self.client.clearcache()
        x = self.client.get("int", author=self.name, requestor="tests", return_tuple=True)
        self.assertEqual(x.cached, False)

    def test_clearall(self):
        self.client.clearall()
        self.assertEqual(self.client.get_data_list(), {})

    def test_save_restore(self):
        self.assertEqual(self.client.savedata(self.name), True)
        self.client.clearall()
        self.assertEqual(self.client.restoredata(self.name), True)
        dl = self.client.get_data_list()[self.name]
        self.assertEqual(sorted(dl), sorted(self.data.keys()))
        self.assertEqual(self.client.delete_data(self.name), True)

    def test_unserializable_error(self):
        e = self.error_of(self.client.set, self.name, self.client.get)
        self.assertEqual(e.__class__.__name__, ipcclientxerrors.ObjectNotSerializableError.__name__)
        self.assertEqual(e.errno, ipcclientxerrors.IPCERROR_NONSERIALIZABLE)

    def test_valuenotfound_error(self):
        e = self.error_of(self.client.get, "garbage")
        self.assertEqual(e.__class__.__name__, ipcclientxerrors.VarNotFoundError.__name__)
        self.assertEqual(e.errno, ipcclientxerrors.IPCERROR_NO_VALUE_FOUND)

    def test_restorefailed_error(self):
        e = self.error_of(self.client.restoredata, "nobody")
        self.assertEqual(e.__class__.__name__, ipcclientxerrors.RestoreFailedError.__name__)

    def test_serverunavailable_error(self):
        tmp = self.client.uri
        self.client.num_of_server_retries = 1
        self.client.uri = "PYRO:kodi-IGA@localhost:1"
        self.assertEqual(self.client.server_available(), False)
        e = self.error_of(self.client.get, "int", author=self.name)
        self.assertEqual(e.__class__.__name__, ipcclientxerrors.ServerUnavailableError.__name__)
        self.client.uri = tmp

    def again(self):
        server.stop()
        start()
        x = self.client.get("persist", author=self.name, requestor="tests")
        self.client.remove_persistence("persist", author=self.name)
        return x

    def test_persistence(self):
        self.client.set("persist", 3.14159, author=self.name, persist=True)
        self.assertEqual(self.again(), 3.14159)
        self.assertEqual(self.again(), None)

    def test_persistence_without_autosave(self):
        self.client.set("persist", 3.14159, author=self.name)
        self.client.add_persistence("persist", author=self.name)
        self.client.get_exposed_object().setautosave(False)
        self.assertEqual(self.again(), 3.14159)


def runtests():
    start()
    client = IPCClientX(port=port)
    if not client.server_available():
        print("Server down and could not be started")
        return False
    suite = unittest.TestLoader().loadTestsFromTestCase(TestIPCClient)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    server.stop()
    return result.wasSuccessful()


if __name__ == "__main__":
    port, persist_dir = int(sys.argv[1]), sys.argv[2]
    sys.exit(0 if runtests() else 1)
