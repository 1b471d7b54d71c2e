"""What is to be sent: whole frames in order, and the rest of long bodies whenever nothing else waits."""

from __future__ import annotations

from _collections import deque

from andiron._pure.session.wire import ABORT, CALL, CHUNK, HEADER, ITEM, RESULT, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence, Tuple, Union

    Buffer = Union[bytes, bytearray, memoryview]
    #: Whose body a long body is: the kind of the frame that it began in, and the id, or of an item the stream.
    Owner = Tuple[int, Any]

#: Bodies at least this long are not copied into the stream.
SHARE_FROM = 16 << 10
#: A longer chunk would keep other frames waiting, whatever the peer takes.
_MOST_CHUNK = 256 << 10
#: So many frames wait one by one before small ones are put together, beside those that were.
_MOST_PIECES = 256
#: So many go out at once: a system takes no more than some in one message.
_MOST_SLICES = 64


class _Sending:
    """The rest of a long body."""

    __slots__ = ("credit", "left", "owner", "rest")

    def __init__(self, owner: Owner, rest: deque[memoryview], left: int, credit: int) -> None:
        self.owner = owner
        self.rest = rest
        self.left = left
        self.credit = credit


class Outbox:
    """Frames and long bodies that wait."""

    __slots__ = (
        "answer_bytes",
        "answers",
        "attached",
        "bodies",
        "end",
        "finished_items",
        "last_body",
        "most_chunk",
        "most_pieces",
        "pieces",
        "position",
        "ready",
        "sending",
    )

    def __init__(self) -> None:
        self.pieces: deque[Buffer] = deque()
        self.most_pieces = _MOST_PIECES
        #: Bytes of the stream that are sent, and where the next frame will begin if no long body gets in between.
        self.position = self.end = 0
        #: Descriptors that wait, each with the place in the stream where its frame begins.
        self.attached: deque[tuple[int, tuple[Any, ...]]] = deque()
        #: The long bodies under way, by number, and their numbers by whose they are.
        self.sending: dict[int, _Sending] = {}
        self.bodies: dict[Owner, int] = {}
        #: Those that have credit, in the order of their turns.
        self.ready: deque[int] = deque()
        self.last_body = 0
        #: Streams whose long item is sent whole.
        self.finished_items: list[Any] = []
        #: Long answers to calls under way, and bytes of them and of items that are not queued yet.
        self.answers = self.answer_bytes = 0
        self.most_chunk = _MOST_CHUNK

    def limit_frames(self, most: int) -> None:
        """The peer takes frames of at most so many bytes."""
        self.most_chunk = min(_MOST_CHUNK, most)

    def is_empty(self) -> bool:
        """True where nothing waits, not even for credit."""
        return not self.pieces and not self.sending

    def put(self, frame: Buffer) -> None:
        """Queues bytes."""
        self.pieces.append(frame)
        self.end += len(frame)
        if len(self.pieces) > self.most_pieces:
            self._put_together()

    def _put_together(self) -> None:
        """Makes few pieces of many small ones, each of which is some memory by itself."""
        waits = {place for place, _ in self.attached}
        place = self.position
        whole: deque[Buffer] = deque()
        small: list[Buffer] = []
        size = 0
        for piece in self.pieces:
            if size + len(piece) > 4 * SHARE_FROM or len(piece) >= SHARE_FROM or place in waits:
                if small:
                    whole.append(b"".join(small))
                small, size = [], 0
            small.append(piece)
            size += len(piece)
            place += len(piece)
            if len(piece) >= SHARE_FROM:
                whole.append(piece)
                small, size = [], 0
        if small:
            whole.append(b"".join(small))
        self.pieces = whole
        self.most_pieces = 2 * len(whole) + _MOST_PIECES

    def frame(self, kind: int, flags: int, number: int, payload: bytes = b"") -> None:
        """Queues a frame without body."""
        self.put(HEADER.pack(len(payload), kind, flags, 0, number) + payload)

    def attach(self, attachments: Sequence[Any]) -> None:
        """The next frame takes these descriptors along."""
        self.attached.append((self.end, tuple(attachments)))

    def long(self, owner: Owner, rest: deque[memoryview], left: int, credit: int) -> None:
        """Queues the rest of the long body that was numbered last, of which ``credit`` bytes may go without being asked for."""
        if owner[0] == RESULT:
            self.answers += 1
        if owner[0] != CALL:
            self.answer_bytes += left
        self.sending[self.last_body] = _Sending(owner, rest, left, credit)
        self.bodies[owner] = self.last_body
        if credit:
            self.ready.append(self.last_body)

    def credit(self, body: int, amount: int) -> None:
        """More of a body may be sent."""
        if body == 0 or body > self.last_body:
            raise Violation(f"credit for body {body}, which never began")
        sending = self.sending.get(body)
        if sending is not None and amount:
            if not sending.credit:
                self.ready.append(body)
            sending.credit += amount

    def abort(self, owner: Owner) -> bool:
        """Gives up a long body; true if some of it was still to be sent."""
        body = self.bodies.get(owner)
        if body is None:
            return False
        if self.sending[body].credit:
            self.ready.remove(body)
        self._remove(body)
        self.frame(CHUNK, ABORT, body)
        return True

    def drop_bodies(self) -> None:
        """Gives up all long bodies silently: the session is over."""
        self.sending.clear()
        self.bodies.clear()
        self.ready.clear()
        self.answers = self.answer_bytes = 0

    def _remove(self, body: int) -> None:
        sending = self.sending.pop(body)
        kind = sending.owner[0]
        del self.bodies[sending.owner]
        if kind == RESULT:
            self.answers -= 1
        if kind != CALL:
            self.answer_bytes -= sending.left

    def send_by(self, send: Callable[[Any, tuple[Any, ...]], int]) -> None:
        """Has all sent; see `Session.send_by`."""
        pieces = self.pieces
        while pieces or self.ready:
            if len(pieces) != 1 or self.attached:
                buffers, attachments = self.transmit() or ((), ())
                self.transmitted(send(buffers, attachments))
                pieces = self.pieces
                continue
            # One small frame, as mostly.
            length = len(pieces[0])
            count = send(pieces, ())
            if count == length:
                pieces.clear()
                self.position += count
            else:
                self.transmitted(count)

    def transmit(self) -> tuple[Sequence[Buffer], tuple[Any, ...]] | None:
        """What to send next, and what goes with its first byte."""
        pieces = self.pieces
        if not pieces:
            if not self.ready:
                return None
            self._queue_chunk()  # one at a time: no other frame shall wait behind more
        if not self.attached:
            if len(pieces) <= _MOST_SLICES:
                return list(pieces), ()
            return [piece for piece, _ in zip(pieces, range(_MOST_SLICES))], ()
        return self._transmit_attached()

    def _transmit_attached(self) -> tuple[list[Buffer], tuple[Any, ...]]:
        """Up to the next frame that has descriptors: they go with its first byte."""
        place, attachments = self.attached[0]
        if place == self.position:
            until = self.attached[1][0] if len(self.attached) > 1 else self.end
        else:
            until, attachments = place, ()
        buffers: list[Buffer] = []
        at = self.position
        for piece in self.pieces:
            if at >= until or len(buffers) == _MOST_SLICES:
                break
            buffers.append(piece)
            at += len(piece)
        return buffers, attachments

    def transmitted(self, count: int) -> None:
        """So many bytes of that were sent, with the descriptors if there was at least one."""
        if count and self.attached and self.attached[0][0] == self.position:
            self.attached.popleft()
        self.position += count
        pieces = self.pieces
        if self.position == self.end:
            pieces.clear()
            return
        while count:
            first = pieces.popleft()
            if count < len(first):
                pieces.appendleft(memoryview(first)[count:])
                return
            count -= len(first)

    def detach(self) -> None:
        """The frame that is next goes without its descriptors."""
        if self.attached and self.attached[0][0] == self.position:
            self.attached.popleft()
            first = bytearray(self.pieces[0])
            first[6:8] = b"\0\0"
            self.pieces[0] = bytes(first)

    def _queue_chunk(self) -> None:
        """One chunk of the body whose turn it is."""
        body = self.ready.popleft()
        sending = self.sending[body]
        size = min(self.most_chunk, sending.credit, sending.left)
        sending.credit -= size
        sending.left -= size
        kind, of = sending.owner
        if kind != CALL:
            self.answer_bytes -= size
        if not sending.left:
            if kind == ITEM:
                self.finished_items.append(of)
            self._remove(body)
        elif sending.credit:
            self.ready.append(body)
        self.put(HEADER.pack(size, CHUNK, 0, 0, body))
        for piece in cut(sending.rest, size):
            self.put(piece)


def cut(buffers: deque[memoryview], size: int) -> list[memoryview]:
    """Takes so many bytes from the front."""
    taken = []
    while size:
        first = buffers.popleft()
        if len(first) > size:
            buffers.appendleft(first[size:])
            first = first[:size]
        taken.append(first)
        size -= len(first)
    return taken
