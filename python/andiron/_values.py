"""Values that the engine does not know by itself: what they are on the wire, and back."""

from __future__ import annotations

import struct
import sys
from _collections_abc import Callable

from andiron import _errors, _memory, _shapes
from andiron._memory import Array

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T", bound=type)

    Reduced = tuple[int, bytes | list[Any]]

#: The codes of the extensions, as in section 9 of the protocol.
DECIMAL, DATETIME, DATE, TIME, TIMEDELTA, UUID, EXCEPTION, RECORD, BUFFER, ENUM = (
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    14,
    15,
    16,
)
TIMESTAMP = -1

#: The name of the records that numbers of numpy are.
SCALAR = "numpy.scalar"

_EPOCH_DAYS = 719163  # of 1970-01-01, counted from 0001-01-01, which is 1
_DAY = 86_400_000_000


class Record:
    """An instance of a class that is not registered here. It can be stored and sent on, and arrives as what it was.

    >>> point = Record("Point", {"x": 1, "y": 2})
    >>> point.x, vars(point), point.__name__
    (1, {'x': 1, 'y': 2}, 'Point')
    """

    __slots__ = ("_fields", "_name")

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        if type(name) is not str:
            raise TypeError(f"the name of a class is a str, not {name!r}")
        self._name = name
        self._fields = dict(fields)
        for field in self._fields:
            if type(field) is not str:
                raise TypeError(f"the name of a field is a str, not {field!r}")

    @property
    def __name__(self) -> str:
        """The name of the class."""
        return self._name

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override] # as `vars` gives it
        """The fields."""
        return dict(self._fields)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(f"this {self._name} has no field {name!r}") from None

    def __reduce__(self) -> Any:
        return Record, (self._name, self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (self._name, self._fields) == (other._name, other._fields)

    def __hash__(self) -> int:
        return hash((self._name, frozenset(self._fields.items())))

    def __repr__(self) -> str:
        return f"Record({self._name!r}, {self._fields!r})"


class Member:
    """A member of an enumeration that is not registered here; otherwise as `Record`."""

    __slots__ = ("enum", "name", "value")

    def __init__(self, enum: str, name: str, value: Any) -> None:
        if type(enum) is not str or type(name) is not str:
            raise TypeError(
                f"the names of an enumeration and its member are a str, not {enum!r} and {name!r}"
            )
        self.enum = enum
        self.name = name
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Member):
            return NotImplemented
        return (self.enum, self.name, self.value) == (other.enum, other.name, other.value)

    def __hash__(self) -> int:
        return hash((self.enum, self.name))

    def __repr__(self) -> str:
        return f"Member({self.enum!r}, {self.name!r}, {self.value!r})"


class Extension:
    """An extension of the codec that is not known here: an application's own (32 to 127), or one of a later version. It is kept as it came."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        if type(code) is not int or not (-128 <= code < -1 or 17 <= code <= 127 or code == 0):
            raise ValueError(f"the code of an extension of one's own is 32 to 127, not {code!r}")
        if type(data) is not bytes:
            raise TypeError(f"the data of an extension is bytes, not a {type(data).__name__}")
        self.code = code
        self.data = data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Extension):
            return NotImplemented
        return (self.code, self.data) == (other.code, other.data)

    def __hash__(self) -> int:
        return hash((self.code, self.data))

    def __repr__(self) -> str:
        return f"Extension({self.code}, {self.data!r})"


_classes: dict[str, type] = {}
_names: dict[type, str] = {}

#: What else makes values of instances: by the class, also of their bases, what gives the record that stands for one, or `None` where it has none for it.
converters: dict[type, Callable[[Any], Record | None]] = {}
#: What makes the values of records again, by their names.
makers: dict[str, Callable[[dict[str, Any]], Any]] = {}


def register(cls: T, name: str | None = None) -> T:
    """Has instances of this class arrive here as what they are: a dataclass, an enumeration, a named tuple, an exception, or a class whose instances have a ``__dict__``.

    They travel under the name of the class, or ``name``. May be used as a decorator.

    >>> import dataclasses
    >>> @register
    ... @dataclasses.dataclass
    ... class Disc:
    ...     title: str
    >>> from andiron import decode, encode
    >>> decode(encode(Disc("Embers")))
    Disc(title='Embers')
    """
    if not isinstance(cls, type):
        raise TypeError(f"a class is registered, and {cls!r} is none")
    name = name or cls.__qualname__.rpartition(".")[2]
    if not isinstance(name, str):
        raise TypeError(f"the name of a class is a str, not {name!r}")
    other = _classes.get(name)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"{other!r} is registered as {name!r}; give {cls!r} another name")
    if issubclass(cls, BaseException):
        if not issubclass(cls, Exception):
            raise TypeError(f"{cls!r} is no Exception, and others never travel")
        _errors.registered[name] = cls
    elif _shapes.is_plain(cls):
        raise TypeError(f"{cls!r} is a plain value of a kind of its own, and these never travel as such")
    else:
        _shapes.check(cls)
    if name == SCALAR:
        raise ValueError(f"{name!r} is the name of numbers of numpy; give {cls!r} another one")
    _classes[name] = cls
    _names[cls] = name
    return cls


def _decimal(value: Any) -> Reduced:
    return DECIMAL, str(value).encode()


def _uuid(value: Any) -> Reduced:
    return UUID, value.bytes


def _date(value: dt.date) -> Reduced:
    return DATE, struct.pack(">i", value.toordinal() - _EPOCH_DAYS)


def _timedelta(value: dt.timedelta) -> Reduced:
    return TIMEDELTA, struct.pack(">iII", value.days, value.seconds, value.microseconds)


def _micros(value: dt.datetime | dt.time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


def _zone(value: dt.datetime | dt.time) -> bytes:
    import datetime

    zone = value.tzinfo
    if zone is None:
        return bytes([value.fold])
    offset = value.utcoffset()
    if offset is None:
        raise TypeError(f"the offset of {value!r} from UTC is not known, so it cannot be sent")
    name = getattr(zone, "key", None) or value.tzname() or ""
    if isinstance(zone, datetime.timezone) and name == datetime.timezone(offset).tzname(None) != "UTC":
        name = ""  # the name that any zone with this offset has
    micros = offset // datetime.timedelta(microseconds=1)
    return struct.pack(">Bq", value.fold | 2, micros) + name.encode()


def _datetime(value: dt.datetime) -> Reduced:
    days = value.toordinal() - _EPOCH_DAYS
    return DATETIME, struct.pack(">q", days * _DAY + _micros(value)) + _zone(value)


def _time(value: dt.time) -> Reduced:
    return TIME, struct.pack(">Q", _micros(value)) + _zone(value)


def _bytearray(value: bytearray) -> Reduced:
    return BUFFER, _memory.parts_of_bytearray(value)


def _memoryview(value: memoryview) -> Reduced:
    return BUFFER, _memory.parts_of_view(value)


def _array(value: Any) -> Reduced:
    return BUFFER, _memory.parts_of_array(value)


def _scalar(value: Any) -> Reduced:
    """A number of numpy, which has a type that a plain one has not."""
    if not value.dtype.itemsize:  # an empty text, of which numpy makes no array
        import numpy

        return _scalar_of(numpy.zeros((), value.dtype.kind + "1"))
    return _scalar_of(value.reshape(()))


def _scalar_of(array: Any) -> Reduced:
    _, [form, _, data] = _array(array)
    return RECORD, [SCALAR, {"dtype": form, "data": bytes(data)}]


def _to_scalar(fields: dict[str, Any]) -> Any:
    try:
        form, data = fields["dtype"], fields["data"]
        if isinstance(form, str) and form[:1] in ("<", ">", "|") and isinstance(data, bytes):
            return _memory.made_of(form, [], data)[()]
    except (KeyError, TypeError, ValueError, SystemError):  # texts may have numbers that are no characters
        pass
    raise _malformed("a number of numpy is made of other parts")


def _plain_array(value: Array) -> Reduced:
    return BUFFER, [value.format, list(value.shape), value.data]


def _record(value: Record) -> Reduced:
    return RECORD, [value._name, value._fields]


def _member(value: Member) -> Reduced:
    value = Member(value.enum, value.name, value.value)  # they may have been changed
    return ENUM, [value.enum, value.name, value.value]


def _extension(value: Extension) -> Reduced:
    value = Extension(value.code, value.data)
    return value.code, value.data


#: By the name of the class, since most modules are not there before they are needed.
_REDUCERS: dict[tuple[str, str], Callable[[Any], Reduced]] = {
    ("decimal", "Decimal"): _decimal,
    ("uuid", "UUID"): _uuid,
    ("datetime", "date"): _date,
    ("datetime", "datetime"): _datetime,
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): _timedelta,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "memoryview"): _memoryview,
    ("numpy", "ndarray"): _array,
    ("andiron._memory", "Array"): _plain_array,
    (__name__, "Record"): _record,
    (__name__, "Member"): _member,
    (__name__, "Extension"): _extension,
}


def reduce(value: Any) -> Reduced | None:
    """What stands for a value on the wire; `None` where it is of no class that is known by itself."""
    cls = type(value)
    reducer = _REDUCERS.get((cls.__module__, cls.__qualname__))
    if reducer is not None:
        return reducer(value)
    numpy = sys.modules.get("numpy")
    return _scalar(value) if numpy is not None and isinstance(value, numpy.generic) else None


def convert(value: Any) -> Reduced | None:
    """The same of an instance whose class, or one that it is made of, has a converter."""
    for cls in type(value).__mro__:
        converter = converters.get(cls)
        record = None if converter is None else converter(value)
        if record is not None:
            return _record(record)
    return None


def reduce_instance(value: Any) -> Reduced | None:
    """The same of an instance of another class; `None` where it is no value that travels."""
    if isinstance(value, BaseException):
        return EXCEPTION, list(_errors.parts_of(value))
    cls = type(value)
    name = _names.get(cls, cls.__qualname__.rpartition(".")[2])
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return ENUM, [name, _flags(value) if isinstance(value, enum.Flag) else value.name, value.value]
    if _shapes.is_plain(cls):
        return None
    if cls not in _names and _shapes.fields_of(cls) is None:
        return None
    return RECORD, [name, _shapes.parts_of(value, cls)]


def _flags(value: Any) -> str:
    """The name of a combination, which not every version of Python has."""
    bits = [
        member
        for member in type(value).__members__.values()
        if member.value and not member.value & (member.value - 1)
    ]
    return "|".join(member.name for member in bits if member.value & value.value)


def restore(code: int, payload: Any) -> Any:
    """The value of an extension: of bytes, or of the list that it holds."""
    restorer = _RESTORERS.get(code)
    try:
        return Extension(code, payload) if restorer is None else restorer(payload)
    except (_errors.EncodingError, MemoryError):
        raise
    except Exception as error:  # of a class that has ideas of its own
        raise _malformed(f"{type(error).__name__}: {error}") from error


def _malformed(why: str) -> _errors.EncodingError:
    return _errors.EncodingError(f"the value cannot be read: {why}")


def _fixed(form: str, payload: bytes, what: str) -> tuple[Any, ...]:
    if len(payload) != struct.calcsize(form):
        raise _malformed(f"a {what} has {struct.calcsize(form)} bytes")
    return struct.unpack(form, payload)


def _to_decimal(payload: bytes) -> Any:
    import decimal
    import re

    form = rb"[+-]?([0-9]+([.][0-9]+)?(E[+-]?[0-9]+)?|Infinity|s?NaN[0-9]*)"
    if not re.fullmatch(form, payload):
        raise _malformed("a decimal is like 1.50, -2E+7, Infinity, NaN or sNaN")
    try:
        # Exact, whatever the context; what is beyond the limits of the module is refused by it.
        return decimal.Decimal(payload.decode())
    except decimal.DecimalException:
        raise _malformed("a decimal number is beyond what this Python can hold") from None


def _to_uuid(payload: bytes) -> Any:
    import uuid

    if len(payload) != 16:
        raise _malformed("a UUID has 16 bytes")
    return uuid.UUID(bytes=bytes(payload))


def _to_date(payload: bytes) -> dt.date:
    import datetime

    (days,) = _fixed(">i", payload, "date")
    try:
        return datetime.date.fromordinal(days + _EPOCH_DAYS)
    except (ValueError, OverflowError):
        raise _malformed("the year of a date is 1 to 9999") from None


def _to_timedelta(payload: bytes) -> dt.timedelta:
    import datetime

    days, seconds, micros = _fixed(">iII", payload, "timedelta")
    if abs(days) > 999_999_999 or seconds >= 86400 or micros >= 1_000_000:
        raise _malformed("a part of a timedelta is out of its range")
    return datetime.timedelta(days, seconds, micros)


def _to_zone(payload: bytes, when: dt.datetime | None) -> tuple[int, dt.tzinfo | None]:
    """Fold and zone."""
    import datetime

    flags = payload[0] if payload else 4
    if flags > 3 or (flags < 2 and len(payload) > 1) or (flags >= 2 and len(payload) < 9):
        raise _malformed("the zone of a time is malformed")
    fold = flags & 1
    if flags < 2:
        return fold, None
    (micros,) = struct.unpack_from(">q", payload, 1)
    if abs(micros) >= _DAY:
        raise _malformed("the offset of a time from UTC is below 24 hours")
    offset = datetime.timedelta(microseconds=micros)
    try:
        name = payload[9:].decode()
    except UnicodeDecodeError:
        raise _malformed("the name of a zone is no UTF-8") from None
    if not name:
        return fold, datetime.timezone(offset)
    if name == "UTC" and not micros:
        return fold, datetime.timezone.utc
    zone = None if when is None or "/" not in name else _zone_of_name(name)
    if when is not None and zone is not None and when.replace(fold=fold, tzinfo=zone).utcoffset() == offset:
        return fold, zone
    return fold, datetime.timezone(offset, name)


def _zone_of_name(name: str) -> dt.tzinfo | None:
    """The zone, where it is known here: else a time has an offset with its name."""
    try:
        import zoneinfo  # novm: from Python 3.9 on
    except ImportError:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _to_datetime(payload: bytes) -> dt.datetime:
    import datetime

    if len(payload) < 9:
        raise _malformed("a datetime has 9 bytes at least")
    (micros,) = struct.unpack_from(">q", payload)
    try:
        when = datetime.datetime.fromordinal(micros // _DAY + _EPOCH_DAYS)
    except (ValueError, OverflowError):
        raise _malformed("the year of a datetime is 1 to 9999") from None
    when += datetime.timedelta(microseconds=micros % _DAY)
    fold, zone = _to_zone(payload[8:], when)
    return when.replace(fold=fold, tzinfo=zone)


def _to_timestamp(payload: bytes) -> dt.datetime:
    import datetime

    if len(payload) == 4:
        (seconds,), nanos = struct.unpack(">I", payload), 0
    elif len(payload) == 8:
        (both,) = struct.unpack(">Q", payload)
        seconds, nanos = both & 0x3_FFFF_FFFF, both >> 34
    else:
        nanos, seconds = _fixed(">Iq", payload, "timestamp")
    if nanos >= 1_000_000_000:
        raise _malformed("a timestamp has less than a second of nanoseconds")
    try:
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return epoch + datetime.timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise _malformed("the year of a timestamp is 1 to 9999") from None


def _to_time(payload: bytes) -> dt.time:
    import datetime

    if len(payload) < 9:
        raise _malformed("a time has 9 bytes at least")
    (micros,) = struct.unpack_from(">Q", payload)
    if micros >= _DAY:
        raise _malformed("a time of day is below 24 hours")
    fold, zone = _to_zone(payload[8:], None)
    seconds, micros = divmod(micros, 1_000_000)
    return datetime.time(seconds // 3600, seconds // 60 % 60, seconds % 60, micros, tzinfo=zone, fold=fold)


def _parts(payload: list[Any], what: str, *types: type | tuple[type, ...]) -> Iterator[Any]:
    if len(payload) != len(types) or not all(map(isinstance, payload, types)):
        raise _malformed(f"a {what} is made of other parts")
    return iter(payload)


def _has_numpy() -> bool:
    try:
        import numpy  # noqa: F401
    except ImportError:
        return False
    return True


def _named(fields: dict[Any, Any], what: str) -> dict[str, Any]:
    if not all(type(name) is str for name in fields):
        raise _malformed(f"a field of a {what} has a name that is no text")
    return fields


def _to_exception(payload: list[Any]) -> BaseException:
    type_name, args, attributes = _parts(payload, "exception", str, list, dict)
    _named(attributes, "exception")
    return _errors.restored(type_name, args, attributes)


def _to_instance(payload: list[Any]) -> Any:
    name, fields = _parts(payload, "record", str, dict)
    _named(fields, "record")
    maker = makers.get(name)
    if maker is not None:
        return maker(fields)
    cls = _classes.get(name)
    if cls is None:
        return _to_scalar(fields) if name == SCALAR and _has_numpy() else Record(name, fields)
    if issubclass(cls, BaseException) or hasattr(cls, "__members__"):
        kind = "an exception" if issubclass(cls, BaseException) else "an enumeration"
        raise _malformed(f"an instance of {name} came, and {name} is {kind} here")
    known = _shapes.fields_of(cls)
    if known is not None and set(known) != set(fields):
        raise _malformed(
            f"no {name} can be made of what came: it has the fields {', '.join(known)} here, and {', '.join(fields)} at its sender"
        )
    if known is not None and issubclass(cls, tuple):
        return tuple.__new__(cls, [fields[field] for field in known])
    try:
        # As it was, and not made anew: nothing is run.
        made: Any = object.__new__(cls)
        if known is None:
            vars(made).update(fields)
        for field in known or ():
            object.__setattr__(made, field, fields[field])
    except (TypeError, AttributeError) as error:
        raise _malformed(f"no {name} can be made of what came: {error}") from error
    return made


def _to_member(payload: list[Any]) -> Any:
    name, member, value = _parts(payload, "member of an enumeration", str, str, object)
    cls: Any = _classes.get(name)
    if cls is None:
        return Member(name, member, value)
    import enum

    if not issubclass(cls, enum.Enum):
        raise _malformed(f"a member of {name} came, and {name} is no enumeration here")
    if issubclass(cls, enum.Flag):
        try:
            made = cls(value)
        except (ValueError, TypeError):
            raise _malformed(f"{name} has no member {member!r} here, with the value {value!r}") from None
        names = set(cls.__members__)
        if member and names.issuperset(member.split("|")) and _flags(made) != member:
            raise _malformed(f"{member} of {name} has another value here than {value!r}, as at its sender")
        return made
    try:
        made = cls[member]
    except KeyError:
        raise _malformed(f"the enumeration {name} has no member {member!r} here") from None
    if not _is_same(made.value, value):
        raise _malformed(f"{member} of {name} has the value {made.value!r} here, and {value!r} at its sender")
    return made


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values are the same where they travel, as which classes they ever are here."""
    if type(value) is type(other) and type(value) in (int, str):
        return bool(value == other)
    from andiron._engine import encode

    return encode(value) == encode(other) or bool(value == other)


def _to_buffer(payload: list[Any]) -> Any:
    form, shape, data = _parts(payload, "buffer", str, list, object)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise _malformed("the shape of a buffer is made of lengths")
    return _memory.made_of(form, shape, data)


_RESTORERS: dict[int, Callable[[Any], Any]] = {
    DECIMAL: _to_decimal,
    DATETIME: _to_datetime,
    DATE: _to_date,
    TIME: _to_time,
    TIMEDELTA: _to_timedelta,
    UUID: _to_uuid,
    EXCEPTION: _to_exception,
    RECORD: _to_instance,
    BUFFER: _to_buffer,
    ENUM: _to_member,
    TIMESTAMP: _to_timestamp,
}


def kind_of(cls: type) -> str | None:
    """The known class of which this one is a kind of its own."""
    known = (base for base in cls.__mro__ if (base.__module__, base.__qualname__) in _REDUCERS)
    return next((base.__qualname__ for base in known), None)


def foreign(codec: int, data: bytes) -> Any:
    """A stored value that is not in the native codec: JSON, or bytes as they are."""
    if codec == 2:
        import json

        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _errors.EncodingError(
                f"the value is to be JSON, and cannot be read as such: {error}"
            ) from None
    if codec == 3:
        return data
    raise _errors.EncodingError(f"the value is in codec {codec}, which this program does not know")
