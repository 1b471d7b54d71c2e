"""Methods and streams of this process that its loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from typing import TYPE_CHECKING, Any

from andiron import _engine
from andiron._errors import CancelledError, DeadlineError, Error
from andiron.aio._proxy import Proxy, Stream
from andiron.aio._tasks import Calls, hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from andiron._engine import Answer, Inflow, Remote


def begin(function: Callable[..., Any], answer: Answer) -> None:
    """Calls an ``async def`` method on the thread of the running loop. What it is given is for tasks."""
    calls = Calls()

    def proxy(remote: Remote) -> Proxy:
        return Proxy(remote, calls)

    def stream(items: Inflow) -> Stream:
        return Stream(items, calls)

    arguments = answer.arguments(proxy, stream)
    if arguments is None:
        return
    args, kwargs = arguments
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        if error.__traceback__ is not None:
            error.__traceback__ = (
                error.__traceback__.tb_next
            )  # without this line: it is the caller's fault where nothing is left
        answer.error(error, (function, args, kwargs))
    else:
        go_on(result, answer)


def go_on(result: Any, answer: Answer) -> None:
    """Answers with what a method gave: when that is done, where it waits."""
    running = _engine.RunningCall(answer.context())
    context = contextvars.Context()
    context.run(_engine.running.set, running)
    if inspect.isawaitable(result):
        context.run(hold, _run(result, answer, running))
    else:
        context.run(answer.result, result)


async def _run(method: Any, answer: Answer, running: _engine.RunningCall) -> None:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    given_up = False

    def give_up() -> None:
        nonlocal given_up
        given_up = True
        if task is not None:
            _tell(loop, task.cancel)

    answer.on_cancel(give_up)
    try:
        result = await method
    except BaseException as error:
        late = given_up and isinstance(error, asyncio.CancelledError)
        answer.error(_why_given_up(running) if late else error)
        if isinstance(error, KeyboardInterrupt):
            raise
    else:
        answer.result(result)
    finally:
        running.context = None


def _why_given_up(running: _engine.RunningCall) -> Error:
    """What its caller is told, if it hears of it: it may still be about to find out that the time is over."""
    if running.context is not None and running.context.time_left() == 0:
        return DeadlineError("the caller's time was over")
    return CancelledError("the caller gave up")


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    """Has the loop call something, from any thread, if it still runs."""
    with contextlib.suppress(RuntimeError):  # it is closed, and with it all that could be told
        loop.call_soon_threadsafe(what)


class _Feeder:
    """Sends items as they come, and asks for them as they are wanted."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._items = items
        self._context = contextvars.copy_context()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._closed = False
        self.feed = _engine.Feed(lambda: _tell(loop, self._want), lambda: _tell(loop, self._close))

    def _want(self) -> None:
        self._wanted.set()
        if self._task is None and not self._closed:
            self._task = self._context.run(hold, self._run())

    def _close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            async for item in self._items:
                self._wanted.clear()
                if not self.feed.item(item):
                    await self._wanted.wait()
        except BaseException as raised:
            error = raised
            if isinstance(raised, KeyboardInterrupt):
                raise
        finally:
            close = getattr(self._items, "aclose", None)
            if close is not None:
                await close()
            self.feed.end(error)


def feed(items: AsyncIterator[Any]) -> _engine.Feed:
    """What sends the items of an asynchronous generator."""
    return _Feeder(items).feed
