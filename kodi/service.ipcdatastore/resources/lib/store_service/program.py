"""The program `andiron`: where it is, whether it can run here, and one that runs as a child of this process."""

from __future__ import annotations

import contextlib
import filecmp
import os
import platform
import shutil
import subprocess
import time
from typing import Callable, Iterator

import andiron

from . import texts
from .host import folder, own_file, text

#: Seconds that a program may take to tell its version, and to listen.
_VERSION, _READY = 5.0, 15.0
#: Seconds that it has to end by itself, once it is to: calls under way have five of them.
_END = 6.0
#: Seconds between two looks.
_LOOK = 0.02

_NAME = "andiron.exe" if os.name == "nt" else "andiron"
#: Of Windows: no window of its own.
_FLAGS = getattr(subprocess, "CREATE_NO_WINDOW", 0)


class CannotRun(Exception):
    """What is in the way, in the language of the user."""


def no_pause(seconds: float) -> bool:
    """Waits, where nobody ends that."""
    time.sleep(seconds)
    return False


def here() -> str:
    """What kind of machine this is, as the folders below `bin` are called.

    They are `uname -s` and `uname -m` in small letters, with one word for what has two.
    """
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{'x86_64' if machine == 'amd64' else machine}"


def places(given: str) -> Iterator[tuple[str, str]]:
    """The files that may be the program, the first one first, each with where that is, in the language of the user."""
    if given:
        yield given, text(texts.FROM_SETTINGS, given)
        return
    own = own_file("bin", here(), _NAME)
    if os.path.exists(own):
        yield own, text(texts.FROM_ADDON)
    on_path = shutil.which("andiron")
    if on_path:
        yield on_path, text(texts.FROM_PATH, on_path)


class Program:
    """A copy of a program, which can run: what installs an add-on makes no file executable, and takes those of the version before away while they run."""

    def __init__(self, source: str, origin: str, pause: Callable[[float], bool] = no_pause) -> None:
        #: Where it came from, in the language of the user.
        self.origin = origin
        self._source = source
        try:
            self._found = _signature(source)
            self.path = _copied(source)
            self.version = _version(self.path, pause)
        except OSError as error:
            raise CannotRun(text(texts.CANNOT_RUN, source, error)) from error

    def is_current(self) -> bool:
        """Whether what it was copied from is still the same."""
        try:
            return _signature(self._source) == self._found
        except OSError:  # it is being replaced, or gone: the copy is as good as ever
            return True


def found(given: str, pause: Callable[[float], bool] = no_pause) -> Program:
    """The first program that can run."""
    reasons = []
    for source, origin in places(given):
        try:
            return Program(source, origin, pause)
        except CannotRun as error:  # noqa: PERF203 - there are two at most
            reasons.append(str(error))
    raise CannotRun("; ".join(reasons) or text(texts.NO_PROGRAM))


def _signature(path: str) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _copied(source: str) -> str:
    copy = os.path.join(folder("bin"), _NAME)
    if not (os.path.exists(copy) and filecmp.cmp(source, copy, shallow=False)):
        try:
            shutil.copyfile(source, copy + ".new")
            os.chmod(copy + ".new", 0o755)
            os.replace(copy + ".new", copy)
        except OSError:  # no room for it, for example: a part of it takes none away
            with contextlib.suppress(OSError):
                os.remove(copy + ".new")
            raise
    return copy


def _version(path: str, pause: Callable[[float], bool]) -> str:
    child = subprocess.Popen(
        [path, "--version"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        creationflags=_FLAGS,
    )
    with child.stdout as output:
        if not _ended(child, _VERSION, pause):
            child.kill()
            child.wait()
        if hasattr(os, "set_blocking"):  # what it has started may have the pipe still, and never close it
            os.set_blocking(output.fileno(), False)
        said = (output.read(80) or b"").decode(errors="replace").strip()
    if child.returncode or not said.startswith("andiron "):
        raise OSError(f"`--version` says {said!r}")
    return said


def _ended(child: subprocess.Popen[bytes], seconds: float, pause: Callable[[float], bool]) -> bool:
    """Waits for its end, for so long at most, and no longer than nobody ends the wait."""
    until = time.monotonic() + seconds
    while child.poll() is None:
        if time.monotonic() > until or pause(_LOOK):
            return child.poll() is not None
    return True


class Daemon:
    """A program that serves, from the beginning on until it is stopped, or this process ends: its standard input is a pipe of which this process has the other end."""

    def __init__(
        self,
        program: Program,
        arguments: list[str],
        said: str,
        pause: Callable[[float], bool] = no_pause,
    ) -> None:
        """``said``: the file for what it says. ``pause``: waits for so many seconds, and tells whether to end."""
        self._said = said
        self._pause = pause
        with open(said, "wb") as file:
            self._child = subprocess.Popen(
                [program.path, "serve", "--exit-with-parent", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=file,
                creationflags=_FLAGS,
            )
        self.process = self._child.pid
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._child.poll() is None

    def addresses(self) -> list[str]:
        """Where it listens, once it does."""
        said = "listening at "
        return [line[len(said) :] for line in self._lines() if line.startswith(said)]

    def _lines(self) -> list[str]:
        """What it has said."""
        with open(self._said, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def stop(self) -> None:
        """Ends it and waits for that; where this process is to end, no longer than a moment, since then it ends by itself."""
        self._child.stdin.close()
        if not _ended(self._child, _END, self._pause) and not _ended(self._child, 1.0, no_pause):
            self._child.kill()
            self._child.wait()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _READY
        while not self.addresses():
            if not self.is_alive():
                last = self._lines()[-1:] or [f"the program ended with {self._child.returncode}"]
                raise CannotRun(last[0].replace("andiron: ", "", 1))
            if time.monotonic() > until:
                raise CannotRun(text(texts.NOT_READY, int(_READY)))
            if self._pause(_LOOK):
                raise andiron.CancelledError("Kodi ends")
