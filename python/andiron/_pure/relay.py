"""Calls of one connection that are passed on to another, unread, and their answers back."""

from __future__ import annotations

import weakref

from andiron._pure.failure import Failure
from andiron._pure.remote import Far, Remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.link import Link
    from andiron._pure.session import Payload
    from andiron._pure.streams import Inflow
    from andiron._pure.target import Call

#: The first object that came with a message, as all there is of it.
_FIRST_REFERENCE = b"\xd5\x0d\x00\x00"

#: Of so many one-way calls that were passed on, a late failure still finds its way.
MOST_PASSED_ON = 1024


def only_object(encoded: Any, codec: int) -> Any:
    """The object that a result is, where it is nothing else."""
    if codec == 1 and len(encoded.refs) == 1 and bytes(encoded.body) == _FIRST_REFERENCE:
        return encoded.refs[0]
    return None


class Raw:
    """An encoded value as it came, to be sent on."""

    __slots__ = ("body", "memories", "refs", "stream")

    def __init__(self, payload: Payload | None) -> None:
        self.body: Any = b"" if payload is None else payload.body
        things = () if payload is None else payload.refs
        self.refs = [Remote(thing) if type(thing) is Far else thing for thing in things]
        self.memories: Any = () if payload is None else payload.attachments
        self.stream: Any = None
        if payload is not None and payload.stream:
            self.stream = Onward(payload.stream)


class Onward:
    """The items of a stream that came, to be sent on."""

    __slots__ = ("_inflow",)

    def __init__(self, inflow: Inflow) -> None:
        self._inflow = inflow

    def begin(self) -> Onward:
        """It is sent."""
        return self

    def pull(self, wake: Callable[[], object]) -> tuple[str, Any]:
        """The next item, or the end, or that one has to wait."""
        if not self._inflow.attend(wake):
            return "wait", None
        item = self._inflow.take()
        if item is None or isinstance(item, Failure):
            return "end", item
        return "item", Raw(item)

    def close(self) -> None:
        """Nobody takes the rest."""
        self._inflow.close()


class _Forwarded:
    """A call that was passed on: its answer goes back."""

    __slots__ = ("_call", "_there", "failure", "payload")

    def __init__(self, call: Call, there: Link) -> None:
        self._call = call
        self._there = there

    def settle(self, payload: Payload | None, failure: Failure | None) -> Callable[[], None]:
        """The answer; what has to be done behind the lock."""
        self.payload = payload
        self.failure = failure
        return self._answer

    def _answer(self) -> None:
        if self.failure is not None:
            self._call.fail(_seen_from_afar(self.failure, self._there))
        else:
            raw: Any = Raw(self.payload)
            self._call.answer_encoded(raw, self.payload.codec if self.payload else 0)


def _seen_from_afar(failure: Failure, there: Link) -> Failure:
    """The failure of a call that was passed on, for a caller to whom "the connection" is another one."""
    if there.ended is None:
        return failure
    if failure.kind == "unknown":
        return Failure(
            "unknown",
            "the process that provides this object was lost before it answered; the method may have run",
        )
    if failure.kind == "unavailable":
        return Failure("unavailable", "the process that provides this object is gone; the method did not run")
    return failure


class Passing:
    """What was passed on to one connection."""

    __slots__ = ("_link", "_notifies")

    def __init__(self, link: Link) -> None:
        self._link = link
        #: One-way calls by their number here, with where they came from, and their number there.
        self._notifies: dict[int, tuple[weakref.ref[Link], int]] = {}

    def pass_on(self, call: Call, target: int, promise_of: int | None) -> None:
        """Passes a call on to an object, or to what the call ``target`` will give that stands here for the caller's call ``promise_of``. Does not wait."""
        there = self._link
        number = 0
        todo: Any = []
        try:
            there.check_fork()
            with there.lock:
                kept = promise_of is not None and not there.is_under_way(target)
                if not kept:
                    if call.notify and there.session.is_congested:
                        text = "the object's process does not read what is sent to it; this call did not run, try again later"
                        raise Failure("overloaded", text)
                    number, todo = there.send_on(
                        call, Raw(call.payload), _Forwarded(call, there), target, promise_of is not None
                    )
                    if call.notify:
                        self._note(number, call)
        except Failure as failure:
            call.fail(_seen_from_afar(failure, there))
            return
        if kept and promise_of is not None:
            call.link.start_kept(call, promise_of)
            return
        there.do(todo)
        if call.notify:
            nothing: Any = Raw(None)
            call.answer_encoded(nothing, 0)
            return
        call.on_cancel(lambda: there.cancel(number))
        with call.link.lock:
            call.passed_to = there, number
            dependents, call.dependents = call.dependents, []
        for dependent in dependents:
            self.pass_on(dependent, number, call.id)

    def _note(self, number: int, call: Call) -> None:
        if len(self._notifies) >= MOST_PASSED_ON:
            del self._notifies[next(iter(self._notifies))]
        self._notifies[number] = weakref.ref(call.link), call.id

    def told(self, number: int, failure: Failure, todo: list[Any]) -> bool:
        """A one-way call failed; whether it was one that was passed on, whose caller is told behind the lock."""
        known = self._notifies.pop(number, None)
        if known is None:
            return False
        back = known[0]()
        if back is not None:
            todo.append((back.tell_failed, (known[1], failure)))
        return True
