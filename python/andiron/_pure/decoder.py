"""The native codec (section 9 of the protocol) into Python objects."""

from __future__ import annotations

import struct

from andiron._pure import hooks
from andiron._pure.encoder import (
    BIGINT,
    COMPLEX,
    DEEPEST,
    ENUM,
    EXCEPTION,
    FROZENSET,
    LONGEST_INT,
    RECORD,
    REF,
    SET,
    TUPLE,
)
from andiron._pure.failure import Failure
from andiron._pure.memory import BY_REFERENCE_FROM, Descriptor, Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    #: What gives the object at a position of the reference table.
    Ref = Callable[[int], Any]

BUFFER = 15

_LIST, _DICT = 0x90, 0x80  # their markers, beside the codes of extensions that hold an array

#: By the marker, how a number is unpacked, and how long it is.
_NUMBERS = {
    marker: (struct.Struct(form).unpack_from, struct.calcsize(form))
    for marker, form in enumerate((">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"), 0xCA)
}
_TEXT, _BIN, _EXT = 0x102, 0x103, 0x104
#: By the marker, what follows a length, how that is unpacked, and how many bytes it takes.
_SIZED = {
    marker: (what, struct.Struct(form).unpack_from, struct.calcsize(form))
    for first, what, forms in (
        (0xC4, _BIN, (">B", ">H", ">I")),
        (0xC7, _EXT, (">B", ">H", ">I")),
        (0xD9, _TEXT, (">B", ">H", ">I")),
        (0xDC, _LIST, (">H", ">I")),
        (0xDE, _DICT, (">H", ">I")),
    )
    for marker, form in enumerate(forms, first)
}
_FIXED_EXTS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_FIXED: Any = _EXT, None, 0
_HOLD_AN_ARRAY = frozenset((TUPLE, SET, FROZENSET, EXCEPTION, RECORD, BUFFER, ENUM))
_complex = struct.Struct(">dd").unpack


class Malformed(Exception):
    """Why bytes are no value."""


class Reader:
    """Where values are read from, and what came beside them."""

    __slots__ = ("at", "buffer", "data", "memories", "memory", "ref", "stream")

    def __init__(
        self,
        data: Any,
        ref: Ref | None = None,
        memories: Sequence[Memory | Descriptor] | None = None,
        stream: Callable[[], Any] | None = None,
        memory: Memory | None = None,
        buffer: Callable[[Any, Any, Any], Any] | None = None,
    ) -> None:
        #: `bytes`, or a map of `memory`, in which big buffers then stay.
        self.data = data
        self.at = 0
        self.ref = ref
        #: What came beside a message, by position; `None`: this is the value of none.
        self.memories = memories
        #: What stands for the first nil.
        self.stream = stream
        self.memory = memory
        #: What makes something of a buffer in place of the package: of format, shape, and bytes, `Memory` or, where the buffer has no bytes, a `Descriptor`.
        self.buffer = buffer

    def whole(self) -> Any:
        """The one value that there is."""
        [value] = self.values(1)
        if self.at != len(self.data):
            self.finish()
        return value

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call."""
        args = self.values(self._count(0x90, 0xDC, "expected an array"))
        if self.at == len(self.data):
            return tuple(args), {}
        count = self._count(0x80, 0xDE, "no map of keyword arguments follows")
        entries = self.values(2 * count)
        self.finish()
        names = entries[::2]
        if any(type(name) is not str for name in names):
            raise Malformed("the name of a keyword argument is no text")
        return tuple(args), dict(zip(names, entries[1::2]))

    def finish(self) -> None:
        left = len(self.data) - self.at
        if left:
            raise Malformed(f"nothing should follow the value, found {left} more bytes at byte {self.at}")

    def _count(self, few: int, many: int, otherwise: str) -> int:
        """Of the array or map that begins here."""
        data, at = self.data, self.at
        try:
            marker: int = data[at]
            if few <= marker < few + 16:
                self.at = at + 1
                return marker - few
            if marker == many:
                self.at = at + 3
                return int.from_bytes(data[at + 1 : at + 3], "big")
            if marker == many + 1:
                self.at = at + 5
                return int.from_bytes(data[at + 1 : at + 5], "big")
        except IndexError:
            raise _truncated(data) from None
        raise Malformed(otherwise)

    def values(self, count: int) -> list[Any]:
        """So many values.

        One loop reads all of them: what is in a container is gathered in a list, and who is to have the list waits on a stack.
        """
        data, at = self.data, self.at
        stack: list[tuple[list[Any], int, int, int]] = []
        values: list[Any] = []
        append, left, kind, end = values.append, count, _LIST, 0
        try:
            while True:
                while left:
                    left -= 1
                    marker = data[at]
                    at += 1
                    if marker < 0xC0:
                        if marker >= 0xA0:
                            ends = at + marker - 0xA0
                            append(data[at:ends].decode())
                            at = ends  # that it is beyond the end is found there
                            continue
                        if marker < 0x80:
                            append(marker)
                            continue
                        opened, length, ends, began = marker & 0xF0, marker & 0x0F, 0, at - 1
                    else:
                        number = _NUMBERS.get(marker)
                        if number is not None:
                            append(number[0](data, at)[0])
                            at += number[1]
                            continue
                        if marker >= 0xE0:
                            append(marker - 0x100)
                            continue
                        self.at = at
                        value = self._sized(marker, kind) if marker > 0xC3 else self._constant(marker)
                        at = self.at
                        if type(value) is not _Opened:
                            append(value)
                            continue
                        opened, length, ends, began = value.kind, value.count, value.end, value.began
                    if len(stack) >= DEEPEST:
                        raise Malformed(f"the value is nested more than {DEEPEST} deep at byte {began}")
                    stack.append((values, left, kind, end))
                    values, kind, end = [], opened, ends
                    append, left = values.append, 2 * length if opened == _DICT else length
                if not stack:
                    break
                made: Any = values
                if kind == _DICT:
                    parts = iter(values)
                    try:
                        made = dict(zip(parts, parts))
                    except Exception:  # whatever a class of theirs raises
                        raise _unhashable(values[::2]) from None
                elif kind != _LIST:
                    made = self._made(kind, values, at, end)
                values, left, kind, end = stack.pop()
                append = values.append
                append(made)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # of what was asked to make a value
            is_whole = isinstance(error, UnicodeDecodeError) and ends <= len(data)
            raise _not_utf8(at) if is_whole else _truncated(data) from None
        if at > len(data):
            raise _truncated(data)
        self.at = at
        return values

    def _constant(self, marker: int) -> Any:
        if marker == 0xC0:
            stream, self.stream = self.stream, None
            return None if stream is None else stream()
        if marker == 0xC1:
            raise Malformed(f"no value begins with the byte 0xc1 at byte {self.at - 1}")
        return marker == 0xC3

    def _sized(self, marker: int, within: int) -> Any:
        """A text, bytes or an extension, or of a container its beginning."""
        data, at = self.data, self.at
        began = at - 1
        try:
            what, length_at, taken = _SIZED.get(marker, _FIXED)
            length = length_at(data, at)[0] if taken else _FIXED_EXTS[marker]
            at += taken
            if what == _EXT:
                code = data[at]
                at += 1
        except (IndexError, struct.error):
            raise _truncated(data) from None
        self.at = at
        if what in (_LIST, _DICT):
            return _Opened(what, length, 0, began)
        end = at + length
        if end > len(data):
            raise _truncated(data)
        if what == _EXT:
            return self._extension(code, end, began)
        self.at = end
        if what == _TEXT:
            try:
                return data[at:end].decode()
            except UnicodeDecodeError:
                raise _not_utf8(at) from None
        if within == BUFFER and self.memory is not None and length >= BY_REFERENCE_FROM:
            return self.memory.part(at, length)
        return data[at:end]

    def _extension(self, code: int, end: int, began: int) -> Any:
        if code in _HOLD_AN_ARRAY:
            what = "a buffer is an array of three" if code == BUFFER else "an extension holds no array"
            count = self._count(0x90, 0xDC, what)
            if code == BUFFER and count != 3:
                raise Malformed(what)
            return _Opened(code, count, end, began)
        payload = self.data[self.at : end]
        self.at = end
        if code == BIGINT:
            if not 1 <= len(payload) <= LONGEST_INT:
                raise Malformed(f"an int has 1 to {LONGEST_INT} bytes")
            return int.from_bytes(payload, "big", signed=True)
        if code == COMPLEX:
            if len(payload) != 16:
                raise Malformed("a complex number has 16 bytes")
            return complex(*_complex(payload))
        if code == REF:
            if len(payload) != 2:
                raise Malformed("an object reference has 2 bytes")
            if self.ref is None:
                raise Malformed("an object reference that is not in the message")
            return self.ref(int.from_bytes(payload, "big"))
        return hooks.package.restore(code - 0x100 if code & 0x80 else code, payload)

    def _made(self, kind: int, values: list[Any], at: int, end: int) -> Any:
        """The value of an extension that has these parts."""
        if at != end:
            raise Malformed("an extension is longer or shorter than what it holds")
        if kind == TUPLE:
            return tuple(values)
        if kind in (SET, FROZENSET):
            try:
                return set(values) if kind == SET else frozenset(values)
            except Exception:  # whatever a class of theirs raises
                raise _unhashable(values) from None
        if kind == BUFFER:
            values[2] = self._bytes_of(values[2], values[1])
            if self.buffer is not None:
                return self.buffer(*values)
        return hooks.package.restore(kind, values)

    def _bytes_of(self, data: Any, shape: Any) -> Any:
        """The bytes of a buffer, of which a position may have come."""
        if type(data) is bytes or type(data) is Memory:
            return data
        if type(data) is not int or data < 0:
            raise Malformed("a buffer has bytes, or their position")
        if self.memories is not None and not self.memories:
            raise Failure("overloaded", "a big value did not come: its sender could pass no descriptor")
        if self.memories is None or data >= len(self.memories):
            raise Malformed("the memory of a buffer did not come with it")
        memory = self.memories[data]
        if not isinstance(memory, Descriptor) or (self.buffer is not None and shape == [0]):
            return memory
        return Memory.received(memory)


class _Opened:
    """A container whose parts come next: what it is, how many there are, where it ends, if that was said, and where it begins."""

    __slots__ = ("began", "count", "end", "kind")

    def __init__(self, kind: int, count: int, end: int, began: int) -> None:
        self.kind = kind
        self.count = count
        self.end = end
        self.began = began


def _unhashable(keys: list[Any]) -> Malformed:
    key = next((key for key in keys if not _is_hashable(key)), None)
    return Malformed(f"a {type(key).__name__} cannot be the key of a dict or in a set")


def _is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except Exception:  # whatever its class raises
        return False
    return True


def _not_utf8(at: int) -> Malformed:
    return Malformed(f"a string is not valid UTF-8 at byte {at}")


def _truncated(data: Any) -> Malformed:
    return Malformed(f"the data ends inside a value at byte {len(data)}")
