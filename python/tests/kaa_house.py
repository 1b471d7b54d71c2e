"""Servers and clients of `andiron.compat.kaa_rpc` for its tests, and what they offer."""

import errno
import threading

from andiron.compat import kaa_rpc as kaa

#: Seconds in which everything is there, unless it is broken.
LONG = 30


class Player:
    """What a server offers."""

    def __init__(self):
        self.noted = []
        self.blocked = threading.Event()
        self.waiting = threading.Event()

    @property
    def broken(self):
        raise AssertionError("nobody asked for it")

    @kaa.rpc.expose("player.seek")
    def seek(self, seconds):
        return seconds

    @kaa.rpc.expose()
    def name(self):
        return "player"

    @kaa.rpc.expose("note")
    def note_it(self, word):
        self.noted.append(word)

    @kaa.rpc.expose(add_client=True)
    def ask_back(self, client, number):
        return client.rpc("double", number)

    @kaa.rpc.expose(add_client=True, coroutine=True)
    def add_up(self, client, numbers):
        total = 0
        for number in numbers:
            total += yield client.rpc("double", number)
        yield total

    @kaa.rpc.expose(coroutine=True)
    def forever(self):
        self.waiting.set()
        try:
            yield kaa.InProgress()
        except kaa.InProgressAborted:
            self.blocked.set()

    @kaa.rpc.expose()
    def read(self, path):
        raise FileNotFoundError(errno.ENOENT, "there is none", path)

    @kaa.rpc.expose()
    def leave(self):
        raise SystemExit(3)

    @kaa.rpc.expose()
    def unsendable(self):
        return threading.Lock()

    @kaa.rpc.expose(coroutine=True)
    def unsendable_later(self):
        yield kaa.delay(0)
        yield threading.Lock()

    @kaa.rpc.expose()
    def raises_unsendable(self):
        raise ValueError(threading.Lock())

    @kaa.rpc.expose()
    def block(self):
        self.waiting.set()
        self.blocked.wait(LONG)

    def secret(self):
        return "not exposed"


class Ear:
    """What a client offers."""

    def __init__(self):
        self.heard = []

    @kaa.rpc.expose()
    def double(self, number):
        return 2 * number

    @kaa.rpc.expose()
    def hear(self, word):
        self.heard.append(word)
        return len(self.heard)


class House:
    """Servers and clients that are closed behind a test."""

    def __init__(self):
        self.player = Player()
        self.ear = Ear()
        self._open = []

    def server(self, address="beacon", *args, **options):
        server = kaa.rpc.Server(address, *args, **options)
        self._open.append(server)
        server.register(self.player)
        return server

    def client(self, address="beacon", *args, **options):
        client = kaa.rpc.Client(address, *args, **options)
        self._open.append(client)
        client.register(self.ear)
        return client

    def pair(self, *args, **options):
        server = self.server("beacon", *args, **options)
        client = self.client("beacon", *args, **options)
        kaa.inprogress(client).wait(LONG)
        return server, client

    def close(self):
        self.player.blocked.set()
        for each in reversed(self._open):
            each.close()


def happening(signal, *names):
    """An event, and what the signal says."""
    happened = threading.Event()
    said = []

    def hear(*args):
        said.extend(args)
        happened.set()

    signal.connect(hear)
    return happened, said
