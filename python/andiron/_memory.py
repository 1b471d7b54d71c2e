"""Buffers and arrays: how they travel, and memory that is passed on by reference."""

from __future__ import annotations

import sys

from andiron import _errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from andiron._engine import Memory

    T = TypeVar("T")

#: The format of a bytearray, by which it is told from a view of bytes.
_CHANGEABLE = "=B"
#: Formats of elements of an array. numpy reads more into others, and not all that it makes of them are errors.
_ELEMENTS = r"[<>|](b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU][1-9][0-9]{0,9}|[mM]8(\[[0-9]{0,9}([YMWDhms]|[munpfa]s)\])?)"
#: Formats of elements that a view can be cast to.
_CASTS = frozenset("cbB?hHiIlLqQnNfd")


class Array:
    """An array of numbers where there is no numpy. It can be stored and sent on, and arrives as what it was."""

    __slots__ = ("data", "format", "shape")

    def __init__(self, format: str, shape: list[int], data: memoryview) -> None:  # noqa: A002 - as a memoryview has it
        self.format = format
        self.shape = shape
        self.data = data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        return (self.format, self.shape, self.data) == (other.format, other.shape, other.data)

    __hash__ = None  # type: ignore[assignment] # its bytes can be changed

    def __repr__(self) -> str:
        return f"Array({self.format!r}, {self.shape!r}, <{len(self.data)} bytes>)"


def buffer(length: int) -> memoryview:
    """So many bytes of zeros to be filled, by numpy for example, and then frozen by `freeze` without a copy.

    >>> import numpy
    >>> numbers = numpy.frombuffer(buffer(800), dtype=float)
    >>> numbers[:] = 1.5
    >>> float(freeze(numbers).sum())
    150.0
    """
    length = _errors.check_whole("the length of a buffer", length)
    if length < 0:
        raise ValueError(f"a buffer has 0 bytes at least, not {length}")
    if not length:
        return memoryview(bytearray())
    from andiron import _engine

    try:
        room = _engine.Room(length)
    except OSError as error:
        import errno

        if error.errno != errno.ENOSYS:
            raise
        return memoryview(bytearray(length))  # this system has no memory that is passed by reference
    from andiron import _maps

    return memoryview(_maps.building(room, length))


def stored(value: Any) -> bytes | memoryview:
    """A value as it is stored: where some of it is big it goes by reference, and is copied once."""
    from andiron import _engine

    data = _engine.encode_stored(value)
    return data if isinstance(data, bytes) else _sealed(data)


def _sealed(memory: Memory) -> memoryview:
    """Its bytes, to be read only: mapped, or a copy where it has no place that could be."""
    if memory.place() is None:
        return memoryview(bytes(memory))
    from andiron import _maps

    return memoryview(_maps.sealed(memory))


def freeze(value: T) -> T:
    """An array, or the `memoryview` of a buffer, that never changes: it goes by reference to other processes of this machine, at the same cost at any size and any number of times.

    What `buffer` made is frozen where it lies, and other memory copied once. Who wrote there may go on, and then has a copy. Where others get it, it is their own.

    >>> import numpy
    >>> frozen = freeze(numpy.arange(5))
    >>> frozen.flags.writeable, freeze(frozen) is frozen
    (False, True)
    """
    if _is_array(value):
        return _frozen_array(value)  # type: ignore[no-any-return] # an array, as it is
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"a {type(value).__name__} cannot be frozen: only an array, bytes, a bytearray or a memoryview"
        )
    view = memoryview(value)
    if _memory_of(view, view.nbytes) is not None:
        return value
    data = _bytes_of_view(view)
    frozen = _frozen(data, view, view.nbytes)
    if view.format != "B" or view.ndim != 1:
        frozen = _cast(frozen, view.format, list(view.shape or ()))
    return frozen  # type: ignore[return-value] # of bytes a view


def _frozen_array(array: Any) -> Any:
    import numpy

    _check_array(array)
    if not array.flags.writeable and _memory_of(array, array.nbytes) is not None:
        return array
    frozen = _frozen(_bytes_of_array(array), array, array.nbytes)
    return numpy.frombuffer(frozen, dtype=array.dtype).reshape(array.shape)


def _frozen(data: memoryview, of: Any, length: int) -> memoryview:
    """These bytes in memory that is sealed."""
    if length == 0:
        return memoryview(b"")
    from andiron import _engine

    building = _root(of)
    maps = sys.modules.get("andiron._maps")
    # Of several threads one has the room, and the others a copy.
    whole = maps is not None and isinstance(building, maps.Building) and len(building) == length
    room = vars(building).pop("room", None) if whole else None
    # A view keeps the map where it is meanwhile.
    return _sealed(_engine.freeze(data) if room is None else room.freeze(memoryview(building)))


def _root(of: Any) -> Any:
    """What a view or an array is a part of."""
    base = of
    while _is_array(base) and base.base is not None:
        base = base.base
    return base.obj if isinstance(base, memoryview) else base


def _memory_of(of: Any, length: int) -> Memory | None:
    """The sealed memory that a view or an array is, all of it in its order."""
    if "andiron._maps" not in sys.modules:
        return None
    from andiron import _maps

    sealed = _root(of)
    if not isinstance(sealed, _maps.Sealed) or len(sealed) != length:
        return None
    contiguous = of.c_contiguous if isinstance(of, memoryview) else of.flags.c_contiguous
    return sealed.memory if contiguous else None


def _unchanged(array: Any) -> Memory | None:
    """The sealed memory of which an array is the own copy of who got it, where nothing was written to that."""
    if "andiron._maps" not in sys.modules:
        return None
    from andiron import _maps

    own = _root(array)
    if not isinstance(own, _maps.Own) or len(own) != array.nbytes or not array.flags.c_contiguous:
        return None
    address: int = array.__array_interface__["data"][0]
    return own.memory if own.memory.is_unchanged(address) else None


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _check_array(array: Any) -> None:
    if array.dtype.hasobject or array.dtype.names or array.dtype.subdtype or array.dtype.kind == "V":
        raise TypeError(
            f"an array of {array.dtype} cannot be sent: only one of plain numbers, texts or times"
        )
    if not array.dtype.itemsize:
        raise TypeError("an array of elements that have no bytes cannot be sent")


def _bytes_of_view(view: memoryview) -> memoryview:
    return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())


def _bytes_of_array(array: Any) -> memoryview:
    if array.flags.c_contiguous and array.nbytes:
        import numpy

        # Not all kinds of elements are known to a view of the array itself.
        return memoryview(array.reshape(-1).view(numpy.uint8))
    return memoryview(array.tobytes())


def parts_of_bytearray(value: bytearray) -> list[Any]:
    """Format, shape and bytes, as they travel."""
    return [_CHANGEABLE, [len(value)], memoryview(value)]


def parts_of_view(view: memoryview) -> list[Any]:
    """The same of a view."""
    if view.format.lstrip("@") not in _CASTS:
        raise TypeError(f"a memoryview of the format {view.format!r} cannot be sent: cast it to bytes")
    if view.ndim > 1 and not view.nbytes:
        raise TypeError("a memoryview of several dimensions that has no bytes cannot be sent")
    data = _memory_of(view, view.nbytes) if view.readonly else None
    return [view.format, list(view.shape or ()), data or _bytes_of_view(view)]


def parts_of_array(array: Any) -> list[Any]:
    """The same of an array of numpy."""
    _check_array(array)
    data = _unchanged(array) if array.flags.writeable else _memory_of(array, array.nbytes)
    return [array.dtype.str, list(array.shape), data or _bytes_of_array(array)]


def made_of(form: str, shape: list[int], data: Any) -> Any:
    """The buffer or array that has these parts; `data` is `bytes` or `Memory`."""
    if form == _CHANGEABLE and shape == [len(data)]:
        return bytearray(data if isinstance(data, bytes) else _own(data))
    view = memoryview(bytearray(data)) if isinstance(data, bytes) else _own(data)
    if form == "B" and shape == [len(view)]:
        return view
    try:
        return (_array if form[:1] in ("<", ">", "|", "=") else _cast)(view, form, shape)
    except (TypeError, ValueError, ArithmeticError, MemoryError, SystemError) as error:
        raise _errors.EncodingError(
            f"the value cannot be read: a buffer of format {form!r} and shape {shape}: {error}"
        ) from None


def _own(memory: Memory) -> memoryview:
    from andiron import _maps

    mapped = _maps.own(memory)
    return memoryview(bytearray(bytes(memory))) if mapped is None else mapped


def _cast(view: memoryview, form: Any, shape: list[int]) -> memoryview:
    if form.lstrip("@") not in _CASTS:
        raise ValueError("that is no format of elements")
    if 0 not in shape:
        return view.cast(form, shape)
    if len(shape) != 1:
        raise ValueError("a view of nothing has one dimension")
    return view.cast(form)


def _array(data: memoryview, form: str, shape: list[int]) -> Any:
    import re

    if not re.fullmatch(_ELEMENTS, form):
        raise ValueError("that are no plain elements")
    try:
        import numpy
    except ImportError:
        return Array(form, shape, data)
    kind = numpy.dtype(form)
    if 0 in shape and not len(data):  # which numpy makes no array of
        return numpy.zeros(shape, kind)
    return numpy.frombuffer(data, dtype=kind).reshape(shape)
