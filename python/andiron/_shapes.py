"""Of which parts an instance of a class is made: all of it has to be in them, or it does not travel."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Whose instances are values by themselves.
_PLAIN = (int, float, complex, str, bytes, bytearray, list, dict, tuple, set, frozenset)

_MADE_BY_PYTHON = 1 << 9  # of `type.__flags__`

_Builtin = type(len)


class _WithSlot:
    __slots__ = ("slot",)


_Slot: type = type(vars(_WithSlot)["slot"])


def fields_of(cls: type) -> list[str] | None:
    """The names of the fields of a dataclass or a named tuple."""
    if hasattr(cls, "__dataclass_fields__"):
        import dataclasses

        return [field.name for field in dataclasses.fields(cls)]
    return list(cls._fields) if _is_named_tuple(cls) else None  # type: ignore[attr-defined]


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def is_plain(cls: type) -> bool:
    """Whether instances are values by themselves, of which their attributes do not tell all."""
    return issubclass(cls, _PLAIN) and not _is_named_tuple(cls) and not hasattr(cls, "__members__")


def is_in_c(cls: type) -> bool:
    """Whether a class was not made by a `class` statement: what its instances hold is seen by nobody."""
    new = vars(cls).get("__new__")
    return not cls.__flags__ & _MADE_BY_PYTHON or (
        isinstance(new, _Builtin) and getattr(new, "__self__", None) is cls
    )


def slots_of(cls: type) -> Iterator[str]:
    """The names of the slots that a class and its bases have."""
    return (name for base in cls.__mro__ for name, part in vars(base).items() if isinstance(part, _Slot))


def _has_dict(cls: type) -> bool:
    """Whether its instances have a ``__dict__``. The number that tells of it is missing in PyPy."""
    return bool(getattr(cls, "__dictoffset__", 0)) or any("__dict__" in vars(base) for base in cls.__mro__)


def check(cls: type) -> None:
    """Raises why instances of a class, which is no exception, cannot be told by their parts."""
    known = fields_of(cls)
    if hasattr(cls, "__members__"):
        return
    for base in cls.__mro__:
        if is_in_c(base) and base is not object and not (base is tuple and _is_named_tuple(cls)):
            raise TypeError(
                f"{cls.__qualname__} is made of a {base.__qualname__}, and what that holds is in no attribute: send what it is made from"
            )
    if known is None and any(slots_of(cls)):
        raise TypeError(f"{cls.__qualname__} has slots: make it a dataclass to have it travel")
    if known is None and not _has_dict(cls):
        raise TypeError(
            f"instances of {cls.__qualname__} have no __dict__: make it a dataclass to have it travel"
        )


#: Classes that were looked at, with the names of their fields, and of the slots that are none.
_looked_at: dict[type, tuple[list[str] | None, list[str]]] = {}


def parts_of(value: Any, cls: type) -> dict[str, Any]:
    """All that an instance has, by name."""
    known = _looked_at.get(cls)
    if known is None:
        check(cls)
        if len(_looked_at) >= 1000:  # of a program that makes classes without end
            _looked_at.clear()
        names = fields_of(cls)
        known = _looked_at[cls] = names, [slot for slot in slots_of(cls) if slot not in (names or ())]
    fields, slots = known
    own: dict[Any, Any] = vars(value) if _has_dict(cls) else {}
    if fields is None:
        for name in own:
            if type(name) is not str:
                raise TypeError(
                    f"a {cls.__qualname__} has an attribute whose name is {name!r}, which is no text"
                )
        return dict(own)
    for name in own:
        if name not in fields and not _is_made_again(cls, name):
            raise TypeError(f"a {cls.__qualname__} has an attribute {name!r} that is no field of it")
    for name in slots:
        if hasattr(value, name):
            raise TypeError(f"a {cls.__qualname__} has a slot {name!r} that is no field of it")
    return {field: getattr(value, field) for field in fields}


def _is_made_again(cls: type, name: Any) -> bool:
    """Whether an attribute is kept by a `functools.cached_property`, which makes it of others."""
    return isinstance(name, str) and type(getattr(cls, name, None)).__name__ == "cached_property"
