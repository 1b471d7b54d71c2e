"""The store as a mapping."""

import threading

import pytest

import andiron


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


def test_a_second_read_asks_nobody_until_somebody_writes(store):
    store["x"] = 1
    assert not store.entry("x").cached
    entry = store.entry("x")
    assert entry.cached
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
    with pytest.raises(andiron.ConflictError, match=r"'x' was changed .* edit it again"):  # noqa: SIM117, PT012
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
        with store.watch("short", present=False) as changes:
            store.set("short", [1], ttl=0.05)
            with store.edit("short") as short:
                short.append(2)
            while (change := next(changes)).entry is not None:
                assert change.entry.value in ([1], [1, 2])
        assert dict(store) == {"kept": [1, 2, 3]}
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
        assert next(changes).entry.value == 1
        assert next(changes).entry is None
    assert "x" not in store
    for ttl in (0, -1, float("nan")):
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
