"""Values that all processes at a server share."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import MutableMapping

from andiron import _errors, _fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, NamedTuple, TypeVar

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

else:
    _Entry = collections.namedtuple("_Entry", "value version timestamp cached")
    _Change = collections.namedtuple("_Change", "name entry version skipped resume_from")

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


class Edit:
    """A value that is written back when the block ends without an exception; see `Store.edit`."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Store(MutableMapping[str, "Any"]):
    """The entries of one author as a mapping of names to values.

    A value that is read is the caller's own: to change it changes nobody else's, and nothing in the store. ``store["a"]["b"] = 1`` changes a copy
    that nobody has; write ``with store.edit("a") as a: a.value["b"] = 1``.
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
        if self._engine.delete(name) is None:
            raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._engine.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.names())

    def __len__(self) -> int:
        return len(self._engine.names())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "<andiron.Store>"

    def __reduce__(self) -> Any:
        hub = getattr(self._of, "__self__", None)
        return stored, (hub, self._author)

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        """Takes an entry out and gives its value, as one message."""
        entry = self._engine.delete(name)
        if entry is not None:
            return entry[0]
        if default is _MISSING:
            raise KeyError(name)
        return default

    def popitem(self) -> tuple[str, Any]:
        """Takes out the entry whose name comes first."""
        for name in self:
            entry = self._engine.delete(name)
            if entry is not None:
                return name, entry[0]
        raise KeyError("the store has no entry of this author")

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value of this name, which is set to the default where there is none."""
        while True:
            entry = self._engine.entry(name)
            if entry is not None:
                return entry[0]
            try:
                self._engine.set(name, default, if_version=0)
            except _errors.ConflictError:
                continue  # somebody else set it meanwhile
            return default

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
        """Sets a value and gives its version.

        ``persist``: it is there again after the end of the server. ``ttl``: seconds after which it is gone. ``if_version``: only over an entry of this version, or
        where there is none: 0; else `ConflictError`. ``durability``: what a persistent write survives, ``"relaxed"`` (the end of the server) or ``"sync"`` (a power cut too).
        """
        return self._engine.set(
            name, value, persist=persist, ttl=ttl, if_version=if_version, durability=durability
        )

    def persist(self, name: str, persist: bool = True) -> bool:
        """Has an entry be there again after the end of the server, or not any more. Gives whether there is such an entry."""
        return self._engine.persist(name, persist)

    def incr(self, name: str, by: int = 1) -> int:
        """Adds to a whole number, or to 0 where there is none. Gives what it is now."""
        return self._engine.incr(name, by)

    @contextlib.contextmanager
    def edit(self, name: str, default: Any = None) -> Iterator[Edit]:
        """Gives the value for the block to change, and writes it back; `ConflictError` where somebody else wrote meanwhile.

        ``with store.edit("tracks", []) as tracks: tracks.value.append("Embers")``
        """
        entry = self._engine.entry(name)
        edit = Edit(default if entry is None else entry[0])
        yield edit
        self._engine.set(name, edit.value, if_version=0 if entry is None else entry[1])

    def change(self, name: str, change: Callable[[Any], T], default: Any = None) -> T:
        """Sets the value to what ``change`` makes of it, again where somebody else wrote meanwhile, and gives that."""
        while True:
            try:
                with self.edit(name, default) as edit:
                    edit.value = changed = change(edit.value)
            except _errors.ConflictError:
                continue
            return changed

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
