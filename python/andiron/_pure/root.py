"""The object that every connection begins with: it knows the names of the others."""

from __future__ import annotations

from _thread import allocate_lock

from andiron._pure.failure import Failure
from andiron._pure.remote import Remote
from andiron._pure.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from andiron._pure.link import Link

    class Rights(Protocol):
        """What a peer may do, by the secret that it has."""

        @property
        def objects(self) -> Any:
            """The names that it may call; `None`: all."""

        def may_call(self, name: str) -> bool:
            """Whether it may call this object."""


class Directory:
    """Names of objects. ``accepts``: other processes may register theirs."""

    def __init__(self, accepts: bool) -> None:
        self._accepts = accepts
        self._lock = allocate_lock()
        #: What has the name, a `Target` or a `Remote`, and the connection that brought it.
        self._names: dict[str, tuple[Target | Remote, Link | None]] = {}
        #: By which the server is reached, the best first.
        self.addresses: list[str] = []

    def add(self, name: str, thing: Target | Remote, owner: Link | None = None) -> None:
        """Gives an object a name, until its owner ends."""
        if not 1 <= len(name.encode()) <= 1024:
            raise Failure("bad arguments", "an object's name has 1 to 1024 bytes")
        with self._lock:
            if name in self._names:
                text = f"the name '{name}' is taken; choose another, or end the process that has it"
                raise Failure("conflict", text)
            self._names[name] = thing, owner

    def lookup(self, name: str) -> Target | Remote | None:
        """What has this name."""
        found = self._names.get(name)
        return None if found is None else found[0]

    def names(self) -> list[str]:
        """All names, sorted."""
        with self._lock:
            return sorted(self._names)

    def remove(self, name: str, owner: Link) -> None:
        """Takes a name back."""
        with self._lock:
            found = self._names.get(name)
            if found is None or found[1] is not owner:
                raise Failure("no object", f"this connection registered no object '{name}'")
            del self._names[name]

    def forget(self, owner: Link) -> None:
        """A connection has ended: the names that it brought are gone."""
        with self._lock:
            gone = [name for name, (_, whose) in self._names.items() if whose is owner]
            dropped = [self._names.pop(name) for name in gone]
        del dropped  # without the lock

    def clear(self) -> None:
        """Nobody finds anything any more."""
        with self._lock:
            names, self._names = self._names, {}
        del names

    def root_of(self, link: Link, rights: Rights | None = None) -> Target:
        """The root object of a connection; ``rights``: what its other end may do, where it may not do everything."""
        root = _Root(self, link)
        root.rights = rights
        if self._accepts:
            link.on_end(lambda _failure: self.forget(link))
        methods: dict[str, Callable[..., Any]] = {
            "lookup": root.lookup,
            "names": root.names,
            "addresses": root.addresses,
            "register": root.register,
            "unregister": root.unregister,
            "$describe": _describe,
        }
        target = Target(root, methods, _missing)
        target.inline = True
        target.makes = _as_it_is, _as_it_is
        root.target = target
        return target


class _Root:
    """The root object of one connection."""

    __slots__ = ("__weakref__", "_directory", "_link", "rights", "target")

    def __init__(self, directory: Directory, link: Link) -> None:
        self._directory = directory
        self._link = link
        self.rights: Rights | None = None
        self.target: Target | None = None

    def lookup(self, name: str) -> Target | Remote:
        """The object of this name."""
        _check_text(name)
        if self.rights is not None and not self.rights.may_call(name):
            raise Failure(
                "denied",
                f"the secret of this connection gives no right to call '{name}'; the words behind it in the server's file say what it may call",
            )
        found = self._directory.lookup(name)
        if found is None:
            raise Failure(
                "no object", f"no object is named '{name}'; `andiron describe` lists those that are"
            )
        return found

    def names(self) -> list[str]:
        """The names of all objects, sorted; where the caller's rights are limited, of those that it may call."""
        names = self._directory.names()
        return names if self.rights is None else [name for name in names if self.rights.may_call(name)]

    def addresses(self) -> list[str]:
        """The addresses by which this server is reached, the best ones first."""
        return list(self._directory.addresses)

    def register(self, name: str, object: Any) -> None:  # noqa: A002 - its name on the wire
        """Gives an object a name until it is unregistered or the connection ends."""
        _check_text(name)
        if not self._directory._accepts:
            text = "this server takes no objects of others; register them at a daemon (`andiron serve`)"
            raise Failure("denied", text)
        if self.rights is not None and self.rights.objects is not None:
            text = "the secret of this connection gives the right to call some objects, and not to register others"
            raise Failure("denied", text)
        thing = object if isinstance(object, Remote) else Target.known(object)
        if thing is None:
            raise Failure("bad arguments", f"what is registered as '{name}' is no object: give a reference")
        self._directory.add(name, thing, self._link)
        if self._link.ended is not None:
            self._directory.forget(
                self._link
            )  # it ended meanwhile, and what forgets its names may have run before

    def unregister(self, name: str) -> None:
        """Takes the name back."""
        _check_text(name)
        self._directory.remove(name, self._link)


def _as_it_is(thing: Any) -> Any:
    return thing


def _check_text(name: object) -> None:
    if type(name) is not str:
        raise Failure("bad arguments", f"a name is a text, not a {type(name).__name__}")


def _method(name: str, returns: str, parameters: dict[str, str]) -> dict[str, Any]:
    told = [{"name": parameter, "type": kind} for parameter, kind in parameters.items()]
    return {"name": name, "parameters": told, "returns": returns}


def _describe() -> dict[str, Any]:
    """What the root can do."""
    methods = [
        _method("lookup", "object", {"name": "str"}),
        _method("names", "list[str]", {}),
        _method("addresses", "list[str]", {}),
        _method("register", "", {"name": "str", "object": "object"}),
        _method("unregister", "", {"name": "str"}),
    ]
    return {"name": "Root", "methods": methods}


def _missing(name: str) -> Any:
    raise Failure(
        "no method",
        f"`Root` has no method `{name}`: it has `lookup`, `names`, `addresses`, `register`, `unregister`",
    )
