"""Generators that wait for in-progress objects."""

from __future__ import annotations

import functools
import threading
from types import GeneratorType

from andiron import _engine
from andiron.compat._kaa import turns as _turns
from andiron.compat._kaa.inprogress import InProgress, InProgressAborted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Any

#: What a coroutine yields that wants to go on a little later.
NotFinished = object()


def coroutine(interval: float = 0) -> Callable[[Callable[..., Any]], Callable[..., InProgress]]:
    """Makes a generator a function that gives an in-progress object.

    To yield an in-progress object waits for it, and gives its result, or raises what it fails with; `NotFinished` goes on a little later; any other value is the result, as that of
    ``return`` is. ``interval``: seconds before it goes on each time. What it raises at once its caller gets at once.

    >>> @coroutine()
    ... def doubled(slow):
    ...     number = yield slow
    ...     return 2 * number
    >>> slow = InProgress()
    >>> result = doubled(slow)
    >>> _ = slow.finish(21)
    >>> result.wait()
    42
    """

    def decorator(func: Callable[..., Any]) -> Callable[..., InProgress]:
        @functools.wraps(func)
        def begun(*args: Any, **kwargs: Any) -> InProgress:
            generator = func(*args, **kwargs)
            if not isinstance(generator, GeneratorType):
                raise TypeError(f"{func!r} is no generator: a coroutine is a function with `yield` in it")
            running = CoroutineInProgress(generator, interval)
            running._go_on()
            if running.failed:
                running.wait()  # raises it
            return running

        return begun

    return decorator


class CoroutineInProgress(InProgress):
    """A coroutine that is under way. It goes on where what it waits for is told of."""

    def __init__(self, generator: Generator[Any, Any, Any], interval: float) -> None:
        super().__init__(True)
        self._generator = generator
        #: Seconds before it goes on each time.
        self.interval = interval
        self._awaited: InProgress | None = None
        #: Who has it go on, and who gives it up, do so one after the other.
        self._stepping = threading.RLock()

    @property
    def active(self) -> bool:
        """Whether it is still under way."""
        return not self.finished

    def abort(self, exc: InProgressAborted | None = None) -> None:
        """Raises `InProgressAborted` in the coroutine, which may catch it and go on to its end; what it waits for is given up as well where nobody else waits for that."""
        if getattr(self._generator, "gi_running", False):
            raise RuntimeError("a coroutine cannot give itself up: return")
        if self.finished:
            raise RuntimeError(f"{self!r} is finished already")
        error = exc or InProgressAborted("it was given up", inprogress=self, origin=self)
        with self._stepping:
            awaited, self._awaited = self._awaited, None
            if awaited is not None and not awaited.finished:
                awaited.disconnect(self._continue)
                awaited.exception.disconnect(self._continue)
                if not len(awaited) and awaited.abortable:
                    awaited._give_up(error)
            self._exception.handled = True
            self._step(self._generator.throw, error)

    def _continue(self, *_told: Any) -> None:
        if self.interval > 0:
            _turns.here().later(self.interval, self._go_on)
        elif _engine.current() is not None:
            _turns.here().soon(
                self._go_on
            )  # it is no part of the call that is handled here, and has not its time limit
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Runs it until it waits for something, or ends."""
        with self._stepping:
            awaited, self._awaited = self._awaited, None
            if self.finished:
                return
            if awaited is None or not awaited.failed:
                self._step(self._generator.send, None if awaited is None else awaited._result)
            else:
                awaited._exception.handled = True
                self._step(self._generator.throw, awaited._error)

    def _step(self, step: Callable[[Any], Any], sent: Any) -> None:
        try:
            value = step(sent)
            while isinstance(value, InProgress) and value.finished:
                if value.failed:
                    value._exception.handled = True
                    value = self._generator.throw(value._error)  # type: ignore[arg-type] # it has one
                else:
                    value = self._generator.send(value._result)
        except StopIteration as end:
            self._end(end.value)
        except BaseException as error:
            self._settle(None, error, error.__traceback__)
        else:
            self._wait_for(value)

    def _wait_for(self, value: Any) -> None:
        if value is NotFinished:
            _turns.here().later(self.interval, self._go_on)
        elif isinstance(value, InProgress):
            self._awaited = value
            value.connect_both(self._continue)
        else:
            self._generator.close()
            self._end(value)

    def _end(self, result: Any) -> None:
        if isinstance(result, InProgress):
            self.waitfor(result)
        else:
            self._settle(result, None, None)

    def throw(
        self,
        type: type[BaseException] | None = None,  # noqa: A002 - that is its name
        value: BaseException | None = None,
        tb: TracebackType | None = None,
        aborted: bool = False,
    ) -> bool:
        """Has it fail, wherever it is."""
        self._generator.close()
        return super().throw(type, value, tb, aborted)
