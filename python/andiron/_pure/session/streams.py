"""Streams of items beside calls (``spec/PROTOCOL.md``, section 4)."""

from __future__ import annotations

from _collections import deque

from andiron._pure.failure import Failure
from andiron._pure.session.send import Outgoing, Sending
from andiron._pure.session.wire import CALLEE, CANCEL, CREDIT, END, ITEM, PLAIN_RESULT, STREAM, U64, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from andiron._pure.memory import Descriptor
    from andiron._pure.session.send import Body
    from andiron._pure.session.state import Payload, Stream
    from andiron._pure.session.wire import Message


class Sent:
    """Items on their way to the peer."""

    __slots__ = ("credit", "held", "waits")

    def __init__(self, waits: bool) -> None:
        self.credit = 0
        #: What comes first is not sent yet, a long item or the call itself: what comes behind it is held, so that all arrives in order.
        self.waits = waits
        #: Items, and at last the end: a tuple of the failure, or of nothing.
        self.held: deque[Outgoing | tuple[Failure | None]] = deque()

    def is_ended(self) -> bool:
        """True where no more items follow, for the user of this end."""
        return bool(self.held) and type(self.held[-1]) is tuple


class Received:
    """Items that the peer sends."""

    __slots__ = ("credit", "early_end", "stopped", "told")

    def __init__(self) -> None:
        #: So many more may come.
        self.credit = 0
        #: Nobody wants them any more; the end is still to come.
        self.stopped = False
        #: The call or result that opened it was handed on. Until then its body is under way.
        self.told = False
        #: The end came before that: a tuple of the failure, or of nothing.
        self.early_end: tuple[Failure | None] | None = None


def _sent_flag(stream: Stream) -> int:
    """On a frame that this end sends."""
    return 0 if stream[0] else CALLEE


def stream_of(flags: int, id_: int) -> Stream:
    """Of a frame that this end received."""
    return bool(flags & CALLEE), id_


class Streaming(Sending):
    """The part of a session that has items come and go."""

    __slots__ = ()

    def is_streaming(self, stream: Stream) -> bool:
        """True while items may go: the peer was told of this end's stream, and it is not over."""
        sent = self.sent.get(stream)
        return sent is not None and not sent.is_ended()

    def stream_credit(self, stream: Stream) -> int:
        """How many items may be sent now: none behind a long one that is under way, so that they need not be kept."""
        sent = self.sent.get(stream)
        return 0 if sent is None or sent.waits else sent.credit

    def item(
        self,
        stream: Stream,
        body: Body,
        codec: int = 1,
        refs: Sequence[Any] = (),
        attachments: Sequence[Any] = (),
        parts: Sequence[int] = (),
    ) -> None:
        """Sends an item of a stream that a call or result of this end opened. To be called only while there is `stream_credit`.

        Raises a `Failure` for what is wrong with the item; then nothing was sent. Numbers of `show` in it stay shown, or go by `forget_unsent`.
        *Unavailable* where the stream is over.
        """
        sent = self.sent.get(stream)
        if (
            type(body) is bytes
            and len(body) <= self.most_small_out
            and not (refs or attachments or parts)
            and sent is not None
            and sent.credit
            and not sent.waits
        ):
            # As most are: one small frame.
            sent.credit -= 1
            kind = ITEM << 8 | _sent_flag(stream)
            self.outbox.put(PLAIN_RESULT.pack(1 + len(body), kind, 0, stream[1], codec) + body)
            return
        item = Outgoing(codec, body, refs, attachments, parts)
        self.check(item)
        if sent is None or sent.is_ended():
            raise Failure("unavailable", "the stream is over")
        if not sent.credit:
            raise Failure("overloaded", "the receiver did not ask for more items")
        sent.credit -= 1
        self.references.count(refs)
        if sent.waits:
            sent.held.append(item)
        else:
            self._send_item(stream, sent, item)

    def _send_item(self, stream: Stream, sent: Sent, item: Outgoing) -> None:
        flag = _sent_flag(stream)
        head = bytes((item.codec,))
        sent.waits = self.send_message(ITEM, flag, stream[1], (ITEM, stream), head, item)

    def end_stream(self, stream: Stream, failure: Failure | None = None) -> None:
        """Ends a stream of this end's items, ``failure``: by that. One that is over already stays so."""
        sent = self.sent.get(stream)
        if sent is None or sent.is_ended():
            return
        if sent.waits:
            sent.held.append((failure,))
            return
        self._forget_sent(stream)
        self._send_end(stream, failure)

    def _send_end(self, stream: Stream, failure: Failure | None) -> None:
        flag = _sent_flag(stream)
        if failure is None:
            self.outbox.frame(END, flag, stream[1])
        else:
            self.send_failure(END, flag, stream[1], failure)

    def send_held_items(self) -> None:
        """Long items of these streams are sent whole: what was held behind them goes, up to the next long one."""
        finished = self.outbox.finished_items
        while finished:
            self.go_on(finished.pop())

    def go_on(self, stream: Stream) -> None:
        """What the rest of a stream waited for is sent."""
        sent = self.sent.get(stream)
        if sent is None:
            return
        sent.waits = False
        while sent.held and not sent.waits:
            held = sent.held.popleft()
            if type(held) is tuple:
                self.end_stream(stream, held[0])
                return
            self._send_item(stream, sent, held)
        if sent.credit and not sent.waits:
            self.events.append(("credit", stream))

    def want_items(self, stream: Stream, more: int) -> None:
        """Asks for so many more items of a stream that the peer sends."""
        received = self.received.get(stream)
        if received is not None and not received.stopped:
            received.credit += more
            self.outbox.frame(CREDIT, STREAM | _sent_flag(stream), stream[1], U64.pack(more))

    def stop_stream(self, stream: Stream) -> None:
        """Wants no more items of a stream that the peer sends. No event follows for it."""
        received = self.received.get(stream)
        if received is None or received.stopped:
            return
        received.stopped = True  # what is under way still comes, and of an own call the end
        if stream[0]:
            self.outbox.frame(CANCEL, 0, stream[1])
        else:
            self.forget_stopped(stream)
            self.outbox.frame(END, STREAM | CALLEE, stream[1])

    def forget_stopped(self, stream: Stream) -> None:
        """Once a call of the peer is answered, what still comes for a stream that was stopped is known to be late."""
        received = self.received.get(stream)
        if received is not None and received.stopped and stream[1] not in self.theirs:
            del self.received[stream]

    def open_sent(self, stream: Stream, waits: bool) -> None:
        """A call or result of this end opens a stream of its items. ``waits``: once it is sent."""
        self.sent[stream] = Sent(waits)
        if not stream[0]:
            self.answering += 1

    def open_received(self, stream: Stream) -> None:
        """A call or result of the peer opens a stream of its items."""
        self.received[stream] = Received()

    def tell_stream(self, stream: Stream, wanted: bool) -> None:
        """The call or result that opened a stream is handed on, or came in vain."""
        received = self.received.get(stream)
        if received is None:
            return
        received.told = True
        received.stopped = not wanted
        if received.early_end is not None:
            self.ended(stream, received.early_end[0])

    def _forget_sent(self, stream: Stream) -> bool | None:
        """Forgets a stream of this end's items; ``None`` where there is none. True if its user has ended it."""
        sent = self.sent.pop(stream, None)
        if sent is None:
            return None
        if not stream[0]:
            self.answering -= 1
        for held in sent.held:
            if isinstance(held, Outgoing):
                self.uncount(held.refs)
        return sent.is_ended()

    def stopped(self, stream: Stream) -> bool:
        """The peer wants no more of this end's items, or can have none. True where there was such a stream."""
        ended = self._forget_sent(stream)
        if ended is None:
            return False
        self.outbox.abort((ITEM, stream))
        if not ended:
            self.events.append(("stopped", stream))
        return True

    def ended(self, stream: Stream, failure: Failure | None) -> None:
        """The items of the peer are over."""
        received = self.received.pop(stream, None)
        if received is None:
            return
        if stream[0]:
            self.in_flight -= 1
        if received.told and not received.stopped:
            self.events.append(("end", stream, failure))

    def give_up_items(self, stream: Stream, failure: Failure) -> None:
        """The call of the peer that its items belong to is given up. Until it is answered, some may be under way: the peer need not know of it."""
        received = self.received.get(stream)
        if received is not None and not received.stopped:
            received.stopped = True
            self.events.append(("end", stream, failure))

    def cancel_streaming_answer(self, call: int) -> None:
        """The peer no longer waits for a call of its own: this end's streaming answer ends, if there is one."""
        if self.stopped((False, call)):
            self._send_end((False, call), Failure("cancelled", "the receiver wanted no more items"))

    def give_up_own_items(self, call: int) -> None:
        """An own call is given up, and the stream of its items with it.

        A callee that has answered already hears of that by their end: the cancel alone could mean its own items.
        """
        if self.stopped((True, call)) and call <= self.last_sent:
            self._send_end((True, call), Failure("cancelled", "the caller gave the call up"))

    def close_streams(self, failure: Failure) -> None:
        """All streams end with the session."""
        ended = [
            stream for stream, received in self.received.items() if received.told and not received.stopped
        ]
        stopped = [stream for stream, sent in self.sent.items() if not sent.is_ended()]
        self.received.clear()
        self.sent.clear()
        self.answering = 0
        self.events.extend([("end", stream, failure) for stream in sorted(ended)])
        self.events.extend([("stopped", stream) for stream in sorted(stopped)])

    def _check_late(self, stream: Stream) -> None:
        """Refuses what comes for a stream that cannot have been."""
        own, call = stream
        last, unanswered = (self.last_sent, self.own) if own else (self.last_theirs, self.theirs)
        # Behind a goodbye of this end nothing is taken, nor counted.
        beyond = call > last and (own or not self.goodbye_sent)
        if beyond or call in unanswered or not call:
            raise Violation(f"a frame for a stream of call {call}, which has none")

    def on_item(
        self, flags: int, id_: int, message: Message, descriptors: list[Descriptor], lost: bool
    ) -> None:
        """An item begins to arrive."""
        stream = stream_of(flags, id_)
        self.check_announced(message)
        if message.refs:
            self.references.received(message.refs, self.limits["objects"])
        received = self.received.get(stream)
        if received is None:
            self._check_late(stream)
            self.drop_message(message)
            return
        if not received.credit:
            raise Violation(f"an item of call {id_} that was not asked for")
        received.credit -= 1
        if received.stopped:
            self.drop_message(message)
            return
        if lost:
            text = "descriptors of an item were lost: this process has no more descriptors free"
            self.stop_stream(stream)
            self.events.append(("end", stream, Failure("overloaded", text)))
            self.drop_message(message)
            return
        payload = self.payload_of(message, descriptors, False)
        if message.body:
            self.wait((ITEM, stream, payload), message)
        else:
            self.events.append(("item", stream, payload))

    def deliver_item(self, stream: Stream, payload: Payload) -> None:
        """A long item is here whole."""
        received = self.received.get(stream)
        if received is not None and not received.stopped:
            self.events.append(("item", stream, payload))
        else:
            self.discard(payload.refs)

    def on_end(self, flags: int, id_: int, failure: Failure | None) -> None:
        """The peer ends a stream, or wants no more of one."""
        stream = stream_of(flags, id_)
        if flags & STREAM:
            # The callee wants no more items of this call.
            if not stream[0]:
                raise Violation("a stream of items can be stopped so by who was called only")
            if not self.stopped(stream) and id_ not in self.own:  # else it may have ended at the same time
                self._check_late(stream)
            return
        received = self.received.get(stream)
        if received is None:
            self._check_late(stream)
        elif not received.told:
            received.early_end = (failure,)
        else:
            self.ended(stream, failure)

    def on_stream_credit(self, flags: int, id_: int, amount: int) -> None:
        """The peer asks for items."""
        stream = stream_of(flags, id_)
        sent = self.sent.get(stream)
        if sent is None:
            # One that ended at the same time: of a call of this end also while it is not answered.
            if not (stream[0] and id_ in self.own):
                self._check_late(stream)
            return
        sent.credit += amount
        if sent.credit and not sent.waits:
            self.events.append(("credit", stream))  # else when what is under way is sent

    if TYPE_CHECKING:

        def payload_of(self, message: Message, descriptors: list[Descriptor], stream: bool) -> Payload: ...
