"""Objects of other processes."""

from __future__ import annotations

from andiron import _errors, _fork
from andiron._engine import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from andiron._engine import Inflow, Method, Remote

#: What makes an object a function or a container, and the name that it has on the wire.
SPECIAL = {
    "__call__": "$call",
    "__len__": "$len",
    "__iter__": "$iterate",
    "__contains__": "$contains",
    "__getitem__": "$item",
    "__setitem__": "$set_item",
    "__delitem__": "$delete_item",
}


class _Call:
    """Of a proxy what calls its object: a method of it like others, that takes arguments of all names."""

    def __get__(self, proxy: Proxy, _cls: type | None = None) -> Method:
        return _special(proxy, "$call")


class Proxy:
    """An object of another process: its methods are called there, its properties read and set there.

    A proxy has no public name of its own. One of a function has the two of a method, ``start`` and ``notify``, where the object says that it has no others of these
    names. What is called is kept, so a second call of the same method costs no search for it::

        player = hub["player"]
        player.seek(12.5)
        player.seek.start(12.5).result()  # waits later
        player.log.notify("done")  # does not wait at all
    """

    __slots__ = ("__dict__", "__weakref__", "_andiron")

    def __init__(
        self, remote: Remote, found: tuple[_fork.Place, str] | None = None, needs: object = None
    ) -> None:
        far = _Far(remote, found, self.__dict__, needs)
        object.__setattr__(self, "_andiron", far)
        if found is not None:
            _fork.inherits(far)

    def __getattr__(self, name: str) -> Any:
        far: _Far = object.__getattribute__(self, "_andiron")
        if name in ("start", "notify") and far.is_function_without(name):
            return getattr(far.special("$call"), name)
        kind = far.kind_of(name)
        if kind is not None:
            return far.method(name)()
        method = self.__dict__[name] = far.method(name)
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        far: _Far = object.__getattribute__(self, "_andiron")
        if far.kind_of(name) != "read and set":
            raise AttributeError(f"`{name}` of {self!r} cannot be set")
        far.method("$set")(name, value)

    def __dir__(self) -> list[str]:
        far: _Far = object.__getattribute__(self, "_andiron")
        return sorted(name for name in far.names() if not name.startswith("$"))

    __call__ = _Call()

    def __len__(self) -> int:
        length: int = _special(self, "$len")()
        return length

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(_special(self, "$iterate")())

    def __contains__(self, item: object) -> bool:
        return bool(_special(self, "$contains")(item))

    def __getitem__(self, key: Any) -> Any:
        return _special(self, "$item")(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _special(self, "$set_item")(key, value)

    def __delitem__(self, key: Any) -> None:
        _special(self, "$delete_item")(key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and remote_of(self).same(remote_of(other))

    def __hash__(self) -> int:
        return hash(remote_of(self))

    def __reduce__(self) -> Any:
        far: _Far = object.__getattribute__(self, "_andiron")
        if far.found is None:
            raise TypeError("only a proxy that was got by its name can be pickled: as address and name")
        return unpickle, far.found

    def __copy__(self) -> Proxy:
        return self

    def __deepcopy__(self, _: object) -> Proxy:
        return self

    def __repr__(self) -> str:
        return f"<{remote_of(self)!r}>"


class _Far:
    """What a proxy knows of its object."""

    __slots__ = ("__weakref__", "_interface", "_special", "found", "kept", "needs", "remote")

    def __init__(
        self, remote: Remote, found: tuple[_fork.Place, str] | None, kept: dict[str, Any], needs: object
    ) -> None:
        self.remote = remote
        #: The handles that the proxy keeps.
        self.kept = kept
        #: The server and the name by which it was found.
        self.found = found
        #: What has to be there for the object to be: a server in this process.
        self.needs = needs
        self._interface: dict[str, str | None] | None = None
        self._special: dict[str, Method] = {}

    def forked(self) -> None:
        found = self.found
        if found is not None:
            _fork.Anew(self, "remote", lambda: remote_of(unpickle(*found)))
            self.kept.clear()
            self._special.clear()

    def method(self, name: str) -> Method:
        return self.remote.method(name)

    def special(self, name: str) -> Method:
        method = self._special.get(name)
        if method is None:
            method = self._special[name] = self.method(name)
        return method

    def names(self) -> dict[str, str | None]:
        """What the object has, and of properties what can be done with them. Asked for once."""
        if self._interface is None:
            told = self.method("$describe")()
            self._interface = {method["name"]: method.get("property") for method in told["methods"]}
        return self._interface

    def is_function_without(self, name: str) -> bool:
        """Whether it can be called, and has nothing of this name."""
        names = self.names()
        return "$call" in names and name not in names

    def kind_of(self, name: str) -> str | None:
        """What can be done with a property; `None` for a method."""
        if name.startswith("_"):
            raise _errors.NoMethodError(f"`{name}`: names that begin with `_` are never exposed")
        names = self.names()
        if name not in names:
            raise _errors.NoMethodError(
                f"the object has no method `{name}`: {_errors.hint(name, names, 'it has')}"
            )
        return names[name]


def remote_of(proxy: Proxy) -> Remote:
    """What an engine knows a proxy as."""
    far: _Far = object.__getattribute__(proxy, "_andiron")
    remote: Remote = _fork.made(far.remote)
    return remote


def _special(proxy: Proxy, name: str) -> Method:
    far: _Far = object.__getattribute__(proxy, "_andiron")
    return far.special(name)


class Stream:
    """Items that another process sends as they are taken: iterate over it once. Closing or dropping it ends the sender's iterator."""

    __slots__ = ("_items",)

    def __init__(self, items: Inflow) -> None:
        self._items = items

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        """Wants no more items."""
        self._items.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unpickle(place: _fork.Place, name: str) -> Any:
    """What a pickled proxy stands for in this process."""
    from andiron._hub import shared

    return shared(place)[name]


hooks.proxy = Proxy
hooks.stream = Stream
