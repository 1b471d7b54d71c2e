"""The files of a disk beside its database: its folder, its lock, and the big values."""

from __future__ import annotations

import contextlib
import os
import sqlite3

from andiron import _errors
from andiron._pure.keep import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_LOCK = "lock of a store"
#: What the names of big values end with. Other files in their folder are not touched.
_ENDING = ".value"


def connect(path: str, mode: str, timeout: float = 0) -> sqlite3.Connection:
    """Opens a database that is there. ``mode``: ``mode=rw``, ``mode=ro``, or ``immutable=1``: as it is, without lock, log or recovery."""
    absolute = os.path.abspath(path).replace(os.sep, "/")
    if not absolute.startswith("/"):
        absolute = f"/{absolute}"  # of Windows, with a drive
    escaped = "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"/._-:" else f"%{byte:02x}"
        for byte in os.fsencode(absolute)
    )
    return sqlite3.connect(
        f"file:{escaped}?{mode}", timeout=timeout, isolation_level=None, check_same_thread=False, uri=True
    )


def make_folder(folder: str) -> None:
    """Makes a folder, for this user only, and those that it is in, unless they are there."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(os.path.abspath(folder))
    if parent != folder:
        make_folder(parent)
    with rows.telling("make", folder):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise rows.not_ours(folder, "folder") from None
        else:
            sync(parent)


def sync(path: str) -> None:
    """Has the content of a file, or the names in a folder, survive a power cut."""
    if os.name == "nt" and os.path.isdir(path):
        return
    with rows.telling("sync", path):
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_if_there(path: str) -> None:
    """Removes a file."""
    with rows.telling("remove", path), contextlib.suppress(FileNotFoundError):
        os.remove(path)


def make_file(path: str) -> None:
    """Makes an empty file that only this user can read. Raises `FileExistsError` where one is there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


class Lock:
    """What keeps a second owner from the same files, until it is freed or this process ends, however it ends.

    It is an empty database in an exclusive transaction that never ends: SQLite's locks are freed by the system, and a forked child does not inherit them.
    """

    __slots__ = ("_connection",)

    def __init__(self, path: str, wait: float) -> None:
        """Waits at most so many seconds for another process to let go of it."""
        from andiron import _host

        rows.refuse_other_than_file(path, _LOCK)
        # One that is there is not opened here: closing it would free a lock that this process has on it.
        with rows.telling("make", path), contextlib.suppress(FileExistsError):
            make_file(path)
        slice_ = 0.5
        while True:
            connection = connect(path, "mode=rw", min(wait, slice_))
            try:
                # Nothing is written, so there is nothing to write a journal of.
                connection.execute("PRAGMA journal_mode=OFF").fetchall()
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as raised:
                connection.close()
                refusal = rows.of_sqlite("lock", path, raised)
                if isinstance(refusal, rows.UnusableError):
                    raise rows.not_ours(path, _LOCK) from raised
                if not isinstance(refusal, _errors.ConflictError) or wait <= slice_:
                    raise refusal from raised
                wait -= slice_
                _host.check()
            else:
                self._connection = connection
                return

    def free(self) -> None:
        """Lets go of it."""
        self._connection.close()


class Values:
    """The folder of big values.

    A file is written once, under a number that no other has, and never changed. One that a record on the disk may still name after a power cut is kept, though no record names it
    any more: it is garbage from then on, and removed when the disk has what was committed since.
    """

    __slots__ = ("_next", "folder", "garbage")

    def __init__(self, folder: str, named: Collection[int]) -> None:
        make_folder(folder)
        self.folder = folder
        self._next = max(named, default=0) + 1
        self.garbage: list[int] = []

    def path(self, number: int) -> str:
        """Where a value is."""
        return os.path.join(self.folder, f"{number:016x}{_ENDING}")

    def read(self, number: int) -> bytes:
        """A value. Raises `OSError`."""
        path = self.path(number)
        if os.path.exists(path) and not os.path.isfile(path):  # to open a pipe may take for ever
            raise OSError("it is no file")
        with open(path, "rb") as file:
            return file.read()

    def write(self, value: bytes) -> int:
        """Writes one so that it survives a power cut before a record names it. Gives its number."""
        number = self._next
        path = self.path(number)
        self._next += 1
        try:
            with rows.telling("write", path):
                make_file(path)
                with open(path, "wb") as file:
                    file.write(value)
                    file.flush()
                    os.fsync(file.fileno())
                sync(self.folder)
        except BaseException:
            self.take_back((number,))
            raise
        return number

    def write_all(self, values: Iterable[bytes]) -> list[int]:
        """Writes several, all or none."""
        written: list[int] = []
        try:
            written.extend(map(self.write, values))
        except BaseException:
            self.take_back(written)
            raise
        return written

    def take_back(self, numbers: Iterable[int]) -> None:
        """Removes what no record names, and none will: it was never committed."""
        for number in numbers:
            try:
                remove_if_there(self.path(number))
            except _errors.Error:  # noqa: PERF203 - each of them is tried
                self.garbage.append(number)

    def remove_garbage(self) -> None:
        """Removes what was discarded: the disk has what was committed since. What cannot be removed now is tried again."""
        garbage, self.garbage = self.garbage, []
        self.take_back(garbage)

    def sync(self, named: Collection[int]) -> None:
        """Makes files of which it is not known safe from a power cut."""
        for number in named:
            if os.path.isfile(self.path(number)):  # that one is missing is told when it is read
                sync(self.path(number))
        if named:
            sync(self.folder)

    def sweep(self, named: Collection[int]) -> None:
        """Removes what a crash left over: the files that nothing names, which has to be true after a power cut as well."""
        for name in os.listdir(self.folder):
            digits = name[: -len(_ENDING)]
            if name.endswith(_ENDING) and len(digits) == 16:
                try:
                    number = int(digits, 16)
                except ValueError:
                    continue
                if number not in named:
                    remove_if_there(self.path(number))
