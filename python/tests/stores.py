"""A store of old programs, its clients and what it ought to hold: for `test_compat_ipcdatastore.py`."""

import contextlib
import random
import socket
import time

import pytest

from andiron.compat import ipcdatastore
from andiron.compat.ipc import IPCServer
from andiron.compat.ipcdatastore import DataObjects, IPCClientX

AUTHORS = ["service.ipcdatastore", "weather", "a~b/@c.p.gz", "é", 7, ""]
NAMES = ["x", "videodata", "~", "../x", "@x~y.p.gz", "\0", 7]
REQUESTORS = [None, "tests", "testclient"]
#: Among them what was an error, or "use your copy", where it was a string of one character.
VALUES = [None, 0, 20, 3.14159, "", "\1", "\2", "abcdef", (7, "hello"), [0, 8.1, "goodbye"], b"\0\xff", True]
#: Of an add-on that says nothing of itself.
ADDON = "service.ipcdatastore"


@contextlib.contextmanager
def served(port, folder=None):
    server = IPCServer(DataObjects(persist_dir=folder), port=port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Held:
    """An entry as it ought to be."""

    def __init__(self, value, persist):
        self.value = value
        self.persist = persist
        #: What tells this write from others.
        self.write = object()
        #: When it was set, once that was read.
        self.ts = None


class Scenario:
    """Whatever may be done with a store by its two clients, in an order that a number decides, and what comes of it."""

    def __init__(self, number, port):
        self.random = random.Random(number)
        self.clients = [IPCClientX(port=port), IPCClientX(port=port, host="127.0.0.1")]
        #: What the store holds, by author and name, and what was saved of each author.
        self.held = {}
        self.saved = {}
        #: The write that a client has given a requestor last.
        self.given = {}

    def close(self):
        for client in self.clients:
            client.close()

    def run(self, more):
        """Does everything once, and so many things more."""
        weights = {
            self.set: 12,
            self.get: 12,
            self.delete: 3,
            self.list: 1,
            self.clear_cache: 1,
            self.save: 2,
        }
        weights.update({self.restore: 2, self.forget: 1, self.persist: 3, self.refuse: 1, self.clear_all: 0})
        steps = [*weights, *self.random.choices(list(weights), list(weights.values()), k=more)]
        self.random.shuffle(steps)
        for step in [self.set, self.set, self.save, *steps, self.set]:
            step()
        self.look()

    def pick(self):
        """A client, an author and a name."""
        return (
            self.random.choice(self.clients),
            self.random.choice(AUTHORS[:3] if self.random.random() < 0.7 else AUTHORS),
            self.random.choice(NAMES[:3] if self.random.random() < 0.7 else NAMES),
        )

    def ask(self, client, method, *arguments, fails=None, **named):
        """What a method gives, where ``fails`` is the error that it ought to have, raised or not."""
        client.raise_exception = self.random.random() < 0.5
        if fails is None or not client.raise_exception:
            return getattr(client, method)(*arguments, **named)
        with pytest.raises(ipcdatastore.IPCClientError) as raised:
            getattr(client, method)(*arguments, **named)
        assert raised.type is fails, (method, arguments, raised.value)
        assert raised.value.message == str(raised.value) != ""
        return None

    # What is done.

    def set(self):
        client, author, name = self.pick()
        value = self.random.choice(VALUES)
        persist = self.random.choice([False, False, True, 1])
        assert self.ask(client, "set", name, value, author=author, persist=persist) is True
        self.held[str(author), str(name)] = Held(value, bool(persist))

    def get(self):
        client, author, name = self.pick()
        self.check(client, author, name)

    def check(self, client, author, name):
        requestor = self.random.choice(REQUESTORS)
        held = self.held.get((str(author), str(name)))
        fails = None if held else ipcdatastore.VarNotFoundError
        got = self.ask(
            client, "get", name, author=author, requestor=requestor, return_tuple=True, fails=fails
        )
        if held is None:
            assert got in (None, (None, None, False))
            return
        whom = client, requestor or ADDON, str(author), str(name)
        expected = held.value, self.given.get(whom) is held.write
        assert (got.value, got.cached) == expected, (author, name, got, expected)
        assert type(got.value) is type(held.value)
        assert abs(got.ts - time.time()) < 600
        assert held.ts in (None, got.ts)
        held.ts = got.ts
        self.given[whom] = held.write
        if type(got.value) is list:
            got.value.append("changed by who reads")

    def delete(self):
        client, author, name = self.pick()
        held = self.held.pop((str(author), str(name)), None)
        whole = self.random.random() < 0.5
        fails = None if held else ipcdatastore.VarNotFoundError
        got = self.ask(client, "delete", name, author=author, return_tuple=whole, fails=fails)
        if held is None:
            assert got in (None, (None, None, False))
        elif whole:
            assert (got.value, got.cached) == (held.value, False)
            assert held.ts in (None, got.ts)
        else:
            assert got == held.value

    def list(self):
        client, author, _ = self.pick()
        names = {}
        for of, name in sorted(self.held):
            names.setdefault(of, []).append(name)
        assert self.ask(client, "get_data_list") == names
        own = {str(author): names[str(author)]} if str(author) in names else {}
        assert self.ask(client, "get_data_list", author) == own

    def clear_cache(self):
        client = self.random.choice(self.clients)
        assert self.ask(client, "clearcache") is True
        self.given = {whom: write for whom, write in self.given.items() if whom[0] is not client}
        assert client.cache == {}

    def clear_all(self):
        assert self.ask(self.random.choice(self.clients), "clearall") is True
        self.held.clear()
        assert self.ask(self.random.choice(self.clients), "get_data_list") == {}

    def save(self):
        client, author, _ = self.pick()
        assert self.ask(client, "savedata", author) is True
        self.saved[str(author)] = {
            name: (held.value, held.persist, held.ts)
            for (of, name), held in self.held.items()
            if of == str(author)
        }

    def restore(self):
        client, author, _ = self.pick()
        saved = self.saved.get(str(author))
        fails = ipcdatastore.RestoreFailedError if saved is None else None
        assert self.ask(client, "restoredata", author, fails=fails) in (
            [True] if saved is not None else [False, None]
        )
        for name, (value, persist, ts) in (saved or {}).items():
            self.held[str(author), name] = held = Held(value, persist)
            held.ts = ts

    def forget(self):
        client, author, _ = self.pick()
        there = self.saved.pop(str(author), None) is not None
        fails = None if there else ipcdatastore.RestoreFailedError
        assert self.ask(client, "delete_data", author, fails=fails) in ([True] if there else [False, None])

    def persist(self):
        client, author, name = self.pick()
        persist = self.random.random() < 0.6
        held = self.held.get((str(author), str(name)))
        method = "add_persistence" if persist else "remove_persistence"
        fails = None if held else ipcdatastore.VarNotFoundError
        assert self.ask(client, method, name, author=author, fails=fails) in (
            [True] if held else [False, None]
        )
        if held:
            held.persist = persist

    def refuse(self):
        """What cannot be set leaves what is there."""
        client, author, name = self.pick()
        fails = ipcdatastore.ObjectNotSerializableError
        thing = self.random.choice([object(), client.get, {"a": [1, (open,)]}, socket])
        assert self.ask(client, "set", name, thing, author=author, fails=fails) in (False, None)

    # What comes of it.

    def look(self):
        """Both clients have everything as it ought to be."""
        for client in self.clients:
            for author, name in self.held:
                self.check(client, author, name)
        self.list()

    def server_ended(self):
        """Only what is persistent is left, and is sent again to whoever had it."""
        self.given.clear()
        self.held = {key: held for key, held in self.held.items() if held.persist}

    def unavailable(self):
        """Each method says that there is no server."""
        client = self.clients[0]
        client.num_of_server_retries = 1
        calls = [
            ("set", "x", 1),
            ("get", "x"),
            ("delete", "x"),
            ("get_data_list",),
            ("clearall",),
            ("savedata",),
        ]
        calls += [("restoredata",), ("delete_data",), ("add_persistence", "x"), ("remove_persistence", "x")]
        method, *arguments = self.random.choice(calls)
        gave = self.ask(client, method, *arguments, fails=ipcdatastore.ServerUnavailableError)
        assert gave is None or gave is False
