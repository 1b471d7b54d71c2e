"""The small store of a pure server, in memory: what its wire object answers, as section 10 of the protocol says."""

import os

import pytest

import andiron
from andiron._pure import codec
from andiron._pure.keep import places
from andiron._pure.keep.limits import AUTHOR_OVERHEAD, ENTRY_OVERHEAD
from andiron._pure.keep.order import Names
from andiron._pure.keep.store import Put
from andiron._pure.server import serve
from keeping import SECOND, Kept, Rights, put, shown

NOBODY_KEEPS = "this daemon keeps nothing beyond its life"


@pytest.fixture
def store():
    return Kept()


# Reads and writes


def test_the_answers_are_those_of_the_protocol(store):
    assert store.get("x") == [0, 0, None, 0]
    version, timestamp = store.set_many([["x", b"\x07", 3, None, 3600 * SECOND]])
    assert timestamp == 1.7e9 + 1000
    store.now += 5
    left = 3600 * SECOND - 5
    assert store.get("x", 0, None, 41) == [1, version, None, 0, left, timestamp, 3, b"\x07"]
    assert store.get("x", version) == [2, version, None, 0, left]
    assert store.get("x", version - 1)[0] == 1
    assert store.delete("x", None, version) == [1, version, None, 0, left, timestamp, 3, b"\x07"]
    assert store.delete("x") == [0, 0, None, 0]
    assert store.incr("n") == [version + 2, 1.7e9 + store.now / SECOND, 1]
    assert store.stats() == [1, AUTHOR_OVERHEAD + 7 + ENTRY_OVERHEAD + 2, 1, 41, 4, 0]
    assert store.board() is None
    assert len(store.store.incarnation) == 16


def test_each_write_takes_the_next_version_and_what_writes_nothing_takes_none(store):
    first = store.set("x", b"", 3)[0]
    assert first == int((1.7e9 + 1000) * SECOND) + 1
    assert store.set_many([put("y"), put("z")])[0] == first + 1
    assert store.set_many([])[0] == first + 1
    store.delete("nothing")
    assert store.clear("nobody") == 0
    assert store.delete_first("nobody") is None
    with pytest.raises(andiron.ConflictError):
        store.set("x", b"", 3, None, None, 0)
    assert store.clear() == 3
    assert store.set("x", b"", 3)[0] == first + 3


def test_a_missing_entry_is_not_an_empty_value(store):
    store.set("x", b"", 3)
    assert store.value("x") == b""
    assert store.value("y") is None


def test_nothing_is_reserved_in_a_key(store):
    names = ["", "~", "a/b", "a\0b", "default", "ö", "o\u0308", "\U0001f600", "*", "nil", "a" * 1000]
    for author in names:
        for name in names:
            store.set(name, f"{author}|{name}".encode(), 3, author)
    for author in names:
        assert store.names(author) == sorted(names)
        assert all(store.value(name, author) == f"{author}|{name}".encode() for name in names)
    assert store.count() == len(names) ** 2
    assert store.count("~") == len(names)


@pytest.mark.parametrize(
    ("method", "arguments", "told"),
    [
        ("get", (5,), "argument `name`: expected text, found int 5"),
        ("get", ("x", None, 5), "argument `author`"),
        ("get", ("x", None, None, -1), "argument `hits`"),
        ("set", ("x", [1], 1), "argument `value`: expected bytes"),
        ("set", ("x", bytearray(1), 1), "argument `value`"),
        ("set", ("x", memoryview(bytes(8)).cast("Q"), 1), "argument `value`"),
        ("set", ("x", b"", 256), "argument `codec`"),
        ("set", ("x", b"", True), "argument `codec`"),
        ("set", ("x", b"", 1, None, 0), "give a ttl above 0"),
        ("set", ("x", b"", 1, None, -1), "argument `ttl`"),
        ("set", ("x", b"", 1, None, None, 1 << 64), "argument `if_version`"),
        ("set", ("x", b"", 1, None, None, None, 1), "argument `persist`"),
        ("set", ("x", b"", 1, None, None, None, None, "much"), "no durability 'much': it is `relaxed` or"),
        ("set", ("\ud800", b"", 1), "argument `name`: expected Unicode"),
        ("set", ("x", b"", 1, "\ud800"), "argument `author`: expected Unicode"),
        ("set_many", ("x",), "argument `entries`"),
        ("set_many", ([["x", b""]],), "argument `entries`"),
        ("set_many", ([put("x"), put("y"), put("x")],), "the same entry stands twice"),
        ("incr", ("x", 1 << 63), "argument `by`"),
        ("list", (None, ["x"]), "argument `after`"),
        ("list", (None, None, -1), "argument `limit`"),
        ("watch", ("x" * 1025,), "a pattern has at most 1024 bytes"),
        ("watch", ("*", None, True, 5), "leave out `present` or `since`"),
        ("entries", (None, 1), "argument `values`"),
    ],
)
def test_wrong_arguments_are_named_and_change_nothing(store, method, arguments, told):
    with pytest.raises(andiron.BadArgumentsError) as raised:
        store.methods[method](*arguments)
    assert told in str(raised.value)
    assert store.stats()[0] == 0


def test_an_entry_is_set_and_removed_over_one_version_alone(store):
    version = store.set("x", b"1", 3, None, None, 0)[0]
    with pytest.raises(andiron.ConflictError, match=f"has version {version} now"):
        store.set("x", b"2", 3, None, None, 0)
    with pytest.raises(andiron.ConflictError, match=f"has version {version} now"):
        store.delete("x", None, version - 1)
    after = store.set("x", b"2", 3, None, None, version)[0]
    assert store.delete("x", None, after)[1] == after
    with pytest.raises(andiron.ConflictError, match="not there any more"):
        store.delete("x", None, after)
    assert store.delete("x", None, 0) == [0, 0, None, 0]


def test_several_are_set_under_one_version_or_none(store):
    store.set("a", b"1", 3)
    with pytest.raises(andiron.ConflictError):
        store.set_many([put("b"), put("a", if_version=1)])
    assert store.names() == ["a"]
    assert store.value("a") == b"1"
    version = store.set_many([put("b"), put("a"), put("a", author="other")])[0]
    assert {row[2] for row in store.list()[1]} == {version}


def test_numbers_are_counted_up_and_down_and_keep_their_time(store):
    store.set("n", b"\x05", 1, None, SECOND)
    store.now += 1000
    version, _, number = store.incr("n", -7)
    assert number == -2
    assert store.get("n")[1:5] == [version, None, 0, SECOND - 1000]
    assert store.value("n") == b"\xfe"
    assert store.get("n")[6] == 1
    assert store.incr("most", 2**63 - 1)[2] == 2**63 - 1
    with pytest.raises(andiron.BadArgumentsError, match="beyond 64 bits"):
        store.incr("most")
    for number in (0, 127, -32, 128, -33, 255, 256, -128, -129, 2**16, -(2**31), 2**32, 2**63 - 2, -(2**63)):
        store.set("n", codec.encode(number), 1)
        assert store.incr("n")[2] == number + 1
        assert store.value("n") == codec.encode(number + 1)
    no_numbers = (
        b"\xa4text",
        b"\xc3",
        b"\xc0",
        b"",
        b"\x05\x05",
        b"\xcc",
        b"\xcb" + bytes(8),
        b"\xcf" + b"\xff" * 8,
    )
    for value, kind in [(b"\x05", 3), *((value, 1) for value in no_numbers)]:
        store.set("text", value, kind)
        with pytest.raises(andiron.EncodingError, match="no whole number"):
            store.incr("text")
        assert store.value("text") == value


def test_a_default_is_set_where_nothing_is(store):
    state, version, *_ = store.set_default("x", b"1", 3, None, SECOND)
    assert state == 0
    assert version == store.get("x")[1]
    assert store.set_default("x", b"2", 3) == store.get("x")
    store.now += SECOND
    assert store.set_default("x", b"2", 3)[0] == 0
    assert store.value("x") == b"2"


def test_what_is_replaced_keeps_its_time(store):
    version = store.set("x", b"1", 3, None, SECOND)[0]
    store.now += 1000
    replaced, timestamp = store.replace("x", b"2", 4, None, version)
    assert store.get("x") == [1, replaced, None, 0, SECOND - 1000, timestamp, 4, b"2"]
    for name, over in (("x", version), ("nothing", None), ("nothing", 0)):
        with pytest.raises(andiron.ConflictError):
            store.replace(name, b"3", 3, None, over)
    assert store.value("x") == b"2"
    assert store.value("nothing") is None


def test_the_first_entry_by_name_is_taken_out(store):
    store.set_many([put("b", b"2"), put("a", b"1"), put("c", b"3"), put("0", author="other")])
    assert [store.delete_first()[0] for _ in range(3)] == ["a", "b", "c"]
    assert store.delete_first() is None
    assert store.count() == 1
    assert store.delete_first("other")[1][7] == b"v"


def test_a_clear_takes_one_authors_entries_or_all(store):
    store.set_many([put("a"), put("b"), put("a", author="other"), put("a", author="third")])
    assert store.clear("default") == 2
    assert store.keys() == "othera thirda"
    assert store.clear() == 2
    assert store.stats()[:3] == [0, 0, 0]


def test_values_and_keys_that_are_too_long_are_refused_and_change_nothing(store):
    with pytest.raises(andiron.TooLargeError, match="70000 bytes long"):
        store.set("x" * 70_000, b"", 3, "")
    most = (1 << 30) - (128 << 10)

    class Long(bytes):
        """As long as nobody has room for in a test."""

    from andiron._pure.keep import wire

    small = wire._Wire(store.store, None, None, 4096, lambda: None)
    small.set("x", bytes(4096 - 256), 3)
    with pytest.raises(andiron.TooLargeError, match="3840 is the most that a value may have"):
        small.set("x", bytes(4096 - 255), 3)
    assert len(store.value("x")) == 3840
    assert wire._Wire(store.store, None, None, 1 << 30, lambda: None)._most == most


# Time


def test_what_expires_is_gone_and_told_though_nobody_asks_for_it(store):
    changes = store.watch()
    store.set("long", b"", 3, None, 10 * SECOND)
    store.set("brief", b"", 3, None, SECOND)
    store.set("kept", b"", 3)
    changes.take()
    assert store.store.next_expiry() == 1
    store.now += SECOND - 1
    store.store.expire()
    assert changes.take() == []
    store.now += 1
    store.store.expire()
    assert [shown(change) for change in changes.take()] == [("brief", None)]
    assert store.names() == ["kept", "long"]
    assert store.store.next_expiry() == 9
    store.set("long", b"", 3)
    assert store.store.next_expiry() is None


def test_what_was_changed_and_kept_its_time_expires_once(store):
    changes = store.watch()
    store.set("x", b"\x01", 1, None, SECOND)
    store.incr("x")
    store.replace("x", b"", 3)
    changes.take()
    store.now += SECOND
    assert store.names() == []
    assert [shown(change) for change in changes.told] == [("x", None)]


def test_a_loop_is_told_of_what_expires_sooner_than_all_others(store):
    told = []
    store.store.sooner = lambda: told.append(store.store.next_expiry())
    store.set("a", b"", 3, None, 5 * SECOND)
    store.set("b", b"", 3, None, 9 * SECOND)
    store.set("c", b"", 3)
    store.set("a", b"", 3, None, 2 * SECOND)
    assert told == [5, 2]


def test_a_server_plans_for_what_expires_next_alone():
    running = serve([], {})
    try:
        store = running._site._store
        store.set((Put("default", "long", b"", 3, 3600 * 10**9),))
        for _ in range(20):
            store.set((Put("default", "brief", b"", 3, 1),))
            while store.next_expiry() < 3000 or len(running._site._expiries) > 1:
                running.turn(0.01)
        assert len(running._site._expiries) == 1
        assert len(running._site._pool._timers) < 5
    finally:
        running.stop()


def test_what_is_over_is_never_found_counted_or_listed(store):
    store.set("x", b"\x01", 1, None, 5)
    store.set("y", b"\x01", 1, None, 500)
    version = store.get("x")[1]
    store.now += 5
    assert store.count() == 1
    assert store.names() == ["y"]
    assert store.stats()[0] == 1
    assert store.get("x", version) == [0, 0, None, 0]
    assert store.incr("x")[2] == 1
    assert store.get("x")[4] == 0
    assert store.entries(None, False)[0][0][0] == "x"


def test_a_time_that_was_taken_back_does_not_come(store):
    for _ in range(3000):
        store.set("x", b"", 3, None, SECOND)
    assert len(store.store._expiring) < 200, "what was set again since is forgotten"
    store.set("x", b"", 3)
    store.now += 2 * SECOND
    assert store.value("x") == b""


def test_what_is_left_of_the_time_is_never_told_as_none(store):
    store.set("x", b"", 3, None, 1)
    assert store.get("x")[4] == 1


# Listings


def test_pages_together_give_every_entry_once_in_their_order(store):
    keys = [(author, name) for author in "ca" for name in ("b", "", "ö", "a", "B")] + [("b", "x")]
    for author, name in keys:
        store.set(name, b"123", 3, author)
    found, after, more = [], None, True
    while more:
        more, page = store.list(None, after, 3)
        assert len(page) == 3 or not more
        found += [tuple(row[:2]) for row in page]
        after = page[-1][:2]
    assert found == sorted(keys)
    assert store.list(None, None, 0) == [True, []]
    assert store.list("nobody", None, 0) == [False, []]
    assert store.list("a", ["a", "B"])[1][0][:2] == ["a", "a"]
    assert store.list("b", ["a", "zz"])[1][0] == ["b", "x", store.get("x", 0, "b")[1], 1.7e9 + 1000, 3, False]
    assert store.list("a", ["b", ""]) == [False, []]


def test_a_page_is_bounded_whatever_is_asked(store):
    store.set_many([put(f"{number:05}") for number in range(1500)])
    more, page = store.list(None, None, 1 << 40)
    assert more
    assert len(page) == 1000
    store.clear()
    store.set_many([put(f"{number}" + "x" * 60_000) for number in range(9)])
    more, page = store.list()
    assert more
    assert len(page) == 4


def test_a_listing_of_all_is_as_it_was_at_one_moment(store):
    names = [f"{number:05}" for number in range(2500)]
    store.set_many([put(name, name.encode()) for name in names])
    first, rest = store.entries()
    assert len(first) == 1000
    assert first[7][:1] + first[7][5:] == ["00007", 3, b"00007"]
    store.set("00000a", b"", 3)
    store.clear()
    assert [entry[0] for page in (first, *rest) for entry in page] == names
    assert store.entries() == [[], None]
    store.set_many([put(name, bytes(100_000)) for name in names[:7]])
    first, rest = store.entries()
    assert [len(page) for page in (first, *rest)] == [3, 3, 1], "of big values fewer go together"
    assert store.entries(None, False)[1] is None
    assert len(store.entries(None, False)[0][0]) == 5


def test_listings_that_are_not_read_are_no_more_than_so_many(store, monkeypatch):
    store.set_many([put(f"{number:05}") for number in range(1001)])
    listings = [store.entries()[1] for _ in range(32)]
    with pytest.raises(andiron.OverloadedError, match="32 long listings"):
        store.entries()
    assert store.entries("other") == [[], None], "what goes in one message needs no place"
    assert len(list(listings.pop())) == 1
    listings.append(store.entries()[1])
    listings.pop().close()
    listings.append(store.entries()[1])
    monkeypatch.setattr(places, "_STANDSTILL", 0)
    listings.append(store.entries()[1])
    with pytest.raises(andiron.OverloadedError, match="another one came"):
        next(listings[0])
    assert next(listings[1])
    del listings
    assert store.store.stats()[0] == 1001
    assert store.entries()[1] is not None


def test_names_stay_in_their_order_however_many_come_and_go():
    names, expected = Names(), []
    for number in range(5000):
        name = f"{number * 7919 % 5000:04}"
        names.add(name)
        expected.append(name)
        if number % 3 == 0:
            gone = expected.pop(number * 31 % len(expected))
            names.remove(gone)
    expected.sort()
    assert list(names) == expected
    assert names.first() == expected[0]
    for after in ("0000", "2500", "25001", "9999", ""):
        assert list(names.behind(after)) == [name for name in expected if name > after]
        assert list(names.behind(after, True)) == [name for name in expected if name >= after]
    for name in expected:
        names.remove(name)
    assert list(names) == []


# Rights, and what is not there


def test_who_may_use_some_authors_only_gets_nothing_of_the_others(store):
    store.set_many([put("x", author=author) for author in "abc"])
    store.rights = Rights(authors={"b", "c"})
    assert store.count() == 2
    assert store.keys() == "bx cx"
    assert store.list(None, ["b", "x"])[1][0][:2] == ["c", "x"]
    assert store.list(None, None, 1)[0]
    assert [change[1] for change in store.watch().take()] == ["b", "c"]
    store.set("y", b"", 3, "b")
    for method, arguments in [
        ("get", ("x", None, "a")),
        ("get", ("x",)),
        ("set", ("x", b"", 3, "a")),
        ("set_many", ([put("y", author="b"), put("x", author="a")],)),
        ("delete", ("x", "a")),
        ("delete_first", ("a",)),
        ("incr", ("x", 1, "a")),
        ("entries", ("a",)),
        ("watch", ("*", "a")),
        ("list", ("a",)),
        ("count", ("a",)),
        ("clear", ("a",)),
        ("stats", ()),
        ("backup", ()),
        ("restore", (iter(()),)),
        ("save", ("s", "a")),
    ]:
        with pytest.raises(andiron.DeniedError, match="the secret of this connection"):
            store.methods[method](*arguments)
    assert store.clear() == 3
    store.rights = None
    assert store.keys() == "ax"


def test_who_may_only_read_changes_nothing(store):
    store.set("x", b"1", 3)
    store.rights = Rights(read_only_store=True)
    assert store.value("x") == b"1"
    assert store.count() == 1
    assert len(store.watch().take()) == 1
    for method, arguments in [
        ("set", ("x", b"", 3)),
        ("set_many", ([put("x")],)),
        ("persist", ("x",)),
        ("delete", ("x",)),
        ("delete_first", ()),
        ("set_default", ("x", b"", 3)),
        ("replace", ("x", b"", 3)),
        ("incr", ("x",)),
        ("clear", ()),
        ("save", ("s",)),
        ("load", ("s",)),
        ("delete_snapshot", ("s",)),
        ("backup", ()),
        ("restore", (iter(()),)),
    ]:
        with pytest.raises(andiron.DeniedError, match="not to change it"):
            store.methods[method](*arguments)


def test_a_store_that_keeps_nothing_says_so(store):
    store.set("x", b"1", 3)
    for method, arguments in [
        ("set", ("x", b"2", 3, None, None, None, True)),
        ("set_many", ([put("y"), put("x", persist=True)],)),
        ("persist", ("x",)),
        ("persist", ("nothing", False)),
        ("save", ("s",)),
        ("load", ("s",)),
        ("snapshots", ()),
        ("delete_snapshot", ("s",)),
        ("backup", ()),
        ("restore", (iter([b"x"]),)),
    ]:
        with pytest.raises(andiron.UnsupportedError, match=NOBODY_KEEPS):
            store.methods[method](*arguments)
    assert store.value("x") == b"1"
    assert store.count() == 1


def test_big_memory_stays_what_it_is(store):
    memory = pytest.importorskip("andiron._pure.memory")
    big = memory.freeze(memoryview(os.urandom(2 << 20)))
    store.set("x", big, 3)
    assert store.value("x") is big
    assert store.list()[1][0][4] == 2 << 20
    store.set("y", memory.freeze(memoryview(b"small")), 3)
    assert store.value("y") == b"small"


def test_the_store_says_what_it_offers(store):
    told = store.methods["$describe"]()
    methods = {method["name"]: method for method in told["methods"]}
    assert told["name"] == "Store"
    assert told["doc"].startswith("Values by author and name")
    assert [parameter["name"] for parameter in methods["get"]["parameters"]] == [
        "name",
        "known",
        "author",
        "hits",
    ]
    assert set(methods) == {
        "set",
        "set_many",
        "persist",
        "board",
        "get",
        "delete",
        "delete_first",
        "set_default",
        "replace",
        "incr",
        "stats",
        "count",
        "entries",
        "list",
        "watch",
        "save",
        "load",
        "snapshots",
        "delete_snapshot",
        "backup",
        "restore",
        "clear",
    }
