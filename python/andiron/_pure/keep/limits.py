"""How much a store may hold, how that is counted, and what makes room for what."""

from __future__ import annotations

from heapq import heappop, heappush

from andiron._errors import BadArgumentsError, ConflictError, QuotaError, TooLargeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from andiron._pure.keep.store import Put, Shelf, Store

#: Bytes counted for an entry on top of its name and value, with the name once more for one that expires, and for an author that has entries.
ENTRY_OVERHEAD = 128
TTL_OVERHEAD = 128
AUTHOR_OVERHEAD = 1024
#: A longer name counts twice.
_LONG_NAME = 256


class Limits:
    """What a store may hold. What would pass a limit is refused and changes nothing, unless the store makes room.

    ``max_bytes`` are those of all names and values and of each author once, with what each counts for; ``max_author_entries`` and ``max_author_bytes`` are for one author.
    ``evict``: ``"oldest"`` takes out what was written longest ago and is not persistent.
    """

    __slots__ = (
        "evict",
        "max_author_bytes",
        "max_author_entries",
        "max_bytes",
        "max_entries",
        "max_key_bytes",
    )

    def __init__(
        self,
        max_entries: int = 4_000_000,
        max_bytes: int = 2 << 30,
        max_author_entries: int | None = None,
        max_author_bytes: int | None = None,
        evict: str = "none",
        max_key_bytes: int = 64 << 10,
    ) -> None:
        if evict not in ("none", "oldest"):
            raise BadArgumentsError(f"a store cannot evict {evict!r}: it is `none` or `oldest`")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.max_author_entries = 1 << 64 if max_author_entries is None else max_author_entries
        self.max_author_bytes = 1 << 64 if max_author_bytes is None else max_author_bytes
        self.evict = evict
        self.max_key_bytes = max_key_bytes


def size(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def entry_cost(name: str, length: int, expires: bool) -> int:
    """Bytes counted for one entry of an author who is counted already."""
    name_length = size(name)
    cost = length + name_length + ENTRY_OVERHEAD
    if name_length > _LONG_NAME:
        cost += name_length
    return cost + name_length + TTL_OVERHEAD if expires else cost


def author_cost(author: str) -> int:
    """Bytes counted for an author before the first entry."""
    return size(author) + AUTHOR_OVERHEAD


class Ages:
    """Entries that may be evicted, by the versions of their last writes, of each author and of all.

    What was written again or taken out meanwhile stays, is known by its version, and goes when there is more of it than of the others.
    """

    __slots__ = ("_all", "_authors")

    def __init__(self) -> None:
        self._all: list[tuple[int, str, str]] = []
        self._authors: dict[str, list[tuple[int, str, str]]] = {}

    def add(self, shelves: dict[str, Shelf], version: int, author: str, name: str) -> None:
        """An entry may be evicted, or was written again."""
        aged = (version, author, name)
        for heap in (self._all, self._authors.setdefault(author, [])):
            heappush(heap, aged)
        if len(self._all) & (len(self._all) - 1) == 0 and len(self._all) > 4096:
            self._rid(shelves)

    def _rid(self, shelves: dict[str, Shelf]) -> None:
        """Forgets what is not so any more."""
        self._all = sorted({aged for aged in self._all if is_aged(shelves, aged)})
        self._authors = {}
        for aged in self._all:  # sorted, so each of them is a heap
            self._authors.setdefault(aged[1], []).append(aged)

    def of(self, author: str | None) -> list[tuple[int, str, str]]:
        """A heap of them."""
        return self._all if author is None else self._authors.get(author, [])


def is_aged(shelves: dict[str, Shelf], aged: tuple[int, str, str]) -> bool:
    """Whether this entry is as it was, and may be evicted."""
    version, author, name = aged
    shelf = shelves.get(author)
    entry = None if shelf is None else shelf.entries.get(name)
    return entry is not None and entry.version == version and not entry.persistent


class _Lack:
    """What there is too little room for: so many entries, and bytes."""

    __slots__ = ("author", "bytes", "entries")

    def __init__(self, author: str | None, entries: int, length: int) -> None:
        self.author = author
        self.entries = max(entries, 0)
        self.bytes = max(length, 0)

    def __bool__(self) -> bool:
        return self.entries > 0 or self.bytes > 0

    def refused(self, limits: Limits) -> QuotaError:
        resource = "entries" if self.entries else "bytes"
        if self.author is None:
            most = limits.max_entries if self.entries else limits.max_bytes
            return QuotaError(
                f"the store is full, it may hold {most} {resource}: delete entries, or have its program start it with a larger max_{resource}"
            )
        most = limits.max_author_entries if self.entries else limits.max_author_bytes
        return QuotaError(
            f'the author "{self.author[:64]}" has all that one author may have, {most} {resource}: delete entries of this author, or have the program of '
            f"the store start it with a larger max_author_{resource}"
        )


def admit(store: Store, puts: Sequence[Put]) -> None:
    """Raises why these may not be set, or makes room for them where the store does. They know what they cost from then on."""
    limits = store.limits
    most = min(limits.max_bytes, limits.max_author_bytes)
    for put in puts:
        length = size(put.author) + size(put.name)
        if length > limits.max_key_bytes:
            raise TooLargeError(
                f"the key is {length} bytes long (author and name), at most {limits.max_key_bytes} are allowed: use a shorter key"
            )
        put.cost = entry_cost(put.name, len(put.value), put.ttl is not None)
        alone = put.cost + author_cost(put.author)
        if alone > most:
            raise TooLargeError(
                f"the entry needs {alone} bytes with its author, at most {most} are allowed: store a smaller value, or have the program of the store start it "
                "with a larger max_bytes or max_author_bytes"
            )
        check_version(store, put.author, put.name, put.if_version)
    if len(puts) > 1 and len({(put.author, put.name) for put in puts}) < len(puts):
        raise BadArgumentsError(
            "the same entry stands twice among those that are to be set together: leave one of them out"
        )
    lacks = _lacks(store, puts)
    if lacks:
        if store.ages is None:
            raise lacks[0].refused(limits)
        _evict(store, puts, lacks)


def check_version(store: Store, author: str, name: str, wanted: int | None) -> None:
    """Raises where an entry has not the version that it is to have; 0: there is to be none."""
    if wanted is None:
        return
    entry = store.find(author, name)
    if (0 if entry is None else entry.version) == wanted:
        return
    if entry is None:
        raise ConflictError(
            "the entry that was to be changed is not there any more: read it, and decide anew"
        )
    raise ConflictError(
        f"the entry was changed meanwhile and has version {entry.version} now: read it, and decide anew"
    )


def _lacks(store: Store, puts: Sequence[Put]) -> list[_Lack]:
    """What there is too little room for: of authors, and then of all. What does not grow always fits, since more may have been loaded than fits."""
    limits, found = store.limits, []
    grown: dict[str, list[int]] = {}
    for put in puts:
        growth = grown.setdefault(put.author, [0, 0, 0])
        old = store.find(put.author, put.name)
        growth[1] += put.cost
        if old is None:
            growth[0] += 1
        else:
            growth[2] += old.cost
    entries = added = freed = 0
    for author, (more, added_here, freed_here) in grown.items():
        shelf = store.shelves.get(author)
        cost = author_cost(author)
        held, length = (len(shelf.entries), shelf.bytes - cost) if shelf else (0, 0)
        lack = _Lack(
            author,
            (held + more - limits.max_author_entries) if more else 0,
            length - freed_here + added_here - (limits.max_author_bytes - cost)
            if added_here > freed_here
            else 0,
        )
        if lack:
            found.append(lack)
        entries += more
        added += added_here + (0 if shelf else cost)
        freed += freed_here
    lack = _Lack(
        None,
        (store.count + entries - limits.max_entries) if entries else 0,
        (store.bytes - freed + added - limits.max_bytes) if added > freed else 0,
    )
    if lack:
        found.append(lack)
    return found


def _evict(store: Store, puts: Sequence[Put], lacks: list[_Lack]) -> None:
    """Takes out what was written longest ago, until there is room: all that is needed for that, or nothing."""
    ages, limits = store.ages, store.limits
    assert ages is not None
    # What is to be set is not evicted for it, and its authors stay.
    stays = {(put.author, put.name) for put in puts}
    authors = {put.author for put in puts}
    total = next((lack for lack in lacks if lack.author is None), _Lack(None, 0, 0))
    left: dict[str, int] = {}
    victims: dict[tuple[str, str], tuple[int, str, str]] = {}
    passed: list[tuple[int, str, str]] = []
    try:
        for lack in lacks:
            heap = ages.of(lack.author)
            while lack:
                if not heap:
                    raise lack.refused(limits)
                aged = heappop(heap)
                key = aged[1:]
                if key in victims or not is_aged(store.shelves, aged):
                    continue
                if key in stays:
                    passed.append(aged)
                    continue
                victims[key] = aged
                shelf = store.shelves[aged[1]]
                freed = shelf.entries[aged[2]].cost
                left[aged[1]] = left.get(aged[1], len(shelf.entries)) - 1
                if not left[aged[1]] and aged[1] not in authors:
                    freed += author_cost(aged[1])
                for short in (lack, total) if lack is not total else (lack,):
                    short.entries = max(short.entries - 1, 0)
                    short.bytes = max(short.bytes - freed, 0)
    except QuotaError:
        passed += victims.values()
        raise
    finally:
        for version, author, name in passed:
            ages.add(store.shelves, version, author, name)
    for author, name in victims:
        store.drop(author, name)
        store.evicted += 1
