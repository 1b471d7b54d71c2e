"""The fixed parts of the wire: preface, frame header, kinds and flags, heads and tails of messages.

See ``spec/PROTOCOL.md``, sections 1 and 3.
"""

from __future__ import annotations

from struct import Struct

from andiron._pure.failure import KINDS
from andiron._pure.session.maps import Unreadable, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence, Tuple, Union

    #: What a read of a stream gives.
    Data = Union[bytes, bytearray]
    #: An entry of a reference table as it stands in a frame: 0 and an object of the sender, or 1 and one of the receiver.
    Ref = Tuple[int, int]

MAGIC = b"\xadIRON\r\n\x1a"
PREFACE = Struct(">8sHH")
#: The lowest and the highest version of the protocol that this implementation speaks.
VERSIONS = (1, 1)

#: Length of the payload, kind, flags, number of descriptors, id.
HEADER = Struct(">IBBHQ")
#: The same, kind and flags as one number.
SHORT_HEADER = Struct(">IHHQ")
#: Target, chain, microseconds left, codec, length of the method's name.
CALL_HEAD = Struct(">QQQBB")
#: What a call begins with that has no flags: the short header and the head.
PLAIN_CALL = Struct(">IHHQQQQBB")
#: The same of a result: the short header and the codec.
PLAIN_RESULT = Struct(">IHHQB")
U16 = Struct(">H")
U64 = Struct(">Q")
TWO_U64 = Struct(">QQ")
ENTRY = Struct(">BQ")

HELLO, PROOF = 0x01, 0x02
CALL, NOTIFY, RESULT, ERROR, CANCEL = 0x10, 0x11, 0x12, 0x13, 0x14
ITEM, END = 0x20, 0x21
CHUNK, CREDIT = 0x30, 0x31
RELEASE, PING, PONG, GOODBYE = 0x40, 0x41, 0x42, 0x43
#: Kinds from here on are of later versions and may be skipped.
OPTIONAL = 0x80

NAMES = {
    HELLO: "Hello",
    PROOF: "Proof",
    CALL: "Call",
    NOTIFY: "Notify",
    RESULT: "Result",
    ERROR: "Error",
    CANCEL: "Cancel",
    ITEM: "Item",
    END: "End",
    CHUNK: "Chunk",
    CREDIT: "Credit",
    RELEASE: "Release",
    PING: "Ping",
    PONG: "Pong",
    GOODBYE: "Goodbye",
}

LONG = ABORT = 0x01
REFS, EXTRA, PROMISE, STREAM, CALLEE, PARTS = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40

_MESSAGE = LONG | REFS | EXTRA | PARTS
#: The flags that may be set, by kind.
ALLOWED = dict.fromkeys(NAMES, 0)
ALLOWED.update(
    {
        CALL: _MESSAGE | PROMISE | STREAM,
        NOTIFY: _MESSAGE | PROMISE,
        RESULT: _MESSAGE | STREAM,
        ITEM: _MESSAGE | CALLEE,
        ERROR: REFS | EXTRA,
        END: REFS | EXTRA | STREAM | CALLEE,
        CHUNK: ABORT,
        CREDIT: STREAM | CALLEE,
    }
)
ALLOWED.update(dict.fromkeys(range(OPTIONAL, 256), 0xFF))
#: Kinds whose frames can have values beside the body.
CARRYING = frozenset((CALL, NOTIFY, RESULT, ITEM))

#: Why a session says goodbye.
DONE, PROTOCOL, VERSION, AUTHENTICATION, OVERLOADED, SHUTTING_DOWN, TIMEOUT = range(7)
#: For these the stream is closed at once.
ABRUPT = frozenset((PROTOCOL, VERSION, AUTHENTICATION, OVERLOADED, TIMEOUT))

NUMBER_OF_KIND = {kind: number for number, kind in enumerate(KINDS, 1)}

#: Parts behind one value: as many as descriptors beside one.
MOST_PARTS = 64
#: So many bytes may annotations have.
MOST_ANNOTATIONS = 8 << 10
#: Ahead of them: a map of one field, which is named so.
ANNOTATIONS = b"\x81\xabannotations"
#: Bytes of a reference in the table.
ENTRY_SIZE = 9
#: The fixed fields, the longest method name and the counts of a tail.
LONGEST_HEAD = 26 + 255 + 2 + 2 + 8 * MOST_PARTS + 16


class Violation(Exception):
    """The other end broke the rules, in the words that it is told."""


def kind_of(number: int) -> str:
    """The kind of error with this number; one of a later version is *internal*."""
    return KINDS[number - 1] if 1 <= number <= len(KINDS) else "internal"


def check_header(kind: int, flags: int, attached: int, length: int, most: int) -> None:
    """Refuses a header that makes no sense."""
    allowed = ALLOWED.get(kind)
    if allowed is None:
        raise Violation(f"unknown frame kind {kind:#04x}")
    if flags & ~allowed:
        raise Violation(f"flags {flags:#04x} are not allowed on {NAMES[kind]}")
    if attached and kind not in CARRYING and kind < OPTIONAL:
        raise Violation(f"{NAMES[kind]} takes no descriptors")
    if length > most:
        raise Violation(f"a frame of {length} bytes is longer than the limit of {most}")


def further(annotations: bytes | None) -> bytes:
    """The further fields of a call, which stand behind its head."""
    if not annotations:
        return b""
    return U16.pack(len(ANNOTATIONS) + len(annotations)) + ANNOTATIONS + annotations


def tail(refs: Sequence[Ref], parts: Sequence[int]) -> bytes:
    """What a message names beside its value, as it stands ahead of the numbers of a long body."""
    pieces = []
    if refs:
        pieces.append(U16.pack(len(refs)))
        pieces.extend([ENTRY.pack(owner, number) for owner, number in refs])
    if parts:
        pieces.append(U16.pack(len(parts)))
        pieces.extend([U64.pack(length) for length in parts])
    return b"".join(pieces)


class Message:
    """The payload of a message frame, taken apart."""

    __slots__ = (
        "annotations",
        "begins",
        "body",
        "chain",
        "codec",
        "data",
        "ends",
        "length",
        "method",
        "parts",
        "refs",
        "target",
        "timeout",
    )

    #: Of a call or notify.
    target: int
    chain: int
    timeout: int
    method: str
    #: One map in the native codec, or nothing.
    annotations: bytes
    #: Of an error or an end with one: its kind.
    codec: int
    refs: tuple[Ref, ...]
    #: The lengths of what stands behind the value in the body.
    parts: tuple[int, ...]
    #: The number of a long body; 0: the body is here whole.
    body: int
    #: Of the body, all of it.
    length: int
    #: Where the body, or its beginning, stands.
    data: Data
    begins: int
    ends: int

    def __init__(self, kind: int, flags: int, data: Data, at: int, ends: int) -> None:
        """Takes a payload apart that stands there."""
        self.annotations = b""
        self.refs = self.parts = ()
        self.body = 0
        self.data = data
        self.ends = ends
        if kind in (CALL, NOTIFY):
            at = self._call_head(at)
        elif kind in (ERROR, END):
            self.codec = U16.unpack_from(data, _within(at, 2, ends))[0]
            at += 2
        else:
            self.codec = data[_within(at, 1, ends)]
            at += 1
        if flags & (EXTRA | REFS | PARTS):
            at = self._named(kind, flags, at)
        if flags & LONG:
            self.body, self.length = TWO_U64.unpack_from(data, _within(at, 16, ends))
            at += 16
            # Its number is checked with those of other bodies, and 0 is none.
            if not self.body:
                raise Violation("body 0 comes after body 0")
        else:
            self.length = ends - at
        if self.parts and sum(self.parts) > self.length:
            raise Violation("the parts behind a value are longer than the body that they are in")
        self.begins = at

    def _call_head(self, at: int) -> int:
        data = self.data
        head = CALL_HEAD.unpack_from(data, _within(at, 26, self.ends))
        self.target, self.chain, self.timeout, self.codec, length = head
        at = _within(at + 26, length, self.ends)
        try:
            self.method = data[at : at + length].decode()
        except UnicodeDecodeError:
            raise Violation("a method name is not UTF-8") from None
        if not length:
            raise Violation("a call without a method name")
        return at + int(length)

    def _named(self, kind: int, flags: int, at: int) -> int:
        data, ends = self.data, self.ends
        if flags & EXTRA:
            (length,) = U16.unpack_from(data, _within(at, 2, ends))
            at = _within(at + 2, length, ends)
            if kind in (CALL, NOTIFY):
                self.annotations = annotations_in(bytes(data[at : at + length]))
            at += length
        if flags & REFS:
            (count,) = U16.unpack_from(data, _within(at, 2, ends))
            at += 2
            length = count * ENTRY_SIZE
            if ends - at < length:
                raise Violation("a reference table is cut short")
            self.refs = tuple(ENTRY.iter_unpack(data[at : at + length]))
            for owner, _ in self.refs:
                if owner > 1:
                    raise Violation(f"unknown owner {owner} of a reference")
            at += length
        if flags & PARTS:
            (count,) = U16.unpack_from(data, _within(at, 2, ends))
            if count > MOST_PARTS:
                raise Violation(f"{count} parts behind a value, at most {MOST_PARTS} are allowed")
            at = _within(at + 2, 8 * count, ends)
            self.parts = tuple([length for (length,) in U64.iter_unpack(data[at : at + 8 * count])])
            at += 8 * count
        return at

    def beginning(self) -> memoryview:
        """The bytes of the body that this frame has."""
        return memoryview(self.data)[self.begins : self.ends]


def _within(at: int, count: int, ends: int) -> int:
    if ends - at < count:
        raise Violation("a frame is shorter than its fields")
    return at


def annotations_in(fields: bytes) -> bytes:
    """The annotations among further fields. What is no map of that form, or too long, has none; whoever wants them looks into them."""
    try:
        found: dict[str, list[bytes]] = spans(fields, ("annotations",), whole=False)
    except Unreadable:
        return b""
    values = found.get("annotations")
    if not values or len(values[-1]) > MOST_ANNOTATIONS:
        return b""
    value = values[-1]
    return value if value[0] & 0xF0 == 0x80 or value[0] in (0xDE, 0xDF) else b""
