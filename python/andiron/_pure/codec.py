"""Values into bytes and back, in the native codec (section 9 of the protocol)."""

from __future__ import annotations

from andiron._pure import memory
from andiron._pure.decoder import Malformed, Reader
from andiron._pure.encoder import (
    BESIDE,
    LATER,
    NOWHERE,
    WITHIN,
    as_stream,
    by_reference,
    pieces,
    written,
    written_arguments,
)
from andiron._pure.failure import Failure
from andiron._pure.memory import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from andiron._pure.encoder import Writer
    from andiron._pure.memory import Descriptor

    Memories = Sequence[Memory | Descriptor]
    Body = bytes | bytearray | memoryview

__all__ = [
    "Encoded",
    "as_stream",
    "by_reference",
    "check",
    "decode",
    "decode_arguments",
    "decode_memory",
    "decode_message",
    "encode",
    "encode_arguments",
    "encode_result",
    "encode_stored",
]


class Encoded:
    """A value, or the arguments of a call, as it is sent: the body, and what goes beside it."""

    __slots__ = ("body", "memories", "refs", "stream")

    def __init__(self, out: Writer) -> None:
        #: `bytes`, or where there are big parts a list of buffers.
        self.body = pieces(out) if out.absent else bytes(out)
        #: What is sent by reference: `Target` or `Remote`, by its position.
        self.refs: Sequence[Any] = out.refs
        #: Memory, by its position. Where it cannot go as descriptors its bytes go as parts.
        self.memories: Sequence[Memory] = out.memories
        #: `Outflow` or `Feed`, or nothing.
        self.stream: Any = out.stream


def encode(value: Any) -> bytes:
    """One value, which names no objects."""
    return bytes(written(value, "the value", WITHIN))


def encode_stored(value: Any, what: str = "the value") -> bytes | Memory:
    """The same, of which big parts are copied once only, into memory that is passed on by reference."""
    out = written(value, what, LATER)
    parts = pieces(out)
    return parts if isinstance(parts, bytes) else memory.joined(parts)


def check(value: Any) -> None:
    """Raises what is in the way of sending a value in a call. Big parts are not copied for that."""
    written(value, "the value", NOWHERE)


def encode_result(value: Any, what: str = "the result") -> Encoded:
    """A result, or an item of a stream; ``what`` says so where it cannot be sent."""
    return Encoded(written(value, what, BESIDE))


def encode_arguments(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Encoded:
    """The arguments of a call."""
    return Encoded(written_arguments(args, kwargs))


def decode(data: Body) -> Any:
    """One value, which names no objects."""
    # By a view, since other things can be made bytes of as well.
    return _read(Reader(data if type(data) is bytes else bytes(memoryview(data))))


def decode_memory(memory: Memory) -> Any:
    """One value that lies in memory, which names no objects. Big buffers of it stay there."""
    data = memory.map()
    if data is None:
        return decode(bytes(memory))
    return _read(Reader(data, memory=memory))


def decode_message(
    body: Body,
    ref: Callable[[int], Any] | None = None,
    memories: Memories = (),
    stream: Callable[[], Any] | None = None,
    buffer: Callable[[Any, Any, Any], Any] | None = None,
) -> Any:
    """The value of a message.

    ``ref`` gives the object at a position, and raises a `Failure` where none is; ``stream`` what stands for the stream that came; ``buffer(format, shape, data)`` what a
    buffer is, in place of the package. An empty body, of a message without a value, is nothing.
    """
    if type(body) is not bytes:
        body = bytes(body)
    return _read(Reader(body or b"\xc0", ref, memories, stream, None, buffer))


def _read(reader: Reader) -> Any:
    try:
        return reader.whole()
    except Malformed as error:
        raise Failure("encoding", f"the value cannot be read: {error}").exception() from None
    except Failure as failure:
        raise failure.exception() from None


def decode_arguments(
    body: Body,
    ref: Callable[[int], Any] | None = None,
    memories: Memories = (),
    stream: Callable[[], Any] | None = None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call; the rest as for `decode_message`.

    :raises Failure: to be told to the caller.
    """
    if len(body) <= 1 and bytes(body) in (b"", b"\xc0"):
        return (), {}  # nothing at all: no arguments
    try:
        return Reader(body if type(body) is bytes else bytes(body), ref, memories, stream).arguments()
    except Malformed as error:
        raise Failure("bad arguments", f"malformed arguments: {error}") from None
    except Failure:
        raise
    except Exception as error:  # whatever the making of a value raises
        raise Failure("bad arguments", f"malformed arguments: {type(error).__name__}: {error}") from error
