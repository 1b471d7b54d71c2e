"""Streams of bytes between two ends: sockets, on Unix ones with descriptors passed along."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from contextlib import suppress

from andiron._pure.failure import Failure
from andiron._pure.transport.eager import Eager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from _typeshed import ReadableBuffer

#: How many descriptors one message passes at most.
MAX_DESCRIPTORS = 64

#: How many bytes are read at once.
_ROOM = 64 << 10
#: How many buffers one message has at most; the kernel's limit.
_MAX_BUFFERS = 1024
#: Where buffers have to be joined to be sent, at most so many bytes of them.
_JOINED = 256 << 10

#: The control message of a read has room for `MAX_DESCRIPTORS` and not one more.
_CONTROL = socket.CMSG_LEN(4 * MAX_DESCRIPTORS) if hasattr(socket, "CMSG_LEN") else 0
NO_SIGNAL = int(getattr(socket, "MSG_NOSIGNAL", 0))
# As plain numbers: those of the module are slow to combine.
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_CUT_OFF = int(getattr(socket, "MSG_CTRUNC", 0))

#: SIOCOUTQ of Linux: how many bytes the other end has not read.
_UNREAD = 0x5411

_NOTHING = ()


class _Owned(socket.socket):
    """A socket that belongs to something else, with which it ends: others warn where nobody closed them."""

    def __del__(
        self, failed: type[OSError] = OSError
    ) -> None:  # a name that is there still when those of this interpreter are not
        try:
            self.close()
        except failed:
            pass


def owned(sock: socket.socket) -> socket.socket:
    """The same socket as one that ends with what it belongs to, whoever drops that."""
    family, kind, protocol = sock.family, sock.type, sock.proto
    return _Owned(family, kind, protocol, sock.detach())


class Channel:
    """One end of a stream, which never blocks but in `wait`.

    What `recv` and `send` raise is an `OSError`, of which a `BlockingIOError` says that nothing is there, or no room; `recv` of TLS also a `Failure`.
    """

    __slots__ = "_eager", "_poll", "is_local", "label", "passes_descriptors", "sock"

    #: True where something waits for the socket that the session does not know of: `flush` sends it.
    wants_write = False
    #: Why it ended, where what lies between the ends knows more than that.
    failure: Failure | None = None
    #: What it means that the stream is over.
    end_of_stream = "the other end closed it"

    def __init__(self, sock: socket.socket, label: str, is_local: bool) -> None:
        #: The socket; the one that was given is no more.
        self.sock = owned(sock)
        self.sock.setblocking(False)
        #: Who is at the other end, for people.
        self.label = label
        #: True where the kernel tells of every death, so that no sign of life is asked for.
        self.is_local = is_local
        self.passes_descriptors = _is_unix(self.sock) and hasattr(self.sock, "recvmsg")
        self._poll: Any = None
        self._eager = Eager()

    def fileno(self) -> int:
        """Its descriptor; -1 when it is closed."""
        return self.sock.fileno()

    def recv(self) -> tuple[bytes, Sequence[int], bool]:
        """What has come: bytes, the descriptors that came with them, and whether more of these were cut off. No bytes: the stream is over."""
        if not self.passes_descriptors:
            return self.sock.recv(_ROOM), _NOTHING, False
        data, control, flags, _ = self.sock.recvmsg(_ROOM, _CONTROL, _CLOSE_ON_EXEC)
        if not control:
            return data, _NOTHING, flags & _CUT_OFF != 0
        return data, _descriptors(control), flags & _CUT_OFF != 0

    def send(self, buffers: Sequence[ReadableBuffer], descriptors: Sequence[Any] = _NOTHING) -> int:
        """Sends as much as goes now, with descriptors bound to the first byte. Answers how many bytes went; if any did then all descriptors."""
        if descriptors:
            numbers = [one if type(one) is int else one.fileno() for one in descriptors]
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(numbers)}i", *numbers))
            return self.sock.sendmsg(buffers[:_MAX_BUFFERS], [rights], NO_SIGNAL)
        if len(buffers) == 1:
            return self.sock.send(buffers[0], NO_SIGNAL)
        if hasattr(self.sock, "sendmsg"):
            return self.sock.sendmsg(buffers[:_MAX_BUFFERS], _NOTHING, NO_SIGNAL)
        return self.sock.send(joined(buffers), NO_SIGNAL)

    def flush(self) -> None:
        """Sends what the session does not know of."""

    def wait(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        """Waits until one of these can be done without blocking: readable, writable."""
        if read and not write:
            # Only one reads at a time, so what the kernel is asked can be kept.
            poll = self._poll
            if poll is None and hasattr(select, "poll"):
                poll = self._poll = select.poll()
                poll.register(self.sock, select.POLLIN)
            if poll is not None:
                try:
                    look = poll.poll
                    if self._eager.look(look):
                        return True, False
                    return bool(look(None if timeout is None else timeout * 1000)), False
                except RuntimeError:
                    pass  # another thread waits by it all the same
        return wait_at(self.sock, read, write, timeout)

    def is_read(self) -> bool:
        """True where the other end is known to have read all that was sent."""
        try:
            import fcntl

            left = fcntl.ioctl(self.sock, _UNREAD, b"\0\0\0\0")
        except (ImportError, OSError):  # Windows, or what has no such number
            return False
        return left == b"\0\0\0\0"

    def binding(self) -> bytes | None:
        """What a session is to be bound to, where that becomes known only while the channel is used."""
        return None

    def client_name(self) -> str | None:
        """Whom the certificate is for that the other end showed, if it did."""
        return None

    def close(self, is_waited_at: bool = False) -> None:
        """Ends it, for both ends. Where another thread waits at it that wakes up, and the descriptor is given back when nobody has the channel any more."""
        with suppress(OSError):  # it is over already
            self.sock.shutdown(socket.SHUT_RDWR)
        if not is_waited_at:
            self._poll = None
            self.sock.close()


def pair() -> tuple[Channel, Channel]:
    """Both ends of a stream within this process. Where there are no Unix sockets it goes by way of the loopback interface."""
    try:
        near, far = socket.socketpair()
    except OSError as error:
        raise Failure("overloaded", f"no connection within this process can be made: {error}") from error
    return Channel(near, "this process", True), Channel(far, f"process {os.getpid()}", True)


def wait_at(sock: Any, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
    """Waits for a socket: whether it can be read, and written."""
    if not hasattr(select, "poll"):
        # An attempt to connect that failed is told of as an exception on Windows.
        readable, writable, failed = select.select(
            [sock] if read else [], [sock] if write else [], [sock] if write else [], timeout
        )
        return bool(readable), bool(writable or failed)
    poll = select.poll()
    poll.register(sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    found = poll.poll(None if timeout is None else timeout * 1000)
    if not found:
        return False, False
    events = found[0][1]
    broken = bool(events & (select.POLLERR | select.POLLHUP))
    return read and (broken or bool(events & select.POLLIN)), write and (
        broken or bool(events & select.POLLOUT)
    )


def joined(buffers: Sequence[ReadableBuffer]) -> ReadableBuffer:
    """The beginning of several buffers as one."""
    if len(buffers) == 1 or memoryview(buffers[0]).nbytes >= _JOINED:
        return buffers[0]
    parts: list[Any] = []
    length = 0
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        parts.append(view[: _JOINED - length])
        length += len(parts[-1])
        if length == _JOINED:
            break
    return b"".join(parts)


def close_descriptors(descriptors: Sequence[int]) -> None:
    """Closes what nobody wants."""
    for descriptor in descriptors:
        os.close(descriptor)


def is_exhausted(error: OSError) -> bool:
    """True where no descriptor or no memory is left."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _descriptors(control: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            count = len(data) // 4
            found.extend(struct.unpack_from(f"{count}i", data))
    if not _CLOSE_ON_EXEC:
        for descriptor in found:
            os.set_inheritable(descriptor, False)
    return found


def _is_unix(sock: socket.socket) -> bool:
    return hasattr(socket, "AF_UNIX") and sock.family == socket.AF_UNIX
