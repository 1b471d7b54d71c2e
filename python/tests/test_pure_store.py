"""The client of the store in the engine in Python alone: what it keeps, and when it asks. The store itself is a few lines here."""

import mmap
import os
import struct
import sys

import pytest

import andiron
from andiron._pure import board as boards
from andiron._pure import cache as caches
from andiron._pure import codec, hooks
from andiron._pure import store as stores
from andiron._pure.memory import SHARED, Descriptor

needs_boards = pytest.mark.skipif(
    not hasattr(os, "memfd_create") or sys.byteorder != "little", reason="boards are for Linux"
)


@pytest.fixture(autouse=True)
def _hooks():
    from andiron import _engine

    hooks.install(_engine.hooks)


class Board:
    """The memory of a board, as its owner has it."""

    def __init__(self, incarnation):
        import fcntl

        self.descriptor = os.memfd_create("board", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        length = 8 * (boards.FIRST + boards.STAMPS)
        os.pwrite(self.descriptor, bytes(length), 0)
        os.pwrite(self.descriptor, b"\xadBOARD\r\n" + struct.pack("<II", 1, boards.STAMPS) + incarnation, 0)
        self.words = memoryview(mmap.mmap(self.descriptor, length)).cast("Q")
        self.words[boards.LIFE] = 9
        fcntl.fcntl(self.descriptor, 1033, 0x2 | 0x4 | 0x10)

    def passed(self):
        return Descriptor(os.dup(self.descriptor))


class Far:
    """A store of one author at the other end of a connection, and what it was asked."""

    def __init__(self, incarnation=b"one of the store", with_board=True):
        self.incarnation = incarnation
        self.board = Board(incarnation) if with_board else None
        self.entries = {}
        self.version = 0
        self.asked = []
        self.ttl = 0
        self.before_answer = []

    def slot(self, name):
        return sum(name.encode()) % boards.STAMPS

    def write(self, name, value):
        """Sets a value, or takes it out."""
        self.version += 1
        if value is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = self.version, 1.5, 1, codec.encode(value)
        if self.board:
            self.board.words[boards.FIRST + self.slot(name)] = self.version

    def get(self, name, known=0, author="default", hits=0):
        self.asked.append((name, known, hits))
        slot, stamp = None, 0
        if self.board:
            slot, stamp = self.slot(name), self.board.words[boards.FIRST + self.slot(name)]
        entry = self.entries.get(name)
        for happens in self.before_answer:
            happens()
        if entry is None:
            return [0, 0, slot, stamp, "of a later version"]
        version, *value = entry
        if version == known:
            return [2, version, slot, stamp, self.ttl]
        return [1, version, slot, stamp, self.ttl, *value]


class Connection:
    """As the engine's, over nothing."""

    retries = False

    def __init__(self, far, limit=caches.DEFAULT_LIMIT):
        self.cache = caches.Cache(limit)
        self.far = far
        self.link = object()

    def place(self):
        return self.link, self.far.incarnation, self.far.board is not None

    def lookup(self, name):
        assert name == "store"
        return self

    def raw(self, buffer):
        return self

    def over(self, connection):
        return self

    def idempotent(self):
        return self

    def method(self, name):
        if name == "board":
            return lambda: self.far.board.passed()
        return lambda *args: getattr(self.far, name)(*args)

    def moves_to(self, far):
        self.far, self.link = far, object()


@pytest.fixture(
    params=[pytest.param(True, marks=needs_boards, id="board"), pytest.param(False, id="no board")]
)
def far(request):
    return Far(with_board=request.param)


def is_cached(store, name):
    return store.known(name) is not None


def test_what_was_read_is_not_asked_for_again_until_somebody_writes(far):
    store = stores.Store(Connection(far), "default")
    far.write("x", 12)
    assert store.get("x") == 12
    assert [store.get("x"), store.get_or("x", 5), store.has("x")] == [12, 12, True]
    assert store.entry("x") == (12, 1, 1.5, far.board is not None)
    assert len(far.asked) == (1 if far.board else 5)
    far.write("x", [1])
    assert [store.get("x"), store.get("x")] == [[1], [1]]
    assert len(far.asked) == (2 if far.board else 7)


def test_that_there_is_no_entry_is_kept_as_well(far):
    store = stores.Store(Connection(far), "default")
    for _ in range(2):
        with pytest.raises(KeyError, match="x"):
            store.get("x")
        assert (store.get_or("x", 5), store.has("x"), store.entry("x")) == (5, False, None)
    assert len(far.asked) == (1 if far.board else 8)
    assert store.known("x") == ((None,) if far.board else None)
    far.write("x", 1)
    assert store.get("x") == 1
    far.write("x", None)
    assert not store.has("x")


def test_a_value_that_is_here_does_not_travel_again():
    far = Far(with_board=False)
    store = stores.Store(Connection(far), "default")
    far.write("x", [1])
    assert [store.get("x") for _ in range(3)] == [[1]] * 3
    assert [known for _, known, _ in far.asked] == [0, 1, 1]
    far.write("x", [2])
    assert [store.get("x") for _ in range(2)] == [[2]] * 2
    assert [known for _, known, _ in far.asked[3:]] == [1, 2]


VALUES = [
    {"title": "Embers", "volume": 7},
    [1, 2],
    {"a": [1, {"b": [2]}], "c": ({"d": 1}, b"e")},
    [{1, 2}, [[[]]]],
    {"a": bytearray(b"b"), "c": 2**70},
    {(1, "a"): [frozenset({1})]},
    {f"{number}": number for number in range(100)},
    {"a": andiron.Record("Point", {"x": [1]}).__reduce__()[1][1]},
]
FIXED = [12, "text" * 1000, b"bytes", None, 1.5, True, 2**100, 1j, (1, ("a", None)), frozenset({1})]


def changed(value):
    """Changes all that can be changed in a value."""
    kind = type(value)
    parts = list(value.values() if kind is dict else value) if kind in (dict, list, tuple) else []
    for part in parts:
        changed(part)
    if kind is dict:
        value["more"] = 1
    elif kind is list:
        value.append(1)
    elif kind is set:
        value.add("more")
    elif kind is bytearray:
        value[:] = b"other"


@needs_boards
@pytest.mark.parametrize("value", VALUES + FIXED, ids=lambda value: str(value)[:20])
def test_a_value_that_is_given_out_again_is_nobody_elses(value):
    far = Far()
    store = stores.Store(Connection(far), "default")
    far.write("x", [value] if value is None else value)
    expected = [value] if value is None else value
    for read in (store.get, lambda name: store.get_or(name, 0), lambda name: store.entry(name)[0]) * 4:
        found = read("x")
        assert found == expected
        assert type(found) is type(expected)
        changed(found)
    assert store.known("x")[0][0] == expected
    assert len(far.asked) == 1
    far.write("x", {"of": "another"})
    assert store.get("x") == {"of": "another"}


@needs_boards
def test_an_entry_with_a_ttl_is_given_out_until_it_is_over_counted_from_the_sending_of_the_question(
    monkeypatch,
):
    time = [100.0]
    monkeypatch.setattr(caches, "now", lambda: time[0])
    monkeypatch.setattr(stores, "now", lambda: time[0])
    far = Far()
    far.write("x", 1)
    far.ttl = 2_000_000
    store = stores.Store(Connection(far), "default")
    far.before_answer = [lambda: time.__setitem__(0, time[0] + 1.5)]  # it takes long
    assert store.get("x") == 1
    time[0] = 101.999
    assert (store.get("x"), is_cached(store, "x"), len(far.asked)) == (1, True, 1)
    time[0] = 102.001
    far.before_answer = []
    assert not is_cached(store, "x")
    assert (store.get("x"), len(far.asked)) == (1, 2)
    far.ttl = 0
    far.write("x", 2)
    assert store.get("x") == 2
    time[0] = 1e9
    assert (store.get("x"), len(far.asked)) == (2, 3)


@needs_boards
def test_what_is_kept_is_bounded_and_what_is_read_often_stays():
    far = Far()
    connection = Connection(far, limit=20_000)
    store, other = stores.Store(connection, "default"), stores.Store(connection, "other")
    far.write("often", 1)
    for number in range(500):
        far.write(str(number), "x" * 100)
        (store if number % 2 else other).get(str(number))
        assert store.get("often") == store.get("often") == 1
    asked = [name for name, *_ in far.asked]
    assert asked.count("often") < 60
    kept = [kept for author in ("default", "other") for kept in connection.cache.of(author).values()]
    assert 20 < len(kept) < 80
    assert sum(kept.size for kept in kept) == connection.cache._bytes <= 20_000
    far.write("big", "x" * 30_000)
    assert [store.get("big"), store.get("big")] == ["x" * 30_000] * 2
    assert [name for name, *_ in far.asked].count("big") == 2


@needs_boards
def test_what_is_decoded_to_be_given_out_again_counts_too():
    far = Far()
    connection = Connection(far, limit=20_000)
    store = stores.Store(connection, "default")
    for number in range(40):
        far.write(str(number), {"a": [number]})
        store.get(str(number))
    for _ in range(3):
        for number in range(40):
            assert store.get(str(number)) == {"a": [number]}
    kept = connection.cache.of("default").values()
    assert sum(kept.size for kept in kept) == connection.cache._bytes <= 20_000


def test_a_cache_of_nothing_keeps_nothing(far):
    store = stores.Store(Connection(far, limit=0), "default")
    far.write("x", 12)
    assert [store.get("x") for _ in range(3)] == [12] * 3
    assert [known for _, known, _ in far.asked] == [0, 0, 0]
    assert store.known("x") is None


@needs_boards
def test_the_stores_of_a_connection_share_what_they_read():
    far = Far()
    connection = Connection(far)
    far.write("x", 12)
    assert stores.Store(connection, "default").get("x") == 12
    assert stores.Store(connection, "default").get("x") == 12
    assert len(far.asked) == 1
    assert stores.Store(connection, "other").get("x") == 12
    assert len(far.asked) == 2


@needs_boards
def test_the_store_hears_how_many_reads_were_answered_without_it():
    far = Far()
    store = stores.Store(Connection(far), "default")
    for name in ("x", "y"):
        far.write(name, 12)
        store.get(name)
    for _ in range(10):
        store.get("x")
        store.has("y")
    for name in ("x", "y"):
        far.write(name, 13)
        store.get(name)
    assert sum(hits for *_, hits in far.asked) == 20


def test_nothing_of_another_store_is_given_out(far):
    connection = Connection(far)
    store = stores.Store(connection, "default")
    far.write("x", "old")
    far.write("y", "old")
    assert (store.get("x"), store.get("y")) == ("old", "old")
    if far.board:
        far.board.words[boards.LIFE] = 0x40000009  # it was killed
    other = Far(b"another of them.", far.board is not None)
    other.write("x", "new")
    connection.moves_to(other)
    assert (store.get("x"), store.get("x")) == ("new", "new")
    assert store.get_or("y", None) is None
    assert other.asked[0] == ("x", 0, other.asked[0][2]), "it knows nothing of that version"
    assert "y" in connection.cache.of("default")


@needs_boards
def test_another_connection_to_the_same_store_knows_what_was_read():
    far = Far()
    connection = Connection(far)
    store = stores.Store(connection, "default")
    far.write("x", 12)
    assert store.get("x") == 12
    connection.moves_to(far)
    assert (store.get("x"), len(far.asked)) == (12, 1)
    far.write("y", 13)
    assert (store.get("y"), store.get("y"), store.get("x"), len(far.asked)) == (13, 13, 12, 2)


@needs_boards
def test_an_answer_that_came_over_another_connection_is_not_kept():
    far, other = Far(), Far(b"another of them.")
    connection = Connection(far)
    store = stores.Store(connection, "default")
    far.write("x", 12)
    far.before_answer = [lambda: connection.moves_to(other)]
    assert store.get("x") == 12
    assert "x" not in connection.cache.of("default")
    assert store.get_or("x", None) is None


@needs_boards
@pytest.mark.parametrize("life", [0, 0x40000000, 0x40000009, 9 | 1 << 32, 9 | 1 << 63])
def test_a_board_that_nobody_keeps_any_more_says_nothing(life):
    far = Far()
    store = stores.Store(Connection(far), "default")
    far.write("x", 12)
    assert [store.get("x"), store.get("x"), len(far.asked)] == [12, 12, 1]
    far.board.words[boards.LIFE] = 9 | 0x80000000
    assert [store.get("x"), store.has("x"), len(far.asked)] == [12, True, 1], "somebody waits for its owner"
    far.board.words[boards.LIFE] = life
    assert [store.get("x"), store.has("x"), store.entry("x")[3], len(far.asked)] == [12, True, False, 4]


@needs_boards
def test_a_stamp_that_no_write_makes_and_a_slot_that_is_none_say_nothing():
    far = Far()
    store = stores.Store(Connection(far), "default")
    far.write("x", 12)
    far.board.words[boards.FIRST + far.slot("x")] = boards.NEVER
    assert [store.get("x"), store.get("x"), len(far.asked)] == [12, 12, 2]
    for slot in (boards.STAMPS, 2**32, -1, "1", 1.0):
        far.slot = lambda name: 0
        get, far.asked = far.get, []

        def with_slot(*args, get=get, slot=slot):
            row = get(*args)
            return [*row[:2], slot, *row[3:]]

        far.get = with_slot
        assert [store.get("x"), store.get("x"), len(far.asked)] == [12, 12, 2]
        del far.get


@pytest.mark.parametrize(
    "answer",
    [
        None, 5, [], [1], [3, 1, None, 0], [1, 1, None, 0, 0], [1, 1, None, 0, 0, 1.5, 1], [0, 0, None],
        [1, 1, None, 0, "1", 1.5, 1, b"\x01"], [1, 1, None, 0, 0, 1.5, 1, None], [1, 1, None, 0, 0, 1.5, 1, "text"],
        {"a": 1}, "text", [2, 5, None, 0, 0],
    ],
    ids=str,
)  # fmt: skip
def test_what_no_store_answers_is_an_error_and_not_kept(answer):
    far = Far(with_board=False)
    connection = Connection(far)
    store = stores.Store(connection, "default")
    far.write("x", 12)
    far.get = lambda *_: answer
    for read in (store.get, store.has, store.entry):
        with pytest.raises((andiron.EncodingError, andiron.ProtocolError), match="the store"):
            read("x")
    assert "x" not in connection.cache.of("default")
    del far.get
    assert store.get("x") == 12


def test_what_cannot_be_decoded_is_told_each_time_and_is_there_all_the_same(far):
    store = stores.Store(Connection(far), "default")
    far.write("x", 12)
    far.entries["x"] = 1, 1.5, 1, b"\xc1"
    for _ in range(3):
        with pytest.raises(andiron.EncodingError, match="cannot be read"):
            store.get("x")
        assert store.has("x")


def test_a_connection_that_is_closed_gives_nothing_out(far):
    connection = Connection(far)
    store = stores.Store(connection, "default")
    far.write("x", 12)
    assert store.get("x") == 12
    connection.cache.close()
    far.write("x", 13)
    assert [store.get("x"), store.get("x")] == [13, 13]
    assert not connection.cache.of("default")


@needs_boards
def test_what_ends_while_something_is_kept_may_read_the_store():
    far = Far()
    connection = Connection(far)
    store = stores.Store(connection, "default")
    far.write("x", 12)

    class Entries(dict):
        def __setitem__(self, name, kept):
            dict.__setitem__(self, name, kept)
            if name != "y":
                assert store.get("y") == 13  # as a finalizer may

    connection.cache._authors["default"] = Entries()
    store = stores.Store(connection, "default")
    far.write("y", 13)
    assert (store.get("x"), store.get("x")) == (12, 12)


@pytest.mark.skipif(not SHARED, reason="there is no memory here that can be passed by reference")
def test_a_big_value_goes_and_comes_as_the_memory_that_it_lies_in():
    value = {"big": bytearray(b"x" * (2 << 20))}
    data = codec.encode_stored(value)
    assert len(data) > 2 << 20
    sent = codec.encode_result([1, data])
    (memory,) = sent.memories
    received = codec.decode_message(sent.body, None, [memory], None, stores._buffer)[1]
    assert received is memory
    assert stores._value(1, received) == value
    if memory.place() is not None:
        descriptor = Descriptor(os.dup(memory.fileno()))
        received = codec.decode_message(sent.body, None, [descriptor], None, stores._buffer)[1]
        assert stores._value(1, received) == value
    small = codec.encode_result([codec.decode(codec.encode(5)), type(data).of_bytes(b"\x05")])
    assert codec.decode_message(small.body, None, (), None, stores._buffer) == [5, b"\x05"]


@pytest.mark.parametrize(
    "parts", [["B", [3], b"ab"], ["B", [-1], b"ab"], ["=B", [2], b"ab"], ["B", [1, 2], b"ab"], ["B", 2, b"ab"], [1, [2], b"ab"]],
    ids=str,
)  # fmt: skip
def test_a_buffer_that_is_no_value_of_a_store_is_an_error(parts):
    with pytest.raises(andiron.EncodingError):
        codec.decode_message(
            codec.encode(parts).replace(
                b"\x93", b"\xc7" + bytes([len(codec.encode(parts))]) + b"\x0f\x93", 1
            ),
            buffer=stores._buffer,
        )
    assert stores._buffer("B", [1], b"ab") == b"a"
