"""How both ends of a channel prove to each other that they have the same ``auth_secret``.

Who may connect at all is decided below, by Andiron: on one machine the kernel vouches for its user, beyond it a secret does. A password comes on top of that, so that programs
of the same user that were given different ones are told. The client proves first, and the proof of one end is never one of the other: each is over both random numbers and over
whose it is.
"""

from __future__ import annotations

import hmac
import os

import andiron
from andiron import _errors, _log
from andiron._proxy import remote_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The name of the object that lets clients in.
DOOR = "kaa_rpc"

#: Bytes of a random number.
_LENGTH = 32

_WRONG = "the `auth_secret` of the client is not that of the server: give both the same one"


def _proof(password: str, whose: str, of_client: bytes, of_server: bytes) -> bytes:
    said = f"andiron kaa_rpc {whose}\0".encode() + of_client + of_server
    return hmac.new(password.encode("utf-8", "surrogateescape"), said, "sha256").digest()


def _is_proof(shown: object, right: bytes) -> bool:
    return isinstance(shown, bytes) and hmac.compare_digest(shown, right)


@andiron.expose
class Door:
    """What a client finds at a server. ``opened`` is given the end of a client that is let in, and gives the one of the server."""

    def __init__(self, password: str, opened: Callable[[Any], Any]) -> None:
        self._password = password
        self._opened = opened

    def greet(self, of_client: bytes) -> tuple[bytes, Gate]:
        """Takes the random number of a client; gives that of the server, and what the client proves itself to."""
        if not isinstance(of_client, bytes) or len(of_client) != _LENGTH:
            raise _errors.BadArgumentsError(f"a random number has {_LENGTH} bytes here")
        of_server = os.urandom(_LENGTH)
        proofs = [_proof(self._password, whose, of_client, of_server) for whose in ("client", "server")]
        return of_server, Gate(proofs[0], proofs[1], self._opened)


@andiron.expose
class Gate:
    """One client that may be let in."""

    def __init__(self, right: bytes, own: bytes, opened: Callable[[Any], Any]) -> None:
        self._right = right
        self._own = own
        self._opened: Callable[[Any], Any] | None = opened
        self._is_right = False

    def prove(self, shown: bytes) -> bytes:
        """Takes the proof of the client, once, and gives that of the server."""
        right, self._right = self._right, b""
        if not right or not _is_proof(shown, right):
            _log.log("warning", f"a client of kaa_rpc was refused: {_WRONG}")
            raise _errors.AuthenticationError(_WRONG)
        self._is_right = True
        return self._own

    def open(self, end: Any) -> Any:
        """Takes the client's end of the channel, and gives the server's."""
        opened, self._opened = self._opened, None
        if not self._is_right or opened is None:
            raise _errors.AuthenticationError("prove that the `auth_secret` is known, and then open once")
        return opened(end)


def enter(door: Any, password: str, end: Any) -> Any:
    """Proves a client to a server, and has that prove itself before it is given the client's end; gives the server's."""
    try:
        return _entered(door, password, end)
    except _errors.Error as error:
        error.operation = None  # it is no call of the program's
        raise


def _entered(door: Any, password: str, end: Any) -> Any:
    of_client = os.urandom(_LENGTH)
    of_server, gate = remote_of(door).method("greet")(of_client)
    if not isinstance(of_server, bytes) or len(of_server) != _LENGTH:
        raise _errors.ProtocolError("what the server answers is no greeting of kaa_rpc")
    method = remote_of(gate).method
    shown = method("prove")(_proof(password, "client", of_client, of_server))
    if not _is_proof(shown, _proof(password, "server", of_client, of_server)):
        raise _errors.AuthenticationError("the server has not proved that it knows the `auth_secret`")
    return method("open")(end)
