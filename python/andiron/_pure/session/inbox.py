"""Bytes in, frames out, whatever pieces the bytes come in.

A frame that lies whole in the bytes of one read is handed on where it lies. Only what is cut by the end of a read is kept, so an idle session
holds nothing. The payload of chunks is handed on in pieces, as it comes.
"""

from __future__ import annotations

from andiron._pure.memory import Descriptor
from andiron._pure.session.wire import (
    ABORT,
    CARRYING,
    CHUNK,
    HEADER,
    MAGIC,
    PARTS,
    PREFACE,
    Violation,
    check_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Sequence, Tuple, Union

    from andiron._pure.session.wire import Data

    #: Kind, flags, id, where the payload lies, its beginning and end there; then the descriptors of the frame and whether some were lost. Of a
    #: piece of a chunk the last two are how many bytes are still to come and False. Of a preface the kind is 0.
    Found = Tuple[int, int, int, Data, int, int, Union[int, List[Descriptor]], bool]


class Inbox:
    """What was received and not taken apart."""

    __slots__ = (
        "arrived",
        "at",
        "chunk",
        "data",
        "held",
        "held_lost",
        "left",
        "lost",
        "most_descriptors",
        "older",
        "partial",
        "prefaced",
    )

    #: The beginning of a frame whose end has not come.
    partial: bytearray
    #: What came with the read in which that frame began, and whether more came than could be received.
    held: list[Descriptor]
    held_lost: bool
    #: The body and the bytes left of the chunk in which the last read ended; no bytes: it did not.
    chunk: int
    left: int
    prefaced: bool
    #: One read while it is taken apart: its bytes, how far that is done, and the descriptors that no frame has claimed.
    data: Data
    at: int
    arrived: list[Descriptor]
    lost: bool
    #: The next frame began in an earlier read.
    older: bool

    def __init__(self, most_descriptors: int) -> None:
        """``most_descriptors``: on one frame."""
        self.most_descriptors = most_descriptors
        self.partial = bytearray()
        self.held = []
        self.held_lost = False
        self.chunk = self.left = 0
        self.prefaced = False
        self.data = b""
        self.at = 0
        self.arrived = []
        self.lost = False
        self.older = False

    def is_between(self) -> bool:
        """True where the next byte begins a frame."""
        return self.prefaced and not self.partial and not self.left

    def read(self, data: Data, at: int, descriptors: Sequence[Descriptor], lost: bool) -> None:
        """Takes the bytes of one read from this place on; frames come out of `next`."""
        self.data = data
        self.at = at
        self.arrived = list(descriptors)
        self.lost = lost
        self.older = bool(self.partial)

    def next(self, most: int) -> Found | None:
        """The next frame, with at most ``most`` bytes of payload; ``None`` when the read is used up."""
        if self.left:
            return self._piece() if self.at < len(self.data) else None
        if not self.prefaced:
            return self._preface()
        place = self._gather(HEADER.size)
        if place is None:
            return None
        length, kind, flags, attached, number = HEADER.unpack_from(*place)
        check_header(kind, flags, attached, length, most)
        if kind == CHUNK and not flags & ABORT:
            self._skip(HEADER.size)
            self.chunk, self.left = number, length
            return self._piece()
        whole = HEADER.size + length
        place = self._gather(whole)
        if place is None:
            return None
        descriptors, lost = self._claim(kind, flags, attached) if attached else ([], False)
        data, at = place
        if data is self.partial:
            data = self.partial
            self.partial = bytearray()
            self.older = False
        else:
            self.at += whole
        return kind, flags, number, data, at + HEADER.size, at + whole, descriptors, lost

    def _piece(self) -> Found:
        """What this read has of the chunk that is under way."""
        begins = self.at
        ends = self.at = min(begins + self.left, len(self.data))
        self.left -= ends - begins
        return CHUNK, 0, self.chunk, self.data, begins, ends, self.left, False

    def _preface(self) -> Found | None:
        # A stranger is told from a slow friend by the first bytes, not at the twelfth.
        seen = bytes(self.partial) + self.data[self.at : self.at + len(MAGIC)]
        if not MAGIC.startswith(seen[: len(MAGIC)]):
            raise Violation("this is not an Andiron stream")
        place = self._gather(PREFACE.size)
        if place is None:
            return None
        self.prefaced = True
        data, at = place
        preface = bytes(data[at : at + PREFACE.size])
        self._skip(PREFACE.size)
        return 0, 0, 0, preface, 0, PREFACE.size, [], False

    def _gather(self, count: int) -> tuple[Data, int] | None:
        """Where so many bytes lie together; keeps what there is if they have not all come."""
        partial = self.partial
        have = len(partial)
        data, at = self.data, self.at
        if not have and len(data) - at >= count:
            return data, at
        if have < count:
            ends = min(at + count - have, len(data))
            partial += memoryview(data)[at:ends]
            self.at = ends
        return (partial, 0) if len(partial) >= count else None

    def _skip(self, count: int) -> None:
        """Drops what `_gather` has brought together."""
        if self.partial:
            self.partial = bytearray()
            self.older = False
        else:
            self.at += count

    def _claim(self, kind: int, flags: int, count: int) -> tuple[list[Descriptor], bool]:
        if count > self.most_descriptors:
            raise Violation(f"{count} descriptors on one frame, allowed are {self.most_descriptors}")
        if flags & PARTS and kind in CARRYING:
            raise Violation("descriptors and parts on one frame")
        arrived, lost = (self.held, self.held_lost) if self.older else (self.arrived, self.lost)
        if count <= len(arrived):
            claimed = arrived[:count]
            del arrived[:count]
            return claimed, False
        if not lost:
            raise Violation("a frame came without the descriptors that it announced")
        del arrived[:]  # the last ones are lost: what is left belongs to this frame
        return [], True

    def finish(self) -> None:
        """Ends a read whose frames are handled: refuses descriptors that no frame has asked for and none can any more."""
        self.data = b""
        if not (self.held or self.arrived or self.lost or self.held_lost):
            return
        own, other = (self.held, self.arrived) if self.older else (self.arrived, self.held)
        own_lost = self.held_lost if self.older else self.lost
        partial = self.partial
        may_want = partial[6:8] != b"\0\0" if len(partial) >= HEADER.size else bool(partial)
        self.held, self.arrived = [], []
        self.held_lost = self.lost = False
        if other or (own and not may_want):
            raise Violation("descriptors came that no frame asked for")
        if may_want:
            self.held, self.held_lost = own, own_lost

    def drop(self) -> None:
        """Forgets everything: the session is over."""
        prefaced = self.prefaced
        self.__init__(self.most_descriptors)  # type: ignore[misc] # as at the beginning
        self.prefaced = prefaced
