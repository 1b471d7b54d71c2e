"""What goes wrong: one class for each kind, which is also the builtin exception that one would catch."""

from __future__ import annotations

import builtins
from operator import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, ClassVar

    Failure = tuple[str, str, str, list[str], list[Any], dict[str, Any]]


class Error(Exception):
    """What calls and everything else in this package raise, but for what methods of other processes raised.

    >>> error = UnavailableError("no server at 'andiron'")
    >>> error.kind, error.is_temporary(), isinstance(error, ConnectionError)
    ('unavailable', True, True)
    """

    kind: ClassVar[str] = "internal"
    #: What was being done, for example ``player.seek``.
    operation: str | None = None
    #: Details that help to find the cause.
    context: Mapping[str, str] = {}
    #: It tells of a call, or something like it, that was made here; not of the one in which it is raised.
    _of_call = False

    def is_temporary(self) -> bool:
        """Whether the same call may succeed a little later, and has not run."""
        return self.kind in ("unavailable", "overloaded")

    @property
    def message(self) -> str:
        """What is wrong and what to do, without operation and context."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        operation = f"{self.operation}: " if self.operation else ""
        details = ", ".join(f"{key}: {value}" for key, value in self.context.items())
        return f"{operation}{self.message}{f' ({details})' if details else ''}"


class RemoteError(Error):
    """What a method raised that is no builtin exception and not registered here."""

    kind = "application"
    #: The class of what was raised, as its language writes it.
    type_name: str = ""
    #: What it was made with.
    remote_args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.type_name}: {message}" if self.type_name else message


class NoObjectError(Error, KeyError):
    """No object of that name or reference is there (any more)."""

    kind = "no object"


class NoMethodError(Error, AttributeError):
    """The object has no such method, or does not expose it."""

    kind = "no method"


class BadArgumentsError(Error, TypeError):
    """Arguments are missing, unknown or of another type. The method did not run."""

    kind = "bad arguments"


class EncodingError(Error, TypeError):
    """A value cannot be sent or read."""

    kind = "encoding"
    #: The bytes of an entry that was taken out of the store and cannot be read.
    data: bytes | None = None


class TooLargeError(Error, ValueError):
    """A message is longer than the receiver accepts."""

    kind = "too large"


class OverloadedError(Error):
    """A limit of the other end is reached; the call did not run. Try again later."""

    kind = "overloaded"


class DeadlineError(Error, TimeoutError):
    """The time allowed for the call is over. The method may have run."""

    kind = "deadline"


class CancelledError(Error):
    """The call was given up. The method may have run."""

    kind = "cancelled"


class ReentrantError(Error, RuntimeError):
    """The chain of calls came back into an object that it already holds for itself."""

    kind = "reentrant"


class DeniedError(Error, PermissionError):
    """The caller may not do this."""

    kind = "denied"


class InternalError(Error, RuntimeError):
    """The other end, or this one, has a defect."""

    kind = "internal"


class UnavailableError(Error, ConnectionError):
    """The server, or the process that provides the object, cannot be reached. The call did not run."""

    kind = "unavailable"


class UnknownError(Error, ConnectionError):
    """The connection ended before the answer came: the call may or may not have run."""

    kind = "unknown"


class ConflictError(Error):
    """Something else is already there: a name that is taken, a version that has moved on."""

    kind = "conflict"


class QuotaError(Error):
    """A quota of the store is used up."""

    kind = "quota"


class UnsupportedError(Error, NotImplementedError):
    """The other end does not have this feature, codec or version of the protocol."""

    kind = "unsupported"


class ProtocolError(Error, ConnectionError):
    """The peer broke the rules of the protocol; the connection has ended."""

    kind = "protocol"


class AuthenticationError(Error, PermissionError):
    """The proof of who is calling was refused."""

    kind = "authentication"


class RemoteTraceback(Exception):
    """Where a method raised what its caller sees: the cause of that."""

    def __str__(self) -> str:
        return "\n" + "".join(self.args)


KINDS: dict[str, type[Error]] = {
    kind.kind: kind
    for kind in (
        RemoteError,
        NoObjectError,
        NoMethodError,
        BadArgumentsError,
        EncodingError,
        TooLargeError,
        OverloadedError,
        DeadlineError,
        CancelledError,
        ReentrantError,
        DeniedError,
        InternalError,
        UnavailableError,
        UnknownError,
        ConflictError,
        QuotaError,
        UnsupportedError,
        ProtocolError,
        AuthenticationError,
    )
}

#: Kinds that say of the call in which they were raised what they say of the call that ended with them.
_HOLDS = ("application", "deadline", "cancelled", "unknown", "reentrant")

#: What errors of this package have of their own, and what it is.
_KEPT: dict[str, type | tuple[type, ...]] = {
    "operation": str,
    "context": dict,
    "type_name": str,
    "remote_args": tuple,
}

_MADE_BY_PYTHON = 1 << 9  # of `type.__flags__`

#: Of what classes in C, and slots, are made.
_MEMBERS = (type(vars(type(len))["__self__"]), type(vars(type(lambda: None))["__globals__"]))

#: The object that has no such attribute: it is none of the exception's own.
_UNTOLD = ("obj",)

#: Exceptions that would mean something else where they arrive.
_NEVER = ("StopIteration", "StopAsyncIteration")

#: Classes that were registered, by the name that travels.
registered: dict[str, type[Exception]] = {}


def class_of(type_name: str) -> type[Exception] | None:
    """The exception of this name, where it is one that is made anew here."""
    found = registered.get(type_name) or getattr(builtins, type_name, None)
    if isinstance(found, type) and issubclass(found, Exception) and type_name not in _NEVER:
        return found
    return None


def _own_class(type_name: str) -> type[Error] | None:
    """The exception of this package that has this name."""
    package, _, name = type_name.partition(".")
    found = globals().get(name) if package == "andiron" else None
    return found if isinstance(found, type) and issubclass(found, Error) else None


def name_of(cls: type[BaseException]) -> str:
    """The name under which an exception of this class travels."""
    for name, known in registered.items():
        if known is cls:
            return name
    module = "andiron" if cls.__module__ == __name__ else cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def failed(
    kind: str,
    message: str,
    operation: str | None,
    context: Mapping[str, str],
    type_name: str | None,
    trace: Sequence[str],
    args: Sequence[Any],
    attributes: Mapping[str, Any] | None = None,
) -> Exception:
    """The exception for what a call ended with."""
    error: Exception | None = None
    if kind == "application" and type_name:
        cls = class_of(type_name)
        if cls is not None:
            error = _made(cls, message, args)
    if error is None:
        error = _of_kind(kind, message, operation, context, type_name, args)
    for name, value in (attributes or {}).items():
        _set_attribute(error, name, value)
    if trace:
        error.__cause__ = RemoteTraceback(*trace)
    return error


def _set_attribute(error: Exception, name: str, value: Any) -> None:
    """Gives an exception what the one had that was raised, but nothing that would change what it does."""
    if name == "__notes__":
        if isinstance(value, list) and all(isinstance(note, str) for note in value):
            vars(error)[name] = value  # as `add_note` does, from Python 3.11 on
        return
    own = Error if isinstance(error, Error) else BaseException
    if name.startswith("_") or hasattr(own, name) or callable(getattr(type(error), name, None)):
        return
    try:
        setattr(error, name, value)
    except (AttributeError, TypeError, ValueError):  # it has a mind of its own
        pass


def _made(cls: type[Exception], message: str, args: Sequence[Any]) -> Exception | None:
    """One as it was, and not made anew: nothing is run of what its class has in Python."""
    base: Any = cls
    while base.__flags__ & _MADE_BY_PYTHON and base.__base__ is not None:
        base = base.__base__
    args = args or ([message] if message else [])
    try:
        error: Exception = base.__new__(cls, *args)
        base.__init__(error, *args)
    except Exception:  # a class with other ideas of its arguments
        return None
    return error


def restored(type_name: str, args: Sequence[Any], attributes: Mapping[str, Any]) -> Exception:
    """An exception that is a value."""
    cls = class_of(type_name) or _own_class(type_name)
    error = None if cls is None else _made(cls, "", args)
    if error is None:
        error = failed("application", str(args[0]) if args else "", None, {}, type_name, [], args)
    for name, value in attributes.items():
        own = _KEPT.get(name) if isinstance(error, Error) else None
        if own is not None and isinstance(value, own) and hasattr(error, name):
            setattr(error, name, value)
        elif name[:1] == "_" and name[:2] != "__" and not isinstance(error, Error):
            vars(error)[name] = value
        else:
            _set_attribute(error, name, value)
    return error


def parts_of(error: BaseException) -> tuple[str, list[Any], dict[str, Any]]:
    """Name, arguments and attributes of one that is a value."""
    own = isinstance(error, Error)
    attributes = {
        name: part
        for name, part in vars(error).items()
        if name[:1] != "_" or name == "__notes__" or not (own or name[:2] == "__")
    }
    return name_of(type(error)), list(error.args), {**_members_of(error), **attributes}


def _members_of(error: BaseException) -> dict[str, Any]:
    """What an exception has beside its arguments and its ``__dict__``, such as the name of a file."""
    members = {}
    for base in type(error).__mro__:
        if base is BaseException or base.__name__ == "BaseExceptionGroup":  # of which the arguments tell all
            break
        for name, member in vars(base).items():
            if not isinstance(member, _MEMBERS) or name[:1] == "_" or name in _UNTOLD:
                continue
            part = getattr(error, name, None)
            if part is not None and not any(part is told for told in error.args):
                members[name] = part
    return members


def _of_kind(
    kind: str,
    message: str,
    operation: str | None,
    context: Mapping[str, str],
    type_name: str | None,
    args: Sequence[Any],
) -> Error:
    error = KINDS.get(kind, InternalError)(message)
    error._of_call = True
    error.operation = operation
    error.context = context
    if isinstance(error, RemoteError):
        error.type_name = type_name or ""
        error.remote_args = tuple(args)
    return error


def unreadable(error: BaseException, name: str, data: bytes | None) -> BaseException:
    """What is raised where the value of an entry cannot be read, and, with its ``data``, was taken out of the store."""
    if not isinstance(error, EncodingError):
        return error
    taken = "" if data is None else " was taken out of the store, its bytes are `data` of this error, and it"
    named = EncodingError(f"the entry `{name}`{taken} cannot be read: {error}")
    named.data = data
    named.__cause__ = error
    return named


def hint(name: str, known: Iterable[str], has: str) -> str:
    """What one may have meant by a name that nothing has, among those that are known."""
    import difflib

    shown = [other for other in known if not other.startswith("$")]
    near = difflib.get_close_matches(name, shown, 1)
    if near:
        return f"do you mean `{near[0]}`?"
    return f"{has} {', '.join(f'`{other}`' for other in shown) or 'none at all'}"


def failure(
    error: BaseException, handler: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
) -> Failure:
    """Kind, message, type, trace, arguments and attributes of what a handler raised, as its caller is to see it."""
    if isinstance(error, Error) and (error.kind in _HOLDS or not _is_inner(error, handler)):
        type_name = error.type_name if isinstance(error, RemoteError) else ""
        return error.kind, Error.__str__(error), type_name, [], [], {}
    if error.__traceback__ is None and isinstance(error, TypeError):
        misfit = misfit_of(handler, args, kwargs)
        if misfit is not None:
            return "bad arguments", misfit, "", [], [], {}
    import traceback

    trace = traceback.format_exception(type(error), error, error.__traceback__)
    attributes = attributes_of(error)
    return "application", _words(error), name_of(type(error)), trace, _sendable(error.args), attributes


def _is_inner(error: Error, handler: Any) -> bool:
    """Whether it is one of a call that the handler made: that this one did not run, or cannot have, says nothing true of the handler's own."""
    return error.operation is not None or (handler is not None and error._of_call)


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # whatever its own `__str__` raises
        return f"<a {type(error).__name__} that cannot be printed>"


def _can_travel(value: Any) -> bool:
    from andiron._engine import encode

    try:
        encode(value)
    except Exception:  # whatever its class raises
        return False
    return True


def _sendable(args: Sequence[Any]) -> list[Any]:
    """What an exception was made with; of what cannot travel how it looks."""
    return [part if _can_travel(part) else repr(part) for part in args]


def attributes_of(error: BaseException) -> dict[str, Any]:
    """What an exception has of its own and can travel, with its notes."""
    own = {str(name): part for name, part in vars(error).items() if name[:1] != "_" or name == "__notes__"}
    kept = {**_members_of(error), **own}
    return {name: part for name, part in kept.items() if _can_travel(part)}


def misfit_of(handler: Any, args: Iterable[Any], kwargs: Mapping[str, Any] | None) -> str | None:
    """Why a handler cannot be called so, if so."""
    import inspect

    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # nobody knows it
        return None
    try:
        signature.bind(*args, **(kwargs or {}))
    except TypeError as error:
        return f"{error}: it takes {signature}"
    return None


def check_whole(what: str, number: int) -> int:
    """The number that ``what`` is given as."""
    try:
        return index(number)
    except TypeError:
        raise TypeError(f"{what} is a whole number, not {number!r}") from None


def check_seconds(what: str, number: float) -> float:
    """The number that ``what`` is given as."""
    try:
        seconds = 0.0 + number
    except TypeError:
        raise TypeError(f"{what} is a number of seconds, not {number!r}") from None
    if seconds != seconds:
        raise ValueError(f"{what} is a number of seconds, and nan is none")
    return seconds
