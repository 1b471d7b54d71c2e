"""What arrives as what, by the table in the vectors, and that of classes."""

import collections
import contextlib
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import json
import pickle
import re
import signal
import types

import pytest

import andiron
from andiron import _values
from arrivals import NAMESPACE, Color, Frozen, Level, Plain, Point, Rights, Slotted, Text, Track, Whole
from conftest import ROOT

TABLE = json.loads((ROOT / "spec" / "vectors" / "values.json").read_text())
PAGE = (ROOT / "docs" / "values.md").read_text()


def made(row):
    for module in ("numpy", "zoneinfo"):
        if module in row["value"]:
            pytest.importorskip(module)
    return eval(row["value"], NAMESPACE)


def equal(a, b):
    if "numpy" in type(a).__module__:
        return a.dtype == b.dtype and (a == b).all()
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, KeyError):
        return a.args == b.args
    return a == b


@pytest.mark.parametrize("row", TABLE["arrives"], ids=lambda row: row["value"])
def test_each_value_arrives_as_the_table_says(row):
    value = made(row)
    data = andiron.encode(value)
    assert data.hex() == row["hex"]
    found = andiron.decode(data)
    assert type(found).__name__ == row["python"]
    if type(found) is type(value):
        assert equal(found, value)
    assert andiron.encode(found) == data, "it can be sent on, and arrives as the same"


@pytest.mark.parametrize("row", TABLE["refused"], ids=lambda row: row["value"])
def test_what_does_not_travel_is_refused_and_told_by_its_part(row):
    value = made(row)
    with pytest.raises(andiron.EncodingError) as refused:
        andiron.encode(value)
    assert row["why"] in str(refused.value)


@pytest.mark.parametrize("row", TABLE["refused"], ids=lambda row: row["value"])
def test_it_can_be_asked_whether_a_value_travels(row):
    # Functions are called where they are, so they travel in calls, and cannot be stored.
    assert andiron.can_send(made(row)) == (row["why"] in ("cannot be stored", "at [1][2]{element}[1]"))


def test_the_page_has_the_table():
    for row in TABLE["arrives"]:
        assert f"`{row['value']}`" in PAGE.replace("\\|", "|"), row["value"]


def test_what_the_page_shows_runs():
    pytest.importorskip("numpy")
    shown = []

    class Shows:
        def show(self, picture):
            shown.append(float(picture.sum()))

    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with registered():
        for block in blocks:
            exec(block, {"__name__": __name__, "hub": {"screen": Shows(), "printer": Shows()}})
    assert shown == [500_000.0] * 2


def test_numbers_and_arrays_of_numpy_are_kept_and_sent_on_where_there_is_none(monkeypatch):
    import sys

    rows = [row for row in TABLE["arrives"] if "numpy" in row["value"]]
    monkeypatch.setitem(sys.modules, "numpy", None)
    for row in rows:
        found = andiron.decode(bytes.fromhex(row["hex"]))
        assert isinstance(found, andiron.Record if row["rust"] == "Record" else andiron.Array)
        assert andiron.encode(found).hex() == row["hex"]


@contextlib.contextmanager
def registered(*classes, **named):
    """Has classes be known for a while."""
    before = dict(_values._classes), dict(_values._names)
    try:
        for cls in classes:
            andiron.register(cls)
        for name, cls in named.items():
            andiron.register(cls, name)
        yield
    finally:
        for now, was in zip((_values._classes, _values._names), before):
            now.clear()
            now.update(was)


@dataclasses.dataclass(frozen=True)
class Checked:
    """It counts how often it is made."""

    number: int
    twice: int = dataclasses.field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "twice", 2 * self.number)


OF_CLASSES = [
    Track("Embers", 1.5),
    Frozen(1),
    Checked(4),
    Point(1, [2]),
    Color.RED,
    Level.LOW,
    Rights.READ,
    Rights.READ | Rights.WRITE,
    Rights(0),
    {Frozen(1): {Point(1, 2)}, Color.RED: (Level.LOW,)},
    [frozenset([Frozen(2), Checked(1)])],
]


@pytest.mark.parametrize("value", OF_CLASSES, ids=repr)
def test_what_goes_through_who_does_not_know_the_class_arrives_as_it_was(serve, value):
    hub = serve({"kept": lambda passed: passed})
    classes = (Track, Frozen, Checked, Point, Color, Level, Rights)
    with registered(*classes):
        sent = andiron.encode(value)
    # Who does not know them reads it, stores it, and sends it on in a call and back.
    between = andiron.decode(sent)
    hub.store["between"] = between
    passed = hub["kept"](hub.store["between"])
    assert passed == between
    with registered(*classes):
        for found in (andiron.decode(andiron.encode(passed)), hub.store["between"]):
            assert (found, type(found)) == (value, type(value))


def test_an_instance_of_a_plain_class_has_its_attributes():
    with registered(Plain):
        found = andiron.decode(andiron.encode(Plain(a=1, b=[2])))
        assert (type(found), vars(found)) == (Plain, {"a": 1, "b": [2]})
    strange = Plain(a=1)
    vars(strange)[5] = 6
    with registered(Plain), pytest.raises(andiron.EncodingError, match="attribute whose name is 5"):
        andiron.encode(strange)


class Half(Slotted):
    """It has a `__dict__` beside the slots of its base."""


class Memo(io.StringIO):
    pass


class Queue(collections.deque):
    pass


class Space(types.SimpleNamespace):
    pass


class Share(fractions.Fraction):
    pass


@pytest.mark.parametrize("cls", [Slotted, Half, Memo, Queue, Space, Share], ids=lambda cls: cls.__name__)
def test_a_class_whose_instances_hold_more_than_their_attributes_is_not_registered(cls):
    with registered(), pytest.raises(TypeError, match=r"has slots|is in no attribute"):
        andiron.register(cls)


def test_an_array_of_a_class_of_its_own_is_not_registered():
    numpy = pytest.importorskip("numpy")
    with registered(), pytest.raises(TypeError, match="made of a ndarray"):
        andiron.register(type("Signal", (numpy.ndarray,), {}))


@dataclasses.dataclass
class Measured(Half):
    width: int

    @functools.cached_property
    def area(self):
        return self.width**2


class Place(Point):
    """A named tuple that has a `__dict__`."""


def test_an_instance_with_more_than_its_fields_is_refused():
    measured, place = Measured(3), Place(1, 2)
    with registered(Measured, Place):
        assert measured.area == 9, "what is kept of its fields is none"
        assert andiron.decode(andiron.encode([measured, place])) == [measured, place]
        place.name = "home"
        for value in (measured, place):
            value.a = 1
            with pytest.raises(andiron.EncodingError, match=r"\[0\].* that is no field of it"):
                andiron.encode([value])


@dataclasses.dataclass
class Listed(collections.deque):
    width: int


def test_a_dataclass_that_holds_more_than_its_fields_is_refused():
    with pytest.raises(andiron.EncodingError, match="made of a deque"):
        andiron.encode(Listed(3))


def test_a_class_that_has_changed_is_told_of():
    with registered(Track, Color, Rights):
        for other, why in (
            (
                andiron.Record("Track", {"title": "x"}),
                "no Track can be made .* has the fields title, seconds here, and title at",
            ),
            (andiron.Record("Track", {"title": "x", "seconds": 1, "year": 1}), "no Track can be made"),
            (andiron.Member("Color", "BLUE", 2), "no member 'BLUE' here"),
            (andiron.Member("Rights", "READ|ROOT", 9), "no member 'READ|ROOT' here"),
        ):
            with pytest.raises(andiron.EncodingError, match=why):
                andiron.decode(andiron.encode(other))


def test_what_cannot_be_registered_is_refused():
    for cls in (Whole, Text, type("Listing", (list,), {})):
        with pytest.raises(TypeError, match="a plain value of a kind of its own"):
            andiron.register(cls)
    with pytest.raises(ValueError, match="another"):
        andiron.register(Plain, "numpy.scalar")
    with registered(Track), pytest.raises(ValueError, match=r"give .* another name"):
        andiron.register(Plain, "Track")


def test_a_record_is_what_its_fields_are():
    record = andiron.Record("Point", {"x": 1, "y": 2})
    assert record == andiron.Record("Point", {"y": 2, "x": 1})
    assert hash(record) == hash(andiron.Record("Point", {"y": 2, "x": 1}))
    assert record != andiron.Record("Pair", {"x": 1, "y": 2})
    with pytest.raises(AttributeError, match="this Point has no field 'z'"):
        record.z
    assert (vars(record), record.__name__, copy.deepcopy(record)) == ({"x": 1, "y": 2}, "Point", record)
    with pytest.raises(TypeError):
        hash(andiron.Record("Point", {"x": []}))
    assert pickle.loads(pickle.dumps(record)) == record


def test_a_combination_of_flags_is_kept_where_the_class_has_other_names_for_it():
    class Other(enum.Flag):
        A = 1
        B = 2
        BOTH = 3

    with registered(Rights=Other):
        assert andiron.decode(andiron.encode(Rights.READ | Rights.WRITE)) is Other.BOTH


@pytest.mark.parametrize(
    "make",
    [
        lambda: andiron.Record(5, {}),
        lambda: andiron.Record("Point", {1: 2}),
        lambda: andiron.Member("Color", 1, 2),
        lambda: andiron.Member(None, "RED", 2),
        lambda: andiron.Extension(300, b""),
        lambda: andiron.Extension(-1, b""),
        lambda: andiron.Extension(14, b""),
        lambda: andiron.Extension("64", b""),
        lambda: andiron.Extension(64, "a"),
    ],
)
def test_what_could_not_be_read_is_not_made(make):
    with pytest.raises((TypeError, ValueError), match=r"str, not|32 to 127|is bytes, not"):
        make()


def test_what_was_made_unreadable_later_is_not_sent():
    member, extension = andiron.Member("Color", "RED", 1), andiron.Extension(64, b"a")
    member.name, extension.code = 5, 14
    for value in (member, extension):
        with pytest.raises(andiron.EncodingError, match=r"str, not|32 to 127"):
            andiron.encode(value)


@pytest.mark.parametrize("thing", [5, len, "Track"])
def test_only_a_class_is_registered(thing):
    with pytest.raises(TypeError, match=r"a class is registered, and .* is none"):
        andiron.register(thing)


def test_what_a_class_raises_where_a_value_is_read_is_an_error_of_encoding():
    class Other:
        @property
        def number(self):
            return 1

        @number.setter
        def number(self, _):
            raise RuntimeError("never")

    Other.__annotations__ = {"number": int}
    with registered(Picky=dataclasses.dataclass(init=False)(Other)):
        sent = andiron.encode(andiron.Record("Picky", {"number": 1}))
        with pytest.raises(andiron.EncodingError, match="the value cannot be read: "):
            andiron.decode(sent)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (andiron.Record("Color", {"x": 1}), "Color is an enumeration here"),
        (andiron.Member("Plain", "A", 1), "Plain is no enumeration here"),
        (andiron.Member("Color", "RED", 99), "RED of Color has the value 1 here, and 99 at its sender"),
        (andiron.Member("Rights", "READ", 3), "READ of Rights has another value"),
        (andiron.Member("Rights", "READ", 99), "no member 'READ'"),
        (andiron.Member("Rights", "READ", "x"), "no member 'READ'"),
        (andiron.Record("CodedError", {"x": 1}), "CodedError is an exception here"),
        (andiron.Record("Point", {"x": 1}), "no Point can be made"),
    ],
    ids=repr,
)
def test_what_is_another_kind_of_class_here_is_told(sent, why):
    class CodedError(Exception):
        pass

    with registered(Color, Plain, Rights, Point, CodedError):
        data = andiron.encode(sent)
        with pytest.raises(andiron.EncodingError, match=why):
            andiron.decode(data)


@pytest.mark.parametrize("begin", [andiron.encode, andiron.can_send, andiron._engine.encode_stored])
def test_a_value_without_end_can_be_interrupted(begin):
    class StopError(BaseException):
        pass

    def stop(*_):
        raise StopError

    def interrupted():
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begin(value)

    value = [1]
    for _ in range(40):
        value = [value, value]
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(StopError):
            interrupted()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_value_beyond_any_message_is_refused_before_it_is_written_to_its_end():
    value = ["x" * (1 << 20)] * 8000
    with pytest.raises(andiron.EncodingError, match="longer than 1 GiB"):
        andiron.encode(value)


def test_any_bytes_are_read():
    data = andiron.encode([1, "a"])
    for same in (bytearray(data), memoryview(data), memoryview(data + data)[: len(data)]):
        assert andiron.decode(same) == [1, "a"]
    with pytest.raises(TypeError, match="bytes-like"):
        andiron.decode("a")


class Moment(datetime.datetime):
    pass


class Price(decimal.Decimal):
    pass


@pytest.mark.parametrize(
    ("value", "why"),
    [(Moment(2026, 1, 1), r"send datetime\(..\) of it"), (Price(1), r"send Decimal\(..\) of it")],
    ids=repr,
)
def test_a_kind_of_its_own_of_a_known_class_is_told_what_to_send(value, why):
    with pytest.raises(andiron.EncodingError, match=why):
        andiron.encode(value)


def test_what_is_exposed_is_called_whatever_its_class_is_otherwise(serve):
    @andiron.expose
    @dataclasses.dataclass(eq=False)
    class Counter(collections.deque):
        number: int = 1

        def next(self):
            return self.more + 1

    counter = Counter()
    counter.more = 6
    assert serve({"give": lambda: counter})["give"]().next() == 7
