"""The connection of a proxy, and how it comes about."""

from __future__ import annotations

import os

import andiron
from andiron import _errors
from andiron._proxy import remote_of
from andiron.compat import _shared
from andiron.compat.pyro import errors
from andiron.compat.pyro._config import config
from andiron.compat.pyro.core import DAEMON_NAME, URI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from andiron._engine import Method


class Link:
    """A connection of a proxy, with the object that it is for."""

    def __init__(self, hub: Any, uri: URI) -> None:
        self.hub = hub
        self.uri = uri
        self.process = os.getpid()
        self._daemon = remote_of(hub[DAEMON_NAME])
        self._object: Any = None
        self._methods: dict[str, Method] = {}

    def open(self, handshake: Any) -> dict[str, Any]:
        """Asks for the object; gives what the daemon tells of it."""
        told: dict[str, Any] = self._daemon.method("$open")(self.uri.object, handshake)
        self._object = remote_of(told["object"])
        return told

    def method(self, name: str) -> Method:
        """A method of the object."""
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = self._object.method(name)
        return method

    def of(self, object_id: str | None, name: str) -> Method:
        """A method of the object, or of another one of the daemon."""
        if object_id is None or object_id == self.uri.object:
            return self.method(name)
        if object_id == DAEMON_NAME:
            return self._daemon.method(name)
        other: Method = remote_of(self._daemon.method("object")(object_id)).method(name)
        return other

    def is_over(self) -> bool:
        """Whether it has ended, or is one of a parent of this process."""
        return self.process != os.getpid() or _shared.is_over(self.hub)

    def close(self) -> None:
        """Ends it."""
        if self.process == os.getpid():
            self.hub.close()


def local_address(sockname: str) -> str:
    """The address of a socket by its path, or of a name of this machine, which has no folder in it."""
    return f"unix:{os.path.abspath(sockname)}" if "/" in sockname else sockname


def refuse_key(key: object) -> None:
    """Refuses what older programs had to prove who they are."""
    if key is not None:
        raise NotImplementedError(
            "passwords prove nothing here: make a secret by `andiron secret new`, and give it as config.SECRET"
        )


def connected(uri: URI, timeout: float | None, secret: Any) -> Any:
    """A hub of the daemon that has the object."""
    place = _shared.Place(DAEMON_NAME, uri.host, uri.port, secret or None)
    if uri.sockname is not None:
        address = local_address(uri.sockname)
    else:
        address = _shared.dialled(place)
        if config.SSL:
            address = "tls" + address[3:]
    file = _shared.secret_file(place.secret)
    try:
        return andiron.connect(address, timeout=timeout, cache=0, secret_file=file)
    except andiron.AuthenticationError as error:
        if file is None and address.startswith("tcp:") and not _shared.is_answered(place):
            raise andiron.UnavailableError(f"nobody listens at {uri.location}") from None
        raise _shared.in_words(error, "config.SECRET") from error


def not_connected(uri: URI, why: str, error: Exception) -> Exception:
    """The error of a connection that did not come about."""
    here = errors.as_here(error, False)
    if isinstance(error, _errors.Error) and not isinstance(here, errors.CommunicationError):
        return here
    cls = type(here) if isinstance(error, _errors.Error) else errors.CommunicationError
    where = f"connection to {uri.location} rejected" if why == "rejected by" else f"{why} {uri.location}"
    return cls(f"{where}: {error}")
