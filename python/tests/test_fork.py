"""Forked children, other processes, and what is passed to them."""

import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import subprocess
import threading
import traceback

import pytest

import andiron
from andiron import aio
from conftest import needs_unix

WORK = """
    import andiron

    @andiron.expose
    class Player:
        @property
        def position(self):
            return 3

        def seek(self, seconds, done=None):
            return seconds if done is None else done(seconds)

        def count(self, up_to):
            yield from range(up_to)

    with andiron.Server({{"player": Player(), "double": lambda x: 2 * x}}, {address!r}, state=False) as server:
        print("up", flush=True)
        server.wait()
"""


@pytest.fixture
def address(processes, home):
    """A server in another process."""
    address = f"unix:{home}/socket"
    server = processes.python(WORK.format(address=address))
    assert server.stdout.readline() == "up\n"
    return address


def in_child(work):
    """What this gives in a forked child."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = repr(work())
        except BaseException as error:
            told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        os.write(writes, told.encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as told:
        answer = told.read()
    os.waitpid(child, 0)
    return answer


def test_a_child_uses_what_its_parent_connected_and_the_parent_is_undisturbed(address):
    hub = andiron.connect(address)
    player, store, other = hub["player"], hub.store, hub.store.author("other")
    player.seek(1)
    store["x"] = 1
    assert store["x"] == 1
    items = player.count(10)
    assert next(items) == 0

    def use():
        return (
            (player.seek(2), player.position, list(player.count(3)), player.seek(4, lambda x: x + 1)),
            (store["x"], other.get("x"), hub["double"](4), sorted(hub), player == hub["player"]),
        )

    expected = ((2, 3, [0, 1, 2], 5), (1, None, 8, ["double", "player", "store"], True))
    assert in_child(use) == repr(expected)
    # A child of a child, of which both have used it.
    assert in_child(lambda: (use(), in_child(use))) == repr((expected, repr(expected)))
    # What a child closes is its own.
    assert in_child(hub.close) == "None"
    assert use() == expected
    assert list(items) == list(range(1, 10))


def test_streams_and_watches_of_the_parent_are_refused_in_words(address):
    hub = andiron.connect(address)
    items, changes = hub["player"].count(10), hub.store.watch()
    assert next(items) == 0
    for taken in (items, changes):
        assert "before this process was forked and belongs to the parent" in in_child(lambda: next(taken))  # noqa: B023
    hub.store["x"] = 1
    assert next(changes).name == "x"
    assert next(items) == 1


def test_a_child_works_that_was_forked_while_other_threads_were_calling(address):
    hub = andiron.connect(address)
    player, double, store = hub["player"], hub["double"], hub.store
    store["x"] = 1
    stop = threading.Event()
    failed = []

    def call():
        try:
            while not stop.is_set():
                player.seek(1, lambda x: x)
                store["x"] = 1
                store.get("y")
                hub["double"](1)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            assert in_child(lambda: (player.seek(2, lambda x: x), double(3), store["x"])) == "(2, 6, 1)"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit()", "server.stop(); sys.exit()", "server.wait()"])
def test_a_child_neither_stops_nor_harms_the_server_of_its_parent(processes, home, end):
    # By its name it has a lock and a socket that could be taken away.
    code = f"""
        import os, sys
        import andiron
        server = andiron.Server({{"f": lambda: 1}}, "forks", state={str(home / "kept")!r})
        hub = server.connect()
        hub.store.set("x", 1, persist=True)
        child = os.fork()
        if child == 0:
            try:
                hub["f"]()
            except andiron.UnavailableError as error:
                assert "belongs to the parent" in str(error)
            sys.stderr = open(os.devnull, "w")
            {end}
        os.waitpid(child, 0)
        hub.store.set("y", 2, persist=True)
        print(sorted(hub.store), hub["f"](), flush=True)
        server.wait()
    """
    server = processes.python(code)
    assert server.stdout.readline() == "['x', 'y'] 1\n"
    with andiron.connect("forks") as hub:
        assert hub["f"]() == 1
        assert hub.store["y"] == 2


def _use(objects):
    hub, player, store, double = objects
    return store.incr("n"), player.seek(1), hub["double"](2), double(4)


@needs_unix
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_take_hubs_proxies_and_stores(address, method):
    hub = andiron.connect(address)
    objects = (hub, hub["player"], hub.store.author("pool"), hub["double"])
    _use(objects)
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        outcomes = pool.map(_use, [objects] * 4)
        pool.close()
        pool.join()
    with concurrent.futures.ProcessPoolExecutor(2, context) as executor:
        outcomes += executor.map(_use, [objects] * 4)
    assert sorted(n for n, *_ in outcomes) == list(range(2, 10))
    assert {tuple(rest) for _, *rest in outcomes} == {(1, 4, 8)}
    assert _use(objects) == (10, 1, 4, 8)


@pytest.fixture
def secret(home, command):
    path = home / "the.secret"
    subprocess.run(
        [command, "secret", "new", "--secret-file", path],
        check=True,
        capture_output=True,
    )
    return path


def test_a_pickle_says_where_and_how_to_connect_and_nothing_that_is_secret(home, secret):
    with andiron.Server({}, f"unix:{home}/socket", state=False):
        text = secret.read_text().split()[-1]
        hub = andiron.connect(f"unix:{home}/socket", secret_file=secret, retry=5, wait=2)
        pickled = pickle.dumps(hub)
        assert str(secret).encode() in pickled
        assert text.encode() not in pickled
        again = pickle.loads(pickled)
        assert again.peer == hub.peer
        assert pickle.dumps(again) == pickled
        assert pickle.loads(pickled) is again


def test_what_was_not_found_by_address_and_name_cannot_be_pickled(home):
    with andiron.connect(objects={"f": lambda: [print]}) as hub:
        for value in (hub, hub["f"], hub.store):
            with pytest.raises(TypeError, match="pickled"):
                pickle.dumps(value)


def test_a_copy_of_a_hub_a_store_or_a_proxy_is_itself(address):
    with andiron.connect(address) as hub:
        for value in (hub, hub["player"], hub.store):
            assert copy.copy(value) is value
            assert copy.deepcopy([value])[0] is value


def test_hubs_of_loops_are_not_pickled(address):
    import asyncio

    async def main():
        async with await aio.connect(address) as hub:
            for value in (hub, await hub["player"], hub.store):
                with pytest.raises(TypeError, match="belongs to its event loop"):
                    pickle.dumps(value)
                assert copy.copy(value) is value

    asyncio.run(main())
