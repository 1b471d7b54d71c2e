"""One end of a session as a state machine (``spec/PROTOCOL.md``, sections 1 to 8): bytes and the time in, bytes and events out.

It owns everything that is half done: half-read frames, half-written ones, calls without an answer. Whoever drives it moves bytes and does what the
events say; it decides nothing. One thread at a time may use it.
"""

from __future__ import annotations

from heapq import heappop

from andiron._pure.failure import Failure
from andiron._pure.memory import Descriptor
from andiron._pure.session.budget import Share
from andiron._pure.session.receive import PING_ID, Receiving
from andiron._pure.session.state import Config, IncomingCall, Payload
from andiron._pure.session.wire import ABRUPT, GOODBYE, PING, TIMEOUT, U16, VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from andiron._pure.session.outbox import Buffer

__all__ = ["Config", "Descriptor", "IncomingCall", "Payload", "Session"]

#: The driver should start no further handlers while so many bytes wait to be sent.
_CONGESTED_FROM = 8 << 20
#: While so many events wait, nothing more should be read.
_MOST_EVENTS = 4096


class Session(Receiving):
    """One end of a session.

    What happened comes out of ``events``, tuples in order, of which the first entry says what it is:

    - ``("opened", hello)``: the handshake is complete; the peer said this.
    - ``("call", call)``: the peer calls. Ends with `reply`, `fail` or `done`.
    - ``("cancelled", id)``: the peer no longer waits for the answer to this call of its own: it said so, its time is over, or the session is. The
      call may be running and is answered all the same. At most once for each call, behind its *call*; never for a notify.
    - ``("answer", id, payload, failure)``: an own call came to its end: by an answer, a deadline, a cancel, or the end of the session. Exactly
      one for each call, and one of the two is ``None``.
    - ``("item", stream, payload)``: an item of a stream that the peer sends.
    - ``("end", stream, failure)``: the peer's items are over; ``None``: all came. Exactly one for each stream that was not stopped by `stop_stream`.
    - ``("credit", stream)``: more items of a stream of this end can be sent, see `stream_credit`.
    - ``("stopped", stream)``: the peer wants no more items of a stream of this end, or can have none. Not for one that was ended.
    - ``("notify_failed", id, failure)``: the peer says that an own notify failed.
    - ``("released", number)``: the peer holds no reference to this own object any more, and the number is gone: under it the object cannot be shown
      again.
    - ``("pong", content)``: the answer to an own ping.
    - ``("goodbye", reason, text)``: the peer takes no further calls.
    - ``("closed", failure)``: the session is over. No event follows.
    """

    __slots__ = ()

    def __init__(self, initiator: bool, config: Config, now: float) -> None:
        """A session at the beginning of its stream. The initiator has something to send at once."""
        super().__init__(initiator, config, now)
        if config.budget is not None:
            self.share = Share(config.budget)
        if initiator:
            self.send_preface(VERSIONS)
            self.send_hello()

    @property
    def is_ending(self) -> bool:
        """True when a goodbye was said or heard: what is outstanding is finished, and no call can be made."""
        return self.goodbye_sent or self.goodbye_received is not None

    @property
    def is_finished(self) -> bool:
        """True when a goodbye was said or heard and nothing is outstanding: the stream can be closed."""
        if self.is_closed:
            return True
        outstanding = self.theirs or self.own or self.sent or self.received
        return self.is_ending and not outstanding and self.outbox.is_empty()

    @property
    def want_read(self) -> bool:
        """False while so many events wait that the driver should read no further."""
        return len(self.events) < _MOST_EVENTS

    @property
    def want_write(self) -> bool:
        """True where something can be sent now."""
        outbox = self.outbox
        return bool(outbox.pieces or outbox.ready or outbox.finished_items)

    @property
    def queued(self) -> int:
        """Bytes that wait to be sent, without the rest of long bodies."""
        return self.outbox.end - self.outbox.position

    @property
    def attached(self) -> int:
        """How many descriptors wait to be sent."""
        return sum([len(attachments) for _, attachments in self.outbox.attached])

    @property
    def is_congested(self) -> bool:
        """True while the peer reads so slowly that no further handler should be started for it."""
        outbox = self.outbox
        return outbox.end - outbox.position > _CONGESTED_FROM or outbox.answer_bytes > self.most_buffer

    def transmit(self) -> tuple[Sequence[Buffer], tuple[Any, ...]] | None:
        """What to send next: buffers, and what has a descriptor to go with their first byte.

        Send any part of it and tell `transmitted` how many bytes went.
        """
        if self.outbox.finished_items:
            self.send_held_items()
        return self.outbox.transmit()

    def send_by(self, send: Callable[[Any, tuple[Any, ...]], int]) -> None:
        """Has everything sent that can be, by ``send(buffers, what has descriptors)``, which says how many bytes went, and may raise where none can. In place of `transmit`."""
        outbox = self.outbox
        while outbox.pieces or outbox.ready or outbox.finished_items:
            if outbox.finished_items:
                self.send_held_items()
            outbox.send_by(send)

    def transmitted(self, count: int) -> None:
        """So many bytes of the last `transmit` were sent, with its descriptors if there was at least one."""
        self.outbox.transmitted(count)

    def detach(self) -> None:
        """The descriptors of the last `transmit` cannot be sent: its frame goes without them, as its receiver finds."""
        self.outbox.detach()

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        due = self._pulse_due()
        for other in (self.handshake_until, self.next_deadline() if self.deadlines else None):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def handle_timeout(self, now: float) -> None:
        """Ends what has come to its time.

        Bytes that have arrived before are to be given to `receive` first: they may be the sign of life that is missed.
        """
        if self.handshake_until is not None and self.handshake_until <= now:
            text = "the handshake took too long"
            if self.can_speak():
                self.say_goodbye(TIMEOUT, text)
            self.close(Failure("deadline", text))
            return
        if self._take_pulse(now):
            return
        deadlines = self.deadlines
        while deadlines and deadlines[0][0] <= now:
            deadline, own, id_ = heappop(deadlines)
            if not self.is_awaited(deadline, own, id_):
                continue
            if own:
                self.abandon(id_, Failure("deadline", "no answer came in the time allowed"))
            else:
                self.stop(self.theirs[id_], Failure("deadline", "the call did not arrive in time"))

    def _pulse_due(self) -> float | None:
        """When the peer is to be asked for a sign of life, or given up: only while something is expected of it."""
        heartbeat = self.config.heartbeat
        if heartbeat is None or not self.in_flight or not self.is_open:
            return None
        return self.heard + heartbeat[0] if self.asked is None else self.asked + heartbeat[1]

    def _take_pulse(self, now: float) -> bool:
        """Asks the peer for a sign of life where it is time to. True where it was asked in vain and the session is over."""
        due = self._pulse_due()
        if due is None or due > now:
            return False
        if self.asked is None:
            self.asked = now
            self.outbox.frame(PING, 0, PING_ID)
            return False
        silent = int(now - self.heard)
        text = f"nothing came from the other end for {silent} s: the network or that process is gone"
        self.say_goodbye(TIMEOUT, text)  # it may hear after all
        self.close(Failure("unknown", text))
        return True

    def disconnected(self, why: str) -> None:
        """The stream has ended or failed; ``why`` is for the people who wait for an answer."""
        if self.is_closed:
            return
        # Who is owed an answer cannot know what became of the call, goodbye or not.
        owed = not all(call.abandoned for call in self.own.values())
        if not self.is_open:
            text = f"the other end closed the connection during the handshake ({why})"
            self.close(Failure("unavailable", text))
        elif self.is_ending and not owed:
            self.close(Failure("unavailable", f"the connection is over: {why}"))
        else:
            self.close(Failure("unknown", f"the connection was lost: {why}"))

    def goodbye(self, reason: int, text: str) -> None:
        """Takes no further calls from the peer and tells it so; none can be made either.

        What is outstanding is finished, see `is_finished`, except with a reason that ends the session at once; that can also follow a milder one.
        """
        abrupt = reason in ABRUPT
        if self.is_closed or (self.goodbye_sent and not abrupt):
            return
        if self.can_speak():
            self.say_goodbye(reason, text)
        if abrupt or not self.is_open:
            self.close(Failure("unavailable", text))
        else:
            self.drop_held(Failure("unavailable", "this end has said goodbye"))

    def say_goodbye(self, reason: int, text: str) -> None:
        """Tells the peer that this end takes no further calls."""
        self.goodbye_sent = True
        said = text.encode("utf-8", "replace")[:1024].decode("utf-8", "ignore").encode()
        self.outbox.frame(GOODBYE, 0, self.last_theirs, U16.pack(reason) + said)

    def close(self, failure: Failure) -> None:
        """The one way to the end: every outstanding call is told."""
        self.stage = "closed"
        self.is_open = False
        self.is_closed = True
        self.handshake_until = None
        self.outbox.drop_bodies()
        self.bodies.clear()
        self.inbox.drop()
        self.deadlines.clear()
        self.backlog.clear()
        self.turns.clear()
        self.answered.clear()
        self.early.clear()
        if self.share is not None:
            self.share.clear()
        sent = self.outbox.position
        for id_, call in sorted(self.own.items()):
            if not call.abandoned:
                left = call.ends_at is not None and call.ends_at <= sent
                self.events.append(("answer", id_, None, _of_call(failure, left)))
        self.own.clear()
        self.close_streams(failure)
        theirs = sorted(self.theirs.items())
        self.theirs.clear()
        waited_for = [id_ for id_, call in theirs if call.told and not call.notify and not call.cancelled]
        self.events.extend([("cancelled", id_) for id_ in waited_for])
        self.events.append(("closed", failure))


def _of_call(failure: Failure, left: bool) -> Failure:
    """What a call fails with when its session does. ``left``: it may have run."""
    if not left:
        return Failure("unavailable", failure.message)
    if failure.kind in ("protocol", "deadline"):
        return Failure(failure.kind, failure.message)
    return Failure("unknown", f"{failure.message}; the method may have run")
