"""Calls that come to a daemon: which object, which instance and which member they are for, and what their method knows of them."""

from __future__ import annotations

import logging
import threading
import time
import uuid
import weakref

from andiron import _engine, _errors, _expose, _values
from andiron._engine import Later, Target
from andiron._proxy import SPECIAL
from andiron._values import Record
from andiron.compat.pyro import _exposing, errors
from andiron.compat.pyro._config import config
from andiron.compat.pyro._exposing import member_of
from andiron.compat.pyro.core import DAEMON_NAME, Resources, current_context
from andiron.compat.pyro.serializers import SerializerBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from andiron._engine import Answer, Context
    from andiron.compat.pyro.server import Daemon

log = logging.getLogger("andiron")

#: The names that Andiron has for what Python has others for.
_PYTHON = {wire: name for name, wire in SPECIAL.items()}

#: Records that an answer to a client of this package may be: a result with what is said beside it, and an error that is made of a dict.
REPLY, RAISED = "Pyro.reply", "Pyro.raised"


class Connection:
    """A connection to a daemon, as its methods see it."""

    def __init__(self, daemon: Daemon, connection: Any) -> None:
        self._daemon = weakref.ref(daemon)
        self._connection: Any = connection
        #: The object that it was made for.
        self.objectId: str | None = None
        #: Whether it was validated.
        self.opened = False
        self.tracked_resources = Resources()
        #: The instances that belong to it, by their classes.
        self.pyroInstances: dict[type, Any] = {}
        self.lock = threading.RLock()
        self.addr = address_of(connection.peer())
        self.calls = 0

    @property
    def sock(self) -> Connection:
        """What tells of its ends, as a socket does."""
        return self

    def getpeername(self) -> Any:
        """The address of the other end."""
        return self.addr

    def getpeercert(self) -> None:
        """There is none: who is at the other end was proven by a secret, or by the system."""
        return

    def close(self) -> None:
        """Ends it."""
        connection = self._connection
        if connection is not None:
            connection.close()

    def ended(self) -> None:
        """It is over: nothing below it is held any more."""
        self._connection = None

    def belongs_to(self, daemon: Daemon) -> bool:
        """Whether it is a connection of this daemon."""
        return self._daemon() is daemon


def address_of(peer: str) -> Any:
    """Host and port of a peer, or what is known of it.

    >>> address_of("tcp 127.0.0.1:4000"), address_of("tcp [::1]:4000"), address_of("process 7")
    (('127.0.0.1', 4000), ('::1', 4000), 'process 7')
    """
    host, _, port = peer.rpartition(" ")[2].rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else peer


class Items:
    """The items of an iterator that a method gave, each of which is made as a part of its call."""

    def __init__(self, calls: Calls, items: Iterator[Any], context: dict[str, Any]) -> None:
        self._calls = calls
        self._items = items
        self._context = {**context, "response_annotations": {}}
        self._until = time.monotonic() + config.ITER_STREAM_LIFETIME if config.ITER_STREAM_LIFETIME else None

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        if self._until is not None and time.monotonic() > self._until:
            self.close()
            raise errors.PyroError("item stream terminated: ITER_STREAM_LIFETIME is over")
        return self._calls.on_loop(self._next)

    def _next(self) -> Any:
        before = current_context.to_global()
        current_context.from_global(self._context)
        try:
            return next(self._items)
        finally:
            current_context.from_global(before)

    def close(self) -> None:
        """Wants no more of them."""
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


class Calls:
    """The calls of a daemon."""

    def __init__(self, daemon: Daemon, by_loop: bool) -> None:
        self._daemon = daemon
        #: Whether the thread of the daemon's loop runs them, one after the other.
        self._by_loop = by_loop
        self._lock = threading.Lock()
        self._connections: dict[int, Connection] = {}
        self._targets: dict[str, Target] = {}
        self._singles: dict[type, Any] = {}
        self._creating = threading.RLock()

    def target(self, object_id: str) -> Target:
        """What clients hold of an object."""
        with self._lock:
            target = self._targets.get(object_id)
            if target is None:
                handle = _Handle()
                target = Target(handle, {}, lambda name: self._called(object_id, name))
                self._targets[object_id] = target
            return target

    def forget(self, object_id: str) -> None:
        """The object is not there any more."""
        with self._lock:
            self._targets.pop(object_id, None)

    def _called(self, object_id: str, name: str) -> Any:
        """What is called for a name: asked for with each call."""
        if self._by_loop:
            return Later(lambda answer: self._later(object_id, name, answer))

        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return self._answer(_engine.current(), object_id, name, args, kwargs)
            finally:
                self._daemon._looked_at()

        return run

    def _later(self, object_id: str, name: str, answer: Answer) -> None:
        def run() -> None:
            context = answer.context()
            if context is None:
                return
            try:
                given = answer.arguments(_engine.hooks.proxy, _engine.hooks.stream)
                if given is not None:
                    args, kwargs = given
                    answer.result(context.run(self._answer, context, object_id, name, args, kwargs))
            except KeyboardInterrupt as error:  # of the one who runs the loop
                answer.error(error)
                raise
            except BaseException as error:  # a method that exits ends nothing but itself
                answer.error(error)

        def refuse() -> None:
            answer.error(_errors.UnavailableError("the daemon is closing; the method did not run"))

        self._daemon._in_loop(run, refuse)

    def on_loop(self, function: Callable[[], Any]) -> Any:
        """What a function gives, on the thread that runs the methods."""
        return self._daemon._wait_for_loop(function) if self._by_loop else function()

    def connection_of(self, context: Context) -> Connection:
        """The connection of a call."""
        key = context.key()
        with self._lock:
            connection = self._connections.get(key)
            if connection is not None:
                return connection
            connection = self._connections[key] = Connection(self._daemon, context.connection())
        context.on_end(lambda: self._end(key))
        return connection

    def _end(self, key: int) -> None:
        with self._lock:
            connection = self._connections.pop(key, None)
        if connection is None:
            return
        connection.ended()
        for error in connection.tracked_resources.close():
            log.warning("a resource of a connection that ended could not be closed", exc_info=error)
        if connection.opened:
            self._daemon._disconnected(connection)

    def _answer(
        self,
        context: Context | None,
        object_id: str,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if context is None:
            raise errors.DaemonError("the call came by no connection")
        if self._daemon._closed:
            raise _errors.UnavailableError("the daemon is closing; the method did not run")
        connection = self.connection_of(context)
        before = current_context.to_global()
        self._enter(connection, context)
        try:
            if object_id == DAEMON_NAME and name == "$open":
                return self._open(connection, *args)
            return self._reply(connection, self._found(connection, object_id, name, args, kwargs))
        except Exception as error:
            if connection.opened and SerializerBase.is_registered(type(error)):
                return Record(RAISED, {"error": error, "trace": errors.get_pyro_traceback(error)})
            raise
        finally:
            current_context.from_global(before)

    def _enter(self, connection: Connection, context: Context) -> None:
        said = context.annotations() or {}
        correlation_id = said.pop("correlation_id", None)
        connection.calls += 1
        current_context.from_global(
            {
                "client": connection,
                "client_sock_addr": connection.addr,
                "seq": connection.calls & 0xFFFF,
                "msg_flags": 0,
                "serializer_id": 0,
                "annotations": said,
                "response_annotations": {},
                "correlation_id": correlation_id if isinstance(correlation_id, uuid.UUID) else uuid.uuid4(),
            }
        )

    def _reply(self, connection: Connection, result: Any) -> Any:
        if _expose._is_items(result):
            if not config.ITER_STREAMING:
                raise errors.ProtocolError("the result is an iterator, and ITER_STREAMING is off")
            result = Items(self, result, current_context.to_global())
        said = {**self._daemon.annotations(), **current_context.response_annotations}
        if not said or not connection.opened:
            return result
        return Record(REPLY, {"value": result, "annotations": said})

    def _found(
        self,
        connection: Connection,
        object_id: str,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        daemon = self._daemon
        if not connection.opened and daemon._validates():
            raise errors.SecurityError(
                "this daemon validates who connects, so it is called by a Proxy of andiron.compat.pyro alone"
            )
        obj = daemon._object(object_id)
        if name == "$describe":
            return described(obj)
        instance = self._instance_of(connection, obj)
        if name == "$batch":
            return self._batch(instance, *args)
        if name == "$set":
            return self._set(instance, *args)
        return self._invoke(instance, _PYTHON.get(name, name), args, kwargs)

    def _open(self, connection: Connection, object_id: str, handshake: Any) -> dict[str, Any]:
        connection.objectId = object_id
        told = self._daemon.validateHandshake(connection, handshake)
        obj = self._daemon.objectsById.get(object_id)
        if obj is None:
            raise errors.CommunicationError("unknown object")
        connection.opened = True
        obj = self._daemon._object(object_id)
        return {"handshake": told, "meta": _exposing.interface_of(obj), "object": self.target(object_id)}

    def _instance_of(self, connection: Connection, obj: Any) -> Any:
        if not isinstance(obj, type):
            return obj
        mode, creator = _exposing.instancing_of(obj)
        if mode == "percall":
            return created(obj, creator)
        kept = connection.pyroInstances if mode == "session" else self._singles
        with connection.lock if mode == "session" else self._creating:
            if obj not in kept:
                kept[obj] = created(obj, creator)
            return kept[obj]

    def _batch(self, instance: Any, calls: list[Any]) -> tuple[list[Any], BaseException | None]:
        """The results of calls one after the other, up to the first that fails, and its error."""
        results: list[Any] = []
        for name, args, kwargs in calls:
            try:
                result = self._invoke(instance, name, tuple(args), kwargs)
                if _expose._is_items(result):
                    raise errors.ProtocolError(
                        f"`{name}` gives an iterator, which no batch takes: call it by itself"
                    )
            except Exception as error:
                error._pyroTraceback = errors.get_pyro_traceback(error)  # type: ignore[attr-defined]
                return results, error
            results.append(result)
        return results, None

    def _set(self, instance: Any, name: str, value: Any) -> None:
        member = member_of(instance, name)
        if not isinstance(member, property) or member.fset is None:
            raise AttributeError(f"the remote attribute '{name}' cannot be set")
        setattr(instance, name, value)

    def _invoke(self, instance: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        member = member_of(instance, name)
        method: Any = name
        try:
            if isinstance(member, property):
                return getattr(instance, name)
            method = getattr(instance, name)
            return method(*args, **kwargs)
        except BaseException as error:
            if _exposing.is_callback(member):
                log.warning("the callback `%s` raised what its caller is told too", name, exc_info=error)
            if isinstance(error, Exception):
                self._daemon._failed(method, args, kwargs, error)
            raise


class _Handle:
    """Stands for an object of a daemon where others hold it: it does not keep the object."""

    __slots__ = ("__weakref__",)


def created(cls: type, creator: Callable[[Any], Any] | None) -> Any:
    """An instance of a class that is registered."""
    if creator is None:
        return cls()
    instance = creator(cls)
    if not isinstance(instance, cls):
        raise TypeError(f"instance creator returned a {type(instance).__name__}, which is no {cls.__name__}")
    return instance


def described(obj: Any) -> dict[str, Any]:
    """An object as Andiron's own clients know it."""
    import inspect

    cls = obj if isinstance(obj, type) else type(obj)
    interface = _exposing.interface_of(obj)
    methods = []
    for name in sorted(interface["methods"] | interface["attrs"]):
        member = inspect.getattr_static(obj, name)
        if isinstance(member, property):
            kind = "read and set" if member.fset else "read"
            methods.append({**_expose._signature(name, member.fget, True), "property": kind})
        else:
            function = getattr(member, "__func__", member)
            bound = not isinstance(member, staticmethod)
            methods.append(_expose._signature(SPECIAL.get(name, name), function, bound))
    return {"name": cls.__name__, "doc": inspect.getdoc(cls) or "", "methods": methods}


class Reply:
    """A result with what was said beside it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.value = fields["value"]
        self.annotations: dict[str, Any] = dict(fields["annotations"])


class Raised:
    """An error that came as a value."""

    def __init__(self, fields: dict[str, Any]) -> None:
        error, trace = fields["error"], fields["trace"]
        if not isinstance(error, BaseException):
            error = errors.SerializeError(f"what was raised arrived as {error!r}, which is no error here")
        error._pyroTraceback = [str(line) for line in trace]
        self.error = error


_values.makers[REPLY] = Reply
_values.makers[RAISED] = Raised
