"""Calls of objects that are not known yet: of the results of calls that are not answered (``spec/PROTOCOL.md``, section 4)."""

from __future__ import annotations

from andiron._pure.failure import Failure
from andiron._pure.session.streams import Streaming
from andiron._pure.session.wire import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from andiron._pure.session.outbox import Buffer
    from andiron._pure.session.state import IncomingCall
    from andiron._pure.session.wire import Ref

#: So many calls may depend on each other in a row.
_DEEPEST = 16
#: Of so many answers it is remembered what a promise of them means.
_MOST_KEPT = 1024
#: Characters of a failure that are remembered.
_MOST_TEXT = 500
#: The first reference of a message in the native codec, alone.
_FIRST_REFERENCE = b"\xd5\x0d\x00\x00"


class Promising(Streaming):
    """The part of a session that knows what promises mean."""

    __slots__ = ()

    def check_promise(self, of: int) -> None:
        """Whether a call of a promised object can be made."""
        if "promises" not in self.peer.features:
            raise Failure("unsupported", "the other end does not know promises")
        if not self.is_under_way(of):
            raise Failure("no object", "the call that was to give this object is not under way any more")

    def is_under_way(self, call: int) -> bool:
        """True while this own call is neither answered nor given up."""
        own = self.own.get(call)
        return own is not None and not own.abandoned

    def keep_result(self, id_: int, refs: Sequence[Ref], body: list[Buffer], length: int) -> None:
        """Remembers an answer, for calls that are under way to what it gives."""
        if len(refs) == 1 and length == 4 and b"".join(body) == _FIRST_REFERENCE:
            self._keep(id_, refs[0])

    def keep_failure(self, id_: int, failure: Failure) -> None:
        """Remembers it, for calls that are under way to what this one was to give."""
        if "promises" in self.features:
            message, type_name = failure.message[:_MOST_TEXT], failure.type_name[:_MOST_TEXT]
            self._keep(id_, Failure(failure.kind, message, type_name))

    def _keep(self, id_: int, outcome: Ref | Failure) -> None:
        if "promises" not in self.features:
            return
        if len(self.answered) == _MOST_KEPT:
            del self.answered[next(iter(self.answered))]
        self.answered[id_] = outcome

    def kept(self, of: int) -> Ref | Failure | None:
        """What became of a call of the peer that this end answered: its object as it was sent, or its failure.

        ``None`` where it is neither, or forgotten.
        """
        return self.answered.get(of)

    def promised(self, of: int, call: int) -> tuple[int, bool, int]:
        """What the peer's call with this number calls that is to go to the result of its call ``of``.

        Its target, whether that is a promise still, and on how many unanswered calls it depends then. Raises a `Failure` where it fails.
        """
        if of == 0 or of >= call:
            raise Violation(f"call {call} depends on call {of}, which is not an earlier one")
        earlier = self.theirs.get(of)
        if earlier is None:
            return self._given(of), False, 0
        if earlier.notify:
            raise _not_one_reference()
        if earlier.depth >= _DEEPEST:
            text = f"more than {_DEEPEST} calls depend on each other; this one did not run"
            raise Failure("overloaded", text)
        return of, True, earlier.depth + 1

    def _given(self, of: int) -> int:
        """The object that the peer's call ``of`` gave. Raises why what depends on it does not run."""
        kept = self.answered.get(of)
        if kept is None:
            raise _not_one_reference()
        if isinstance(kept, Failure):
            raise Failure(kept.kind, kept.message, kept.type_name)
        owner, number = kept
        if owner:
            text = "the promised object is one of the caller itself; this call did not run"
            raise Failure("unsupported", text)
        return number

    def settle_promise(self, call: IncomingCall) -> bool:
        """Decides what a call of a promise calls now that it is here whole.

        Meanwhile the earlier one may have been answered, or may not be here yet. False where it waits for that, or has failed.
        """
        if not call.promise:
            return True
        earlier = self.theirs.get(call.target)
        if earlier is not None:
            if not earlier.told:
                self.early.append(call)
            return earlier.told
        try:
            call.target = self._given(call.target)
        except Failure as failure:
            self.discard(call.payload.refs)
            self.fail(call.id, failure)
            self.tell_dependents(call.id)
            return False
        call.promise = False
        return True

    def tell_dependents(self, of: int) -> None:
        """A call of the peer was handed on, or will not be: what depends on it need not wait for that any more. At most 16 in a row."""
        if not self.early:
            return  # as mostly
        ready = [call for call in self.early if call.target == of]
        self.early = [call for call in self.early if call.target != of]
        for call in ready:
            self.tell_call(call)

    def forget_dependent(self, id_: int) -> None:
        """A call that waits for an earlier one to be here is not wanted any more."""
        for call in self.early:
            if call.id == id_:
                self.early.remove(call)
                self.discard(call.payload.refs)
                return


def _not_one_reference() -> Failure:
    return Failure(
        "bad arguments", "the result of the earlier call is not a single object; this call did not run"
    )
