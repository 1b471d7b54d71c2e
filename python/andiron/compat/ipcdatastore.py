"""``IPCClientX`` and ``DataObjects`` of service.ipcdatastore: values by author and name that all processes share.

Only the imports change in a program that was written for that add-on::

    from andiron.compat.ipcdatastore import IPCClientX  # was: from ipcclientx import IPCClientX

    client = IPCClientX()
    client.set("x", 20, author="weather")
    client.get("x", author="weather", return_tuple=True)  # Data(value=20, ts=1795803558.9, cached=False)

What differs, and why, says ``docs/moving/ipcdatastore.md``.
"""

from __future__ import annotations

import time
from _thread import allocate_lock

import andiron
from andiron import _errors, _fork, _hub
from andiron._rows import row
from andiron.compat import _datastore, _shared
from andiron.compat._datastore import DataObject, DataObjects
from andiron.compat._datastore_errors import (
    IPCERROR_CONNECTION_CLOSED,
    IPCERROR_NO_VALUE_FOUND,
    IPCERROR_NONSERIALIZABLE,
    IPCERROR_RESTOREFAILED,
    IPCERROR_SAVEFAILED,
    IPCERROR_SERVER_TIMEOUT,
    IPCERROR_UKNOWN,
    IPCERROR_USE_CACHED_COPY,
    NoError,
    RestoreFailedError,
    SaveFailedError,
    ServerReconnectFailedError,
    ServerUnavailableError,
    UnknownError,
    UseCachedCopyError,
    VarNotFoundError,
    explained,
)
from andiron.compat._shared import IPCClientError, ObjectNotSerializableError
from andiron.compat.ipc import IPCClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any, NamedTuple, TypeVar

    T = TypeVar("T")

    class Data(NamedTuple):
        """A value, when it was set, and whether who asked had it already; see `IPCClientX.get`."""

        value: Any
        ts: float | None
        cached: bool

else:
    Data = row("Data", "value ts cached")

__all__ = [
    "IPCERROR_CONNECTION_CLOSED",
    "IPCERROR_NONSERIALIZABLE",
    "IPCERROR_NO_VALUE_FOUND",
    "IPCERROR_RESTOREFAILED",
    "IPCERROR_SAVEFAILED",
    "IPCERROR_SERVER_TIMEOUT",
    "IPCERROR_UKNOWN",
    "IPCERROR_USE_CACHED_COPY",
    "Data",
    "DataObject",
    "DataObjects",
    "IPCClientError",
    "IPCClientX",
    "NoError",
    "ObjectNotSerializableError",
    "RestoreFailedError",
    "SaveFailedError",
    "ServerReconnectFailedError",
    "ServerUnavailableError",
    "UnknownError",
    "UseCachedCopyError",
    "VarNotFoundError",
]

#: Who is author and requestor where nobody says, and the program is no add-on that Kodi runs.
_NOBODY = "service.ipcdatastore"
#: Of so many entries at most it is known which version was given to whom.
_GIVEN = 10_000
#: The stores of so many authors are at hand.
_AUTHORS = 100
#: Seconds: the pause before the second try, which doubles for each later one.
_PAUSE = 0.01


class IPCClientX(IPCClient):
    """A client of the store of an `IPCServer` that exposes a `DataObjects`, or of any other server of Andiron: then ``name`` is ``"store"``.

    Values are kept by an author and a name, both as `str` makes them. Any thread may use it. What fails gives False or None, or where ``raise_exception`` is set raises one of the
    errors of this module.
    """

    #: Whether what fails is raised.
    raise_exception = False
    #: So often at most something is tried that cannot have been done, and what only reads; 1 at least.
    num_of_server_retries = 5
    #: Seconds that one try may take.
    timeout = 25.0
    ReturnData = Data

    def __init__(
        self,
        addon_id: str = "",
        name: str = "kodi-IPC",
        host: str | None = "localhost",
        port: int | None = 9099,
        datatype: str = "pickle",
        *,
        secret: str | os.PathLike[str] | None = None,
    ) -> None:
        """As for `IPCClient`."""
        super().__init__(addon_id, name, host, port, datatype, secret=secret)
        #: Author and requestor where nobody says: the id of the add-on that runs.
        self.addonname = _shared.addon_id() or _NOBODY
        self._lock = allocate_lock()
        self._hub: andiron.Hub | None = None
        #: The address for which that is.
        self._hub_of = ""
        #: The stores of authors that were read there.
        self._stores: dict[str, andiron.Store] = {}
        #: The version of an entry that was given last to a requestor, by requestor, author and name.
        self._given: dict[tuple[str, str, str], int] = {}
        _fork.inherits(self)

    def forked(self) -> None:
        """Has a lock that nobody holds; the hub finds its way by itself."""
        self._lock = allocate_lock()

    # Entries.

    def set(self, name: object, value: Any, author: object = None, persist: bool = False) -> bool:
        """Sets a value. True: every reader sees it, and with ``persist`` it is on the server's disk.

        A value is of one author and name, whoever sets it. Without ``persist`` an entry that was persistent is so no more.
        """
        author, name, kept = self._author(author), str(name), bool(persist)

        def put(hub: andiron.Hub) -> bool:
            hub.store.author(author).set(name, value, persist=kept)
            return True

        return self._do(put, False, author, name, value=value, own=SaveFailedError)

    def get(
        self, name: object, author: object = None, requestor: object = None, return_tuple: bool = False
    ) -> Any:
        """The value, or with ``return_tuple`` ``Data(value, ts, cached)``; None or ``Data(None, None, False)`` where there is none or it failed.

        It is never old. ``ts``: when it was set, in float seconds since the Unix epoch by the clock of the server; a None that was set has one. ``cached``: this client has
        given the requestor this version before, so nothing was sent, or no more than that it is still the one.
        """
        of, name = self._author(author), str(name)
        whom = self.addonname if requestor is None else str(requestor)
        entry = self._entry(of, name)
        if entry is None:
            return Data(None, None, False) if return_tuple else None
        value, version, ts = entry[:3]
        cached = self._was_given((whom, of, name), version)
        return Data(value, ts, cached) if return_tuple else value

    def delete(self, name: object, author: object = None, return_tuple: bool = False) -> Any:
        """Takes an entry out and gives its value, as `get` does."""
        author, name = self._author(author), str(name)
        failed = Data(None, None, False) if return_tuple else None

        def take(hub: andiron.Hub) -> Any:
            ts, value = _datastore.taken(hub, author, name)
            return Data(value, ts, False) if return_tuple else value

        return self._do(take, failed, author, name)

    def get_data_list(self, author: object = None) -> dict[str, list[str]] | None:
        """The names that there are, by their authors; of one author alone where it is given, and ``{}`` where that has none. None where it failed."""
        only = None if author is None else str(author)
        return self._do(lambda hub: _datastore.names_of(hub, only), None, only, None, again=True)

    def clearall(self) -> bool:
        """Removes all entries, of all authors, also the persistent ones."""

        def clear(hub: andiron.Hub) -> bool:
            _datastore.clear_all(hub)
            return True

        return self._do(clear, False, None, None)

    def clearcache(self) -> bool:
        """Forgets what was read here, by whichever requestor: it is sent again."""
        with self._lock:
            self._forget()
        return True

    # What outlives the server.

    def savedata(self, author: object = None) -> bool:
        """Has the server keep the entries of an author as they are, in place of what this add-on had saved of them before. They outlive the server."""
        of, saved = self._author(author), self.addonname

        def save(hub: andiron.Hub) -> bool:
            hub.store.author(of).save(saved)
            return True

        return self._do(save, False, of, saved, own=SaveFailedError)

    def restoredata(self, author: object = None) -> bool:
        """Sets the entries of an author as `savedata` kept them; others stay."""
        of, saved = self._author(author), self.addonname

        def load(hub: andiron.Hub) -> bool:
            hub.store.author(of).load(saved)
            return True

        return self._do(load, False, of, saved, own=RestoreFailedError)

    def delete_data(self, author: object = None) -> bool:
        """Deletes what `savedata` kept of an author."""
        of, saved = self._author(author), self.addonname

        def delete(hub: andiron.Hub) -> bool:
            hub.store.author(of).delete_snapshot(saved)
            return True

        return self._do(delete, False, of, saved, own=RestoreFailedError)

    def add_persistence(self, varname: object, author: object = None) -> bool:
        """Has an entry be there again after the end of the server, until it is set anew without ``persist``."""
        return self._persist(varname, author, True)

    def remove_persistence(self, varname: object, author: object = None) -> bool:
        """Has an entry be gone with the server."""
        return self._persist(varname, author, False)

    def _persist(self, varname: object, author: object, persist: bool) -> bool:
        author, name = self._author(author), str(varname)

        def keep(hub: andiron.Hub) -> bool:
            _datastore.keep(hub, author, name, persist)
            return True

        return self._do(keep, False, author, name, own=SaveFailedError)

    # What was read.

    def _entry(self, author: str, name: str) -> tuple[Any, ...] | None:
        """Value, version and time of an entry; None where there is none or it failed."""
        known = self._known(author, name)
        if known is not None:
            return known
        return self._do(lambda hub: self._read(hub, author, name), None, author, name, again=True)

    def _known(self, author: str, name: str) -> tuple[Any, ...] | None:
        """The entry where it is known here to be current, so that nobody has to be asked."""
        try:
            known = self._stores[author]._engine.known(name) if self._hub_of == self.uri else None
        except Exception:  # whatever it is, who asks the server hears of it
            return None
        return None if known is None else known[0]

    def _read(self, hub: andiron.Hub, author: str, name: str) -> tuple[Any, ...]:
        store = hub.store.author(author)
        entry = store.entry(name)
        if entry is None:
            raise _datastore.missing(author, name)
        with self._lock:
            if self._hub is hub:
                if len(self._stores) >= _AUTHORS:
                    self._stores.clear()
                self._stores[author] = store
        return entry

    @property
    def cache(self) -> dict[tuple[str, str], DataObject]:
        """The entries that were read here and are as they were then, by author and name. It is a copy: the values are kept once for this client, and 64 MiB at most."""
        found: dict[tuple[str, str], DataObject] = {}
        for (_, author, name), version in list(self._given.items()):
            try:
                entry = self._entry(author, name)
            except IPCClientError:
                continue
            if entry is not None and entry[1] == version:
                found[author, name] = DataObject(entry[2], entry[0])
        return found

    @cache.setter
    def cache(self, _: object) -> None:
        """To set it, as to ``{}``, forgets it, as `clearcache` does."""
        self.clearcache()

    def _was_given(self, whom: tuple[str, str, str], version: int) -> bool:
        """Whether this version was given to this requestor before. From now on it was."""
        if self._given.get(whom) == version:
            return True
        with self._lock:
            self._given[whom] = version
            if len(self._given) > _GIVEN:
                del self._given[next(iter(self._given))]
        return False

    def _author(self, author: object) -> str:
        return self.addonname if author is None else str(author)

    # The connection.

    @property
    def hub(self) -> andiron.Hub:
        """The connection, for what Andiron has beyond this: ``client.hub.store.author("weather").watch("rain")``. Raises where it cannot be made.

        It is the one of this moment: when it is lost this client makes another one.
        """
        return self._connected()

    def close(self) -> None:
        """Ends the connection; what is asked later makes another one."""
        with self._lock:
            hub = self._forget()
        if hub is not None:
            hub.close()

    def _forget(self) -> andiron.Hub | None:
        """Gives what the connection was, which goes on for other threads that use it, and ends when none does."""
        hub, self._hub = self._hub, None
        self._stores.clear()
        self._given.clear()
        return hub

    def _connected(self) -> andiron.Hub:
        """The connection to where `uri` says now."""
        with self._lock:
            hub, uri = self._hub, self.uri
            if hub is None or self._hub_of != uri or _shared.is_over(hub):
                self._forget()
                hub = self._hub = _opened(
                    _shared.place_of(uri, self.secret), min(self.timeout, _shared.TIMEOUT)
                )
                self._hub_of = uri
            return hub

    def _lost(self, hub: andiron.Hub) -> bool:
        """Whether this connection is lost. Then what was read over it is forgotten."""
        try:
            if hub.fileno() >= 0:
                return False
            hub.close()
        except _errors.Error:
            pass  # it is that of a parent, and cannot be made anew here
        with self._lock:
            if self._hub is hub:
                self._forget()
        return True

    def _do(
        self,
        work: Callable[[andiron.Hub], T],
        failed: T,
        author: str | None,
        name: str | None,
        *,
        again: bool = False,
        value: Any = None,
        own: type[SaveFailedError | RestoreFailedError] | None = None,
    ) -> T:
        """What this gives where it is asked of a connection, or what is given where it fails.

        ``again``: it may be asked twice. ``value`` and ``own``: as for `explained`.
        """

        def explain(error: Exception, answered: bool) -> IPCClientError:
            return explained(error, self.uri, author, name, value, own, answered)

        try:
            return self._tried(work, again, explain)
        except Exception as error:  # as it always was: nothing is raised where nobody wants that
            told = explain(error, False)
            _shared.log("info", told.message)
            if self.raise_exception:
                raise told from told.__cause__
            return failed

    def _tried(
        self, work: Callable[[andiron.Hub], T], again: bool, explain: Callable[[Exception, bool], Exception]
    ) -> T:
        left = max(1, self.num_of_server_retries)
        pause = _PAUSE
        while True:
            kept, hub = self._hub, None
            try:
                with _hub.timeout(self.timeout):
                    hub = self._connected()
                    return work(hub)
            except (_errors.UnavailableError, _errors.UnknownError, _errors.OverloadedError) as error:
                # A server that is there may say so too, of its disk. Other threads go on to use the connection then.
                over = hub is not None and self._lost(hub)
                if isinstance(error, _errors.UnknownError) and not again:
                    raise
                if over and kept is not None and hub is kept:
                    continue  # that the server was started anew meanwhile is no try at this one
                left -= 1
                if not left:
                    raise explain(error, hub is not None and not over) from error
            time.sleep(pause)
            pause *= 2


def _opened(place: _shared.Place, seconds: float) -> andiron.Hub:
    """A connection for the store of a server: on one machine by a Unix socket where it has one beside its port. There is read without a question what nobody wrote."""
    hub = _shared.opened(place, _shared.dialled(place), _shared.secret_file(place.secret), seconds)
    try:
        names = sorted(hub)
        if place.name not in names:
            # It may be about to come: where the server was started anew its objects are registered behind that.
            raise andiron.UnavailableError(
                f"no object is named {place.name!r} at {hub.peer}: there are {', '.join(map(repr, names))}"
            )
        return _nearer(hub, place, seconds) or hub
    except BaseException:
        hub.close()
        raise


def _nearer(hub: andiron.Hub, place: _shared.Place, seconds: float) -> andiron.Hub | None:
    """Another connection to the same server, by which less has to be asked."""
    if place.name == "store" or place.port is None or not _shared.is_this_machine(place.host):
        return None
    try:
        beside = hub[place.name].beside()
        near = None if beside is None else andiron.connect(beside, timeout=seconds)
    except andiron.Error:  # it is another object, or its place is for others
        return None
    if near is not None:
        hub.close()
    return near
