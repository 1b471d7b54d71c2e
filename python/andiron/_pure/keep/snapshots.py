"""Named snapshots: the records of one author, kept under a name until they are deleted."""

from __future__ import annotations

import sqlite3

from andiron import _errors
from andiron._pure.keep import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from andiron._pure.keep.backup import Backup
    from andiron._pure.keep.disk import Disk

#: The most bytes that the author and the name of a snapshot have together: each of its records has both.
_LONGEST = 64 << 10

_PUT = f"INSERT OR REPLACE INTO snapshot_records ({rows.COLUMNS}, snapshot, persistent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ALL = (
    f"SELECT {rows.COLUMNS}, persistent FROM snapshot_records WHERE author = ? AND snapshot = ? ORDER BY name"
)
_WHOLE = f"SELECT {rows.COLUMNS}, persistent, snapshot FROM snapshot_records ORDER BY author, snapshot, name"
_FILES = "SELECT file FROM snapshot_records WHERE file IS NOT NULL"
_ONE = "WHERE author = ? AND snapshot = ?"
_LIST = "SELECT author, snapshot, saved_at, records, bytes FROM snapshots ORDER BY author, snapshot"
_ABOUT = "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)"


def save(
    disk: Disk, author: str, name: str, saved_at: int, records: Sequence[tuple[rows.Record, bool]]
) -> None:
    """Keeps these records of an author, each with whether it is persistent, in place of an earlier snapshot of that name; safe from a power cut."""
    length = len(author.encode()) + len(name.encode())
    if length > _LONGEST:
        raise _errors.BadArgumentsError(
            f"the author and the name of a snapshot have {length} bytes together, and {_LONGEST} are the most: choose a shorter name"
        )
    big = [record for record, _ in records if len(record.value) >= rows.BIG_VALUE]
    written = disk.values.write_all(record.value for record in big)

    def make(connection: sqlite3.Connection) -> list[int] | None:
        old = _remove(connection, author, name)
        numbers = iter(written)
        for record, persistent in records:
            _put(connection, name, record, persistent, numbers)
        total = sum(len(record.value) for record, _ in records)
        connection.execute(_ABOUT, (author, name, rows.signed(saved_at), len(records), total))
        return old

    _discard(disk, disk.transact("sync", written, make) or [])


def load(
    connection: sqlite3.Connection, path: str, author: str, name: str, big: Callable[[int], bytes]
) -> Iterator[tuple[rows.Record, bool, str | None]]:
    """Each record of a snapshot, whether it was persistent, and what is wrong with it."""
    with rows.telling("read", path):
        about = connection.execute(f"SELECT records FROM snapshots {_ONE}", (author, name)).fetchone()
        if about is None:
            raise _missing(author, name)
        there = 0
        for record, (persistent,), why in rows.visit(connection, _ALL, (author, name), big):
            there += 1
            yield record, bool(persistent), why
    # That a row is not there no checksum of a row tells.
    if there != about[0]:
        raise rows.damaged(path, f'the snapshot "{name}" of "{author}" has {there} of {about[0]} records')


def listed(connection: sqlite3.Connection, path: str) -> list[tuple[str, str, int, int, int]]:
    """Author, name, time of saving in microseconds, records, and bytes of their values of each, in the order of authors and names."""
    with rows.telling("read", path):
        return [
            (author, name, *map(rows.unsigned, numbers))
            for author, name, *numbers in connection.execute(_LIST)
        ]


def delete(disk: Disk, author: str, name: str) -> None:
    """Deletes a snapshot; safe from a power cut."""
    old = disk.transact("sync", (), lambda connection: _remove(connection, author, name))
    if old is None:
        raise _missing(author, name)
    _discard(disk, old)


def take_over(disk: Disk, changes: Sequence[tuple[Any, ...]], high_water: int, backup: Backup) -> None:
    """Makes changes, and in the same commit replaces all snapshots by those of a backup."""
    big = f"{_WHOLE.replace(' ORDER', ' WHERE file IS NOT NULL ORDER')}"
    written = disk.values.write_all(
        record.value for record, _, _ in rows.visit(backup.connection, big, (), backup.big, is_known=True)
    )

    def make(connection: sqlite3.Connection) -> list[int]:
        old = [rows.unsigned(file) for (file,) in connection.execute(_FILES)]
        connection.execute("DELETE FROM snapshots")
        connection.execute("DELETE FROM snapshot_records")
        numbers = iter(written)
        for record, (persistent, name), _ in rows.visit(
            backup.connection, _WHOLE, (), backup.big, is_known=True
        ):
            _put(connection, name, record, persistent, numbers)
        connection.executemany(_ABOUT, backup.connection.execute(_LIST))
        return old

    _discard(disk, disk.commit_with(changes, high_water, "sync", written, make))


def _put(
    connection: sqlite3.Connection,
    name: str,
    record: rows.Record,
    persistent: bool,
    numbers: Iterator[int],
) -> None:
    file = next(numbers) if len(record.value) >= rows.BIG_VALUE else None
    connection.execute(_PUT, (*record.row(file), name, int(persistent)))


def _remove(connection: sqlite3.Connection, author: str, name: str) -> list[int] | None:
    """Removes the rows of a snapshot and gives its files; `None` if there is none."""
    if not connection.execute(f"DELETE FROM snapshots {_ONE}", (author, name)).rowcount:
        return None
    old = connection.execute(f"{_FILES} AND author = ? AND snapshot = ?", (author, name)).fetchall()
    connection.execute(f"DELETE FROM snapshot_records {_ONE}", (author, name))
    return [rows.unsigned(file) for (file,) in old]


def _discard(disk: Disk, files: list[int]) -> None:
    """Removes the files of a snapshot that is not there any more, and that no power cut can bring back."""
    disk.values.garbage += files
    disk.tidy("sync")


def _missing(author: str, name: str) -> _errors.Error:
    return _errors.NoObjectError(
        f'"{author}" has no snapshot "{name}": list those there are, or save one under this name'
    )
