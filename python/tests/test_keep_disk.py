"""What the small store of a pure server keeps: in the files of the daemon, so that either opens what the other wrote."""

import hashlib
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import sys

import pytest

import andiron
from andiron._pure.keep import state_folder
from conftest import environment
from keeping import BIG, SECOND, Kept, kept, later_kept, persist, rows_of


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "andiron"


def files_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def corrupted(path, at, change=b"\xff"):
    """Changes bytes of a file."""
    data = bytearray(path.read_bytes())
    data[at : at + len(change)] = bytes(a ^ b for a, b in zip(data[at:], change))
    path.write_bytes(data)


@pytest.mark.parametrize("durability", ["relaxed", "sync"])
def test_what_is_persistent_is_there_again_and_nothing_else(folder, durability):
    with kept(folder) as store:
        names = ["", "~", "a/b", "a\0b", "ö", "\U0001f600", "x" * 300]
        for name in names:
            persist(store, name, name.encode(), f"author {name}", durability=durability)
        persist(store, "empty", b"")
        persist(store, "big", os.urandom(BIG))
        persist(store, "bigger", bytes(3 * BIG + 5), durability=durability)
        store.set("plain", b"1", 3)
        persist(store, "plain after all")
        store.set("plain after all", b"2", 3)
        persist(store, "deleted")
        store.delete("deleted")
        persist(store, "counted", b"")
        store.set("counted", b"\x05", 1, None, None, None, True)
        store.incr("counted", 2)
        persist(store, "replaced", b"1")
        store.replace("replaced", b"2", 3)
        expected = [row for row in rows_of(store) if row[4]]
        version = store.store.version
        assert len(expected) == len(names) + 5
        assert expected[-3][:3] == ("default", "counted", b"\x07")
    for _ in range(2):
        with kept(folder) as store:
            assert rows_of(store) == expected
            assert store.set("x", b"", 3)[0] > version + 1
            version = store.store.version


def test_an_entry_becomes_persistent_and_ceases_to_be_so_as_it_is(folder):
    with kept(folder) as store:
        version = store.set("a", b"1", 3)[0]
        persist(store, "b", b"2")
        assert store.persist("a")
        assert not store.persist("nothing")
        assert store.persist("b", False)
        assert store.persist("b", False)
        assert store.get("a")[1] == version
        assert [row[5] for row in store.list()[1]] == [True, False]
    with kept(folder) as store:
        assert store.names() == ["a"]
        assert store.get("a")[1] == version


def test_what_became_persistent_or_ceased_to_be_so_expires_once(folder):
    with kept(folder) as store:
        for name in "ab":
            store.set(name, b"", 3, None, SECOND, None, name == "b")
            store.persist(name, name == "a")
        store.now += SECOND
        assert store.names() == []
        assert store.count() == 0
    with kept(folder) as store:
        assert store.names() == []


def test_what_was_taken_out_does_not_come_back(folder):
    with kept(folder) as store:
        for name in "abcd":
            persist(store, name)
            persist(store, name, author="other")
        assert store.delete_first()[0] == "a"
        store.set("b", b"", 3)
        persist(store, "c", ttl=SECOND)
        store.set_many([["d", b"", 3], ["e", b"", 3, None, None, None, True]])
        assert store.clear("other") == 4
        store.now += SECOND
        assert store.names() == ["b", "d", "e"]
    with kept(folder) as store:
        assert rows_of(store) == [("default", "e", b"", 1.7e9 + 1000, True)]
        store.clear()
    with kept(folder) as store:
        assert rows_of(store) == []


def test_what_is_left_of_a_time_goes_on_while_nobody_serves(folder):
    with kept(folder) as store:
        persist(store, "brief", ttl=SECOND)
        persist(store, "long", ttl=100 * SECOND)
        store.save("s")
    store = later_kept(folder, 60 * SECOND)
    assert store.names() == ["long"]
    assert store.get("long")[4] == 40 * SECOND
    assert store.load("s") == 1
    store.close()


def test_the_longest_time_is_kept(folder):
    with kept(folder) as store:
        persist(store, "x", ttl=2**64 - 1)
        assert store.get("x")[4] == 2**64 - 1
    with kept(folder) as store:
        assert 2**63 < store.get("x")[4] < 2**64


def test_versions_are_never_used_again_whatever_the_clock_says(folder):
    with kept(folder) as store:
        persist(store, "x")
        last = store.set("y", b"", 3)[0]
        store.now -= 900 * SECOND
    store = later_kept(folder, -900 * SECOND)
    assert store.set("y", b"", 3)[0] > last
    store.close()


def test_the_disk_hears_of_higher_versions_before_they_are_given_out(folder):
    with kept(folder) as store:
        store.store.version = store.store.disk.high_water - 1
        for _ in range(3):
            version = store.set("x", b"", 3)[0]
            assert version <= store.store.disk.high_water
    with kept(folder) as store:
        assert store.set("x", b"", 3)[0] > version


def test_nobody_else_may_read_the_files(folder):
    with kept(folder) as store:
        persist(store, "x", bytes(BIG))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert set(modes.values()) == {0o700, 0o600}
    assert modes["andiron"] == modes["values"] == 0o700
    assert "store.sqlite-wal" in modes


def test_a_second_owner_is_refused_and_the_first_goes_on(folder):
    with kept(folder) as store:
        persist(store, "x")
        code = f"from andiron._pure.keep import disk\ndisk.Disk({str(folder)!r}, 0)"
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment(andiron.engine)
        )
        assert "ConflictError" in ran.stderr, ran.stderr
        assert "store.lock is in use" in ran.stderr
        persist(store, "y")
    with kept(folder) as store:
        assert store.names() == ["x", "y"]


def test_files_of_big_values_go_with_their_records(folder):
    with kept(folder) as store:

        def count():
            return len(os.listdir(folder / "values"))

        for number in range(4):
            persist(store, str(number), bytes(BIG), durability="sync")
        assert count() == 4
        persist(store, "0", b"small", durability="sync")
        persist(store, "1", bytes(BIG + 1), durability="sync")
        assert count() == 3
        assert store.save("s") == 4
        store.clear()
        persist(store, "x", durability="sync")
        assert count() == 3, "a snapshot has them"
        store.delete_snapshot("s")
        assert count() == 0
        for _ in range(40):
            persist(store, "x", bytes(BIG))
        assert count() < 20, "without a commit that survives a power cut they wait a little"
    assert len(os.listdir(folder / "values")) == 1


def test_what_a_crash_left_over_is_cleared_away_and_nothing_else(folder):
    with kept(folder) as store:
        persist(store, "x", bytes(BIG))
    values = folder / "values"
    (values / "00000000000000ff.value").write_bytes(b"left over")
    (values / "mine.txt").write_bytes(b"another's")
    (folder / "transfer").mkdir()
    (folder / "transfer" / "backup.7").write_bytes(b"left over")
    with kept(folder) as store:
        assert sorted(os.listdir(values)) == ["0000000000000001.value", "mine.txt"]
        assert store.value("x") == bytes(BIG)
        assert store.snapshots() == []
        assert os.listdir(folder / "transfer") == []


def test_what_cannot_be_read_is_named_and_left_until_it_is_written_again(folder, caplog):
    with kept(folder) as store:
        for name in ("gone", "altered", "short", "set", "cleared"):
            persist(store, name, name.encode() * 100_000, "a" if name != "cleared" else "c")
        persist(store, "small", b"to be altered in its row")
        persist(store, "well", bytes(BIG))
        names = {path.read_bytes()[:3]: path for path in (folder / "values").iterdir() if path.stat().st_size}
    database = folder / "store.sqlite"
    corrupted(database, database.read_bytes().index(b"to be altered"))
    (path,) = (path for path in (folder / "values").iterdir() if path.read_bytes()[:1] == b"\0")
    assert names == {b"\0\0\0": path}, "values of less than a megabyte stand in their rows"
    corrupted(path, 77)
    before = files_of(folder)
    with kept(folder) as store:
        unreadable = set(store.store.disk.unreadable)
        assert unreadable == {("default", "small"), ("default", "well")}
        assert "cannot be read and is left as it is" in caplog.text
        assert '"small"' in caplog.text
        assert store.value("small") is None
        assert store.count() == 5
        with pytest.raises(andiron.UnavailableError, match="there is no backup without the entry"):
            list(store.backup())
    assert files_of(folder)[path] == before[path]
    with kept(folder) as store:
        store.set("small", b"plain", 3)
        assert store.delete("well") == [0, 0, None, 0]
    with kept(folder) as store:
        assert store.store.disk.unreadable == {}
        assert store.count() == 5
        assert b"".join(store.backup())


@pytest.mark.parametrize("is_killed", [False, True])
def test_damage_anywhere_is_told_and_never_taken_for_data_and_the_file_never_made_worse(
    folder, tmp_path, is_killed
):
    store = Kept(folder)
    expected = {}
    for number in range(60):
        expected[str(number)] = hashlib.sha256(str(number).encode()).digest() * (1 + number)
        persist(store, str(number), expected[str(number)])
    shutil.copytree(folder, tmp_path / "killed")
    store.close()
    source = tmp_path / "killed" if is_killed else folder
    outcomes = set()
    for round_ in range(48):
        there = tmp_path / f"round {round_}"
        shutil.copytree(source, there, ignore=shutil.ignore_patterns("*-shm", "transfer"))
        damaged = there / ("store.sqlite-wal" if is_killed and round_ % 3 else "store.sqlite")
        length = damaged.stat().st_size
        at = 100 + round_ * 7919 % (length - 100)
        if round_ % 5 == 0:
            damaged.write_bytes(damaged.read_bytes()[:at])
        else:
            corrupted(damaged, at, bytes([1 << round_ % 8]) * (1 + round_ % 4 * 90))
        before = files_of(there)
        try:
            store = Kept(there)
        except andiron.UnavailableError as refused:
            told = str(refused)
            assert re.search("is damaged|is no store", told)
            assert files_of(there) == before, "it was touched"
            outcomes.add("refused")
            continue
        found = {name: store.value(name) for name in store.names()}
        unreadable = len(store.store.disk.unreadable)
        store.close()
        assert found.items() <= expected.items()
        if damaged.name == "store.sqlite" and round_ % 5:
            assert len(found) + unreadable == 60 or not is_killed or found == {}, "gone without a word"
        outcomes.add("served")
    assert "served" in outcomes


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("store.sqlite", b"", "is no store of andiron's"),
        ("store.sqlite", b"text that is not a database" * 10, "is no store of andiron's"),
        ("store.lock", b"text that is not a database" * 100, "is no lock of a store"),
    ],
)
def test_files_that_are_not_ours_are_refused_and_not_touched(folder, name, content, told):
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with pytest.raises(andiron.UnavailableError, match=told):
        Kept(folder)
    assert (folder / name).read_bytes() == content


def test_files_of_a_later_format_are_refused_and_not_touched(folder):
    Kept(folder).close()
    database = folder / "store.sqlite"
    data = bytearray(database.read_bytes())
    data[60:64] = (2).to_bytes(4, "big")
    database.write_bytes(data)
    with pytest.raises(andiron.UnavailableError, match="has format 2, and this version of andiron knows"):
        Kept(folder)
    assert database.read_bytes() == data


def test_a_store_whose_database_is_missing_is_not_begun_anew_over_what_is_left(folder):
    with kept(folder) as store:
        persist(store, "x", bytes(BIG))
    (folder / "store.sqlite").unlink()
    with pytest.raises(andiron.UnavailableError, match="it is missing, but values is there"):
        Kept(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("name", ["store.sqlite", "store.sqlite-wal", "store.lock"])
def test_a_pipe_in_place_of_a_file_is_refused_and_waited_for_by_nobody(folder, name):
    Kept(folder).close()
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(andiron.UnavailableError, match="is no"):
        Kept(folder)


def test_when_the_folder_is_removed_that_is_told_and_all_else_goes_on(folder, tmp_path):
    store = Kept(folder)
    persist(store, "kept", b"1")
    folder.rename(tmp_path / "aside")
    for value in (b"1", bytes(BIG)):
        with pytest.raises(andiron.UnavailableError, match="was removed or replaced while it was in use"):
            persist(store, "new", value)
    with pytest.raises(andiron.UnavailableError, match="the write did not happen"):
        store.delete("kept")
    assert store.value("kept") == b"1"
    assert store.value("new") is None
    store.set("plain", b"2", 3)
    with kept(folder) as other:
        persist(other, "theirs")
        before = files_of(folder)
        store.close()
        assert files_of(folder) == before
    with kept(folder) as other:
        assert other.names() == ["theirs"]


def limit_pages(store, more):
    """Has the disk be full behind so many pages more."""
    connection = store.store.disk.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + more}").fetchall()


@pytest.mark.parametrize("durability", ["relaxed", "sync"])
def test_a_full_disk_refuses_what_is_to_be_kept_and_nothing_else_and_loses_nothing(folder, durability):
    with kept(folder) as store:
        persist(store, "old", b"1")
        limit_pages(store, 20)
        names = []
        refusal = None
        while refusal is None:
            try:
                persist(store, str(len(names)), bytes(2000), durability=durability)
            except andiron.QuotaError as error:
                refusal = str(error)
            else:
                names.append(str(len(names)))
        assert "the write did not happen, for it could not be made durable: there is no room left" in refusal
        assert len(names) > 5
        assert store.value(str(len(names))) is None
        for refused in (
            lambda: store.set_many(
                [["old", b"2", 3, None, None, None, True], ["x", bytes(20_000), 3, None, None, None, True]]
            ),
            lambda: store.save("s"),
        ):
            with pytest.raises(andiron.QuotaError):
                refused()
        assert store.value("old") == b"1"
        assert store.value("x") is None
        store.set("plain", b"", 3)
        assert store.names() == sorted([*names, "old", "plain"])
        store.delete("0")
    with kept(folder) as store:
        assert store.names() == sorted([*names[1:], "old"])
        assert store.snapshots() == []
        persist(store, "x", bytes(20_000), durability=durability)


def test_an_expired_entry_that_the_disk_cannot_forget_is_over_and_forgotten_when_it_can(folder, monkeypatch):
    with kept(folder) as store:
        persist(store, "x", ttl=SECOND)
        persist(store, "y", ttl=SECOND)
        disk = store.store.disk

        def on_disk():
            return disk.connection.execute("SELECT count(*) FROM records").fetchone()[0]

        def full(*_):
            raise andiron.QuotaError("there is no room")

        changes = store.watch()
        changes.take()
        with monkeypatch.context() as patch:
            patch.setattr(type(disk), "commit", full)
            store.now += SECOND
            store.store.expire()
        assert [(change[0], change[2]) for change in changes.told] == [(0, "x"), (0, "y")]
        assert store.names() == []
        assert store.store.next_expiry() == 1
        assert on_disk() == 2
        store.set("y", b"", 3)
        assert on_disk() == 1
        store.now += SECOND
        store.store.expire()
        assert on_disk() == 0
        assert store.store.next_expiry() is None


def test_what_a_watcher_sees_is_as_durable_as_it_was_asked_to_be(folder, monkeypatch):
    with kept(folder) as store:
        changes = store.watch()
        changes.take()
        disk, seen = store.store.disk, []
        commit = type(disk).commit

        def looked(*arguments):
            seen.append((list(changes.told), store.store.find("default", "x")))
            commit(*arguments)
            seen.append((list(changes.told), store.store.find("default", "x")))

        with monkeypatch.context() as patch:
            patch.setattr(type(disk), "commit", looked)
            persist(store, "x", durability="sync")
        assert seen == [([], None)] * 2
        assert len(changes.told) == 1
        assert disk._durability == "sync"
        assert disk._unsynced is False
        persist(store, "x")
        assert disk._durability == "relaxed"


# The end of the process

_WRITER = """
import sys
from andiron._pure.keep import methods_of, open_store
store = open_store(sys.argv[1], durability=sys.argv[2])
methods = methods_of(store, None, iter)
number = 0
while True:
    number += 1
    name = str(number % 7)
    if number % 11 == 0:
        methods["delete"](name)
        print(name, 0, flush=True)
        continue
    value = (b"%d " % number) * (1 if number % 13 else 300_000)
    version = methods["set"](name, value, 3, None, None, None, True)[0]
    print(name, version, number, flush=True)
"""


@pytest.mark.parametrize("durability", ["relaxed", "sync"])
def test_what_was_acknowledged_survives_a_kill(folder, durability):
    kill = getattr(signal, "SIGKILL", signal.SIGTERM)
    acknowledged, highest = {}, 0
    for round_ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), durability],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(andiron.engine),
        )
        lines = []
        for line in writer.stdout:
            lines.append(line)
            if len(lines) == 60 + 23 * round_:
                writer.send_signal(kill)
                break
        lines += [line for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        for line in lines:
            name, version, *number = line.split()
            acknowledged[name] = (int(version), number[0] if number else None)
            if number:
                assert int(version) > highest, "a version was used again"
                highest = int(version)
        with kept(folder) as store:
            assert store.store.disk.unreadable == {}
            for name, (version, number) in acknowledged.items():
                found = store.get(name)
                # The one that was under way may be there, or not.
                if found[1] > highest or (found[0] == 0 and version == highest):
                    acknowledged[name] = (found[1], None)
                elif found[0] == 0:
                    assert version == 0 or name == lines_next(lines), (name, version, found)
                else:
                    assert found[1] == version
                    assert found[7].split()[0].decode() == number
        acknowledged.clear()


def lines_next(lines):
    """The name whose deletion may have been under way."""
    last = lines[-1].split()
    return str((int(last[2]) + 1) % 7) if len(last) > 2 else None


def test_a_forked_child_that_ends_leaves_the_files_to_its_parent(folder):
    if not hasattr(os, "fork"):
        pytest.skip("nothing forks here")
    code = f"""
import os, sys
sys.path[:0] = {[str(pathlib.Path(__file__).parent)]!r}
from keeping import Kept
store = Kept({str(folder)!r})
store.set("a", b"1", 3, None, None, None, True)
child = os.fork()
if not child:
    store.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
store.set("b", b"2", 3, None, None, None, True)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], env=environment(andiron.engine))
    with kept(folder) as store:
        assert store.names() == ["a", "b"]


def test_without_sqlite_what_is_to_be_kept_is_answered_with_why(folder, monkeypatch, caplog):
    for name in ("disk", "archive", "backup", "rows", "files", "snapshots"):
        monkeypatch.delitem(sys.modules, f"andiron._pure.keep.{name}", raising=False)
        monkeypatch.delattr(f"andiron._pure.keep.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    store = Kept(folder)
    assert "this Python has no sqlite3" in caplog.text
    with pytest.raises(andiron.UnsupportedError, match="no module sqlite3"):
        persist(store, "x")
    store.set("x", b"1", 3)
    assert store.value("x") == b"1"
    assert not folder.exists()


def test_the_state_is_where_a_daemon_of_that_name_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder("player") == str(tmp_path / "andiron" / "player")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state_folder("player") == str(tmp_path / "home/.local/state/andiron/player")
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("USERPROFILE", raising=False)
    with pytest.raises(andiron.UnavailableError, match="set one of them to a folder"):
        state_folder("player")
