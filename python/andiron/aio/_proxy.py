"""Objects of other processes, for tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from andiron import _errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from andiron._engine import Inflow, Method, Remote
    from andiron.aio._loop import Loop


class _Method:
    """A method of an object of another process: to call it gives something to await."""

    __slots__ = ("_call", "_method")

    def __init__(self, loop: Loop, method: Method) -> None:
        self._call = loop.call
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return self._call(self._method, *args, **kwargs)

    def notify(self, *args: Any, **kwargs: Any) -> None:
        """Calls it one way."""
        self._method.notify(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self._method)


class Proxy:
    """An object of another process: ``await player.seek(12.5)``. A property is read by calling it, and a proxy of a function is called as such."""

    __slots__ = ("__dict__", "__weakref__", "_andiron")

    def __init__(self, remote: Remote, loop: Loop) -> None:
        self._andiron = remote, loop

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise _errors.NoMethodError(f"`{name}`: names that begin with `_` are never exposed")
        remote, loop = self._andiron
        method = self.__dict__[name] = _Method(loop, remote.method(name))
        return method

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        remote, loop = self._andiron
        return loop.call(remote.method("$call"), *args, **kwargs)

    def __andiron_remote__(self) -> Remote:
        return self._andiron[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and self._andiron[0].same(other._andiron[0])

    def __hash__(self) -> int:
        return hash(self._andiron[0])

    def __repr__(self) -> str:
        return f"<aio {self._andiron[0]!r}>"


class Stream:
    """Items that another process sends as they are taken, for ``async for``."""

    __slots__ = ("_items", "_loop")

    def __init__(self, items: Inflow, loop: Loop) -> None:
        self._items = items
        self._loop = loop

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        return await self._loop.item(self._items)

    async def aclose(self) -> None:
        """Wants no more items."""
        self._items.close()
