"""Memory as it is mapped. Loaded only where some is."""

from __future__ import annotations

import mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from andiron._engine import Memory, Room


class Sealed(mmap.mmap):
    """Memory that nobody can change, mapped to be read."""

    #: What goes to others in its place.
    memory: Memory


class Own(mmap.mmap):
    """Memory that nobody else can change, mapped as the own copy of who got it: a page is copied when it is written."""

    #: What it is a copy of.
    memory: Memory


class Building(mmap.mmap):
    """Memory that is filled here, to be sealed then."""

    #: Missing when it was sealed, and what is mapped is a copy.
    room: Room


def own(memory: Memory) -> memoryview | None:
    """The bytes as an `Own` one. `None` where they cannot be mapped."""
    place = memory.place()
    if place is None:
        return None
    descriptor, offset = place
    try:
        mapped = Own(descriptor, offset + len(memory), mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError:  # there are too many maps or descriptors
        return None
    mapped.memory = memory
    return memoryview(mapped)[offset:]


def sealed(memory: Memory) -> Sealed:
    """The bytes to be read only."""
    place = memory.place()
    if place is None:
        raise OSError("there is no descriptor left for memory that is passed by reference")
    mapped = Sealed(place[0], len(memory), mmap.MAP_PRIVATE, mmap.PROT_READ)
    mapped.memory = memory
    return mapped


def building(room: Room, length: int) -> Building:
    """The bytes to be filled."""
    mapped = Building(room.fileno(), length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    mapped.room = room
    return mapped
