"""What an event loop runs: ``async def`` methods, and items of asynchronous generators. Without :mod:`asyncio`, which is imported where it is used only."""

from __future__ import annotations

import sys
import types

from andiron import _errors
from andiron._engine import Later, hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from functools import partial
    from typing import Any

    from andiron._engine import Answer, Feed
else:
    try:
        from _functools import partial
    except ImportError:  # of PyPy
        from functools import partial

#: Those of functions whose calls give something to await or to iterate over asynchronously.
_WAITS = 0x80 | 0x100 | 0x200  # inspect.CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR

#: Loops of servers, the latest last: they run methods that were not offered within a loop.
serving: list[asyncio.AbstractEventLoop] = []


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs on this thread."""
    running = sys.modules.get("asyncio.events")
    return None if running is None else running._get_running_loop()


def _waits(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, types.MethodType):
        function = function.__func__
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004 - which one it is
    return code is not None and bool(code.co_flags & _WAITS)


def in_loop(methods: dict[str, Any], loop: asyncio.AbstractEventLoop | None) -> dict[str, Any]:
    """The same methods, of which those that wait run in a loop: this one, or that of a server."""
    if not any(_waits(function) for function in methods.values()):
        return methods
    return {
        name: Later(partial(_begin, function, loop)) if _waits(function) else function
        for name, function in methods.items()
    }


def _begin(function: Callable[..., Any], loop: asyncio.AbstractEventLoop | None, answer: Answer) -> None:
    chosen = loop or _of_server()
    if chosen is None:
        answer.error(_no_loop())
        return
    from andiron.aio._methods import begin

    _go(chosen, begin, function, answer)


def _coroutine(coroutine: Any, answer: Answer) -> None:
    """Has a method go on that is no ``async def`` and gave a coroutine."""
    loop = running_loop() or _of_server()
    if loop is None:
        coroutine.close()
        answer.error(_no_loop())
        return
    from andiron.aio._methods import go_on

    _go(loop, go_on, coroutine, answer)


def _of_server() -> asyncio.AbstractEventLoop | None:
    return serving[-1] if serving else None


def _go(loop: asyncio.AbstractEventLoop, step: Callable[..., None], what: Any, answer: Answer) -> None:
    if running_loop() is loop:
        step(what, answer)
        return
    try:
        loop.call_soon_threadsafe(step, what, answer)
    except RuntimeError:
        answer.error(
            _errors.UnavailableError("the loop that runs this method is closed; the method did not run")
        )


def _no_loop() -> _errors.Error:
    return _errors.UnsupportedError(
        "the method is an `async def`, which a loop has to run: serve it by `andiron.aio`"
    )


def is_stream(value: object) -> bool:
    """Whether it is iterated over asynchronously."""
    return hasattr(type(value), "__anext__")


def fed(items: Any) -> Feed | str:
    """What sends items that the running loop makes; in words why not."""
    if running_loop() is None:
        return f"{type(items).__name__} is iterated over in a loop: send it from there, by `andiron.aio`"
    from andiron.aio._methods import feed

    return feed(items)


hooks.coroutine = _coroutine
