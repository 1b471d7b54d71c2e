"""Hosting objects."""

from __future__ import annotations

import atexit
import os
import time
from _weakrefset import WeakSet

from andiron import _engine, _errors, _host, _log
from andiron._choice import name as engine
from andiron._hub import Hub, chosen, named_targets, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

#: The pauses between two tries to find a server, in seconds: the first, and the longest.
_PAUSES = 0.05, 1.0

_running: WeakSet[_engine.Running] = WeakSet()


@atexit.register
def _stop_all() -> None:
    for running in list(_running):
        running.stop()


class Server:
    """Hosts objects, names and a store at an address, from the beginning on until it is stopped, or nobody has it any more.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with Server({"double": lambda x: 2 * x}, f"unix:{folder}/socket") as server:
    ...     server.connect()["double"](21)
    42
    """

    def __init__(
        self,
        objects: Mapping[str, Any],
        address: str | Sequence[str] | None = None,
        *,
        state: str | os.PathLike[str] | bool = True,
        secret_file: str | os.PathLike[str] | None = None,
        threads: int | None = None,
    ) -> None:
        """``address``: one or several; of none at all, ``[]``, the clients are in this process, and reach it by `connect`.

        ``state``: the folder of persistent entries; true: where an ``andiron serve`` of this name has them; false: nowhere.

        ``threads``: how many methods run at once, while further calls wait; with 1 they run one after the other, and one that calls this server over a connection of its own
        waits for itself. Without it 256 do, and calls beyond these are answered by an `OverloadedError`. What the store is asked is answered beside them. In the pure engine
        there are no threads without it: calls and questions are answered one after the other, while `wait` runs.
        """
        addresses = [chosen(address)] if address is None or isinstance(address, str) else list(address)
        self._running = _engine.serve(
            addresses,
            named_targets(objects),
            state=None if isinstance(state, bool) else os.fspath(state),
            usual_state=state is True,
            secret_file=None if secret_file is None else os.fspath(secret_file),
            threads=at_least_one(threads),
        )
        _running.add(self._running)
        self._process = os.getpid()
        #: By which it is reached.
        self.addresses = self._running.addresses()
        from threading import Event

        self._stopped = Event()

    def connect(self) -> Hub:
        """A connection within this process."""
        return Hub(self._running.connect())

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until another thread stops it, or for so many seconds at most. Whether it was stopped.

        In the pure engine a server without ``threads`` serves while this runs.
        """
        if self._process != os.getpid():
            raise _errors.UnavailableError(
                "this server was started before this process was forked and belongs to the parent; start another"
            )
        return wait_for(self._stopped, self._running.turn, timeout)

    def stop(self) -> bool:
        """Takes no further calls and ends all connections. True if all calls under way were finished in time, which is 5 seconds.

        A method that calls this waits for itself: let another thread do it, and the caller gets its answer.
        """
        finished = self._running.stop()
        _running.discard(self._running)
        self._stopped.set()
        return finished

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<andiron.Server {', '.join(self.addresses)}>"


def at_least_one(threads: int | None) -> int | None:
    """How many threads there may be."""
    if threads is not None and not isinstance(threads, int):
        raise TypeError(f"threads={threads!r}: it is a number, how many methods run at once")
    if threads is not None and threads < 1:
        raise ValueError(
            f"threads={threads}: a server has one at least; without a number it has as many as it needs, up to 256"
        )
    return threads


def one_at_least(threads: int | None) -> int | None:
    """How many threads a server has for which nobody waits: the pure engine begins none by itself."""
    return 1 if threads is None and engine == "pure" else threads


def inside(objects: Mapping[str, Any]) -> Hub:
    """A hub of a server in this process, which has these objects and an empty store, and ends with the hub."""
    server = Server(objects, [], state=False, threads=one_at_least(None))
    hub = server.connect()
    hub._ends.append(server.stop)
    return hub


def serve(
    objects: Mapping[str, Any], address: str | None = None, *, threads: int | None = None, **options: Any
) -> None:
    """Offers objects under their names until the program ends, Ctrl-C does, or its host (`abort_when`): then it stops, and comes back.

    Where nobody listens at the address, this process hosts them, other processes' names and a store, with the options of `Server`. Where a server runs there, they are
    registered at it; when it goes, another is found or made. ``threads`` is as for `Server` in both cases.
    """
    try:
        _serve(objects, address, threads, options)
    except KeyboardInterrupt:
        return  # it has stopped on the way here
    except _errors.CancelledError:
        if not _host.ends():
            raise


def _serve(
    objects: Mapping[str, Any], address: str | None, threads: int | None, options: dict[str, Any]
) -> None:
    pause = _PAUSES[0]
    while True:
        try:
            server = Server(objects, address, threads=threads, **options)
        except _errors.ConflictError as error:
            taken = str(error)  # a server is there, or was just now
        else:
            with server:
                server.wait()
            return
        try:
            secret_file = options.get("secret_file")
            file = None if secret_file is None else os.fspath(secret_file)
            with Hub(_engine.connect(chosen(address), secret_file=file, threads=threads)) as hub:
                for name, value in objects.items():
                    hub.register(name, value)
                pause = _PAUSES[0]
                hub.run()
        except (_errors.UnavailableError, _errors.UnknownError):
            pass  # it went
        _host.check()
        time.sleep(pause)
        if pause < _PAUSES[1] <= 2 * pause:  # once, when it is no server that goes just now
            _log.log("warning", f"nothing is offered yet, and nobody answers there: {taken}")
        pause = min(2 * pause, _PAUSES[1])
