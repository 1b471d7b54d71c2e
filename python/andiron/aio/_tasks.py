"""What tasks of an event loop wait for."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import TYPE_CHECKING, Any

from andiron import _engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from typing_extensions import Self

    from andiron._engine import Inflow, Method, Pending


class Tasks:
    """Waits of the tasks of one loop, at whatever connections: other threads ring a bell when something is there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = _engine.Bell()
        # Callbacks of the loop are to have nothing of who is here by chance, as its time limit.
        contextvars.Context().run(loop.add_reader, self.bell.fileno(), self._rung)

    def _rung(self) -> None:
        wake(self.bell.rung())


#: Those of the loops that are there. None of them keeps its loop.
_tasks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Tasks] = weakref.WeakKeyDictionary()


def tasks_of(loop: asyncio.AbstractEventLoop) -> Tasks:
    """Those of the loop that runs here."""
    tasks = _tasks.get(loop)
    if tasks is None:
        tasks = _tasks[loop] = Tasks(loop)
    return tasks


def wake(tokens: list[Any]) -> None:
    """Lets those go on for whom something is there: futures, and drivers of connections."""
    for token in tokens:
        if isinstance(token, weakref.ref):
            driving = token()
            if driving is not None:
                driving.soon()
        elif not token.done():
            token.set_result(None)


#: Tasks that nobody else holds: a loop itself would forget them.
_held: set[asyncio.Task[Any]] = set()


def hold(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Has the running loop run something that nobody waits for."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _held.add(task)
    task.add_done_callback(_held.discard)
    return task


class OfLoop:
    """What belongs to a loop."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} belongs to its event loop and cannot be pickled: connect where it is wanted"
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


class Calls:
    """Calls of the tasks of one loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.bell = tasks_of(self.loop).bell

    def start(self, method: Method, *args: Any, **kwargs: Any) -> Pending:
        """Calls a method, as a part of the one that this task runs."""
        running = _engine.running.get()
        if running is None or running.context is None:
            return method.start(*args, **kwargs)
        pending: Pending = running.context.run(method.start, *args, **kwargs)
        return pending

    async def call(self, method: Method, *args: Any, **kwargs: Any) -> Any:
        """Calls a method; the call is given up when the task is cancelled."""
        return await self.answer(self.start(method, *args, **kwargs))

    async def ready(self, method: Method) -> None:
        """Waits until a call of this method can be sent without waiting."""

    async def answer(self, pending: Pending) -> Any:
        """The result of a call under way."""
        try:
            await self._there(pending)
        except BaseException:
            pending.cancel()
            raise
        try:
            return pending.result()
        finally:
            del pending  # an error that it raises has this frame, and would keep what it is kept by

    async def item(self, items: Inflow) -> Any:
        """The next item of a stream; `StopAsyncIteration` behind the last one."""
        await self._there(items)
        try:
            return next(items)
        except StopIteration:
            raise StopAsyncIteration from None

    async def _there(self, awaited: Pending | Inflow) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("this belongs to another event loop: connect in each loop")
        future = self.loop.create_future()
        number = self.bell.attend(awaited, future)
        if number:
            try:
                await future
            except BaseException:
                self.bell.forget(number)
                raise

    def blocking(self, work: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Runs what may block, on a thread of the loop's."""
        context = contextvars.copy_context()
        return self.loop.run_in_executor(None, context.run, work, *args)
