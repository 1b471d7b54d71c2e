"""Objects of other processes, and their methods."""

from __future__ import annotations

import os
from itertools import count

from andiron._pure import codec, hooks
from andiron._pure import target as calls
from andiron._pure.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.codec import Encoded
    from andiron._pure.connection import Connection
    from andiron._pure.line import Named
    from andiron._pure.link import Link
    from andiron._pure.pending import Pending
    from andiron._pure.session import Payload

_SCATTER = 0x9E3779B97F4A7C15
_MOST = (1 << 64) - 1

#: Numbers of chains of calls: random ones, in that no other process counts so.
_chains = count(int.from_bytes(os.urandom(8), "big"), _SCATTER)


def _forked() -> None:
    global _chains
    _chains = count(int.from_bytes(os.urandom(8), "big"), _SCATTER)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def origin() -> tuple[int, float | None, bytes | None]:
    """What a call that is made now belongs to: its chain, its end, and what it says beside its arguments."""
    deadline = annotations = None
    if calls.options_used:
        deadline = hooks.package.deadline.get()
        annotations = hooks.package.annotations.get()
    call = calls._thread.call
    if call is None:
        return next(_chains) & _MOST or 1, deadline, annotations
    if call.given_up():
        raise Failure("cancelled", "the call that this one is made for was cancelled or is out of time")
    if call.deadline is not None and (deadline is None or call.deadline < deadline):
        deadline = call.deadline
    return call.chain, deadline, annotations


class Far:
    """An object of the other end of a connection, which knows that it is held as long as this is there. Number 0 is its root."""

    __slots__ = ("__weakref__", "id", "link")

    def __init__(self, link: Link, number: int) -> None:
        self.link = link
        self.id = number


@codec.by_reference
class Remote:
    """An object of another process."""

    __slots__ = ("__weakref__", "_buffer", "_far", "_idempotent", "connection", "label", "named")

    def __init__(
        self,
        far: Far,
        connection: Connection | None = None,
        label: str = "object",
        named: Named | None = None,
    ) -> None:
        self._far = far
        self.connection = connection
        #: Its name, in the words of errors.
        self.label = label
        #: By which it is found again over the next connection.
        self.named = named
        #: Its calls may be repeated although they may have run.
        self._idempotent = False
        self._buffer: Any = None

    @property
    def far(self) -> Far:
        """The object, at the present connection where it has a name there."""
        return self._far if self.named is None else self.named.last or self._far

    def method(self, name: str) -> Method:
        """A method of it, whether there is one or not."""
        return Method(self, name)

    def idempotent(self) -> Remote:
        """The same object, whose calls may be repeated although they may have run."""
        other = Remote(self._far, self.connection, self.label, self.named)
        other._idempotent = True
        other._buffer = self._buffer
        return other

    def raw(self, buffer: Any) -> Remote:
        """The same object, in whose results and items ``buffer`` makes what buffers are."""
        other = Remote(self._far, self.connection, self.label, self.named)
        other._idempotent = self._idempotent
        other._buffer = buffer
        return other

    def over(self, connection: Connection | None) -> Remote:
        """The same object, as what was got over this connection; `None`: as what does not keep it open."""
        other = Remote(self._far, connection, self.label, self.named)
        other._idempotent = self._idempotent
        other._buffer = self._buffer
        return other

    def same(self, other: Remote) -> bool:
        """Whether it is the same object of the same process."""
        one, another = self.far, other.far
        return one.link is another.link and one.id == another.id

    def __hash__(self) -> int:
        far = self.far
        return hash((id(far.link), far.id))

    def __repr__(self) -> str:
        far = self.far
        what = self.label if self.label != "object" else f"object {far.id}"
        return f"{what} at {far.link.label}"


class Waiting:
    """A call whose answer a thread waits for."""

    __slots__ = ("failure", "payload", "ready")

    def __init__(self) -> None:
        self.ready = False
        self.payload: Payload | None = None
        self.failure: Failure | None = None

    def settle(self, payload: Payload | None, failure: Failure | None) -> None:
        """The answer."""
        self.payload = payload
        self.failure = failure
        self.ready = True


class Method:
    """A method of an object of another process."""

    __slots__ = ("__weakref__", "_name", "_remote")

    def __init__(self, remote: Remote, name: str) -> None:
        self._remote = remote
        self._name = name

    @property
    def __name__(self) -> str:
        """Its name."""
        return self._name

    @property
    def operation(self) -> str:
        """What calling it is, in the words of errors."""
        name = "describe" if self._name == "$describe" else self._name
        return f"{self._remote.label}.{name}"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Calls it and waits for the result."""
        remote = self._remote
        encoded = codec.encode_arguments(args, kwargs)
        try:
            chain, deadline, annotations = origin()
            if remote.named is None:
                far = remote._far
                payload = self._once(far, encoded, chain, deadline, annotations)
            else:
                far, payload = remote.named.call(
                    lambda far: self._once(far, encoded, chain, deadline, annotations),
                    deadline,
                    remote._idempotent,
                    encoded.stream is not None,
                )
            return result_of(payload, far.link, remote, self)
        except Failure as failure:
            failure.throw(self.operation)

    def _once(
        self, far: Far, encoded: Encoded, chain: int, deadline: float | None, annotations: bytes | None
    ) -> Payload:
        waiting = Waiting()
        far.link.call_and_wait(waiting, far.id, self._name, encoded, chain, deadline, annotations)
        if waiting.failure is not None:
            raise waiting.failure
        return waiting.payload  # type: ignore[return-value] # there is one where nothing failed

    def start(self, /, *args: Any, **kwargs: Any) -> Pending:
        """Calls it; the result is asked for later."""
        return self.begin(None, *args, **kwargs)

    def begin(self, finish: Callable[[Any, Any], Any] | None, /, *args: Any, **kwargs: Any) -> Pending:
        """The same, where the result is what ``finish(value, exception)`` gives or raises, which is called once by who takes it."""
        from andiron._pure.pending import Pending

        encoded = codec.encode_arguments(args, kwargs)
        try:
            chain, deadline, annotations = origin()
            far = self._present(deadline)
            pending = Pending(far.link, chain, self, finish)
            pending.id = far.link.call(pending, far.id, self._name, encoded, chain, deadline, annotations)
        except Failure as failure:
            failure.throw(self.operation)
        return pending

    def notify(self, /, *args: Any, **kwargs: Any) -> None:
        """Calls it one way."""
        encoded = codec.encode_arguments(args, kwargs)
        try:
            chain, deadline, annotations = origin()
            far = self._present(deadline)
            far.link.notify(far.id, self._name, encoded, chain, deadline, annotations)
        except Failure as failure:
            failure.throw(self.operation)

    def _present(self, deadline: float | None) -> Far:
        named = self._remote.named
        return self._remote._far if named is None else named.present(named.until(deadline))

    def is_lost(self) -> bool:
        """Whether a call would have to wait for the next connection first."""
        named = self._remote.named
        return named is not None and named.is_lost()

    def renew(self, failed: bool) -> bool:
        """Waits for the next connection, and the object there. ``failed``: a call did not reach it, so it may be another one. Whether another call is worth it."""
        named = self._remote.named
        if named is None:
            return False
        try:
            return named.renew(failed, named.until(origin()[1]))
        except Failure as failure:
            failure.throw(self.operation)

    def __repr__(self) -> str:
        return f"<remote method {self._name} of {self._remote!r}>"


def result_of(payload: Payload, link: Link, remote: Remote, method: Method) -> Any:
    """The value of an answer."""
    if payload.codec != 1:
        if payload.codec == 0 and not len(payload.body):
            return None
        raise Failure(
            "unsupported", f"the value is in codec {payload.codec}, which this program does not know"
        )
    if not (payload.refs or payload.attachments or payload.stream or remote._buffer):
        return codec.decode_message(payload.body, None, (), None)
    makes = None if remote.connection is None else remote.connection.made_by
    if payload.stream:
        payload.stream.operation = method.operation
        payload.stream.buffer = remote._buffer
    found, memories, stream = link.beside(payload, makes)
    if remote._buffer is None:
        return codec.decode_message(payload.body, found, memories, stream)
    return codec.decode_message(payload.body, found, memories, stream, remote._buffer)
