"""Daemons, which have objects that others call."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
import weakref

from andiron import _errors, _host, _values
from andiron._server import Server
from andiron.compat import _shared
from andiron.compat.pyro import errors
from andiron.compat.pyro._calls import Calls, log
from andiron.compat.pyro._config import SERVER_TYPES, config
from andiron.compat.pyro._exposing import behavior, callback, expose, interface_of, oneway
from andiron.compat.pyro._link import local_address, refuse_key
from andiron.compat.pyro._loop import Job, Loop
from andiron.compat.pyro.core import DAEMON_NAME, URI, current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from andiron.compat.pyro.client import Proxy

__all__ = ["Daemon", "DaemonObject", "behavior", "callback", "expose", "oneway", "serve"]

#: How many threads read and begin calls where another one runs them.
_READERS = 4

#: The longest wait of a loop without a look at its condition, in seconds.
_SLICE = 1.0


class DaemonObject:
    """The object ``Pyro.Daemon`` that each daemon has."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = weakref.ref(daemon)

    @property
    def daemon(self) -> Daemon:
        """Whose object it is."""
        daemon = self._daemon()
        if daemon is None:
            raise errors.DaemonError("the daemon is gone")
        return daemon

    @expose
    def registered(self) -> list[str]:
        """The names of all objects of the daemon."""
        return list(self.daemon.objectsById)

    @expose
    def ping(self) -> None:
        """Does nothing."""

    @expose
    def info(self) -> str:
        """Who it is."""
        return (
            f"{DAEMON_NAME} bound on {self.daemon.locationStr}, with {len(self.daemon.objectsById)} objects"
        )

    @expose
    def object(self, objectId: str) -> Any:
        """An object itself, for clients of Andiron: ``hub["Pyro.Daemon"].object("player")``."""
        self.daemon._object(objectId)
        return self.daemon._calls.target(objectId)

    @expose
    def get_metadata(self, objectId: str, as_lists: bool = False) -> dict[str, Any]:
        """The names of what an object has: methods, those of them that are one way, and attributes."""
        interface = interface_of(self.daemon._object(objectId))
        return {name: sorted(names) for name, names in interface.items()} if as_lists else dict(interface)


def _no_handler(*_: Any) -> None:
    """What becomes of an error of a method beside that its caller is told: nothing."""


class Daemon:
    """Has objects that others call, at a port or a socket of this machine.

    >>> @expose
    ... class Adder:
    ...     def add(self, a, b):
    ...         return a + b
    >>> from andiron.compat.pyro.client import Proxy
    >>> with Daemon() as daemon:
    ...     with Proxy(daemon.register(Adder())) as adder:
    ...         adder.add(1, 2)
    3
    """

    #: Called with this daemon, the address of the caller, the method, its arguments, their names and the error, where a method raised one.
    methodcall_error_handler: Callable[..., Any] = staticmethod(_no_handler)

    #: The folder of what its store keeps beyond its end; false: it keeps nothing.
    _state: str | bool = False

    def __init__(
        self,
        host: str | None = None,
        port: int = 0,
        unixsocket: str | None = None,
        nathost: str | None = None,
        natport: int | None = None,
        interface: type[DaemonObject] = DaemonObject,
        connected_socket: Any = None,
        *,
        secret: Any = None,
    ) -> None:
        """Listens at once.

        ``host``: where others are to reach it; without it ``config.HOST``. Beyond this machine that is by TLS and needs a ``secret``, or ``config.SECRET``: see
        ``docs/moving/pyro.md``. ``port``: 0 is any that is free. ``unixsocket``: the path of a socket, or a name of this machine, in place of both. ``nathost``, ``natport``: what
        addresses of its objects have in place of its own host and port.
        """
        if connected_socket is not None:
            raise NotImplementedError("a daemon makes its sockets itself: give host and port, or unixsocket")
        for said, place in (("host", host), ("unixsocket", unixsocket), ("nathost", nathost)):
            if place is not None and not isinstance(place, str):
                raise TypeError(f"{said}={place!r}: it is a str; a number is given as port=")
        if unixsocket is not None and nathost is not None:
            raise ValueError("nathost is for ports, and unixsocket is none")
        if config.SERVERTYPE not in SERVER_TYPES:
            raise errors.PyroError(
                f"there is no SERVERTYPE {config.SERVERTYPE!r}, only {', '.join(SERVER_TYPES)}"
            )
        nathost = nathost or (None if unixsocket is not None else config.NATHOST)
        by_loop = config.SERVERTYPE == "multiplex"
        #: The objects by their names; of those that are not kept, weak references.
        self.objectsById: dict[str, Any] = {}
        self._ended = threading.Event()
        self._looping = 0
        self._conditional = False
        self._stopped = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._lock = threading.RLock()
        self._closed = False
        self._by_loop = by_loop
        self._loop = Loop()
        #: What waits for the loop.
        self._jobs: set[Job] = set()
        self._combined: list[Daemon] = []
        self._looked = time.monotonic()
        #: Where others are to reach it, if not where it is.
        self.natLocationStr: str | None = None
        self._calls = Calls(self, by_loop)
        self.objectsById[DAEMON_NAME] = interface(self)
        threads = _READERS if by_loop else config.THREADPOOL_SIZE
        self._listen(host or config.HOST, port, unixsocket, nathost, secret or config.SECRET, threads)
        natport = natport if natport is not None else config.NATPORT
        port = int(self.locationStr.rpartition(":")[2]) if unixsocket is None else 0
        self.natLocationStr = None if nathost is None else _location(nathost, natport or port)

    def _listen(
        self,
        host: str,
        port: int,
        unixsocket: str | None,
        nathost: str | None,
        secret: Any,
        threads: int,
    ) -> None:
        if unixsocket is not None:
            address = local_address(socket_path(unixsocket))
        else:
            address = _shared.network_address(host, port)
            # Who comes from elsewhere does so by TLS, though its last step be within this machine.
            if config.SSL or (nathost is not None and not _shared.is_this_machine(nathost)):
                address = "tls" + address[3:]
        names = {DAEMON_NAME: self._calls.target(DAEMON_NAME)}
        try:
            self._server = Server(
                names,
                address,
                state=self._state,
                secret_file=_shared.secret_file(secret or None),
                threads=threads,
            )
        except _errors.Error as error:
            self._loop.leave()
            raise _refusal(error, address) from error
        if unixsocket is not None:
            self.locationStr = f"./u:{unixsocket}"
        else:
            self.locationStr = _location(host, int(self._server.addresses[0].rpartition(":")[2]))

    # Objects.

    def register(
        self,
        obj_or_class: Any,
        objectId: str | None = None,
        force: bool = False,
        weak: bool = False,
    ) -> URI:
        """Lets others call an object, or instances of a class (`behavior`), by this name; gives its address.

        ``force``: it may have been registered already. ``weak``: it is not kept here, and unregistered when nobody else has it.
        """
        if objectId is not None and not isinstance(objectId, str):
            raise TypeError(f"the name of an object is a str, not {objectId!r}")
        if objectId is None:
            objectId = f"obj_{uuid.uuid4().hex}"  # noqa: N806
        with self._lock:
            if self._closed:
                raise errors.DaemonError("the daemon is closed")
            if not force:
                self._check_free(obj_or_class, objectId)
            if weak and not isinstance(obj_or_class, type):
                self.objectsById[objectId] = weakref.ref(obj_or_class, self._dropped(objectId))
            else:
                self.objectsById[objectId] = obj_or_class
        _mark(obj_or_class, objectId, self)
        return self.uriFor(objectId)

    def _check_free(self, obj: Any, object_id: str) -> None:
        own = getattr(obj, "__dict__", {})
        daemon = own.get("_pyroDaemon")
        if own.get("_pyroId") and (daemon is None or not daemon._closed):
            raise errors.DaemonError("object or class already has a Pyro id; force=True gives it another one")
        if object_id in self.objectsById:
            raise errors.DaemonError(f"an object or class is already registered with the id {object_id!r}")

    def _dropped(self, object_id: str) -> Callable[[object], None]:
        daemon = weakref.ref(self)

        def drop(gone: object) -> None:
            found = daemon()
            if found is not None and found.objectsById.get(object_id) is gone:
                found.unregister(object_id)

        return drop

    def unregister(self, objectOrId: Any) -> None:
        """Has others call an object no more. Nothing happens where it is not registered."""
        if objectOrId is None:
            raise ValueError("object or objectid argument expected")
        object_id = self._id_of(objectOrId)
        if object_id is None or object_id == DAEMON_NAME:
            return
        with self._lock:
            obj = self.objectsById.pop(object_id, None)
        self._calls.forget(object_id)
        _unmark(obj() if isinstance(obj, weakref.ref) else obj, self)

    def _id_of(self, obj: Any) -> str | None:
        if isinstance(obj, str):
            return obj if obj in self.objectsById else None
        for object_id, known in list(self.objectsById.items()):
            if known is obj or (isinstance(known, weakref.ref) and known() is obj):
                return object_id
        return None

    def _object(self, object_id: str) -> Any:
        """The object, or class, of a name."""
        obj = self.objectsById.get(object_id)
        if isinstance(obj, weakref.ref):
            obj = obj()
        if obj is None:
            raise errors.DaemonError(f"unknown object: {object_id!r} is not registered at this daemon")
        return obj

    def uriFor(self, objectOrId: Any, nat: bool = True) -> URI:
        """The address of an object."""
        object_id = objectOrId if isinstance(objectOrId, str) else self._id_of(objectOrId)
        if object_id is None:
            object_id = getattr(objectOrId, "_pyroId", None)  # an instance of a class that is registered
        if object_id is None:
            raise errors.DaemonError("object isn't registered in this daemon")
        location = self.natLocationStr if nat and self.natLocationStr else self.locationStr
        return URI(f"PYRO:{object_id}@{location}")

    def proxyFor(self, objectOrId: Any, nat: bool = True) -> Proxy:
        """A proxy of an object."""
        from andiron.compat.pyro.client import Proxy

        return Proxy(self.uriFor(objectOrId, nat))

    def resetMetadataCache(self, objectOrId: Any, nat: bool = True) -> None:
        """Nothing has to be forgotten: what an object has is looked at anew for each connection."""

    # What is to be overridden.

    def annotations(self) -> dict[str, Any]:
        """What is said beside each result."""
        return {}

    def validateHandshake(self, conn: Any, data: Any) -> Any:  # noqa: ARG002 - as it is named there
        """Whether to serve a connection whose client said this: an error refuses it; what it gives is told to the client."""
        return "hello"

    def clientDisconnect(self, conn: Any) -> None:
        """A connection has ended."""

    def housekeeping(self) -> None:
        """Is called now and then by the loop."""

    def _validates(self) -> bool:
        return type(self).validateHandshake is not Daemon.validateHandshake

    def _disconnected(self, connection: Any) -> None:
        def tell() -> None:
            try:
                self.clientDisconnect(connection)
            except Exception as error:  # of a program's own
                log.warning("clientDisconnect failed", exc_info=error)

        if self._by_loop and not self._closed:
            self._loop.add(tell)
        else:
            tell()

    def _failed(
        self, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
    ) -> None:
        try:
            self.methodcall_error_handler(self, current_context.client_sock_addr, method, args, kwargs, error)
        except Exception as failed:  # of a program's own
            log.warning("methodcall_error_handler failed", exc_info=failed)

    # The loop.

    @property
    def _pyroHmacKey(self) -> None:
        """There is none: a secret proves who connects."""
        return

    @_pyroHmacKey.setter
    def _pyroHmacKey(self, key: object) -> None:
        refuse_key(key)

    @property
    def sockets(self) -> list[Any]:
        """What can be read when `events` has something to do."""
        return [self._loop.sock]

    @property
    def sock(self) -> Any:
        """The first of them."""
        return self._loop.sock

    def events(self, eventsockets: Iterable[Any] = ()) -> None:  # noqa: ARG002 - as it is named there
        """Runs on this thread what has come, for programs with a loop of their own: with ``config.SERVERTYPE = "multiplex"``."""
        self._loop.run()
        self._housekeep()

    def combine(self, daemon: Daemon) -> None:
        """Has the loop of this daemon run the calls of another one as well; both are multiplex ones."""
        if not self._by_loop or not daemon._by_loop:
            raise TypeError('only daemons with SERVERTYPE "multiplex" have a loop that can be combined')
        for one in (daemon, *daemon._combined):
            old, one._loop = one._loop, self._loop
            self._loop.take_over(old)
            self._combined.append(one)

    def requestLoop(self, loopCondition: Callable[[], object] | None = None) -> None:
        """Serves until `shutdown`, or until ``loopCondition()`` is not true, which is asked after each call and every 2 seconds (``config.POLLTIMEOUT``) at least.

        It comes back as well where the host of this program ends (`andiron.abort_when`).
        """
        self._idle.clear()
        self._looping += 1
        self._conditional = loopCondition is not None
        try:
            while not self._ended.is_set() and (loopCondition is None or loopCondition()):
                if _host.ends():
                    break
                self._loop.wait(min(_SLICE, config.POLLTIMEOUT or _SLICE))
                self._loop.run()
                self._housekeep()
        finally:
            self._looping -= 1
            self._idle.set()
        if self._ended.is_set():
            self.close()

    def _housekeep(self) -> None:
        if time.monotonic() - self._looked >= config.POLLTIMEOUT:
            self._looked = time.monotonic()
            for daemon in (self, *self._combined):
                daemon.housekeeping()

    def _looked_at(self) -> None:
        """A call was answered: the loop looks whether it is to go on."""
        if self._conditional and self._looping:
            self._loop.wake()

    def _in_loop(self, run: Callable[[], object], refuse: Callable[[], object]) -> None:
        """Has the thread of the loop run this, or has it refused where that is not to be any more."""

        def forget(what: Callable[[], object]) -> Callable[[], object]:
            def done() -> None:
                self._jobs.discard(job)
                what()

            return done

        job = Job(forget(run), forget(refuse))
        self._jobs.add(job)
        self._loop.add(job)
        if self._closed:  # and nobody may look at the loop any more
            job.refuse()

    def _wait_for_loop(self, function: Callable[[], Any]) -> Any:
        """What a function gives on the thread of the loop."""
        if self._loop.is_here():
            return function()
        done = threading.Event()
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome[:] = [function(), None]
            except BaseException as error:  # is raised where it is waited for
                outcome[:] = [None, error]
            done.set()

        def refuse() -> None:
            outcome[:] = [None, errors.DaemonError("the daemon is closing")]
            done.set()

        self._in_loop(run, refuse)
        done.wait()
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    # The end.

    def _is_within(self) -> bool:
        """Whether this thread runs a method of this daemon."""
        client = current_context.client
        return client is not None and client.belongs_to(self)

    def shutdown(self) -> None:
        """Ends `requestLoop`, and closes the daemon. A method of its own may call it: it is answered first."""
        self._ended.set()
        self._loop.wake()
        if self._is_within():
            if not self._looping:
                self.close()
            return
        self._idle.wait(5.0)
        self.close()

    def close(self) -> None:
        """Ends all connections, and lets go of all objects. Calls under way are finished, for which they have 5 seconds."""
        with self._lock:
            first, self._closed = not self._closed, True
        self._ended.set()
        self._loop.wake()
        if first and self._is_within():  # it would wait for the method that is running
            threading.Thread(target=self._stop, name="andiron-pyro-close").start()
        elif first:
            self._stop()
        elif not self._is_within():
            self._stopped.wait()

    def _stop(self) -> None:
        try:
            for job in list(self._jobs):
                job.refuse()
            self._server.stop()
            for object_id in list(self.objectsById):
                self.unregister(object_id)
            self._loop.leave()
        finally:
            self._stopped.set()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} at 0x{id(self):x}; {self.locationStr}; {len(self.objectsById)} objects>"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a daemon belongs to its process and cannot be pickled; send the address of an object"
        )

    @staticmethod
    def serveSimple(
        objects: Mapping[Any, str | None],
        host: str | None = None,
        port: int = 0,
        daemon: Daemon | None = None,
        ns: bool = True,
        verbose: bool = True,
    ) -> None:
        """As `serve`, with the names that it had before."""
        serve(objects, host, port, daemon, ns, verbose)


def _location(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def socket_path(path: str) -> str:
    """The path of a Unix socket; names without a file are refused, since everybody could listen there."""
    if path.startswith(("\0", "\\0", "@")):
        raise ValueError("a socket without a file is open to every user of this machine: give a path")
    return path


def _refusal(error: _errors.Error, address: str) -> Exception:
    """What a program that looks for it knows as the error of a port that is taken."""
    import errno

    if isinstance(error, _errors.ConflictError):
        return OSError(errno.EADDRINUSE, f"Address already in use: {error.message} ({address})")
    if isinstance(error, _errors.AuthenticationError):
        error = _shared.in_words(error, "config.SECRET")
    return errors.as_here(error, False)


def _mark(obj: Any, object_id: str, daemon: Daemon) -> None:
    """Tells an object who it is; one that takes no attributes goes without."""
    cls = obj if isinstance(obj, type) else type(obj)
    with contextlib.suppress(AttributeError, TypeError):
        obj._pyroId = object_id
        obj._pyroDaemon = daemon
    _values.converters.setdefault(cls, _auto_proxy)


def _unmark(obj: Any, daemon: Daemon) -> None:
    own = getattr(obj, "__dict__", {})
    if own.get("_pyroDaemon") is daemon:
        with contextlib.suppress(AttributeError):
            del obj._pyroDaemon
        with contextlib.suppress(AttributeError):
            del obj._pyroId


def _auto_proxy(obj: Any) -> Any:
    """The proxy that goes in place of an object that is registered."""
    daemon = getattr(obj, "_pyroDaemon", None)
    if not isinstance(daemon, Daemon) or daemon._closed or not config.AUTOPROXY or isinstance(obj, type):
        return None
    from andiron.compat.pyro.client import record_of

    return record_of(daemon.proxyFor(obj))


def serve(
    objects: Mapping[Any, str | None],
    host: str | None = None,
    port: int = 0,
    daemon: Daemon | None = None,
    use_ns: bool = True,
    verbose: bool = True,
) -> None:
    """Registers objects, or classes, by names, and serves them: ``serve({Player: "player"}, use_ns=False)``.

    ``use_ns``: the names are those in the name server; without it they are those in the daemon.
    """
    with daemon or Daemon(host, port) as serving:
        if use_ns:
            from andiron.compat.pyro.names import locate_ns

            names: Any = locate_ns()
        for obj, name in objects.items():
            uri = serving.register(obj, None if use_ns else name)
            if use_ns and name:
                names.register(name, uri)
            if verbose:
                print(
                    f"Object {obj!r}:\n    uri = {uri}" + (f"\n    name = {name}" if name and use_ns else "")
                )
        if verbose:
            print("Pyro daemon running.")
        serving.requestLoop()
