"""The private folder where servers of this user are found, and what lies in it.

Whoever can write to the folder can pose as a server, so it is used only when it belongs to this user and nobody else may enter it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from andiron._pure.failure import Failure

#: Whose files these are, where the system has users: `None` elsewhere, and then nothing is said of owners and modes.
user = getattr(os, "geteuid", None)


def folder() -> str:
    """The folder that all programs of this user agree on, which may not be there yet.

    It is ``andiron`` in ``XDG_RUNTIME_DIR`` if that is the absolute path of a folder of this user, or in this user's folder of ``/run/user`` if it is there; else ``andiron-UID``
    in ``TMPDIR`` or ``/tmp``. On Windows it is ``andiron`` in ``LOCALAPPDATA``.
    """
    places = [os.environ.get("XDG_RUNTIME_DIR")]
    if user is not None:
        places.append(f"/run/user/{user()}")
    for place in places:
        if place and os.path.isabs(place) and _is_own(place):
            return os.path.join(place, "andiron")
    if user is not None:
        place = os.environ.get("TMPDIR")
        return os.path.join(place if place and os.path.isabs(place) else "/tmp", f"andiron-{user()}")
    place = os.environ.get("LOCALAPPDATA")
    if place and os.path.isabs(place):
        return os.path.join(place, "andiron")
    import tempfile

    return os.path.join(tempfile.gettempdir(), "andiron")


def checked(path: str | None = None) -> str:
    """The folder, if what is there can be trusted; it may not be there."""
    path = folder() if path is None else path
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise _refused(f"cannot look at the runtime folder {path}: {reason(error)}") from error
    if not stat.S_ISDIR(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "a file"
        raise _refused(f"{path} must be a folder of its own but is {what}: remove it")
    if user is not None:
        if found.st_uid != user():
            raise _refused(
                f"{path} belongs to the user with id {found.st_uid}, not to this one: remove it, or set XDG_RUNTIME_DIR to a folder of your own"
            )
        if found.st_mode & 0o077:
            mode = found.st_mode & 0o7777
            raise _refused(f"{path} is open to other users (mode {mode:04o}): run `chmod 700 {path}`")
    return path


def ensured() -> str:
    """The folder, made for this user only if it is not there. Its parent must be there."""
    path = folder()
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise _refused(f"cannot make the runtime folder {path}: {reason(error)}") from error
    return checked(path)


def file_of_port(place: str, port: int) -> str:
    """Where the secret stands that a server at this port of this machine made for itself."""
    return os.path.join(place, f"tcp-{port}.secret")


def write_private(path: str, text: str) -> None:
    """Writes a file that this user alone reads. At no time is a part of it there."""
    place, name = os.path.split(path)
    temporary = os.path.join(place, f".{name}-{os.getpid()}.new")
    with suppress(FileNotFoundError):  # left by a process of this number that was killed right here
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def remove(path: str) -> None:
    """Removes a file, if it is there and can be."""
    with suppress(OSError):
        os.unlink(path)


def reason(error: OSError) -> str:
    """What the system says."""
    if error.strerror is None:
        return str(error)
    return f"{error.strerror} (os error {error.errno})"


def _is_own(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (user is None or found.st_uid == user())


def _refused(text: str) -> Failure:
    return Failure("denied", text)
