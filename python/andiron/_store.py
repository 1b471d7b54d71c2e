"""Values that all processes at a server share."""

from __future__ import annotations

from _collections_abc import ItemsView, MutableMapping, ValuesView

from andiron import _errors, _fork
from andiron._rows import row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import IO, Any, NamedTuple, TypeVar

    from andiron._engine import StoreEngine, Watch

    T = TypeVar("T")

    class _Entry(NamedTuple):
        value: Any
        version: int
        timestamp: float
        cached: bool

    class _Change(NamedTuple):
        name: str
        entry: Entry | None
        version: int
        skipped: int
        resume_from: int | None

    class _Snapshot(NamedTuple):
        name: str
        timestamp: float
        entries: int
        bytes: int

    class _Stats(NamedTuple):
        entries: int
        bytes: int
        authors: int
        hits: int
        questions: int
        evicted: int

    Named = MutableMapping[str, Any]
    NamedItems = ItemsView[str, Any]
    AnyValues = ValuesView[Any]

else:
    # Which take no types before Python 3.9.
    Named, NamedItems, AnyValues = MutableMapping, ItemsView, ValuesView
    _Entry = row("_Entry", "value version timestamp cached")
    _Change = row("_Change", "name entry version skipped resume_from")
    _Snapshot = row("_Snapshot", "name timestamp entries bytes")
    _Stats = row("_Stats", "entries bytes authors hits questions evicted")

_MISSING: Any = object()


class Entry(_Entry):
    """A stored value, and what is known about it.

    ``version`` is that of the write that set it; a later write has a larger one. ``timestamp``: when it was set, in seconds since the Unix epoch. ``cached``: it was known
    here to be current, and the store was not asked.
    """

    __slots__ = ()


class Change(_Change):
    """A change of an entry, or an entry that was there when a watch began.

    ``entry`` is what it is now; `None`: it was removed. ``skipped``: so many changes of the same entry came before this one and are told by it. ``resume_from``: from where a watch
    may be resumed by ``watch(since=..)``; `None` while entries follow that were there at the beginning.
    """

    __slots__ = ()


class Snapshot(_Snapshot):
    """The entries of an author as the server keeps them under a name; see `Store.save`.

    ``timestamp``: when it was saved, in seconds since the Unix epoch. ``bytes``: of the encoded values.
    """

    __slots__ = ()


class Stats(_Stats):
    """What a store holds, of all authors, and what it was asked; see `Store.stats`.

    ``bytes``: that the entries count for. ``hits``: reads that clients answered themselves, as far as they told; ``questions``: reads that came to the store.
    ``evicted``: entries that were removed to make room for others.
    """

    __slots__ = ()


#: What a block cannot change where it is.
_FIXED = (bool, int, float, complex, str, bytes, frozenset, type(None))


class Edit:
    """What is known of an entry that is changed; see `Store.edit`."""

    __slots__ = ("_default", "_name", "_value", "_version")

    def __init__(self, name: str, default: Any) -> None:
        self._name = name
        self._default = default

    def _begin(self, entry: tuple[Any, ...] | None) -> Any:
        """With the entry that is there."""
        if entry is not None:
            self._value, self._version = entry[:2]
        elif self._default is _MISSING:
            raise KeyError(self._name)
        else:
            import copy

            self._value, self._version = copy.deepcopy(self._default), 0
        return self._value

    def _changeable(self, value: Any) -> Any:
        if isinstance(value, _FIXED):
            raise TypeError(
                f"{self._name!r} is of the type {type(value).__name__}, which no block can change: use store.change({self._name!r}, function)"
            )
        return value

    def _conflict(self) -> _errors.ConflictError:
        meanwhile = "changed or removed" if self._version else "set"
        return _errors.ConflictError(
            f"{self._name!r} was {meanwhile} by somebody else meanwhile, and nothing was written: edit it again, or use store.change({self._name!r}, function), which does"
        )


def check_version(version: int | None) -> None:
    """Raises what is wrong with the version that an entry is to have."""
    if version is not None and not 0 <= version < 2**64:
        raise _errors.BadArgumentsError(f"a version is 0 (no entry) or more, not {version}")


class _Edit(Edit):
    """Gives the value of an entry to a block, and writes it back behind it."""

    __slots__ = ("_store",)

    def __init__(self, store: Store, name: str, default: Any) -> None:
        super().__init__(name, default)
        self._store = store

    def read(self) -> Any:
        return self._begin(self._store._engine.entry(self._name))

    def write(self, value: Any) -> None:
        engine = self._store._engine
        try:
            if self._version:
                engine.replace(self._name, value, self._version)
            else:
                engine.set(self._name, value, if_version=0)
        except _errors.ConflictError as error:
            raise self._conflict() from error

    def __enter__(self) -> Any:
        return self._changeable(self.read())

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.write(self._value)


class _Items(NamedItems):
    """All entries as they are when one begins to go over them."""

    _mapping: Store

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return ((name, entry[0]) for name, entry in self._mapping._engine.entries())


class _Values(AnyValues):
    """The values of all entries as they are when one begins to go over them."""

    _mapping: Store

    def __iter__(self) -> Iterator[Any]:
        return (entry[0] for _, entry in self._mapping._engine.entries())

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)


class Store(Named):
    """The entries of one author as a mapping of names to values.

    A value that is read is the caller's own: to change it changes nobody else's, and nothing in the store. ``store["a"]["b"] = 1`` changes a copy
    that nobody has; write ``with store.edit("a") as a: a["b"] = 1``.

    Each method is one message, and what it does is done at once or not at all. What is gone over is all as it was at one moment, whatever is written meanwhile.
    A copy of all is ``dict(store.items())``; ``dict(store)`` asks for the names, and then for each value.
    """

    __slots__ = ("__weakref__", "_author", "_engine", "_of")

    def __init__(
        self, engine: StoreEngine, of: Callable[[str | None], StoreEngine], author: str | None = None
    ) -> None:
        self._engine = engine
        self._of = of
        self._author = author
        _fork.inherits(self)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def forked(self) -> None:
        """Hears that this process is a child of the one that connected."""
        _fork.Anew(self, "_engine", lambda: self._of(self._author))

    def author(self, author: str) -> Store:
        """The entries of another author. Without this the author is ``default``."""
        return Store(self._of(author), self._of, author)

    def __getitem__(self, name: str) -> Any:
        return self._engine.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of this name, or the default."""
        return self._engine.get_or(name, default)

    def __setitem__(self, name: str, value: Any) -> None:
        self._engine.set(name, value)

    def __delitem__(self, name: str) -> None:
        try:
            found = self._engine.delete(name)
        except _errors.EncodingError as error:
            if error.data is None:
                raise
            return  # nobody wants to read it
        if found is None:
            raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._engine.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.names())

    def __len__(self) -> int:
        return self._engine.count()

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "<andiron.Store>"

    def __copy__(self) -> Store:
        return self

    def __deepcopy__(self, _: object) -> Store:
        return self

    def __reduce__(self) -> Any:
        hub = getattr(self._of, "__self__", None)
        return stored, (hub, self._author)

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        """Takes an entry out and gives its value, as one message.

        `EncodingError` where that cannot be read: its ``data`` are the bytes of what was taken out.
        """
        entry = self._engine.delete(name)
        if entry is not None:
            return entry[0]
        if default is _MISSING:
            raise KeyError(name)
        return default

    def popitem(self) -> tuple[str, Any]:
        """Takes out the entry whose name comes first; otherwise as `pop`."""
        first = self._engine.delete_first()
        if first is None:
            raise KeyError("the store has no entry of this author")
        name, entry = first
        return name, entry[0]

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value of this name, which is set to the default where there is none."""
        entry = self._engine.set_default(name, default)
        return default if entry is None else entry[0]

    def items(self) -> ItemsView[str, Any]:
        """The entries, as they are at the moment when one begins to go over them. Many come as they are taken."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values; otherwise as `items`."""
        return _Values(self)

    def update(  # type: ignore[override] # names are texts
        self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any
    ) -> None:
        """Sets several values at once: all of them or none."""
        self._engine.set_many(list(dict(values, **more).items()))

    def clear(self) -> None:
        """Removes all entries of this author, as one message."""
        self._engine.clear()

    def entry(self, name: str) -> Entry | None:
        """The entry of this name."""
        entry = self._engine.entry(name)
        return None if entry is None else Entry(*entry)

    def set(
        self,
        name: str,
        value: Any,
        *,
        persist: bool = False,
        ttl: float | None = None,
        if_version: int | None = None,
        durability: str | None = None,
    ) -> int:
        """Sets a value and gives its version. Without ``persist`` and ``ttl`` the entry has none of them from then on, whatever it had.

        ``persist``: it is there again after the end of the server. ``ttl``: seconds after which it is gone. ``if_version``: only over an entry of this version, or
        where there is none: 0; else `ConflictError`. ``durability``: what a persistent write survives, ``"relaxed"`` (the end of the server) or ``"sync"`` (a power cut too).
        """
        check_version(if_version)
        if ttl is not None:
            _errors.check_seconds("a ttl", ttl)
        return self._engine.set(
            name, value, persist=persist, ttl=ttl, if_version=if_version, durability=durability
        )

    def persist(self, name: str, persist: bool = True) -> bool:
        """Has an entry be there again after the end of the server, or not any more. Gives whether there is such an entry."""
        return self._engine.persist(name, persist)

    def incr(self, name: str, by: int = 1) -> int:
        """Adds to a whole number, or to 0 where there is none. Gives what it is now."""
        return self._engine.incr(name, _errors.check_whole("what is added", by))

    def edit(self, name: str, default: Any = _MISSING) -> AbstractContextManager[Any, None]:
        """Gives the value to a block that changes it, and writes it back where the block ends without an exception.

        ``with store.edit("tracks", []) as tracks: tracks.append("Embers")``

        `ConflictError` where somebody else wrote the entry meanwhile: then nothing was written. The entry keeps what is left of its ttl, and is persistent if it was. Without a
        ``default`` an entry that is not there is a `KeyError`. For values that nobody can change where they are, such as numbers, there is `change`.
        """
        return _Edit(self, name, default)

    def change(self, name: str, change: Callable[[Any], T], default: Any = _MISSING) -> T:
        """Sets the value to what ``change`` makes of it, and gives that; again, from the value that is there then, where somebody else wrote meanwhile.

        ``store.change("visits", lambda visits: visits + 1, 0)``

        Otherwise as `edit`; where ``change`` raises something, nothing is written.
        """
        edit = _Edit(self, name, default)
        while True:
            changed = change(edit.read())
            try:
                edit.write(changed)
            except _errors.ConflictError:
                continue
            return changed

    def save(self, snapshot: str) -> int:
        """Has the server keep the entries of this author as they are now under a name, in place of an earlier snapshot of that name. Gives their number.

        It survives a power cut. `UnsupportedError` where the server keeps no state.
        """
        return self._engine.save(snapshot)

    def load(self, snapshot: str) -> int:
        """Sets the entries that a snapshot has as they were: all of them or none, but for those whose time is over. The others stay. Gives their number."""
        return self._engine.load(snapshot)

    def snapshots(self) -> list[Snapshot]:
        """The snapshots of this author, sorted by name."""
        return [Snapshot(*row) for row in self._engine.snapshots()]

    def delete_snapshot(self, snapshot: str) -> None:
        """Deletes a snapshot of this author."""
        self._engine.delete_snapshot(snapshot)

    def backup(self, file: IO[bytes]) -> int:
        """Writes all that is persistent, of all authors, with the snapshots, as it is at one moment, to a binary file. Gives the number of bytes."""
        return self._engine.backup(file)

    def restore(self, file: IO[bytes]) -> int:
        """Has all that is persistent, and the snapshots, be as it was at a backup: all of it, or nothing is changed. Gives the number of entries in the backup."""
        return self._engine.restore(file)

    def stats(self) -> Stats:
        """What the store holds, of all authors, and what it was asked."""
        return Stats(*self._engine.stats())

    def watch(self, pattern: str = "*", *, present: bool = True, since: int | None = None) -> Changes:
        """Tells of entries whose name fits, in which ``*`` stands for any characters and ``?`` for one: first those that are there, then each change.

        ``present=False``: only of what changes from now on. ``since``: of what changed after that version; `ConflictError` where that is not known any more.
        """
        return Changes(self._engine.watch(pattern, present and since is None, since))


def stored(hub: Any, author: str | None) -> Store:
    """The store of a hub, for what was pickled."""
    store: Store = hub.store
    return store if author is None else store.author(author)


class Changes:
    """The changes that a `Store.watch` tells of."""

    __slots__ = ("_watch",)

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __iter__(self) -> Changes:
        return self

    def __next__(self) -> Change:
        name, entry, version, skipped, resume_from = next(self._watch)
        return Change(name, None if entry is None else Entry(*entry), version, skipped, resume_from)

    def close(self) -> None:
        """Wants to hear no more."""
        self._watch.close()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
