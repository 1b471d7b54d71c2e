"""Calls that go on while their caller does something else, as Pyro4 had them: asynchronous proxies, and futures of any function."""

from __future__ import annotations

import threading

from andiron.compat.pyro.core import current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Step = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

__all__ = ["Future", "FutureResult", "asyncproxy"]


class FutureResult:
    """What an asynchronous call gives: its result, as soon as that is there.

    >>> result = begun(lambda: 20)
    >>> result.then(lambda value, more: value + more, more=1).value
    21
    """

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._lock = threading.RLock()
        self._value: Any = None
        self._error: BaseException | None = None
        #: What is done with the result, in this order.
        self.callchain: list[Step] = []
        #: What is told of an error.
        self.exceptionhandler: Callable[[BaseException], Any] | None = None

    @property
    def ready(self) -> bool:
        """Whether the result, or the error, is there."""
        return self._ready.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the result, so many seconds at most. Whether it is there."""
        return self._ready.wait(timeout)

    @property
    def value(self) -> Any:
        """The result, which is waited for; raises what the call raised."""
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._end(value, None)

    def then(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> FutureResult:
        """Has the result become what ``call(result, *args, **kwargs)`` makes of it: when it comes, or at once where it is there. Where there is an error nothing is called."""
        with self._lock:
            self.callchain.append((call, args, kwargs))
            if self._ready.is_set():
                self._end(self._value, self._error)
        return self

    def iferror(self, exceptionhandler: Callable[[BaseException], Any]) -> FutureResult:
        """Has an error be told to a function: when it comes, or at once where it is there."""
        with self._lock:
            self.exceptionhandler = exceptionhandler
            if self._ready.is_set() and self._error is not None:
                exceptionhandler(self._error)
        return self

    def set_cancelled(self) -> None:
        """Ends it with the error that it was cancelled."""
        self._end(None, RuntimeError("future has been cancelled"))

    def _end(self, value: Any, error: BaseException | None) -> None:
        """Gives it what it was made for. What a step raises is its error too: else who waits for it would wait for ever."""
        with self._lock:
            told = error is not None and error is self._error
            steps, self.callchain = self.callchain, []
            if error is None:
                value, error = _walked(value, steps)
            self._value, self._error = value, error
            try:
                if error is not None and not told and self.exceptionhandler is not None:
                    self.exceptionhandler(error)
            finally:
                self._ready.set()

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            value = work()
        except Exception as error:
            self._end(None, error)
        else:
            self._end(value, None)


def _walked(value: Any, steps: list[Step]) -> tuple[Any, BaseException | None]:
    try:
        for call, args, kwargs in steps:
            value = call(value, *args, **kwargs)
    except Exception as error:
        return None, error
    return value, None


def begun(work: Callable[[], Any]) -> FutureResult:
    """What some work gives, which goes on in a thread of its own that holds no program up at its end."""
    result = FutureResult()
    threading.Thread(target=result._run, args=(work,), name="andiron-pyro-future", daemon=True).start()
    return result


def start(proxy: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FutureResult:
    """What a method of a proxy gives, which is called meanwhile, with what this thread says beside its calls."""
    said = current_context.to_global()

    def call() -> Any:
        current_context.from_global(said)
        return proxy._pyroInvoke(name, args, kwargs)

    return begun(call)


def asyncproxy(proxy: Any, asynchronous: bool = True) -> None:
    """Has the methods of a proxy give a `FutureResult` at once from now on; or no more."""
    proxy._pyroAsync(asynchronous)


class Future:
    """A function that is to be called later, once, in a thread of its own: calling it begins that.

    >>> double = Future(lambda number: 2 * number).then(lambda number, more: number + more, 1)
    >>> double(10).value
    21
    """

    def __init__(self, somecallable: Callable[..., Any]) -> None:
        self.callable = somecallable
        self.chain: list[Step] = []
        self.exceptionhandler: Callable[[BaseException], Any] | None = None
        #: Seconds that the call waits before it begins.
        self.call_delay: float = 0
        self.cancelled = False
        #: It has begun to run, or ended without.
        self.completed = False
        self._begun = False
        self._changed = threading.Condition()

    def __call__(self, *args: Any, **kwargs: Any) -> FutureResult:
        """Begins the call, and gives at once where its result will be."""
        with self._changed:
            if self._begun or self.completed:
                raise RuntimeError("the future has already been evaluated")
            if self.cancelled:
                raise RuntimeError("the future has been cancelled")
            self._begun = True
            result = FutureResult()
            result.callchain, self.chain = self.chain, []
            result.exceptionhandler = self.exceptionhandler
        run = threading.Thread(
            target=self._run, args=(result, args, kwargs), name="andiron-pyro-future", daemon=True
        )
        run.start()
        return result

    def delay(self, seconds: float) -> bool:
        """Has the call begin so many seconds later. Whether it had not begun yet."""
        with self._changed:
            if self.completed:
                return False
            self.call_delay = seconds
            self._changed.notify_all()
            return True

    def cancel(self) -> bool:
        """Has the call never begin. Whether it had not begun yet."""
        with self._changed:
            if self.completed:
                return False
            self.cancelled = True
            self._changed.notify_all()
            return True

    def then(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
        """Has the result become what ``call(result, *args, **kwargs)`` makes of it."""
        with self._changed:
            if self._begun:
                raise RuntimeError(
                    "the future has already been evaluated: add to its result what is to be done"
                )
            self.chain.append((call, args, kwargs))
        return self

    def iferror(self, exceptionhandler: Callable[[BaseException], Any]) -> Future:
        """Has an error be told to a function."""
        self.exceptionhandler = exceptionhandler
        return self

    def _run(self, result: FutureResult, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with self._changed:
            self._pause()
            self.completed = True
        if self.cancelled:
            result.set_cancelled()
        else:
            result._run(lambda: self.callable(*args, **kwargs))

    def _pause(self) -> None:
        import time

        begun = time.monotonic()
        while not self.cancelled:
            left = begun + self.call_delay - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)
