"""The tests of this add-on: a short one of the store that is in use, on an author of its own, and the detailed ones, on stores of their own."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
import traceback
from typing import Callable, Iterator

import andiron
from andiron.compat import ipcdatastore as errors
from andiron.compat.ipc import IPCClient, IPCServer
from andiron.compat.ipcdatastore import IPCClientX

from . import program, texts, ways
from .host import ID, Settings, folder, text

#: The author of the short test. Nobody else has entries of it.
AUTHOR = f"{ID}.selftest"


def short(client: IPCClientX) -> float:
    """Sets a value, reads and deletes it. Gives how many milliseconds that took; raises what is wrong."""
    client.raise_exception = True
    value = os.urandom(8).hex()
    begun = time.perf_counter()
    client.set(value, value, author=AUTHOR)
    found = client.delete(value, author=AUTHOR)
    took = time.perf_counter() - begun
    if found != value:
        raise AssertionError(f"{value!r} was set, and {found!r} found")
    return took * 1000


class Bench:
    """A store of its own, at a free port, which can be begun anew."""

    def __init__(self, begin: Callable[[Settings, str], ways.Way], settings: Settings) -> None:
        self._begin = begin
        self._folder = folder("selftest")
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        self._settings = settings._replace(
            name="selftest", host="localhost", port=port, secret=None, persistence=True
        )
        self._clients: list[IPCClientX] = []
        self._way: ways.Way | None = None

    def empty(self) -> None:
        """Has it run, with nothing in it."""
        while self._clients:
            self._clients.pop().close()
        if self._way is None:
            self._way = self._begin(self._settings, self._folder)
        self.client().clearall()

    def client(self) -> IPCClientX:
        """Another client of this store, which raises what goes wrong."""
        client = IPCClientX(name=self._settings.name, port=self._settings.port)
        client.raise_exception = True
        client.timeout = 10.0
        self._clients.append(client)
        return client

    def connect(self) -> andiron.Hub:
        """A connection to it."""
        return self._way.connect()

    def begin_anew(self) -> None:
        """Ends it, and begins it with what is persistent."""
        way, self._way = self._way, None
        if way is not None:
            way.close()
        self._way = self._begin(self._settings, self._folder)

    def close(self) -> None:
        """Ends it, and leaves nothing behind."""
        while self._clients:
            self._clients.pop().close()
        if self._way is not None:
            self._way.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def equal(found: object, expected: object) -> None:
    """Raises where what was found is something else than what was expected."""
    if found != expected or type(found) is not type(expected):
        raise AssertionError(f"{expected!r} was expected, and {found!r} found")


def raised(kind: type[BaseException], work: Callable[[], object]) -> BaseException:
    """What this raises, which has to be of that kind."""
    try:
        found = work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected, and {found!r} found")


# The detailed tests. Each begins with an empty store.


def values_arrive_as_they_were(bench: Bench) -> None:
    """Values arrive as they were, of whatever type."""
    one, other = bench.client(), bench.client()
    for value in (
        *(None, True, 0, -(2**70), 1.5, "", "\u00e4\u20ac\U0001f525", b"\x00\xff", [1, [2]], (1, 2), {1, 2}),
        {"name": "Ned Stark", "deceased": True, 7: (None, b"x")},
    ):
        one.set("x", value, author="a")
        equal(other.get("x", author="a"), value)


def readers_hear_of_changes(bench: Bench) -> None:
    """What is read is never old, also with two clients of one name."""
    one, other = bench.client(), bench.client()
    for number in range(50):
        (one if number % 2 else other).set("x", number)
        equal(one.get("x"), number)
        equal(other.get("x"), number)
    equal(one.get("x", return_tuple=True).cached, True)


def what_is_read_is_the_readers(bench: Bench) -> None:
    """To change what was read changes nothing in the store."""
    client = bench.client()
    client.set("x", [1])
    client.get("x").append(2)
    equal(client.get("x"), [1])


def the_last_write_counts(bench: Bench) -> None:
    """Of several writes the last one counts, also from several threads."""
    client = bench.client()
    for number in range(100):
        client.set("x", number)
    equal(bench.client().get("x"), 99)

    def write(name: str) -> None:
        for number in range(20):
            client.set(name, number)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal([client.get(name) for name in "abcd"], [19] * 4)


def names_are_any_texts(bench: Bench) -> None:
    """Authors and names are any texts, and numbers are texts."""
    client = bench.client()
    for name in ("a/b", "a~b", "..", "\u00e4 \u20ac", "x" * 300):
        client.set(name, name, author=name, persist=True)
        equal(client.get(name, author=name), name)
    client.set(7, "seven", author=8)
    equal(client.get("7", author="8"), "seven")


def lists_tell_what_there_is(bench: Bench) -> None:
    """Lists tell what there is, and deleted entries are gone."""
    client = bench.client()
    client.set("x", 1, author="a")
    client.set("y", 2, author="a")
    client.set("x", 3, author="b")
    equal(client.get_data_list(), {"a": ["x", "y"], "b": ["x"]})
    equal(client.get_data_list("b"), {"b": ["x"]})
    equal(client.delete("x", author="a"), 1)
    equal(client.get_data_list("a"), {"a": ["y"]})
    client.clearall()
    equal(client.get_data_list(), {})


def what_fails_says_so(bench: Bench) -> None:
    """What fails says so: what is missing, what cannot be sent, and a server that is not there."""
    client = bench.client()
    missing = raised(errors.VarNotFoundError, lambda: client.get("x", author="a"))
    equal(str(missing), "Variable not found on server for author=a, var_name=x")
    raised(errors.ObjectNotSerializableError, lambda: client.set("x", threading.Lock()))
    client.set("x", None)
    equal(client.get("x"), None)
    client.raise_exception = False
    equal(client.get("y"), None)
    equal(client.get("y", return_tuple=True).ts, None)
    equal(IPCClientX(name="selftest", port=1).server_available(), False)
    equal(client.server_available(), True)


def persistent_values_are_there_again(bench: Bench) -> None:
    """What is persistent is there again after the end of the store, and nothing else."""
    client = bench.client()
    client.set("kept", [1, 2], author="a", persist=True)
    client.set("later", 3, author="a")
    client.add_persistence("later", author="a")
    client.set("plain", 4, author="a")
    client.set("over", 5, author="a", persist=True)
    client.set("over", 6, author="a")
    client.set("deleted", 7, author="a", persist=True)
    client.delete("deleted", author="a")
    bench.begin_anew()
    equal(client.get("kept", author="a"), [1, 2])
    equal(client.get_data_list(), {"a": ["kept", "later"]})
    client.remove_persistence("later", author="a")
    bench.begin_anew()
    equal(client.get_data_list(), {"a": ["kept"]})


def saved_values_come_back(bench: Bench) -> None:
    """What was saved of an author comes back."""
    client = bench.client()
    client.set("x", 1, author="a")
    client.savedata("a")
    client.set("x", 2, author="a")
    client.restoredata("a")
    equal(client.get("x", author="a"), 1)
    bench.begin_anew()
    client.restoredata("a")
    equal(client.get("x", author="a"), 1)
    client.delete_data("a")
    raised(errors.RestoreFailedError, lambda: client.restoredata("a"))


def big_values_go_whole(bench: Bench) -> None:
    """A value of ten million bytes goes whole."""
    client, value = bench.client(), os.urandom(1000) * 10_000
    client.set("x", value)
    equal(bench.client().get("x") == value, True)


def waiting_readers_are_told(bench: Bench) -> None:
    """Who waits for a change is told of it, and does not ask again and again."""
    with bench.connect() as hub, hub.store.author("a").watch("x", present=False) as changes:
        client = bench.client()
        client.set("x", 1, author="a")
        change = next(changes)
        equal(change.entry and change.entry.value, 1)
        client.delete("x", author="a")
        equal(next(changes).entry, None)


def objects_are_called(_bench: Bench) -> None:
    """An object is called, calls back, and what it raises arrives."""

    class Library:
        def count(self, genres: list[str], tell: Callable[[str], None]) -> int:
            for genre in genres:
                tell(genre)
            return len(genres)

        def fail(self) -> None:
            raise ValueError("no such genre")

    server = IPCServer(Library(), name="selftest-library", port=0)
    server.start()
    try:
        library = IPCClient(name="selftest-library", port=server.port).get_exposed_object()
        told: list[str] = []
        equal(library.count(["rock", "jazz"], told.append), 2)
        equal(told, ["rock", "jazz"])
        equal(str(raised(ValueError, library.fail)), "no such genre")
    finally:
        server.stop()


ALL: tuple[Callable[[Bench], None], ...] = (
    values_arrive_as_they_were,
    readers_hear_of_changes,
    what_is_read_is_the_readers,
    the_last_write_counts,
    names_are_any_texts,
    lists_tell_what_there_is,
    what_fails_says_so,
    persistent_values_are_there_again,
    saved_values_come_back,
    big_values_go_whole,
    waiting_readers_are_told,
    objects_are_called,
)


class Result:
    """How a test went."""

    def __init__(self, where: str, title: str, milliseconds: float, failure: str | None) -> None:
        self.where = where
        self.title = title
        self.milliseconds = milliseconds
        #: What went wrong, with its traceback.
        self.failure = failure

    def lines(self) -> str:
        """For a log file."""
        first = f"{'FAILED' if self.failure else 'passed'} {self.milliseconds:8.1f} ms  {self.where}: {self.title}"
        return f"{first}\n{self.failure}" if self.failure else first


def benches(settings: Settings) -> list[tuple[str, Callable[[Settings, str], ways.Way]]]:
    """The kinds of stores that can be tested here, by name."""

    def inside(settings: Settings, folder: str) -> ways.Way:
        return ways.Inside(settings, folder, "")

    kinds: list[tuple[str, Callable[[Settings, str], ways.Way]]] = [(text(texts.OF_INSIDE), inside)]
    try:
        found = program.found(settings.program)
    except program.CannotRun:
        return kinds

    def started(settings: Settings, folder: str) -> ways.Way:
        return ways.Started(settings, folder, found)

    return [*kinds, (text(texts.OF_PROGRAM, found.version), started)]


def detailed(settings: Settings) -> Iterator[tuple[float, str, Result | None]]:
    """Runs all tests of all kinds of stores.

    Gives before each which part of all is done, its title, and how the one before went; at the end 1, no title, and how the last one went.
    """
    kinds = benches(settings)
    last = None
    for number, (where, begin) in enumerate(kinds):
        bench = Bench(begin, settings)
        try:
            for position, test in enumerate(ALL):
                title = (test.__doc__ or test.__name__).strip()
                yield (number + position / len(ALL)) / len(kinds), f"{where}: {title}", last
                last = _run(where, title, test, bench)
        finally:
            bench.close()
    yield 1.0, "", last


def _run(where: str, title: str, test: Callable[[Bench], None], bench: Bench) -> Result:
    begun = time.perf_counter()
    failure = None
    try:
        bench.empty()
        test(bench)
    except andiron.CancelledError:
        raise  # Kodi ends
    except Exception:  # whatever it is, it is the result of this test
        failure = traceback.format_exc()
    return Result(where, title, (time.perf_counter() - begun) * 1000, failure)
