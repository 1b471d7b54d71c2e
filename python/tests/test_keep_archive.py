"""Snapshots and backups of the small store of a pure server, and the files of the daemon: either reads what the other wrote."""

import os
import shutil
import subprocess
import sys

import pytest

import andiron
from andiron._pure.keep import Limits, rows
from andiron._pure.keep.limits import ENTRY_OVERHEAD
from conftest import ROOT, environment
from keeping import BIG, SECOND, kept, later_kept, persist, rows_of

FIXTURE = ROOT / "crates/store/tests/format-1"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "andiron"


def test_a_snapshot_brings_the_entries_of_its_author_back_as_they_were(folder):
    with kept(folder) as store:
        persist(store, "a", b"1")
        store.set("b", bytes(BIG), 4)
        store.set("brief", b"", 3, None, SECOND)
        store.set("theirs", b"1", 3, "other")
        assert store.save("s") == 3
        assert store.save("s", "nobody") == 0
        before = rows_of(store)
        store.now += 5 * SECOND
        store.clear()
        store.set("a", b"2", 3)
        store.set("new", b"", 3)
        changes = store.watch("*", None, False)
        assert store.load("s") == 2
        told = changes.take()
        assert [change[2] for change in told] == ["a", "b"]
        assert len({change[3] for change in told}) == 1
        expected = [row for row in before if row[0] == "default" and row[1] != "brief"]
        assert [row for row in rows_of(store) if row[1] != "new"] == expected
        assert store.get("b")[6] == 4
        assert store.count("other") == 0
        assert store.snapshots() == [
            ["default", "s", 1.7e9 + 1000, 3, BIG + 1],
            ["nobody", "s", 1.7e9 + 1000, 0, 0],
        ]
        for method in (store.load, store.delete_snapshot):
            with pytest.raises(andiron.NoObjectError, match='"default" has no snapshot "t"'):
                method("t")
        with pytest.raises(andiron.BadArgumentsError, match="have 70007 bytes together"):
            store.save("x" * 70_000)
        assert store.load("s", "nobody") == 0
    store = later_kept(folder, 5 * SECOND)
    assert [row[:3] for row in rows_of(store)] == [("default", "a", b"1")]
    assert store.load("s") == 2
    store.delete_snapshot("s")
    assert store.snapshots("default") == []
    assert len(store.snapshots()) == 1
    assert len(os.listdir(folder / "values")) == 0
    store.close()


def test_a_snapshot_that_is_damaged_changes_nothing(folder):
    with kept(folder) as store:
        store.set("a", b"1", 3)
        store.set("b", b"2", 3)
        store.save("s")
        connection = store.store.disk.connection
        connection.execute("UPDATE snapshot_records SET value = x'33' WHERE name = 'b'")
        with pytest.raises(andiron.UnavailableError, match='the snapshot "s" is damaged and nothing was'):
            store.load("s")
        connection.execute("DELETE FROM snapshot_records WHERE name = 'b'")
        with pytest.raises(andiron.UnavailableError, match="has 1 of 2 records"):
            store.load("s")
        assert store.value("b") == b"2"


def test_snapshots_have_the_limits_of_entries_once_more(folder):
    limits = Limits(max_author_bytes=10_240, max_bytes=15_360)
    with kept(folder, limits=limits) as store:
        for author in ("one", "other"):
            store.set("x", bytes(4096), 3, author)
        for name in "abb":
            store.save(name, "one")
        with pytest.raises(andiron.QuotaError, match='the author "one" would have 12672 bytes'):
            store.save("c", "one")
        store.save("a", "other")
        with pytest.raises(andiron.QuotaError, match="all may have 15360"):
            store.save("b", "other")
        store.delete_snapshot("a", "one")
        store.save("b", "other")
        assert 4096 + ENTRY_OVERHEAD == 12_672 // 3


def backed_up(store):
    return b"".join(store.backup())


def test_a_backup_brings_all_that_is_persistent_back_with_the_snapshots(folder):
    with kept(folder) as store:
        persist(store, "a", b"1")
        persist(store, "big", os.urandom(3 * BIG))
        persist(store, "x", b"2", "other", 50 * SECOND)
        store.set("volatile", b"1", 3)
        store.save("s")
        before = [row for row in rows_of(store) if row[4]]
        pieces = list(store.backup())
        assert all(len(piece) <= BIG for piece in pieces)
        whole = b"".join(pieces)
        store.clear()
        store.delete_snapshot("s")
        persist(store, "since")
        store.set("volatile", b"2", 3)
        store.save("t")
        changes = store.watch("*", None, False)
        assert store.restore(iter(pieces)) == 3
        assert {(change[0], change[2]) for change in changes.take()} == {
            (0, "since"),
            (1, "a"),
            (1, "big"),
            (1, "x"),
        }
        assert [row for row in rows_of(store) if row[1] != "volatile"] == before
        assert store.value("volatile") == b"2", "it was never persistent and stays"
        assert [row[1] for row in store.snapshots()] == ["s"]
        assert store.get("x", None, "other")[4] == 50 * SECOND
        assert os.listdir(folder / "transfer") == [], "nothing is left of what travelled"
        version = store.get("a")[1]
    with kept(folder) as store:
        assert rows_of(store) == before
        assert store.get("a")[1] == version
        assert store.restore(iter([whole])) == 3
        assert len(os.listdir(folder / "values")) == 2


def test_what_is_no_whole_backup_changes_nothing(folder):
    with kept(folder) as store:
        persist(store, "x", b"one")
        persist(store, "big", bytes([7]) * BIG)
        whole = backed_up(store)
        persist(store, "x", b"two")
        before = rows_of(store)
        flipped, newer = bytearray(whole), bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        newer[60:64] = (99).to_bytes(4, "big")
        for data, told in [
            (b"", "is no backup"),
            (b"not a backup at all", "is no backup"),
            ((folder / "store.sqlite").read_bytes(), "is no backup"),
            (newer, "format 99"),
            (whole[:50], "is no backup"),
            (whole[: len(whole) // 3], "damaged or cut off"),
            (whole[:-4096], "damaged or cut off"),
            (flipped, "damaged or cut off"),
        ]:
            with pytest.raises(andiron.BadArgumentsError) as raised:
                store.restore(iter([bytes(data)]))
            assert told in str(raised.value)
            assert "nothing was changed" in str(raised.value)
            assert rows_of(store) == before
            assert os.listdir(folder / "transfer") == []
        with pytest.raises(andiron.BadArgumentsError, match="argument `pieces`"):
            store.restore(b"bytes")

        def broken():
            yield whole[:1000]
            raise andiron.UnavailableError("the cable was pulled")

        with pytest.raises(andiron.UnavailableError, match="cable"):
            store.restore(broken())
        assert store.restore(iter([whole])) == 2
        assert store.value("x") == b"one"


def test_four_backups_and_one_restore_may_be_under_way(folder):
    with kept(folder) as store:
        persist(store, "x", b"one")
        started = [store.backup() for _ in range(4)]
        next(started[0])
        with pytest.raises(andiron.ConflictError, match="another backup is under way"):
            store.backup()
        started.pop().close()
        whole = b"".join(store.backup())
        del started
        assert os.listdir(folder / "transfer") == []

        def meanwhile():
            yield whole
            with pytest.raises(andiron.ConflictError, match="another restore is under way"):
                store.restore(iter([whole]))
            store.set("y", b"", 3)

        assert store.restore(meanwhile()) == 1
        assert store.names() == ["x", "y"]


def test_a_backup_is_of_the_moment_when_it_was_asked_for(folder):
    with kept(folder) as store:
        persist(store, "x", bytes(BIG))
        pieces = store.backup()
        persist(store, "x", b"later", durability="sync")
        store.restore(pieces)
        assert store.value("x") == bytes(BIG)


# What the daemon wrote, and what it reads


def test_a_store_and_a_backup_of_format_1_are_read(folder, tmp_path):
    shutil.copytree(FIXTURE, folder)
    with kept(folder) as store:
        found = rows_of(store)
        assert len(found) > 3
        assert store.store.disk.unreadable == {}
        assert any(len(row[2]) >= BIG for row in found)
        snapshots = store.snapshots()
    with kept(tmp_path / "other") as store, open(FIXTURE / "backup", "rb") as file:
        assert store.restore(iter(lambda: file.read(1 << 16), b"")) == len(found)
        assert [row[:3] for row in rows_of(store)] == [row[:3] for row in found]
        assert store.snapshots() == snapshots


_EITHER = """
import io, sys, andiron
server = andiron.Server({}, "unix:" + sys.argv[1], state=sys.argv[2], threads=2)
hub = andiron.connect("unix:" + sys.argv[1], pump=True)
store = hub.store
backup = io.BytesIO(bytes.fromhex(sys.stdin.readline()))
print(andiron.engine, sorted(store.items()), store.entry("n").version, [one.name for one in store.snapshots()])
store.set("theirs", [1, 2], persist=True)
store.set("big theirs", bytes(2 << 20), persist=True)
print(store.load("s"), store.restore(backup))
out = io.BytesIO()
store.backup(out)
print(out.getvalue().hex())
store.set("theirs", [1, 2], persist=True)
hub.close()
server.stop()
"""


@pytest.mark.skipif(os.name == "nt", reason="the daemon is not for Windows")
def test_the_native_engine_opens_what_this_one_wrote_and_the_other_way_round(folder, tmp_path):
    with kept(folder) as store:
        version = store.set("n", b"\x05", 1, None, None, None, True)[0]
        store.set("text", b"\xa1x", 1, None, None, None, True)
        store.set("big", b"\xc6" + BIG.to_bytes(4, "big") + bytes(BIG), 1, None, None, None, True)
        store.save("s")
        whole = backed_up(store)
    ran = subprocess.run(
        [sys.executable, "-c", _EITHER, str(tmp_path / "sock"), str(folder)],
        input=whole.hex() + "\n",
        capture_output=True,
        text=True,
        env=environment("native"),
    )
    assert ran.returncode == 0, ran.stderr
    first, counts, backup = ran.stdout.splitlines()
    assert first == f"native [('big', {bytes(BIG)!r}), ('n', 5), ('text', 'x')] {version} ['s']"
    assert counts == "3 3"
    with kept(folder) as store:
        assert store.names() == ["big", "n", "text", "theirs"]
        assert store.value("theirs") == b"\x92\x01\x02"
        assert store.store.disk.unreadable == {}
        assert store.load("s") == 3
        assert store.restore(iter([bytes.fromhex(backup)])) == 3
        assert store.names() == ["big", "n", "text"]


def test_the_checksum_is_the_same_however_it_is_counted(monkeypatch):
    data = os.urandom(5000)
    for length in (0, 1, 31, 32, 33, 255, 256, 300, 1024, 5000):
        sums = set()
        for together in (32, 1 << 60):
            monkeypatch.setattr(rows, "_TOGETHER", together)
            counted = rows.Checksum()
            counted.add(data[:length])
            sums.add(counted.finish())
        assert len(sums) == 1
