"""Connections."""

from __future__ import annotations

import os
import time
from _collections_abc import Mapping
from _thread import allocate_lock

from andiron import _engine, _errors, _fork, _host
from andiron._expose import target_of
from andiron._proxy import Proxy
from andiron._store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, TypeVar

    T = TypeVar("T")
    Named = Mapping[str, Any]
else:
    Named = Mapping  # which takes no types before Python 3.9

DEFAULT_ADDRESS = "andiron"


def chosen(address: str | None) -> str:
    """The address that was given, or the one that the environment chooses, or the default one."""
    return address or os.environ.get("ANDIRON_ADDRESS") or DEFAULT_ADDRESS


def patiently(attempt: Callable[[], T], unless: type[Exception], wait: float) -> T:
    """What an attempt gives, which is made again for so many seconds as long as it fails so, with growing pauses."""
    until = time.monotonic() + wait
    pause = 0.01
    while True:
        try:
            return attempt()
        except unless:
            left = until - time.monotonic()
            if left <= 0:
                raise
        _host.check()
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.2)


def wait_for(event: threading.Event, turn: Callable[[float], bool], timeout: float | None = None) -> bool:
    """Waits for an event, and serves meanwhile where the engine has no threads that do. Whether it came in time."""
    until = None if timeout is None else time.monotonic() + _errors.check_seconds("a timeout", timeout)
    while not event.is_set():
        _host.check()
        left = _host.SLICE if until is None else min(_host.SLICE, max(0.0, until - time.monotonic()))
        # A lock of Python's sleeps over a Ctrl-C that came just before; this looks again.
        if not turn(left):
            event.wait(left)
        if until is not None and time.monotonic() >= until:
            break
    return event.is_set()


class Hub(Named):
    """One connection, the same thing at both ends: a mapping of names to the objects of the other end, and to its store.

    Any thread may use it. ``with`` closes it.
    """

    def __init__(
        self, connection: _engine.Connection, wait: float = 0.0, place: _fork.Place | None = None
    ) -> None:
        self._connection = connection
        self._wait = wait
        self._place = place
        self._store: Store | None = None
        #: What ends with it, and is kept by the proxies that were found here too.
        self._ends: list[Callable[[], object]] = []
        if place is not None:
            _fork.inherits(self)

    def forked(self) -> None:
        """Hears that this process is a child of the one that connected."""
        place = self._place
        if place is not None:
            _fork.Anew(self, "_connection", lambda: shared(place)._connection)

    @property
    def store(self) -> Store:
        """The store of the server."""
        if self._store is None:
            self._store = Store(self._engine_store(None), self._engine_store)
        return self._store

    def _engine_store(self, author: str | None) -> _engine.StoreEngine:
        return self._connection.store(author)

    def __getitem__(self, name: str) -> Any:
        check_name(name)
        try:
            remote = patiently(lambda: self._connection.lookup(name), _errors.NoObjectError, self._wait)
        except _errors.NoObjectError:
            text = f"no object is named '{name}': {_errors.hint(name, self._connection.names(), 'there are')}"
            raise _errors.failed("no object", text, None, {}, None, [], []) from None
        return Proxy(remote, None if self._place is None else (self._place, name), self._ends)

    def __iter__(self) -> Iterator[str]:
        return iter(self._connection.names())

    def __len__(self) -> int:
        return len(self._connection.names())

    def __contains__(self, name: object) -> bool:
        return name in self._connection.names()

    def __bool__(self) -> bool:
        return True

    def _ipython_key_completions_(self) -> list[str]:
        return self._connection.names()

    def register(self, name: str, value: Any) -> None:
        """Offers an object of this process under a name, until the connection ends."""
        self._connection.register(name, named_target(name, value))

    def run(self) -> None:
        """Serves the objects of this process until the connection ends; raises why it did, where nobody here closed it.

        It comes back as well where the host of this program ends (`andiron.abort_when`).
        """
        from threading import Event

        ended = Event()
        outcome: list[BaseException | None] = []

        def end(error: BaseException | None) -> None:
            outcome.append(error)
            ended.set()

        self._connection.pump(end)
        try:
            wait_for(ended, self._connection.turn)
        except _errors.CancelledError:
            if not _host.ends():
                raise
            return
        if outcome[0] is not None:
            raise outcome[0]

    def poll(self, timeout: float = 0.0) -> bool:
        """Runs calls of the other end on this thread, waiting for them so many seconds at most. Whether one came."""
        return self._connection.poll(_errors.check_seconds("a timeout", timeout))

    def fileno(self) -> int:
        """The descriptor of the connection, for programs with a loop of their own; -1 when it is over."""
        return self._connection.fileno()

    def batch(self) -> AbstractContextManager[None]:
        """Holds back the calls that this thread starts in the block: they go together."""
        return self._connection.batch()

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        return self._connection.peer()

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()
        while self._ends:
            self._ends.pop()()

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<andiron.Hub {self.peer}>"

    def __reduce__(self) -> Any:
        if self._place is None:
            raise TypeError("only a hub that `andiron.connect` made of an address can be pickled: as that")
        return shared, (self._place,)

    def __copy__(self) -> Hub:
        return self

    def __deepcopy__(self, _: object) -> Hub:
        return self


def check_name(name: object) -> None:
    """Refuses what is no name."""
    if not isinstance(name, str):
        raise TypeError(f"objects have strings as names, not {name!r}")


def check_choices(address: str | None, objects: object, cache: int | None, **seconds: float | None) -> None:
    """Refuses what cannot be connected to, in words."""
    if address is not None and objects is not None:
        raise ValueError("connect takes an address, or objects for a server in this process, not both")
    if address is not None and not isinstance(address, str):
        raise TypeError(f"an address is a str, not {address!r}")
    for name, number in seconds.items():
        if number is not None and _errors.check_seconds(f"{name}=", number) < 0:
            raise ValueError(f"{name}={number}: it is a number of seconds, and no time is below 0")
    if cache is not None and not isinstance(cache, int):
        raise TypeError(f"cache={cache!r}: it is a number of bytes")
    if cache is not None and cache < 0:
        raise ValueError(f"cache={cache}: it is a number of bytes; 0 keeps nothing")


def named_targets(objects: Mapping[str, Any]) -> dict[str, _engine.Target]:
    """Objects by the names that they are to have."""
    if not isinstance(objects, Mapping):
        raise TypeError(f"objects are given with their names, as a dict, not as a {type(objects).__name__}")
    return {name: named_target(name, value) for name, value in objects.items()}


def named_target(name: str, value: Any) -> _engine.Target:
    """An object that is to have a name."""
    check_name(name)
    target = target_of(value)
    if target is None:
        raise _errors.BadArgumentsError(
            f"`{type(value).__name__}` shows nothing that could be called as {name!r}: mark its class, or methods of it, with `@andiron.expose`"
        )
    return target


def connect(
    address: str | None = None,
    *,
    objects: Mapping[str, Any] | None = None,
    wait: float = 0.0,
    timeout: float | None = None,
    retry: float | None = None,
    cache: int | None = None,
    secret_file: str | os.PathLike[str] | None = None,
    pump: bool | None = None,
) -> Hub:
    """Connects to a server: by its name on this machine, or its address.

    ``objects``: a server with these and an empty store is made in this process, and ends with the hub: for tests. ``wait``: seconds that a server, and an object that is asked
    for by its name, is waited for where it is not there yet. ``timeout``: seconds that the connection may take. ``retry``: connect anew when the connection is lost, and let a
    call wait so many seconds for that. ``cache``: bytes that are kept of what is read from the store. ``pump``: whether a thread of its
    own reads the connection, and runs calls of the other end, where no other waits for an answer; without one call `Hub.poll` or `Hub.run`. `None`: the native engine has one from
    the first object on that the other end is given, and the pure one has none.
    """
    check_choices(address, objects, cache, wait=wait, timeout=timeout, retry=retry)
    if objects is not None:
        from andiron._server import inside

        return inside(objects)
    where = chosen(address)
    file = None if secret_file is None else os.fspath(secret_file)

    def connected() -> _engine.Connection:
        return _engine.connect(where, timeout=timeout, retry=retry, cache=cache, secret_file=file, pump=pump)

    place = _fork.Place(where, wait, timeout, retry, cache, file, pump)
    return Hub(patiently(connected, _errors.UnavailableError, wait), wait, place)


class _Shared:
    """Hubs that were made for what was unpickled, or was there before a fork."""

    def __init__(self) -> None:
        self.forked()
        _fork.inherits(self)

    def forked(self) -> None:
        """Has none any more. The lock may be held by a thread that is not there."""
        self._hubs: dict[_fork.Place, Hub] = {}
        self._lock = allocate_lock()

    def hub(self, place: _fork.Place) -> Hub:
        """The one for this place."""
        with self._lock:
            hub = self._hubs.get(place)
            if hub is None or (place.retry is None and hub.fileno() < 0):
                hub = self._hubs[place] = connect(**place._asdict())
            return hub


_shared = _Shared()


def shared(place: _fork.Place) -> Hub:
    """The hub of this process for what was pickled in another one."""
    return _shared.hub(_fork.Place(*place))


class OfCall:
    """What a caller, which is a hub, tells of the call that it makes."""

    _context: _engine.Context

    @property
    def annotations(self) -> dict[str, Any]:
        """What the caller said beside the arguments, with `andiron.annotations`.

        Calls that the method makes do not say it by themselves; it may pass it on: ``with andiron.annotations(**andiron.caller().annotations): ...``.
        """
        return self._context.annotations() or {}

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._context.is_cancelled()

    @property
    def time_left(self) -> float | None:
        """Seconds that are left; `None` where the caller set no limit."""
        return self._context.time_left()

    def on_end(self, hook: Callable[[], object]) -> None:
        """Has this called when the connection ends, on any thread: to give back what the caller was given, as ``andiron.caller().on_end(file.close)``."""
        self._context.on_end(hook)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OfCall) and self._context.key() == other._context.key()

    def __hash__(self) -> int:
        return hash(self._context.key())


class Caller(OfCall, Hub):
    """The hub that calls, in a method: the connection on which the call came, as its other end has it. ``andiron.caller()["name"]`` calls its objects back.

    Callers of the same connection are equal. What is said of the call itself holds for the one that asked for its caller.
    """

    def __init__(self, context: _engine.Context, connection: _engine.Connection) -> None:
        super().__init__(connection)
        self._context = context

    def __repr__(self) -> str:
        return f"<andiron.Caller {self.peer}>"


def caller() -> Caller | None:
    """Who calls, in a method that was called over a connection; `None` elsewhere."""
    found = calling()
    return None if found is None else Caller(*found)


def calling() -> tuple[_engine.Context, _engine.Connection] | None:
    """The call that this thread, or this task, handles, and the connection on which it came."""
    context = _engine.current()
    if context is None:
        running = _engine.running.get()
        context = None if running is None else running.context
    connection = None if context is None else context.connection()
    return None if context is None or connection is None else (context, connection)


class timeout:  # noqa: N801 - it is used like a function
    """Limits the time of the calls that are made in the block, all together: ``with andiron.timeout(2): ...``. Methods that are called inherit what is left."""

    def __init__(self, seconds: float) -> None:
        self._seconds = _errors.check_seconds("a timeout", seconds)

    def __enter__(self) -> None:
        _engine.use_options()
        until = time.monotonic() + self._seconds
        outer = _engine.deadline.get()
        self._token = _engine.deadline.set(until if outer is None else min(until, outer))

    def __exit__(self, *_: object) -> None:
        _engine.deadline.reset(self._token)


class Annotations:
    """Has the calls that are made in the block say something beside their arguments: ``with andiron.annotations(trace="abc"): ...``.

    The method reads it by ``andiron.caller().annotations``; a daemon on the way passes it on. Blocks within blocks add to it. Values are those of the codec, without
    objects that could be called, at most 8192 bytes together.
    """

    def __init__(self, **annotations: Any) -> None:
        self._encoded = _engine.encode(annotations)
        self._own = annotations

    def __enter__(self) -> None:
        _engine.use_options()
        outer = _engine.annotated.get()
        both = self._encoded if outer is None else _engine.encode({**_engine.decode(outer), **self._own})
        self._token = _engine.annotated.set(both)

    def __exit__(self, *_: object) -> None:
        _engine.annotated.reset(self._token)
