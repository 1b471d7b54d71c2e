"""Calls under way whose results are asked for later."""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic

from andiron._pure import hooks
from andiron._pure.failure import Failure
from andiron._pure.remote import result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.link import Link
    from andiron._pure.remote import Method
    from andiron._pure.session import Payload

UNDER_WAY, DONE, FAILED = range(3)


class Pending:
    """A call under way, in the terms of `concurrent.futures.Future`: the result is waited for when it is wanted, by any thread and as often as one likes.

    Where nobody keeps it the call goes on, and nobody hears what came of it.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_chain",
        "_failure",
        "_finish",
        "_given_up",
        "_link",
        "_method",
        "_outcome",
        "_payload",
        "_reading",
        "_state",
        "_wakers",
        "id",
        "ready",
    )

    def __init__(
        self, link: Link, chain: int, method: Method, finish: Callable[[Any, Any], Any] | None
    ) -> None:
        self._link = link
        self._chain = chain
        self._method = method
        self._finish = finish
        #: Its number at the connection.
        self.id = 0
        #: Whether the answer is there, or it was given up.
        self.ready = False
        self._payload: Payload | None = None
        self._failure: Failure | None = None
        self._state = UNDER_WAY
        #: The value, or the exception.
        self._outcome: Any = None
        #: Who makes the outcome of the answer, which is done once.
        self._reading = allocate_lock()
        self._given_up = False
        self._callbacks: list[Callable[[Pending], object]] = []
        self._wakers: list[Callable[[], object]] = []

    def settle(self, payload: Payload | None, failure: Failure | None) -> Callable[[], None] | None:
        """The answer came; under the lock of the link. What is to be done behind it."""
        if self.ready:
            return None
        self._payload = payload
        self._failure = failure
        self.ready = True
        return self._tell if self._callbacks or self._wakers else None

    def _tell(self) -> None:
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker()
        if self._callbacks:
            self._read()

    def attend(self, waker: Callable[[], object]) -> bool:
        """Whether it is ready; else the waker is called when it is, on any thread."""
        with self._link.lock:
            if self.ready:
                return True
            self._wakers.append(waker)
            return False

    def _read(self) -> None:
        """Makes the outcome of the answer, and tells those who wanted to hear of it."""
        with self._reading:
            if self._state == UNDER_WAY:
                self._make_outcome()
        if self._callbacks:
            self._call_back()

    def _make_outcome(self) -> None:
        try:
            try:
                value = self._value()
            except Failure as failure:
                if self._finish is None:
                    failure.throw(self._method.operation)
                value = self._finish(None, failure.exception(self._method.operation))
            else:
                if self._finish is not None:
                    value = self._finish(value, None)
        except Exception as error:  # of whatever restores the value, too
            self._outcome = error
            self._state = FAILED
        else:
            self._outcome = value
            self._state = DONE
        self._payload = self._failure = self._finish = None

    def _value(self) -> Any:
        if self._failure is not None:
            raise self._failure
        payload: Any = self._payload
        return result_of(payload, self._link, self._method._remote, self._method)

    def _call_back(self) -> None:
        with self._link.lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[Pending], object]) -> None:
        try:
            callback(self)
        except Exception as error:
            hooks.package.log("error", f"the callback {callback} of a call raised", error)

    def _wait(self, timeout: float | None) -> bool:
        """Waits until it is over, or so long. Whether it is."""
        if self._state == UNDER_WAY:
            until = None if timeout is None else monotonic() + timeout
            try:
                if not self.ready and not self._link.wait(self, self._chain, until):
                    return False
            except Failure as failure:
                failure.throw(self._method.operation)
            self._read()
        return True

    def _finished(self, timeout: float | None) -> None:
        if not self._wait(timeout):
            raise TimeoutError(f"no result came within {timeout} s; the call goes on")

    def result(self, timeout: float | None = None) -> Any:
        """The result of the call, waited for so many seconds at most; raises what it failed with, or `TimeoutError`, and then the call goes on."""
        self._finished(timeout)
        if self._state == FAILED:
            raise self._outcome
        return self._outcome

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call failed with, or `None`; otherwise as `result`."""
        self._finished(timeout)
        return self._outcome if self._state == FAILED else None

    def done(self) -> bool:
        """Whether the call is over."""
        if not self.ready:
            self._link.glance()
        if self.ready:
            self._read()
        return self.ready

    def cancel(self) -> bool:
        """Gives the call up: the other end is told, and the method can learn it. False where it was over already."""
        with self._link.lock:
            if self.ready:
                return False
            self._given_up = True
            after = self.settle(None, Failure("cancelled", "the call was given up; the method may have run"))
            self._link.forget(self.id)
        self._link.cancel(self.id)
        self._link.wake()
        self._read()
        if after is not None:
            after()
        return True

    def cancelled(self) -> bool:
        """Whether the call was given up before it was over."""
        return self._given_up

    def add_done_callback(self, callback: Callable[[Pending], object]) -> None:
        """Has ``callback(self)`` called when the call is over, at once if it is: by who reads the answer, or runs methods of this process."""
        with self._link.lock:
            if self._state == UNDER_WAY:
                self._callbacks.append(callback)
                ready = self.ready
            else:
                ready = None
        if ready is None:
            self._call(callback)
        elif ready:
            self._read()

    def __repr__(self) -> str:
        if not self.ready:
            return "<andiron.Pending: under way>"
        failed = self._failure is not None if self._state == UNDER_WAY else self._state == FAILED
        return "<andiron.Pending: it failed>" if failed else "<andiron.Pending: there is a result>"
