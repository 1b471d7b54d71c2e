"""What the other end of a channel may call."""

from __future__ import annotations

import inspect
import threading
import time
import types

from andiron.compat._kaa import coroutines
from andiron.compat._kaa.signals import EARLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def expose(command: str | None = None, add_client: bool = False, coroutine: bool = False) -> Any:
    """Marks a function that the other end of a channel may call, by this name or its own.

    ``add_client``: the channel is its first argument. ``coroutine``: it is a generator that waits for in-progress objects, as `coroutine` makes it.
    """

    def decorator(func: Any) -> Any:
        marked: Any = coroutines.coroutine()(func) if coroutine else func
        marked._kaa_rpc = command or func.__name__
        marked._kaa_rpc_param = (add_client,)
        return marked

    return decorator


class Functions:
    """What was registered: exposed functions by their names. The latest of a name is called, and those of a server where a channel has none."""

    def __init__(self, more: Functions | None = None) -> None:
        self.objects: list[Any] = []
        self._more = more
        self._named: dict[str, Callable[..., Any]] = {}
        self._changed: threading.Condition = threading.Condition() if more is None else more._changed
        self._until = time.monotonic() + EARLY

    def register(self, obj: Any) -> None:
        exposed = _exposed(obj)
        with self._changed:
            self.objects.append(obj)
            self._named = {**self._named, **exposed}
            self._changed.notify_all()

    def forget(self, obj: Any) -> None:
        with self._changed:
            if obj not in self.objects:
                return
            self.objects.remove(obj)
            self._named = {
                name: function for each in self.objects for name, function in _exposed(each).items()
            }

    def names(self) -> list[str]:
        return [*self._named, *(self._more.names() if self._more is not None else ())]

    def find(self, command: str) -> Callable[..., Any] | None:
        """The function of this name. What is about to be registered is waited for, as the other end may be faster."""
        with self._changed:
            while True:
                found = self._found(command)
                left = self._until - time.monotonic()
                if found is not None or left <= 0:
                    return found
                self._changed.wait(left)

    def _found(self, command: str) -> Callable[..., Any] | None:
        found = self._named.get(command)
        return self._more._found(command) if found is None and self._more is not None else found


def _exposed(obj: Any) -> dict[str, Callable[..., Any]]:
    """What of a function, a module or an instance is exposed. Properties are not read for that."""
    members: list[Any] = [obj]
    if not isinstance(obj, (types.FunctionType, types.MethodType)):
        names = [name for name in dir(obj) if not (isinstance(obj, types.ModuleType) and name[:1] == "_")]
        shown = [name for name in names if not isinstance(inspect.getattr_static(obj, name, None), property)]
        members = [getattr(obj, name, None) for name in shown]
    return {
        member._kaa_rpc: member
        for member in members
        if callable(member) and isinstance(getattr(member, "_kaa_rpc", None), str)
    }
