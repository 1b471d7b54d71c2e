"""Streams: items that came and wait to be taken, and those that wait to be asked for."""

from __future__ import annotations

from _collections import deque

from andiron._pure import codec
from andiron._pure.failure import Failure, failure_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from andiron._pure.link import Link
    from andiron._pure.session import Payload

#: So many items may be on their way before it is known how long they are.
FIRST_WINDOW = 2
#: At most so many items are on their way or wait.
MOST_ITEMS = 256
#: And about so many bytes.
MOST_BYTES = 1 << 20
#: So many items are sent before others have their turn.
TURN = 64


class Inflow:
    """The items of a stream that came."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_bytes",
        "_closed",
        "_items",
        "_taking",
        "_waiting",
        "_wakers",
        "buffer",
        "link",
        "makes",
        "operation",
        "over",
        "stream",
    )

    def __init__(self, link: Link, stream: tuple[bool, int]) -> None:
        self.link = link
        self.stream = stream
        #: What makes proxies and streams of what is in the items, where it is not the package.
        self.makes: Any = None
        #: What makes what buffers in the items are, where it is not the package.
        self.buffer: Any = None
        #: What was called that gave it.
        self.operation: str | None = None
        #: Nobody wants any more.
        self._closed = False
        #: No more will come.
        self.over = False
        self._waiting: deque[Payload | Failure] = deque()
        self._asked = self._items = self._bytes = 0
        self._taking = False
        self._wakers: list[Callable[[], object]] = []

    # Under the lock of the link.

    def room(self) -> int:
        """How many more items are worth asking for; they count as asked for."""
        window = FIRST_WINDOW
        if self._items:
            length = self._bytes // self._items
            window = max(1, min(MOST_ITEMS, MOST_BYTES // max(1, length)))
        room = window - self._asked - len(self._waiting)
        if self.over or room <= 0 or (self._asked and room < window // 2):
            return 0
        self._asked += room
        return room

    def arrived(self, payload: Payload) -> list[Any]:
        """An item came; what is to be called behind the lock."""
        if self._closed:
            return []
        self._asked -= 1
        self._items += 1
        self._bytes += len(payload.body)
        self._waiting.append(payload)
        return self._wake()

    def ends(self, failure: Failure | None) -> list[Any]:
        """No more come; likewise."""
        self.over = True
        if failure is not None:
            self._waiting.append(failure)
        return self._wake()

    def _wake(self) -> list[Any]:
        wakers, self._wakers = self._wakers, []
        return [(waker, ()) for waker in wakers]

    @property
    def ready(self) -> bool:
        """Whether an item, or the end, is there."""
        return self.over or bool(self._waiting)

    def attend(self, waker: Callable[[], object]) -> bool:
        """Whether it is ready; else the waker is called when it is, on any thread."""
        with self.link.lock:
            if self.ready:
                return True
            self._wakers.append(waker)
            return False

    # What users have.

    def __iter__(self) -> Inflow:
        return self

    def __next__(self) -> Any:
        if self._taking:
            raise RuntimeError("another thread waits for the next item of this: take them by one")
        self._taking = True
        try:
            try:
                self.link.check_fork()
                if not self.ready:
                    self.link.wait(self)
            except Failure as failure:
                failure.throw(self.operation)
            item = self.take()
        finally:
            self._taking = False
        if item is None:
            raise StopIteration
        if isinstance(item, Failure):
            raise item.exception(self.operation)
        try:
            found, memories, stream = self.link.beside(item, self.makes)
            if self.buffer is None:
                return codec.decode_message(item.body, found, memories, stream)
            return codec.decode_message(item.body, found, memories, stream, self.buffer)
        except Failure as failure:
            failure.throw(self.operation)

    def take(self) -> Payload | Failure | None:
        """The next item as it came; `None`: there are no more."""
        item = self._waiting.popleft() if self._waiting and not self._closed else None
        if item is None or isinstance(item, Failure):
            self.over = True
        elif not self.over:
            self.link.want_items(self)
        return item

    def close(self) -> None:
        """Wants no more items. What is on its way yet is dropped."""
        self._closed = self.over = True
        self._waiting.clear()
        self.link.stop_inflow(self)  # which wakes who waits for an item
        for waker, _ in self._wake():
            waker()


@codec.as_stream
class Outflow:
    """An iterator whose items are sent as they are taken."""

    __slots__ = ("_items", "_sent")

    def __init__(self, items: Iterable[Any]) -> None:
        self._items: Any = iter(items)
        self._sent = False

    def begin(self) -> Outflow:
        """It is sent, which can be done once."""
        if self._sent:
            raise RuntimeError("this stream was sent before")
        self._sent = True
        return self

    def items(self) -> Any:
        """The iterator, for who is in this process."""
        return self.begin()._items

    def pull(self, _wake: Callable[[], object]) -> tuple[str, Any]:
        """The next item, or the end."""
        try:
            item = next(self._items)
        except StopIteration:
            return "end", None
        except (Exception, SystemExit, GeneratorExit) as error:  # a Ctrl-C is that of this process
            return "end", failure_of(error)
        try:
            return "item", codec.encode_result(item, "an item of the stream")
        except Exception as error:  # whatever is in the way of sending it
            return "end", failure_of(error)

    def close(self) -> None:
        """Nobody takes the rest: a generator's ``finally`` runs here and not when the collector comes by."""
        items, self._items = self._items, iter(())
        close = getattr(items, "close", None)
        # One that runs at this moment, on another thread, ends when that drops it.
        if close is not None and not getattr(items, "gi_running", False):
            close()


#: So many items may wait to be sent.
MOST_FED = 16


@codec.as_stream
class Feed:
    """Items that are sent when they are there, and made when they are wanted.

    ``wanted`` is called when there is room for more, and ``closed`` when nobody wants any more; on any thread.
    """

    __slots__ = ("_closed", "_items", "_over", "_sent", "_wake", "_wanted", "closed")

    def __init__(self, wanted: Callable[[], object], closed: Callable[[], object]) -> None:
        self._wanted = wanted
        self._closed = closed
        self._items: deque[Any] = deque()
        self._over = False
        self._sent = False
        #: Nobody wants any more.
        self.closed = False
        self._wake: Callable[[], object] | None = None

    def begin(self) -> Feed:
        """It is sent, which can be done once."""
        if self._sent:
            raise RuntimeError("this stream was sent before")
        self._sent = True
        return self

    def item(self, item: Any) -> bool:
        """The next item. Whether there is room for another one; else ``wanted`` is called when there is."""
        if self.closed or self._over:
            return False
        try:
            self._items.append(("item", codec.encode_result(item, "an item of the stream")))
        except Exception as error:  # whatever is in the way of sending it
            self.end(error)
            return False
        self._ring()
        return len(self._items) < MOST_FED

    def end(self, error: BaseException | None = None) -> None:
        """There is no other item; ``error``: for this reason."""
        if self.closed or self._over:
            return
        self._items.append(("end", None if error is None else failure_of(error)))
        self._over = True
        self._ring()

    def _ring(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def pull(self, wake: Callable[[], object]) -> tuple[str, Any]:
        """The next item, or the end, or that one has to wait: then ``wake`` is called when there is more."""
        self._wake = wake
        if not self._items and not self._over:
            self._wanted()
        if not self._items:
            return "wait", None
        item: tuple[str, Any] = self._items.popleft()
        return item

    def close(self) -> None:
        """Nobody takes any more."""
        if not self.closed:
            self.closed = True
            self._items.clear()
            self._closed()


class Sending:
    """A stream of this end over a connection: a job that sends what there is and the other end wants."""

    __slots__ = ("_source", "again", "busy", "link", "notify", "scheduled", "stream", "waits")

    def __init__(self, link: Link, stream: tuple[bool, int], source: Outflow | Feed) -> None:
        self.link = link
        self.stream = stream
        self._source: Any = source
        #: It stands among the jobs.
        self.scheduled = False
        #: A thread is at it.
        self.busy = False
        #: Meanwhile there was another reason to look at it.
        self.again = False
        #: There was nothing to send when it was asked last.
        self.waits = False
        self.notify = False

    def run(self) -> None:
        """Sends items as long as there are some and the other end wants them, but not so many at once that others wait."""
        link = self.link
        with link.lock:
            self.scheduled = False
            if self.busy or not link.sends(self):
                self.again = True
                return
            self.busy = True
        self.waits = False
        try:
            over = self._send_some()
        except BaseException as error:  # who waits for the items hears of it
            link.end_items(self, failure_of(error))
            self.close()
            raise
        if over:
            self.close()

    def _send_some(self) -> bool:
        """Sends items; whether the stream is over."""
        link = self.link
        for _ in range(TURN):
            if not link.has_credit(self):
                break
            state, item = self._source.pull(self._wake)
            if state == "item":
                if link.send_item(self, item):
                    continue
            elif state == "wait":
                self.waits = True
                break
            else:
                link.end_items(self, item)
            return True
        return link.rest(self, self.waits)

    def _wake(self) -> None:
        self.link.more(self)

    def drop(self) -> None:
        """Nobody wants the items any more. A thread that is at it closes what makes them."""
        if not self.busy:
            self.close()

    def close(self) -> None:
        """Closes what makes the items."""
        source, self._source = self._source, _Nothing()
        try:
            source.close()
        except Exception as error:  # of whatever makes the items
            from andiron._pure import hooks

            hooks.package.log("error", f"{source} raised when it was closed", error)


class _Nothing:
    """The source of a stream that is over."""

    def pull(self, _wake: Callable[[], object]) -> tuple[str, Any]:
        return "end", None

    def close(self) -> None:
        pass
