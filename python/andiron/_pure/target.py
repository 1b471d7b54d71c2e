"""Objects of this process that others call, and the calls that come."""

from __future__ import annotations

import types
import weakref
from _thread import _local
from time import monotonic

from andiron._pure import codec, hooks
from andiron._pure.failure import Failure, failure_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.connection import Connection
    from andiron._pure.link import Link
    from andiron._pure.remote import Far
    from andiron._pure.session import IncomingCall, Payload


class _Thread(_local):
    """What each thread has of its own."""

    #: The call that it handles.
    call: Call | None = None


_thread = _Thread()

_Coroutine = types.CoroutineType

#: Whether deadlines or annotations of blocks are used at all: then each call looks for them.
options_used = False


def use_options() -> None:
    """Deadlines or annotations are used from now on."""
    global options_used
    options_used = True


class Call:
    """A call of the other end, and the duty to answer it once. What its method knows of it too: the ``Context`` of an engine."""

    __slots__ = (
        "_hooks",
        "annotated",
        "answered",
        "begun",
        "cancelled",
        "chain",
        "deadline",
        "dependents",
        "id",
        "link",
        "method",
        "notify",
        "object",
        "passed_to",
        "payload",
    )

    def __init__(self, link: Link, told: IncomingCall) -> None:
        self.link = link
        #: The other end's number of it.
        self.id = told.id
        self.method = told.method
        self.chain = told.chain
        #: When the caller will have given up, by `time.monotonic`.
        self.deadline = told.deadline
        self.notify = told.notify
        self.payload: Payload = told.payload
        #: What the caller says beside the arguments: an encoded map.
        self.annotated = told.annotations
        #: What is called: it has ``run(call)``.
        self.object: Any = None
        self.answered = False
        #: Its method has begun.
        self.begun = False
        self.cancelled = False
        self._hooks: list[Callable[[], object]] = []
        #: Calls of what this one will give, which wait for that.
        self.dependents: list[Call] = []
        #: The call that it was passed on as, and the connection.
        self.passed_to: tuple[Link, int] | None = None

    # What its method may ask.

    def is_cancelled(self) -> bool:
        """Nobody waits for the result any more. Where nobody reads the connection, this looks at it."""
        if not self.cancelled:
            self.link.glance()
        return self.given_up()

    def given_up(self) -> bool:
        """The same, as far as it is known."""
        return self.cancelled or (self.deadline is not None and self.deadline <= monotonic())

    def time_left(self) -> float | None:
        """Seconds that are left."""
        return None if self.deadline is None else max(0.0, self.deadline - monotonic())

    def annotations(self) -> dict[str, Any] | None:
        """What the caller said beside the arguments."""
        return None if self.annotated is None else codec.decode(self.annotated)

    def key(self) -> int:
        """A number that all calls over the same connection have."""
        return id(self.link)

    def on_end(self, hook: Callable[[], object]) -> None:
        """Has this called when the connection ends; at once if it has."""
        self.link.on_end(lambda _failure: called("at the end of a connection", hook))

    def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function as a part of the method: what that calls belongs to this call."""
        before = _thread.call
        _thread.call = self
        try:
            return function(*args, **kwargs)
        finally:
            _thread.call = before

    def connection(self) -> Connection | None:
        """The connection on which it came."""
        from andiron._pure.connection import over

        return over(self.link)

    # Its end.

    def on_cancel(self, hook: Callable[[], object]) -> None:
        """Has this called when nobody waits for the result any more, on any thread; at once if so."""
        with self.link.lock:
            if not self.cancelled:
                self._hooks.append(hook)
                return
        hook()

    def cancel(self) -> None:
        """Nobody waits for the result any more."""
        with self.link.lock:
            self.cancelled = True
            hooks_, self._hooks = self._hooks, []
        for hook in hooks_:
            called("when a call was given up", hook)

    def refuse_late(self) -> None:
        """Refuses to begin what nobody waits for."""
        if self.given_up():
            raise self.why_given_up(" before the method began; it did not run")

    def why_given_up(self, outcome: str) -> Failure:
        """Why what nobody waits for does not go on, and what became of it."""
        if self.deadline is not None and self.deadline <= monotonic():
            return Failure("deadline", f"the caller's time was over{outcome}")
        return Failure("cancelled", f"the caller gave up{outcome}")

    def arguments(self, makes: Any = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, in which proxies and streams are made by ``makes``, or by the package."""
        payload = self.payload
        if payload.codec != 1:
            if payload.codec == 0 and not len(payload.body):
                return (), {}
            raise Failure(
                "unsupported",
                f"arguments in codec {payload.codec}; this object reads the native codec, 1",
            )
        if not (payload.refs or payload.attachments or payload.stream):
            return codec.decode_arguments(payload.body)
        return codec.decode_arguments(payload.body, *self.link.beside(payload, makes))

    def answer(self, value: Any) -> None:
        """Its method gave this."""
        try:
            encoded = codec.encode_result(value)
        except Exception as error:  # whatever is in the way of sending it
            self.fail(error)
            return
        if not self.answered:
            self.answered = True
            self.link.answer(self, encoded, 1, None)

    def answer_encoded(self, encoded: codec.Encoded, codec_number: int = 1) -> None:
        """The same of a value that is encoded."""
        if not self.answered:
            self.answered = True
            self.link.answer(self, encoded, codec_number, None)

    def fail(
        self, error: BaseException, handler: Any = None, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> None:
        """It failed so; ``handler`` was called with these."""
        if self.answered:
            return
        self.answered = True
        if self.notify and handler is not None:
            hooks.package.log("error", f"`{self.method}`, which was called one way, raised", error)
        failure = failure_of(error, handler, args, kwargs)
        if failure.kind == "cancelled" and self.deadline is not None and self.deadline <= monotonic():
            failure = Failure("deadline", "the time for the call was over before it was answered")
        self.link.answer(self, None, 0, failure)


def current() -> Call | None:
    """The call that this thread handles."""
    return _thread.call


def called(when: str, hook: Callable[[], object]) -> None:
    """Calls what others left to be called; what it raises is logged."""
    try:
        hook()
    except Exception as error:
        hooks.package.log("error", f"{hook}, called {when}, raised", error)


@codec.by_reference
class Target:
    """An object that others may call.

    By ``methods``, a dict of name to what is called; ``missing(name)`` raises the error for another name, or gives what is called. ``value`` is what this process gets where
    the object comes back to it.
    """

    __slots__ = ("__weakref__", "inline", "makes", "methods", "missing", "value")

    def __init__(
        self, value: Any, methods: dict[str, Callable[..., Any]], missing: Callable[[str], Any]
    ) -> None:
        self.value = value
        self.methods = methods
        self.missing = missing
        #: Its methods never wait: whoever reads runs them, in the order in which they were called.
        self.inline = False
        #: What makes proxies and streams of its arguments, where it is not the package.
        self.makes: Any = None
        _known[id(value)] = self

    @staticmethod
    def known(value: Any) -> Target | None:
        """The target that was made of the same object, while somebody has it: so that it is the same for all."""
        found = _known.get(id(value))
        return found if found is not None and found.value is value else None

    def run(self, call: Call) -> None:
        """Runs a method, and answers."""
        handler: Any = None
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        try:
            if call.cancelled or call.deadline is not None:
                call.refuse_late()
            handler = self.methods.get(call.method)
            if handler is None:
                handler = call.run(self.missing, call.method)
            if type(handler) is Later:
                handler.begin(Answer(call))
                return
            running = handler
            handler = None
            args, kwargs = call.arguments(self.makes)
            handler = running
            call.begun = True
            result = (
                aside(call.run, handler, args, kwargs) if options_used else call.run(handler, *args, **kwargs)
            )
        except BaseException as error:
            # Without the lines of this engine: where nothing is left it is the caller's fault.
            error.__traceback__ = _behind(error.__traceback__)
            call.fail(error, handler, args, kwargs)
            if not isinstance(error, (Exception, SystemExit, GeneratorExit)):
                raise  # a Ctrl-C is that of this process
        else:
            if type(result) is _Coroutine:
                hooks.package.coroutine(result, Answer(call))
            else:
                call.answer(result)


def _behind(trace: types.TracebackType | None) -> types.TracebackType | None:
    """What is left of a traceback behind the lines of this module."""
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    return trace


def aside(
    run: Callable[..., Any], handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Runs a method without what a block says that this thread is in: its calls are no calls of the block."""
    variables = hooks.package.deadline, hooks.package.annotations
    tokens = [variable.set(None) if variable.get() is not None else None for variable in variables]
    try:
        return run(handler, *args, **kwargs)
    finally:
        for variable, token in zip(variables, tokens):
            if token is not None:
                variable.reset(token)


#: Objects that others have, by where they lie, which is their own place as long as they are kept.
_known: weakref.WeakValueDictionary[int, Target] = weakref.WeakValueDictionary()


class Later:
    """A method that answers by itself: ``begin(answer)`` is called for each call, and does not wait."""

    __slots__ = ("begin",)

    def __init__(self, begin: Callable[[Answer], object]) -> None:
        self.begin = begin


class Answer:
    """The duty to answer a call whose method waits."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def arguments(
        self, proxy: Callable[[Any], Any], stream: Callable[[Any], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments, in which ``proxy`` and ``stream`` make what users see; `None` where it cannot be called with them, and was told so."""
        try:
            return self._call.arguments((proxy, stream))
        except Exception as error:  # of whatever restores them
            self._call.fail(error)
            return None

    def context(self) -> Call | None:
        """The call that is to be answered; `None` behind the answer."""
        return None if self._call.answered else self._call

    def result(self, result: Any) -> None:
        """The method returned this."""
        if not self._call.answered:
            self._call.answer(result)

    def error(
        self,
        error: BaseException,
        called: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None = None,
    ) -> None:
        """The method raised this. ``called``: what was called, with what, where it may be for not fitting."""
        handler, args, kwargs = called or (None, (), {})
        self._call.fail(error, handler, args, kwargs)

    def on_cancel(self, hook: Callable[[], object]) -> None:
        """Has this called when nobody waits for the result any more, on any thread."""
        self._call.on_cancel(hook)

    def __del__(self) -> None:
        if not self._call.answered:
            self._call.link.unanswered(self._call)  # a collector may find that out, under any lock


class Relay:
    """An object of another connection, shown to this one: calls are passed on unread."""

    __slots__ = ("far", "inline")

    def __init__(self, far: Far) -> None:
        self.far = far
        self.inline = True

    def run(self, call: Call) -> None:
        """Passes a call on, and its answer back. Does not wait."""
        self.far.link.pass_on(call, self.far.id, None)


class Gone:
    """An own object that the other end handed back after this one had forgotten it."""

    inline = True

    def run(self, call: Call) -> None:
        """Refuses."""
        call.fail(Failure("no object", "this object was released before it was handed back"))
