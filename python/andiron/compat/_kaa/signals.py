"""Signals: what others connect callbacks to."""

from __future__ import annotations

import threading
import time
import weakref
from types import MethodType

from andiron import _log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from andiron.compat._kaa.turns import Turns

#: For so many seconds from its beginning what a server or client is about to be told is waited for: the functions and callbacks of a program that has just made it.
EARLY = 1.0

#: Whoever connects more forgets to disconnect.
_MOST = 1000


class Callback:
    """A function that is connected to a signal, with arguments of its own behind those that the signal gives."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        once: bool,
        weak: bool,
    ) -> None:
        if not callable(function):
            raise TypeError(f"a signal is connected to something that can be called, not to {function!r}")
        self._function: Any = function
        self._is_weak = weak
        if weak:
            self._function = (
                weakref.WeakMethod(function) if isinstance(function, MethodType) else weakref.ref(function)
            )
        self.args = args
        self.kwargs = kwargs
        self.once = once
        #: Whether only its own arguments are given to it.
        self.ignore_caller_args = False
        #: Whether its own arguments stand before those of the signal.
        self.user_args_first = False

    @property
    def function(self) -> Callable[..., Any] | None:
        """What is called; `None` where it was connected weakly and is gone."""
        function: Callable[..., Any] | None = self._function() if self._is_weak else self._function
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self.function
        if function is None:
            return None
        given = () if self.ignore_caller_args else args
        both = self.args + given if self.user_args_first else given + self.args
        return function(*both, **{**({} if self.ignore_caller_args else kwargs), **self.kwargs})

    def is_of(self, function: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether it was connected so; without arguments, whether it is the function at all."""
        if function is self:
            return True
        same = self.function == function
        return same and (not (args or kwargs) or (args, kwargs) == (self.args, self.kwargs))


class Signal:
    """Something that happens now and then, and of which callbacks are told.

    >>> heard = Signal()
    >>> _ = heard.connect(print, "with it")
    >>> heard.emit("said")
    said with it
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callback] = []

    def connect(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """Has a callback told each time, with these arguments behind what is told. One that returns false makes `emit` false."""
        return self._add(Callback(callback, args, kwargs, False, False))

    def connect_once(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """The same for the next time only."""
        return self._add(Callback(callback, args, kwargs, True, False))

    def connect_first(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """The same, before all others."""
        return self._add(Callback(callback, args, kwargs, False, False), first=True)

    def connect_first_once(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """The same, before all others and for the next time only."""
        return self._add(Callback(callback, args, kwargs, True, False), first=True)

    def connect_weak(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """The same as `connect`, without keeping the callback or its object."""
        return self._add(Callback(callback, args, kwargs, False, True))

    def connect_weak_once(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """The same as `connect_once`, without keeping the callback or its object."""
        return self._add(Callback(callback, args, kwargs, True, True))

    def connect_weak_first(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """The same as `connect_first`, without keeping the callback or its object."""
        return self._add(Callback(callback, args, kwargs, False, True), first=True)

    def connect_weak_first_once(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Callback:
        """The same as `connect_first_once`, without keeping the callback or its object."""
        return self._add(Callback(callback, args, kwargs, True, True), first=True)

    def disconnect(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Has a callback told no more, of several the one with these arguments. Whether it was connected."""
        with self._lock:
            left = [known for known in self._callbacks if not known.is_of(callback, args, kwargs)]
            found = len(left) < len(self._callbacks)
            self._callbacks = left
        return found

    def disconnect_all(self) -> None:
        """Has nobody told any more."""
        with self._lock:
            self._callbacks = []

    def emit(self, *args: Any, **kwargs: Any) -> bool:
        """Tells all callbacks, on this thread. False where one of them returned false; what they raise is logged."""
        with self._lock:
            callbacks = self._callbacks
            self._callbacks = [known for known in callbacks if not known.once and known.function is not None]
        return tell(callbacks, args, kwargs)

    def count(self) -> int:
        """How many callbacks are connected."""
        return len(self._callbacks)

    @property
    def callbacks(self) -> tuple[Callback, ...]:
        """Those that are connected."""
        return tuple(self._callbacks)

    def __len__(self) -> int:
        return len(self._callbacks)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, callback: object) -> bool:
        return any(known.is_of(callback, (), {}) for known in self._callbacks)

    def __inprogress__(self) -> Any:
        """What finishes when it is told of the next time."""
        from andiron.compat._kaa.inprogress import InProgressCallable

        next_time = InProgressCallable()
        self.connect_once(next_time)
        return next_time

    def _add(self, callback: Callback, first: bool = False) -> Callback:
        with self._lock:
            self._insert(callback, first)
        return callback

    def _insert(self, callback: Callback, first: bool) -> None:
        if len(self._callbacks) >= _MOST:
            raise ValueError(
                f"{_MOST} callbacks are connected to this signal: disconnect those that are done"
            )
        # Not the same list: an `emit` under way goes on with those that it found.
        self._callbacks = [callback, *self._callbacks] if first else [*self._callbacks, callback]


class EarlySignal(Signal):
    """A signal of what may happen before the program that made it has connected anything: that is told to the first who connects shortly after."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self._until = time.monotonic() + EARLY
        self._missed: list[tuple[Any, ...]] = []

    def emit(self, *args: Any, **kwargs: Any) -> bool:
        """As `Signal.emit`."""
        with self._lock:
            if not self._callbacks and time.monotonic() < self._until:
                self._missed.append(args)
        return super().emit(*args, **kwargs)

    def _insert(self, callback: Callback, first: bool) -> None:
        super()._insert(callback, first)
        missed, self._missed = self._missed, []
        if time.monotonic() < self._until:
            for args in missed:
                self._turns.soon(tell, [callback], args, {})


def tell(callbacks: Iterable[Callback], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Calls them one after the other. False where one returned false."""
    told = True
    for callback in callbacks:
        try:
            if callback(*args, **kwargs) is False:
                told = False
        except Exception as error:  # noqa: PERF203 - the others are told as well
            _log.log("error", f"{callback.function!r}, which a signal called, raised", error)
    return told


class Signals(dict):  # type: ignore[type-arg] # it takes no types before Python 3.9
    """Signals by their names, and by the names that they had in an older generation: ``signals["client-connected"]``, and ``signals.client_connected`` as well."""

    def __init__(self, *names: str, older: dict[str, str] | None = None, turns: Turns | None = None) -> None:
        super().__init__((name, Signal() if turns is None else EarlySignal(turns)) for name in names)
        self._older = older or {}

    def __missing__(self, name: str) -> Signal:
        if name not in self._older:
            known = ", ".join(f"'{known}'" for known in [*self, *self._older])
            raise KeyError(f"there is no signal '{name}', only {known}")
        signal: Signal = self[self._older[name]]
        return signal

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._older

    def __getattr__(self, name: str) -> Any:
        for known in (name, name.replace("_", "-")):
            if not name.startswith("__") and known in self:
                return self[known]
        if name.startswith("_") or not hasattr(Signal, name):
            raise AttributeError(f"there is no signal `{name}`")
        return lambda signal, *args, **kwargs: getattr(self[signal], name)(*args, **kwargs)

    def subset(self, *names: str) -> Signals:
        """Only those of these names."""
        some = Signals()
        some.update((name, self[name]) for name in names)
        return some

    def any(self, **options: Any) -> Any:
        """An in-progress object that finishes with the next of them."""
        from andiron.compat._kaa.inprogress import InProgressAny

        return InProgressAny(*self.values(), **options)

    def all(self, **options: Any) -> Any:
        """An in-progress object that finishes when each of them was emitted."""
        from andiron.compat._kaa.inprogress import InProgressAll

        return InProgressAll(*self.values(), **options)
