"""Names of objects: a name server is an Andiron server, in whose store the names are."""

from __future__ import annotations

import re
from _thread import allocate_lock

import andiron
from andiron._hub import chosen, patiently
from andiron.compat import _shared
from andiron.compat.pyro import errors
from andiron.compat.pyro._config import config
from andiron.compat.pyro.core import NAMESERVER_NAME, URI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")
    Found = dict[str, Any]

__all__ = ["NameServer", "locateNS", "locate_ns", "lookup", "resolve", "type_meta", "yplookup"]

#: Whose entries of the store the names are.
AUTHOR = "pyro.names"

#: That of Andiron.
DEFAULT_PORT = 9099

_NOT_TEXT = "metadata should not be a str, but another iterable (set, list, etc)"


class NameServer:
    """Names, each with the address of an object and with tags that tell more of it (its metadata).

    They are kept in a store, under the author ``pyro.names``, and survive the end of its server where that keeps what is persistent. What is asked often is not asked of the
    server again as long as nobody changes it.
    """

    def __init__(self, store: Callable[[], andiron.Store]) -> None:
        self._store = store
        self._persist = True

    def lookup(self, name: str, return_metadata: bool = False) -> Any:
        """The address of a name, as a `URI`; with its metadata, a set, where that is asked for. `NamingError` where there is none."""
        entry = self._ask(lambda store: store.get(name))
        if entry is None:
            raise errors.NamingError(f"unknown name: {name}")
        uri, metadata = _entry(name, entry)
        return (URI(uri), metadata) if return_metadata else URI(uri)

    def register(
        self, name: str, uri: str | URI, safe: bool = False, metadata: Iterable[str] | None = None
    ) -> None:
        """Gives an address a name; in place of another one, or not so where it is to be ``safe``: then `NamingError`."""
        if isinstance(uri, URI):
            uri = str(uri)
        elif isinstance(uri, str):
            URI(uri)
        else:
            raise TypeError("only URIs or strings can be registered")
        _check_name(name)
        entry = {"uri": uri, "metadata": _tags(metadata)}
        try:
            self._ask(lambda store: self._set(store, name, entry, 0 if safe else None))
        except andiron.ConflictError:
            raise errors.NamingError(f"name already registered: {name}") from None

    def set_metadata(self, name: str, metadata: Iterable[str] | None) -> None:
        """Has a name have this metadata and no other."""
        _check_name(name)
        tags = _tags(metadata)
        try:
            self._ask(
                lambda store: store.change(
                    name, lambda entry: {"uri": _entry(name, entry)[0], "metadata": tags}
                )
            )
        except KeyError:
            raise errors.NamingError(f"unknown name: {name}") from None

    def remove(self, name: str | None = None, prefix: str | None = None, regex: str | None = None) -> int:
        """Removes a name, or those that begin so, or those that a pattern fits. How many there were."""
        if name and name != NAMESERVER_NAME:
            return self._ask(lambda store: _removed(store, name))
        if not prefix and not regex:
            return 0
        names = [name for name in self.list(prefix, None if prefix else regex) if name != NAMESERVER_NAME]
        return self._ask(lambda store: sum(_removed(store, name) for name in names))

    def list(
        self,
        prefix: str | None = None,
        regex: str | None = None,
        return_metadata: bool = False,
        *,
        metadata_all: Iterable[str] | None = None,
        metadata_any: Iterable[str] | None = None,
    ) -> Found:
        """The addresses, as text, by their names: of all, of those that begin so, or of those that a pattern fits from the beginning on; with their metadata on request.

        ``metadata_all``, ``metadata_any``: as `yplookup`, by the names that Pyro4 has for it.
        """
        if sum(map(bool, (prefix, regex, metadata_all, metadata_any))) > 1:
            raise ValueError("you can only filter on one thing at a time")
        if metadata_all or metadata_any:
            return self.yplookup(metadata_all, metadata_any, return_metadata)
        fits = _fits(prefix, regex)
        return {
            name: (uri, metadata) if return_metadata else uri
            for name, (uri, metadata) in self._all().items()
            if fits(name)
        }

    def yplookup(
        self,
        meta_all: Iterable[str] | None = None,
        meta_any: Iterable[str] | None = None,
        return_metadata: bool = True,
    ) -> Found:
        """The addresses of those that have all of these tags, or any of them, by their names; with their metadata where that is not refused."""
        if meta_all and meta_any:
            raise ValueError("you can't use meta_all or meta_any at the same time")
        if not meta_all and not meta_any:
            return {}
        wanted = frozenset(_tags(meta_all or meta_any))
        return {
            name: (uri, metadata) if return_metadata else uri
            for name, (uri, metadata) in self._all().items()
            if (wanted <= metadata if meta_all else wanted & metadata)
        }

    def count(self) -> int:
        """How many names there are."""
        return self._ask(len)

    def ping(self) -> None:
        """Does nothing, where the name server can be reached."""
        self._ask(lambda store: NAMESERVER_NAME in store)

    def _all(self) -> dict[str, tuple[str, set[str]]]:
        """What each name has; without entries that somebody else put there, and that are no addresses."""
        entries = self._ask(lambda store: list(store.items()))
        found = {name: _parts(entry) for name, entry in entries}
        return {name: parts for name, parts in found.items() if parts is not None}

    def _ask(self, question: Callable[[andiron.Store], T]) -> T:
        try:
            return question(self._store())
        except andiron.ConflictError:
            raise
        except andiron.Error as error:
            raise errors.as_here(error) from error

    def _set(self, store: andiron.Store, name: str, entry: dict[str, Any], version: int | None) -> None:
        if self._persist:
            try:
                store.set(name, entry, persist=True, if_version=version)
            except andiron.UnsupportedError:
                self._persist = False  # it keeps nothing
            else:
                return
        store.set(name, entry, if_version=version)


class LocatedNameServer(NameServer):
    """A name server that was found, with what a proxy has. Any thread may use it; a connection that was lost is made anew by the next use."""

    def __init__(self, address: str, uri: URI, secret: Any) -> None:
        super().__init__(self._connected)
        self._address = address
        self._secret = secret
        #: The connection, and the names there.
        self._at: tuple[andiron.Hub, andiron.Store] | None = None
        self._lock = allocate_lock()
        self._pyroUri = uri
        #: Seconds that a question may take; 0 or `None`: as long as it takes.
        self._pyroTimeout: float | None = config.COMMTIMEOUT

    def _connected(self) -> andiron.Store:
        at = self._at
        if at is not None and not _shared.is_over(at[0]):
            return at[1]
        try:
            hub = andiron.connect(
                self._address,
                timeout=self._pyroTimeout or None,
                secret_file=_shared.secret_file(self._secret),
            )
        except andiron.AuthenticationError as error:
            raise _shared.in_words(error, "config.SECRET") from error
        made = hub, hub.store.author(AUTHOR)
        with self._lock:
            other = self._at
            if other is None or other is at:
                self._at, self._persist = made, True
                return made[1]
        hub.close()  # another thread was faster
        return other[1]

    def _ask(self, question: Callable[[andiron.Store], T]) -> T:
        if not self._pyroTimeout:
            return super()._ask(question)
        with andiron.timeout(self._pyroTimeout):
            return super()._ask(question)

    def _pyroBind(self) -> bool:
        """Connects. Whether it had to."""
        if self._pyroConnection is not None:
            return False
        self._ask(lambda store: store)
        return True

    @property
    def _pyroConnection(self) -> andiron.Hub | None:
        """The connection, where there is one."""
        at = self._at
        return at[0] if at is not None and not _shared.is_over(at[0]) else None

    def _pyroRelease(self) -> None:
        """Ends the connection."""
        with self._lock:
            at, self._at = self._at, None
        if at is not None:
            at[0].close()

    def _pyroReconnect(self, tries: int = 100_000_000) -> None:
        """Connects anew: tries to for two seconds with each further try."""
        self._pyroRelease()
        try:
            patiently(self._pyroBind, errors.PyroError, 2.0 * (tries - 1))
        except errors.PyroError as error:
            raise errors.ConnectionClosedError(f"failed to reconnect: {error}") from error

    def _pyroClaimOwnership(self) -> None:
        """Does nothing: any thread may use it."""

    def __enter__(self) -> LocatedNameServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pyroRelease()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self._pyroUri}>"


def locate_ns(
    host: Any = "", port: int | None = None, broadcast: bool = True, *, secret: Any = None
) -> LocatedNameServer:
    """The name server of a host and a port, where `start_ns` or ``python -m andiron.compat.pyro.nameserver`` started one; `NamingError` where there is none.

    Without a host: the one of the settings (``NS_HOST``, ``NS_PORT``), and where none is there either, the Andiron server of this machine (``andiron serve``).
    ``broadcast`` changes nothing: nobody in the network is asked who the name server is, since anybody could answer.
    """
    del broadcast
    failed: list[str] = []
    for address, location in _places(str(host or ""), port):
        found = LocatedNameServer(
            address, URI(f"PYRO:{NAMESERVER_NAME}@{location}"), secret or config.SECRET or None
        )
        try:
            found.ping()
        except errors.PyroError as error:
            found._pyroRelease()
            failed.append(f"{address} ({error})")
        else:
            return found
    raise errors.NamingError(
        f"Failed to locate the nameserver: start one with `andiron serve`, or `andiron.compat.pyro.start_ns()`. There is none at {', nor at '.join(failed)}"
    )


def locateNS(
    host: Any = None,
    port: int | None = None,
    broadcast: bool = True,
    hmac_key: Any = None,
    *,
    secret: Any = None,
) -> LocatedNameServer:
    """As `locate_ns`, under the name that it has in Pyro4."""
    _check_key(hmac_key)
    return locate_ns(host, port, broadcast, secret=secret)


def _check_key(hmac_key: Any) -> None:
    if hmac_key:
        raise NotImplementedError(
            "hmac_key= proves nothing here: nothing is needed on one machine, and beyond it a secret, `secret=`, which `andiron secret new` makes"
        )


def _places(host: str, port: int | None) -> list[tuple[str, str]]:
    """Where a name server may be: the address for Andiron, and the location as Pyro writes it."""
    if URI.isUnixsockLocation(host):
        return [(_at_socket(host[4:]), host)]
    named = [] if host or port else [(chosen(None), _location_of(chosen(None)))]
    host, port = host or config.NS_HOST, int(port or config.NS_PORT)
    place = _shared.checked(_shared.Place(NAMESERVER_NAME, host.strip("[]"), port, None))
    return [(_shared.dialled(place), _shared.uri_of(place).partition("@")[2]), *named]


def _location_of(address: str) -> str:
    """The location of an address of Andiron."""
    _, network, location = address.partition("://")
    if network:
        return location if re.search(r":\d+$", location) else f"{location}:{DEFAULT_PORT}"
    return f"./u:{address[5:] if address.startswith('unix:') else address}"


def _at_socket(path: str) -> str:
    """The address of what stands behind ``./u:``: the path of a socket, or a name of Andiron."""
    return f"unix:{path}" if "/" in path else path


def resolve(uri: str | URI, delay_time: float = 0.0, hmac_key: Any = None, *, secret: Any = None) -> URI:
    """The address that an address by name (``PYRONAME:``) or by tags (``PYROMETA:``) stands for: a ``PYRO:`` one, of which several that fit one at random.

    ``delay_time``: seconds that a name is waited for which is not there yet; without it ``NS_LOOKUP_DELAY``.
    """
    _check_key(hmac_key)
    if isinstance(uri, str):
        uri = URI(uri)
    elif not isinstance(uri, URI):
        raise TypeError("can only resolve Pyro URIs")
    if uri.protocol == "PYRO":
        return uri
    host = f"./u:{uri.sockname}" if uri.sockname else uri.host
    with locate_ns(host, uri.port, secret=secret) as names:
        if uri.protocol == "PYRONAME":
            found: URI = lookup(names, uri.object, delay_time=delay_time)
            return found
        candidates = yplookup(names, uri.object, return_metadata=False, delay_time=delay_time)
    if not candidates:
        raise errors.NamingError(
            f"no registrations available with desired metadata properties {sorted(uri.object)}"
        )
    import random

    return URI(random.choice(list(candidates.values())))


def lookup(nameserver: Any, name: str, return_metadata: bool = False, delay_time: float = 0) -> Any:
    """What `NameServer.lookup` gives; a name that is not there yet is waited for so many seconds, or ``NS_LOOKUP_DELAY``."""
    return patiently(
        lambda: nameserver.lookup(name, return_metadata),
        errors.NamingError,
        delay_time or config.NS_LOOKUP_DELAY,
    )


def yplookup(
    nameserver: Any,
    meta_all: Iterable[str] | None = None,
    meta_any: Iterable[str] | None = None,
    return_metadata: bool = True,
    delay_time: float = 0,
) -> Found:
    """What `NameServer.yplookup` gives; where nothing has these tags yet that is waited for so many seconds, or ``NS_LOOKUP_DELAY``."""

    def attempt() -> Found:
        found: Found = nameserver.yplookup(meta_all, meta_any, return_metadata)
        if not found:
            raise errors.NamingError("nothing has these tags")
        return found

    try:
        return patiently(attempt, errors.NamingError, delay_time or config.NS_LOOKUP_DELAY)
    except errors.NamingError:
        return {}


def type_meta(class_or_object: Any, prefix: str = "class:") -> set[str] | frozenset[str]:
    """The names of a class, or of the class of an object, and of those that it is made of, as tags for a name.

    >>> class Player:
    ...     __module__ = "music"
    >>> type_meta(Player), type_meta(Player()) == type_meta(Player)
    ({'class:music.Player'}, True)
    """
    cls = class_or_object if hasattr(class_or_object, "__mro__") else type(class_or_object)
    return {
        f"{prefix}{base.__module__}.{base.__name__}" for base in cls.__mro__ if base.__module__ != "builtins"
    }


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError("name must be a str")


def _tags(metadata: Iterable[str] | None) -> list[str]:
    """Metadata as it is kept."""
    if isinstance(metadata, str):
        raise TypeError(_NOT_TEXT)
    tags = set(metadata or ())
    if not all(isinstance(tag, str) for tag in tags):
        raise TypeError("metadata is made of strings")
    return sorted(tags)


def _entry(name: str, entry: Any) -> tuple[str, set[str]]:
    """Address and metadata of what is kept under a name."""
    parts = _parts(entry)
    if parts is None:
        raise errors.NamingError(f"the entry of {name!r} in the store is no address of an object")
    return parts


def _parts(entry: Any) -> tuple[str, set[str]] | None:
    """Address and metadata of what is kept; `None` of anything else. An address alone may be put there by hand, as by ``andiron set``."""
    uri, tags = (entry.get("uri"), entry.get("metadata")) if isinstance(entry, dict) else (entry, ())
    tags = tags or ()
    if not isinstance(uri, str) or not isinstance(tags, (list, tuple, set)):
        return None
    return (uri, set(tags)) if all(isinstance(tag, str) for tag in tags) else None


def _fits(prefix: str | None, regex: str | None) -> Callable[[str], object]:
    if prefix:
        return lambda name: name.startswith(prefix)
    if not regex:
        return lambda _: True
    try:
        return re.compile(regex).match
    except re.error as error:
        raise errors.NamingError(f"invalid regex: {error}") from None


def _removed(store: andiron.Store, name: str) -> int:
    try:
        del store[name]
    except KeyError:
        return 0
    return 1
