"""``IPCServer`` and ``IPCClient`` of script.module.ipc: any object of one process, called by others.

Only the import changes in a program that was written for that module::

    from andiron.compat.ipc import IPCServer  # was: from ipc.ipcserver import IPCServer

    server = IPCServer(Library())
    server.start()  # comes back at once; whoever finds it calls
    ...
    server.stop()

What differs, and why, says ``docs/moving/ipc.md``.
"""

from __future__ import annotations

import errno
import os

import andiron
from andiron import _hub
from andiron._engine import Method, Target, check, current
from andiron._expose import is_exposed, target_of, target_of_all
from andiron._proxy import remote_of
from andiron.compat import _shared
from andiron.compat._shared import IPCClientError, ObjectNotSerializableError, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from threading import Thread
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["AddressInUseError", "IPCClient", "IPCClientError", "IPCServer", "ObjectNotSerializableError"]

#: The names of serializers that old programs give. All of them mean Andiron's own, which runs nothing of what it reads.
SERIALIZERS = ("pickle", "serpent", "json", "marshal", "msgpack", "native")

#: Those that run: as threads do, they need nobody who keeps them.
_serving: set[IPCServer] = set()

#: Seconds that calls under way have until the object is closed, which ends those that wait for that.
_GRACE = 0.5


class AddressInUseError(andiron.ConflictError, OSError):
    """Another server is at this port, or has this name."""

    def __init__(self, text: str) -> None:
        """``text``: which, and what to do."""
        super().__init__(text)
        self.errno = errno.EADDRINUSE


class IPCServer:
    """Offers all public methods and properties of an object, marked or not, to clients that know its name, and its host and port if it has such.

    >>> class Library:
    ...     def count(self, genre):
    ...         return {"rock": 3}.get(genre, 0)
    >>> server = IPCServer(Library(), name="doctest-library", port=0)
    >>> server.start()
    >>> IPCClient(name="doctest-library", port=server.port).get_exposed_object().count("rock")
    3
    >>> server.stop()
    """

    def __init__(
        self,
        expose_obj: Any,
        add_on_id: str = "",
        name: str = "kodi-IPC",
        host: str | None = "localhost",
        port: int | None = 9099,
        serializer: str = "pickle",
        *,
        secret: str | os.PathLike[str] | None = None,
    ) -> None:
        """``add_on_id``: in Kodi the settings ``data_name``, ``host``, ``port`` and ``secret`` of this add-on are taken in place of those given here.

        ``host``: ``localhost`` or another address of the loopback network is for programs of this user; any other is beyond this machine and needs a secret.
        ``port``: 0 takes a free one, which `port` tells then; with `None` the server is found on this machine by its ``name`` alone. ``serializer`` is one of the names that
        it might be; all mean the same.

        ``secret``: the text of one, or the path of its file; without it the file that this user has, if any.
        """
        _check_serializer(serializer)
        place = _place(add_on_id, name, host, port, secret)
        self.name, self.host, self.port, self.secret = place
        self.serializer = serializer
        self.expose_obj = expose_obj
        #: The server behind it, while it runs.
        self.p4daemon: andiron.Server | None = None
        self.running = False
        #: Whether it was stopped.
        self.shutdown = False
        #: Why it could not start.
        self.exception: BaseException | None = None
        #: As threads have it. The server keeps no process alive.
        self.daemon = True
        from threading import Event, Lock

        self._lock = Lock()
        self._started = False
        self._over = Event()

    @property
    def uri(self) -> str:
        """Where it is, as Pyro writes it."""
        return _shared.uri_of(self._place())

    def start(self) -> None:
        """Serves from now on, on threads of its own. What is in the way is raised: an `AddressInUseError`, which is an `OSError`, where the port or the name is taken."""
        with self._lock:  # a stop in the midst of it waits
            if self._started or self.shutdown:
                raise RuntimeError("a server is started once: make another `IPCServer` of the same object")
            try:
                self.p4daemon = self._served()
            except BaseException as error:
                self.exception = error
                _shared.log("error", f"IPC Server not started at {self.uri}: {error}")
                raise
            self.exception = None
            self._started = self.running = True
            _serving.add(self)
        _shared.log("info", f"IPC Server Started: {self.uri}")

    def stop(self) -> None:
        """Takes no further calls and comes back when it is over.

        Calls under way were given half a second to end, and then the object was closed, if it has a method ``close`` and no other server offers it.
        A method of the object may call it: then it ends behind the answer to that call.
        """
        with self._lock:
            if self.shutdown:
                return
            self.shutdown = True
        if current() is None or _begun(self._end, f"{self.name} ends") is None:
            self._end()

    def run(self) -> None:
        """Starts, and waits until another thread stops it."""
        self.start()
        self.join()

    def is_alive(self) -> bool:
        """Whether it serves."""
        return self.running

    isAlive = is_alive

    def getName(self) -> str:
        """Its name, as threads of those days told it."""
        return self.name

    def setName(self, name: str) -> None:
        """Names it otherwise, before it starts."""
        self.name = name

    def isDaemon(self) -> bool:
        """Whether it keeps no process alive: it never does."""
        return True

    def setDaemon(self, daemonic: bool) -> None:
        """Changes nothing."""

    def join(self, timeout: float | None = None) -> None:
        """Waits until it is stopped, so many seconds at most, or until the host of this program ends (`andiron.abort_when`)."""
        if not self._started:
            raise RuntimeError("cannot join a server before it is started")
        try:
            _hub.wait_for(self._over, lambda _seconds: False, timeout)
        except andiron.CancelledError:
            return

    @staticmethod
    def test_pickle(obj: Any) -> bool:
        """Whether an object can be sent. What part of it cannot is logged.

        >>> IPCServer.test_pickle({"genres": ["rock"]}), IPCServer.test_pickle({"genres": [object()]})
        (True, False)
        """
        if andiron.can_send(obj):
            return True
        try:
            check(obj)
        except Exception as error:  # whatever its class raises
            _shared.log("warning", str(ObjectNotSerializableError.of(error)))
        return False

    def _place(self) -> Place:
        return Place(self.name, self.host, self.port, self.secret)

    def _served(self) -> andiron.Server:
        place = _shared.checked(self._place())
        if place.name == "store":
            raise ValueError("name='store' is that of the store which every server has: choose another name")
        folder, beside = _told(self.expose_obj, place)
        try:
            server = self._at(place, folder, beside)
        except andiron.ConflictError as error:
            if "address" not in error.context:  # it is about what the object keeps
                raise
            raise AddressInUseError(_taken(place)) from error
        except andiron.AuthenticationError as error:
            raise _shared.in_words(error) from error
        told = getattr(type(self.expose_obj), "_served", None)
        if told is not None:
            try:
                told(self.expose_obj, server)
            except BaseException:
                server.stop()
                raise
        if self.port == 0:
            self.port = int(server.addresses[0].rpartition(":")[2])
        return server

    def _at(self, place: Place, folder: str | None, beside: Sequence[str]) -> andiron.Server:
        """A server at this place, and at names beside it if they are free."""
        try:
            return andiron.Server(
                {place.name: _offered(self.expose_obj)},
                [_shared.address_of(place), *beside],
                state=folder or False,
                secret_file=_shared.secret_file(place.secret),
                threads=_shared.serving_threads(),
            )
        except andiron.ConflictError as error:
            if not beside or "address" not in error.context:
                raise
        return self._at(place, folder, ())

    def _end(self) -> None:
        try:
            server = self.p4daemon
            stopping = None if server is None else _begun(server.stop, f"{self.name} stops")
            if stopping is not None:
                stopping.join(_GRACE)
            elif server is not None:
                server.stop()
            _serving.discard(self)
            try:
                close = getattr(self.expose_obj, "close", None)
                # Also one that never started is stopped, whose object another one may offer.
                if callable(close) and not any(
                    other.expose_obj is self.expose_obj for other in list(_serving)
                ):
                    close()
            finally:
                if stopping is not None:
                    stopping.join()
        finally:
            self.p4daemon = None
            self.running = False
            self._over.set()
            _shared.log("info", f"IPC Server Stopped: {self.uri}")

    def __repr__(self) -> str:
        """Where it is, and whether it runs."""
        state = "running" if self.running else "stopped" if self.shutdown else "initial"
        return f"<IPCServer {self.uri} {state}>"


class IPCClient:
    """Finds the object that an `IPCServer` offers.

    >>> IPCClient(name="nobody", port=None).server_available()
    False
    """

    def __init__(
        self,
        add_on_id: str = "",
        name: str = "kodi-IPC",
        host: str | None = "localhost",
        port: int | None = 9099,
        datatype: str = "pickle",
        *,
        secret: str | os.PathLike[str] | None = None,
    ) -> None:
        """The arguments are those of the server, and ``datatype`` what is ``serializer`` there."""
        _check_serializer(datatype)
        place = _place(add_on_id, name, host, port, secret)
        #: Where the object is; may be set.
        self.uri = _shared.uri_of(place)
        self.secret = place.secret

    def get_exposed_object(self) -> Any:
        """A proxy of the object. It connects when it is used first; all proxies of this process share one connection, so they may be kept or dropped."""
        return RemoteObject(self.uri, self.secret)

    def server_available(self) -> bool:
        """Whether the server is there, and has the object."""
        try:
            self.get_exposed_object()._pyroBind()
        except Exception:
            return False
        return True

    @staticmethod
    def get_traceback() -> str:
        """That of the exception that is handled now, with what happened at the server where it comes from there."""
        import traceback

        return traceback.format_exc()


class RemoteObject:
    """What `IPCClient.get_exposed_object` gives: the object of the server, with its methods and properties. Any thread may use it.

    Of the names that such proxies had in Pyro it has `_pyroTimeout`, the seconds that a call may take (`None`: any), `_pyroUri`, `_pyroBind`, `_pyroRelease` and
    `_pyroReconnect`; ``with`` does nothing.
    """

    __slots__ = ("__weakref__", "_at", "_place", "_pyroTimeout", "_pyroUri")

    _pyroTimeout: float | None

    def __init__(self, uri: str, secret: str | os.PathLike[str] | None = None) -> None:
        self._pyroUri = uri
        self._pyroTimeout = _shared.TIMEOUT
        self._place = _shared.place_of(uri, secret)
        self._at: _shared.Connected | None = None

    def _pyroBind(self) -> bool:
        """Connects, and asks the object what it has; false where this proxy was connected before."""
        before = self._at
        self._try(lambda found: remote_of(found).method("$describe")())
        return self._at is not before

    def _pyroRelease(self) -> None:
        """Does nothing: the connection is not this proxy's alone."""

    def _pyroReconnect(self, tries: int = 1) -> None:  # noqa: ARG002 - there is one, whatever is asked for
        """Connects anew if the connection was lost. Where no server is there it says so at once, in whatever number of tries."""
        self._pyroBind()

    def _try(self, attempt: Callable[[Any], T]) -> T:
        """Does this with the object. Where it turns out that the connection was lost, or the object replaced, and nothing has run, it is done once again."""
        lost = None
        while True:
            at = self._at
            if at is None or at is lost or not at.is_open():
                at = self._at = _shared.connected(self._place, lost)
            try:
                return self._timed(attempt, at)
            except (andiron.UnavailableError, andiron.NoObjectError):
                if lost is not None or not at.forget(self._place.name):
                    raise
                lost = at
            except andiron.EncodingError as error:
                raise ObjectNotSerializableError.of(error) from error

    def _timed(self, attempt: Callable[[Any], T], at: _shared.Connected) -> T:
        if self._pyroTimeout is None:
            return attempt(at.object(self._place.name))
        with andiron.timeout(self._pyroTimeout):
            return attempt(at.object(self._place.name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"`{name}`: names that begin with `_` are never exposed")
        found = self._try(lambda found: getattr(found, name))
        if not isinstance(found, Method):
            return found  # a property

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._try(lambda found: getattr(found, name)(*args, **kwargs))

        method.__name__ = name
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._try(lambda found: setattr(found, name, value))

    def __dir__(self) -> list[str]:
        return self._try(dir)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._try(lambda found: found(*args, **kwargs))

    def __len__(self) -> int:
        return self._try(len)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return self._try(iter)

    def __contains__(self, item: object) -> bool:
        return self._try(lambda found: item in found)

    def __getitem__(self, key: Any) -> Any:
        return self._try(lambda found: found[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._try(lambda found: found.__setitem__(key, value))

    def __delitem__(self, key: Any) -> None:
        self._try(lambda found: found.__delitem__(key))

    def __enter__(self) -> RemoteObject:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __andiron_remote__(self) -> Any:
        """What an engine sends where this is an argument: the object itself."""
        return self._try(remote_of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteObject) and self._pyroUri == other._pyroUri

    def __hash__(self) -> int:
        return hash(self._pyroUri)

    def __copy__(self) -> RemoteObject:
        return RemoteObject(self._pyroUri, self._place.secret)

    def __deepcopy__(self, _: object) -> RemoteObject:
        return self.__copy__()

    def __reduce__(self) -> Any:
        if _shared.is_text(self._place.secret):
            raise TypeError(
                "a secret is not pickled: give the path of its file as `secret=` to have that pickled"
            )
        return RemoteObject, (self._pyroUri, self._place.secret)

    def __repr__(self) -> str:
        return f"<RemoteObject {self._pyroUri}>"


def _check_serializer(name: object) -> None:
    """Refuses the name of a serializer that nobody knows."""
    if name not in SERIALIZERS:
        raise ValueError(
            f"{name!r} is no serializer: give one of {', '.join(SERIALIZERS)}; all of them mean Andiron's own"
        )


def _place(
    add_on_id: str, name: str, host: str | None, port: int | None, secret: str | os.PathLike[str] | None
) -> Place:
    """The place that the arguments say, or the settings of an add-on."""
    place = Place(name, host, port, secret)
    return _shared.checked(_shared.settings_of(add_on_id, place) if add_on_id else place)


def _offered(value: Any) -> Target:
    """An object as others call it: all that is public, unless it is marked what others may call."""
    if isinstance(value, type):
        raise andiron.BadArgumentsError(f"{value.__name__} is a class: give an instance of it")
    target = target_of(value) if is_exposed(value) else target_of_all(value)
    if target is None:
        raise andiron.BadArgumentsError(
            f"`{type(value).__name__}` has no methods that could be called: give an instance of a class that has some"
        )
    return target


def _told(value: Any, place: Place) -> tuple[str | None, Sequence[str]]:
    """Tells an object that stands for the store of its server (`andiron.compat.ipcdatastore`) where that is going to be: the folder of the store, and names of the server."""
    begin = getattr(type(value), "_begin_serving", None)
    return (None, ()) if begin is None else begin(value, place)


def _taken(place: Place) -> str:
    address = _shared.address_of(place)
    if "://" in address:
        return f"Socket {place.port} already in use: end the other server there, or choose another port"
    return f"the name {address!r} is taken by another server: end that, or choose another name"


def _begun(work: Callable[[], object], name: str) -> Thread | None:
    """A thread that does this; `None` where no threads begin any more, since the program ends."""
    from threading import Thread

    thread = Thread(target=work, name=name)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
