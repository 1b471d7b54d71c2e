"""Objects of other processes, for tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from andiron import _errors
from andiron.aio._tasks import OfLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    from andiron._engine import Inflow, Method, Remote
    from andiron.aio._tasks import Calls


class _Member:
    """A method or property of an object of another process: to call it, or to await it where it is a property, asks for it."""

    __slots__ = ("_calls", "_method", "_of")

    def __init__(self, of: _Far, method: Method) -> None:
        self._of = of
        self._calls = of.calls
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return self._calls.call(self._method, *args, **kwargs)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._read().__await__()

    async def _read(self) -> Any:
        name = self._method.__name__
        if await self._of.kind_of(name) is None:
            raise TypeError(f"`{name}` is a method, and is awaited where it is called: `await ..{name}(..)`")
        return await self._calls.call(self._method)

    async def set(self, value: Any) -> None:
        """Sets the property."""
        name = self._method.__name__
        if await self._of.kind_of(name) != "read and set":
            raise AttributeError(f"`{name}` cannot be set")
        await self._calls.call(self._of.remote.method("$set"), name, value)

    def start(self, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Calls it at once, or with the others of a batch; the task waits for the result, and to cancel it gives the call up."""
        pending = self._calls.start(self._method, *args, **kwargs)
        return asyncio.get_running_loop().create_task(self._calls.answer(pending))

    def notify(self, *args: Any, **kwargs: Any) -> None:
        """Calls it one way."""
        self._method.notify(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self._method)


class _Far:
    """What a proxy knows of its object."""

    __slots__ = ("_interface", "calls", "remote")

    def __init__(self, remote: Remote, calls: Calls) -> None:
        self.remote = remote
        self.calls = calls
        self._interface: dict[str, str | None] | None = None

    async def kind_of(self, name: str) -> str | None:
        """What can be done with a property; `None` for a method. The object is asked once."""
        if self._interface is None:
            told = await self.calls.call(self.remote.method("$describe"))
            self._interface = {method["name"]: method.get("property") for method in told["methods"]}
        return self._interface.get(name)


class Proxy(OfLoop):
    """An object of another process, whose methods are awaited.

    What can be done with it::

        await player.seek(12.5)
        task = player.seek.start(12.5)  # sent at once, and awaited later
        player.log.notify("done")       # does not wait at all
        await player.volume             # a property
        await player.volume.set(5)

    A proxy of a function is called as such.
    """

    __slots__ = ("__dict__", "__weakref__", "_andiron")

    def __init__(self, remote: Remote, calls: Calls) -> None:
        object.__setattr__(self, "_andiron", _Far(remote, calls))

    def __getattr__(self, name: str) -> _Member:
        if name.startswith("_"):
            raise _errors.NoMethodError(f"`{name}`: names that begin with `_` are never exposed")
        far = _far(self)
        member = self.__dict__[name] = _Member(far, far.remote.method(name))
        return member

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a property is set by a task: `await ..{name}.set(..)`")

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        far = _far(self)
        return far.calls.call(far.remote.method("$call"), *args, **kwargs)

    def __andiron_remote__(self) -> Remote:
        return _far(self).remote

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and self.__andiron_remote__().same(other.__andiron_remote__())

    def __hash__(self) -> int:
        return hash(self.__andiron_remote__())

    def __repr__(self) -> str:
        return f"<aio {self.__andiron_remote__()!r}>"


def _far(proxy: Proxy) -> _Far:
    far: _Far = object.__getattribute__(proxy, "_andiron")
    return far


class Stream:
    """Items that another process sends as they are taken, for ``async for``. Closing or dropping it ends the sender's iterator; ``async with`` closes it."""

    __slots__ = ("_busy", "_calls", "_items")

    def __init__(self, items: Inflow, calls: Calls) -> None:
        self._items = items
        self._calls = calls
        self._busy = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if self._busy:
            raise RuntimeError("another task waits for the next item of this stream")
        self._busy = True
        try:
            return await self._calls.item(self._items)
        finally:
            self._busy = False

    async def aclose(self) -> None:
        """Wants no more items."""
        self._items.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
