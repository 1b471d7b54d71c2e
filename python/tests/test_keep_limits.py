"""How much the small store of a pure server holds, and what makes room for what."""

import pytest

import andiron
from andiron._pure.keep import Limits
from andiron._pure.keep.limits import AUTHOR_OVERHEAD, ENTRY_OVERHEAD, TTL_OVERHEAD
from keeping import SECOND, Kept, put


@pytest.fixture
def store():
    return Kept()


def room_for(entries):
    """Bytes that so many entries of one author count for whose names have one letter."""
    return AUTHOR_OVERHEAD + 1 + entries * (ENTRY_OVERHEAD + 101)


def limited(*keys, **limits):
    """A store with such entries."""
    store = Kept(limits=Limits(**limits))
    put_all(store, *keys)
    return store


def put_all(store, *keys):
    for author, name in keys:
        store.set(name, bytes(100), 3, author)


def test_an_author_with_a_full_quota_is_refused_and_others_go_on():
    store = limited("ax", "ay", max_author_bytes=room_for(2))
    with pytest.raises(andiron.QuotaError) as raised:
        put_all(store, "az")
    assert str(raised.value) == (
        f'the author "a" has all that one author may have, {room_for(2)} bytes: delete entries of this author, or have the program of the store start it with a '
        "larger max_author_bytes"
    )
    put_all(store, "bx", "by", "ax")
    store.delete("x", "a")
    put_all(store, "az")
    assert store.keys() == "ay az bx by"
    with pytest.raises(andiron.QuotaError):
        store.set_many([put("x", bytes(100), "c", SECOND), put("y", bytes(100), "c")])
    assert room_for(1) + TTL_OVERHEAD < room_for(2)
    store.set_many([put("x", bytes(100), "c", SECOND)])


def test_an_author_and_the_store_may_have_so_many_entries():
    store = limited("ax", "ay", max_author_entries=2, max_entries=5)
    for refused in ([put("z", author="a")], [put("x", author="b"), put("z", author="a")]):
        with pytest.raises(andiron.QuotaError, match="2 entries"):
            store.set_many(refused)
    put_all(store, "bx", "by", "cx")
    with pytest.raises(andiron.QuotaError, match="the store is full, it may hold 5 entries"):
        put_all(store, "cy")
    put_all(store, "cx")


@pytest.mark.parametrize("evict", ["none", "oldest"])
def test_an_entry_that_could_never_fit_is_too_large(evict):
    store = limited(max_author_bytes=room_for(1) - 1, evict=evict)
    with pytest.raises(andiron.TooLargeError, match=f"needs {room_for(1)} bytes with its author, at most"):
        put_all(store, "ax")
    store = limited(max_bytes=0, evict=evict)
    with pytest.raises(andiron.TooLargeError):
        put_all(store, "ax")


def test_names_values_and_overheads_are_counted_and_an_author_once(store):
    store.set("name", b"12345", 3, "author")
    expected = AUTHOR_OVERHEAD + 6 + ENTRY_OVERHEAD + 9
    assert store.stats()[1] == expected
    store.set("ö", b"", 3, "author", SECOND)
    expected += 2 * ENTRY_OVERHEAD - ENTRY_OVERHEAD + 2 + 2 + TTL_OVERHEAD
    assert store.stats()[1] == expected
    store.set("n" * 257, b"1", 3, "author")
    assert store.stats()[1] == expected + ENTRY_OVERHEAD + 2 * 257 + 1
    store.clear("author")
    assert store.stats()[1] == 0


def test_what_was_written_longest_ago_makes_room():
    store = limited("ax", "bx", "ay", "ax", max_entries=3, evict="oldest")
    store.get("x", None, "b")
    put_all(store, "cx")
    assert store.keys() == "ax ay cx"
    put_all(store, "cy")
    assert store.keys() == "ax cx cy"
    assert store.stats()[5] == 2
    put_all(store, "cy")
    assert store.stats()[::5] == [3, 2]


def test_an_author_with_a_full_quota_makes_room_with_own_entries():
    store = limited("bx", "by", "ax", "ay", "az", max_author_bytes=room_for(2), evict="oldest")
    assert store.keys() == "ay az bx by"
    store.set_many([put("y", bytes(100), "a"), put("z", bytes(100), "b")])
    assert store.keys() == "ay az by bz"
    changes = store.watch("*", None, False)
    store.set_many([put("y", bytes(100), "a"), put("x", bytes(100), "a")])
    assert [change[2] for change in changes.take()] == ["z", "y", "x"], "what is set is not evicted for it"


def test_the_last_entry_of_an_author_leaves_what_the_author_counted_for():
    store = limited("ax", "bx", "cx", max_bytes=3 * room_for(1), evict="oldest")
    most = 3 * room_for(1) - AUTHOR_OVERHEAD - 1 - ENTRY_OVERHEAD - 1
    store.set("x", bytes(most - room_for(1)), 3, "d")
    assert store.keys() == "cx dx"
    store.set("x", bytes(most), 3, "d")
    assert store.keys() == "dx"
    assert store.stats()[1] == 3 * room_for(1)


def test_each_eviction_is_a_write_of_its_own_and_where_the_rest_is_not_enough_nothing_goes():
    store = limited("ax", "ay", max_entries=2, evict="oldest")
    changes = store.watch("*", None, False)
    before = store.get("y", None, "a")[1]
    with pytest.raises(andiron.QuotaError, match="may hold 2 entries"):
        store.set_many([put(name) for name in "xyz"])
    assert store.keys() == "ax ay"
    assert store.stats()[5] == 0
    store.set_many([put("x", author="b"), put("y", author="b")])
    told = [(change[1] + change[2], change[3] - before) for change in changes.take()]
    assert told == [("ax", 1), ("ay", 2), ("bx", 3), ("by", 3)]


def test_what_expired_goes_before_what_is_old():
    store = limited("ao", max_entries=2, evict="oldest")
    store.set("young", b"", 3, "a", 5)
    store.now += 10
    put_all(store, "an")
    assert store.keys() == "an ao"
    assert store.stats()[5] == 0


def test_many_writes_of_the_same_leave_nothing_behind_that_may_be_evicted():
    store = limited(max_entries=2, evict="oldest")
    for _ in range(20_000):
        store.set("x", b"", 3)
    assert len(store.store.ages._all) < 8192 + 1
    store.set("y", b"", 3)
    store.set("z", b"", 3)
    assert store.names() == ["y", "z"]
