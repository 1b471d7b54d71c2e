"""The small store of a pure server against a plain dict, over restarts and crashes of the process."""

import itertools
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import andiron
from andiron._pure import codec
from keeping import Kept

authors = st.sampled_from(["default", "", "a", "ö"])
names = st.sampled_from(["", "a", "b", "b\0", "é", "n"])
VALUES = {
    "empty": b"",
    "1": b"1",
    "5": b"\x05",
    "256": b"\xcd\x01\x00",
    "long": bytes(300),
    "big": bytes(1 << 20),
}
values = st.sampled_from(sorted(VALUES)).map(lambda name: VALUES[name])
times = st.one_of(st.none(), st.integers(1, 40))


class Entry:
    """What the model knows of one."""

    def __init__(self, value, kind, version, expiry, persist, timestamp):
        self.value, self.kind, self.version, self.expiry = value, kind, version, expiry
        self.persist, self.timestamp = persist, timestamp


class Model(RuleBasedStateMachine):
    """The same done to both."""

    @initialize()
    def begin(self):
        self.root = Path(tempfile.mkdtemp(prefix="andiron-model-"))
        self.folders = itertools.count()
        self.folder = self.root / "first"
        self.store = Kept(self.folder)
        self.entries, self.snapshots, self.last = {}, {}, 0
        self.begin_watch()

    def teardown(self):
        if hasattr(self, "root"):
            self.store.close()
            shutil.rmtree(self.root)

    def begin_watch(self):
        self.watched, self.copy = self.store.watch(), {}
        self.follow()

    def follow(self):
        """What a watcher has that applies what it is told."""
        for state, author, name, version, _, _, kind, value, told in self.watched.take():
            assert told <= self.store.store.version
            if state:
                self.copy[author, name] = (version, kind, value)
            else:
                self.copy.pop((author, name), None)

    def wrote(self, version):
        assert version > self.last, "a version was used again"
        self.last = version

    def put(self, author, name, value, kind, ttl, persist, version):
        expiry = None if ttl is None else self.store.now + ttl
        timestamp = 1.7e9 + self.store.now / 1e6
        self.entries[author, name] = Entry(value, kind, version, expiry, persist, timestamp)

    def found(self, answer, entry):
        """Whether an answer tells of this entry."""
        if entry is None:
            assert answer == [0, 0, None, 0]
        else:
            left = 0 if entry.expiry is None else entry.expiry - self.store.now
            assert answer == [1, entry.version, None, 0, left, entry.timestamp, entry.kind, entry.value]

    @rule(
        author=authors,
        name=names,
        value=values,
        ttl=times,
        persist=st.booleans(),
        over=st.booleans(),
        sync=st.booleans(),
    )
    def set(self, author, name, value, ttl, persist, over, sync):
        entry = self.entries.get((author, name))
        if_version = (entry.version if entry else 0) if over else None
        durability = "sync" if sync else None
        version, timestamp = self.store.set(name, value, 1, author, ttl, if_version, persist, durability)
        assert timestamp == 1.7e9 + self.store.now / 1e6
        self.wrote(version)
        self.put(author, name, value, 1, ttl, persist, version)

    @rule(author=authors, name=names, value=values, off=st.sampled_from([-1, 1]))
    def conflict(self, author, name, value, off):
        entry = self.entries.get((author, name))
        wrong = max((entry.version if entry else 0) + off, 1)
        with pytest.raises(andiron.ConflictError):
            self.store.set(name, value, 3, author, None, wrong, True)
        with pytest.raises(andiron.ConflictError):
            self.store.delete(name, author, wrong)

    @rule(
        puts=st.lists(
            st.tuples(authors, names, values, times, st.booleans()), max_size=4, unique_by=lambda put: put[:2]
        )
    )
    def set_many(self, puts):
        rows = [[name, value, 3, author, ttl, None, persist] for author, name, value, ttl, persist in puts]
        version, _ = self.store.set_many(rows)
        if puts:
            self.wrote(version)
        for author, name, value, ttl, persist in puts:
            self.put(author, name, value, 3, ttl, persist, version)

    @rule(author=authors, name=names)
    def delete(self, author, name):
        self.found(self.store.delete(name, author), self.entries.pop((author, name), None))

    @rule(author=authors)
    def delete_first(self, author):
        first = min((key for key in self.entries if key[0] == author), default=None)
        answer = self.store.delete_first(author)
        if first is None:
            assert answer is None
        else:
            assert answer[0] == first[1]
            self.found(answer[1], self.entries.pop(first))

    @rule(author=authors, name=names, by=st.sampled_from([1, -1, 1000, -(1 << 40)]))
    def incr(self, author, name, by):
        entry = self.entries.get((author, name))
        number = (
            0
            if entry is None
            else {b"\x05": 5, b"\xcd\x01\x00": 256}.get(entry.value)
            if entry.kind == 1
            else None
        )
        if entry is not None and number is None and entry.kind == 1 and 0 < len(entry.value) < 10:
            number = codec.decode(entry.value)
        if number is None:
            with pytest.raises(andiron.EncodingError):
                self.store.incr(name, by, author)
            return
        version, _, counted = self.store.incr(name, by, author)
        assert counted == number + by
        self.wrote(version)
        ttl = None if entry is None or entry.expiry is None else entry.expiry - self.store.now
        self.put(author, name, codec.encode(counted), 1, ttl, entry is not None and entry.persist, version)

    @rule(author=authors, name=names, value=values)
    def replace(self, author, name, value):
        entry = self.entries.get((author, name))
        if entry is None:
            with pytest.raises(andiron.ConflictError):
                self.store.replace(name, value, 3, author)
            return
        version, _ = self.store.replace(name, value, 3, author)
        self.wrote(version)
        ttl = None if entry.expiry is None else entry.expiry - self.store.now
        self.put(author, name, value, 3, ttl, entry.persist, version)

    @rule(author=authors, name=names, value=values, ttl=times, persist=st.booleans())
    def set_default(self, author, name, value, ttl, persist):
        answer = self.store.set_default(name, value, 3, author, ttl, persist)
        entry = self.entries.get((author, name))
        if entry is not None:
            self.found(answer, entry)
        else:
            assert answer[0] == 0
            self.wrote(answer[1])
            self.put(author, name, value, 3, ttl, persist, answer[1])

    @rule(author=authors, name=names, persist=st.booleans())
    def persist(self, author, name, persist):
        entry = self.entries.get((author, name))
        assert self.store.persist(name, persist, author) == (entry is not None)
        if entry is not None:
            entry.persist = persist

    @rule(author=st.one_of(st.none(), authors))
    def clear(self, author):
        gone = [key for key in self.entries if author in (None, key[0])]
        assert self.store.clear(author) == len(gone)
        for key in gone:
            del self.entries[key]

    @rule(author=authors, name=names)
    def get(self, author, name):
        entry = self.entries.get((author, name))
        self.found(self.store.get(name, 0, author), entry)
        if entry is not None:
            assert self.store.get(name, entry.version, author)[:2] == [2, entry.version]

    @rule(passed=st.integers(1, 30))
    def time_goes_on(self, passed):
        self.store.now += passed
        over = [
            key
            for key, entry in self.entries.items()
            if entry.expiry is not None and entry.expiry <= self.store.now
        ]
        for key in over:
            del self.entries[key]

    @rule(author=authors, snapshot=names)
    def save(self, author, snapshot):
        self.snapshots[author, snapshot] = {
            key: Entry(*vars(entry).values()) for key, entry in self.entries.items() if key[0] == author
        }
        assert self.store.save(snapshot, author) == len(self.snapshots[author, snapshot])

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def load(self, data):
        key = data.draw(st.sampled_from(sorted(self.snapshots)))
        there = {
            key: entry
            for key, entry in self.snapshots[key].items()
            if entry.expiry is None or entry.expiry > self.store.now
        }
        assert self.store.load(key[1], key[0]) == len(there)
        for one, entry in there.items():
            version = self.store.get(one[1], 0, one[0])[1]
            self.entries[one] = Entry(
                entry.value, entry.kind, version, entry.expiry, entry.persist, entry.timestamp
            )
        if there:
            self.wrote(version)

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def delete_snapshot(self, data):
        author, name = data.draw(st.sampled_from(sorted(self.snapshots)))
        del self.snapshots[author, name]
        self.store.delete_snapshot(name, author)

    @rule(backed_up=st.booleans())
    def restore(self, backed_up):
        """What is persistent comes back as it is, under a new version."""
        if not backed_up:
            return
        count = sum(entry.persist for entry in self.entries.values())
        assert self.store.restore(self.store.backup()) == count
        for (author, name), entry in self.entries.items():
            if entry.persist:
                entry.version = self.store.get(name, 0, author)[1]
                assert entry.version > self.last
        self.last = max([self.last, *(entry.version for entry in self.entries.values())])

    @rule(is_killed=st.booleans())
    def start_anew(self, is_killed):
        now = self.store.now
        old, folder = self.store, self.folder
        if is_killed:  # what a kill leaves is what is in the files at that moment
            self.folder = self.root / str(next(self.folders))
            shutil.copytree(folder, self.folder, ignore=shutil.ignore_patterns("*-shm"))
        old.close()

        class At(Kept):
            def _opened(self, *arguments):
                self.now = now
                return super()._opened(*arguments)

        self.store = At(self.folder)
        self.entries = {key: entry for key, entry in self.entries.items() if entry.persist}
        self.begin_watch()

    @invariant()
    def all_is_the_same(self):
        if not hasattr(self, "store"):
            return
        rows = self.store.list()[1]
        expected = [
            [*key, entry.version, entry.timestamp, len(entry.value), entry.persist]
            for key, entry in sorted(self.entries.items())
        ]
        assert rows == expected
        assert self.store.count() == len(expected)
        assert self.store.stats()[2] == len({key[0] for key in self.entries})
        self.follow()
        assert self.copy == {key: (one.version, one.kind, one.value) for key, one in self.entries.items()}
        assert [row[:2] for row in self.store.snapshots()] == [list(key) for key in sorted(self.snapshots)]
        assert self.store.store.disk.unreadable == {}
        on_disk = self.store.store.disk.connection.execute("SELECT author, name FROM records ORDER BY 1, 2")
        assert on_disk.fetchall() == sorted(key for key, entry in self.entries.items() if entry.persist)


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=12 if settings.default.max_examples <= 100 else 2000,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
