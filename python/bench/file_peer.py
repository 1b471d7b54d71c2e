"""Files that both processes map or open: lmdb, diskcache and sqlite3. Values are pickled, and no disk is waited for."""

from __future__ import annotations

import os
import pickle
import sqlite3
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from collections.abc import Callable


class _Lmdb:
    def __init__(self, folder: str) -> None:
        import lmdb

        self._file: Any = lmdb.open(folder, map_size=1 << 30, writemap=True, sync=False)

    def read(self) -> Any:
        with self._file.begin() as reading:
            return pickle.loads(reading.get(b"value"))

    def write(self, value: Any) -> None:
        with self._file.begin(write=True) as writing:
            writing.put(b"value", pickle.dumps(value, -1))

    def write_big(self, array: Any) -> None:
        with self._file.begin(write=True) as writing:
            writing.put(b"value", array.data.cast("B"))

    def read_big(self) -> Any:
        import numpy

        with self._file.begin(buffers=True) as reading:
            # A copy: what lies in the file is there for as long as the transaction only.
            return numpy.frombuffer(reading.get(b"value"), dtype=numpy.int64).copy()


class _Diskcache:
    def __init__(self, folder: str) -> None:
        import diskcache

        self._cache = diskcache.Cache(folder, sqlite_synchronous=0)

    def read(self) -> Any:
        return self._cache.get("value")

    def write(self, value: Any) -> None:
        self._cache.set("value", value)

    read_big, write_big = read, write


class _Sqlite:
    def __init__(self, folder: str) -> None:
        self._base = sqlite3.connect(f"{folder}/entries", isolation_level=None)
        self._base.execute("pragma journal_mode = wal")
        self._base.execute("pragma synchronous = off")
        self._base.execute(
            "create table if not exists entries (name text primary key, value blob) without rowid"
        )

    def read(self) -> Any:
        (value,) = self._base.execute("select value from entries where name = 'value'").fetchone()
        return pickle.loads(value)

    def write(self, value: Any) -> None:
        self._base.execute("insert or replace into entries values ('value', ?)", (pickle.dumps(value, -1),))

    read_big, write_big = read, write


_PEERS: dict[str, Any] = {"lmdb": _Lmdb, "diskcache": _Diskcache, "sqlite3": _Sqlite}


def serve(start: harness.Start) -> None:
    """There is nobody to ask."""
    harness.say_ready()
    harness.until_gone()


def client(start: harness.Start) -> harness.Client:
    """Who reads and writes, as another process would."""
    os.makedirs(start.folder)
    return _Client(_PEERS[start.peer](start.folder))


class _Client(harness.Client):
    def __init__(self, file: Any) -> None:
        self._file = file
        self._changes = False

    def prepare(self) -> None:
        if self._changes:
            self._file.write(harness.SMALL)

    def operation(self, workload: str) -> Callable[[], object]:
        if workload in (harness.GET_BIG, harness.SET_BIG):
            array = harness.big()
            self._file.write_big(array)
            harness.expect_big(self._file.read_big())
            return (
                (lambda: self._file.write_big(array)) if workload == harness.SET_BIG else self._file.read_big
            )
        self._file.write(harness.SMALL)
        harness.expect(self._file.read(), harness.SMALL)
        self._changes = workload == harness.CHANGED_GET
        get: Callable[[], object] = self._file.read
        return (lambda: self._file.write(harness.SMALL)) if workload == harness.SET else get

    def loop(self, workload: str) -> Callable[[int], object]:
        self._file.write(harness.cached(workload))
        return harness.reading(self._file.read)
