"""Addresses of objects, and what a method knows of the call that it answers."""

from __future__ import annotations

import re
import threading
import weakref

from andiron.compat.pyro import errors
from andiron.compat.pyro._config import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    import uuid
    from typing import Any

__all__ = ["DAEMON_NAME", "NAMESERVER_NAME", "URI", "current_context"]

#: The object that each daemon has.
DAEMON_NAME = "Pyro.Daemon"
#: The object of a name server.
NAMESERVER_NAME = "Pyro.NameServer"

_FORM = re.compile(r"(PYRO|PYRONAME|PYROMETA):(\S+?)(?:@(.+))?", re.IGNORECASE)


class URI:
    """Where an object is: ``PYRO:object@host:port``, ``PYRO:object@./u:path``, ``PYRONAME:name`` or ``PYROMETA:tag,tag``, both with ``@nshost:port`` where that is not as set.

    >>> uri = URI("PYRO:player@localhost:9999")
    >>> uri.object, uri.host, uri.port, uri.location
    ('player', 'localhost', 9999, 'localhost:9999')
    >>> URI("PYRO:player@./u:/run/player").sockname
    '/run/player'
    """

    def __init__(self, uri: str | URI) -> None:
        if isinstance(uri, URI):
            vars(self).update(vars(uri))
            return
        if not isinstance(uri, str):
            raise TypeError(f"a URI is a str or a URI, not {uri!r}")
        form = _FORM.fullmatch(uri)
        if form is None:
            raise errors.PyroError(f"invalid uri {uri!r}: it is like PYRO:object@host:port")
        self.protocol: str = form[1].upper()
        self.object: Any = form[2]
        self.host: str | None = None
        self.port: int | None = None
        self.sockname: str | None = None
        if self.protocol == "PYROMETA":
            self.object = {part.strip() for part in form[2].split(",")}
        if form[3] is not None:
            self._locate(form[3].strip(), None if self.protocol == "PYRO" else config.NS_PORT)
        elif self.protocol == "PYRO":
            raise errors.PyroError(f"invalid uri {uri!r}: it has no location, as in PYRO:object@host:port")

    def _locate(self, location: str, usual_port: int | None) -> None:
        if self.isUnixsockLocation(location):
            self.sockname = location[4:]
            if not self.sockname:
                raise errors.PyroError("invalid uri: behind ./u: stands the path of a socket")
            return
        form = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]*))(?::([^:]*))?", location)
        if form is None:
            raise errors.PyroError(
                f"invalid location {location!r} in a uri: it is like host:port, or [::1]:port"
            )
        self.host = form[1] or form[2] or None
        port = form[3] or usual_port
        try:
            self.port = None if port is None else int(port)
        except ValueError:
            self.port = None
        if self.host is None or self.port is None:
            raise errors.PyroError(f"invalid location {location!r} in a uri: it has a host and a port")

    @staticmethod
    def isUnixsockLocation(location: str) -> bool:
        """Whether a location is a Unix socket."""
        return location.startswith("./u:")

    @property
    def location(self) -> str | None:
        """Where it is: ``host:port``, or ``./u:path``."""
        if self.host is not None:
            return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return None if self.sockname is None else f"./u:{self.sockname}"

    def asString(self) -> str:
        """The text of it."""
        tags = self.object
        name = tags if isinstance(tags, str) else ",".join(sorted(tags))
        location = self.location
        return f"{self.protocol}:{name}@{location}" if location else f"{self.protocol}:{name}"

    def __str__(self) -> str:
        return self.asString()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.URI at 0x{id(self):x}; {self}>"

    def _key(self) -> tuple[Any, ...]:
        tags = self.object if isinstance(self.object, str) else frozenset(self.object)
        return self.protocol, tags, self.sockname, self.host, self.port

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, URI) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


class CallContext(threading.local):
    """What a method knows of the call that it answers, and what is said beside the calls that are made on this thread."""

    def __init__(self) -> None:
        #: The connection on which the call came.
        self.client: Any = None
        #: The address of the other end: host and port, or the number of its process.
        self.client_sock_addr: Any = None
        #: Which call of the connection it is.
        self.seq = 0
        self.msg_flags = 0
        self.serializer_id = 0
        #: In a method, what its caller said beside the arguments; elsewhere, what the calls of this thread say.
        self.annotations: dict[str, Any] = {}
        #: In a method, what is said beside its result; elsewhere, what the latest answer brought.
        self.response_annotations: dict[str, Any] = {}
        #: What all calls that belong together have. One is made for a call that comes without.
        self.correlation_id: uuid.UUID | None = None

    def to_global(self) -> dict[str, Any]:
        """All of it, to be given to another thread."""
        return dict(vars(self))

    def from_global(self, values: dict[str, Any]) -> None:
        """Takes what another thread has told."""
        vars(self).update(values)

    def track_resource(self, resource: Any) -> None:
        """Has ``resource.close()`` called when the connection ends on which the call came."""
        self._client().tracked_resources.add(resource)

    def untrack_resource(self, resource: Any) -> None:
        """Has it not called any more."""
        self._client().tracked_resources.discard(resource)

    def _client(self) -> Any:
        if self.client is None:
            raise errors.PyroError("a resource belongs to a connection, and no call is answered here")
        return self.client


current_context = CallContext()


class Resources:
    """What a connection holds: each is there once, and not kept from being dropped."""

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}

    def add(self, resource: Any) -> None:
        """Holds this too."""
        number = id(resource)
        self._kept[number] = weakref.ref(resource, lambda _: self._kept.pop(number, None))

    def discard(self, resource: Any) -> None:
        """Holds this no more."""
        self._kept.pop(id(resource), None)

    def close(self) -> list[Exception]:
        """Closes all of them; gives what went wrong."""
        failed: list[Exception] = []
        while self._kept:
            resource = self._kept.popitem()[1]()
            try:
                if resource is not None:
                    resource.close()
            except Exception as error:  # whatever it raises, the others are closed
                failed.append(error)
        return failed


#: Where those of the names that this module had too are.
_ELSEWHERE = {
    "Daemon": "server",
    "DaemonObject": "server",
    "Proxy": "client",
    "asyncproxy": "futures",
    "batch": "batches",
    "behavior": "server",
    "callback": "server",
    "expose": "server",
    "locate_ns": "names",
    "oneway": "server",
    "resolve": "names",
    "type_meta": "names",
}


def __getattr__(name: str) -> Any:
    """What Pyro4 or Pyro5 had here too; it is loaded when it is asked for."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"andiron.compat.pyro.{_ELSEWHERE[name]}"), name)
