"""The store as a mapping."""

import contextlib
import io
import textwrap
import threading
import time

import pytest

import andiron
from conftest import environment

SERVER = """
    import os, sys, threading
    import andiron

    def end_with_the_test():
        sys.stdin.read()
        os._exit(0)

    with andiron.Server({}, sys.argv[1], state=False) as server:
        threading.Thread(target=end_with_the_test, daemon=True).start()
        print(server.addresses[0], flush=True)
        server.wait()
"""


@pytest.fixture(params=["native", "pure"])
def engine(request):
    """That of the server."""
    return request.param


@pytest.fixture
def serve(engine, home, processes):
    """A server with this engine in a process of its own; gives a hub."""

    def start(_objects):
        server = processes.python(SERVER, f"unix:{home}/socket", env=environment(engine))
        address = server.stdout.readline().strip()
        assert address, server.stderr.read()
        return andiron.connect(address)

    return start


@pytest.fixture
def has_board(engine):
    """Whether the server tells by a version board what was written: else its clients ask for each entry whether it changed."""
    return engine == "native"


@pytest.fixture
def store(serve):
    return serve({}).store


def test_it_is_a_mapping(store):
    assert len(store) == 0
    store["x"] = 20
    store.update({"y": [1], "z": {"a": (1, 2)}}, w=None)
    assert dict(store) == {"w": None, "x": 20, "y": [1], "z": {"a": (1, 2)}}
    assert list(store.keys()) == ["w", "x", "y", "z"]
    assert "x" in store
    assert "nothing" not in store
    assert store.get("nothing", 5) == 5
    del store["x"]
    with pytest.raises(KeyError):
        store["x"]
    with pytest.raises(KeyError):
        del store["x"]
    assert store.pop("y") == [1]
    assert store.pop("y", 7) == 7
    assert store.setdefault("y", 8) == 8
    assert store.setdefault("y", 9) == 8
    assert store.popitem() == ("w", None)
    store.clear()
    assert len(store) == 0
    with pytest.raises(KeyError):
        store.popitem()


def test_what_is_read_is_the_readers_own(store):
    store["a"] = {"b": 1}
    mine = store["a"]
    mine["b"] = 2
    assert store["a"] == {"b": 1}
    with store.edit("a") as a:
        a["b"] = 3
    assert store["a"] == {"b": 3}


def test_authors_have_entries_of_their_own(store):
    store["x"] = 1
    other = store.author("weather")
    other["x"] = 2
    assert (store["x"], other["x"]) == (1, 2)
    other.clear()
    assert store["x"] == 1


def test_a_second_read_asks_nobody_until_somebody_writes(store, has_board):
    store["x"] = 1
    assert not store.entry("x").cached
    entry = store.entry("x")
    assert entry.cached == has_board
    assert entry.value == 1
    version = store.set("x", 2)
    assert store.entry("x")[:2] == (2, version)


def test_a_write_over_another_version_is_a_conflict(store):
    version = store.set("x", 1, if_version=0)
    with pytest.raises(andiron.ConflictError):
        store.set("x", 2, if_version=0)
    store.set("x", 3, if_version=version)
    assert store["x"] == 3


def test_an_edit_is_written_back_where_nothing_was_raised_and_nobody_wrote_meanwhile(store):
    store["x"] = {"a": 1}
    with store.edit("x") as x:
        x["b"] = 2
    assert store["x"] == {"a": 1, "b": 2}
    with pytest.raises(ZeroDivisionError), store.edit("x") as x:  # noqa: PT012
        x.clear()
        raise ZeroDivisionError
    assert store["x"] == {"a": 1, "b": 2}
    version = store.entry("x").version
    with pytest.raises(andiron.ConflictError, match=r"'x' was changed .* edit it again"):  # noqa: PT012
        with store.edit("x") as x:
            x["c"] = 3
            store["x"] = {"d": 4}
    assert store["x"] == {"d": 4}
    assert store.entry("x").version > version
    with pytest.raises(andiron.ConflictError, match="removed"), store.edit("x") as x:
        del store["x"]
    assert "x" not in store


def test_an_edit_of_what_is_not_there_begins_with_the_default(store):
    with pytest.raises(KeyError, match="x"):
        store.edit("x").__enter__()
    default = []
    with store.edit("x", default) as x:
        x.append(1)
    assert (store["x"], default) == ([1], [])
    with pytest.raises(andiron.ConflictError, match="set by somebody else"), store.edit("y", []) as y:  # noqa: PT012
        y.append(1)
        store["y"] = [2]
    assert store["y"] == [2]
    assert store.change("z", lambda z: [*z, 1], [0]) == [0, 1]
    with pytest.raises(KeyError):
        store.change("nothing", lambda value: value)


def test_what_no_block_can_change_is_changed_by_a_function(store):
    store["n"] = 1
    with pytest.raises(
        TypeError, match=r"'n' is of the type int, which no block can change: use store\.change"
    ):
        store.edit("n").__enter__()
    assert store.change("n", lambda n: n + 1) == 2


def test_what_is_edited_keeps_its_time_and_stays_persistent(home):
    address, state = f"unix:{home}/socket", home / "kept"
    with andiron.Server({}, address, state=state) as server:
        store = server.connect().store
        store.set("kept", [1], persist=True)
        with store.edit("kept") as kept:
            kept.append(2)
        assert store.change("kept", lambda kept: [*kept, 3]) == [1, 2, 3]
        store.set("short", [1], ttl=3600)
        with store.edit("short") as short:
            short.append(2)
        assert dict(store) == {"kept": [1, 2, 3], "short": [1, 2]}
        left = server.connect()["store"].get("short", 0)[4]
        assert 0 < left <= 3600_000_000
    with andiron.Server({}, address, state=state) as server:
        assert dict(server.connect().store) == {"kept": [1, 2, 3]}


def test_counting_from_many_threads_loses_nothing(store):
    def count():
        for _ in range(20):
            store.incr("n")
            store.change("m", lambda m: m + 1, 0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store["n"], store["m"]) == (80, 80)
    store["text"] = "a"
    with pytest.raises(andiron.EncodingError):
        store.incr("text")


def test_a_watch_tells_what_is_there_and_what_changes(store):
    store["room 1"] = 1
    store["hall"] = 1
    with store.watch("room *") as changes:
        assert next(changes).entry.value == 1
        store["room 2"] = 2
        change = next(changes)
        assert (change.name, change.entry.value) == ("room 2", 2)
        del store["room 1"]
        change = next(changes)
        assert (change.name, change.entry) == ("room 1", None)
    with store.watch(since=change.resume_from) as changes:
        store["later"] = 1
        assert next(changes).name == "later"


def test_an_expired_entry_is_gone(store):
    with store.watch("x", present=False) as changes:
        store.set("x", 1, ttl=0.01)
        # Whoever reads late is told only that it is gone.
        assert next(change.name for change in changes if change.entry is None) == "x"
    assert "x" not in store
    for ttl in (0, -1):
        with pytest.raises(andiron.BadArgumentsError, match="more than 0"):
            store.set("x", 1, ttl=ttl)


def test_a_persistent_entry_survives_the_server(home):
    address, state = f"unix:{home}/socket", home / "kept"
    with andiron.Server({}, address, state=state) as server:
        store = server.connect().store
        store.set("kept", {"a": 1}, persist=True, durability="sync")
        store["lost"] = 1
    with andiron.Server({}, address, state=state) as server:
        store = server.connect().store
        assert dict(store) == {"kept": {"a": 1}}
        assert store.persist("kept", False)
        assert not store.persist("nothing")


def test_a_store_without_a_disk_refuses_to_persist(store):
    with pytest.raises(andiron.UnsupportedError):
        store.set("x", 1, persist=True)


def test_names_are_texts(store):
    with pytest.raises(TypeError):
        store[1] = 1
    assert 1 not in store


ODD = ["", "a\0b", "x" * 60_000, "\N{SNOWMAN}/../*?~", " "]


@pytest.mark.parametrize("name", ODD, ids=["empty", "nul", "long", "strange", "space"])
def test_a_name_may_be_any_text(store, name):
    store[name] = [1]
    with store.edit(name) as value:
        value.append(2)
    assert (store[name], list(store), name in store) == ([1, 2], [name], True)
    assert store.author(name[:1000]).setdefault(name[:1000], 3) == 3
    assert store.pop(name) == [1, 2]


def uses_of(store, name):
    """All that is done with a name."""
    return [
        lambda: store[name],
        lambda: store.__setitem__(name, 1),
        lambda: store.__delitem__(name),
        lambda: store.get(name),
        lambda: store.entry(name),
        lambda: store.set(name, 1),
        lambda: store.pop(name, None),
        lambda: store.setdefault(name, 1),
        lambda: store.update([(name, 1)]),
        lambda: store.incr(name),
        lambda: store.persist(name),
        lambda: store.edit(name, []).__enter__(),
        lambda: store.change(name, list, []),
        lambda: store.watch(name),
        lambda: store.save(name),
        lambda: store.load(name),
        lambda: store.delete_snapshot(name),
    ]


def test_what_is_no_text_is_no_name(store):
    for name in (1, b"x", None, ("a",)):
        for use in uses_of(store, name):
            with pytest.raises(TypeError, match=f"a name in the store is a str, not {type(name).__name__}"):
                use()
        assert name not in store
    for use in [*uses_of(store, "\ud800"), lambda: store.author("\ud800"), lambda: "\ud800" in store]:
        with pytest.raises(andiron.EncodingError, match="half of a surrogate pair"):
            use()
    with pytest.raises(andiron.TooLargeError, match="use a shorter key"):
        store["x" * 70_000] = 1
    assert len(store) == 0


def test_counting_goes_by_64_bits_and_both_ways(store):
    assert store.incr("n", -5) == -5
    assert store.incr("n", 2**62) == 2**62 - 5
    store["n"] = 2**63 - 1
    with pytest.raises(andiron.BadArgumentsError, match="beyond 64 bits"):
        store.incr("n")
    with pytest.raises(andiron.BadArgumentsError, match="use `change`"):
        store.incr("n", 2**64)
    assert store.change("n", lambda n: n + 2**64) == 2**63 - 1 + 2**64
    for other in (2**70, True, 1.5, "1"):
        store["n"] = other
        with pytest.raises(andiron.EncodingError, match="no whole number"):
            store.incr("n")
        assert store["n"] == other
    with pytest.raises(TypeError):
        store.incr("n", 1.5)


def in_threads(count, function):
    results = [None] * count

    def run(number):
        results[number] = function(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_each_takes_another_item_out(store):
    store.update({f"{number:03}": number for number in range(200)})

    def take(_):
        taken = []
        with contextlib.suppress(KeyError):
            while True:
                taken.append(store.popitem())
        return taken

    taken = [item for items in in_threads(3, take) for item in items]
    assert sorted(taken) == [(f"{number:03}", number) for number in range(200)]


def test_a_default_is_set_by_one_of_those_who_set_it(store):
    for round_ in range(20):
        found = in_threads(3, lambda number, name=str(round_): store.setdefault(name, [number]))
        assert found == [store[str(round_)]] * 3


WRITER = """
    import sys
    import andiron

    store = andiron.connect(sys.argv[1]).store
    round = 0
    for line in sys.stdin:
        round += 1
        if line == "all\\n":
            store.update({f"{number:05}": round for number in range(6000)})
        elif line == "none\\n":
            store.clear()
        else:
            store["x"] = {"round": round, "deep": [round]}
        print(round, flush=True)
"""


@pytest.fixture
def writer(serve, processes):
    """Another process that writes at a word, and its store here."""
    hub = serve({})
    code = f"import sys; sys.argv[1:] = [{hub.peer}]"
    process = processes.python(code + textwrap.dedent(WRITER))

    def write(what, wait=True):
        process.stdin.write(f"{what}\n")
        process.stdin.flush()
        return int(process.stdout.readline()) if wait else None

    return hub.store, write, process


def test_what_is_gone_over_is_all_as_it_was_at_one_moment(writer):
    store, write, process = writer
    write("all")
    for number in range(10):
        for what in ("none", "all", "all"):
            write(what, wait=False)
        # Meanwhile the other one clears and sets all of them.
        values = list(store.values())
        assert len(set(values)) <= 1
        assert len(values) in (0, 6000)
        assert len(store) in (0, 6000)
        assert len(list(store)) in (0, 6000)
        names, numbers = zip(*store.items()) if number % 2 and len(store) else ((), ())
        assert len(names) in (0, 6000)
        assert len(set(numbers)) <= 1
        for _ in range(3):
            process.stdout.readline()
    write("all")
    items = iter(store.items())
    first = next(items)
    store.clear()
    assert [value for _, value in items] == [first[1]] * 5999


def test_what_was_written_before_is_what_is_read_from_then_on(writer, has_board):
    store, write, _ = writer
    over, cached = threading.Event(), []

    def read(_):
        latest = 0
        while not over.is_set():
            entry = store.entry("x")
            if entry is not None:
                assert entry.value == {"round": entry.value["round"], "deep": [entry.value["round"]]}
                assert entry.value["round"] >= latest
                latest = entry.value["round"]
                entry.value["deep"].append("mine alone")
        return store["x"]["round"]

    def write_and_read(number):
        if number:
            return read(number)
        for _ in range(300):
            written = write("one")
            assert store["x"]["round"] == written
            entry = store.entry("x")
            assert entry.value == {"round": written, "deep": [written]}
            cached.append(entry.cached)
        over.set()
        return written

    assert in_threads(3, write_and_read) == [300] * 3
    assert any(cached) == has_board, "and mostly without a question"


def test_what_one_reader_changes_no_other_sees_however_deep(store):
    store["x"] = {"a": [{"b": {1}}, bytearray(b"c")]}
    readers = [store["x"] for _ in range(3)] + [store.get("x"), store.entry("x").value, *store.values()]
    readers[0]["a"][0]["b"].add(2)
    readers[1]["a"][1][0] = 0
    readers[2].clear()
    assert [*readers[3:], store["x"]] == [{"a": [{"b": {1}}, bytearray(b"c")]}] * 4


def test_values_in_other_codecs_are_read_or_told_of(serve):
    hub = serve({})
    raw, store = hub["store"], hub.store
    raw.set("json", b'{"a": [1, 2.5, null, "\\u00e9"]}', 2)
    raw.set("bytes", b"\xff\x00", 3)
    assert store["json"] == {"a": [1, 2.5, None, "é"]}
    assert store["bytes"] == b"\xff\x00"
    assert dict(store) == {"json": {"a": [1, 2.5, None, "é"]}, "bytes": b"\xff\x00"}
    with store.edit("json") as json:
        json["a"].clear()
    assert store["json"] == {"a": []}
    raw.set("unknown", b"?", 9)
    raw.set("bad json", b"{", 2)
    raw.set("bad", b"\xc1", 1)
    for name, why in (("unknown", "codec 9"), ("bad json", "JSON"), ("bad", "cannot be read")):
        with pytest.raises(andiron.EncodingError, match=why):
            store[name]
        assert name in store
    assert sorted(store) == ["bad", "bad json", "bytes", "json", "unknown"]
    store["unknown"] = 1
    assert store.pop("unknown") == 1


def test_what_is_taken_out_and_cannot_be_read_is_told_with_its_bytes(serve):
    hub = serve({})
    raw, store = hub["store"], hub.store
    for take in (lambda: store.pop("bad"), store.popitem):
        raw.set("bad", b"\xc1", 1)
        with pytest.raises(andiron.EncodingError, match="the entry `bad` was taken out") as told:
            take()
        assert told.value.data == b"\xc1"
        assert "bad" not in store
    raw.set("bad", b"\xc1", 1)
    del store["bad"]
    assert "bad" not in store


def test_what_cannot_be_read_among_others_is_named(serve):
    hub = serve({})
    raw, store = hub["store"], hub.store
    raw.set("bad", b"\xc1", 1)
    for look in (lambda: list(store.items()), lambda: list(store.values()), lambda: next(store.watch())):
        with pytest.raises(andiron.EncodingError, match="the entry `bad` cannot be read") as told:
            look()
        assert told.value.data is None


def test_what_cannot_be_sent_among_others_is_named(store):
    with pytest.raises(andiron.EncodingError, match=r"the value of `b` cannot be sent: at \[0\]: "):
        store.update({"a": 1, "b": [object()]})
    assert not len(store)


def test_a_version_below_none_is_refused(store):
    for version in (-1, 2**64):
        with pytest.raises(andiron.BadArgumentsError, match="a version is 0"):
            store.set("x", 1, if_version=version)


def test_snapshots_keep_the_entries_of_an_author(home):
    with andiron.Server({}, f"unix:{home}/socket", state=home / "kept") as server:
        store = server.connect().store
        store.update({"x": 1, "y": [2]})
        store.author("other")["x"] = 3
        assert store.save("before") == 2
        (snapshot,) = store.snapshots()
        assert (snapshot.name, snapshot.entries) == ("before", 2)
        assert snapshot.bytes == 3
        assert snapshot.timestamp <= time.time()
        assert store["x"] == 1
        store["x"] = 5
        store["z"] = 6
        assert store.load("before") == 2
        assert dict(store) == {"x": 1, "y": [2], "z": 6}
        assert store.author("other").snapshots() == []
        with pytest.raises(andiron.NoObjectError):
            store.load("nothing")
        store.delete_snapshot("before")
        assert store.snapshots() == []
        stats = store.stats()
        assert (stats.entries, stats.authors, stats.evicted) == (4, 2, 0)


def test_a_backup_is_restored_from_any_file(home, tmp_path):
    with andiron.Server({}, f"unix:{home}/socket", state=home / "kept") as server:
        store = server.connect().store
        store.set("x", [1], persist=True)
        with open(tmp_path / "backup", "wb") as file:
            assert store.backup(file) == file.tell() > 0
        store["x"] = [2]
        with open(tmp_path / "backup", "rb") as file:
            assert store.restore(file) == 1
        assert store["x"] == [1]

        class Full:
            def write(self, data):
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            store.backup(Full())
        with pytest.raises(andiron.Error, match="backup"):
            store.restore(io.BytesIO(b"nonsense"))
        assert store["x"] == [1]


def test_the_views_are_those_of_a_mapping(store):
    store.update({"a": 1, "b": [2]})
    assert store.keys() == {"a", "b"}
    assert ("a", 1) in store.items()
    assert ("a", 2) not in store.items()
    assert [2] in store.values()
    assert 3 not in store.values()
    assert (len(store.items()), len(store.values())) == (2, 2)
