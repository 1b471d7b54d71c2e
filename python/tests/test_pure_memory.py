"""Memory that the pure engine passes on, and what it takes of others: whichever engine runs the tests."""

import errno
import os
import tempfile
import types

import pytest

import andiron
from andiron import _engine
from andiron._pure import codec, hooks, memory
from andiron._pure.failure import Failure

if not memory.SHARED:
    pytest.skip("there is no memory here that can be sealed", allow_module_level=True)

import fcntl
import mmap

hooks.install(_engine.hooks)

MIB = 1 << 20


def made(data=b"x" * 10_000, seals=15, size=None, flags=0):
    """A descriptor of memory with these seals."""
    number = os.memfd_create("test", os.MFD_ALLOW_SEALING | flags)
    os.write(number, data)
    if size is not None:
        os.ftruncate(number, size)
    seal(number, seals)
    return number


def seal(number, seals):
    """Seals what nobody has mapped, also where the kernel itself has one of its pages in its hands for a moment."""
    memory._seal(types.SimpleNamespace(fileno=lambda: number), seals)


def test_sealed_memory_is_taken_with_so_many_bytes_as_were_announced():
    whole = memory.Memory.received(made(b"abcde"))
    assert (bytes(whole), len(whole), whole.is_whole()) == (b"abcde", 5, True)
    some = memory.Memory.received(made(b"abcde"), 3)
    assert (bytes(some), bytes(some.buffer()), some.is_whole()) == (b"abc", b"abc", False)
    assert bytes(memory.Memory.received(made(b""))) == b""
    assert os.fstat(whole.fileno()).st_size == 5
    number = whole.fileno()
    del whole
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(number)


def ordinary():
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with its descriptor
    file.write(b"x" * 10_000)
    return os.dup(file.fileno())


def read_only():
    number = made()
    try:
        return os.open(f"/proc/self/fd/{number}", os.O_RDONLY)
    finally:
        os.close(number)


def path_only():
    number = made()
    try:
        return os.open(f"/proc/self/fd/{number}", os.O_PATH)
    finally:
        os.close(number)


def huge():
    number = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
    fcntl.fcntl(number, memory._F_ADD_SEALS, 15)
    return number


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (ordinary, "no plain shared memory"),
        (lambda: os.pipe()[0], "no plain shared memory"),
        (lambda: os.open("/", os.O_RDONLY), "no plain shared memory"),
        (huge, "no plain shared memory"),
        (read_only, "not open for reading and writing"),
        (path_only, "not open for reading and writing"),
        (lambda: made(seals=0), "not sealed .missing: F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE"),
        (lambda: made(seals=6), "not sealed .missing: F_SEAL_WRITE"),
        (lambda: made(b"abc"), "has 3 bytes, and 100 were announced"),
        (lambda: made(size=MIB), "has holes"),
        (lambda: made(b"", size=MIB), "has holes"),
    ],
    ids=["file", "pipe", "folder", "huge", "read", "path", "unsealed", "writable", "short", "hole", "empty"],
)
def test_a_descriptor_that_is_no_sealed_memory_is_refused_and_closed(make, why):
    try:
        number = make()
    except OSError as error:
        pytest.skip(f"cannot be made here: {error}")
    with pytest.raises(Failure, match=why) as raised:
        memory.Memory.received(number, 100)
    assert raised.value.kind == "encoding"
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(number)


def test_pages_behind_the_end_hide_no_hole():
    import ctypes

    number = made(b"", seals=0, size=MIB)
    keep_size = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(number, keep_size, ctypes.c_long(MIB), ctypes.c_long(MIB)):
        pytest.skip("no pages can be put there")
    seal(number, 15)
    assert os.fstat(number).st_blocks * 512 >= MIB
    with pytest.raises(Failure, match="has holes"):
        memory.Memory.received(number)


def test_a_page_that_the_kernel_has_in_its_hands_keeps_no_memory_from_being_frozen(monkeypatch):
    if not hasattr(os, "splice"):
        pytest.skip("this Python puts no page into a pipe")
    reader, writer = os.pipe()
    refused = []

    class Kernel:
        @staticmethod
        def fcntl(number, command, seals):
            if not refused:
                os.splice(number, writer, 4096, offset_src=0)
            try:
                return fcntl.fcntl(number, command, seals)
            except OSError as error:
                refused.append(error.errno)
                if len(refused) == 2:
                    os.read(reader, 4096)
                raise

    monkeypatch.setattr(memory, "fcntl", Kernel)
    try:
        frozen = memory.freeze(memoryview(b"a" * 10_000))
    finally:
        os.close(reader)
        os.close(writer)
    assert refused == [errno.EBUSY] * 2
    assert bytes(frozen) == b"a" * 10_000


def test_a_big_buffer_goes_beside_the_value_and_is_looked_at_where_it_is_named():
    encoded = codec.encode_result([memoryview(b"a" * MIB), bytearray(b"b" * MIB), b"c"])
    assert [bytes(part)[:1] for part in encoded.memories] == [b"a", b"b"]
    came = [memory.Descriptor(os.dup(part.fileno())) for part in encoded.memories]
    read = codec.decode_message(encoded.body, memories=came)
    assert read == [b"a" * MIB, b"b" * MIB, b"c"]
    read[0][0] = 7
    assert bytes(encoded.memories[0])[:1] == b"a"
    parts = [memory.Memory.of_bytes(part.buffer()) for part in encoded.memories]
    assert codec.decode_message(encoded.body, memories=parts) == [b"a" * MIB, b"b" * MIB, b"c"]
    with pytest.raises(andiron.EncodingError, match="did not come with it"):
        codec.decode_message(encoded.body, memories=came[:1])
    with pytest.raises(andiron.OverloadedError, match="could pass no descriptor"):
        codec.decode_message(encoded.body)
    unsealed = memory.Descriptor(made(seals=0))
    with pytest.raises(andiron.EncodingError, match="not sealed"):
        codec.decode_message(encoded.body, memories=[unsealed, unsealed])
    assert codec.decode_message(b"\x05", memories=[unsealed]) == 5


def test_big_parts_of_a_stored_value_stand_where_they_belong_and_are_mapped_there():
    value = {"a": [bytes(MIB), (memoryview(b"x" * MIB), {"b": bytearray(b"y" * 2 * MIB)})], "c": b"z"}
    stored = codec.encode_stored(value)
    assert type(stored) is memory.Memory
    assert bytes(stored) == codec.encode(value)
    read = codec.decode_memory(stored)
    assert read == value
    assert type(read["a"][1][0].obj).__name__ == "Own"


def test_a_copy_that_was_written_is_told_from_one_that_was_not():
    frozen = memory.freeze(memoryview(b"x" * 10 * mmap.PAGESIZE))
    mapped = mmap.mmap(frozen.fileno(), len(frozen), mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    address = address_of(mapped)
    assert frozen.is_unchanged(address)
    assert mapped[:] == bytes(frozen)
    assert frozen.is_unchanged(address)
    mapped[5 * mmap.PAGESIZE] = 1
    assert not frozen.is_unchanged(address)
    assert not frozen.part(0, 10).is_unchanged(address)
    assert not memory.Memory.of_bytes(b"abc").is_unchanged(address)


def address_of(mapped):
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def test_a_room_is_frozen_once_and_later_writes_are_seen_by_nobody_else():
    room = memory.Room(3 * MIB)
    mapped = mmap.mmap(room.fileno(), 3 * MIB)
    mapped[:3] = b"abc"
    frozen = room.freeze(memoryview(mapped))
    mapped[:3] = b"xyz"
    assert bytes(frozen)[:4] == b"abc\0"
    assert memory.Memory.received(os.dup(frozen.fileno())).is_whole()
    for again in (room.fileno, lambda: room.freeze(memoryview(mapped))):
        with pytest.raises(ValueError, match="frozen before"):
            again()
    with pytest.raises(OSError, match="memory"):
        memory.Room(1 << 60)


def test_memory_beyond_the_descriptors_that_may_be_open_lies_in_this_process(monkeypatch):
    monkeypatch.setattr(memory, "_most", len(memory._open))
    frozen = memory.freeze(memoryview(b"abc"))
    assert (frozen.place(), bytes(frozen)) == (None, b"abc")
    assert codec.encode_stored(bytes(MIB)) == codec.encode(bytes(MIB))


def test_what_is_sent_to_many_at_once_is_mapped_once():
    whole = memory.Memory.received(made(b"abcde"))
    before = len(os.listdir("/proc/self/fd"))
    views = [whole.buffer() for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert {bytes(view) for view in views} == {b"abcde"}
    del views
    assert len(os.listdir("/proc/self/fd")) <= before
    assert bytes(whole.buffer()) == b"abcde"
