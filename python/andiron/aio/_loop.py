"""Between the engine and an event loop."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from andiron import _native
from andiron._expose import runners

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from andiron._engine import Connection, Inflow, Method, Pending

#: Loops of servers, whose methods may be called on other threads.
serving: list[asyncio.AbstractEventLoop] = []
#: Tasks of methods that wait: the loop itself would forget them.
_methods: set[asyncio.Task[Any]] = set()


class Loop:
    """Has the running loop read a connection."""

    def __init__(self, connection: Connection) -> None:
        self._loop = asyncio.get_running_loop()
        self._driver = _native.Driver(connection)
        # The loop watches a descriptor of its own: the connection may be closed by others at any time.
        self._socket = socket.socket(fileno=socket.dup(connection.fileno()))
        self._timer: asyncio.TimerHandle | None = None
        self._writes = False
        self._over = False
        self._loop.add_reader(self._socket, self._step)
        self._loop.add_reader(self._driver.bell(), self._step)
        self._step()

    def _step(self) -> None:
        if self._over:
            return
        until, room, over, ready = self._driver.step()
        for future in ready:
            if not future.done():
                future.set_result(None)
        if over:
            self.close()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if until is not None:
            self._timer = self._loop.call_later(until, self._step)
        if room != self._writes:
            self._writes = room
            if room:
                self._loop.add_writer(self._socket, self._step)
            else:
                self._loop.remove_writer(self._socket)

    def close(self) -> None:
        """Ends it; whoever waits hears why."""
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._loop.remove_reader(self._driver.bell())
        self._driver.close()
        self._socket.close()
        for future in self._driver.step()[3]:
            if not future.done():
                future.set_result(None)

    async def call(self, method: Method, *args: Any, **kwargs: Any) -> Any:
        """Calls a method; the call is given up when the task is cancelled."""
        return await self.answer(method.start(*args, **kwargs))

    async def answer(self, pending: Pending) -> Any:
        """The result of a call under way."""
        future = self._loop.create_future()
        if not self._driver.attend(pending, future):
            try:
                await future
            except asyncio.CancelledError:
                pending.cancel()
                raise
        return pending.result()

    async def item(self, items: Inflow) -> Any:
        """The next item of a stream; `StopAsyncIteration` behind the last one."""
        future = self._loop.create_future()
        if not self._driver.attend(items, future):
            await future
        try:
            return next(items)
        except StopIteration:
            raise StopAsyncIteration from None


async def _run(coroutine: Coroutine[Any, Any, Any], answer: _native.Answer) -> None:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        answer.on_cancel(lambda: loop.is_closed() or loop.call_soon_threadsafe(task.cancel))
    try:
        result = await coroutine
    except BaseException as error:
        answer.error(error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
    else:
        answer.result(result)


def _begin(coroutine: Coroutine[Any, Any, Any], answer: _native.Answer) -> None:
    task = asyncio.get_running_loop().create_task(_run(coroutine, answer))
    _methods.add(task)
    task.add_done_callback(_methods.discard)


def _go_on(coroutine: Coroutine[Any, Any, Any], answer: _native.Answer) -> bool:
    """Has an ``async def`` method go on: in the loop that reads the connection, or that of the server."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if not serving:
            return False
        serving[-1].call_soon_threadsafe(_begin, coroutine, answer)
    else:
        _begin(coroutine, answer)
    return True


runners.append(_go_on)
