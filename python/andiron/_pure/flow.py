"""What comes from the store in pieces: entries, changes, and files of all that is persistent."""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

#: Bytes of a backup that travel at a time.
_PIECE = 1 << 20


class Flow:
    """A source of items for one thread at a time. It ends with its first error."""

    __slots__ = ("_lock", "_source")

    def __init__(self, source: Any) -> None:
        self._source = source
        self._lock = _thread.allocate_lock()

    def __next__(self) -> Any:
        if not self._lock.acquire(False):
            raise RuntimeError("another thread waits for the next item of this: take them by one")
        try:
            source = self._source
            if source is None:
                raise StopIteration
            try:
                return next(source)
            except BaseException:
                self.close()
                raise
        finally:
            self._lock.release()

    def replace(self, source: Any) -> None:
        """Goes on with another source."""
        self._source = source

    def close(self) -> None:
        """There are no more items."""
        source, self._source = self._source, None
        if source is not None:
            source.close()


def rows(page: list[Any], pages: Any) -> Iterator[Any]:
    """All rows: those that came at once, and those of a stream that brings the others."""
    yield from page
    if pages is not None:
        try:
            for page in pages:
                yield from page
        finally:
            pages.close()


def write_all(pieces: Any, file: Any) -> int:
    """Writes a backup to a file; how many bytes that were."""
    count = 0
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                written = file.write(rest)
                if not written:
                    raise OSError("the file takes no more bytes")
                rest = rest[written:]
            count += len(piece)
    finally:
        pieces.close()
    file.flush()
    return count


def read_all(file: Any, restore: Callable[[Any], Any]) -> int:
    """Sends a backup that a file has; what the file raised is raised, in place of what came of that."""
    from andiron._pure.streams import Outflow

    raised = []

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                piece = file.read(_PIECE)
                if not isinstance(piece, bytes):
                    raise TypeError(
                        f"a backup is read from a binary file, and this one gave {type(piece).__name__}"
                    )
                if not piece:
                    return
                yield piece
        except Exception as error:
            raised.append(error)
            raise

    try:
        count: int = restore(Outflow(pieces()))
    except BaseException:
        if raised:
            raise raised[0] from None
        raise
    return count
