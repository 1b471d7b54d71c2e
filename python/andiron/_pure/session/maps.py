"""The maps of the protocol itself, as of a HELLO and an ERROR, in the native codec.

They are read here and not by the codec for users: a HELLO comes from somebody who did not prove yet who that is, so nothing but text,
numbers and bytes is made of it; and of an ERROR the values for its exception stay encoded until somebody makes that.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: By first byte, for values whose content is no further values: how many bytes there are, and how many of them tell the number of bytes behind
#: these. Of numbers below 0x80 and from 0xe0 on there is the first byte only.
_SCALARS: dict[int, tuple[int, int]] = {
    0xC0: (1, 0),
    0xC2: (1, 0),
    0xC3: (1, 0),
    0xC4: (2, 1),
    0xC5: (3, 2),
    0xC6: (5, 4),
    0xC7: (3, 1),
    0xC8: (4, 2),
    0xC9: (6, 4),
    0xCA: (5, 0),
    0xCB: (9, 0),
    0xCC: (2, 0),
    0xCD: (3, 0),
    0xCE: (5, 0),
    0xCF: (9, 0),
    0xD0: (2, 0),
    0xD1: (3, 0),
    0xD2: (5, 0),
    0xD3: (9, 0),
    0xD4: (3, 0),
    0xD5: (4, 0),
    0xD6: (6, 0),
    0xD7: (10, 0),
    0xD8: (18, 0),
    0xD9: (2, 1),
    0xDA: (3, 2),
    0xDB: (5, 4),
}
_STRINGS = frozenset((0xD9, 0xDA, 0xDB))
_BINARIES = frozenset((0xC4, 0xC5, 0xC6))
_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_SIGNED = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


class Unreadable(Exception):
    """What is no value of the form that is looked for."""


def _count(data: bytes, at: int, size: int) -> int:
    if len(data) - at < size:
        raise Unreadable("it is cut short")
    return int.from_bytes(data[at : at + size], "big")


def _container(data: bytes, at: int) -> tuple[bool, int, int]:
    """Whether a map begins there, how many entries it or the array has, and where these stand. -1 entries: neither begins there."""
    first = data[at]
    if 0x80 <= first < 0xA0:
        return first < 0x90, first & 0x0F, at + 1
    if 0xDC <= first < 0xE0:
        size = 4 if first & 1 else 2
        return first >= 0xDE, _count(data, at + 1, size), at + 1 + size
    return False, -1, at


def skip(data: bytes, at: int) -> int:
    """Where the value ends that begins there. Its lengths are not believed: each step needs a byte that is there."""
    left = 1
    size = len(data)
    while left:
        if at >= size:
            raise Unreadable("it is cut short")
        left -= 1
        first = data[at]
        if first < 0x80 or first >= 0xE0:
            at += 1
        elif 0xA0 <= first < 0xC0:
            at += 1 + (first & 0x1F)
        else:
            scalar = _SCALARS.get(first)
            if scalar is not None:
                head, counted = scalar
                at += head + (_count(data, at + 1, counted) if counted else 0)
            else:
                is_map, count, at = _container(data, at)
                if count < 0:
                    raise Unreadable("a value begins with the byte c1")
                left += 2 * count if is_map else count
    if at > size:
        raise Unreadable("it is cut short")
    return at


def spans(data: bytes, known: Iterable[str], whole: bool = True) -> dict[str, list[bytes]]:
    """The bytes of the values in a map with text as keys, of the keys that are known. ``whole``: nothing stands behind the map."""
    if not data:
        raise Unreadable("it is cut short")
    is_map, count, at = _container(data, 0)
    if not is_map:
        raise Unreadable("it is no map")
    found: dict[str, list[bytes]] = {}
    for _ in range(count):
        behind = skip(data, at)
        name = text(data[at:behind])
        at = behind
        behind = skip(data, at)
        if name in known:
            found.setdefault(name, []).append(data[at:behind])
        at = behind
    if whole and at != len(data):
        raise Unreadable("something stands behind it")
    return found


def fields(data: bytes, known: Iterable[str]) -> dict[str, bytes]:
    """The same, where no known key may come twice."""
    found = spans(data, known)
    for name, values in found.items():
        if len(values) > 1:
            raise Unreadable(f"'{name}' comes twice")
    return {name: values[0] for name, values in found.items()}


def text(value: bytes) -> str:
    """A text that is all of the bytes, which are one value."""
    first = value[0]
    if 0xA0 <= first < 0xC0:
        content = value[1:]
    elif first in _STRINGS:
        content = value[_SCALARS[first][0] :]
    else:
        raise Unreadable("what is to be text is none")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Unreadable("a text is not UTF-8") from None


def texts(value: bytes) -> list[str]:
    """An array of texts."""
    is_map, count, at = _container(value, 0)
    if is_map or count < 0:
        raise Unreadable("what is to be an array is none")
    found = []
    for _ in range(count):
        behind = skip(value, at)
        found.append(text(value[at:behind]))
        at = behind
    return found


def number(value: bytes) -> int:
    """An integer from 0 to 2^64 - 1."""
    first = value[0]
    if first < 0x80:
        return first
    if first in _UNSIGNED:
        return int.from_bytes(value[1:], "big")
    if first in _SIGNED and value[1] < 0x80:
        return int.from_bytes(value[1:], "big")
    raise Unreadable("what is to be a number from 0 on is none")


def numbers(value: bytes) -> dict[str, int]:
    """A map of text to numbers, all of which must be some."""
    is_map, count, at = _container(value, 0)
    if not is_map:
        raise Unreadable("what is to be a map is none")
    found: dict[str, int] = {}
    for _ in range(count):
        behind = skip(value, at)
        name = text(value[at:behind])
        at = skip(value, behind)
        found[name] = number(value[behind:at])
    return found


def binary(value: bytes) -> bytes | None:
    """Bytes; ``None`` for what is something else."""
    return value[_SCALARS[value[0]][0] :] if value[0] in _BINARIES else None


def is_nothing(value: bytes) -> bool:
    """True for nil."""
    return value == b"\xc0"


def sound(words: str) -> str:
    """A text as it can be sent, whatever somebody made it of."""
    return words.encode("utf-8", "replace").decode()
