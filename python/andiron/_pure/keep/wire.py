"""The store as an object that is called (section 10 of the protocol): what its methods take and answer."""

from __future__ import annotations

from _thread import allocate_lock

from andiron._errors import BadArgumentsError, DeniedError, Error, OverloadedError, TooLargeError
from andiron._pure.keep.places import Places, Taking
from andiron._pure.keep.store import Put
from andiron._pure.keep.watch import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import Any

    from andiron._pure.keep.store import Entry, Store
    from andiron._pure.memory import Memory

    Stream = Any
    Array = list[Any]

_AUTHOR = "default"
_LAST = (1 << 64) - 1
#: What a message that carries a value takes beside it: the longest key, and the head.
_BESIDE_VALUE = 128 << 10
#: From so many bytes on a value stays where it came from, if that can be passed on by reference.
_BIG = 1 << 20
#: Entries and bytes of their keys on a page of a listing.
_LISTED = 1000
_LISTED_BYTES = 256 << 10
#: Entries and bytes of them that go together in a message of all, and how many such listings may be under way.
_TOGETHER = 1000
_TOGETHER_BYTES = 1 << 18
_LISTINGS = 32
_DURABILITIES = ("relaxed", "sync")
_ARRAYS = (list, tuple)
#: Of a method that has this name everybody would think else.
_array = list


def methods_of(
    store: Store,
    feed: Callable[[Callable[[], object], Callable[[], object]], Any],
    outflow: Callable[[Iterable[Any]], Any],
    message: int = 1 << 30,
    rights: Callable[[], Any] | None = None,
) -> dict[str, Callable[..., Any]]:
    """The methods of the object ``store`` by their names, with decoded arguments; results are what is encoded.

    ``feed`` and ``outflow`` make what is sent as a stream. ``message``: the limit of this end. ``rights`` gives those of the caller, with ``authors`` (`None`: all) and
    ``read_only_store``; it gives `None` for who may do everything.
    """
    wire = _Wire(store, feed, outflow, message, rights or (lambda: None))
    methods = {name: getattr(wire, name) for name in vars(_Wire) if not name.startswith("_")}
    methods["$describe"] = lambda: _described(methods)
    return methods


def buffer(form: str, shape: Array, data: bytes | Memory) -> Any:
    """A buffer in the arguments, as it is taken without a copy."""
    return data if form == "B" and shape == [len(data)] else (form, shape)


def _described(methods: dict[str, Any]) -> dict[str, Any]:
    from inspect import cleandoc

    from andiron import _expose

    told = [_expose._signature(name, method, False) for name, method in methods.items() if name[:1] != "$"]
    return {"name": "Store", "doc": cleandoc(_Wire.__doc__ or ""), "methods": told}


class _Wire:
    """Values by author and name that all processes share. A value is bytes and the number of their codec: 1 native, 2 JSON, 3 bytes as they are.

    The author is `default` where none is given. Every write takes a larger version than all before.
    """

    __slots__ = ("_archive", "_feed", "_listings", "_most", "_outflow", "_rights", "_store")

    def __init__(self, store: Store, feed: Any, outflow: Any, message: int, rights: Any) -> None:
        self._store = store
        self._feed = feed
        self._outflow = outflow
        self._most = message - min(_BESIDE_VALUE, message // 16)
        self._rights = rights
        self._listings = Places(_LISTINGS)
        self._archive: Any = None

    def set(
        self,
        name: str,
        value: bytes,
        codec: int,
        author: str | None = None,
        ttl: int | None = None,
        if_version: int | None = None,
        persist: bool | None = None,
        durability: str | None = None,
    ) -> Array:
        """Sets a value, for `ttl` microseconds or for good; with `if_version` only if the entry has that version, with 0 only if there is none.

        With `persist` it is there again when the server was ended, `durability` says by what: `relaxed`, or `sync`, also a power cut. Gives version and timestamp.
        """
        put = self._put(name, value, codec, author, ttl, if_version, persist)
        return _array(self._store.set((put,), _durability(durability)))

    def set_many(self, entries: Array, durability: str | None = None) -> Array:
        """Sets several values under one version: all of them or none. Each is an array: name, value, codec, author, ttl, if_version, persist, as for `set`."""
        if type(entries) not in _ARRAYS:
            raise _wrong("entries", "an array", entries)
        puts = []
        for entry in entries:
            if type(entry) not in _ARRAYS or not 3 <= len(entry) <= 7:
                raise _wrong("entries", "arrays of 3 to 7", entry)
            puts.append(self._put(*entry))
        return _array(self._store.set(puts, _durability(durability)))

    def persist(
        self,
        name: str,
        persist: bool | None = None,
        author: str | None = None,
        durability: str | None = None,
    ) -> bool:
        """Has an entry be there again when the server was ended, or not any more. Gives whether there is such an entry."""
        author = self._writing(author)
        persist = True if persist is None else _bool("persist", persist)
        return self._store.persist(author, _text("name", name), persist, _durability(durability))

    def get(
        self, name: str, known: int | None = None, author: str | None = None, hits: int | None = None
    ) -> Array:
        """Reads an entry. Gives an array: 0, 0, slot, stamp if it is missing; 2, version, slot, stamp, ttl if that is the version `known`; else as below.

        That is 1, version, slot, stamp, ttl, timestamp, codec, value. `ttl` is what is left of it in microseconds, or 0.
        `hits`: so many reads the caller answered itself since it told last.
        """
        author = self._reading(author)
        if type(name) is not str:
            raise _wrong("name", "text", name)
        store = self._store
        entry = store.get(author, name, 0 if hits is None else _number("hits", hits))
        if entry is None:
            return [0, 0, None, 0]
        if known is not None and entry.version == known:
            return [2, known, None, 0, store.ttl_left(entry)]
        return self._found(entry)

    def delete(self, name: str, author: str | None = None, if_version: int | None = None) -> Array:
        """Takes an entry out, with `if_version` only if it has that version. Gives what was there, as `get` does."""
        author = self._writing(author)
        wanted = None if if_version is None else _number("if_version", if_version)
        entry = self._store.delete(author, _text("name", name), wanted)
        return [0, 0, None, 0] if entry is None else self._found(entry)

    def delete_first(self, author: str | None = None) -> Array | None:
        """Takes out the entry of an author whose name comes first. Gives an array: its name, and what was there, as `get` does; of none nil."""
        first = self._store.delete_first(self._writing(author))
        return None if first is None else [first[0], self._found(first[1])]

    def set_default(
        self,
        name: str,
        value: bytes,
        codec: int,
        author: str | None = None,
        ttl: int | None = None,
        persist: bool | None = None,
        durability: str | None = None,
    ) -> Array:
        """Sets the value of an entry that is not there, as `set` does. Gives the entry that is there, as `get` does, or where it was set 0 and its version."""
        put = self._put(name, value, codec, author, ttl, None, persist)
        entry, version = self._store.set_default(put, _durability(durability))
        return [0, version, None, 0] if entry is None else self._found(entry)

    def replace(
        self,
        name: str,
        value: bytes,
        codec: int,
        author: str | None = None,
        if_version: int | None = None,
        durability: str | None = None,
    ) -> Array:
        """Sets another value of an entry that is there, with `if_version` only if it has that version; otherwise as `set`.

        What is left of its time stays, and it is persistent if it was.
        """
        put = self._put(name, value, codec, author, None, if_version)
        return _array(self._store.replace(put, _durability(durability)))

    def incr(self, name: str, by: int | None = None, author: str | None = None) -> Array:
        """Adds `by` (1) to a whole number in the native codec; to 0 where there is no entry. What is left of its time stays.

        Gives version, timestamp, and the number that it is now.
        """
        author = self._writing(author)
        by = 1 if by is None else by
        if type(by) is not int or not -(1 << 63) <= by < 1 << 63:
            raise _wrong("by", "an int of 64 bits", by)
        return _array(self._store.incr(author, _text("name", name), by))

    def board(self) -> None:
        """The version board, of which there is none: nil."""
        self._reading_all()

    def stats(self) -> Array:
        """What the store holds and was asked: entries, bytes that they count for, authors, hits, questions and evicted.

        Hits are reads that clients answered themselves, as they told, and questions those that came here.
        """
        self._all(False)
        return self._store.stats()

    def count(self, author: str | None = None) -> int:
        """How many entries one author has, or all have together."""
        return self._store.counted(self._authors(author))

    def entries(self, author: str | None = None, values: bool | None = None) -> Array:
        """All entries of an author as they are at one moment, sorted by name. Gives an array of the first ones, and nil, or where more follow a stream of such arrays.

        Each entry is an array: name, version, timestamp, persistent, ttl, as `get` has it, and with `values` (true) codec and value.
        """
        author = self._reading(author)
        values = True if values is None else _bool("values", values)
        pages = self._pages(self._store.view(author), values)
        first = next(pages, [])
        following = next(pages, None)
        if following is None:
            return [first, None]
        place = self._listings.take()
        if place is None:
            raise OverloadedError(
                f"{_LISTINGS} long listings are under way at this daemon: try again a little later"
            )
        return [first, self._outflow(Taking(_with_first(following, pages), place))]

    def list(self, author: str | None = None, after: Array | None = None, limit: int | None = None) -> Array:
        """Names entries, sorted by author and name: those of one author or of all, at most `limit` (1000), behind `after` (author, name).

        Gives whether more follow, and an array for each: author, name, version, timestamp, size in bytes, persistent.
        """
        authors = self._authors(author)
        behind = None
        if after is not None:
            if type(after) not in _ARRAYS or len(after) != 2:
                raise _wrong("after", "an array of author and name", after)
            behind = (_text("after", after[0]), _text("after", after[1]))
        most = _LISTED if limit is None else min(_number("limit", limit), _LISTED)
        more, found = self._store.listed(authors, behind, most, _LISTED_BYTES)
        rows = [
            [*key, entry.version, entry.timestamp, len(entry.value), entry.persistent] for key, entry in found
        ]
        return [more, rows]

    def watch(
        self,
        pattern: str | None = None,
        author: str | None = None,
        present: bool | None = None,
        since: int | None = None,
    ) -> Stream:
        """Tells of changes: a stream of arrays 0 (removed) or 1, author, name, version, skipped, timestamp, codec, value, told.

        `skipped`: for how many earlier changes of the same entry it stands. `told`: up to which version all changes were told (0: it cannot be said).
        `pattern` is for names, with `*` and `?`. First come the entries that are there (`present`, true), or with `since` what changed after that version.
        """
        authors = self._authors(author)
        pattern = "*" if pattern is None else _text("pattern", pattern)
        if since is not None:
            _number("since", since)
            if present is True:
                raise BadArgumentsError(
                    "a watch begins with the entries that are there or with what changed since a version: leave out `present` or `since`"
                )
        present = present is None or _bool("present", present)
        return _Telling(Watcher(self._store, pattern, authors, present, since), self._feed).feed

    def save(self, snapshot: str, author: str | None = None) -> int:
        """Keeps all entries of an author as they are now, as a snapshot of this name, in place of an earlier one. Gives their number."""
        author = self._writing(author)
        return self._archived().save(author, _text("snapshot", snapshot))  # type: ignore[no-any-return]

    def load(self, snapshot: str, author: str | None = None) -> int:
        """Sets the entries of an author that a snapshot has as they were, all or none, but for those whose time is over; the others stay. Gives their number."""
        author = self._writing(author)
        return self._archived().load(author, _text("snapshot", snapshot))  # type: ignore[no-any-return]

    def snapshots(self, author: str | None = None) -> Array:
        """Names snapshots, sorted by author and name. Gives an array for each: author, name, when it was saved in seconds since 1970, entries, bytes of their values."""
        authors = self._authors(author)
        rows = self._archived().snapshots()
        return [
            [row[0], row[1], row[2] / 1_000_000, *row[3:]]
            for row in rows
            if authors is None or row[0] in authors
        ]

    def delete_snapshot(self, snapshot: str, author: str | None = None) -> None:
        """Deletes a snapshot of an author."""
        author = self._writing(author)
        self._archived().delete(author, _text("snapshot", snapshot))

    def backup(self) -> Stream:
        """Gives all that is persistent, with the snapshots, as it is now: the bytes of a file that `restore` takes, in pieces."""
        self._all(True)
        return self._outflow(self._archived().backup())

    def restore(self, pieces: Iterable[bytes]) -> int:
        """Has all that is persistent, and the snapshots, be as they were at a backup, all or none. Gives how many entries it had."""
        self._all(True)
        if type(pieces) in (str, bytes, dict, *_ARRAYS) or not hasattr(pieces, "__iter__"):
            raise _wrong("pieces", "a stream of bytes", pieces)
        return self._archived().restore(_bytes_of(piece) for piece in pieces)  # type: ignore[no-any-return]

    def clear(self, author: str | None = None) -> int:
        """Removes all entries of one author or of all. Gives their number."""
        if author is None:
            authors = self._allowed(True)
            if authors is not None:
                return sum(self._store.clear(one) for one in sorted(authors))
            return self._store.clear(None)
        return self._store.clear(self._writing(author))

    # What it takes

    def _put(
        self,
        name: str,
        value: Any,
        codec: int,
        author: str | None = None,
        ttl: int | None = None,
        if_version: int | None = None,
        persist: bool | None = None,
    ) -> Put:
        author = self._writing(author)
        value = _value(value)
        if len(value) > self._most:
            raise TooLargeError(
                f"the value has {len(value)} bytes, and {self._most} is the most that a value may have: set it in several entries"
            )
        if type(codec) is not int or not 0 <= codec < 256:
            raise _wrong("codec", "an int of 8 bits", codec)
        if ttl is not None and _number("ttl", ttl) == 0:
            raise BadArgumentsError(
                "an entry that stays for no time cannot be set: give a ttl above 0 (microseconds), or none"
            )
        if if_version is not None:
            _number("if_version", if_version)
        return Put(
            author,
            _text("name", name),
            value,
            codec,
            None if ttl is None else ttl * 1000,
            if_version,
            persist is not None and _bool("persist", persist),
        )

    def _found(self, entry: Entry) -> Array:
        ttl = self._store.ttl_left(entry)
        return [1, entry.version, None, 0, ttl, entry.timestamp, entry.codec, entry.value]

    def _pages(self, view: Array, values: bool) -> Iterator[Array]:
        page: Array = []
        length = 0
        for name, entry in view:
            named = [name, entry.version, entry.timestamp, entry.persistent, self._store.ttl_left(entry)]
            length += len(name)
            if values:
                named += [entry.codec, entry.value]
                length += len(entry.value)
            page.append(named)
            if len(page) == _TOGETHER or length >= _TOGETHER_BYTES:
                yield page
                page, length = [], 0
        if page:
            yield page

    def _archived(self) -> Any:
        disk = self._store.need_disk()
        if self._archive is None:
            from andiron._pure.keep.archive import Archive

            self._archive = Archive(self._store, disk)
        return self._archive

    # Who may do it

    def _reading(self, author: str | None) -> str:
        author = _AUTHOR if author is None else author
        if type(author) is not str:
            raise _wrong("author", "text", author)
        rights = self._rights()
        if rights is not None and rights.authors is not None and author not in rights.authors:
            raise DeniedError(
                f"the secret of this connection gives no right to entries of the author '{author}'"
            )
        return author

    def _writing(self, author: str | None) -> str:
        self._check_writes()
        return _text("author", self._reading(author))

    def _check_writes(self) -> None:
        rights = self._rights()
        if rights is not None and rights.read_only_store:
            raise DeniedError(
                "the secret of this connection gives the right to read the store, and not to change it"
            )

    def _allowed(self, writes: bool) -> Collection[str] | None:
        """The authors whose entries the caller may use; `None`: all."""
        if writes:
            self._check_writes()
        rights = self._rights()
        authors: Collection[str] | None = None if rights is None else rights.authors
        return authors

    def _authors(self, author: str | None) -> Collection[str] | None:
        """Those whose entries are meant."""
        return self._allowed(False) if author is None else (self._reading(author),)

    def _all(self, writes: bool) -> None:
        """Refuses what is about the entries of all authors to who may use only some."""
        if self._allowed(writes) is not None:
            raise DeniedError(
                "the secret of this connection gives a right to entries of some authors, and this is about all of them"
            )

    def _reading_all(self) -> None:
        self._allowed(False)


class _Telling:
    """What sends a watcher what it is told, as there is room for it."""

    __slots__ = ("_again", "_lock", "_moving", "_room", "_watcher", "feed")

    def __init__(self, watcher: Watcher, feed: Any) -> None:
        self._watcher = watcher
        self._lock = allocate_lock()
        #: One thread at a time moves items, and once more where something comes meanwhile.
        self._moving = self._again = self._room = False
        watcher.changed = self._move
        self.feed = feed(self._wanted, watcher.close)

    def _wanted(self) -> None:
        self._room = True
        self._move()

    def _move(self) -> None:
        with self._lock:
            if self._moving:
                self._again = True
                return
            self._moving = True
        while True:
            try:
                while self._room:
                    item = self._watcher.next()
                    if item is None:
                        break
                    self._room = False  # before it is sent: that there is room again may be told before it is known that there is none
                    if self.feed.item(item):
                        self._room = True
            except Error as error:
                self._watcher.close()
                self.feed.end(error)
                return
            with self._lock:
                if not self._again:
                    self._moving = False
                    return
                self._again = False


def _with_first(first: Any, following: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from following


def _wrong(argument: str, wanted: str, value: Any) -> BadArgumentsError:
    import reprlib

    return BadArgumentsError(
        f"argument `{argument}`: expected {wanted}, found {type(value).__name__} {reprlib.repr(value)}"
    )


def _text(argument: str, value: Any) -> str:
    if type(value) is not str:
        raise _wrong(argument, "text", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _wrong(argument, "Unicode", value) from None
    return value


def _number(argument: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LAST:
        raise _wrong(argument, "an int from 0 on, of 64 bits", value)
    return value


def _bool(argument: str, value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong(argument, "true or false", value)
    return value


def _durability(value: Any) -> str | None:
    if value is not None and value not in _DURABILITIES:
        raise BadArgumentsError(f"there is no durability {value!r}: it is `relaxed` or `sync`")
    return value  # type: ignore[no-any-return]


def _value(value: Any) -> bytes | Memory:
    """The bytes of a value: as they are kept, and passed on by reference if they can be and it is worth it."""
    if type(value) is bytes:
        return value
    if type(value) is memoryview and value.format == "B" and value.ndim == 1:
        memory = getattr(value.obj, "memory", None)
        if memory is None or len(memory) != len(value):
            return bytes(value)
    elif type(value).__name__ == "Memory":
        memory = value
    else:
        raise _wrong("value", "bytes", value)
    return memory if len(memory) >= _BIG else bytes(memory)


def _bytes_of(piece: Any) -> bytes:
    return bytes(_value(piece))
