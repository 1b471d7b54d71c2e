"""What goes wrong: the names of Pyro's errors, and what of Andiron each stands for."""

from __future__ import annotations

import sys
import traceback

from andiron import _errors, _values
from andiron._errors import RemoteTraceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

__all__ = [
    "CommunicationError",
    "ConnectionClosedError",
    "DaemonError",
    "MessageTooLargeError",
    "NamingError",
    "ProtocolError",
    "PyroError",
    "RemoteError",
    "SecurityError",
    "SerializeError",
    "TimeoutError",
    "excepthook",
    "get_pyro_traceback",
]


class PyroError(Exception):
    """What this package raises by itself."""


class CommunicationError(PyroError):
    """The daemon cannot be reached or refuses the connection, or the connection ended."""


class ConnectionClosedError(CommunicationError):
    """The connection ended. The call may have run."""


class TimeoutError(CommunicationError):  # noqa: A001 - as it is named there
    """The time allowed for the call is over. The method may have run, and is told that nobody waits for it."""


class ProtocolError(CommunicationError):
    """The other end broke the rules."""


class MessageTooLargeError(ProtocolError):
    """A message is longer than the receiver accepts."""


class SerializeError(ProtocolError):
    """A value cannot be sent or read."""


class NamingError(PyroError):
    """No such name is known, or it is taken, or there is no name server."""


class DaemonError(PyroError):
    """The daemon has no such object, or another one in its place."""


class SecurityError(PyroError):
    """The caller may not do this."""


class RemoteError(PyroError):
    """A method raised what has no class here: neither builtin, nor registered by `andiron.register` or `register_dict_to_class`."""

    #: The class of what was raised, as it is named there.
    type_name: str = ""
    #: What it was made with.
    remote_args: tuple[Any, ...] = ()


for _cls in PyroError.__subclasses__() + CommunicationError.__subclasses__() + ProtocolError.__subclasses__():
    _values.register(_cls, f"Pyro5.errors.{_cls.__name__}")
_values.register(PyroError, "Pyro5.errors.PyroError")

#: What an error of Andiron is here. Others, as those of wrong arguments and unknown methods, are the builtin ones already.
_HERE: dict[str, type[PyroError]] = {
    "unavailable": CommunicationError,
    "overloaded": CommunicationError,
    "unknown": ConnectionClosedError,
    "deadline": TimeoutError,
    "protocol": ProtocolError,
    "too large": MessageTooLargeError,
    "encoding": SerializeError,
    "no object": DaemonError,
    "denied": SecurityError,
    "authentication": SecurityError,
    "application": RemoteError,
}


def as_here(error: Exception, connected: bool = True) -> Exception:
    """The error that stands here for one of Andiron, with that as its cause; any other one with its remote traceback."""
    lines = remote_lines(error)
    if isinstance(error, _errors.Error) and error.kind in _HERE:
        cls = _HERE[error.kind]
        if connected and cls is CommunicationError and error.kind == "unavailable":
            cls = ConnectionClosedError
        here = cls(error.message)
        here.__cause__ = error
        if isinstance(error, _errors.RemoteError):
            here = cls(f"{error.type_name}: {error.message}" if error.type_name else error.message)
            here.__cause__ = error.__cause__
            here.__dict__.update(vars(error))
        error = here
    if lines is not None:
        try:
            error._pyroTraceback = lines  # type: ignore[attr-defined]
        except AttributeError:  # it takes none
            pass
    return error


def remote_lines(error: BaseException) -> list[str] | None:
    """Where a method raised it, as lines; `None` where it was raised here."""
    known: list[str] | None = getattr(error, "_pyroTraceback", None)
    cause = error.__cause__
    return list(cause.args) if known is None and isinstance(cause, RemoteTraceback) else known


def get_pyro_traceback(
    ex_type: type[BaseException] | BaseException | None = None,
    ex_value: BaseException | None = None,
    ex_tb: TracebackType | None = None,
) -> list[str]:
    """The lines of a traceback, with that of the method that raised the error in another process behind it; without arguments of the error that is handled now.

    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError:
    ...     print("".join(get_pyro_traceback()).splitlines()[-1])
    ZeroDivisionError: division by zero
    """
    if isinstance(ex_type, BaseException):
        ex_value, ex_tb = ex_type, ex_type.__traceback__
    if ex_type is not None and ex_value is None and ex_tb is None:
        raise TypeError("give the class, the error and its traceback, or the error alone")
    if ex_type is None and ex_value is None:
        _, ex_value, ex_tb = sys.exc_info()
    if ex_value is None:
        return []
    lines = remote_lines(ex_value)
    here = traceback.format_exception(type(ex_value), ex_value, ex_tb, chain=lines is None)
    return here if lines is None else here + list(_framed(lines))


def _framed(lines: Iterable[str]) -> Iterable[str]:
    yield " +--- This exception occurred remotely (Pyro) - Remote traceback:\n"
    for line in "".join(lines).splitlines():
        yield f" | {line}\n"
    yield " +--- End of remote traceback\n"


def excepthook(ex_type: type[BaseException], ex_value: BaseException, ex_tb: TracebackType | None) -> None:
    """Prints an error with its remote traceback: ``sys.excepthook = excepthook``."""
    sys.stderr.write("".join(get_pyro_traceback(ex_type, ex_value, ex_tb)))
