"""What the tests of `andiron.compat.pyro` share: daemons with their loops, and an object."""

import threading

import pytest

import andiron.compat.pyro as Pyro5
import as_native


@pytest.fixture(autouse=True)
def pyro_settings(home, monkeypatch):
    """The engine begins no threads by itself, this user has no secret, and nothing is set that was not before."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.delenv("ANDIRON_SECRET_FILE", raising=False)
    before = Pyro5.config.as_dict()
    with as_native.bare():
        yield
    for name, value in before.items():
        setattr(Pyro5.config, name, value)


class Looping:
    """Daemons with their loops, each on a thread of its own."""

    def __init__(self):
        self.running = []

    def start(self, daemon, *condition):
        thread = threading.Thread(target=daemon.requestLoop, args=condition)
        thread.start()
        self.running.append((daemon, thread))
        return daemon

    def end(self):
        for daemon, thread in self.running:
            daemon.shutdown()
            thread.join()


@pytest.fixture
def loops():
    looping = Looping()
    yield looping.start
    looping.end()


@pytest.fixture(params=["thread", "multiplex"])
def daemon(request, loops):
    Pyro5.config.SERVERTYPE = request.param
    return loops(Pyro5.Daemon())


@pytest.fixture
def threaded(loops):
    return loops(Pyro5.Daemon())


class Track:
    def __init__(self, title):
        self.title = title

    def __eq__(self, other):
        return isinstance(other, Track) and other.title == self.title

    __hash__ = None


class TrackError(Exception):
    def __init__(self, track, code):
        super().__init__(track, code)
        self.code = code


@pytest.fixture
def hooks():
    yield Pyro5
    for cls in (Track, TrackError):
        Pyro5.unregister_class_to_dict(cls)
    for name in ("Track", "TrackError", f"{TrackError.__module__}.TrackError"):
        Pyro5.unregister_dict_to_class(name)


#: What a module of tests takes over.
FIXTURES = pyro_settings, loops, daemon, threaded, hooks


def proxy_of(daemon, obj, name=None):
    return Pyro5.Proxy(daemon.register(obj, name))


class Radio:
    stations = 3

    def __init__(self):
        self._volume = 5
        self.heard = []
        self.plain = 1

    @Pyro5.expose
    def tune(self, frequency, unit="MHz"):
        return f"{frequency} {unit}"

    @Pyro5.expose
    @property
    def volume(self):
        return self._volume

    @volume.setter
    def volume(self, volume):
        self._volume = volume

    @Pyro5.expose
    @Pyro5.oneway
    def hear(self, word):
        self.heard.append(word)
        if word == "fail":
            raise ValueError("nobody waits for this")

    @Pyro5.expose
    def told(self):
        return list(self.heard)

    @Pyro5.expose
    def fail(self, error):
        raise error

    @Pyro5.expose
    def leave(self):
        raise SystemExit(3)

    @Pyro5.expose
    def count(self, up_to):
        yield from range(up_to)

    @Pyro5.expose
    @staticmethod
    def double(x):
        return 2 * x

    @staticmethod
    @Pyro5.expose
    def half(x):
        return x / 2

    @classmethod
    @Pyro5.expose
    def called(cls):
        return cls.__name__

    @Pyro5.expose
    def __len__(self):
        return 3

    @Pyro5.expose
    def __getitem__(self, index):
        return ("one", "two", "three")[index]

    @Pyro5.expose
    def __call__(self, x):
        return x + 1

    def explode(self):
        """Nobody else calls this."""
