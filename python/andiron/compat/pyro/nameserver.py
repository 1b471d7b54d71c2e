"""A name server in a program of one's own, or by itself: ``python -m andiron.compat.pyro.nameserver``. ``andiron serve`` is one too."""

from __future__ import annotations

import os
import socket
import threading
import time

import andiron
from andiron.compat.pyro import errors
from andiron.compat.pyro._calls import log
from andiron.compat.pyro._config import config
from andiron.compat.pyro.core import NAMESERVER_NAME, URI
from andiron.compat.pyro.names import AUTHOR, NameServer
from andiron.compat.pyro.server import Daemon, expose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["AutoCleaner", "NameServerDaemon", "startNS", "startNSloop", "start_ns", "start_ns_loop"]

expose(NameServer)


class NameServerDaemon(Daemon):
    """A daemon that has the names, as entries of its store, and as the object ``Pyro.NameServer``, which uses these."""

    def __init__(
        self,
        host: Any = None,
        port: int | None = None,
        unixsocket: str | None = None,
        nathost: Any = None,
        natport: int | None = None,
        storage: str | None = None,
        *,
        secret: Any = None,
    ) -> None:
        """As `Daemon`, but that the port is ``config.NS_PORT`` without being told.

        ``storage``: ``memory``, where the names end with it, or ``sql:FOLDER``, where they are kept in this folder.
        """
        self._state = _state_of(storage)
        pause = _pause_of_cleaner()
        port = config.NS_PORT if port is None else port
        super().__init__(host, port, unixsocket, nathost, natport, secret=secret)
        self._names = self._server.connect()
        store = self._names.store.author(AUTHOR)
        self.nameserver = NameServer(lambda: store)
        uri = self.register(self.nameserver, NAMESERVER_NAME)
        self.nameserver.register(NAMESERVER_NAME, uri, metadata={"class:Pyro5.nameserver.NameServer"})
        self.cleaner_thread = None if pause is None else AutoCleaner(self.nameserver, pause)
        if self.cleaner_thread is not None:
            self.cleaner_thread.start()

    def close(self) -> None:
        """Ends it."""
        if self.cleaner_thread is not None:
            self.cleaner_thread.end()
        self._names.close()
        super().close()


class AutoCleaner(threading.Thread):
    """Removes names of objects that could not be reached for 20 seconds; it tries to every ``config.NS_AUTOCLEAN`` seconds."""

    #: The shortest pause that may be set, in seconds.
    min_autoclean_value = 3.0
    #: For so many seconds something may be out of reach.
    max_unreachable_time = 20.0

    def __init__(self, nameserver: NameServer, pause: float) -> None:
        super().__init__(name="andiron-pyro-autoclean", daemon=True)
        self._nameserver = nameserver
        self._pause = pause
        self._ended = threading.Event()
        #: Since when names are out of reach.
        self.unreachable: dict[str, float] = {}

    def run(self) -> None:
        """Cleans now and then."""
        while not self._ended.wait(self._pause):
            self._try()

    def _try(self) -> None:
        try:
            self.clean()
        except (errors.PyroError, andiron.Error) as error:  # the store is full, or ends
            log.warning("names could not be looked through", exc_info=error)

    def end(self) -> None:
        """Cleans no more."""
        self._ended.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()

    def clean(self) -> None:
        """Tries to reach all once."""
        names = self._nameserver.list()
        self.unreachable = {name: since for name, since in self.unreachable.items() if name in names}
        for name, uri in names.items():
            if self._ended.is_set():
                return
            if name == NAMESERVER_NAME or _is_reachable(uri):
                self.unreachable.pop(name, None)
                continue
            since = self.unreachable.setdefault(name, time.monotonic())
            if time.monotonic() - since >= self.max_unreachable_time:
                log.info("%s is removed: %s could not be reached", name, uri)
                self._nameserver.remove(name)
                del self.unreachable[name]


def _is_reachable(text: str) -> bool:
    """Whether somebody listens there; of what cannot be asked that it is."""
    try:
        uri = URI(text)
        if uri.sockname and "/" in uri.sockname and hasattr(socket, "AF_UNIX"):
            with socket.socket(socket.AF_UNIX) as tried:
                tried.settimeout(config.COMMTIMEOUT or 5)
                tried.connect(uri.sockname)
        elif uri.host and uri.port:
            socket.create_connection((uri.host, uri.port), config.COMMTIMEOUT or 5).close()
    except (OSError, OverflowError):
        return False
    except errors.PyroError:
        pass  # no address, put there by hand
    return True


def _pause_of_cleaner() -> float | None:
    """Seconds between two looks; `None` where nobody looks."""
    pause: float = config.NS_AUTOCLEAN
    if pause <= 0:
        return None
    if pause < AutoCleaner.min_autoclean_value:
        raise ValueError(f"NS_AUTOCLEAN cannot be smaller than {AutoCleaner.min_autoclean_value}")
    return pause


def _state_of(storage: str | None) -> str | bool:
    """Where the names are kept; false: nowhere."""
    if storage in (None, "", "memory"):
        return False
    kind, _, folder = str(storage).partition(":")
    if kind not in ("sql", "dbm") or not folder:
        raise ValueError(f"invalid storage type '{storage}': it is memory, or sql:FOLDER")
    if os.path.isfile(folder):
        raise ValueError(
            f"storage={storage!r}: {folder} is a file; names are kept in a folder, which may be a new one"
        )
    return folder


def start_ns(
    host: Any = None,
    port: int | None = None,
    enableBroadcast: bool = True,
    bchost: Any = None,
    bcport: int | None = None,
    unixsocket: str | None = None,
    nathost: Any = None,
    natport: int | None = None,
    storage: str | None = None,
    *,
    secret: Any = None,
) -> tuple[URI, NameServerDaemon, None]:
    """A name server in this program, for a `requestLoop` of its own or together with another one's (`Daemon.combine`): its address, its daemon, and nobody who answers broadcasts.

    ``enableBroadcast``, ``bchost`` and ``bcport`` change nothing: whoever looks for it is told where it is.
    """
    del enableBroadcast, bchost, bcport
    daemon = NameServerDaemon(host, port, unixsocket, nathost, natport, storage, secret=secret)
    return daemon.uriFor(daemon.nameserver), daemon, None


def start_ns_loop(
    host: Any = None,
    port: int | None = None,
    enableBroadcast: bool = True,
    bchost: Any = None,
    bcport: int | None = None,
    unixsocket: str | None = None,
    nathost: Any = None,
    natport: int | None = None,
    storage: str | None = None,
    loopCondition: Callable[[], object] | None = None,
    *,
    secret: Any = None,
) -> None:
    """A name server that serves until ``loopCondition()`` is not true, or Ctrl-C ends it; otherwise as `start_ns`."""
    uri, daemon, _ = start_ns(
        host, port, enableBroadcast, bchost, bcport, unixsocket, nathost, natport, storage, secret=secret
    )
    with daemon:
        kept = daemon.nameserver.count() - 1
        if kept:
            print(f"Persistent store contains {kept} existing registrations.")
        print(f"NS running on {daemon.locationStr}")
        print(f"URI = {uri}", flush=True)
        daemon.requestLoop(loopCondition)
    print("NS shut down.")


#: As Pyro4 names them.
startNS, startNSloop = start_ns, start_ns_loop


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    from argparse import ArgumentParser

    parser = ArgumentParser(prog="python -m andiron.compat.pyro.nameserver", description="A name server.")
    parser.add_argument("-n", "--host", help="the name of this machine, beyond which a secret is needed")
    parser.add_argument("-p", "--port", type=int, help=f"without it {config.NS_PORT}; 0: any that is free")
    parser.add_argument("-u", "--unixsocket", help="the path of a socket, in place of host and port")
    parser.add_argument(
        "-s", "--storage", default="memory", help="memory, or sql:FOLDER, where the names are kept"
    )
    parser.add_argument("--nathost", help="what addresses have in place of the host")
    parser.add_argument("--natport", type=int, help="what addresses have in place of the port")
    parser.add_argument("--secret", help="the path of the file of a secret")
    given = parser.parse_args(arguments)
    try:
        start_ns_loop(
            given.host,
            given.port,
            unixsocket=given.unixsocket,
            nathost=given.nathost,
            natport=given.natport,
            storage=given.storage,
            secret=given.secret,
        )
    except KeyboardInterrupt:
        print("NS shut down.")


if __name__ == "__main__":
    main()
