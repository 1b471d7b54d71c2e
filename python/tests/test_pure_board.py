"""The version board as the engine in Python alone reads it."""

import json
import os
import pathlib
import struct

import pytest

from andiron._pure.failure import Failure

fcntl = pytest.importorskip("fcntl", reason="boards are for Linux")
if not hasattr(os, "memfd_create"):
    pytest.skip("boards are for Linux", allow_module_level=True)

from andiron._pure import board as boards  # noqa: E402

VECTORS = json.loads(
    (pathlib.Path(__file__).parents[2] / "spec/vectors/board.json").read_text(encoding="utf-8")
)
LENGTH = 1052672
STAMPS, OWNER, CLOSED = 4096, 64, 68
#: F_ADD_SEALS, and F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_FUTURE_WRITE.
ADD_SEALS, SEALS = 1033, 0x2 | 0x4 | 0x10


def made(beginning, stamps=(), length=LENGTH, seals=SEALS, extent=None):
    """The descriptor of such memory."""
    descriptor = os.memfd_create("board", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    extent = length if extent is None else extent
    os.pwrite(descriptor, bytes(extent), 0)
    os.pwrite(descriptor, beginning[:extent], 0)
    for index, stamp in stamps:
        os.pwrite(descriptor, struct.pack("<Q", stamp), STAMPS + 8 * index)
    os.ftruncate(descriptor, length)
    fcntl.fcntl(descriptor, ADD_SEALS, seals)
    return descriptor


def opened(incarnation, *args, **options):
    descriptor = made(*args, **options)
    try:
        return boards.opened(descriptor, incarnation)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_boards_are_read_as_the_protocol_says(case):
    args = bytes.fromhex(case["hex"]), case.get("stamps", ()), case.get("length", LENGTH)
    incarnation = bytes.fromhex(case["incarnation"])
    if "bad" in case:
        why = {"short": "announced", "foreign": "begin as one", "layout": "layout", "store": "another store"}
        with pytest.raises(Failure, match=why[case["bad"]]):
            opened(incarnation, *args)
        return
    board = opened(incarnation, *args)
    assert board.is_live() == case["live"]
    for index, stamp, current in case["current"]:
        assert board.is_current(index, stamp) == current
        # As the store reads it.
        words = board.words
        at_once = words[boards.FIRST + index] == stamp and words[boards.LIFE] == board.life
        assert at_once == (current and case["live"])


GOOD = next(case for case in VECTORS if case["name"] == "stamps at both ends")


def test_memory_that_its_owner_could_change_otherwise_is_no_board():
    head, incarnation = bytes.fromhex(GOOD["hex"]), bytes.fromhex(GOOD["incarnation"])
    for missing in (0x2, 0x4, 0x10):
        with pytest.raises(Failure, match="not sealed"):
            opened(incarnation, head, seals=SEALS & ~missing)
    with pytest.raises(Failure, match="has holes"):
        opened(incarnation, head, extent=8192)
    reading, writing = os.pipe()
    with pytest.raises(Failure, match="no plain shared memory"):
        boards.opened(reading, incarnation)
    os.close(reading)
    os.close(writing)


def test_a_board_that_changes_is_seen_at_once_and_never_revives_what_was_read():
    descriptor = os.memfd_create("board", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.pwrite(descriptor, bytes(LENGTH), 0)
    os.pwrite(descriptor, bytes.fromhex(GOOD["hex"]), 0)
    import mmap

    owned = mmap.mmap(descriptor, LENGTH)
    fcntl.fcntl(descriptor, ADD_SEALS, SEALS)
    board = boards.opened(descriptor, bytes.fromhex(GOOD["incarnation"]))
    os.close(descriptor)
    assert board.is_current(5, 0)
    owned[STAMPS + 40 : STAMPS + 48] = struct.pack("<Q", 2**64 - 2)
    assert not board.is_current(5, 0)
    assert board.is_current(5, 2**64 - 2)
    owned[OWNER : OWNER + 4] = struct.pack("<I", 0x80000009)
    assert board.is_current(5, 2**64 - 2), "somebody waits for the owner"
    assert board.words[boards.LIFE] != board.life
    owned[CLOSED : CLOSED + 4] = struct.pack("<I", 1)
    assert not board.is_current(5, 2**64 - 2)
    with pytest.raises(TypeError):
        board.words[boards.FIRST] = 1
