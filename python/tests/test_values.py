"""Values on the wire: those of the vectors, and what arrives as what."""

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import os
import sys
import threading
import uuid

import pytest

import andiron
from conftest import ROOT, named

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
    return type(a) is type(b) and (repr(a) == repr(b) or a == b or parts(a) == parts(b))


def parts(value):
    """A value by its parts, where each NaN is like the others, and what has no order has one."""
    if isinstance(value, (list, tuple)):
        return [type(value), *map(parts, value)]
    if isinstance(value, (set, frozenset)):
        return [type(value), *sorted(map(parts, value), key=repr)]
    if isinstance(value, dict):
        return [dict, *sorted((parts(item) for item in value.items()), key=repr)]
    return repr(value)


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
        (datetime.time(1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=-1))),) * 2,
        (datetime.datetime(1, 1, 1),) * 2,
        (2**200,) * 2,
        (-(2**63) - 1,) * 2,
    ],
    ids=named,
)
def test_what_arrives_as_what(sent, arrives):
    found = andiron.decode(andiron.encode(sent))
    assert found == arrives
    assert type(found) is type(arrives)
    assert andiron.decode(andiron.encode(found)) == found


def test_a_time_of_a_zone_with_a_name_arrives_in_that_zone():
    zoneinfo = pytest.importorskip("zoneinfo")
    sent = datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    found = andiron.decode(andiron.encode(sent))
    assert (found, found.tzinfo, found.fold) == (sent, sent.tzinfo, 1)


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

#: For what is about memory that goes by reference.
by_reference = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="no memory is passed by reference here"
)


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


def file_of(array):
    """What is mapped where an array lies: the memory that other processes have as well, or nothing."""
    start = array.__array_interface__["data"][0]
    with open("/proc/self/maps") as maps:
        for line in maps:
            range_, _, _, _, inode = line.split()[:5]
            first, last = (int(end, 16) for end in range_.split("-"))
            if first <= start < last:
                return int(inode)
    raise LookupError(start)


@pytest.fixture
def echo(serve):
    """A hub, and what a handler got: it is in this process, so that one can see where it lies."""
    got = []

    def keep(*values):
        got.extend(values)
        return values

    return serve({"keep": keep}), got


@by_reference
def test_a_frozen_array_goes_by_reference_as_often_as_it_is_sent(echo):
    numpy = pytest.importorskip("numpy")
    hub, got = echo
    array = numpy.arange(BIG // 8, dtype="<f8").reshape(-1, 16)
    frozen = andiron.freeze(array)
    assert (frozen == array).all()
    assert (frozen.dtype, frozen.shape) == (array.dtype, array.shape)
    for number in range(3):
        hub["keep"](frozen, {"deep": [frozen]})
        first, second = got[0], got[1]["deep"][0]
        assert file_of(first) == file_of(second) == file_of(frozen)
        first[0] = number  # a copy of theirs
        assert frozen[0, 1] == second[0, 1] == 1
        got.clear()
    assert andiron.freeze(frozen) is frozen
    array[:] = 0
    assert frozen.sum() > 0


@by_reference
def test_a_big_array_of_ordinary_memory_goes_by_reference_in_arguments_results_and_items(serve):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(BIG // 8)
    got = []

    def pages():
        yield {"page": array}

    hub = serve({"keep": got.append, "give": lambda: (array, [array]), "pages": pages})
    hub["keep"]({"a": (array,)})
    first, (second,) = hub["give"]()
    (page,) = hub["pages"]()
    for one in (got[0]["a"][0], first, second, page["page"]):
        assert file_of(one) not in (0, file_of(array))
        assert (one == array).all()
        one[:] = 0
    assert array[-1] == BIG // 8 - 1
    assert andiron.can_send({"a": [array, andiron.freeze(array)]})


@by_reference
def test_an_array_that_came_goes_on_by_reference_until_it_is_written(echo):
    numpy = pytest.importorskip("numpy")
    hub, got = echo
    (back,) = hub["keep"](numpy.arange(BIG // 8))
    assert file_of(back) == file_of(got[0])
    assert back.sum() == got[0].sum()  # to read it is no change
    (again,) = hub["keep"](back)
    assert file_of(again) == file_of(back)
    again[-1] = 7  # one page of many
    (changed,) = hub["keep"](again)
    assert file_of(changed) != file_of(again)
    assert (changed == again).all()
    assert changed[-1] == 7 != back[-1]
    (turned,) = hub["keep"](back.reshape(2, -1).T)
    assert (turned == back.reshape(2, -1).T).all()
    (part,) = hub["keep"](back[1:])
    assert (part == back[1:]).all()


@by_reference
def test_what_is_frozen_is_changed_by_nobody(echo):
    numpy = pytest.importorskip("numpy")
    hub, _ = echo
    frozen = andiron.freeze(numpy.ones(BIG // 8))
    with pytest.raises(ValueError, match="read-only"):
        frozen[0] = 2
    with pytest.raises(ValueError, match="WRITEABLE"):
        frozen.flags.writeable = True
    view = andiron.freeze(bytearray(BIG))
    with pytest.raises(TypeError):
        view[0] = 1
    for whole in (view, frozen):
        mapped = andiron._memory._root(whole)
        for change in (
            lambda m=mapped: m.__setitem__(0, 1),
            lambda m=mapped: m.resize(1),
            lambda m=mapped: m.close(),
        ):
            with pytest.raises((TypeError, BufferError, SystemError)):
                change()
    assert hub["keep"](view)[0] == view
    assert frozen.sum() == BIG // 8


@by_reference
def test_an_array_is_built_in_memory_that_is_frozen_where_it_lies(echo):
    numpy = pytest.importorskip("numpy")
    hub, got = echo
    array = numpy.frombuffer(andiron.buffer(BIG), dtype="<f8").reshape(16, -1)
    assert not array.any()
    array[:] = 1.5
    place = file_of(array)
    frozen = andiron.freeze(array)
    if andiron.engine == "pure":  # nothing in Python takes a map away from where it is: the bytes are copied
        place = file_of(frozen)
    assert file_of(frozen) == place
    array[0] = 7  # it is theirs who built it, and a copy now
    assert (frozen == 1.5).all()
    hub["keep"](frozen)
    assert file_of(got[0]) == place
    assert (got[0] == 1.5).all()
    again = andiron.freeze(array)
    assert file_of(again) != place
    assert again[0, 0] == 7


def test_memory_that_is_built_in_can_be_written_and_frozen_by_many_threads_at_once():
    numpy = pytest.importorskip("numpy")
    array = numpy.frombuffer(andiron.buffer(BIG), dtype="u1")
    over = threading.Event()

    def write():
        while not over.is_set():
            numpy.add(array, 1, out=array)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    frozen = [andiron.freeze(array) for _ in range(5)]
    sums = [int(one.sum()) for one in frozen]
    over.set()
    for thread in threads:
        thread.join()
    assert [int(one.sum()) for one in frozen] == sums


def test_a_part_of_a_frozen_array_is_sent_as_that_part(echo):
    numpy = pytest.importorskip("numpy")
    hub, got = echo
    frozen = andiron.freeze(numpy.arange(BIG // 4, dtype="<i4").reshape(-1, 4))
    for part in (
        frozen[5:],
        frozen[::2],
        frozen[::-1],
        frozen.T,
        frozen[:, 1:],
        frozen.view("<i8"),
        frozen[7],
    ):
        hub["keep"](part)
        assert got[-1].dtype == part.dtype
        assert (got[-1] == part).all()
    view = memoryview(frozen)
    assert bytes(hub["keep"](view.cast("B")[4:])[0]) == frozen.tobytes()[4:]


@pytest.mark.parametrize("value", [b"", bytearray(b"abc"), memoryview(b"abcd").cast("H")], ids=named)
def test_little_is_frozen_as_well(echo, value):
    frozen = andiron.freeze(value)
    assert frozen == memoryview(value)
    assert frozen.readonly
    assert echo[0]["keep"](frozen)[0] == frozen


def test_what_cannot_be_frozen_is_refused():
    numpy = pytest.importorskip("numpy")
    for value in ([1], "text", 5, numpy.array([object()]), numpy.float64(1)):
        with pytest.raises(TypeError):
            andiron.freeze(value)
    with pytest.raises(ValueError, match="not -1"):
        andiron.buffer(-1)
    assert andiron.buffer(0) == b""


@by_reference
def test_a_stored_array_is_read_where_it_lies_and_changed_by_its_reader_alone(echo, processes):
    numpy = pytest.importorskip("numpy")
    hub, _ = echo
    hub.store["array"] = numpy.ones(8 << 20)  # 64 MiB
    first, second = hub.store["array"], hub.store["array"]
    assert file_of(first) == file_of(second) != 0
    first[:] = 2
    assert second[0] == second[-1] == 1
    other = processes.python(f"""
        import andiron
        array = andiron.connect({hub.peer}).store["array"]
        array[5] = 3
        print(array[5], array[6], array.shape)
        input()
    """)
    assert other.stdout.readline() == "3.0 1.0 (8388608,)\n"
    assert second[5] == hub.store["array"][5] == 1
    del hub.store["array"]
    assert second[-1] == 1
    assert first[-1] == 2


MIB = 1 << 20
BIG_PARTS = [
    [bytes(MIB), 1, bytearray(b"x" * (MIB + 5)), {"a": (b"y" * MIB, None)}],
    ((((b"z" * (2 * MIB),),),), b"short", memoryview(bytes(range(256)) * 5000)),
    {frozenset([b"k" * MIB]): [b"v" * (MIB - 1), b"w" * MIB]},
    andiron.Record("Page", {"first": b"1" * MIB, "second": [b"2" * MIB]}),
]


@pytest.mark.parametrize("value", BIG_PARTS, ids=["list", "tuple", "dict", "record"])
def test_big_parts_of_a_stored_value_stand_where_they_belong(echo, value):
    hub, _ = echo
    hub.store["big"] = value
    assert hub.store["big"] == value
    assert hub["keep"](value)[0] == value
    state, *_, codec, data = hub["store"].get("big")
    assert (state, codec) == (1, 1)
    assert bytes(data) == andiron.encode(value)


def dtypes():
    return [
        *(
            "<i2",
            ">i4",
            "|u1",
            "<f2",
            ">f8",
            "<c8",
            ">c16",
            "|b1",
            "<U3",
            ">U2",
            "|S4",
            "<M8[ns]",
            ">M8[D]",
            "<m8[s]",
        ),
        *("<i8", "<f4", "<u8", "<f16"),
    ]


@pytest.mark.parametrize("kind", dtypes())
@pytest.mark.parametrize("count", [0, 1, 6, 400_000], ids=["empty", "one", "few", "many"])
def test_arrays_of_every_kind_keep_it(echo, kind, count):
    numpy = pytest.importorskip("numpy")
    hub, _ = echo
    plain = numpy.arange(count) % 2
    array = plain.astype("S4" if "S" in kind else "U2" if "U" in kind else "i8").astype(kind)
    shapes = [array, array[::-1], array[::2]]
    shapes += [numpy.asfortranarray(array.reshape(2, -1)), array.reshape(-1, 2)[:, 0]] if count > 1 else []
    hub.store["all"] = shapes
    for found in (hub.store["all"], hub["keep"](*shapes), andiron.decode(andiron.encode(shapes))):
        assert len(found) == len(shapes)
        for one, other in zip(shapes, found):
            assert (one.dtype, one.dtype.str, one.shape) == (other.dtype, other.dtype.str, other.shape)
            assert (one == other).all()
            assert other.flags.writeable


def test_a_bad_array_is_refused_where_it_is_read():
    numpy = pytest.importorskip("numpy")
    assert numpy.__name__
    bad = [
        ("<f8", [2], b"1234567"),
        ("<f8", [2, 2], bytes(16)),
        ("|O", [1], bytes(8)),
        ("<i4,<i4", [1], bytes(8)),
        ("<?!", [1], b"a"),
        ("<f8", [0, 2**62, 2**62], b""),
        ("i", [3], bytes(8)),
        ("B", [2**63], b""),
        ("", [1], b"a"),
        ("=B", [2], b"a"),
        ("<,", [1], b"a"),
        ("=,O", [1], b"a"),
        ("<,8[D]", [1], b"a"),
        ("|V16", [1], bytes(16)),
        ("<U0", [1], b""),
        ("<U9999999999", [1], b"a"),
        ("<f8", [2**64], b""),
        ("P", [1], bytes(8)),
    ]
    for form, shape, data in bad:
        # As `Array`, which says of itself what it is.
        sent = andiron.encode(andiron.Array(form, shape, memoryview(data)))
        with pytest.raises(andiron.EncodingError, match="cannot be read"):
            andiron.decode(sent)


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "<U1", "data": b"\xff\xff\xff\xff"},
        {"dtype": "<,", "data": b"a"},
        {"dtype": "|V1", "data": b"a"},
        {"dtype": "B", "data": b"a"},
        {"dtype": ["<f8"], "data": bytes(8)},
        {"dtype": "<f8", "data": 8},
        {"dtype": "<f8"},
    ],
    ids=named,
)
def test_a_bad_number_is_refused_where_it_is_read(fields):
    pytest.importorskip("numpy")
    sent = andiron.encode(andiron.Record("numpy.scalar", fields))
    with pytest.raises(andiron.EncodingError, match="cannot be read: a number of numpy"):
        andiron.decode(sent)


def test_an_empty_text_of_numpy_is_read_again():
    numpy = pytest.importorskip("numpy")
    for value in (numpy.str_(""), numpy.bytes_(b""), numpy.str_("a"), numpy.datetime64("NaT")):
        found = andiron.decode(andiron.encode(value))
        assert (type(found), str(found)) == (type(value), str(value))
