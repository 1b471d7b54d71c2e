"""What callers see of exceptions."""

import asyncio
import builtins
import concurrent.futures
import math
import sys
import threading
import traceback

import pytest

import andiron
from andiron import aio


class CodedError(Exception):
    """One with something of its own."""

    def __init__(self, message, code=0):
        super().__init__(message)
        self.code = code


class PickyError(Exception):
    """One that is not made of its arguments."""

    def __init__(self, first, second):
        super().__init__("both")


class CutError(UnicodeDecodeError):
    """One that is made of less than its base has to have."""

    def __init__(self):
        pass


class FileError(OSError):
    def __init__(self, name):
        super().__init__(2, "no such file", name)


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("never")


def raiser(error):
    def fail():
        raise error

    return fail


@pytest.fixture
def failing(serve):
    """Calls a method that raises an exception; gives what its caller sees."""

    def call(error):
        hub = serve({"fail": raiser(error), "give": lambda value: value})
        with pytest.raises(Exception) as raised:  # noqa: PT011 - each test looks at it
            hub["fail"]()
        assert hub["give"](1) == 1, "the server goes on"
        return raised.value

    return call


@pytest.fixture
def registered():
    andiron.register(CodedError)
    for cls in (PickyError, CutError, FileError):
        andiron.register(cls)
    yield
    for cls in (CodedError, PickyError, CutError, FileError):
        name = cls.__name__
        del andiron._errors.registered[name], andiron._values._classes[name], andiron._values._names[cls]


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(2),
        KeyboardInterrupt(),
        GeneratorExit("x"),
        StopIteration(3),
        StopAsyncIteration(),
        asyncio.CancelledError("x"),
        concurrent.futures.CancelledError(),
        CodedError("x"),
    ],
    ids=repr,
)
def test_what_would_mean_something_else_here_is_a_remote_error(failing, error):
    seen = failing(error)
    assert type(seen) is andiron.RemoteError
    assert seen.type_name.rpartition(".")[2] == type(error).__name__
    assert seen.remote_args == error.args
    assert "in fail" in str(seen.__cause__)


def test_attributes_and_notes_come_along(failing, registered):
    error = CodedError("x", 7)
    error.reason = {"deep": (1,)}
    error.lock = threading.Lock()
    error._private = 1
    error.__notes__ = ["read the manual"]
    seen = failing(error)
    assert type(seen) is CodedError
    assert (seen.args, seen.code, seen.reason) == (("x",), 7, {"deep": (1,)})
    assert not hasattr(seen, "lock"), "what cannot travel stays"
    assert not hasattr(seen, "_private")
    assert seen.__notes__ == ["read the manual"]
    assert "read the manual" in "".join(
        traceback.format_exception(type(seen), seen, seen.__traceback__)
    ) or not hasattr(error, "add_note")
    builtin = ValueError("x")
    builtin.detail = 3
    assert failing(builtin).detail == 3


def test_attributes_of_one_that_is_not_known_here_come_along(failing):
    seen = failing(CodedError("x", 7))
    assert type(seen) is andiron.RemoteError
    assert seen.code == 7


def test_attributes_change_nothing_of_what_an_exception_does(failing):
    error = ValueError("x")
    for name in ("with_traceback", "kind", "is_temporary", "operation", "__class__", "__cause__", "args"):
        vars(error)[name] = "evil"
    error.__notes__ = [1, 2]
    seen = failing(error)
    assert type(seen) is ValueError
    assert callable(seen.with_traceback)
    assert seen.args == ("x",)
    assert not hasattr(seen, "__notes__")
    unknown = CodedError("x")
    vars(unknown).update(is_temporary=1, operation=2, message=3, remote_args=4)
    seen = failing(unknown)
    assert not seen.is_temporary()
    assert seen.message == "x"


def test_what_it_was_made_with_and_cannot_travel_is_told_as_it_looks(failing):
    lock = threading.Lock()
    seen = failing(ValueError("x", lock, 3))
    assert type(seen) is ValueError
    assert seen.args == ("x", repr(lock), 3)


def test_one_that_cannot_be_made_anew_is_a_remote_error(failing, registered):
    seen = failing(CutError())
    assert type(seen) is andiron.RemoteError
    assert (seen.type_name, seen.remote_args) == ("CutError", ())


def test_one_with_an_init_of_its_own_arrives_as_itself_and_that_is_not_run(failing, registered):
    error = PickyError(1, 2)
    error.code = 7
    for seen in (failing(error), andiron.decode(andiron.encode(error))):
        assert (type(seen), seen.args, seen.code) == (PickyError, ("both",), 7)


def _with_names():
    """Exceptions that say a name, from Python 3.10 on."""
    if sys.version_info < (3, 10):
        return []
    return [
        (NameError("no", name="n"), {"name": "n"}),
        (AttributeError("no", name="n", obj=object()), {"name": "n"}),
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(2, "nope", "f"), {"errno": 2, "strerror": "nope", "filename": "f"}),
        (OSError(18, "nope", "f", None, "g"), {"filename": "f", "filename2": "g"}),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), {"start": 0, "end": 1, "object": b"\xff"}),
        (ImportError("no", name="n", path="p"), {"msg": "no", "name": "n", "path": "p"}),
        *_with_names(),
        (SyntaxError("no", ("f", 1, 2, "text")), {"filename": "f", "lineno": 1, "text": "text"}),
        (KeyError("x"), {}),
    ],
    ids=repr,
)
def test_builtin_ones_keep_what_they_tell(failing, error, told):
    for seen in (failing(error), andiron.decode(andiron.encode(error))):
        assert (type(seen), seen.args, str(seen)) == (type(error), error.args, str(error))
        assert {name: getattr(seen, name) for name in told} == told


def test_a_group_arrives_with_all_in_it():
    group = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        pytest.skip("this Python has no groups of exceptions")
    seen = andiron.decode(andiron.encode(group("all", [KeyError("x"), ValueError(1)])))
    assert (seen.message, [type(part) for part in seen.exceptions]) == ("all", [KeyError, ValueError])


def test_a_file_error_of_a_class_of_its_own_keeps_its_file(failing, registered):
    for seen in (failing(FileError("f")), andiron.decode(andiron.encode(FileError("f")))):
        assert (type(seen), seen.errno, seen.filename) == (FileError, 2, "f")


def test_errors_of_the_package_are_values_like_others(serve):
    store = serve({}).store
    error = andiron.ConflictError("x")
    error.operation, error.context = "store.set", {"name": "x"}
    far = andiron.RemoteError("x")
    far.type_name, far.remote_args = "OtherError", (1,)
    for kept in (error, far, andiron.DeniedError("x"), andiron.NoObjectError("x")):
        store["x"] = kept
        seen = store["x"]
        assert (type(seen), str(seen), vars(seen)) == (type(kept), str(kept), vars(kept))


def test_a_value_keeps_what_its_exception_has_for_itself(registered):
    error = CodedError("x")
    error._private = 1
    assert andiron.decode(andiron.encode(error))._private == 1


def test_an_error_of_the_package_is_not_changed_by_what_comes_with_it():
    hostile = {"is_temporary": 1, "operation": 2, "context": 3, "_of_call": True, "kind": "x", "args": 4}
    seen = andiron._errors.restored("andiron.ConflictError", ["x"], hostile)
    assert (str(seen), seen.is_temporary(), seen.kind, seen._of_call) == ("x", False, "conflict", False)


def test_one_that_cannot_be_printed_is_told_all_the_same(failing):
    seen = failing(UnprintableError())
    assert "UnprintableError" in seen.type_name
    assert "cannot be printed" in str(seen)


def test_causes_stand_in_the_remote_traceback(failing):
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as outer:
        seen = failing(outer)
    assert type(seen) is ValueError
    text = str(seen.__cause__)
    assert "KeyError: 'inner'" in text
    assert "direct cause" in text
    assert text.index("inner") < text.index("outer")
    assert "KeyError: 'inner'" in "".join(traceback.format_exception(type(seen), seen, seen.__traceback__))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="from Python 3.11 on")
def test_a_group_arrives_with_those_in_it(failing):
    group = ExceptionGroup("several", [ValueError(1), KeyError("x"), CodedError("y", 5)])  # noqa: F821
    seen = failing(group)
    assert type(seen) is ExceptionGroup  # noqa: F821
    assert seen.message == "several"
    assert [type(one) for one in seen.exceptions] == [ValueError, KeyError, andiron.RemoteError]
    assert seen.exceptions[2].code == 5


def test_an_error_passes_through_several_processes(serve, failing):
    inner = serve({"fail": raiser(ValueError("deep", 1))})

    def pass_on():
        inner["fail"]()

    with pytest.raises(ValueError, match="deep") as raised:
        serve({"pass_on": pass_on})["pass_on"]()
    assert raised.value.args == ("deep", 1)
    assert "in pass_on" in str(raised.value.__cause__)
    assert "in fail" in str(raised.value.__cause__)


def test_an_error_of_an_inner_call_says_nothing_untrue_of_the_outer_one(serve):
    inner = serve({"x": print})
    proxy = inner["x"]
    inner.close()
    with pytest.raises(andiron.Error) as raised:
        serve({"pass_on": lambda: proxy()})["pass_on"]()
    assert not raised.value.is_temporary(), "the outer one did run"


def test_an_error_that_a_method_makes_itself_keeps_its_kind(serve):
    hub = serve(
        {
            "deny": raiser(andiron.DeniedError("not you")),
            "bad": lambda: andiron.connect("unix:/nowhere"),
            "lookup": lambda: andiron.caller()["nobody"],
        }
    )
    with pytest.raises(andiron.DeniedError, match="not you"):
        hub["deny"]()
    for name in ("bad", "lookup"):
        with pytest.raises(andiron.RemoteError) as raised:
            hub[name]()
        assert raised.value.kind == "application", "what it met with is not what became of it"


def test_a_result_that_cannot_be_sent_says_what_is_in_the_way(serve):
    hub = serve({"give": lambda: {"deep": [threading.Lock()]}})
    with pytest.raises(andiron.EncodingError, match=r"at .'deep'..0.: _thread\.lock"):
        hub["give"]()


def test_an_error_of_a_long_text_and_trace_arrives_shortened(failing):
    seen = failing(ValueError("x" * 2_000_000))
    assert isinstance(seen, (ValueError, andiron.RemoteError))


def test_a_stream_that_raises_what_means_something_else_ends_with_a_remote_error(serve):
    def numbers(error):
        yield 1
        raise error

    hub = serve({"numbers": numbers})
    for error in (ValueError("x"), KeyError("y")):
        items = hub["numbers"](error)
        assert next(items) == 1
        with pytest.raises(type(error)) as raised:
            next(items)
        assert "in numbers" in str(raised.value.__cause__)
    exiting = serve({"numbers": lambda: numbers(SystemExit(3))})["numbers"]()
    assert next(exiting) == 1
    with pytest.raises(andiron.RemoteError) as raised:
        next(exiting)
    assert raised.value.type_name == "SystemExit"


def waited(timeout):
    with andiron.Server({}, []) as server:
        server.wait(timeout)


@pytest.mark.parametrize("seconds", [math.inf, 1e300])
@pytest.mark.parametrize("address", ["unix:{}/other", "tcp://127.0.0.1:0"])
def test_no_time_is_too_long(home, address, seconds):
    with andiron.Server({"double": lambda x: 2 * x}, address.format(home), state=False, threads=1) as server:
        where = server.addresses[0]
        with andiron.connect(where, wait=seconds, timeout=seconds, retry=seconds) as hub, andiron.timeout(
            seconds
        ):
            assert hub["double"](1) == 2
            assert hub["double"].start(2).result(seconds) == 4
            hub.store.set("x", 3, ttl=seconds)
            assert hub.store["x"] == 3


@pytest.mark.parametrize(
    ("mistake", "kind", "words"),
    [
        (lambda hub: andiron.timeout("2"), TypeError, "a timeout is a number of seconds, not '2'"),
        (lambda hub: andiron.timeout(math.nan), ValueError, "nan is none"),
        (lambda hub: hub[1], TypeError, "objects have strings as names, not 1"),
        (lambda hub: hub.register(4, print), TypeError, "objects have strings as names, not 4"),
        (lambda hub: andiron.Server({4: print}, []), TypeError, "objects have strings as names, not 4"),
        (lambda hub: andiron.serve([1], []), TypeError, "as a dict, not as a list"),
        (lambda hub: andiron.connect(objects=[1]), TypeError, "as a dict, not as a list"),
        (lambda hub: andiron.connect("x", objects={}), ValueError, "not both"),
        (lambda hub: andiron.Server({}, [], threads="x"), TypeError, "threads='x': it is a number"),
        (lambda hub: andiron.connect(3), TypeError, "an address is a str, not 3"),
        (lambda hub: andiron.connect("x", wait="2"), TypeError, "wait= is a number of seconds, not '2'"),
        (lambda hub: andiron.connect("x", retry="2"), TypeError, "retry= is a number of seconds, not '2'"),
        (
            lambda hub: asyncio.run(aio.connect("x", timeout="2")),
            TypeError,
            "timeout= is a number of seconds",
        ),
        (lambda hub: andiron.connect("x", timeout=-1), ValueError, "timeout=-1: it is a number of seconds"),
        (lambda hub: andiron.connect("x", retry=math.nan), ValueError, "retry= .* nan is none"),
        (lambda hub: hub.poll("2"), TypeError, "a timeout is a number of seconds, not '2'"),
        (lambda hub: waited("2"), TypeError, "a timeout is a number of seconds, not '2'"),
        (lambda hub: waited(math.nan), ValueError, "nan is none"),
        (lambda hub: hub.store.incr("x", 1.5), TypeError, "what is added is a whole number, not 1.5"),
        (lambda hub: andiron.buffer("2"), TypeError, "the length of a buffer is a whole number, not '2'"),
        (lambda hub: andiron.buffer(-1), ValueError, "a buffer has 0 bytes at least, not -1"),
        (lambda hub: hub.store.set("x", 1, ttl=math.nan), ValueError, "a ttl .* nan is none"),
        (lambda hub: hub.store.set("x", 1, ttl="2"), TypeError, "a ttl is a number of seconds, not '2'"),
        (lambda hub: andiron.connect("x", cache=-1), ValueError, "cache=-1: it is a number of bytes"),
        (lambda hub: andiron.connect("x", cache="1k"), TypeError, "cache='1k': it is a number of bytes"),
        (lambda hub: asyncio.run(aio.connect("x", objects={})), ValueError, "not both"),
        (lambda hub: asyncio.run(aio.connect("x", cache=-1)), ValueError, "cache=-1"),
        (lambda hub: asyncio.run(aio.serve([1])), TypeError, "as a dict, not as a list"),
    ],
)
def test_what_is_given_wrong_is_refused_in_words(serve, mistake, kind, words):
    with pytest.raises(kind, match=words):
        mistake(serve({}))
