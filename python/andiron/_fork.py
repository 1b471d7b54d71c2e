"""Forked children, which have connections of their own from their first use on."""

from __future__ import annotations

import os
from _weakrefset import WeakSet

from andiron._rows import row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NamedTuple, Protocol

    class Heir(Protocol):
        """Who has something that a forked child has to make anew."""

        def forked(self) -> None:
            """Hears that this process is a child, in which nothing of the engine's works."""

    class Place(NamedTuple):
        """Where and how one connects: all that another process has to know, and nothing that is secret."""

        address: str
        wait: float
        timeout: float | None
        retry: float | None
        cache: int | None
        secret_file: str | None
        pump: bool | None

else:
    Place = row("Place", "address wait timeout retry cache secret_file pump")


class Anew:
    """Stands in a forked child for an object of the engine, until it is used: then that is made anew."""

    __slots__ = ("_make", "_name", "_owner")

    def __init__(self, owner: Any, name: str, make: Callable[[], Any]) -> None:
        self._owner = owner
        self._name = name
        self._make = make
        _inherited.append(getattr(owner, name))
        setattr(owner, name, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(made(self), name)


def made(value: Any) -> Any:
    """What a value stands for in this process."""
    if type(value) is Anew:
        value, owner, name = value._make(), value._owner, value._name
        setattr(owner, name, value)
    return value


#: The parent's, which goes on using them: they are not even dropped here.
_inherited: list[Any] = []
_heirs: WeakSet[Any] = WeakSet()


def inherits(heir: Heir) -> None:
    """Has it told in a forked child."""
    _heirs.add(heir)


def _after_fork() -> None:
    for heir in list(_heirs):
        heir.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
