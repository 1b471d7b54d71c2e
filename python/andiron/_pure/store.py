"""The store as an engine has it: the entries of one author. What it asks for is in section 10 of the protocol."""

from __future__ import annotations

from andiron._pure import codec, flow, hooks
from andiron._pure.cache import ENCODED, MISSING, now
from andiron._pure.failure import Failure
from andiron._pure.memory import Descriptor, Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from andiron._pure.cache import Kept, Source
    from andiron._pure.connection import Connection
    from andiron._pure.pending import Pending
    from andiron._pure.remote import Method, Remote

    #: Value, version, timestamp, and whether the store was not asked.
    EntryTuple = tuple[Any, int, float, bool]

#: The name of the object that is the store, and the codec of the values that are set here.
_STORE, _NATIVE = "store", 1
#: Of a time to live, in microseconds.
_LONGEST = 2**63

#: What only reads, and may be asked once more over the next connection.
_READS = frozenset(("get", "board", "count", "entries", "snapshots", "stats", "watch", "backup"))


class Store:
    """The entries of one author."""

    __slots__ = ("_author", "_cache", "_connection", "_known", "_methods")

    def __init__(self, connection: Connection, author: str) -> None:
        self._connection = connection
        self._author = _name(author)
        self._cache = connection.cache
        self._known = connection.cache.of(author)
        self._methods: dict[str, Method] = {}

    def get(self, name: str) -> Any:
        """The value of this name. Raises `KeyError`."""
        value = self.get_or(name, MISSING)
        if value is MISSING:
            raise KeyError(name)
        return value

    def get_or(self, name: str, default: Any) -> Any:
        """The value of this name, or the other one."""
        try:
            kept = self._known[name]
        except (KeyError, TypeError):
            kept = None
        # As `Kept.is_current`: to call that takes as long as all that is done here.
        if (
            kept is not None
            and kept.words[kept.place] == kept.stamp
            and kept.words[8] == kept.life
            and (kept.expires is None or now() < kept.expires)
        ):
            kept.hits += 1
            if kept.copy is not None:
                return kept.copy()
            value = kept.value
            if value is not ENCODED:
                return default if value is MISSING else value
        value = self._value(name, kept)
        return default if value is MISSING else value

    def has(self, name: str) -> bool:
        """Whether there is such an entry."""
        return self._read(name)[0].value is not MISSING

    def entry(self, name: str) -> EntryTuple | None:
        """Value, version, timestamp and whether the store was not asked; or None."""
        kept, cached = self._read(name)
        return self._entry(name, kept, cached)

    def known(self, name: str) -> tuple[EntryTuple | None] | None:
        """The entry where it is known here to be current, in a tuple of one; else None."""
        kept = self._known.get(_name(name))
        if kept is None or not kept.is_current():
            return None
        kept.hits += 1
        return (self._entry(name, kept, True),)

    def _read(self, name: str) -> tuple[Kept, bool]:
        """What is known of an entry, and whether the store was not asked."""
        try:
            kept = self._known[name]
        except (KeyError, TypeError):
            return self._ask(name, None), False
        if not kept.is_current():
            return self._ask(name, kept), False
        kept.hits += 1
        return kept, True

    def _value(self, name: str, known: Kept | None) -> Any:
        """The value where it cannot be given out as it is kept, or `MISSING`."""
        if known is None or not known.is_current():
            return self._decoded(name, self._ask(name, known), keep=False)
        return self._decoded(name, known, keep=True)

    def _decoded(self, name: str, kept: Kept, *, keep: bool) -> Any:
        if kept.copy is not None:
            return kept.copy()
        if kept.value is not ENCODED:
            return kept.value
        value = _value(kept.codec, kept.data)
        if keep:  # it is read for the second time
            self._cache.decoded(self._author, name, kept, value)
            if kept.copy is not None:
                return kept.copy()
        return value

    def _entry(self, name: str, kept: Kept, cached: bool) -> EntryTuple | None:
        value = self._decoded(name, kept, keep=cached)
        return None if value is MISSING else (value, kept.version, kept.timestamp, cached)

    # Questions.

    def _method(self, name: str) -> Method:
        """A method of the object that is the store."""
        try:
            return self._methods[name]
        except KeyError:
            remote = self._remote()
            if name in _READS:
                remote = remote.idempotent()
            method = self._methods[name] = remote.method(name)
            return method

    def _remote(self) -> Remote:
        cache = self._cache
        if cache.remote is None:
            try:
                remote = self._connection.lookup(_STORE)
            except BaseException as error:
                if getattr(error, "kind", None) != "no object":
                    raise
                text = "this server has no store; a daemon (`andiron serve`) has one"
                raise Failure("unsupported", text).exception() from None
            cache.remote = remote.raw(_buffer).over(None)
        found: Remote = cache.remote.over(self._connection)
        return found

    def _ask(self, name: str, known: Kept | None) -> Kept:
        """Asks the store. ``known``: what is here of the entry."""
        name = _name(name)
        cache, get = self._cache, self._method("get")
        link, incarnation, passes = self._connection.place()
        source = cache.source
        if source is None or source.link is not link:
            source = self._source(link, incarnation, passes)
            known = self._known.get(name)  # what was here may have been of another store
        version = 0 if known is None else known.version
        sent = now()
        row = get(name, version, self._author, cache.take_hits(known))
        # Over another connection it may have come from another store.
        return self._learn(name, row, known, sent, source if self._connection.link is link else None)

    def _learn(self, name: str, row: Any, known: Kept | None, sent: float, source: Source | None) -> Kept:
        try:
            kept: Kept = self._cache.learn(self._author, name, row, known, sent, source)
        except Failure as failure:
            raise (error := failure.exception("store.get")) from error.__cause__
        return kept

    def _source(self, link: Any, incarnation: bytes | None, passes: bool) -> Source:
        """The store at the other end of this connection, which was not asked yet."""
        board = None
        if self._wants_board(incarnation, passes):
            try:
                board = self._method("board")()
            except BaseException as error:
                _no_board(error)
        source: Source = self._cache.set_source(link, incarnation, board)
        return source

    def _wants_board(self, incarnation: bytes | None, passes: bool) -> bool:
        return self._cache.limit > 0 and passes and incarnation is not None

    def look(self, remote: Remote) -> Pending | None:
        """Has this be the object that is the store, and asks for what shows its writes, where that was not done: then this has to be awaited, and nothing later has to wait."""
        cache = self._cache
        raw = remote.raw(_buffer)
        cache.remote = raw.over(None)
        self._methods.clear()
        link, incarnation, passes = self._connection.place()
        if cache.source_of(link) is not None:
            return None
        if not self._wants_board(incarnation, passes):
            cache.set_source(link, incarnation, None)
            return None

        def seen(board: Any, failure: BaseException | None) -> None:
            if failure is not None:
                _no_board(failure)
                board = None
            cache.set_source(link, incarnation, board)

        return raw.method("board").begin(seen)

    def start(self, name: str) -> Pending:
        """Begins to ask for an entry, whether it is known here or not; the result is what `entry` gives."""
        name = _name(name)
        source = self._cache.source_of(self._connection.link)
        known = None if source is None else self._known.get(name)
        version, sent = 0 if known is None else known.version, now()

        def finish(row: Any, failure: BaseException | None) -> EntryTuple | None:
            if failure is not None:
                raise failure
            return self._entry(name, self._learn(name, row, known, sent, source), False)

        hits = self._cache.take_hits(known)
        return self._remote().method("get").begin(finish, name, version, self._author, hits)

    # Writes.

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
        """Sets a value; gives its version."""
        data = _encoded(name, value)
        micros = None
        if ttl is not None:
            if not ttl > 0:
                raise Failure("bad arguments", "a ttl is more than 0 seconds").exception()
            micros = max(1, int(min(ttl * 1e6, _LONGEST)))
        if durability is not None:
            if durability not in ("relaxed", "sync"):
                text = f"there is no durability {_quoted(durability)}: it is `relaxed` or `sync`"
                raise Failure("bad arguments", text).exception()
            more: tuple[Any, ...] = (bool(persist), durability)
        else:
            more = (True,) if persist else ()
        version: int = self._method("set")(name, data, _NATIVE, self._author, micros, if_version, *more)[0]
        return version

    def replace(self, name: str, value: Any, if_version: int) -> int:
        """Sets the value of an entry that is there, and leaves it as it is otherwise; gives its version."""
        data = _encoded(name, value)
        version: int = self._method("replace")(name, data, _NATIVE, self._author, if_version)[0]
        return version

    def set_default(self, name: str, value: Any) -> EntryTuple | None:
        """Sets a value where there is none; gives the entry that is there."""
        row = self._method("set_default")(name, _encoded(name, value), _NATIVE, self._author)
        return _entry(row)

    def set_many(self, items: Sequence[tuple[str, Any]]) -> int:
        """Sets several values at once; gives their version."""
        author = self._author
        entries = [[name, _encoded(name, value), _NATIVE, author, None, None] for name, value in items]
        version: int = self._method("set_many")(entries)[0]
        return version

    def delete(self, name: str, if_version: int | None = None) -> EntryTuple | None:
        """Takes an entry out and gives it back."""
        more = () if if_version is None else (if_version,)
        row = self._method("delete")(_name(name), self._author, *more)
        return _entry(row, name, taken=True)

    def delete_first(self) -> tuple[str, EntryTuple] | None:
        """Takes out the entry whose name comes first."""
        first = self._method("delete_first")(self._author)
        if first is None:
            return None
        name, row = first[:2]
        entry = _entry(row, name, taken=True)
        return None if entry is None else (name, entry)

    def incr(self, name: str, by: int) -> int:
        """Adds to a whole number; gives what it is now."""
        from _operator import index

        by = index(by)
        if not -(2**63) <= by < 2**63:
            text = "counting goes by 64 bits: use `change` to add more than that"
            raise Failure("bad arguments", text).exception()
        value: int = self._method("incr")(_name(name), by, self._author)[2]
        return value

    def persist(self, name: str, persist: bool) -> bool:
        """Has an entry outlive the server, or not any more; whether there is one."""
        found: bool = self._method("persist")(_name(name), bool(persist), self._author)
        return found

    def clear(self) -> int:
        """Removes the entries; how many there were."""
        count: int = self._method("clear")(self._author)
        return count

    # The whole.

    def count(self) -> int:
        """How many entries there are."""
        count: int = self._method("count")(self._author)
        return count

    def names(self) -> list[str]:
        """The names as they are at one moment, sorted."""
        return [row[0] for row in flow.rows(*self._method("entries")(self._author, False)[:2])]

    def entries(self) -> Entries:
        """All entries as they are at one moment, sorted by name."""
        return Entries(flow.rows(*self._method("entries")(self._author, True)[:2]))

    def stats(self) -> tuple[int, int, int, int, int, int]:
        """Entries, bytes, authors, hits, questions and evicted of the whole store."""
        figures = self._method("stats")()
        return (*figures[:5], figures[5] if len(figures) > 5 else 0)

    def save(self, snapshot: str) -> int:
        """Has the server keep the entries as they are, under this name; how many there were."""
        count: int = self._method("save")(_name(snapshot), self._author)
        return count

    def load(self, snapshot: str) -> int:
        """Sets entries as a snapshot has them; how many there were."""
        count: int = self._method("load")(_name(snapshot), self._author)
        return count

    def snapshots(self) -> list[tuple[str, float, int, int]]:
        """The snapshots: name, when it was saved, entries and bytes."""
        return [tuple(row[1:5]) for row in self._method("snapshots")(self._author)]

    def delete_snapshot(self, snapshot: str) -> None:
        """Deletes a snapshot."""
        self._method("delete_snapshot")(_name(snapshot), self._author)

    def backup(self, file: Any) -> int:
        """Writes all that is persistent, of all authors, to a file; how many bytes that were."""
        return flow.write_all(self._method("backup")(), file)

    def restore(self, file: Any) -> int:
        """Has all that is persistent be as a file says that it was; how many entries that were."""
        return flow.read_all(file, self._method("restore"))

    def watch(self, pattern: str, present: bool = True, since: int | None = None) -> Watch:
        """Changes of entries whose name fits."""
        return Watch(self, _name(pattern), bool(present), since)


class Entries:
    """Entries with their names as they come."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Any) -> None:
        self._rows = flow.Flow(rows)

    def __iter__(self) -> Entries:
        return self

    def __next__(self) -> tuple[str, EntryTuple]:
        name, version, timestamp, _, _, kind, data = next(self._rows)[:7]
        return name, (_named(name, kind, data), version, timestamp, False)


class Watch:
    """Changes as they come."""

    __slots__ = ("_pattern", "_resume_from", "_rows", "_store")

    def __init__(self, store: Store, pattern: str, present: bool, since: int | None) -> None:
        self._store = store
        self._pattern = pattern
        #: All changes up to this version were given out.
        self._resume_from = since
        self._rows = flow.Flow(self._begin(present and since is None, since))

    def _begin(self, present: bool, since: int | None) -> Any:
        store = self._store
        more = () if since is None else (since,)
        return store._method("watch")(self._pattern, store._author, present, *more)

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> tuple[str, EntryTuple | None, int, int, int | None]:
        while True:
            try:
                row = next(self._rows)
                break
            except (ConnectionError, Failure) as lost:
                if getattr(lost, "kind", "") not in ("unknown", "unavailable"):
                    raise
                if not self._store._connection.retries:
                    raise
                self._rows.replace(self._go_on())
        state, _, name, version, skipped, timestamp, kind, data = row[:8]
        told = row[8] if len(row) > 8 else 0
        self._resume_from = told or None
        entry = None
        if state == 1:
            entry = (_named(name, kind, data), version, timestamp, False)
        return name, entry, version, skipped, self._resume_from

    def _go_on(self) -> Any:
        """The same watch over the next connection."""
        if self._resume_from is not None:
            try:
                return self._begin(False, self._resume_from)
            except Exception as error:
                if getattr(error, "kind", None) != "conflict":  # too long ago, or of another server
                    raise
        return self._begin(True, None)

    def close(self) -> None:
        """Ends it."""
        self._rows.close()


def _buffer(form: Any, shape: Any, data: Any) -> Any:
    """What a buffer is in an answer: a value as it is stored, which may be the beginning of what came; or the descriptor of a board."""
    if form != "B" or type(shape) is not list or len(shape) != 1:
        text = f"a buffer of format {form!r} and shape {shape} is nothing that a store answers"
        raise Failure("encoding", text)
    if type(data) is Descriptor or len(data) == shape[0]:
        return data
    if type(shape[0]) is not int or not 0 <= shape[0] < len(data):
        text = f"a value of {shape[0]} bytes was announced, and {len(data)} came"
        raise Failure("encoding", text)
    return data.part(0, shape[0]) if type(data) is Memory else data[: shape[0]]


def _name(name: Any) -> str:
    """The name of an entry, a snapshot or an author: a str that is text."""
    if not isinstance(name, str):
        raise TypeError(f"a name in the store is a str, not {type(name).__name__}")
    try:
        name.encode()
    except UnicodeEncodeError:
        text = "a name in the store is text, and this one holds half of a surrogate pair"
        raise Failure("encoding", text).exception() from None
    return name


def _encoded(name: str, value: Any) -> Any:
    return codec.encode_stored(value, f"the value of `{_name(name)}`")


def _quoted(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(kind: int, data: Any) -> Any:
    if kind == _NATIVE:
        return codec.decode(data) if type(data) is bytes else codec.decode_memory(data)
    return hooks.package.foreign(kind, bytes(data))


def _named(name: str, kind: int, data: Any, *, taken: bool = False) -> Any:
    """The value of an entry that is among others, or that is in the store no more: then its bytes come with the error where it cannot be read."""
    try:
        return _value(kind, data)
    except Exception as error:
        raise hooks.package.unreadable(error, name, bytes(data) if taken else None) from error.__cause__


def _entry(row: list[Any], name: str = "", *, taken: bool = False) -> EntryTuple | None:
    """What `delete` and its like answer."""
    if row[0] != 1:
        return None
    version, timestamp, kind, data = row[1], *row[5:8]
    value = _named(name, kind, data, taken=True) if taken else _value(kind, data)
    return value, version, timestamp, False


def _no_board(error: BaseException) -> None:
    """A store that has no board, or does not know what that is, is a store all the same."""
    if getattr(error, "kind", None) not in ("no method", "encoding", "overloaded"):
        raise error
