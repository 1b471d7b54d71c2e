"""The three ways to have the store: in a program that is started here, in a server that runs already, and in this process."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Callable

import andiron
from andiron.compat import _shared
from andiron.compat.ipc import IPCServer
from andiron.compat.ipcdatastore import DataObjects

from . import program, texts
from .host import INSIDE, PROGRAM, RUNNING, Settings, text
from .program import CannotRun, no_pause

Pause = Callable[[float], bool]

#: Seconds that a connection may take.
_CONNECT = 5.0


class Way:
    """Has the store, from the beginning on until it is closed."""

    #: What it is, and why it is this one, in the language of the user.
    what = why = ""

    def is_open(self) -> bool:
        """Whether the store is there still."""
        raise NotImplementedError

    def trouble(self) -> str | None:
        """Why it has to be begun anew, though it is there. To find out may take a moment."""
        return None

    def connect(self) -> andiron.Hub:
        """A connection to the store."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends it, with its threads."""
        raise NotImplementedError


class Inside(Way):
    """The package's own server, in this process."""

    def __init__(self, settings: Settings, folder: str, why: str) -> None:
        self.what = text(texts.IS_INSIDE)
        self.why = why
        store = DataObjects(persist_dir=folder if settings.persistence else None)
        place = settings.place()
        self._server = IPCServer(store, "", place.name, place.host, place.port, secret=place.secret)
        self._server.start()

    def is_open(self) -> bool:
        """Whether the store is there still."""
        return self._server.is_alive()

    def connect(self) -> andiron.Hub:
        """A connection to the store, within this process."""
        return self._server.p4daemon.connect()

    def close(self) -> None:
        """Ends the server, and its threads."""
        self._server.stop()


class _Elsewhere(Way):
    """A server that is no part of this process. The object by which old programs know the store is offered there from here, since a server has none by itself."""

    def __init__(self, settings: Settings, address: str, beside: str | None = None) -> None:
        """``beside``: where programs of this machine and user reach it as well, and read without a question."""
        self._place = settings.place()
        self._address = address
        self._hub = self.connect(pump=True)
        self._object = DataObjects()
        self._object._stands_for(self._hub, beside)
        try:
            self._offer()
        except BaseException:
            self._hub.close()
            raise

    def _offer(self) -> None:
        """Offers the object, unless somebody does, such as the service of another Kodi."""
        with andiron.timeout(_CONNECT):
            if self._place.name in self._hub:
                return
            # Another one was faster, or the secret is for the store alone.
            with contextlib.suppress(andiron.ConflictError, andiron.DeniedError):
                self._hub.register(self._place.name, self._object)

    def is_open(self) -> bool:
        """Whether the server is there still."""
        return self._hub.fileno() >= 0

    def trouble(self) -> str | None:
        """Has the object be offered still, if whoever did has gone."""
        try:
            self._offer()
        except andiron.CancelledError:
            raise
        except andiron.Error as error:
            return str(error)
        return None

    def connect(self, pump: bool = False) -> andiron.Hub:
        """A connection to the store."""
        file = _shared.secret_file(self._place.secret)
        try:
            return andiron.connect(self._address, timeout=_CONNECT, secret_file=file, pump=pump)
        except andiron.AuthenticationError as error:
            if not _shared.is_answered(self._place):
                raise andiron.UnavailableError(text(texts.NOBODY, self._address)) from error
            raise _shared.in_words(error, text(texts.SECRET)) from error

    def close(self) -> None:
        """Ends the connection, and its threads."""
        self._hub.close()


class Running(_Elsewhere):
    """A server that somebody else has started, on this machine or another one."""

    def __init__(self, settings: Settings, why: str) -> None:
        self.what = text(texts.IS_RUNNING)
        self.why = why
        super().__init__(settings, _shared.dialled(settings.place()))


class Started(_Elsewhere):
    """A program that runs as a child of this process, and ends with it."""

    def __init__(
        self, settings: Settings, folder: str, found: program.Program, pause: Pause = no_pause
    ) -> None:
        self.why = found.origin
        self._program = found
        place = settings.place()
        # Beside the port it has a name for programs of this user, unless these need a secret as well.
        named = place.secret is None and _shared.is_this_machine(place.host) and hasattr(socket, "AF_UNIX")
        name = f"ipc-{place.port}"
        arguments = ["--listen", _shared.address_of(place), *(["--name", name] if named else ["--no-local"])]
        arguments += ["--state", folder] if settings.persistence else ["--no-state"]
        if place.secret is not None:
            arguments += ["--secret-file", _as_file(place.secret, folder)]
        self._daemon = program.Daemon(found, arguments, os.path.join(folder, "andiron.log"), pause)
        self.what = text(texts.IS_PROGRAM, found.version, self._daemon.process)
        try:
            beside = next((at for at in self._daemon.addresses() if at.startswith("unix:")), None)
            super().__init__(settings, beside or _shared.dialled(place), beside)
        except BaseException:
            self._daemon.stop()
            raise

    def is_open(self) -> bool:
        """Whether the program runs."""
        return self._daemon.is_alive() and super().is_open()

    def trouble(self) -> str | None:
        """That there is another version of the program, or what else there is."""
        if not self._program.is_current():
            return "there is another version of the program"
        return super().trouble()

    def close(self) -> None:
        """Ends the program, which loses nothing that is persistent."""
        super().close()
        self._daemon.stop()


def _as_file(secret: str, folder: str) -> str:
    """The path of a file with this secret, for another process, which inherits no open file."""
    if not _shared.is_text(secret):
        return os.path.expanduser(secret)
    path = os.path.join(folder, "secret")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(secret.strip() + "\n")
    return path


def opened(settings: Settings, folder: str, pause: Pause = no_pause) -> Way:
    """The way that the settings ask for; where they leave it open, the first that is possible.

    ``folder``: for what is persistent. ``pause``: waits for so many seconds, and tells whether to end.
    """
    if settings.way == RUNNING:
        return Running(settings, text(texts.ASKED_FOR))
    if settings.way == PROGRAM:
        return Started(settings, folder, program.found(settings.program, pause), pause)
    if settings.way == INSIDE:
        return Inside(settings, folder, text(texts.ASKED_FOR))
    if not settings.is_here():
        return Running(settings, text(texts.OTHER_HOST, settings.host))
    if _shared.is_answered(settings.place()):
        return Running(settings, text(texts.RUNS_ALREADY, settings.host, settings.port))
    try:
        return Started(settings, folder, program.found(settings.program, pause), pause)
    except CannotRun as error:
        return Inside(settings, folder, str(error))
