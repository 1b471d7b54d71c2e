"""The errors of `andiron.compat.ipcdatastore`, by the names and numbers of service.ipcdatastore."""

from __future__ import annotations

from andiron import _errors
from andiron._values import register
from andiron.compat._shared import IPCClientError, ObjectNotSerializableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: It was always spelled so.
IPCERROR_UKNOWN = 0
IPCERROR_NO_VALUE_FOUND = 1
IPCERROR_USE_CACHED_COPY = 2
IPCERROR_SERVER_TIMEOUT = 3
IPCERROR_CONNECTION_CLOSED = 4
IPCERROR_NONSERIALIZABLE = 5
IPCERROR_SAVEFAILED = 6
IPCERROR_RESTOREFAILED = 7


class _Worded(IPCClientError):
    """Has words from the beginning on; those that are set later are `message`, as `str` is."""

    errno = IPCERROR_UKNOWN
    #: The traceback of what it came from, where there is one, as text.
    tb = ""
    _words = "Unknown error"

    def __init__(self, message: str = "") -> None:
        self._say(message or self._words)

    def _say(self, message: str) -> None:
        self.args = (message,)
        self.message = message


class NoError(_Worded):
    """Nothing is wrong; never raised."""

    errno = -1
    _words = "No error"


class VarNotFoundError(_Worded):
    """There is no entry of this author and name.

    >>> error = VarNotFoundError()
    >>> error.updatemessage("x", "weather")
    >>> error.errno, str(error), error.message == str(error)
    (1, 'Variable not found on server for author=weather, var_name=x', True)
    """

    errno = IPCERROR_NO_VALUE_FOUND
    _words = "Variable not found on server"

    def updatemessage(self, varname: object, author: object) -> None:
        """Names it."""
        self._say(f"Variable not found on server for author={author}, var_name={varname}")


class UseCachedCopyError(_Worded):
    """What was read is current; never raised, since no answer is an error that is none."""

    errno = IPCERROR_USE_CACHED_COPY
    _words = "Using cached copy"


class _OfServerError(_Worded):
    def __init__(self, uri: object = "", tb: str = "", why: object = "") -> None:
        super().__init__(f"{self._words} {uri}: {why}" if why else f"{self._words} {uri}")
        self.tb = tb


class ServerUnavailableError(_OfServerError):
    """The server cannot be reached, refuses who asks, or did not answer in time."""

    errno = IPCERROR_SERVER_TIMEOUT
    _words = "Server unavailable for uri:"


class ServerReconnectFailedError(_OfServerError):
    """The connection ended while something was asked, which may or may not have been done."""

    errno = IPCERROR_CONNECTION_CLOSED
    _words = "Server connection closed and could not be reopened for"


class _OfSavedError(_Worded):
    def updatemessage(self, author: object, fn: object, why: object = "") -> None:
        """Names what was to be saved or restored: the author, and the name under which it is kept."""
        self._say(f"{self._words} for author={author}, name={fn}{f': {why}' if why else ''}")


class SaveFailedError(_OfSavedError):
    """The server keeps nothing, or its disk has no room."""

    errno = IPCERROR_SAVEFAILED
    _words = "Save failed"


class RestoreFailedError(_OfSavedError):
    """Nothing was saved, or it cannot be brought back."""

    errno = IPCERROR_RESTOREFAILED
    _words = "Restore failed"


class UnknownError(_Worded):
    """Everything else; what it was is its cause."""

    errno = IPCERROR_UKNOWN

    def __init__(self, exc: object = "", tb: str = "") -> None:
        super().__init__(str(exc))
        self.tb = tb


_ALL = (
    IPCClientError,
    NoError,
    VarNotFoundError,
    UseCachedCopyError,
    UseCachedCopyError,
    ServerUnavailableError,
    ServerReconnectFailedError,
    ObjectNotSerializableError,
    SaveFailedError,
    RestoreFailedError,
    UnknownError,
)
for _error in _ALL:
    register(_error, f"ipcdatastore.{_error.__name__}")


def explained(
    error: Exception,
    uri: object,
    author: object,
    name: object,
    value: Any = None,
    own: type[_OfSavedError] | None = None,
    answered: bool = False,
) -> IPCClientError:
    """What an error of Andiron is called here.

    ``name``: of the entry, or of what is saved. ``value``: that was to be set. ``own``: what it is called where nothing can be kept, or was.
    ``answered``: the server is there, and says so itself: what it cannot reach is its disk.
    """
    if isinstance(error, IPCClientError):
        return error
    told: _Worded | ObjectNotSerializableError
    if isinstance(error, _errors.UnknownError):
        told = ServerReconnectFailedError(uri, why=error)
    elif own is not None and (
        isinstance(error, _NOT_KEPT) or (answered and isinstance(error, _errors.UnavailableError))
    ):
        told = own()
        told.updatemessage(author, name, error)
    elif isinstance(error, _UNAVAILABLE):
        told = ServerUnavailableError(uri, why=error)
    elif isinstance(error, _errors.EncodingError) and error.operation is None and value is not None:
        told = ObjectNotSerializableError.of(error)
    else:
        told = UnknownError(error)
    told.__cause__ = error
    if isinstance(told, _Worded):
        import traceback

        told.tb = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return told


#: It did not run, or nobody answered in time.
_UNAVAILABLE = (
    _errors.UnavailableError,
    _errors.OverloadedError,
    _errors.DeadlineError,
    _errors.AuthenticationError,
    _errors.ProtocolError,
)

#: The server keeps nothing, has no room, or has not kept what is asked for.
_NOT_KEPT = (_errors.UnsupportedError, _errors.QuotaError, _errors.NoObjectError)
