"""What keeps entries when the server does not: a folder of this user's with an SQLite database, the form of which is that of the daemon's own store.

- ``store.sqlite`` with its log ``store.sqlite-wal``: records, snapshots and the high-water mark of versions, which any tool can read;
- ``values/``: a file for each big value. It is written before the record that names it is committed, and removed after no record that could come back names it any more;
- ``store.lock``, which is held locked while the store is open, so that nobody else opens the same files.

A commit that fails changes nothing, and the next one starts afresh. Nothing is changed before it is known that what is there can be read.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3

from andiron import _errors
from andiron._pure.keep import files, rows, snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from andiron._pure.keep.backup import Backup

    Change = tuple[Any, ...]

#: So many versions more than were given out are marked as such, so that the mark is seldom to be moved.
_AHEAD = 1 << 24
#: Seconds that the files are waited for: the server before this one finishes its calls when its address is free already.
_HANDOVER = 7.0
#: Files of big values that may wait to be removed.
_MUCH_GARBAGE = 16
#: How much of the log may stay when it was moved to its place, and pages that may stay free for what is written next: a part of the file, and so many at least.
_KEPT_LOG = 16 << 20
_FREE_PART = 8
_FREE = 256

_PUT = (
    f"INSERT INTO records ({rows.COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (author, name) DO UPDATE SET version = excluded.version, "
    "timestamp = excluded.timestamp, codec = excluded.codec, expires_at = excluded.expires_at, value = excluded.value, file = excluded.file, "
    "checksum = excluded.checksum"
)
ALL = f"SELECT {rows.COLUMNS} FROM records ORDER BY author, name"
_FILES = "SELECT author, name, file FROM records WHERE file IS NOT NULL"
_SNAPSHOT_FILES = "SELECT file FROM snapshot_records WHERE file IS NOT NULL"


class Disk:
    """The disk in a folder, which is made, for this user only, if it is not there.

    ``load`` gives what is there, once, and comes before all else. To be used by one thread at a time.
    """

    __slots__ = (
        "_durability",
        "_files",
        "_inode",
        "_is_alone",
        "_is_ready",
        "_lock",
        "_may_be_there",
        "_not_there",
        "_process",
        "_unsynced",
        "connection",
        "high_water",
        "path",
        "unreadable",
        "values",
    )

    def __init__(self, folder: str, wait: float = _HANDOVER) -> None:
        folder = os.path.abspath(folder)
        files.make_folder(folder)
        self.path = os.path.join(folder, "store.sqlite")
        self._lock = files.Lock(os.path.join(folder, "store.lock"), wait)
        #: Whether nobody else can read it meanwhile.
        self._is_alone = False
        self._not_there = [ending for ending in ("-wal", "-shm") if not os.path.lexists(self.path + ending)]
        try:
            self._open(folder)
        except BaseException:
            self._give_up()
            raise
        self._inode = os.lstat(self.path).st_ino
        self._is_ready = False
        self._process = os.getpid()
        self._durability = ""
        #: Whether something was committed that is not safe from a power cut.
        self._unsynced = True
        #: Whether a commit that failed may stand whole in the log.
        self._may_be_there = False
        #: Which records are there and cannot be read, with what is wrong with them. They stay as they are until they are set again or deleted.
        self.unreadable: dict[tuple[str, str], str] = {}

    def _open(self, folder: str) -> None:
        """Opens it to be read."""
        for ending in ("-wal", "-shm", "-journal"):
            rows.refuse_other_than_file(self.path + ending, "store of andiron's")
        if not os.path.lexists(self.path):
            _create(self.path)
        rows.check_header(self.path, rows.STORE)
        with rows.telling("read", self.path), contextlib.ExitStack() as failed:
            #: Behind the loading it can write. The first one cannot, so to close that leaves all as it is.
            self.connection = failed.enter_context(contextlib.closing(self._reading()))
            _check_database(self.connection, self.path, rows.STORE)
            self.high_water = number(self.connection, "SELECT high_water FROM state")
            #: The files of records, by their keys.
            self._files = {
                (author, name): rows.unsigned(file) for author, name, file in self.connection.execute(_FILES)
            }
            self.values = files.Values(os.path.join(folder, "values"), self._named())
            failed.pop_all()

    def _reading(self) -> sqlite3.Connection:
        """The database as it is read."""
        connection = files.connect(self.path, "mode=ro")
        try:
            number(connection, "SELECT high_water FROM state")
        except sqlite3.Error as error:
            connection.close()
            self._is_alone = rows.may_lack_room(error)
            if not self._is_alone:
                raise
            # The index of the log needs room that the disk may not have; for one connection alone it can be in memory.
            connection = files.connect(self.path, "mode=rw")
            connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        return connection

    def _named(self) -> set[int]:
        """The files that anything names."""
        snapshots = self.connection.execute(_SNAPSHOT_FILES)
        return {*self._files.values(), *(rows.unsigned(file) for (file,) in snapshots)}

    def load(self, each: Callable[[rows.Record], object]) -> None:
        """Gives each record that is there, in the order of their keys. Then the disk is ready for commits."""
        with rows.telling("read", self.path):
            for record, _, why in rows.visit(self.connection, ALL, (), self.values.read):
                if why is None:
                    each(record)
                else:
                    self.unreadable[record.author, record.name] = why
            named = self._named()
        with rows.telling("open", self.path):
            if not self._is_alone:
                self.connection.close()
                self.connection = files.connect(self.path, "mode=rw", 1)
            _prepare(self.connection)
            self._settle(named)
        self._is_ready = True

    def _settle(self, named: set[int]) -> None:
        """Clears away what a crash left over. What was read may not have survived a power cut so far: only when it has may files go that it does not name."""
        self.values.sync(named)
        try:
            is_moved = self._checkpoint("TRUNCATE")
        except sqlite3.OperationalError as error:
            # On a disk that is full it stays in the log, from where it is read as well.
            if not isinstance(rows.of_sqlite("tidy", self.path, error), _errors.QuotaError):
                raise
        else:
            if is_moved:
                self.values.sweep(named)

    def commit(self, changes: Sequence[Change], high_water: int, durability: str) -> None:
        """Makes changes in their order, all or none; then they are as durable as asked. With ``sync`` so is all that was committed before.

        They are ``("put", author, name, version, timestamp, codec, expires_at, value)``, ``("delete", author, name)`` and ``("clear", author or None)``.
        ``high_water``: no version above it was given out.
        """
        self.commit_with(changes, high_water, durability, (), lambda _: None)

    def commit_with(
        self,
        changes: Sequence[Change],
        high_water: int,
        durability: str,
        beside: Iterable[int],
        more: Callable[[sqlite3.Connection], Any],
    ) -> Any:
        """The same, and in one transaction with it what ``more`` does, which names the files ``beside``."""
        records = [rows.Record(*change[1:]) if change[0] == "put" else None for change in changes]
        big = [record for record in records if record is not None and is_big(record)]
        try:
            written = self.values.write_all(record.value for record in big)
        except BaseException:
            self.values.take_back(beside)
            self._still_there()
            raise
        is_higher = high_water > self.high_water
        mark = min(high_water + _AHEAD, (1 << 64) - 1) if is_higher else self.high_water
        numbers = iter(written)
        placed = [next(numbers) if record is not None and is_big(record) else None for record in records]

        def make(connection: sqlite3.Connection) -> Any:
            for change, record, file in zip(changes, records, placed):
                if record is not None:
                    connection.execute(_PUT, record.row(file))
                elif change[0] == "delete":
                    connection.execute("DELETE FROM records WHERE author = ? AND name = ?", change[1:])
                elif change[1] is None:
                    connection.execute("DELETE FROM records")
                else:
                    connection.execute("DELETE FROM records WHERE author = ?", change[1:])
            if is_higher:
                connection.execute("UPDATE state SET high_water = ?", (rows.signed(mark),))
            return more(connection)

        done = self.transact(durability, [*beside, *written], make)
        self.high_water = mark
        if big or self._files:
            self._follow(changes, placed)
        self.tidy(durability)
        return done

    def transact(
        self, durability: str, written: Sequence[int], make: Callable[[sqlite3.Connection], Any]
    ) -> Any:
        """Runs a transaction, all or nothing, and as durable as asked. ``written`` are the files that it names."""
        connection = self.connection
        try:
            self._prepare(durability)
            connection.execute("BEGIN IMMEDIATE")
            done = make(connection)
            if self._unsynced and durability == "sync":
                # Where nothing is written nothing is synced, and what was committed before is to be.
                self._touch()
            connection.execute("COMMIT")
        except BaseException as raised:
            error: BaseException = raised
            if isinstance(raised, sqlite3.Error):
                error = rows.of_sqlite("write", self.path, raised)
            self._undo(error, written)
            self._still_there()
            if error is raised:
                raise
            raise error from raised
        self._still_there()
        self._unsynced = durability != "sync"
        return done

    def _prepare(self, durability: str) -> None:
        """Sees to it that the next commit is as durable as asked."""
        if durability != self._durability:
            self.connection.execute(
                "PRAGMA synchronous=FULL" if durability == "sync" else "PRAGMA synchronous=NORMAL"
            )
            self._durability = durability
        if self._may_be_there:
            self._touch()
            self._may_be_there = False

    def _undo(self, error: BaseException, written: Sequence[int]) -> None:
        """Takes back what a failed transaction left.

        Where it failed at its very end it may stand whole in the log, and would be found there after a crash: something that changes nothing is committed in its place, now or
        before the next commit.
        """
        with contextlib.suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        # Where the end of it could not be written it is not there.
        if not isinstance(error, _errors.QuotaError):
            self._may_be_there = True
        if self._may_be_there:
            try:
                self._touch()
            except sqlite3.Error:
                self.values.garbage += written
                return
            self._may_be_there = False
        self.values.take_back(written)

    def _touch(self) -> None:
        """Commits something that changes nothing of what is kept."""
        self.connection.execute("UPDATE state SET touched = touched + 1")

    def _still_there(self) -> None:
        """Raises where what was written is not where the next start looks for it."""
        try:
            there = os.lstat(self.path).st_ino == self._inode
        except FileNotFoundError:
            there = False
        except OSError:  # that it cannot be looked at now says nothing
            there = True
        if not there:
            raise _errors.UnavailableError(
                f"{self.path} was removed or replaced while it was in use, and what is written to it now would be lost: put it back and open it again, or open it anew and "
                "write everything once more"
            )

    def _follow(self, changes: Sequence[Change], placed: Sequence[int | None]) -> None:
        """Follows what was committed: which files records have now, and which none has any more."""
        names, garbage = self._files, self.values.garbage
        for change, file in zip(changes, placed):
            gone = [change[1:3]] if change[1:3] in names else []
            if change[0] == "clear":
                gone = [key for key in names if change[1] in (None, key[0])]
            garbage += [names.pop(key) for key in gone]
            if file is not None:
                names[change[1:3]] = file

    def tidy(self, durability: str) -> None:
        """Removes files that nothing names any more, where no power cut brings back what named them. What goes wrong here is told by the next commit that it concerns."""
        if not self.values.garbage:
            return
        if durability == "sync":
            self.values.remove_garbage()
        elif len(self.values.garbage) >= _MUCH_GARBAGE:
            with contextlib.suppress(sqlite3.Error):
                if self._checkpoint("PASSIVE"):
                    self.values.remove_garbage()

    def _checkpoint(self, how: str) -> bool:
        """Moves what was committed from the log to its place, where it is safe from a power cut. Whether all of it was."""
        busy, log, moved = self.connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        if busy or log != moved:
            return False
        self._unsynced = False
        return True

    def restore(self, changes: Sequence[Change], high_water: int, backup: Backup) -> None:
        """Does what `commit` does, safe from a power cut, and in the same commit replaces all snapshots by those of a backup."""
        snapshots.take_over(self, changes, high_water, backup)

    def close(self) -> None:
        """Closes it. In a forked child the files are its parent's, who goes on using them."""
        if os.getpid() != self._process:
            return
        if self._is_ready:
            self._put_right()
        self.connection.close()
        if self._is_ready:
            self._lock.free()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """Leaves all as it was."""
        for ending in self._not_there:
            with contextlib.suppress(OSError):
                if ending == "-shm" or not os.path.getsize(self.path + ending):
                    os.remove(self.path + ending)
        self._lock.free()

    def _put_right(self) -> None:
        """Leaves as little as can be to be done at the next start."""
        with contextlib.suppress(sqlite3.Error, _errors.Error):
            self._still_there()
            free = number(self.connection, "PRAGMA freelist_count")
            spare = free - max(number(self.connection, "PRAGMA page_count") // _FREE_PART, _FREE)
            if spare > 0:
                self.connection.execute(f"PRAGMA incremental_vacuum({spare})").fetchall()
            if self._checkpoint("PASSIVE"):
                self.values.remove_garbage()


def is_big(record: rows.Record) -> bool:
    """Whether the value of a record has a file of its own."""
    return len(record.value) >= rows.BIG_VALUE


def number(connection: sqlite3.Connection, select: str) -> int:
    """The one value of a query, if there is a row."""
    row = connection.execute(select).fetchone()
    return 0 if row is None else rows.unsigned(row[0])


def _check_database(connection: sqlite3.Connection, path: str, kind: int) -> None:
    """The same as `rows.check_header`, with what is in the log."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    rows.check_format(path, kind, application, connection.execute("PRAGMA user_version").fetchone()[0])


def open_untouched(path: str, kind: int) -> sqlite3.Connection:
    """Opens a file that nobody writes, as it is, and changes nothing."""
    rows.check_header(path, kind)
    with rows.telling("open", path):
        connection = files.connect(path, "immutable=1&mode=ro")
        try:
            _check_database(connection, path, kind)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Has it be as commits need it. Others may read meanwhile."""
    for pragma in (
        "cell_size_check=1",
        "trusted_schema=0",
        "cache_size=-16384",
        f"journal_size_limit={_KEPT_LOG}",
        "journal_mode=WAL",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    # One that can only be read is opened as well, and tells so with the first write.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")


def _create(path: str) -> None:
    """Makes an empty store under another name and gives it its own when it is complete. Only who has the lock does this."""
    folder = os.path.dirname(path)
    for left in (f"{path}-wal", os.path.join(folder, "values")):
        if os.path.isfile(left) or (os.path.isdir(left) and os.listdir(left)):
            raise rows.damaged(path, f"it is missing, but {os.path.basename(left)} is there")
    new = f"{path}.new"
    for ending in ("", "-wal", "-shm", "-journal"):
        files.remove_if_there(new + ending)
    with rows.telling("make", new):
        files.make_file(new)
        with contextlib.closing(files.connect(new, "mode=rw")) as connection:
            # What is free can be given back without writing everything anew. Only a database with nothing in it can be told.
            for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.executescript(
                f"BEGIN; PRAGMA application_id={rows.STORE}; PRAGMA user_version={rows.FORMAT}; {rows.TABLES} COMMIT;"
            )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        files.sync(new)
        os.replace(new, path)
    files.sync(folder)
