"""Big values by reference: memory that is sealed, passed on as a descriptor, and mapped by whoever gets it (section 11 of the protocol).

Where the system has no such memory, and where no descriptor is left, the bytes lie in ordinary memory, and travel as such.
"""

from __future__ import annotations

import errno
import os
import sys
import weakref

from andiron._pure.failure import Failure

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview, "mmap.mmap"]

#: From so many bytes on a buffer goes by reference.
BY_REFERENCE_FROM = 1 << 20

#: Whether memory can be sealed here, and passed on.
SHARED = fcntl is not None and all(
    hasattr(os, name) for name in ("memfd_create", "posix_fallocate", "sendfile", "pread")
)

# As in Linux; the module `fcntl` has them from Python 3.9 on.
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034
SEALS = {"F_SEAL_SEAL": 1, "F_SEAL_SHRINK": 2, "F_SEAL_GROW": 4, "F_SEAL_WRITE": 8, "F_SEAL_FUTURE_WRITE": 16}
_SEAL, _SHRINK, _GROW, _WRITE = 1, 2, 4, 8
_MFD_NOEXEC_SEAL = 8
_O_PATH = getattr(os, "O_PATH", 0)
_O_ACCMODE = getattr(os, "O_ACCMODE", 3)  # which PyPy has not

#: In these units the system counts what a file takes.
_BLOCK = 512
#: Bytes that are moved at once.
_STEP = 1 << 30

#: How often a seal is asked for: some seconds in all.
_SEALING = 20

#: Of an entry of a page in ``/proc/self/pagemap`` the highest byte: in memory or swapped out, and one of a file.
_PRESENT, _OF_FILE = 0xC0, 0x20
_ENTRY = 8


def _most_kept() -> int:
    try:
        import resource
    except ImportError:
        return 1024
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] % (1 << 31), 1 << 20) // 4


#: Descriptors of memory that are open, of which there may be a part of all that this process may have open.
_open: set[int] = set()
_most: int | None = None


class Descriptor:
    """A descriptor that is closed when nobody has this any more; of one that came nobody has looked at what it is."""

    __slots__ = ("_close", "_number")

    def __init__(self, number: int) -> None:
        self._number = number
        self._close = os.close  # which is gone before this is when the interpreter ends
        _open.add(number)

    def fileno(self) -> int:
        if self._number < 0:
            raise OSError(errno.EBADF, "this descriptor was refused and closed")
        return self._number

    def close(self) -> None:
        """Closes it now, though somebody may have this yet, such as an exception."""
        number, self._number = self._number, -1
        if number >= 0:
            _open.discard(number)
            self._close(number)

    def __del__(self) -> None:
        self.close()


def _no_map() -> None:
    """Of what is not mapped."""


class Memory:
    """Bytes that never change: in memory that can be passed on, or in ordinary memory. The package maps them, by the module `mmap`."""

    __slots__ = ("_data", "_descriptor", "_length", "_map", "_offset", "_size")

    def __init__(self, descriptor: Descriptor | None, length: int, data: Buffer = b"") -> None:
        self._descriptor = descriptor
        #: The map of it that is sent from, as long as somebody has that: each takes a descriptor.
        self._map: Callable[[], mmap.mmap | None] = _no_map
        self._offset = 0
        self._length = self._size = length
        self._data = data

    @classmethod
    def of_bytes(cls, part: Buffer) -> Memory:
        """Bytes in ordinary memory, which nobody changes from now on."""
        return cls(None, len(part), part)

    @classmethod
    def received(cls, descriptor: Descriptor | int, length: int | None = None) -> Memory:
        """Takes a descriptor that another process sent, for a value of so many bytes, or of as many as there are.

        Nothing that its sender did or does can then harm who reads it.

        :raises Failure: where that cannot be said.
        """
        if isinstance(descriptor, int):
            descriptor = Descriptor(descriptor)
        try:
            size = checked(descriptor.fileno(), length or 0, _WRITE)
        except BaseException:
            descriptor.close()
            raise
        return cls._kept(descriptor, size if length is None else length, size)

    @classmethod
    def _kept(cls, descriptor: Descriptor, length: int, size: int) -> Memory:
        global _most
        if _most is None:
            _most = _most_kept()
        memory = cls(descriptor, length)
        memory._size = size
        # Where too many descriptors are open this one is not kept, and the bytes are copied.
        return memory if len(_open) <= _most else cls.of_bytes(bytes(memory))

    def part(self, offset: int, length: int) -> Memory:
        """Some of its bytes."""
        part = Memory(self._descriptor, length, self._data)
        part._offset = self._offset + offset
        part._size = self._size
        return part

    def is_whole(self) -> bool:
        """Whether it is all of the memory that it lies in."""
        return self._length == self._size

    def fileno(self) -> int:
        """Its descriptor, to be passed on.

        :raises OSError: where it lies in ordinary memory.
        """
        if self._descriptor is None:
            raise OSError(errno.EBADF, "there is no descriptor for memory of this process alone")
        return self._descriptor.fileno()

    def place(self) -> tuple[int, int] | None:
        """The descriptor of memory that nobody can change, open as long as this is there, and where in it the bytes begin; `None` where there is none."""
        return None if self._descriptor is None else (self._descriptor.fileno(), self._offset)

    def map(self) -> mmap.mmap | None:
        """The memory that it lies in from the beginning on, to be read; `None` where it cannot be mapped."""
        if self._descriptor is None or not self._length:
            return None
        import mmap

        try:
            return mmap.mmap(
                self._descriptor.fileno(), self._offset + self._length, mmap.MAP_PRIVATE, mmap.PROT_READ
            )
        except (OSError, ValueError):  # there are too many maps or descriptors
            return None

    def buffer(self) -> memoryview:
        """The bytes, without a copy where that can be."""
        if self._descriptor is None:
            return memoryview(self._data)[self._offset : self._offset + self._length]
        data = self._map() or self.map()
        if data is None:
            return memoryview(bytes(self))
        self._map = weakref.ref(data)
        return memoryview(data)[self._offset : self._offset + self._length]

    def is_unchanged(self, address: int) -> bool:
        """Whether its bytes are mapped privately at this address, and none of them was written there since."""
        return self._descriptor is not None and self.is_whole() and _are_of_file(address, self._length)

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        if self._descriptor is None:
            return bytes(memoryview(self._data)[self._offset : self._offset + self._length])
        parts, at, end = [], self._offset, self._offset + self._length
        while at < end:
            part = os.pread(self._descriptor.fileno(), min(end - at, _STEP), at)
            at += len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Room:
    """Memory that is filled where it is mapped, and sealed then. To make it fails where memory cannot be sealed."""

    __slots__ = ("_descriptor", "_length")

    def __init__(self, length: int) -> None:
        """So many zeros."""
        if length > _memory_of_this_machine():
            # The system would try, and end processes, this one or others, to find what is not there.
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        descriptor = _create()
        os.ftruncate(descriptor.fileno(), length)
        if length:
            os.posix_fallocate(descriptor.fileno(), 0, length)
        # Who maps it relies on its pages.
        _seal(descriptor, _SHRINK | _GROW)
        self._descriptor: Descriptor | None = descriptor
        self._length = length

    def fileno(self) -> int:
        """Its descriptor, to be mapped at once."""
        if self._descriptor is None:
            raise _frozen_before()
        return self._descriptor.fileno()

    def freeze(self, _held: memoryview) -> Memory:
        """The bytes as they are now, once. Who has it mapped goes on with that, which nobody else has.

        The seal is not given where somebody can write, and Python can take no map away from where it is. So they are copied.
        """
        room, self._descriptor = self._descriptor, None
        if room is None:
            raise _frozen_before()
        copy, at = _create(), 0
        while at < self._length:
            moved = os.sendfile(copy.fileno(), room.fileno(), at, min(self._length - at, _STEP))
            if not moved:
                raise OSError(errno.EIO, "memory that was to be frozen is shorter than it was made")
            at += moved
        _seal(copy, _SEAL | _SHRINK | _GROW | _WRITE)
        return Memory._kept(copy, self._length, self._length)


def _frozen_before() -> ValueError:
    return ValueError("this memory was frozen before")


def freeze(view: memoryview) -> Memory:
    """The bytes of a view of plain bytes, in memory that can be passed on where there is some."""
    if not SHARED:
        return Memory.of_bytes(view.tobytes())
    return _written([view])


def copied(view: memoryview) -> Memory:
    """The same; in ordinary memory also where no descriptor is left."""
    try:
        return freeze(view)
    except OSError:
        return Memory.of_bytes(view.tobytes())


def joined(parts: Iterable[Buffer]) -> bytes | Memory:
    """All of these, one behind the other, in memory that can be passed on where there is some."""
    if SHARED:
        memory = _written(parts)
        return memory if memory.place() is not None else bytes(memory)
    return b"".join(parts)


def _written(parts: Iterable[Buffer]) -> Memory:
    descriptor, length = _create(), 0
    for part in parts:
        rest = memoryview(part)
        length += len(rest)
        while len(rest):
            rest = rest[os.write(descriptor.fileno(), rest) :]
    _seal(descriptor, _SEAL | _SHRINK | _GROW | _WRITE)
    return Memory._kept(descriptor, length, length)


def _create() -> Descriptor:
    if not SHARED:
        raise OSError(errno.ENOSYS, "this system has no memory that can be passed on")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return Descriptor(os.memfd_create("andiron-value", flags | _MFD_NOEXEC_SEAL))
    except OSError as error:
        # Linux before 6.3 does not know that memory can be made that nobody can execute.
        if error.errno != errno.EINVAL:
            raise
        return Descriptor(os.memfd_create("andiron-value", flags))


def _seal(descriptor: Descriptor, seals: int) -> None:
    """Seals what nobody has mapped for writing.

    The kernel itself may have a page in its hands for a moment, as when it moves pages together. It waits for that, 150 ms at most, and refuses then
    (``memfd_wait_for_pins`` in mm/memfd.c of Linux). So it is asked again.
    """
    for _ in range(1, _SEALING):
        try:
            fcntl.fcntl(descriptor.fileno(), _F_ADD_SEALS, seals)
        except OSError as error:  # noqa: PERF203 - what is refused is asked for again
            if error.errno != errno.EBUSY:
                raise
        else:
            return
    fcntl.fcntl(descriptor.fileno(), _F_ADD_SEALS, seals)


def _memory_of_this_machine() -> int:
    """In bytes; all there could be where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as told:
            lines = (line.split() for line in told)
            return sum(int(line[1]) for line in lines if line[0] in ("MemTotal:", "SwapTotal:")) << 10
    except (OSError, ValueError, IndexError):
        return sys.maxsize


def checked(number: int, announced: int, seals: int) -> int:
    """Checks that a descriptor is memory of at least so many bytes, all of them there, with this seal beside those against another length. Gives its size.

    The protocol asks for the kind of the file system, of which no module tells. Two other things do. Seals are known only to what is made by ``memfd_create``:
    plain memory, which is of tmpfs, or huge pages. The file system of plain memory has blocks of a page, and that of huge pages blocks of a huge one, whatever its
    user does: both are the kernel's own. As the seals come first, no file system of somebody else is asked anything, which might never answer.

    :raises Failure: where it is not.
    """
    try:
        return _checked(number, announced, seals | _SHRINK | _GROW)
    except OSError as error:
        raise Failure("encoding", f"the descriptor received cannot be looked at: {error}") from None


def _checked(number: int, announced: int, seals: int) -> int:
    if not SHARED:
        raise Failure("encoding", "a descriptor came, and this system has no memory that can be passed on")
    flags = fcntl.fcntl(number, fcntl.F_GETFL)
    try:
        if flags & _O_PATH:
            raise _no_access()
        present = fcntl.fcntl(number, _F_GET_SEALS)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _no_memory() from None
    if os.fstatvfs(number).f_bsize != os.sysconf("SC_PAGE_SIZE"):
        raise _no_memory()
    if flags & _O_ACCMODE != os.O_RDWR:
        raise _no_access()
    missing = [name for name, seal in SEALS.items() if seal & seals & ~present]
    if missing:
        raise _refused(
            f"is not sealed (missing: {', '.join(missing)}): its sender could change it while it is read"
        )
    found = os.fstat(number)
    size = found.st_size
    if found.st_mode & 0o170000 != 0o100000:
        raise _no_memory()
    if size < announced:
        raise _refused(f"has {size} bytes, and {announced} were announced")
    _check_that_all_is_there(found)
    # Pages that its sender put behind the end were counted as well, in place of some that are missing. To set the length to what it is drops them.
    os.ftruncate(number, size)
    _check_that_all_is_there(os.fstat(number))
    return size


def _check_that_all_is_there(found: os.stat_result) -> None:
    present = found.st_blocks * _BLOCK
    if present < found.st_size:
        raise _refused(
            f"has holes: only {present} of its {found.st_size} bytes are there, its sender has to fill it before sealing"
        )


def _no_access() -> Failure:
    return _refused(
        "is not open for reading and writing: its sender has to pass what memfd_create(2) gave it"
    )


def _no_memory() -> Failure:
    text = "the descriptor received is no plain shared memory: its sender has to make it with memfd_create(2), without MFD_HUGETLB"
    return Failure("encoding", text)


def _refused(why: str) -> Failure:
    return Failure("encoding", f"the memory received {why}")


def _are_of_file(address: int, length: int) -> bool:
    """Whether a file that is mapped privately at this address shows as it is there: no page was written, and thereby copied. False where the system does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        at, end = address // page * _ENTRY, -(-(address + length) // page) * _ENTRY
        with open("/proc/self/pagemap", "rb", buffering=0) as pages:
            pages.seek(at)
            while at < end:
                some = pages.read(min(end - at, 1 << 16))
                tops = set(some[_ENTRY - 1 :: _ENTRY] if sys.byteorder == "little" else some[::_ENTRY])
                if not some or any(top & _PRESENT and not top & _OF_FILE for top in tops):
                    return False
                at += len(some)
    except (OSError, ValueError):
        return False
    return True
