"""Calls over a channel, either way."""

from __future__ import annotations

import itertools
import re
import threading
from functools import partial

import andiron
from andiron import _engine, _errors, _fork
from andiron._proxy import remote_of
from andiron.compat._kaa.inprogress import InProgress, InProgressAborted, TimeoutException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from andiron._engine import Connection, Method, Pending
    from andiron.compat._kaa.turns import Turns


class NotConnectedError(ConnectionError):
    """The channel is not connected, so nothing can be called over it."""


class RemoteException(Exception):
    """What a function at the other end raised: also of the class of that where it is known here, so ``except IOError`` finds it, with its arguments and attributes.

    As text it is the command, the remote stack and what was raised.
    """

    #: What was called.
    command: str = ""
    #: The same as `andiron` has it, without what is said here.
    original: BaseException

    def __str__(self) -> str:
        cause = self.original.__cause__
        trace = "".join(cause.args) if isinstance(cause, _errors.RemoteTraceback) else ""
        raised = trace or f"{type(self.original).__name__}: {self.original}"
        return f"Exception during RPC call '{self.command}'; remote traceback follows:\n{raised.rstrip()}"

    def __reduce__(self) -> Any:
        return _remote, (self.command, self.original)


#: Classes of this module, which Andiron does not know, by the names that it has for them.
_own = {
    f"{cls.__module__}.{cls.__qualname__}": cls
    for cls in (NotConnectedError, InProgressAborted, TimeoutException)
}


def _remote(command: str, original: BaseException) -> RemoteException:
    """What a call raises for what its function raised."""
    cls = _own.get(getattr(original, "type_name", ""), type(original))
    try:
        both = type("RemoteException", (RemoteException, cls), {"__module__": "andiron.compat.kaa_rpc"})
        error: Any = _errors._made(both, "", original.args)
    except TypeError:  # a class that goes with no other
        error = None
    if error is None:
        error = RemoteException(*original.args)
    for name, value in {**_errors._members_of(original), **vars(original)}.items():
        try:
            setattr(error, name, value)
        except (AttributeError, TypeError, ValueError):  # noqa: PERF203 - it has a mind of its own
            pass
    error.command, error.original = command, original
    error.__cause__ = original.__cause__
    return error  # type: ignore[no-any-return] # it is made of that


class Call(InProgress):
    """A call over a channel that is under way."""

    def __init__(self, calls: Calls, number: int, command: str, turns: Turns) -> None:
        super().__init__(True, turns=turns)
        self._calls = calls
        self._number = number
        self.command = command
        #: The call of the engine, as soon as there is one.
        self.pending: Pending | None = None
        #: The other end, as it was called.
        self.far: dict[str, Method] | None = None
        #: It was answered that its result comes later.
        self.is_later = False

    def abort(self, exc: InProgressAborted | None = None) -> None:
        """Gives the call up, and so the coroutine at the other end; a function that runs there goes on."""
        super().abort(exc)
        self._calls.give_up(self._number)


class Calls:
    """The calls of one end of a channel that are not finished, and those that wait until it is open."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._running: dict[int, Call] = {}
        #: What to begin when the channel is open; `None`: nothing waits for that.
        self._waiting: list[tuple[Call, tuple[Any, ...], dict[str, Any]]] | None = []
        self._far: dict[str, Method] | None = None
        self._why_not = "the channel is not connected"
        _fork.inherits(self)

    def forked(self) -> None:
        """Has nothing: all is the parent's, and a lock may be held by a thread that is not there."""
        self._lock = threading.Lock()
        self._running = {}
        self._waiting = self._far = None
        self._why_not = "the channel was connected before this process was forked, and belongs to the parent; connect again"

    def is_open(self) -> bool:
        """Whether calls reach the other end."""
        return self._far is not None

    def start(self, command: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Calls a function at the other end, now or as soon as the channel is open."""
        if not isinstance(command, str):
            raise TypeError(f"what is called is named by a str, not by {command!r}")
        call = Call(self, next(self._numbers), command, self._turns)
        try:
            with self._lock:
                far = self._far
                if far is None:
                    if self._waiting is None:
                        raise NotConnectedError(f"'{command}' cannot be called: {self._why_not}")
                    _engine.check((args, kwargs))
                    self._waiting.append((call, args, kwargs))
                    return call
            self._send(far, call, args, kwargs)
        except _errors.EncodingError as error:
            raise _of_arguments(error) from error
        return call

    def expect(self) -> None:
        """The channel is about to be opened, so calls wait for that."""
        with self._lock:
            if self._waiting is None:
                self._waiting = []

    def open(self, end: Any, connection: Connection) -> None:
        """The channel is open: what waited is called, in its order, and only then anything else."""
        # Named, it belongs to the connection: the answer of a call that nobody waits for is heard then by who reads that.
        remote = connection.named(remote_of(end), "kaa_rpc")
        far = {name: remote.method(name) for name in ("call", "answer", "fail", "abort")}
        with self._lock:
            for call, args, kwargs in self._waiting or []:
                if not call.finished:
                    try:
                        self._send(far, call, args, kwargs)
                    except Exception as error:
                        call._settle(None, error, None)
            self._waiting, self._far = None, far

    def end(self, error: Exception, wanted: bool) -> bool:
        """The channel is not open (any more): what is not finished fails with that. Whether it was open. ``wanted``: it was closed here, so nobody is told who does not ask."""
        with self._lock:
            was_open, self._far = self._far is not None, None
            waiting, self._waiting = self._waiting or [], None
        for call, _, _ in waiting:
            self._end(call, error, wanted)
        for call in list(self._running.values()):
            # What the engine waits for it tells of itself: an answer may have come just before the end.
            if wanted or call.is_later:
                self._end(call, error, wanted)
        return was_open

    def _end(self, call: Call, error: Exception, wanted: bool) -> None:
        self._running.pop(call._number, None)
        if not call.finished:
            call._exception.handled = wanted
            call._settle(None, error, None)

    def give_up(self, number: int) -> None:
        """Has a call end at the other end as well, where that can be."""
        call = self._running.pop(number, None)
        far = self._far
        if call is None or far is None:
            return
        if call.pending is not None:
            call.pending.cancel()
        far["abort"].notify(number)

    def tell(self, what: str, number: int, *args: Any) -> None:
        """Tells the other end how one of its calls ended that was not answered at once."""
        far = self._far
        if far is None:
            return  # and nobody waits for it there
        try:
            far[what].start(number, *args)
        except (_errors.UnavailableError, _errors.UnknownError):
            pass  # it is over, as the other end is told as well

    def finish(self, number: int, result: Any) -> None:
        """One was answered."""
        call = self._running.pop(number, None)
        if call is not None:  # else it was given up
            call._settle(result, None, None)

    def fail(self, number: int, error: BaseException) -> None:
        """One failed."""
        call = self._running.pop(number, None)
        if call is None:
            return
        if isinstance(error, _errors.Error):
            error.operation = call.command  # and not what the engine was asked for
        # What Andiron says of the call itself is no word of the function.
        if isinstance(error, _errors.RemoteError) or not isinstance(
            error, (_errors.Error, InProgressAborted)
        ):
            error = _remote(call.command, error)
        call._settle(None, error, None)

    def _send(
        self, far: dict[str, Method], call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        number, call.far = call._number, far
        self._running[number] = call
        try:
            call.pending = far["call"].start(number, call.command, args, kwargs)
        except (_errors.UnavailableError, _errors.UnknownError) as error:
            self.fail(number, error)
            return
        except BaseException:
            self._running.pop(number, None)
            raise
        call.pending.add_done_callback(partial(self._answered, number))

    def _answered(self, number: int, pending: Pending) -> None:
        try:
            answer = pending.result()
            if answer is not None and not (isinstance(answer, list) and len(answer) == 1):
                raise _errors.ProtocolError("the other end answered something that is no answer")
        except BaseException as error:
            error.__traceback__ = error.__context__ = None  # which have this frame, and would keep the call
            if isinstance(error, _errors.EncodingError):
                error = _of_result(error, r"the result cannot be sent: at \[0\]")
            self.fail(number, error)
            return
        if answer is not None:
            self.finish(number, answer[0])
            return
        call = self._running.get(number)
        if call is not None:  # else its result was faster
            call.is_later = True
            if call.far is not self._far:
                self._end(call, closed(), False)


def closed() -> Exception:
    """What calls fail with that a closed channel leaves behind."""
    return _errors.UnknownError(
        "the channel was closed before the answer came: the call may or may not have run"
    )


def _of_arguments(error: _errors.EncodingError) -> _errors.EncodingError:
    """What is in the way of a call, as who called counts its arguments: they travel within those of `End.call`, and wait in a pair."""
    said = re.sub(
        r"^.*? cannot be sent: at (?:argument 3|\[0\])\[(\d+)\]",
        lambda found: f"an argument cannot be sent: at argument {int(found[1]) + 1}",
        error.message,
    )
    said = re.sub(
        r"^.*? cannot be sent: at (?:argument 4|\[1\])\['(\w+)'\]",
        r"an argument cannot be sent: at argument `\1`",
        said,
    )
    return _errors.EncodingError(said)


def _of_result(error: _errors.EncodingError, where: str) -> _errors.EncodingError:
    """What is in the way of a result, which travels as something else."""
    said = re.sub(
        f"^{where}([^:]*)",
        lambda found: "the result cannot be sent" + (found[1] and f": at {found[1]}"),
        error.message,
    )
    return _errors.EncodingError(said)


@andiron.expose
class End:
    """One end of a channel, as the other one calls it: only who proved to know the ``auth_secret`` is given it."""

    def __init__(self, calls: Calls, function: Callable[[str], Callable[..., Any]]) -> None:
        self._calls = calls
        self._function = function
        #: What the other end called and is not finished.
        self._running: dict[int, InProgress] = {}

    def call(self, number: int, command: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls an exposed function. Gives a list with the result; `None` where that comes later, by `answer` or `fail` of the other end."""
        function = self._function(command)
        passed_on = None
        try:
            result = function(*args, **kwargs)
            if isinstance(result, InProgress) and result.finished:
                result = result.result
        except RemoteException as error:
            passed_on = error.original  # the next one is told of it as if nobody were in between
        if passed_on is not None:
            raise passed_on
        if not isinstance(result, InProgress):
            return [result]
        self._running[number] = result
        caller = andiron.caller()
        if caller is not None and caller.cancelled:
            self.abort(number)
        result.connect(partial(self._finished, number))
        result.exception.connect(partial(self._failed, number))
        return None

    def answer(self, number: int, result: Any) -> None:
        """Tells the result of a call that this end made."""
        self._calls.finish(number, result)

    def fail(self, number: int, failure: list[Any]) -> None:
        """Tells what a call that this end made failed with."""
        kind, message, type_name, trace, args, attributes = failure
        self._calls.fail(number, _errors.failed(kind, message, None, {}, type_name, trace, args, attributes))

    def abort(self, number: int) -> None:
        """Gives up a call that the other end made."""
        running = self._running.pop(number, None)
        if running is not None:
            running._give_up()

    def end(self) -> None:
        """The channel is over."""
        self._running.clear()

    def _finished(self, number: int, result: Any) -> None:
        self._running.pop(number, None)
        try:
            self._calls.tell("answer", number, result)
        except _errors.EncodingError as error:
            self._tell_failure(number, _of_result(error, "an argument cannot be sent: at argument 2"))
        except Exception as error:  # its caller has to hear of it
            self._tell_failure(number, error)

    def _failed(
        self, number: int, _type: type[BaseException], error: BaseException, _tb: TracebackType | None
    ) -> bool:
        if self._running.pop(number, None) is not None:
            self._tell_failure(number, error.original if isinstance(error, RemoteException) else error)
        return False  # its caller hears of it

    def _tell_failure(self, number: int, error: BaseException) -> None:
        self._calls.tell("fail", number, list(_errors.failure(error, None, (), None)))
