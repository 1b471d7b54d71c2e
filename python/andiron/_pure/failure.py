"""How something fails, before it is an exception that users see."""

from __future__ import annotations

from andiron._pure import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

#: The kinds by their numbers on the wire, from 1 on (section 4 of the protocol).
KINDS = (
    "application",
    "no object",
    "no method",
    "bad arguments",
    "encoding",
    "too large",
    "overloaded",
    "deadline",
    "cancelled",
    "reentrant",
    "denied",
    "internal",
    "unavailable",
    "unknown",
    "conflict",
    "quota",
    "unsupported",
    "protocol",
    "authentication",
)


class Failure(Exception):
    """What went wrong in the engine, or at the other end: `exception` makes what users see of it."""

    def __init__(
        self,
        kind: str,
        message: str,
        type_name: str = "",
        trace: Sequence[str] = (),
        remote_args: Sequence[Any] = (),
        attributes: Mapping[str, Any] | None = None,
        operation: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.type_name = type_name
        self.trace = trace
        self.remote_args = remote_args
        self.attributes = attributes
        self.operation = operation
        self.context = context

    def exception(self, operation: str | None = None) -> BaseException:
        """The exception for users. ``operation``: what was being done, where that is not known yet."""
        error: BaseException = hooks.package.error(
            self.kind,
            self.message,
            self.operation or operation,
            dict(self.context or ()),
            self.type_name or None,
            list(self.trace),
            list(self.remote_args),
            dict(self.attributes or ()),
        )
        if error.__cause__ is None:
            error.__cause__ = None  # which hides where in the engine it was found out
        return error

    def throw(self, operation: str | None = None) -> NoReturn:
        """Raises that."""
        raise self.exception(operation)


def failure_of(
    error: BaseException, handler: Any = None, args: tuple[Any, ...] = (), kwargs: Any = None
) -> Failure:
    """What a caller is told of an exception: of a method, where ``handler`` is given with what it was called with."""
    if isinstance(error, Failure):
        return error
    kind, message, type_name, trace, remote_args, attributes = hooks.package.failure(
        error, handler, args, kwargs
    )
    return Failure(kind, message, type_name, trace, remote_args, attributes)
