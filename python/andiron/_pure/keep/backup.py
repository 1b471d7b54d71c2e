"""Backups: all records and snapshots in one file, which is a database of its own, with pieces of the big values in it. The form is that of the daemon's own store."""

from __future__ import annotations

import contextlib
import os

from andiron import _errors
from andiron._pure.keep import disk, files, rows, snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

#: Bytes of a big value in a piece.
_PIECE = 1 << 20

_ALL_FILES = """
    SELECT file FROM records WHERE file IS NOT NULL
    UNION ALL SELECT file FROM snapshot_records WHERE file IS NOT NULL"""
#: Records have checksums of their own. This one is over everything that a backup gives, so that nothing can be missing or be somewhere else either.
_WHOLE = """
    CREATE TABLE whole (checksum INTEGER NOT NULL) STRICT;
    INSERT INTO whole VALUES (0);
"""


def copy(of: disk.Disk, to: str) -> None:
    """Writes what was committed until now to a file that only this user can read; it is none that can be restored before it is sealed. To be used as the disk is."""
    with rows.telling("write", to):
        files.make_file(to)
        with contextlib.closing(_own(to)) as there:
            of.connection.backup(there)
            # The original has a log; a backup is one file.
            there.execute("PRAGMA journal_mode=MEMORY").fetchall()
            there.executescript(rows.PIECES)
            there.execute("BEGIN")
            for (file,) in there.execute(_ALL_FILES).fetchall():
                for piece, data in enumerate(_pieces(of.values, rows.unsigned(file))):
                    there.execute("INSERT INTO pieces VALUES (?, ?, ?)", (file, piece, data))
            there.execute("COMMIT")


def _own(path: str) -> sqlite3.Connection:
    """Opens a file that nobody else has and that nobody minds to lose."""
    connection = files.connect(path, "mode=rw")
    for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=MEMORY", "synchronous=OFF"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _pieces(values: files.Values, number: int) -> Iterator[bytes]:
    # What cannot be read in the store cannot be read in the backup, where it is told of which record it is.
    path = values.path(number)
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        while True:
            data = file.read(_PIECE)
            if not data:
                return
            yield data


def seal(path: str, of: str) -> None:
    """Looks through what was copied from the database ``of``, and notes in it that it was whole."""
    with rows.telling("write", path), contextlib.closing(_own(path)) as there:
        there.executescript(rows.for_this_sqlite(_WHOLE))
        # What was copied is not better than what is there.
        there.execute("UPDATE whole SET checksum = ?", (rows.signed(_look_through(there, of)),))
        there.execute(f"PRAGMA application_id={rows.BACKUP}")


def _look_through(connection: sqlite3.Connection, path: str) -> int:
    """Reads everything, and gives the checksum over it."""
    found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise rows.damaged(path, found)
    count = "SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM snapshot_records)"
    left = disk.number(connection, count)
    total, big = rows.Checksum(), _big(connection)
    seen = 0
    for record, _, why in rows.visit(connection, disk.ALL, (), big):
        _refuse_unreadable(record, why, None)
        total.mix(record.checksum or 0)
        seen += 1
    total.mix(seen)
    for author, name, *numbers in snapshots.listed(connection, path):
        total.add(author.encode())
        total.add(name.encode())
        total.mix(*numbers)
        for record, persistent, why in snapshots.load(connection, path, author, name, big):
            _refuse_unreadable(record, why, name)
            total.mix(record.checksum or 0, persistent)
            seen += 1
    if seen != left:
        raise rows.damaged(path, f"{left - seen} of its records are of no snapshot that it has")
    total.mix(disk.number(connection, "SELECT high_water FROM state"))
    return total.finish()


def _refuse_unreadable(record: rows.Record, why: str | None, snapshot: str | None) -> None:
    """Without a record a backup is not whole."""
    if why is None:
        return
    which, way_out = f'the entry "{record.name}" of "{record.author}"', "set it anew or delete it"
    if snapshot is not None:
        which, way_out = f'{which} in the snapshot "{snapshot}"', "delete this snapshot"
    raise rows.unusable(
        f"there is no backup without {which}, which cannot be read ({why}): {way_out}, then back up again",
        f"the backup is damaged or cut off ({which}: {why}); take another one",
    )


def _big(connection: sqlite3.Connection) -> rows.Big:
    """What reads a big value of a backup."""

    def read(number: int) -> bytes:
        select = "SELECT bytes FROM pieces WHERE file = ? ORDER BY piece"
        value = b"".join(piece for (piece,) in connection.execute(select, (rows.signed(number),)))
        if not value:
            raise LookupError("its value is not there")
        return value

    return read


class Backup:
    """A backup that was looked through: all of it is as it was written."""

    __slots__ = ("_path", "big", "connection")

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with rows.telling("read", path):
                self._open(path)
        except rows.UnusableError as error:
            raise _errors.BadArgumentsError(f"{error.of_backup}; nothing was changed") from error

    def _open(self, path: str) -> None:
        self.connection = disk.open_untouched(path, rows.BACKUP)
        self.big = _big(self.connection)
        try:
            whole = disk.number(self.connection, "SELECT checksum FROM whole")
            if _look_through(self.connection, path) != whole:
                raise rows.damaged(path, "something in it is missing or was changed")
        except BaseException:
            self.connection.close()
            raise

    def records(self) -> Iterator[rows.Record]:
        """Each record."""
        with rows.telling("read", self._path):
            for record, _, why in rows.visit(self.connection, disk.ALL, (), self.big, is_known=True):
                if why is None:
                    yield record

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()
