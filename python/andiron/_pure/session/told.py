"""What an ERROR says beyond its kind, written and read (``spec/PROTOCOL.md``, section 4)."""

from __future__ import annotations

from _collections_abc import Mapping

from andiron._pure.codec import decode, encode
from andiron._pure.failure import Failure
from andiron._pure.session import maps
from andiron._pure.session.wire import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_KEYS = ("message", "type", "trace", "args", "attributes")


class Told(Failure):
    """What the other end told. Its values are decoded when somebody makes an exception of it, and passed on as they came."""

    def __init__(
        self,
        kind: str,
        message: str,
        type_name: str,
        trace: Sequence[str],
        encoded: tuple[bytes | None, bytes | None],
    ) -> None:
        super().__init__(kind, message, type_name, trace)
        #: The arguments and the attributes, encoded.
        self.encoded = encoded

    def exception(self, operation: str | None = None) -> BaseException:
        """The exception for users. What cannot be decoded here is left out."""
        args, attributes = self.encoded
        if args is not None:
            values = _decoded(args)
            self.remote_args = values if isinstance(values, list) else ()
        if attributes is not None:
            found = _decoded(attributes)
            self.attributes = found if isinstance(found, dict) else None
        return super().exception(operation)


def _decoded(value: bytes) -> Any:
    try:
        return decode(value)
    except Exception:  # whatever it is: the failure is what counts
        return None


def read_failure(number: int, body: bytes) -> Failure:
    """What an ERROR of this kind says."""
    kind = kind_of(number)
    try:
        said = maps.fields(body, _KEYS)
        message = maps.text(said["message"]) if "message" in said else ""
        type_name = maps.text(said["type"]) if "type" in said else ""
        trace = maps.texts(said["trace"]) if "trace" in said else []
    except maps.Unreadable:
        return Failure(kind, "the other end sent an error that cannot be read")
    encoded = said.get("args"), said.get("attributes")
    if encoded == (None, None):
        return Failure(kind, message, type_name, trace)
    return Told(kind, message, type_name, trace, encoded)


def failure_body(failure: Failure, most: int) -> bytes:
    """Encodes an error so that it fits into ``most`` bytes.

    It loses its trace, then what it was made with and has, then its words, before it is lost.
    """
    message, type_name = maps.sound(failure.message), maps.sound(failure.type_name)
    trace = [maps.sound(line) for line in failure.trace]
    args, attributes = failure.encoded if isinstance(failure, Told) else _values(failure)
    while True:
        words = {"message": message, "type": type_name, "trace": trace}
        fields = [(name, encode(value)) for name, value in words.items() if value or name == "message"]
        fields += [("args", args)] if args is not None else []
        fields += [("attributes", attributes)] if attributes is not None else []
        body = bytes((0x80 | len(fields),)) + b"".join([encode(name) + value for name, value in fields])
        if len(body) <= most:
            return body
        if trace:
            del trace[len(trace) // 2 :]
        elif args is not None or attributes is not None:
            args = attributes = None
        else:
            message = message[: len(message) // 2]
            type_name = type_name[: len(type_name) // 2]


def _values(failure: Failure) -> tuple[bytes | None, bytes | None]:
    return _encoded(failure.remote_args), _encoded(failure.attributes)


def _encoded(values: Sequence[Any] | Mapping[str, Any] | None) -> bytes | None:
    if not values:
        return None
    try:
        return encode(dict(values) if isinstance(values, Mapping) else list(values))
    except Exception:  # what cannot be encoded does not go along: the failure is what counts
        return None
