"""What several modules for old programs need: the address of a host and a port, secrets, the settings of an add-on, and the connections that a process keeps."""

from __future__ import annotations

import os
import select
from _thread import allocate_lock

import andiron
from andiron import _errors, _fork, _log
from andiron._hub import connect, patiently

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

#: Seconds that a connection, and a call, may take, as they always might.
TIMEOUT = 5.0
#: Seconds in which a server is certain to have told its secret.
_MOMENT = 0.2
#: How many methods of a server run at once where the engine asks for a number. It begins as many threads as are needed.
_THREADS = 64

#: Hosts that stand for all addresses of this machine.
_EVERYWHERE = ("", "0.0.0.0", "::")


class IPCClientError(Exception):
    """What the clients of old programs raise, with the number of what went wrong. Those classes that have other numbers are in `andiron.compat.ipcdatastore`."""

    errno = 0
    message = ""

    def __str__(self) -> str:
        return self.message or ", ".join(map(str, self.args))


class ObjectNotSerializableError(IPCClientError, andiron.EncodingError):
    """A value cannot be sent, or was refused by who got it: the message says which part of it is in the way."""

    errno = 5

    @property
    def message(self) -> str:
        """What cannot be sent, and why."""
        return str(self.args[0]) if self.args else ""

    @message.setter
    def message(self, text: str) -> None:
        self.args = (text,)

    def updatemessage(self, obj: object) -> None:
        """Says whose class it is."""
        self.message = f"The object of type {type(obj)} provided failed serialization"

    @classmethod
    def of(cls, error: BaseException) -> ObjectNotSerializableError:
        """The one for what Andiron said."""
        said = error.message if isinstance(error, andiron.Error) else str(error)
        return cls(said.replace("register its class", "register its class by `andiron.register`"))


def log(level: str, text: str, error: BaseException | None = None) -> None:
    """Says something: in the log of Kodi, and elsewhere by the logger ``andiron``. ``level``: ``info``, ``warning`` or ``error``."""
    try:
        import xbmc  # type: ignore[import-not-found] # Kodi has it
    except ImportError:
        _log.log(level, text, error)
        return
    why = "" if error is None else f" ({type(error).__name__}: {error})"
    xbmc.log(f"andiron: {text}{why}", getattr(xbmc, f"LOG{level.upper()}", 1))


def addon_id() -> str | None:
    """The id of the add-on that Kodi runs here; `None` elsewhere."""
    try:
        import xbmcaddon  # type: ignore[import-not-found] # Kodi has it
    except ImportError:
        return None
    try:
        return xbmcaddon.Addon().getAddonInfo("id") or None
    except Exception:  # whatever Kodi raises where it is a script that belongs to no add-on
        return None


def serving_threads() -> int | None:
    """What a server is told so that it serves by itself, whatever its program does meanwhile."""
    return None if andiron.engine == "native" else _THREADS


def is_this_machine(host: str | None) -> bool:
    """Whether a host is this machine by its loopback network, where programs of the same user need no secret."""
    if host is None or host.lower() in ("localhost", "::1", "[::1]"):
        return True
    return host.startswith("127.") and host.replace(".", "").isdigit()


def network_address(host: str | None, port: int) -> str:
    """The address of a host and a port: plain TCP where that stays on this machine, and TLS where it leaves it.

    >>> network_address("localhost", 9099), network_address("192.168.1.5", 9099), network_address("::1", 0)
    ('tcp://localhost:9099', 'tls://192.168.1.5:9099', 'tcp://[::1]:0')
    """
    scheme = "tcp" if is_this_machine(host) else "tls"
    host = "localhost" if host is None else host.lower() or "0.0.0.0"
    bracketed = f"[{host}]" if ":" in host and host[:1] != "[" else host
    return f"{scheme}://{bracketed}:{port}"


if TYPE_CHECKING:

    class Place(NamedTuple):
        """Where an object is found."""

        name: str
        host: str | None
        port: int | None
        secret: str | os.PathLike[str] | None

else:
    from andiron._rows import row

    Place = row("Place", "name host port secret")


def checked(place: Place) -> Place:
    """A place, once it is known that it can be one."""
    name, host, port, secret = place
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r}: an object is found by a name, which is a str")
    if host is not None and not isinstance(host, str):
        raise TypeError(f"host={host!r}: a host is a str, or None for a name without any port")
    if isinstance(port, str) and port.isdigit():
        port = int(port)  # as settings have it
    if port is not None and (not isinstance(port, int) or isinstance(port, bool)):
        raise TypeError(f"port={port!r}: a port is an int, or None for a name without any port")
    if port is not None and not 0 <= port <= 65535:
        raise ValueError(f"port={port}: ports are numbers from 0 to 65535")
    if port is None and not _is_path(host) and not is_this_machine(host):
        raise ValueError(f"host={host!r} is another machine, and port=None: give the port there")
    if port is None and not _is_path(host) and (":" in name or "/" in name):
        raise ValueError(f"name={name!r}: without a port it is a name on this machine, of A-Z a-z 0-9 . _ -")
    secret_file(secret)
    return Place(name, host, port, None if secret is None else os.fspath(secret))


def _is_path(host: str | None) -> bool:
    return host is not None and host.startswith("unix:")


def address_of(place: Place) -> str:
    """Where a server of this place listens. Without a port it has a name on this machine, the same as that of the object; the host ``unix:NAME`` says another one."""
    if _is_path(place.host):
        return str(place.host) if "/" in str(place.host) else str(place.host)[5:]
    return place.name if place.port is None else network_address(place.host, place.port)


def dialled(place: Place) -> str:
    """Where a client of this place connects: a server at all addresses of this machine is reached at one of them.

    >>> dialled(Place("kodi-IPC", "0.0.0.0", 9099, None))
    'tls://localhost:9099'
    """
    if place.port is None or place.host not in _EVERYWHERE:
        return address_of(place)
    return f"tls://localhost:{place.port}"


def uri_of(place: Place) -> str:
    """As Pyro writes it.

    >>> uri_of(Place("kodi-IPC", "localhost", 9099, None)), uri_of(Place("kodi-IPC", None, None, None))
    ('PYRO:kodi-IPC@localhost:9099', 'PYRO:kodi-IPC@./u:kodi-IPC')
    """
    if _is_path(place.host):
        return f"PYRO:{place.name}@./u:{str(place.host)[5:]}"
    if place.port is None:
        return f"PYRO:{place.name}@./u:{place.name}"
    _, _, location = network_address(place.host, place.port).partition("://")
    return f"PYRO:{place.name}@{location}"


def place_of(uri: str, secret: str | os.PathLike[str] | None) -> Place:
    """The place of what `uri_of` gives, or anybody wrote.

    >>> place_of("PYRO:kodi-IPC@[::1]:9099", None)
    Place(name='kodi-IPC', host='::1', port=9099, secret=None)
    """
    scheme, _, rest = uri.partition(":")
    name, at, location = rest.rpartition("@")
    host, _, port = location.rpartition(":")
    if scheme.upper() == "PYRO" and name and location.startswith("./u:"):
        path = location[4:]
        return Place(name, None if path == name else f"unix:{path}", None, secret)
    if scheme.upper() != "PYRO" or not name or not at or not port.isdigit():
        raise ValueError(f"{uri!r} is no address of an object: it is written as `PYRO:NAME@HOST:PORT`")
    return checked(Place(name, host.strip("[]"), int(port), secret))


def settings_of(add_on_id: str, place: Place) -> Place:
    """The place that the settings of an add-on say, in Kodi; the one that was given where they cannot be used, which is logged."""
    try:
        import xbmcaddon
    except ImportError:
        return place
    try:
        setting = xbmcaddon.Addon(add_on_id).getSetting
        name, host, port = setting("data_name"), (setting("host") or "").strip(), int(setting("port"))
        if not name or not host:
            raise ValueError("`data_name` or `host` is empty")
        return checked(Place(name, host, port, setting("secret") or place.secret))
    except Exception as error:  # whatever Kodi raises where there is no such add-on
        log(
            "warning",
            f"the settings of {add_on_id!r} cannot be used, so {uri_of(place)} is taken in their place",
            error,
        )
        return place


# Secrets.


class _Files:
    """Secrets that were given as text, as the files that an engine takes: of memory where the system has such, so that nothing is left behind."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._lock = allocate_lock()
        self._folder: str | None = None
        self._process = os.getpid()
        _fork.inherits(self)

    def forked(self) -> None:
        """Has a lock that nobody holds. Files of memory are inherited; the others are the parent's, who removes them."""
        self._lock = allocate_lock()
        if self._folder is not None:
            self._folder, self._paths = None, {}

    def path(self, text: str) -> str:
        """The file of a secret."""
        with self._lock:
            path = self._paths.get(text)
            if path is None or not _holds(path, text):
                path = self._paths[text] = self._in_memory(text) or self._on_disk(text)
            return path

    def unnamed(self, said: str, how: str) -> str:
        """Words about such a file, as words about the text, which is all that the program knows."""
        for path in list(self._paths.values()):
            said = said.replace(f"line 1 of {path}: ", f"`{how}`: ")
        return said

    def _in_memory(self, text: str) -> str | None:
        if not hasattr(os, "memfd_create"):
            return None
        number = -1
        try:
            number = os.memfd_create("andiron-secret")
            os.fchmod(number, 0o600)
            os.write(number, text.encode() + b"\n")
            path = f"/proc/self/fd/{number}"
            with open(path, "rb"):
                return path
        except OSError:  # where /proc is not there, or not for us
            if number >= 0:
                os.close(number)
            return None

    def _on_disk(self, text: str) -> str:
        import tempfile

        if self._folder is None or not os.path.isdir(self._folder):
            import atexit

            self._folder = tempfile.mkdtemp(prefix="andiron-")
            atexit.register(self._remove, self._folder, os.getpid())
        number, path = tempfile.mkstemp(dir=self._folder)  # which is for this user alone
        with open(number, "w", encoding="ascii") as file:
            file.write(text + "\n")
        return path

    @staticmethod
    def _remove(folder: str, process: int) -> None:
        if process == os.getpid():
            import shutil

            shutil.rmtree(folder, ignore_errors=True)


def _holds(path: str, text: str) -> bool:
    """Whether the file of a secret is there still: programs that become daemons close all that is open, and what is opened next may have its number."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(len(text) + 2) == text.encode() + b"\n"
    except OSError:
        return False


_files = _Files()


def is_text(secret: object) -> bool:
    """Whether it is a secret itself, and not the path of its file."""
    return isinstance(secret, str) and secret.strip().startswith("andiron1-")


def secret_file(secret: str | os.PathLike[str] | None) -> str | None:
    """The file of a secret: of its text, or of the path of the file itself; `None` for none, which means the usual one of the user."""
    if secret is None:
        return None
    if not isinstance(secret, (str, os.PathLike)):
        raise TypeError(
            f"secret= is the text of a secret, or the path of its file, not a {type(secret).__name__}"
        )
    if is_text(secret):
        return _files.path(str(secret).strip())
    path = os.path.expanduser(os.fspath(secret))
    if not os.path.exists(path):
        raise _errors.AuthenticationError(
            "secret= is neither a secret nor the path of its file: make one with `andiron secret new`, and give its text, `andiron1-...`, or the path, at both ends"
        )
    return path


def in_words(error: andiron.Error, how: str = "secret=") -> andiron.Error:
    """An error that tells how to give a secret here."""
    said = _files.unnamed(error.message, how).replace(
        "its file by `--secret-file` (`secret_file` in a program)", f"it by `{how}`"
    )
    return type(error)(
        said.replace(
            "its file to both ends by `--secret-file` (`secret_file` in a program)",
            f"it to both ends by `{how}`",
        )
    )


# Connections.


def is_over(hub: andiron.Hub) -> bool:
    """Whether a connection has ended, as far as this machine knows: also where its other end was killed while nobody asked anything of it.

    What was sent then might have run, so who looks before he asks can go on with another connection.
    """
    number = hub.fileno()
    if number < 0 or not hasattr(select, "poll"):
        return number < 0
    looking = select.poll()
    # Where a system has no name for it, it tells of an end unasked.
    looking.register(number, getattr(select, "POLLRDHUP", 0))
    return bool(looking.poll(0))


class Connected:
    """The connection to an address, which all threads of this process share, and the objects that were found there."""

    def __init__(self, hub: andiron.Hub) -> None:
        self.hub = hub
        self._found: dict[str, Any] = {}

    def is_open(self) -> bool:
        """Whether it is there still, as far as anybody knows."""
        return not is_over(self.hub)

    def object(self, name: str) -> Any:
        """The object of this name; that it was found is kept."""
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self.hub[name]
        return found

    def forget(self, name: str) -> bool:
        """Has the object of this name be found anew. Whether it had been found."""
        return self._found.pop(name, None) is not None


class _Kept:
    """One connection for each address and secret, for as long as the process runs. It is made where it is first needed, and anew where it was lost."""

    def __init__(self) -> None:
        self._connected: dict[tuple[str, str | None], Connected] = {}
        self._lock = allocate_lock()
        _fork.inherits(self)

    def forked(self) -> None:
        """Has a lock that nobody holds; the hubs find their way by themselves."""
        self._lock = allocate_lock()

    def get(self, place: Place, unless: Connected | None) -> Connected:
        key = dialled(place), secret_file(place.secret)
        with self._lock:
            known = self._connected.get(key)
        if known is not None and known is not unless and known.is_open():
            return known
        made = Connected(opened(place, *key))
        with self._lock:
            other = self._connected.get(key)
            if other is known or other is None:
                self._connected[key] = made
                return made
        made.hub.close()  # another thread was faster
        return other


def opened(place: Place, address: str, file: str | None, seconds: float = TIMEOUT) -> andiron.Hub:
    """A connection of its own to the address of a place, with the file of its secret, in so many seconds at most. Errors are in the words that hold here."""
    posted = file is None and place.port and is_this_machine(place.host)

    def attempt() -> andiron.Hub:
        try:
            return connect(address, timeout=seconds, secret_file=file)
        except andiron.AuthenticationError as error:
            if posted and not is_answered(place):
                raise andiron.UnavailableError(f"no server at {address}: start it first") from error
            raise in_words(error) from error

    # The secret of a server that begins or ends at this moment may not be there yet, or no more.
    return patiently(attempt, andiron.AuthenticationError, _MOMENT if posted else 0.0)


def is_answered(place: Place) -> bool:
    """Whether anybody listens there. Where no secret of a server is found, it may not run, or be another user's."""
    import socket

    try:
        socket.create_connection((place.host or "localhost", place.port or 0), TIMEOUT).close()
    except OSError:
        return False
    return True


_kept = _Kept()


def connected(place: Place, unless: Connected | None = None) -> Connected:
    """The connection to a place, and another one than ``unless``, which has turned out to be lost."""
    return _kept.get(place, unless)
