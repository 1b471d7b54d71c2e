"""Claiming a server's name: while one process holds it, no other gets it, and its socket is where callers look.

The claim is a record lock on ``NAME.lock``: the kernel gives it back the moment its process ends, however it ends, and a forked child does not inherit it. The lock file itself
stays for good: to remove it would let two processes lock two files of one name. The socket is bound under the temporary name ``.NAME`` and renamed over ``NAME.sock``, so callers
find a socket that listens or a dead one, but never half of one. Where there are no Unix sockets, ``NAME.addr`` says a port of this machine and the secret for it.

Record locks belong to the process: they do not keep two threads apart, nor two interpreters of one process, and closing *any* descriptor of the file gives the lock back. So the
locks that this interpreter holds are known to it (`_held`), and before a lock file is opened the name is called: where this process itself answers, it is taken. Without ``fcntl``
the lock is that of Windows, or where there is none either, whether somebody answers.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from _thread import RLock
from contextlib import suppress

from andiron._pure.failure import Failure
from andiron._pure.transport import runtime
from andiron._pure.transport.address import MAX_PATH
from andiron._pure.transport.connector import dial, has_unix, posted_address
from andiron._pure.transport.secret import Secret

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
    Inode = tuple[int, int]

#: Connections that wait to be accepted; the kernel lowers it to its own limit.
BACKLOG = 4096

#: How often a claim begins anew because its files changed under it. Each time somebody removed or replaced one within microseconds, or a holder ended just then.
_ATTEMPTS = 100
#: What bind says where a file system has no sockets.
_NO_SOCKETS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EAFNOSUPPORT}
#: What a lock says where a file system has none.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}

#: The lock files that this process has locked, as long as its number is that. Guarded by `_guard`, as opening and closing one is, which may happen in
#: the middle of another by the collector.
_held: dict[Inode, int] = {}
_guard = RLock()


class _Changed(Exception):
    """The files changed meanwhile."""


class Claim:
    """A name that this process holds until it is released or the process ends."""

    def __init__(self, name: str) -> None:
        """Makes the folder if need be, and replaces what an ended server left. A `Failure` of the kind ``conflict`` where a server of this name runs."""
        self.name = name
        self._folder = runtime.checked()
        self.path = os.path.join(self._folder, f"{name}.sock")
        if has_unix():
            _check_length(self.path)
        self._lock: _Lock | None = None
        self._place: Inode | None = None
        #: The secret of those who come by ``NAME.addr``; `None` where there is a Unix socket.
        self.secret: Secret | None = None
        _check_free(name, self.path)
        try:
            self.listener = self._until_stable(self._claimed)
        except BaseException:
            self._unlock()
            raise

    def still_mine(self) -> bool:
        """Whether name and socket are still ours: nobody wiped the folder or put another socket there. Always false in a forked child."""
        lock = self._lock
        return (
            lock is not None
            and lock.is_mine()
            and self._place is not None
            and _inode_at(self.path) == self._place
        )

    def renew(self) -> socket.socket:
        """Makes folder and lock anew where they are gone, then a new socket, which is the `listener` from then on. Who is connected is not touched."""
        self.listener = self._until_stable(self._claimed)
        return self.listener

    def release(self) -> None:
        """Removes the socket and gives the name back; in a forked child it does nothing."""
        if self.still_mine():
            # While the lock is ours nobody else puts a socket there.
            runtime.remove(self.path)
        self._unlock()

    def _claimed(self) -> socket.socket:
        self._folder = runtime.ensured()
        lock_path = os.path.join(self._folder, f"{self.name}.lock")
        if self._lock is None or not self._lock.is_mine():
            self._unlock()  # it is of another file, which nobody finds any more
            self._lock = _Lock(self.name, lock_path)
        listener = self._publish()
        if not self.still_mine():
            listener.close()
            raise _Changed
        return listener

    def _publish(self) -> socket.socket:
        """Puts a new listening socket in its place. Only the holder of the lock does this."""
        path = os.path.join(self._folder, f"{self.name}.sock")
        temporary = os.path.join(self._folder, f".{self.name}")
        if has_unix():
            with suppress(FileNotFoundError):  # left behind by a holder that was killed right here
                os.unlink(temporary)
            try:
                listener = listen_unix(temporary)
            except OSError as error:
                if error.errno not in _NO_SOCKETS:
                    raise _cannot("make the socket", path, error) from error
            else:
                self.path, self._place = path, _inode_at(temporary)
                try:
                    os.rename(temporary, path)
                except OSError as error:
                    listener.close()
                    raise _cannot("make the socket", path, error) from error
                # What a server without sockets left would else be looked at by those who find no socket later.
                runtime.remove(os.path.join(self._folder, f"{self.name}.addr"))
                return listener
        return self._publish_port()

    def _publish_port(self) -> socket.socket:
        """Listens at a port of this machine, and says in the file of the name which one it is."""
        self.path = os.path.join(self._folder, f"{self.name}.addr")
        self.secret = self.secret or Secret.new()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen(BACKLOG)
            listener.setblocking(False)
            port = listener.getsockname()[1]
            runtime.write_private(self.path, f"{port}\n{self.secret.text()}\n{os.getpid()}\n")
        except OSError as error:
            listener.close()
            raise _cannot("write", self.path, error) from error
        self._place = _inode_at(self.path)
        return listener

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _until_stable(self, step: Callable[[], T]) -> T:
        """Repeats a step for as long as the files change under it, within reason."""
        for _ in range(_ATTEMPTS):
            with suppress(_Changed):
                return step()
        raise Failure(
            "unavailable",
            f"{self.path} was removed or replaced again and again: something cleans that folder up",
        )


class _Lock:
    """A lock file that this process has locked."""

    def __init__(self, name: str, path: str) -> None:
        self._path = path
        self._process = os.getpid()
        with _guard:
            self._take(name)

    def is_mine(self) -> bool:
        """Whether the file is still the one that this process has locked."""
        return self._process == os.getpid() and _inode_at(self._path) == self._inode

    def release(self) -> None:
        """Gives it back. A forked child has no lock here, but may have one of its own since, which closing the file would give back."""
        if self._process != os.getpid():
            return
        with _guard:
            _held.pop(self._inode, None)
            os.close(self._file)

    def _take(self, name: str) -> None:
        before = _inode_at(self._path)
        if before is not None and _held.get(before) == self._process:
            raise _taken(name, self._process)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            file = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise _cannot("open", self._path, error) from error
        try:
            found = os.fstat(file)
            self._inode = found.st_dev, found.st_ino
            if _held.get(self._inode) == self._process:
                file = -1  # moved there since we looked: to close it would give our lock back
                raise _taken(name, self._process)
            if not _locked(file):
                process = _holder(file)
                if process == 0:
                    raise _Changed  # it ended just now
                raise _taken(name, process)
            # The file may have been removed between opening and locking, and then its lock protects nothing.
            if _inode_at(self._path) != self._inode:
                raise _Changed
        except BaseException as error:
            if file >= 0:
                os.close(file)
            if isinstance(error, OSError):
                raise _cannot("lock", self._path, error) from error
            raise
        self._file = file
        _held[self._inode] = self._process


def listen_unix(path: str) -> socket.socket:
    """A listening Unix socket at ``path``, usable by this user only from the moment it is there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if hasattr(os, "fchmod"):
            # The mode of the socket itself is the one that Linux gives the file that bind makes.
            os.fchmod(listener.fileno(), 0o600)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def peer_of(sock: socket.socket) -> tuple[int | None, int | None]:
    """Process and user at the other end of a Unix socket, as the kernel tells; `None` where it does not."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None, None
    process, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return process or None, user & 0xFFFFFFFF


def is_answered(path: str) -> int | None:
    """The number of the process that listens at the Unix socket there, 0 where that is not told; `None` where nobody does."""
    try:
        sock = dial(path, 0.0)
    except BlockingIOError:
        return 0
    except OSError:
        return None
    with sock:
        return peer_of(sock)[0] or 0


def _check_free(name: str, path: str) -> None:
    """Refuses a name that is served without a lock, or by another interpreter of this process, whose lock would not be in the way."""
    if has_unix():
        process = is_answered(path)
        if process == os.getpid():
            raise _taken(name, process)
    posted = posted_address(name)
    if posted is None:
        return
    port, _, process = posted
    if fcntl is not None and process != os.getpid():
        return  # its lock tells
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        if sock.connect_ex(("127.0.0.1", port)) == 0 and sock.getsockname() != sock.getpeername():
            raise _taken(name, process)


def _check_length(path: str) -> None:
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise Failure(
            "bad arguments",
            f"the socket path {path} is {length} bytes long and {MAX_PATH} is the limit: choose a shorter name, or set XDG_RUNTIME_DIR to a folder with a shorter path",
        )


def _locked(file: int) -> bool:
    """Locks a file; false where another process has it locked."""
    if fcntl is None:
        return _locked_on_windows(file)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True  # nothing is in the way that could be seen
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _locked_on_windows(file: int) -> bool:
    """The same there; not tried yet."""
    try:
        import msvcrt
    except ImportError:
        return True  # `_check_free` has asked
    try:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def _holder(file: int) -> int | None:
    """The process that has a file locked; 0: none, `None`: one that cannot be seen from here."""
    if fcntl is None or os.uname().sysname != "Linux" or struct.calcsize("P") != 8:
        return None
    # As C has it: type, whence, start, length, process.
    form = "hhqqi"
    asked = struct.pack(form, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, process = struct.unpack(form, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return 0
    return int(process) if process > 0 else None


def _inode_at(path: str) -> Inode | None:
    """What is at a path, whatever its name; `None` if nothing is or it cannot be seen."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _taken(name: str, process: int | None) -> Failure:
    who = f"process {process}" if process else "a process that cannot be seen from here"
    return Failure("conflict", f"the name {name} is taken by {who}: end that server or choose another name")


def _cannot(doing: str, path: str, error: OSError) -> Failure | _Changed:
    """A file that is gone means that the folder was wiped meanwhile, since all here are made in it."""
    if isinstance(error, FileNotFoundError):
        return _Changed()
    remedy = ""
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        remedy = ": make the folder writable for this user, or set XDG_RUNTIME_DIR to one that is"
    return Failure("unavailable", f"cannot {doing} {path}: {runtime.reason(error)}{remedy}")
