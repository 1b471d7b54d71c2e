"""What an ERROR says beyond its kind, written and read (``spec/PROTOCOL.md``, section 4)."""

from __future__ import annotations

from andiron._pure.failure import Failure
from andiron._pure.session import maps
from andiron._pure.session.wire import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, List, Optional, Tuple

_KEYS = ("message", "type", "trace", "args", "attributes")


class Told(Failure):
    """What the other end told. Its values are decoded when somebody makes an exception of it, and passed on as they came."""

    def __init__(
        self,
        kind: str,
        message: str,
        type_name: str,
        trace: Sequence[str],
        encoded: Tuple[Optional[bytes], Optional[bytes]],
    ) -> None:
        super().__init__(kind, message, type_name, trace)
        #: The arguments and the attributes, encoded.
        self.encoded = encoded

    def exception(self, operation: Optional[str] = None) -> BaseException:
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
    from andiron._pure.codec import decode

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
    message, type_name = str(failure.message), failure.type_name
    trace: List[str] = list(failure.trace)
    args, attributes = failure.encoded if isinstance(failure, Told) else _values(failure)
    while True:
        fields = [("message", maps.written(message))]
        if type_name:
            fields.append(("type", maps.written(type_name)))
        if trace:
            fields.append(("trace", maps.written(trace)))
        if args is not None:
            fields.append(("args", args))
        if attributes is not None:
            fields.append(("attributes", attributes))
        body = maps.map_of(fields)
        if len(body) <= most:
            return body
        if trace:
            del trace[len(trace) // 2 :]
        elif args is not None or attributes is not None:
            args = attributes = None
        else:
            message = message[: len(message) // 2]
            type_name = type_name[: len(type_name) // 2]


def _values(failure: Failure) -> Tuple[Optional[bytes], Optional[bytes]]:
    return _encoded(failure.remote_args), _encoded(failure.attributes)


def _encoded(values: Optional[Sequence[Any] | Mapping[str, Any]]) -> Optional[bytes]:
    if not values:
        return None
    from andiron._pure.codec import encode

    try:
        return bytes(encode(dict(values) if hasattr(values, "keys") else list(values)))
    except Exception:  # what cannot be encoded does not go along: the failure is what counts
        return None
