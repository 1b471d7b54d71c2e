"""Between the engine and an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import TYPE_CHECKING, Any

from andiron import _errors
from andiron.aio._tasks import Calls, wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from andiron._engine import Driver, Method


class Loop(Calls):
    """Has the running loop read a connection, and its tasks call over it."""

    def __init__(self, retries: bool) -> None:
        super().__init__()
        self._driver: Driver | None = None
        self.retries = retries
        self._timer: asyncio.TimerHandle | None = None
        #: What the loop watches; -1 when the connection is over.
        self._watched = -1
        self._writes = False
        self._opened: asyncio.Future[None] = self.loop.create_future()
        self._over: asyncio.Future[None] = self.loop.create_future()
        #: Called when another connection has taken the place of the one that was lost.
        self.renewed: Callable[[], object] = lambda: None

    @property
    def token(self) -> weakref.ref[Loop]:
        """By which the bell knows it."""
        return weakref.ref(self)

    async def drive(self, driver: Driver) -> None:
        """Has the loop read a connection, from the handshake on."""
        self._driver = driver
        contextvars.Context().run(self._step)
        await self._opened

    def soon(self) -> None:
        """Makes a step when others had their turn."""
        contextvars.Context().run(self.loop.call_soon, self._step)

    def _step(self) -> None:
        driver = self._driver
        if driver is None:
            return
        until, room, over, tokens = driver.step()
        wake(tokens)
        if not self._opened.done():
            self._look_whether_open(driver)
        self._watch(driver, over, room)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if until is not None:
            self._timer = self.loop.call_later(until, self._step)
        if over and not self.retries:
            self._end()

    def _look_whether_open(self, driver: Driver) -> None:
        try:
            if driver.is_open():
                self._opened.set_result(None)
        except _errors.Error as error:
            self._opened.set_exception(error)

    def _watch(self, driver: Driver, over: bool, room: bool) -> None:
        """Has the loop watch what there is to watch: behind a step that said `over` that may be another connection."""
        if over:
            self._unwatch()
            if not self._over.done():
                self._over.set_result(None)
            return
        if self._watched < 0:
            self._watched = driver.fileno()
            self.loop.add_reader(self._watched, self._step)
            if self._over.done():
                self._over = self.loop.create_future()
                self.renewed()
        if room != self._writes:
            self._writes = room
            if room:
                self.loop.add_writer(self._watched, self._step)
            else:
                self.loop.remove_writer(self._watched)

    def _unwatch(self) -> None:
        if self._watched >= 0 and not self.loop.is_closed():
            self.loop.remove_reader(self._watched)
            self.loop.remove_writer(self._watched)
        self._watched = -1
        self._writes = False

    async def over(self) -> None:
        """Waits for the end of the connection, or of the present one where it retries."""
        await asyncio.shield(self._over)

    @property
    def closed(self) -> bool:
        """Whether it was closed here, or is over for good."""
        return self._driver is None

    def why(self) -> BaseException | None:
        """Why the connection is over, where nobody here closed it."""
        return None if self._driver is None else self._driver.ended()

    def _end(self) -> None:
        # The driver stays, to tell why.
        self._unwatch()

    def close(self) -> None:
        """Ends it; whoever waits hears why."""
        driver, self._driver = self._driver, None
        if driver is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()
        driver.close()
        wake(driver.step()[3])
        if not self._over.done():
            self._over.set_result(None)

    async def ready(self, method: Method) -> None:
        """Waits for the next connection where one was lost."""
        if self.retries and method.is_lost():
            await self.blocking(method.renew, False)

    async def call(self, method: Method, *args: Any, **kwargs: Any) -> Any:
        """Calls a method, and again over the next connection where it retries and the call cannot have run. The call is given up when the task is cancelled."""
        if not self.retries:
            return await self.answer(self.start(method, *args, **kwargs))
        while True:
            await self.ready(method)
            try:
                return await self.answer(self.start(method, *args, **kwargs))
            except (_errors.UnavailableError, _errors.NoObjectError):
                if not await self.blocking(method.renew, True):
                    raise
