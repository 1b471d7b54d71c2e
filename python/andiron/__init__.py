"""Processes share live objects and data.

One process exposes an object, any other calls its methods, either way over one connection::

    import andiron

    @andiron.expose
    class Player:
        def seek(self, seconds: float, done) -> float:
            done("ok")
            return seconds

    andiron.serve({"player": Player()})  # blocks; Ctrl-C stops

Any process puts a value into the store, any other reads it::

    import andiron

    hub = andiron.connect()
    print(hub["player"].seek(12.5, print))  # any function is a callback
    hub.store["x"] = 20  # `andiron get x` prints 20
"""

from andiron import _engine
from andiron._choice import name as engine
from andiron._engine import Pending, decode, encode
from andiron._errors import (
    AuthenticationError,
    BadArgumentsError,
    CancelledError,
    ConflictError,
    DeadlineError,
    DeniedError,
    EncodingError,
    Error,
    InternalError,
    NoMethodError,
    NoObjectError,
    OverloadedError,
    ProtocolError,
    QuotaError,
    ReentrantError,
    RemoteError,
    RemoteTraceback,
    TooLargeError,
    UnavailableError,
    UnknownError,
    UnsupportedError,
)
from andiron._expose import can_send, expose
from andiron._host import abort_when
from andiron._hub import Annotations, Caller, Hub, caller, connect, timeout
from andiron._memory import Array, buffer, freeze
from andiron._proxy import Proxy, Stream
from andiron._server import Server, serve
from andiron._store import Change, Changes, Entry, Snapshot, Stats, Store
from andiron._values import Extension, Member, Record, register

_engine.install()

annotations = Annotations

__all__ = [
    "Array",
    "AuthenticationError",
    "BadArgumentsError",
    "Caller",
    "CancelledError",
    "Change",
    "Changes",
    "ConflictError",
    "DeadlineError",
    "DeniedError",
    "EncodingError",
    "Entry",
    "Error",
    "Extension",
    "Hub",
    "InternalError",
    "Member",
    "NoMethodError",
    "NoObjectError",
    "OverloadedError",
    "Pending",
    "ProtocolError",
    "Proxy",
    "QuotaError",
    "Record",
    "ReentrantError",
    "RemoteError",
    "RemoteTraceback",
    "Server",
    "Snapshot",
    "Stats",
    "Store",
    "Stream",
    "TooLargeError",
    "UnavailableError",
    "UnknownError",
    "UnsupportedError",
    "abort_when",
    "annotations",
    "buffer",
    "caller",
    "can_send",
    "connect",
    "decode",
    "encode",
    "engine",
    "expose",
    "freeze",
    "register",
    "serve",
    "timeout",
]
