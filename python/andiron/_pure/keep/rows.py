"""Records as rows of an SQLite database, in the form that the daemon's own store has: either opens what the other wrote.

A record is what a disk keeps of an entry. The database has a table of them, one of those of snapshots, and one with the high-water mark of versions; a backup is such a database
with another mark in its header, with pieces of big values in it.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from array import array
from contextlib import contextmanager
from struct import Struct, iter_unpack
from struct import error as StructError  # noqa: N812 - it is a class

from andiron import _errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    #: What reads a big value; it raises `OSError`, or `LookupError` with what is wrong.
    Big = Callable[[int], bytes]

#: The format of the files that this version writes. It reads all earlier ones.
FORMAT = 1
#: What a database file is for, which stands in its header: "Andr" and "Andb".
STORE = 0x416E_6472
BACKUP = 0x416E_6462
_NAMES = {STORE: "store of andiron's", BACKUP: "backup of a store, made by andiron"}
#: A value of so many bytes has a file of its own beside the database.
BIG_VALUE = 1 << 20

_HEADER = 100
_USER_VERSION = 60
_APPLICATION_ID = 68
#: From this version on SQLite reads tables that are strict about the types of what is in them.
_STRICT = (3, 37)

_TABLES = """
    CREATE TABLE records (
        author TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, timestamp REAL NOT NULL, codec INTEGER NOT NULL, expires_at INTEGER,
        value BLOB, file INTEGER, checksum INTEGER NOT NULL,
        PRIMARY KEY (author, name)
    ) STRICT;
    CREATE INDEX record_files ON records (file) WHERE file IS NOT NULL;
    CREATE TABLE snapshots (
        author TEXT NOT NULL, snapshot TEXT NOT NULL,
        saved_at INTEGER NOT NULL, records INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (author, snapshot)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshot_records (
        author TEXT NOT NULL, snapshot TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, timestamp REAL NOT NULL, codec INTEGER NOT NULL, expires_at INTEGER,
        value BLOB, file INTEGER, checksum INTEGER NOT NULL, persistent INTEGER NOT NULL,
        PRIMARY KEY (author, snapshot, name)
    ) STRICT;
    CREATE INDEX snapshot_files ON snapshot_records (file) WHERE file IS NOT NULL;
    CREATE TABLE state (high_water INTEGER NOT NULL, touched INTEGER NOT NULL) STRICT;
    INSERT INTO state VALUES (0, 0);
"""
_PIECES = """
    CREATE TABLE pieces (
        file INTEGER NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (file, piece)
    ) STRICT;
"""
COLUMNS = "author, name, version, timestamp, codec, expires_at, value, file, checksum"


def for_this_sqlite(script: str) -> str:
    """How tables are made by this SQLite; what it writes in one that is not strict fits one that is."""
    if sqlite3.sqlite_version_info >= _STRICT:
        return script
    return script.replace(") STRICT, WITHOUT", ") WITHOUT").replace(") STRICT", ")")


TABLES = for_this_sqlite(_TABLES)
PIECES = for_this_sqlite(_PIECES)


# What goes wrong


class UnusableError(_errors.UnavailableError):
    """What is in a file cannot be used. It was not touched."""

    #: The same of a backup that somebody sent, to whom it says nothing where it lies for now.
    of_backup = ""


def unusable(text: str, of_backup: str) -> UnusableError:
    """What cannot be used, and the same of a backup."""
    error = UnusableError(text)
    error.of_backup = of_backup
    return error


def damaged(path: str, what: str) -> _errors.Error:
    """What is in the file is not what was written there."""
    return unusable(
        f"{path} is damaged ({what}): keep a copy, move it away and restore the last backup",
        f"the backup is damaged or cut off ({what}); take another one",
    )


def full(path: str) -> _errors.Error:
    """The disk is full, or the user has no more of it."""
    return _errors.QuotaError(f"there is no room left for {path}: make room on its disk, then write again")


def read_only(path: str) -> _errors.Error:
    """Nobody may write there, or not this user."""
    return _errors.UnavailableError(
        f"{path} cannot be written: mount its disk writable and give this user the right to write there"
    )


def in_use(path: str) -> _errors.Error:
    """Another process has it."""
    return _errors.ConflictError(
        f"{path} is in use: end the other daemon or program that has it open, or choose another folder"
    )


def not_ours(path: str, wanted: str) -> _errors.Error:
    """The file is something else. It was not touched."""
    return unusable(
        f"{path} is no {wanted}: name another one, or move this file away", f"what was sent is no {wanted}"
    )


def of_system(doing: str, path: str, error: OSError) -> _errors.Error:
    """What the system says."""
    import errno

    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return full(path)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return read_only(path)
    return _errors.UnavailableError(f"cannot {doing} {path}: {error}")


#: What SQLite says, as far as it tells whose fault it is: Python tells its numbers from 3.11 on only.
_SAYS: tuple[tuple[str, Callable[[str], _errors.Error]], ...] = (
    ("disk is full", full),
    ("readonly database", read_only),
    ("locked", in_use),
    ("unable to open", read_only),
)
_IS_DAMAGED = (
    "malformed",
    "decode to UTF-8",
    "not a database",
    "no such table",
    "no such column",
    "has no column",
    "unsupported file format",
    "datatype mismatch",
    "cannot store",
    "constraint failed",
)


def may_lack_room(error: sqlite3.Error) -> bool:
    """Whether it may be of a disk that is full. Before Python 3.11 nobody knows what SQLite means by an error of input or output."""
    text = str(error)
    lacks = getattr(error, "sqlite_errorname", "SQLITE_IOERR_SHMSIZE") == "SQLITE_IOERR_SHMSIZE"
    return "disk is full" in text or (lacks and "disk I/O error" in text)


def of_sqlite(doing: str, path: str, error: Exception) -> _errors.Error:
    """What SQLite says."""
    if isinstance(error, OSError):
        return of_system(doing, path, error)
    text = str(error)
    for said, made in _SAYS:
        if said in text:
            return made(path)
    if any(said in text for said in _IS_DAMAGED):
        if 'near "STRICT"' in text:
            version = ".".join(map(str, _STRICT))
            return _errors.UnsupportedError(
                f"{path} cannot be read by the SQLite {sqlite3.sqlite_version} of this Python: use one with {version} or later"
            )
        return damaged(path, text)
    if isinstance(error, (TypeError, ValueError, OverflowError)):
        return damaged(path, text)
    return _errors.UnavailableError(f"cannot {doing} {path}: {text}")


@contextmanager
def telling(doing: str, path: str) -> Iterator[None]:
    """Tells what goes wrong meanwhile as an error of the store. What is of another kind than is written there comes of a file that is damaged."""
    try:
        yield
    except _errors.Error:  # some are an `OSError` as well
        raise
    except (sqlite3.Error, OSError, TypeError, ValueError, OverflowError) as error:
        raise of_sqlite(doing, path, error) from error


# Which file it is


def refuse_other_than_file(path: str, wanted: str) -> None:
    """Refuses a pipe, a folder or a device: to read some of them takes until somebody writes to them."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise not_ours(path, wanted)


def check_header(path: str, kind: int) -> None:
    """Whether the header of a file is one of that kind, and of a format that is known. Nothing else is looked at.

    Nobody in this process may have the file open, for to close it frees the locks that the process has on it.
    """
    refuse_other_than_file(path, _NAMES[kind])
    with telling("read", path), open(path, "rb") as file:
        header = file.read(_HEADER)
    is_database = len(header) == _HEADER and header.startswith(b"SQLite format 3\0")
    number = int.from_bytes
    application = number(header[_APPLICATION_ID : _APPLICATION_ID + 4], "big") if is_database else 0
    check_format(
        path, kind, application, number(header[_USER_VERSION : _USER_VERSION + 4], "big", signed=True)
    )


def check_format(path: str, kind: int, application: int, form: int) -> None:
    """Whether these are the marks of a file of that kind that can be read."""
    if application != kind:
        raise not_ours(path, _NAMES[kind])
    if form > FORMAT:
        raise unusable(
            f"{path} has format {form}, and this version of andiron knows those up to {FORMAT}: use the version that wrote it, or a later one",
            f"the backup has format {form}, which only a later version of andiron knows",
        )
    if form < 1:
        raise damaged(path, "it has no format")


# Records


def signed(number: int) -> int:
    """An unsigned number as it is written."""
    return number - (1 << 64) if number >= 1 << 63 else number


def unsigned(number: int) -> int:
    """The number that was written."""
    return number + (1 << 64) if number < 0 else number


class Record:
    """What a disk keeps of an entry. ``expires_at``: in microseconds since 1970, or `None`. ``checksum``: of all of it, where that is known."""

    __slots__ = ("author", "checksum", "codec", "expires_at", "name", "timestamp", "value", "version")

    def __init__(
        self,
        author: str,
        name: str,
        version: int,
        timestamp: float,
        codec: int,
        expires_at: int | None,
        value: Any,
        checksum: int | None = None,
    ) -> None:
        self.author = author
        self.checksum = checksum
        self.name = name
        self.version = version
        self.timestamp = timestamp
        self.codec = codec
        self.expires_at = expires_at
        self.value = value

    def row(self, file: int | None) -> tuple[Any, ...]:
        """The columns of it. ``file`` is where its value is, if that is big."""
        expires_at = None if self.expires_at is None else signed(self.expires_at)
        return (
            self.author,
            self.name,
            signed(self.version),
            self.timestamp,
            self.codec,
            expires_at,
            self.value if file is None else None,
            file,
            signed(checksum_of(self) if self.checksum is None else self.checksum),
        )


def visit(
    connection: sqlite3.Connection,
    select: str,
    parameters: tuple[Any, ...],
    big: Big,
    is_known: bool = False,
) -> Iterator[tuple[Record, tuple[Any, ...], str | None]]:
    """Each record of a query, with what stands in its row behind its columns, and what is wrong with it, if something is. ``is_known``: that nothing is."""
    for row in connection.execute(select, parameters):
        author, name, version, timestamp, codec, expires_at, value, file, checksum = row[:9]
        why = None
        if file is not None:
            try:
                value = big(unsigned(file))
            except (OSError, LookupError) as error:
                value, why = b"", str(error.args[0]) if isinstance(error, LookupError) else _why(error)
        try:
            expires_at = None if expires_at is None else unsigned(expires_at)
            told = unsigned(checksum)
            record = Record(author, name, unsigned(version), timestamp, codec, expires_at, value or b"", told)
            if why is None and not is_known and checksum_of(record) != told:
                why = "it is not as it was written"
        except (AttributeError, TypeError, OverflowError, StructError) as error:
            raise sqlite3.DatabaseError(f"a malformed record: {error}") from error
        yield record, row[9:], why


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "its file is not there"
    return f"its file cannot be read: {error}"


# Checksums

_MASK = (1 << 64) - 1
_FACTOR = 0x9E37_79B9_7F4A_7C15
#: The four lanes next to each other, each with as much room behind it for what a multiplication needs.
_LANES = _MASK | _MASK << 128 | _MASK << 256 | _MASK << 384
_DOUBLE = Struct("<d")
#: From so many bytes on the lanes are worked on together.
_TOGETHER = 256 if sys.byteorder == "little" else 1 << 62


class Checksum:
    """A checksum of 64 bits, of four lanes. Part of the format."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes = [0, 0, 0, 0]

    def mix(self, *words: int) -> None:
        """Words for the first lane."""
        lane = self._lanes[0]
        for word in words:
            lane = (((lane << 29 | lane >> 35) & _MASK) ^ word) * _FACTOR & _MASK
        self._lanes[0] = lane

    def add(self, data: Any) -> None:
        """Bytes, with their length."""
        length = len(data)
        self.mix(length)
        end = length & ~31
        if end >= _TOGETHER:
            self._blocks(memoryview(data)[:end])
        elif end:
            first, second, third, fourth = self._lanes
            for one, two, three, four in iter_unpack("<4Q", data[:end]):
                first = (((first << 29 | first >> 35) & _MASK) ^ one) * _FACTOR & _MASK
                second = (((second << 29 | second >> 35) & _MASK) ^ two) * _FACTOR & _MASK
                third = (((third << 29 | third >> 35) & _MASK) ^ three) * _FACTOR & _MASK
                fourth = (((fourth << 29 | fourth >> 35) & _MASK) ^ four) * _FACTOR & _MASK
            self._lanes = [first, second, third, fourth]
        for at in range(end, length, 8):
            self.mix(int.from_bytes(data[at : at + 8], "little"))

    def _blocks(self, data: memoryview) -> None:
        """The same for many blocks of 32 bytes: one number has all lanes."""
        state = sum(lane << 128 * at for at, lane in enumerate(self._lanes))
        for start in range(0, len(data), 1 << 16):
            words = array("Q", bytes(data[start : start + (1 << 16)]))
            spread = array("Q", bytes(16 * len(words)))
            spread[::2] = words
            blocks = spread.tobytes()
            for at in range(0, len(blocks), 64):
                block = int.from_bytes(blocks[at : at + 64], "little")
                state = (((state << 29 | state >> 35) & _LANES) ^ block) * _FACTOR & _LANES
        self._lanes = [state >> 128 * at & _MASK for at in range(4)]

    def finish(self) -> int:
        """The sum. More may be added to what it is of only before."""
        self.mix(*self._lanes[1:])
        found = self._lanes[0]
        # The high bits have heard of every bit, the low ones have not.
        return found ^ found >> 32


def checksum_of(record: Record) -> int:
    """What tells a record that was written from one that was damaged."""
    found = Checksum()
    found.add(record.author.encode())
    found.add(record.name.encode())
    expires_at = record.expires_at
    found.mix(
        record.version,
        int.from_bytes(_DOUBLE.pack(record.timestamp), "little"),
        record.codec,
        expires_at is not None,
        expires_at or 0,
    )
    found.add(record.value)
    return found.finish()
