"""Python objects into the native codec (section 9 of the protocol)."""

from __future__ import annotations

from struct import Struct

from andiron._pure import hooks, memory
from andiron._pure.failure import Failure
from andiron._pure.memory import BY_REFERENCE_FROM, Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Write = Callable[["Writer", Any, int], None]
    T = TypeVar("T", bound=type)

#: The extensions that are written here; the package has the others.
BIGINT, TUPLE, SET, FROZENSET, COMPLEX, EXCEPTION, REF, RECORD, BUFFER, ENUM = (
    1,
    2,
    3,
    4,
    5,
    12,
    13,
    14,
    15,
    16,
)

#: Levels of containers in each other.
DEEPEST = 100
#: The longest value, in bytes: no message is longer. One whose parts are shared over and over is not written to its end.
LONGEST = 1 << 30
#: The longest integer, in bytes.
LONGEST_INT = 65536
#: The longest text, array and so on, in bytes or elements.
_LONGEST_PART = (1 << 32) - 1
#: Attachments of one value.
_MOST_ATTACHMENTS = 64
#: Objects that one value names: their number travels in 16 bits.
_MOST_REFERENCES = 65535

#: Characters of a key in what is said of a value that cannot be sent.
_LONGEST_SHOWN = 40
#: Parts in what is said of where it stands.
_MOST_PARTS = 16

#: Where big buffers go: where they stand, beside a value of a call, where they stand but when the rest is written, or nowhere, as it is only asked whether the value can be sent.
WITHIN, BESIDE, LATER, NOWHERE = range(4)

_u8 = Struct(">BB").pack
_u16 = Struct(">BH").pack
_u32 = Struct(">BI").pack
_u64 = Struct(">BQ").pack
_i8 = Struct(">Bb").pack
_i16 = Struct(">Bh").pack
_i32 = Struct(">Bi").pack
_i64 = Struct(">Bq").pack
_f64 = Struct(">Bd").pack
_complex = Struct(">dd").pack
_ext8 = Struct(">BBb").pack
_ext16 = Struct(">BHb").pack
_ext32 = Struct(">BIb").pack
_small_ext = Struct(">Bb").pack
_reference = Struct(">BbH").pack

_NAN = b"\xcb\x7f\xf8\0\0\0\0\0\0"
_SMALL_EXTS = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
#: Bytes of the header that an extension of yet unknown length begins with: the one that most end up with.
_OPEN = 3


class Unsent(Exception):
    """Why a value cannot be encoded, and which part of it, from the inside to the outside."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path: list[str] = []

    def at(self, part: str) -> Unsent:
        self.path.append(part)
        return self

    def exception(self, what: str) -> BaseException:
        """What users see; ``what`` is what the value is called."""
        place = f"at {_shortened(self.path)}: " if self.path else ""
        return Failure("encoding", f"{what} cannot be sent: {place}{self.why}").exception()


class Writer(bytearray):
    """A value as it is written, and what goes beside it. What few values have is in the class until there is some."""

    place = WITHIN
    #: A nil was written: a stream behind it could not be told from it.
    nil = False
    #: Objects that the value names, in the order of their positions.
    refs: Any = ()
    #: Memory that goes beside it.
    memories: Any = ()
    stream: Any = None
    #: Where bytes are missing that belong there, and what has them.
    absent: Any = ()


def written(value: Any, what: str, place: int) -> Writer:
    """One value; ``what`` is what it is called where it cannot be sent."""
    out = Writer()
    out.place = place
    try:
        _writer_of(type(value), _other)(out, value, 0)
    except Unsent as unsent:
        raise unsent.exception(what) from None
    except RecursionError:
        raise _no_room().exception(what) from None
    return out


def written_arguments(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Writer:
    """The arguments of a call."""
    out = Writer()
    out.place = BESIDE
    count = len(args)
    if count < 16:
        out.append(0x90 | count)
    else:
        _array(out, count)
    number = 0
    try:
        for value in args:
            number += 1
            _writer_of(type(value), _other)(out, value, 0)
        if kwargs:
            _map(out, len(kwargs))
            for name, value in kwargs.items():
                number = 0
                _str(out, name, 0)
                number = -1
                _writer_of(type(value), _other)(out, value, 0)
    except Unsent as unsent:
        if number:
            unsent.at(f"argument `{name}`" if number < 0 else f"argument {number}")
        raise unsent.exception("an argument") from None
    except RecursionError:
        raise _no_room().exception("an argument") from None
    return out


def pieces(out: Writer) -> bytes | list[bytes | bytearray | memoryview]:
    """All that was written: where big parts lie elsewhere, they are not copied for that."""
    if not out.absent:
        return bytes(out)
    view, at, parts = memoryview(out), 0, []
    for end, part in out.absent:
        parts += [view[at:end], part.buffer() if type(part) is Memory else part]
        at = end
    parts.append(view[at:])
    return [part for part in parts if len(part)]


# References and streams: their classes are those of other modules, which tell them here.


def by_reference(cls: T) -> T:
    """A decorator: instances go as a reference to an object, `Writer.refs` has them."""
    _WRITERS[cls] = _object
    return cls


def as_stream(cls: T) -> T:
    """A decorator: an instance goes as the stream of a message, `Writer.stream` has it."""
    _WRITERS[cls] = _stream
    return cls


def _object(out: Writer, value: Any, _depth: int) -> None:
    if out.place in (WITHIN, LATER):
        raise Unsent("what others call can be sent in a call or its result, and cannot be stored")
    position = len(out.refs)
    if position >= _MOST_REFERENCES:
        raise Unsent(
            f"a call or its result can hold {_MOST_REFERENCES} proxies, and this one has more: send them in several"
        )
    if not position:
        out.refs = []
    out.refs.append(value)
    out += _reference(0xD5, REF, position)


def _stream(out: Writer, value: Any, _depth: int) -> None:
    if out.nil:
        raise Unsent("a stream behind a None: they could not be told apart; put the stream first")
    if out.place in (WITHIN, LATER):
        raise Unsent("a stream can be sent only in a call or its result")
    if out.stream is not None:
        raise Unsent("a call or its result can hold one stream: make a call for each")
    out.stream = value
    out.append(0xC0)


# Plain values.


def _nil(out: Writer, _value: None, _depth: int) -> None:
    out.nil = True
    out.append(0xC0)


def _bool(out: Writer, value: bool, _depth: int) -> None:
    out.append(0xC3 if value else 0xC2)


def _int(out: Writer, value: int, _depth: int) -> None:
    if value >= 0:
        if value < 0x80:
            out.append(value)
        elif value < 0x100:
            out += _u8(0xCC, value)
        elif value < 0x10000:
            out += _u16(0xCD, value)
        elif value < 0x100000000:
            out += _u32(0xCE, value)
        elif value < 1 << 64:
            out += _u64(0xCF, value)
        else:
            _bigint(out, value)
    elif value >= -0x20:
        out.append(value & 0xFF)
    elif value >= -0x80:
        out += _i8(0xD0, value)
    elif value >= -0x8000:
        out += _i16(0xD1, value)
    elif value >= -0x80000000:
        out += _i32(0xD2, value)
    elif value >= -(1 << 63):
        out += _i64(0xD3, value)
    else:
        _bigint(out, value)


def _bigint(out: Writer, value: int) -> None:
    length = (value if value > 0 else ~value).bit_length() // 8 + 1
    if length > LONGEST_INT:
        raise Unsent(f"an int of {length} bytes; it may have {LONGEST_INT}")
    _ext(out, BIGINT, value.to_bytes(length, "big", signed=True))


def _float(out: Writer, value: float, _depth: int) -> None:
    out += _f64(0xCB, value) if value == value else _NAN


def _complex_number(out: Writer, value: complex, _depth: int) -> None:
    _ext(out, COMPLEX, _complex(value.real, value.imag))


def _str(out: Writer, value: str, _depth: int) -> None:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise Unsent("a str that holds half of a surrogate pair, which is no text") from None
    length = len(data)
    if length < 32:
        out.append(0xA0 | length)
    elif length < 0x100:
        out += _u8(0xD9, length)
    elif length < 0x10000:
        out += _u16(0xDA, length)
    else:
        out += _u32(0xDB, _fitting(out, length))
    out += data


def _bytes(out: Writer, value: bytes, _depth: int) -> None:
    length = len(value)
    _bin(out, length)
    if length < BY_REFERENCE_FROM or out.place == WITHIN:
        out += value
    else:
        _absent(out, value)


def _bin(out: Writer, length: int) -> None:
    if length < 0x100:
        out += _u8(0xC4, length)
    elif length < 0x10000:
        out += _u16(0xC5, length)
    else:
        out += _u32(0xC6, _fitting(out, length))


def _absent(out: Writer, part: bytes | memoryview | Memory) -> None:
    """Bytes that are copied later, or never: they do not change."""
    if not out.absent:
        out.absent = []
    out.absent.append((len(out), part))


def _fitting(out: Writer, length: int) -> int:
    if length > _LONGEST_PART:
        raise Unsent("a part of the value is longer than 2^32 - 1 bytes or elements")
    if len(out) > LONGEST:
        raise Unsent("it is longer than 1 GiB, maybe since parts are in it many times")
    return length


# Containers.


def _enter(out: Writer, depth: int) -> int:
    if depth >= DEEPEST:
        raise Unsent(f"the value is nested more than {DEEPEST} deep")
    if len(out) > LONGEST:
        raise Unsent("it is longer than 1 GiB, maybe since parts are in it many times")
    return depth + 1


def _array(out: Writer, count: int) -> None:
    if count < 16:
        out.append(0x90 | count)
    elif count < 0x10000:
        out += _u16(0xDC, count)
    else:
        out += _u32(0xDD, _countable(count))


def _map(out: Writer, count: int) -> None:
    if count < 16:
        out.append(0x80 | count)
    elif count < 0x10000:
        out += _u16(0xDE, count)
    else:
        out += _u32(0xDF, _countable(count))


def _countable(count: int) -> int:
    if count > _LONGEST_PART:
        raise Unsent("it has more elements than can be sent")
    return count


def _list(out: Writer, value: list[Any], depth: int) -> None:
    # A copy is gone over, since what is written may run anything, also what changes the list.
    elements = value[:]
    _elements(out, elements, _enter(out, depth))
    if len(value) != len(elements):
        raise _changed()


def _tuple(out: Writer, value: tuple[Any, ...], depth: int) -> None:
    depth = _enter(out, depth)
    began = _open(out, TUPLE)
    _elements(out, value, depth)
    _close(out, began)


def _elements(out: Writer, elements: list[Any] | tuple[Any, ...], depth: int) -> None:
    count = len(elements)
    _array(out, count)
    rest = iter(elements)
    try:
        for element in rest:
            _writer_of(type(element), _other)(out, element, depth)
    except Unsent as unsent:
        raise unsent.at(f"[{count - rest.__length_hint__() - 1}]")  # type: ignore[attr-defined] # noqa: B904 - it is the same one


def _set(out: Writer, value: set[Any] | frozenset[Any], depth: int) -> None:
    depth = _enter(out, depth)
    began = _open(out, SET if type(value) is set else FROZENSET)
    try:
        elements = list(value)
    except RuntimeError:
        raise _changed() from None
    _array(out, len(elements))
    try:
        for element in elements:
            _writer_of(type(element), _other)(out, element, depth)
    except Unsent as unsent:
        raise unsent.at("{element}")  # noqa: B904 - it is the same one
    if len(value) != len(elements):
        raise _changed()
    _close(out, began)


def _dict(out: Writer, value: dict[Any, Any], depth: int) -> None:
    _entries(out, value, depth, _item_of)


def _item_of(key: Any) -> str:
    return f"[{_shown(key)}]"


def _field_of(name: Any) -> str:
    return f".{name}"


#: Short keys that were written, as they are written: most dicts have the keys of others.
_known_keys: dict[str, bytes] = {}


def _entries(out: Writer, value: dict[Any, Any], depth: int, part_of: Callable[[Any], str]) -> None:
    depth = _enter(out, depth)
    # A copy is gone over: the value is sent as it was when that began.
    entries = value.copy()
    _map(out, len(entries))
    is_key = True
    try:
        for key, element in entries.items():
            if type(key) is str:
                known = _known_keys.get(key)
                if known is not None:
                    out += known
                else:
                    _key(out, key)
            else:
                _writer_of(type(key), _other)(out, key, depth)
            is_key = False
            _writer_of(type(element), _other)(out, element, depth)
            is_key = True
    except Unsent as unsent:
        raise unsent.at(f"{{key {_shown(key)}}}" if is_key else part_of(key))  # noqa: B904 - it is the same one


def _key(out: Writer, key: str) -> None:
    began = len(out)
    _str(out, key, 0)
    if len(key) <= _LONGEST_SHOWN:
        if len(_known_keys) >= 1000:  # of a program that makes keys without end
            _known_keys.clear()
        _known_keys[key] = bytes(out[began:])


# Extensions.


def _ext(out: Writer, code: int, payload: bytes) -> None:
    length = len(payload)
    small = _SMALL_EXTS.get(length)
    if small is not None:
        out += _small_ext(small, code)
    elif length < 0x100:
        out += _ext8(0xC7, length, code)
    elif length < 0x10000:
        out += _ext16(0xC8, length, code)
    else:
        out += _ext32(0xC9, _fitting(out, length), code)
    out += payload


def _open(out: Writer, code: int) -> int:
    """Begins an extension whose payload is written next; `_close` ends it."""
    began = len(out)
    out += _ext8(0xC7, 0, code)
    return began


def _close(out: Writer, began: int) -> None:
    payload = began + _OPEN
    length = len(out) - payload
    if out.absent:
        length += sum(len(part) for at, part in out.absent if at >= payload)
    small = _SMALL_EXTS.get(length)
    if small is None and length < 0x100:
        out[began + 1] = length
        return
    code = out[began + 2]
    code -= (code & 0x80) << 1
    if small is not None:
        header = _small_ext(small, code)
    elif length < 0x10000:
        header = _ext16(0xC8, length, code)
    else:
        header = _ext32(0xC9, _fitting(out, length), code)
    out[began:payload] = header
    if out.absent:
        moved = len(header) - _OPEN
        out.absent = [(at + moved if at >= payload else at, part) for at, part in out.absent]


def _other(out: Writer, value: Any, depth: int) -> None:
    """What the package has to say what it is."""
    try:
        reduced = hooks.package.reduce(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise Unsent(str(error)) from None
    kind = type(reduced)
    if kind is tuple:
        code, payload = reduced
        if type(payload) is bytes:
            _ext(out, code, payload)
        else:
            _holder(out, code, payload, depth)
    elif kind is str:
        raise Unsent(reduced)
    else:
        _WRITERS[kind](out, reduced, depth)


def _holder(out: Writer, code: int, parts: list[Any], depth: int) -> None:
    """An extension that holds an array, whose lists are plain, and whose elements are one level deeper."""
    depth = _enter(out, depth)
    began = _open(out, code)
    _array(out, len(parts))
    at = 0
    try:
        for at, part in enumerate(parts):  # noqa: B007 - it tells which one it was
            kind = type(part)
            if kind is memoryview:
                _buffer(out, part)
            elif kind is Memory:
                _sealed(out, part)
            elif kind is dict and code in (RECORD, EXCEPTION):
                _entries(out, part, depth, _field_of)
            else:
                _writer_of(kind, _other)(out, part, depth)
    except Unsent as unsent:
        if (code, at) == (EXCEPTION, 1):
            unsent.at(".args")
        elif (code, at) == (ENUM, 2):
            unsent.at(".value")
        raise
    _close(out, began)


def _buffer(out: Writer, view: memoryview) -> None:
    """Bytes of a buffer: beside the value where they are many, and where it is one of a call."""
    length = len(view)
    if length < BY_REFERENCE_FROM or out.place == WITHIN:
        _bin(out, length)
        out += view
    elif out.place == NOWHERE or out.place == LATER:
        _bin(out, length)
        _absent(out, view)
    elif len(out.memories) < _MOST_ATTACHMENTS:
        _beside(out, memory.copied(view))
    else:
        _bin(out, length)
        _absent(out, view.tobytes())  # since it may change


def _sealed(out: Writer, part: Memory) -> None:
    """Bytes that are sealed already, and go by reference as they are."""
    length = len(part)
    is_big = length >= BY_REFERENCE_FROM
    if is_big and out.place == BESIDE and part.is_whole() and len(out.memories) < _MOST_ATTACHMENTS:
        _beside(out, part)
        return
    _bin(out, length)
    if is_big and out.place != WITHIN:
        _absent(out, part)
    else:
        out += bytes(part)


def _memory(out: Writer, value: Memory, depth: int) -> None:
    """Memory by itself, which is a value of the store as it is: a buffer of bytes."""
    _holder(out, BUFFER, ["B", [len(value)], value], depth)


def _beside(out: Writer, part: Memory) -> None:
    _int(out, len(out.memories), 0)
    if not out.memories:
        out.memories = []
    out.memories.append(part)


_WRITERS: dict[type, Write] = {
    type(None): _nil,
    bool: _bool,
    int: _int,
    float: _float,
    complex: _complex_number,
    str: _str,
    bytes: _bytes,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _set,
    Memory: _memory,
}
_writer_of = _WRITERS.get


# What is said of a value that cannot be sent.


def _changed() -> Unsent:
    return Unsent("it was changed by another thread meanwhile")


def _no_room() -> Unsent:
    return Unsent("it is nested deeper than the stack of this thread has room for")


def _shortened(path: list[str]) -> str:
    """All parts from the outside to the inside, or of many the first and the last ones."""
    parts = path[::-1]
    if len(parts) > _MOST_PARTS:
        parts = [*parts[: _MOST_PARTS // 2], "...", *parts[-2:]]
    return "".join(parts)


def _shown(key: Any) -> str:
    """A key as it is written, or its beginning."""
    try:
        text = repr(key)
    except Exception:  # whatever its class raises
        return ".."
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + ".."
