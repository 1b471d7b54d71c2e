"""What the expressions in ``spec/vectors/values.json`` are made of."""

import collections
import contextlib
import ctypes
import dataclasses
import datetime
import decimal
import enum
import importlib
import threading
import uuid

import andiron


@dataclasses.dataclass
class Track:
    title: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Frozen:
    __slots__ = ("number",)
    number: int


@dataclasses.dataclass
class Holder:
    held: object


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Odd(enum.Enum):
    ONE = object()


Point = collections.namedtuple("Point", "x y")


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("number",)


class Whole(int):
    pass


class Text(str):
    __slots__ = ()


def cycle():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(10_000):
        value = [value]
    return value


NAMESPACE = {
    name: value
    for name, value in globals().items()
    if not name.startswith("_") and name not in ("contextlib", "dataclasses", "enum", "importlib")
}
for module in ("numpy", "zoneinfo"):  # the second one is there from Python 3.9 on
    with contextlib.suppress(ImportError):
        NAMESPACE[module] = importlib.import_module(module)

__all__ = ["NAMESPACE", "andiron", "ctypes", "datetime", "decimal", "threading", "uuid"]
