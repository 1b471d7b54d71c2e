"""Values on the wire: those of the vectors, and what arrives as what."""

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import sys
import threading
import uuid
import zoneinfo

import pytest

import andiron
from conftest import ROOT

VECTORS = json.loads((ROOT / "spec" / "vectors" / "codec.json").read_text())


def bytes_of(text):
    return base64.b64decode(text + "=" * (-len(text) % 4))


def instant(text):
    text, _, fold = text.partition(" fold=")
    text, _, zone = text.partition("[")
    return text, zone.rstrip("]"), int(fold or 0)


SPECIAL = {
    "$bytes": bytes_of,
    "$tuple": lambda parts: tuple(map(meant, parts)),
    "$set": lambda parts: set(map(meant, parts)),
    "$frozenset": lambda parts: frozenset(map(meant, parts)),
    "$int": lambda text: int(text, 0),
    "$float": float,
    "$complex": lambda parts: complex(*map(meant, parts)),
    "$decimal": decimal.Decimal,
    "$date": datetime.date.fromisoformat,
    "$timedelta": lambda parts: datetime.timedelta(*parts),
    "$uuid": uuid.UUID,
    "$map": lambda pairs: {meant(key): meant(value) for key, value in pairs},
    "$record": lambda record: andiron.Record(record["name"], meant_fields(record["fields"])),
    "$enum": lambda parts: andiron.Member(parts[0], parts[1], meant(parts[2])),
    "$ext": lambda parts: andiron.Extension(parts[0], bytes_of(parts[1])),
}


def meant_fields(fields):
    return {name: meant(value) for name, value in fields.items()}


def meant(form):
    """The value that a JSON form stands for."""
    if isinstance(form, list):
        return [meant(part) for part in form]
    if isinstance(form, dict):
        if len(form) == 1:
            [(key, part)] = form.items()
            if key in SPECIAL:
                return SPECIAL[key](part)
            if key.startswith("$") and key in ("$datetime", "$time", "$exception", "$ref", "$buffer"):
                raise LookupError(key)
        return meant_fields(form)
    return form


def same(a, b):
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, decimal.Decimal):
        return str(a) == str(b)
    return type(a) is type(b) and (repr(a) == repr(b) or a == b)


def is_a_reference(vector):
    return "$ref" in json.dumps(vector.get("json", "")) or '"attachment"' in json.dumps(
        vector.get("json", "")
    )


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["good"] if not is_a_reference(v)], ids=lambda vector: vector["name"]
)
def test_good_bytes_are_read_and_written_again(vector):
    data = bytes.fromhex(vector["hex"])
    try:
        value = andiron.decode(data)
    except andiron.EncodingError as error:
        # The only values of the codec that Python has not.
        assert any(why in str(error) for why in ("cannot be", "beyond what this Python"))  # noqa: PT017
        return
    try:
        expected = meant(vector["json"])
    except (LookupError, TypeError):
        pass
    else:
        assert same(value, expected) or "$map" in json.dumps(vector["json"]), value
    again = andiron.encode(value)
    assert same(andiron.decode(again), value)
    if vector["canonical"] and not has_a_set_or_repeats(vector):
        assert again.hex() == vector["hex"]


def has_a_set_or_repeats(vector):
    """Whether Python has the value in another order, or not so often."""
    form = json.dumps(vector["json"])
    return any(word in form for word in ("$set", "$frozenset", "$map", "$exception"))


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda vector: vector["name"])
def test_bad_bytes_are_refused(vector):
    with pytest.raises(andiron.EncodingError):
        andiron.decode(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["good"] if len(v["hex"]) < 200], ids=lambda vector: vector["name"]
)
def test_what_is_cut_off_is_refused(vector):
    data = bytes.fromhex(vector["hex"])
    for end in range(len(data)):
        with pytest.raises(andiron.EncodingError):
            andiron.decode(data[:end])


@dataclasses.dataclass
class Track:
    title: str
    seconds: float


class Color(enum.Enum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (Track("Embers", 1.5), andiron.Record("Track", {"title": "Embers", "seconds": 1.5})),
        (Color.RED, andiron.Member("Color", "RED", 1)),
        (Point(1, 2), andiron.Record("Point", {"x": 1, "y": 2})),
        (memoryview(b"abc"),) * 2,
        (bytearray(b"abc"),) * 2,
        (datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),) * 2,
        (datetime.time(1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=-1))),) * 2,
        (datetime.datetime(1, 1, 1),) * 2,
        (2**200,) * 2,
        (-(2**63) - 1,) * 2,
    ],
    ids=repr,
)
def test_what_arrives_as_what(sent, arrives):
    found = andiron.decode(andiron.encode(sent))
    assert found == arrives
    assert type(found) is type(arrives)
    assert andiron.decode(andiron.encode(found)) == found


def test_what_is_registered_arrives_as_itself():
    values = andiron._values
    classes, names = dict(values._classes), dict(values._names)
    try:
        for cls in (Track, Color, Point):
            andiron.register(cls)
        for value in (Track("Embers", 1.5), Color.RED, Point(1, [2])):
            found = andiron.decode(andiron.encode(value))
            assert (found, type(found)) == (value, type(value))
        with pytest.raises(andiron.EncodingError, match="no Track can be made"):
            andiron.decode(andiron.encode(andiron.Record("Track", {"name": 1})))
        with pytest.raises(ValueError, match="another name"):
            andiron.register(type("Track", (), {"__module__": "elsewhere"}))
    finally:
        values._classes.clear()
        values._classes.update(classes)
        values._names.clear()
        values._names.update(names)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"items": [1, {"lock": threading.Lock()}]}, r"\['items'\]\[1\]\['lock'\]"),
        (Track("x", threading.Lock()), r"\.seconds"),
        ((1, "\ud800"), r"\[1\]"),
        ([collections.OrderedDict()], "OrderedDict is a dict of a kind of its own"),
        ([1 << (8 * 65536)], "65536"),
    ],
    ids=["lock", "field", "surrogate", "subclass", "long int"],
)
def test_a_value_that_cannot_be_sent_says_which_part(value, part):
    with pytest.raises(andiron.EncodingError, match=part):
        andiron.encode(value)


def test_what_is_too_deep_is_refused_both_ways():
    value = []
    value.append(value)
    with pytest.raises(andiron.EncodingError):
        andiron.encode(value)
    with pytest.raises(andiron.EncodingError):
        andiron.decode(b"\x91" * 101 + b"\xc0")
    andiron.decode(b"\x91" * 100 + b"\xc0")


def test_a_dict_with_a_strange_key_is_a_dict():
    value = {"__class__": "os.system", None: 1, (1, 2): 3, 1.5: {}}
    assert andiron.decode(andiron.encode(value)) == value


def test_an_array_arrives_as_one():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(12, dtype="<f4").reshape(3, 4)
    found = andiron.decode(andiron.encode(array))
    assert (found == array).all()
    assert found.dtype == array.dtype
    found[0, 0] = 5
    for strange in (numpy.array([object()]), numpy.zeros(1, dtype=[("a", "i4")])):
        with pytest.raises(TypeError, match="plain numbers"):
            andiron.encode(strange)


def test_an_array_is_kept_where_there_is_no_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    data = andiron.encode(andiron.Array("<i2", [2], memoryview(b"abcd")))
    found = andiron.decode(data)
    assert found == andiron.Array("<i2", [2], memoryview(b"abcd"))
    assert andiron.encode(found) == data


BIG = 3 << 20


@pytest.fixture
def far(serve):
    kept = []

    def keep(value):
        kept.append(value)
        return value

    hub = serve({"keep": keep, "kept": lambda: kept[-1]})
    return hub, kept


def test_a_big_array_is_the_own_copy_of_whoever_gets_it(far):
    numpy = pytest.importorskip("numpy")
    hub, kept = far
    sent = numpy.arange(BIG // 8, dtype="<f8").reshape(-1, 8)
    found = hub["keep"](sent)
    assert (found == sent).all()
    found[0, 0] = -1
    kept[0][0, 1] = -2
    assert (sent[0, 0], sent[0, 1]) == (0, 1)
    assert (hub["kept"]()[0, 0], hub["kept"]()[0, 1]) == (0, -2)


@pytest.mark.parametrize("length", [0, 5, BIG])
def test_bytes_that_can_be_changed_arrive_as_such(far, length):
    hub, _ = far
    for value in (bytearray(b"x" * length), memoryview(b"x" * length)):
        found = hub["keep"](value)
        assert bytes(found) == b"x" * length
        if length:
            found[0] = 1
            assert bytes(value[:1]) == b"x"


def test_a_stored_array_is_mapped_where_it_lies(far):
    numpy = pytest.importorskip("numpy")
    hub, _ = far
    hub.store["array"] = {"deep": [numpy.arange(BIG // 4, dtype="<i4")]}
    mine, other = hub.store["array"]["deep"][0], hub.store["array"]["deep"][0]
    mine[:] = 0
    assert (other == numpy.arange(BIG // 4)).all()
    assert not mine.any()
