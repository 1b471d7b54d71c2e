"""`DataObjects` of `andiron.compat.ipcdatastore`: a store as an object, and what is asked of a store on both sides."""

from __future__ import annotations

import os
import socket
from _thread import allocate_lock

from andiron import _errors
from andiron._expose import expose
from andiron._rows import row
from andiron._server import Server, one_at_least
from andiron._values import register
from andiron.compat import _datastore_errors as errors
from andiron.compat._shared import is_this_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NamedTuple, TypeVar

    from andiron._hub import Hub
    from andiron.compat._shared import Place

    T = TypeVar("T")

    class _Named(NamedTuple):
        ts: float
        value: Any

else:
    _Named = row("_Named", "ts value")

#: Rows of a listing that come at once.
_PAGE = 1000


class DataObject(_Named):
    """A stored value, and when it was set: float seconds since the Unix epoch, by the clock of the server."""

    __slots__ = ()


register(DataObject, "ipcdatastore.DataObject")


def names_of(hub: Hub, author: str | None) -> dict[str, list[str]]:
    """The names that there are, by their authors; of all authors page by page."""
    if author is not None:
        names = list(hub.store.author(author))
        return {author: names} if names else {}
    found: dict[str, list[str]] = {}
    store, more, after = hub["store"], True, None
    while more:
        more, rows = store.list(None, after, _PAGE)[:2]
        for row_ in rows:
            found.setdefault(row_[0], []).append(row_[1])
            after = row_[:2]
    return found


def clear_all(hub: Hub) -> None:
    """Removes the entries of all authors."""
    hub["store"].clear(None)


def taken(hub: Hub, author: str, name: str) -> DataObject:
    """Takes an entry out."""
    entry = hub.store.author(author)._engine.delete(name)
    if entry is None:
        raise missing(author, name)
    return DataObject(entry[2], entry[0])


def keep(hub: Hub, author: str, name: str, persist: bool) -> None:
    """Has an entry be there again after the end of the server, or not any more."""
    if not hub.store.author(author).persist(name, persist):
        raise missing(author, name)


def missing(author: str, name: str) -> errors.VarNotFoundError:
    """That there is no such entry."""
    error = errors.VarNotFoundError()
    error.updatemessage(name, author)
    return error


class DataObjects:
    """A store by authors and names as an object: any server can offer it, and a program use it as it is.

    An `IPCServer` that exposes one has its entries in the store of that server, where `IPCClientX` reads them at memory speed and every other program of Andiron finds
    them as well; without such a server they are in a store of its own.

    >>> data = DataObjects()
    >>> data.set("x", 20, "weather")
    >>> data.get("me", "x", "weather").value
    20
    >>> data.get_data_list()
    {'weather': ['x']}
    >>> data.close()
    """

    def __init__(self, persist_dir: str | os.PathLike[str] | None = None) -> None:
        """``persist_dir``: the folder of what is set with ``persist``; without one nothing outlives the server."""
        self._folder = os.fsdecode(persist_dir) if persist_dir else None
        #: For programs that set it: what is persistent is on the disk when `set` returns, whatever this is.
        self.autosave = True
        self._lock = allocate_lock()
        #: The store that it stands for, and the server of its own where it has one.
        self._hub: Hub | None = None
        self._own: Server | None = None
        #: Whether the connection is somebody else's, who closes it.
        self._lent = False
        #: Where the server is reached on this machine, beside its port.
        self._beside: str | None = None
        #: What was set before a server offered it.
        self._before: list[tuple[str, list[tuple[str, Any]]]] = []

    # What a server that offers it calls.

    def _begin_serving(self, place: Place) -> tuple[str | None, list[str]]:
        """Hears that a server is about to offer it at this place. Gives the folder for that one's state, and names by which it is to be found beside a port.

        There programs of this user, who need no secret, read at memory speed.
        """
        with self._lock:
            if self._is_offered():
                raise _errors.ConflictError(
                    "another server that runs offers this `DataObjects`: stop that one, or give each its own"
                )
            self._move()
        port, open_to_user = place.port, place.secret is None and is_this_machine(place.host)
        named = bool(port) and open_to_user and hasattr(socket, "AF_UNIX")
        return self._folder, [f"ipc-{port}"] if named else []

    def _served(self, server: Server) -> None:
        """Hears that a server offers it, whose store it stands for from now on."""
        with self._lock:
            self._use(server.connect())
            self._beside = next((at for at in server.addresses if at.startswith("unix:")), None)

    def _stands_for(self, hub: Hub, beside: str | None = None) -> None:
        """Stands for the store at the other end of a connection from now on, such as that of a server in another process at which it is registered.

        ``beside``: the address by which programs of this user reach that server without a port.
        """
        with self._lock:
            self._move()
            self._use(hub)
            self._beside, self._lent = beside, True

    def close(self) -> None:
        """Ends its store, unless that is the one of a server, and leaves it then. Used again it begins anew, with what is persistent."""
        with self._lock:
            self._leave()

    def __del__(self) -> None:
        """Ends its own store, as ever: whoever comes next has the folder."""
        if getattr(self, "_own", None) is not None:
            self._leave()

    def _is_offered(self) -> bool:
        """Whether it stands for the store of a server that was not stopped yet."""
        return self._hub is not None and self._own is None and not self._lent

    def _use(self, hub: Hub) -> None:
        for author, items in self._before:
            hub.store.author(author).update(items)
        self._hub, self._lent, self._before = hub, False, []

    def _move(self) -> None:
        """Leaves its store for another one, and takes along what is in no folder."""
        if self._own is not None and self._hub is not None:
            self._before = _plain_entries(self._hub)
        self._leave()

    def _leave(self) -> None:
        hub, self._hub = self._hub, None
        own, self._own = self._own, None
        self._beside = None
        if hub is not None and not self._lent:
            hub.close()
        if own is not None:
            own.stop()

    def _do(
        self,
        author: object,
        name: object,
        work: Callable[[Hub], T],
        own: type[errors.SaveFailedError | errors.RestoreFailedError] | None = None,
        value: Any = None,
    ) -> T:
        """What this gives where it is asked of the store."""
        try:
            with self._lock:
                if self._hub is None:
                    state = False if self._folder is None else self._folder
                    self._own = Server({}, [], state=state, threads=one_at_least(None))
                    self._use(self._own.connect())
                hub = self._hub
            assert hub is not None
            return work(hub)
        except (_errors.Error, OSError) as error:
            answered = not self._lent
            raise errors.explained(error, "its own store", author, name, value, own, answered) from error

    # What its callers call.

    @expose
    def setautosave(self, val: bool) -> None:
        """Changes nothing: what is persistent is on the disk when `set` returns."""

    @expose
    def beside(self) -> str | None:
        """The address by which programs of this machine and user reach the store of its server beside the port, if there is one."""
        return self._beside

    @expose
    def set(self, name: object, value: Any, author: object, persist: bool = False) -> None:
        """Sets a value. With ``persist`` it is on the disk when this returns."""
        kept, named = bool(persist), str(name)

        def put(hub: Hub) -> None:
            hub.store.author(str(author)).set(named, value, persist=kept)

        self._do(author, name, put, errors.SaveFailedError, value)

    @expose
    def get(self, requestor: object, name: object, author: object, force: bool = False) -> DataObject:  # noqa: ARG002
        """The value, and when it was set; `VarNotFoundError` where there is none.

        ``requestor`` and ``force`` are not needed: nobody is told to use a copy of his own.
        """

        def read(hub: Hub) -> DataObject:
            entry = hub.store.author(str(author)).entry(str(name))
            if entry is None:
                raise missing(str(author), str(name))
            return DataObject(entry.timestamp, entry.value)

        return self._do(author, name, read)

    @expose
    def delete(self, name: object, author: object) -> DataObject:
        """Takes an entry out and gives it; `VarNotFoundError` where there is none."""
        return self._do(author, name, lambda hub: taken(hub, str(author), str(name)))

    @expose
    def get_data_list(self, author: object = None) -> dict[str, list[str]]:
        """The names that there are, by their authors; of one author alone where it is given."""
        return self._do(author, None, lambda hub: names_of(hub, None if author is None else str(author)))

    @expose
    def clearall(self) -> None:
        """Removes the entries of all authors, also from the disk."""
        self._do(None, None, clear_all)

    @expose
    def clearcache(self, requestor: object) -> None:
        """Does nothing: a server remembers nobody who reads."""

    @expose
    def savedata(self, author: object, fn: object) -> bool:
        """Has the server keep the entries of an author as they are, under a name. It is a name and never a path, whatever it looks like."""
        self._do(author, fn, lambda hub: hub.store.author(str(author)).save(str(fn)), errors.SaveFailedError)
        return True

    @expose
    def restoredata(self, author: object, fn: object) -> bool:
        """Sets the entries that were saved under this name as they were. False where there are none."""
        try:
            self._do(
                author, fn, lambda hub: hub.store.author(str(author)).load(str(fn)), errors.RestoreFailedError
            )
        except errors.RestoreFailedError:
            return False
        return True

    @expose
    def add_persistence(self, varname: object, author: object) -> bool:
        """Has an entry be there again after the end of the server; `VarNotFoundError` where there is none."""
        return self._persist(author, varname, True)

    @expose
    def remove_persistence(self, varname: object, author: object) -> bool:
        """Has it no more outlive the server; otherwise as `add_persistence`."""
        return self._persist(author, varname, False)

    def _persist(self, author: object, name: object, persist: bool) -> bool:
        self._do(author, name, lambda hub: keep(hub, str(author), str(name), persist), errors.SaveFailedError)
        return True


def _plain_entries(hub: Hub) -> list[tuple[str, list[tuple[str, Any]]]]:
    """The entries that are on no disk, by authors."""
    persistent: set[tuple[str, str]] = set()
    authors: list[str] = []
    store, more, after = hub["store"], True, None
    while more:
        more, rows = store.list(None, after, _PAGE)[:2]
        for row_ in rows:
            after = row_[:2]
            if row_[0] not in authors[-1:]:
                authors.append(row_[0])
            if row_[5]:
                persistent.add((row_[0], row_[1]))
    return [
        (author, [item for item in hub.store.author(author).items() if (author, item[0]) not in persistent])
        for author in authors
    ]
