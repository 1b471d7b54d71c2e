"""Snapshots of an author's entries, and backups of all that is persistent, on their way between the store and its disk."""

from __future__ import annotations

import contextlib
import os
from itertools import count

from andiron import _errors
from andiron._pure.keep import backup, files, rows, snapshots
from andiron._pure.keep.limits import ENTRY_OVERHEAD
from andiron._pure.keep.places import Place, Places, Taking
from andiron._pure.keep.store import Put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from andiron._pure.keep.disk import Disk
    from andiron._pure.keep.store import Store

#: Bytes of a backup that travel at a time.
_PIECE = 1 << 20


class Archive:
    """What a store with a disk has beside its entries."""

    __slots__ = ("_coming", "_disk", "_folder", "_leaving", "_numbers", "_store")

    def __init__(self, store: Store, disk: Disk) -> None:
        self._store = store
        self._disk = disk
        #: Where backups are while they travel.
        self._folder = os.path.join(os.path.dirname(disk.path), "transfer")
        with contextlib.suppress(OSError):  # what a crash left there
            for name in os.listdir(self._folder):
                os.remove(os.path.join(self._folder, name))
        self._numbers = count()
        self._leaving = Places(4)
        self._coming = Places(1)

    # Snapshots

    def save(self, author: str, name: str) -> int:
        """Keeps the entries of an author. Gives their number."""
        return self._store.swept(lambda: self._save(author, name))

    def _save(self, author: str, name: str) -> int:
        store = self._store
        now = int(store.wall() * 1_000_000)
        shelf = store.shelves.get(author)
        records = []
        for one in () if shelf is None else shelf.names:
            entry = store.find(author, one)
            if entry is None:
                continue
            expires_at = None if entry.expiry is None else now + (entry.expiry - store.clock()) // 1000
            value = bytes(entry.value)
            record = rows.Record(author, one, entry.version, entry.timestamp, entry.codec, expires_at, value)
            records.append((record, entry.persistent))
        self._check_limits(author, name, len(records), sum(len(record.value) for record, _ in records))
        snapshots.save(self._disk, author, name, now, records)
        return len(records)

    def _check_limits(self, author: str, name: str, records: int, length: int) -> None:
        """The snapshots of an author, and of all, may have as much as the entries."""
        limits = self._store.limits
        own = total = length + records * ENTRY_OVERHEAD
        for other, other_name, _, number, more in snapshots.listed(self._disk.connection, self._disk.path):
            cost = more + number * ENTRY_OVERHEAD
            if other != author:
                total += cost
            elif other_name != name:
                own += cost
                total += cost
        if own > limits.max_author_bytes:
            text = f'the snapshots of the author "{author}" would have {own} bytes, one author may have {limits.max_author_bytes}'
        elif total > limits.max_bytes:
            text = f"the snapshots would have {total} bytes, all may have {limits.max_bytes}"
        else:
            return
        raise _errors.QuotaError(f"{text}: delete some, or start the daemon with a larger limit")

    def load(self, author: str, name: str) -> int:
        """Sets the entries that a snapshot has, but for those whose time is over. Gives their number."""
        puts = self._store.swept(lambda: self._load(author, name))
        self._store.restore(puts)
        return len(puts)

    def _load(self, author: str, name: str) -> list[Put]:
        disk, puts = self._disk, []
        for record, persistent, why in snapshots.load(
            disk.connection, disk.path, author, name, disk.values.read
        ):
            if why is not None:
                raise _errors.UnavailableError(
                    f'the snapshot "{name}" is damaged and nothing was changed: the entry "{record.name}": {why}'
                )
            puts.append(put_of(record, persistent, self._store.wall()))
        return [put for put in puts if put.ttl is None or put.ttl > 0]

    def snapshots(self) -> list[tuple[str, str, int, int, int]]:
        """Author, name, time of saving in microseconds, records and bytes of each."""
        return self._store.swept(lambda: snapshots.listed(self._disk.connection, self._disk.path))

    def delete(self, author: str, name: str) -> None:
        """Deletes a snapshot."""
        self._store.swept(lambda: snapshots.delete(self._disk, author, name))

    # Backups

    def backup(self) -> Taking:
        """The bytes of a backup as it is now, piece by piece. It is sealed when the first one is asked for, which takes long."""
        place = self._place(self._leaving, "backup")
        path = self._passing("backup")
        try:
            self._store.swept(lambda: backup.copy(self._disk, path))
        except BaseException:
            place.leave()
            _remove(path)
            raise
        return Taking(_Leaving(path, self._disk.path), place)

    def restore(self, pieces: Iterable[bytes]) -> int:
        """Has all that is persistent, and the snapshots, be as in a backup. Gives how many entries it has."""
        place = self._place(self._coming, "restore")
        path = self._passing("restore")
        try:
            _write(path, pieces, place)
            there = backup.Backup(path)
            try:
                now = self._store.wall()
                puts = [put_of(record, True, now) for record in there.records()]
                puts = [put for put in puts if put.ttl is None or put.ttl > 0]
                self._store.restore(puts, there)
                return len(puts)
            finally:
                there.close()
        finally:
            place.leave()
            _remove(path)

    def _place(self, places: Places, what: str) -> Place:
        place = places.take()
        if place is None:
            raise _errors.ConflictError(
                f"another {what} is under way at this daemon: try again when it is done"
            )
        return place

    def _passing(self, what: str) -> str:
        """Where a backup is on its way."""
        files.make_folder(self._folder)
        return os.path.join(self._folder, f"{what}.{next(self._numbers)}")


class _Leaving:
    """The bytes of a file that goes when they are taken, or nobody wants them any more."""

    __slots__ = ("_file", "_of", "_path")

    def __init__(self, path: str, of: str) -> None:
        self._path = path
        self._of = of
        self._file = -1

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._file < 0:
            backup.seal(self._path, self._of)
            self._file = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        piece = os.read(self._file, _PIECE)
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Removes it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        _remove(self._path)


def _write(path: str, pieces: Iterable[bytes], place: Place) -> None:
    """Writes a backup that comes."""
    with rows.telling("write", path):
        files.make_file(path)
        with open(path, "wb") as file:
            for piece in pieces:
                place.moves()
                file.write(piece)


def _remove(path: str) -> None:
    """Removes a file, with what SQLite left beside it; what cannot be removed is at the next start."""
    for ending in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            os.remove(path + ending)


def put_of(record: rows.Record, persistent: bool, wall: float) -> Put:
    """An entry as it is set anew. Its ``ttl`` is not above 0 where its time is over."""
    ttl = None if record.expires_at is None else record.expires_at * 1000 - int(wall * 1_000_000) * 1000
    return Put(
        record.author, record.name, record.value, record.codec, ttl, None, persistent, record.timestamp
    )
