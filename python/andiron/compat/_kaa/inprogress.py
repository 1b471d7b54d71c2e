"""In-progress objects: what is not finished yet, and tells when it is."""

from __future__ import annotations

import sys
import threading
import time
from types import GeneratorType

from andiron import _log
from andiron._hub import wait_for
from andiron.compat._kaa import turns as _turns
from andiron.compat._kaa.signals import Signal, Signals, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import TracebackType
    from typing import Any

    from andiron.compat._kaa.signals import Callback
    from andiron.compat._kaa.turns import Turns

#: What an `InProgressAny` or `InProgressAll` finishes with.
FINISH_IDX = "FINISH_IDX"
FINISH_RESULT = "FINISH_RESULT"
FINISH_SELF = "FINISH_SELF"
FINISH_IDX_RESULT = "FINISH_IDX_RESULT"


class InProgressAborted(BaseException):
    """What an in-progress object fails with that was given up by `InProgress.abort`."""

    #: Which one; `None` where it is one of another process.
    inprogress: InProgress | None = None
    #: The one that was given up first, of those that wait for each other.
    origin: InProgress | None = None

    def __init__(
        self, *args: Any, inprogress: InProgress | None = None, origin: InProgress | None = None
    ) -> None:
        super().__init__(*args)
        self.inprogress = inprogress
        self.origin = origin

    @property
    def message(self) -> Any:
        """What was said of it."""
        return self.args[0] if self.args else None

    def __inprogress__(self) -> InProgress | None:
        return self.inprogress


class TimeoutException(InProgressAborted):
    """An in-progress object was not finished in time."""


class _Once(Signal):
    """A signal that is emitted once at most: who connects later is told as well."""

    def __init__(self, turns: Turns | None) -> None:
        super().__init__()
        #: Where callbacks run; `None`: on the thread that finishes it.
        self._turns = turns
        self._is_over = False
        self._said: tuple[Any, ...] | None = None

    def _say(self, args: tuple[Any, ...]) -> None:
        with self._lock:
            self._is_over, self._said = True, args
            callbacks, self._callbacks = self._callbacks, []
        self._have_told(callbacks, args)

    def _hush(self) -> None:
        """Is never emitted."""
        with self._lock:
            self._is_over = True
            self._callbacks = []

    def _add(self, callback: Callback, first: bool = False) -> Callback:
        with self._lock:
            said = self._said
            if not self._is_over:
                self._insert(callback, first)
        if said is not None:
            self._have_told([callback], said)
        return callback

    def _have_told(self, callbacks: list[Callback], args: tuple[Any, ...]) -> None:
        if self._turns is None or self._turns.is_here():
            self._tell(callbacks, args)
        elif callbacks:
            self._turns.soon(self._tell, callbacks, args)

    def _tell(self, callbacks: list[Callback], args: tuple[Any, ...]) -> None:
        tell(callbacks, args, {})


class _Failure(_Once):
    """The signal that an in-progress object failed: a callback that returns false says that it took care of it."""

    def __init__(self, turns: Turns | None) -> None:
        super().__init__(turns)
        self.handled = False

    def _tell(self, callbacks: list[Callback], args: tuple[Any, ...]) -> None:
        if not tell(callbacks, args, {}):
            self.handled = True

    def __del__(self) -> None:
        if self._said is not None and not self.handled and not sys.is_finalizing():
            _log.log("error", "what an in-progress object failed with was seen by nobody", self._said[1])


class InProgress(_Once):
    """Something that takes a while: a signal that is emitted with its result, and `exception` with what it fails with.

    It can be waited for by `wait` on any thread, by ``await`` in `asyncio` and by ``yield`` in a `coroutine`. What it fails with and nobody looks at is logged.

    >>> slow = InProgress()
    >>> _ = slow.connect(print, "is there")
    >>> _ = slow.finish(42)
    42 is there
    >>> slow.finished, slow.result, slow.wait()
    (True, 42, 42)
    """

    def __init__(self, abortable: bool | None = None, *, turns: Turns | None = None) -> None:
        super().__init__(turns)
        self.signals = Signals("abort")
        #: A status of it, where whoever makes it gives one.
        self.progress: Any = None
        self._abortable = abortable
        self._exception = _Failure(turns)
        self._settling = threading.Lock()
        self._finished = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._trace: TracebackType | None = None
        #: What wakes those who wait.
        self._wakes: list[Callable[[], object]] = []

    @property
    def exception(self) -> Signal:
        """The signal that it failed: callbacks get class, exception and traceback. One that returns false says that nobody else has to hear of it."""
        return self._exception

    @property
    def finished(self) -> bool:
        """Whether it has a result, or failed."""
        return self._finished

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self._error is not None

    @property
    def result(self) -> Any:
        """What it was finished with; raises what it failed with."""
        if not self._finished:
            raise RuntimeError("it is not finished: wait for it, or connect to it")
        if self._error is None:
            return self._result
        self._exception.handled = True
        raise self._error.with_traceback(self._trace)

    @property
    def abortable(self) -> bool:
        """Whether it can be given up: as it was told, else whether something is connected to ``signals["abort"]``."""
        return len(self.signals["abort"]) > 0 if self._abortable is None else self._abortable

    @abortable.setter
    def abortable(self, abortable: bool | None) -> None:
        self._abortable = abortable

    def finish(self, result: Any = None) -> InProgress:
        """Finishes it. Another in-progress object is waited for in its place."""
        if isinstance(result, InProgress) and result is not self:
            self.waitfor(result)
        elif not self._settle(result, None, None):
            raise RuntimeError(f"{self!r} is finished already")
        return self

    def throw(
        self,
        type: type[BaseException] | None = None,  # noqa: A002 - that is its name
        value: BaseException | None = None,
        tb: TracebackType | None = None,
        aborted: bool = False,
    ) -> bool:
        """Has it fail, without arguments with the exception that is handled now. Gives false, so that it may be connected to another one's `exception`."""
        if type is None:
            type, value, tb = sys.exc_info()  # noqa: A001
        error = value if value is not None or type is None else type()
        if error is None:
            raise ValueError("there is no exception here that it could fail with")
        if not self._settle(None, error, tb) and not aborted:
            raise RuntimeError(f"{self!r} is finished already")
        return False

    def wait(self, timeout: float | None = None) -> Any:
        """Waits for the result on this thread, for so many seconds at most (`TimeoutException`), and raises what it fails with.

        On the thread that runs callbacks, these go on meanwhile.
        """
        turns = _turns.of_thread()
        event = threading.Event()
        wake = event.set if turns is None else turns.wake
        self._also(wake)
        if turns is None:
            wait_for(event, lambda _: False, timeout)
        else:
            until = None if timeout is None else time.monotonic() + timeout
            turns.run_until(lambda: self._finished, until)
        if not self._finished:
            self._forget(wake)
            raise TimeoutException(f"it was not finished within {timeout:g} seconds", inprogress=self)
        return self.result

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def there() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(there)
            except RuntimeError:  # the loop is closed, and nobody waits there
                pass

        self._also(wake)
        try:
            yield from future
        except BaseException:  # the task was cancelled
            self._forget(wake)
            self._give_up()
            raise
        return self.result

    def timeout(
        self, timeout: float, callback: Callable[[], object] | None = None, abort: bool = False
    ) -> InProgress:
        """Another one that fails with `TimeoutException` where this one is not finished within so many seconds.

        ``callback`` is called before that. ``abort``: this one is given up then; else it goes on.
        """
        limited = InProgress(turns=self._turns)

        def over() -> None:
            if limited.finished:
                return
            text = f"it was not finished within {timeout:g} seconds"
            error = TimeoutException(text, inprogress=self)
            if callback is not None:
                callback()
            if abort:
                self._give_up(error)
            limited._settle(None, error, None)

        def given_up(error: InProgressAborted) -> None:
            timed.give_up()
            if abort:
                self._give_up(error)

        timed = (self._turns or _turns.here()).later(timeout, over)
        limited.waitfor(self)
        limited._also(timed.give_up)
        limited.signals["abort"].connect(given_up)
        return limited

    def abort(self, exc: InProgressAborted | None = None) -> None:
        """Gives it up: it fails with `InProgressAborted`, or with what is given, which has to be one. `RuntimeError` where it is finished or cannot be given up."""
        if exc is not None and not isinstance(exc, InProgressAborted):
            raise ValueError(f"what it is given up with has to be an InProgressAborted, not {exc!r}")
        if self._finished:
            raise RuntimeError(f"{self!r} is finished already")
        error = exc or InProgressAborted("it was given up")
        if not self.abortable or not self.signals["abort"].emit(error):
            raise RuntimeError(f"{self!r} cannot be given up")
        error.inprogress = error.inprogress or self
        error.origin = error.origin or self
        self._exception.handled = True
        self.throw(type(error), error, None, aborted=True)

    def noabort(self) -> InProgress:
        """Another one that finishes as this one does, and cannot be given up."""
        other = InProgress(False, turns=self._turns)
        other.waitfor(self)
        return other

    def waitfor(self, inprogress: InProgress) -> None:
        """Finishes as another one does."""

        def finish(result: Any) -> None:
            self._settle(result, None, None)

        def fail(_type: type[BaseException], value: BaseException, tb: TracebackType | None) -> bool:
            self._settle(None, value, tb)
            return False

        inprogress.connect_both(finish, fail)

    def execute(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> InProgress:
        """Calls a function, and finishes with what it gives or raises."""
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            self.throw(type(error), error, error.__traceback__)
            if not isinstance(error, Exception):
                raise
        else:
            self.finish(result)
        return self

    def connect_both(self, finished: Callable[..., Any], exception: Callable[..., Any] | None = None) -> None:
        """Connects a callback for the result, and one for the failure; one alone is for both."""
        self.connect(finished)
        self._exception.connect(finished if exception is None else exception)

    def __inprogress__(self) -> InProgress:
        return self

    def __repr__(self) -> str:
        state = "failed" if self.failed else "finished" if self._finished else "not finished"
        return f"<{type(self).__name__}, {state}>"

    def _settle(self, result: Any, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Finishes it, if it is not yet; who waits goes on before callbacks run."""
        with self._settling:
            if self._finished:
                return False
            self._result, self._error, self._trace = result, error, trace
            self._finished = True
            wakes, self._wakes = self._wakes, []
        for wake in wakes:
            wake()
        if error is None:
            self._exception._hush()
            self._say((result,))
        else:
            self._hush()
            self._exception._say((type(error), error, trace))
        self.signals["abort"].disconnect_all()
        return True

    def _give_up(self, error: InProgressAborted | None = None) -> None:
        """Gives it up, if that can be."""
        try:
            self.abort(error)
        except (InProgressAborted, RuntimeError):
            pass

    def _also(self, wake: Callable[[], object]) -> None:
        """Has something called as soon as it is finished, on whatever thread finishes it."""
        with self._settling:
            if not self._finished:
                self._wakes.append(wake)
                return
        wake()

    def _forget(self, wake: Callable[[], object]) -> None:
        with self._settling:
            if wake in self._wakes:
                self._wakes.remove(wake)


class InProgressCallable(InProgress):
    """One that is finished by calling it, such as a callback."""

    def __init__(
        self, func: Callable[[InProgress], object] | None = None, abortable: bool | None = None
    ) -> None:
        super().__init__(abortable)
        if func is not None:
            func(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Finishes with what is given: one thing as it is, several as a tuple or a dict; with class, exception and traceback it fails."""
        if len(args) == 3 and isinstance(args[0], type) and issubclass(args[0], BaseException):
            return self.throw(*args)
        if args and kwargs:
            return self.finish((args, kwargs))
        if len(kwargs) == 1:
            return self.finish(next(iter(kwargs.values())))
        return self.finish(kwargs or (args[0] if len(args) == 1 else args or None))


class InProgressAny(InProgress):
    """Finishes with the first of several: with its place among them and its result, or as ``finish`` says.

    A place whose object failed has class, exception and traceback as its result. ``filter``: what is true of a result has the others waited for, as long as there are any.
    """

    _finishes_with = FINISH_IDX_RESULT

    def __init__(
        self,
        *objects: Any,
        finish: str | None = None,
        filter: Callable[[Any], object] | None = None,  # noqa: A002 - that is its name
        abortable: bool | None = None,
    ) -> None:
        super().__init__(abortable)
        self._finish_with = finish or self._finishes_with
        if self._finish_with not in (FINISH_IDX, FINISH_RESULT, FINISH_SELF, FINISH_IDX_RESULT):
            raise ValueError(f"finish={finish!r}: it is one of the FINISH_.. of this module")
        self._filter = filter
        self._parts = [inprogress(part) for part in _flat(objects)]
        self._counting = threading.Lock()
        self._left = len(self._parts)
        self._begin()
        for place, part in enumerate(self._parts):
            part.connect(self._one, place)
            part.exception.connect(self._failed, place)

    def _begin(self) -> None:
        """Is called before any of them is listened to."""

    def _failed(self, *told: Any) -> None:
        self._one(told[:3], told[3])

    def _one(self, result: Any, place: int) -> None:
        with self._counting:
            self._left -= 1
            left = self._left
        self._ended(place, result, left)

    def _ended(self, place: int, result: Any, left: int) -> None:
        if self._filter is not None and left > 0 and self._filter(result):
            return
        ends = {
            FINISH_IDX: place,
            FINISH_RESULT: result,
            FINISH_SELF: self,
            FINISH_IDX_RESULT: (place, result),
        }
        self._settle(ends[self._finish_with], None, None)


class InProgressAll(InProgressAny):
    """Finishes when each of several has: with itself, over which one iterates to find them, or as ``finish`` says."""

    _finishes_with = FINISH_SELF

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts)

    def _begin(self) -> None:
        if not self._parts:
            self._end()

    def _ended(self, _place: int, _result: Any, left: int) -> None:
        if left == 0:
            self._end()

    def _end(self) -> None:
        results = None if self._finish_with == FINISH_SELF else [_said_of(part) for part in self._parts]
        self._settle(self if results is None else results, None, None)


def _said_of(part: InProgress) -> Any:
    """Its result, or class, exception and traceback of what it failed with, which is known then."""
    error = part._error
    if error is None:
        return part._result
    part._exception.handled = True
    return type(error), error, part._trace


def _flat(objects: Any) -> Iterator[Any]:
    for each in objects:
        if isinstance(each, Signals):
            yield from each.values()
        elif isinstance(each, (list, tuple, GeneratorType)):
            yield from _flat(each)
        else:
            yield each


def inprogress(obj: Any) -> InProgress:
    """The in-progress object that something stands for: of a client, that it is connected; of a signal, the next time; of an in-progress object, itself."""
    found = getattr(type(obj), "__inprogress__", None)
    if found is None:
        raise TypeError(f"nothing of a {type(obj).__name__} is in progress")
    made: InProgress = found(obj)
    return made


def delay(seconds: float) -> InProgress:
    """One that finishes after so many seconds."""
    waiting = InProgress(True)
    timed = _turns.here().later(seconds, lambda: waiting._settle(None, None, None))
    waiting._also(timed.give_up)
    return waiting
