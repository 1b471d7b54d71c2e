"""The version board of a store (section 12 of the protocol): shared memory by which a reader knows, without a message, whether what it has is current."""

from __future__ import annotations

import sys

from andiron._pure import memory
from andiron._pure.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap

#: How many stamps a board has.
STAMPS = 1 << 17
#: A stamp that no write makes, so that nothing is current by it.
NEVER = 2**64 - 1
#: The place of the first stamp, in words of 8 bytes.
FIRST = 512
#: The place of the two words that say whether the board is kept: the owner's, and behind it whether it is closed. They are read as one word of 8 bytes.
LIFE = 8

_LAYOUT = 1
_MAGIC = b"\xadBOARD\r\n"
#: Bytes of the beginning, which never change, and of all.
_FIXED, _LENGTH = 32, 8 * (FIRST + STAMPS)
#: ``F_SEAL_FUTURE_WRITE``: only the map that was there when it was set can write.
_KEPT = 0x10
#: Of the owner's word: the bits that name its thread, and the one that the kernel sets when that has died. What is closed has bits above them.
_OWNER, _DIED = 0x3FFFFFFF, 0x40000000
_WAITERS = 0x80000000


class Board:
    """A board that is mapped. Whoever reads often looks at `words` itself, as `is_current` does."""

    __slots__ = ("life", "words")

    def __init__(self, mapped: mmap.mmap) -> None:
        #: To be loaded 8 bytes at once, by index: `LIFE`, and from `FIRST` on the stamps.
        self.words = memoryview(mapped).cast("Q")
        life = self.words[LIFE]
        #: As long as the word at `LIFE` is this, the board is alive; it may be when it is another.
        self.life = life if is_live(life) else -1

    def is_current(self, slot: int, stamp: int) -> bool:
        """Whether what was read with this stamp is what a question would be answered with now."""
        # In this order: if the board is alive behind the look at the stamp, no other owner had served before that look, so it told of every write until then.
        return self.words[FIRST + slot] == stamp and self.is_live()

    def is_live(self) -> bool:
        """Whether the board is kept still. Once it is not, it never is again."""
        return is_live(self.words[LIFE])


def is_live(life: int) -> bool:
    """Whether this word at `LIFE` says that the board is kept: it has an owner that lives, and is not closed."""
    return 0 < life & ~_WAITERS <= _OWNER


def opened(descriptor: int, incarnation: bytes) -> Board:
    """Maps a board whose descriptor was received, for the store of this incarnation. The descriptor stays the caller's.

    :raises Failure: where it is none; then every value is asked for.
    """
    import os

    if sys.byteorder != "little" or sys.maxsize < 2**32 or not hasattr(os, "pread"):
        raise Failure("unsupported", "this machine has no version boards")
    import mmap

    memory.checked(descriptor, _FIXED, _KEPT)
    head = os.pread(descriptor, _FIXED, 0)
    if head[:8] != _MAGIC or len(head) < _FIXED:
        raise Failure("encoding", "this is no version board: it does not begin as one")
    layout, stamps = (int.from_bytes(head[at : at + 4], "little") for at in (8, 12))
    if (layout, stamps) != (_LAYOUT, STAMPS):
        raise Failure(
            "encoding",
            f"the version board has layout {layout} and {stamps} stamps, and this program reads layout {_LAYOUT} with {STAMPS}: use the same release for both",
        )
    if head[16:] != incarnation:
        raise Failure(
            "encoding", "the version board belongs to another store than the connection that it came by"
        )
    memory.checked(descriptor, _LENGTH, _KEPT)
    try:
        return Board(mmap.mmap(descriptor, _LENGTH, mmap.MAP_SHARED, mmap.PROT_READ))
    except OSError as error:  # there are too many maps or descriptors
        raise Failure("overloaded", f"the version board cannot be mapped: {error}") from None
