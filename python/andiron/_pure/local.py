"""Calls of objects of this very process, for who holds them as if they were another one's."""

from __future__ import annotations

from _thread import allocate_lock

from andiron._pure.failure import Failure
from andiron._pure.target import Call, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.codec import Encoded


class _Told:
    """A call as a session would tell it."""

    def __init__(
        self,
        method: str,
        chain: int,
        deadline: float | None,
        annotations: bytes | None,
        notify: bool,
        encoded: Encoded,
    ) -> None:
        self.id = 0
        self.target = 0
        self.promise = False
        self.method = method
        self.chain = chain
        self.deadline = deadline
        self.annotations = annotations
        self.notify = notify
        self.payload: Any = _Parcel(encoded, 1)


class _Parcel:
    """An encoded value that goes nowhere."""

    def __init__(self, encoded: Encoded, codec: int) -> None:
        self.codec = codec
        body = encoded.body
        self.body = b"".join(body) if isinstance(body, list) else body
        self.refs = encoded.refs
        self.attachments = encoded.memories
        self.stream = encoded.stream
        self.parts = False


class Here:
    """A connection of this process with itself, as far as calls need one. An object is its own number."""

    label = "this process"
    ended = None
    is_leaving = False
    closed_here = False

    def __init__(self) -> None:
        self.lock = allocate_lock()

    def check_fork(self) -> None:
        """It goes on in a forked child."""

    def glance(self) -> None:
        """There is nothing to look at."""

    def wake(self) -> None:
        """Nobody sleeps here."""

    def forget(self, _number: int) -> None:
        """Everything is answered at once."""

    def cancel(self, _number: int) -> None:
        """Everything is answered at once."""

    def on_end(self, _hook: Callable[[Failure], object]) -> None:
        """It never ends."""

    def wait(self, thing: Any, _chain: int = 0, _until: float | None = None) -> bool:
        """Everything is answered at once."""
        return bool(thing.ready)

    def _run(
        self,
        waiting: Any,
        target: Target,
        method: str,
        encoded: Encoded,
        chain: int,
        deadline: float | None,
        annotations: bytes | None,
    ) -> None:
        told: Any = _Told(method, chain, deadline, annotations, waiting is None, encoded)
        here: Any = self
        call = _LocalCall(here, told)
        call.waiting = waiting
        target.run(call)

    def call_and_wait(self, waiting: Any, *call: Any) -> None:
        """Runs a method on this thread."""
        self._run(waiting, *call)
        if not waiting.ready:
            text = "the method answers later, and is called in its own process: use the object itself"
            waiting.settle(None, Failure("unsupported", text))

    def call(self, waiting: Any, *call: Any) -> int:
        """The same."""
        self._run(waiting, *call)
        return 0

    def notify(self, *call: Any) -> None:
        """The same, one way."""
        self._run(None, *call)

    def answer(self, call: Any, encoded: Encoded | None, codec: int, failure: Failure | None) -> None:
        """A method was answered."""
        if call.waiting is not None:
            after = call.waiting.settle(None if encoded is None else _Parcel(encoded, codec), failure)
            if after is not None:
                after()

    def unanswered(self, call: Call) -> None:
        """Nobody will answer a call any more."""
        call.fail(Failure("internal", "the handler ended without an answer"))

    def beside(self, payload: Any, makes: Any) -> tuple[Any, Any, Any]:
        """What a message has beside its value."""
        from andiron._pure import hooks
        from andiron._pure.objects import resolve

        def find(position: int) -> Any:
            thing = resolve(payload.refs, position)
            if isinstance(thing, Target):
                return thing.value
            return (hooks.package.proxy if makes is None else makes[0])(thing)

        def stream() -> Any:
            return payload.stream.items()

        return find, payload.attachments, stream if payload.stream else None


class _LocalCall(Call):
    """A call that has no connection."""

    __slots__ = ("waiting",)

    #: Who waits for the answer; `None`: nobody, as it was called one way.
    waiting: Any

    def key(self) -> int:
        """There is one connection within the process."""
        return 0

    def connection(self) -> None:
        """There is none to be called back over."""
