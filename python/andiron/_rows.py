"""Named tuples without the module ``collections``: to import that takes longer than the rest of the package."""

from __future__ import annotations

import sys
from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class _Row(tuple):  # type: ignore[type-arg] # of anything
    __slots__ = ()

    _fields: tuple[str, ...] = ()

    def __new__(cls, *values: Any, **named: Any) -> Any:
        rest = cls._fields[len(values) :]
        if len(values) + len(named) != len(cls._fields) or any(name not in named for name in rest):
            raise TypeError(f"a {cls.__name__} is made of {', '.join(cls._fields)}")
        return tuple.__new__(cls, (*values, *[named[name] for name in rest]))

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Any:
        return cls(*values)

    def _replace(self, **named: Any) -> Any:
        return type(self)(**{**self._asdict(), **named})

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({fields})"


def row(name: str, fields: str) -> Any:
    """A class of tuples whose fields have these names.

    >>> point = row("Point", "x y")(1, y=2)
    >>> point, point.y, point._replace(x=3) == (3, 2)
    (Point(x=1, y=2), 2, True)
    """
    names = tuple(fields.split())
    members: dict[str, Any] = {field: property(itemgetter(at)) for at, field in enumerate(names)}
    members.update({"__slots__": (), "_fields": names, "__match_args__": names})
    members["__module__"] = sys._getframe(1).f_globals["__name__"]  # where it is found by pickle
    return type(name, (_Row,), members)
