"""What who watches the small store of a pure server is told."""

import gc

import pytest

import andiron
from andiron._pure.keep.watch import _fitting
from keeping import Kept, put, shown

MOST = 65_536


@pytest.fixture
def store():
    return Kept()


def test_a_watcher_hears_what_is_there_and_then_every_change_in_order(store):
    version = store.set_many([put("b", b"1"), put("a", b"2"), put("c", b"3", author="other")])[0]
    changes = store.watch("*", "default")
    told = changes.take()
    assert [shown(change) for change in told] == [("a", b"2"), ("b", b"1")]
    assert told[0] == [1, "default", "a", version, 0, 1.7e9 + 1000, 3, b"2", 0]
    assert told[1][8] == version
    after, timestamp = store.set("b", b"4", 3)
    store.set("b", b"", 3, "other")
    store.delete("a")
    assert changes.told == [
        [1, "default", "b", after, 0, timestamp, 3, b"4", after],
        [0, "default", "a", after + 2, 0, 0.0, 0, b"", after + 2],
    ]
    changes.closed()
    store.set("b", b"5", 3)
    assert len(changes.told) == 2
    assert store.store.watchers._all == []


def test_a_watcher_who_is_gone_costs_nothing(store):
    for _ in range(20):
        store.watch().take()
    gc.collect()
    changes = store.watch()
    assert len(store.store.watchers._all) == 1
    store.set("x", b"", 3)
    assert len(changes.take()) == 1


def test_without_what_is_there_only_changes_are_told(store):
    store.set("a", b"1", 3)
    changes = store.watch(None, None, False)
    assert changes.take() == []
    store.set("a", b"2", 3, "other")
    assert [change[1:3] for change in changes.told] == [["other", "a"]]


def test_a_slow_reader_gets_the_latest_value_and_the_number_of_what_it_missed(store):
    changes = store.watch()
    changes.take(1)
    for value in (b"1", b"2", b"3"):
        store.set("x", value, 3)
        store.set("y", value, 3)
    store.delete("y")
    assert [(*shown(change), change[4]) for change in changes.take()] == [
        ("x", b"1", 0),
        ("y", None, 3),
        ("x", b"3", 1),
    ]


def test_a_watcher_with_changes_of_too_many_entries_ends_as_overloaded_and_may_resume(store):
    store.set("x", b"", 3)
    changes = store.watch("*", None, False)
    for page in range(MOST // 1024 + 4):
        store.set_many([put(f"{page} {number}") for number in range(1024)])
    told = changes.take()
    assert len(told) == MOST
    assert changes.error.kind == "overloaded"
    resumed = store.watch("*", None, None, told[-1][8]).take()
    assert len(resumed) == 4 * 1024
    assert store.store.watchers._all != []


def test_long_names_overrun_a_watcher_and_the_history_sooner(store):
    begun = store.set("x", b"", 3)[0]
    changes = store.watch("*", None, False)
    versions = [store.set(f"{number:0>60000}", b"", 3)[0] for number in range(300)]
    fit = (16 << 20) // 60_007
    assert len(changes.take()) == fit
    assert changes.error.kind == "overloaded"
    for since in (begun, versions[300 - fit - 2]):
        with pytest.raises(andiron.ConflictError, match="not known any more"):
            store.watch("*", None, None, since)
    assert len(store.watch("*", None, None, versions[300 - fit - 1]).take()) == fit


def test_who_resumes_is_told_once_what_changed_meanwhile_and_what_was_removed(store):
    store.set_many([put(name, b"1") for name in "abc"] + [put(f"other {number}") for number in range(1000)])
    there = store.watch("?").take()
    assert [shown(change) for change in there] == [("a", b"1"), ("b", b"1"), ("c", b"1")]
    assert [change[8] > 0 for change in there] == [False, False, True]
    store.set("d", b"4", 3)
    store.delete("a")
    store.set("b", b"2", 3)
    store.set("other", b"0", 3)
    store.set("b", b"3", 3)
    changes = store.watch("?", None, False, there[2][8]).take()
    expected = [("d", b"4"), ("a", None), ("b", b"3")]
    assert [shown(change) for change in changes] == expected
    assert [change[4] for change in changes] == [0, 0, 1]
    for at, change in enumerate(changes):
        rest = store.watch("?", None, None, change[8]).take()
        assert [shown(one) for one in rest] == expected[at + 1 :]


def test_nothing_is_missed_where_a_later_change_was_told_before_an_earlier_one(store):
    store.watch().closed()
    begun = store.set("begun", b"", 3)[0]
    store.set("a", b"1", 3)
    store.set("b", b"2", 3)
    latest = store.set("a", b"3", 3)[0]
    first = store.watch("*", None, None, begun).take()[0]
    assert shown(first) == ("a", b"3")
    assert first[3] == latest
    assert shown(store.watch("*", None, None, first[8]).take()[0]) == ("b", b"2")
    changes = store.watch("*", None, None, latest)
    many = store.set_many([put("c"), put("d")])[0]
    assert [change[8] for change in changes.take()] == [many - 1, many]


def test_nobody_resumes_from_what_is_not_known(store):
    before = store.set("x", b"1", 3)[0]
    first = store.set("x", b"2", 3)[0]
    store.watch().closed()
    for since in (before, 0, first + 1):
        with pytest.raises(andiron.ConflictError, match="begin anew, with a listing"):
            store.watch("*", None, None, since)
    assert store.watch("*", None, None, first).take() == []


def test_what_expired_or_was_cleared_is_told_once(store):
    changes = store.watch()
    store.set("kept", b"", 3)
    store.set("brief", b"", 3, None, 5)
    changes.take()
    store.now += 5
    assert [shown(change) for change in changes.take()] == [("brief", None)]
    store.clear()
    assert [shown(change) for change in changes.take()] == [("kept", None)]
    assert changes.take() == []


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("*", ["", "x", "a/b", "a\nb"], []),
        ("room", ["room"], ["rooms", "Room", "", "room\n"]),
        ("room*", ["room", "room 1"], ["bedroom"]),
        ("*room", ["room", "bedroom", "roomroom"], ["rooms"]),
        ("r*m?", ["rooms", "rmm1", "r-m-m-"], ["room", "rm"]),
        ("?", ["x", "é", "\n"], ["", "xy"]),
        ("a\\*b", ["a*b"], ["axb", "a\\*b"]),
        ("**a*", ["a", "bab"], ["b"]),
        ("\\", ["\\"], ["x"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("*a*b*", ["ab", "xaxbx"], ["ba"]),
        ("[a].^$", ["[a].^$"], ["a"]),
    ],
)
def test_patterns_fit_as_in_a_shell(pattern, fits, others):
    fit = _fitting(pattern)
    assert [name for name in (*fits, *others) if fit(name)] == fits


def test_no_pattern_takes_long():
    assert not _fitting("*a" * 200 + "b")("a" * 10_000)
