"""What of an object others may call, and how: what is marked, by the rules of Pyro."""

from __future__ import annotations

import contextlib
import inspect
import types

from andiron.compat.pyro._config import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["behavior", "callback", "expose", "oneway"]

#: Names with two underscores at both ends that are never called from elsewhere: what makes, ends and describes an object here.
_NEVER = frozenset(
    f"__{name}__"
    for names in (
        (
            "init",
            "init_subclass",
            "new",
            "del",
            "class",
            "module",
            "weakref",
            "dict",
            "slots",
            "prepare",
            "set_name",
        ),
        (
            "repr",
            "str",
            "format",
            "bool",
            "nonzero",
            "coerce",
            "cmp",
            "eq",
            "ne",
            "hash",
            "ge",
            "gt",
            "le",
            "lt",
        ),
        ("dir", "sizeof", "enter", "exit", "aenter", "aexit", "await", "copy", "deepcopy"),
        ("getattr", "getattribute", "setattr", "delattr", "get", "set", "delete"),
        ("instancecheck", "subclasscheck", "subclasshook"),
        ("getinitargs", "getnewargs", "getnewargs_ex", "getstate", "setstate", "reduce", "reduce_ex"),
    )
    for name in names
)

MODES = ("session", "single", "percall")


def is_private_attribute(name: str) -> bool:
    """Whether a name is never called from elsewhere.

    >>> [is_private_attribute(name) for name in ("tune", "_tune", "__tune", "__len__", "__init__")]
    [False, True, True, False, True]
    """
    if not name.startswith("_"):
        return False
    return name in _NEVER or not (len(name) > 4 and name.startswith("__") and name.endswith("__"))


def _functions_of(member: Any) -> list[Any]:
    """What is called in place of a member of a class."""
    if isinstance(member, property):
        return [part for part in (member.fget, member.fset, member.fdel) if part is not None]
    return [getattr(member, "__func__", member)]


def expose(method_or_class: T) -> T:
    """Lets others call a method, read and set a property, or do so with all public ones that a class defines itself.

    >>> class Radio:
    ...     @expose
    ...     def tune(self, frequency): ...
    ...     def explode(self): ...
    >>> sorted(interface_of(Radio())["methods"])
    ['tune']
    """
    what: Any = method_or_class
    if isinstance(what, type):
        marked: Any = what
        for name, member in vars(what).items():
            if not is_private_attribute(name) and (isinstance(member, property) or _is_function(member)):
                for function in _functions_of(member):
                    with contextlib.suppress(AttributeError, TypeError):  # one of C takes no mark
                        function._pyroExposed = True
        marked._pyroExposed = True
        return method_or_class
    functions = _functions_of(what)
    for function in functions:
        name = getattr(function, "__name__", "")
        if is_private_attribute(name):
            raise AttributeError(f"`{name}` cannot be exposed: names that begin with `_` never are")
        function._pyroExposed = True
    return method_or_class


def oneway(method: T) -> T:
    """Has callers of a method not wait for it: they get `None`, and what fails is logged."""
    for function in _functions_of(method):
        function._pyroOneway = True
    return method


def callback(method: T) -> T:
    """Has what a method raises be logged where it runs too, and not only where it was called."""
    for function in _functions_of(method):
        function._pyroCallback = True
    return method


def behavior(
    instance_mode: str = "session", instance_creator: Callable[[Any], Any] | None = None
) -> Callable[[T], T]:
    """Says how many instances there are of a class that is registered: one for each connection (``"session"``), for all (``"single"``) or for each call (``"percall"``).

    ``instance_creator(cls)`` makes one, where the class called without arguments does not.
    """
    if not isinstance(instance_mode, str):
        raise SyntaxError("@behavior is used with parentheses, as in @behavior(instance_mode='single')")
    if instance_mode not in MODES:
        raise ValueError(f"there is no instance mode {instance_mode!r}, only {', '.join(MODES)}")
    if instance_creator is not None and not callable(instance_creator):
        raise TypeError("instance_creator is a function that takes the class and gives an instance")

    def chosen(cls: T) -> T:
        if not isinstance(cls, type):
            raise TypeError("@behavior is for classes")
        cls._pyroInstancing = instance_mode, instance_creator  # type: ignore[attr-defined]
        return cls

    return chosen


def instancing_of(cls: type) -> tuple[str, Callable[[Any], Any] | None]:
    """The mode of a class that is registered, and what makes an instance."""
    chosen: tuple[str, Any] = getattr(cls, "_pyroInstancing", ("session", None))
    return chosen


def _is_function(member: Any) -> bool:
    known = isinstance(member, (types.FunctionType, staticmethod, classmethod))
    return known or (callable(member) and inspect.ismethoddescriptor(member))


def _is_exposed(member: Any) -> bool:
    return not config.REQUIRE_EXPOSE or any(
        getattr(function, "_pyroExposed", False) for function in _functions_of(member)
    )


def _members_of(obj: Any) -> Iterator[tuple[str, Any]]:
    """What a class, or an instance and its class, has by public names: not read by way of the instance, since that would run its properties."""
    cls = obj if isinstance(obj, type) else type(obj)
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        members.update(vars(base))
    if cls is not obj:
        members.update(getattr(obj, "__dict__", {}))
    for name, member in members.items():
        if isinstance(name, str) and not is_private_attribute(name):
            yield name, member


def interface_of(obj: Any) -> dict[str, set[str]]:
    """The names of what others may call, of that of it for which nobody waits, and of what they may read and set."""
    methods: set[str] = set()
    oneways: set[str] = set()
    attrs: set[str] = set()
    for name, member in _members_of(obj):
        if not _is_exposed(member):
            continue
        if isinstance(member, property):
            attrs.add(name)
        elif _is_method(member):
            methods.add(name)
            if any(getattr(function, "_pyroOneway", False) for function in _functions_of(member)):
                oneways.add(name)
    return {"methods": methods, "oneway": oneways, "attrs": attrs}


def _is_method(member: Any) -> bool:
    plain = getattr(member, "__func__", member)
    return callable(plain) and not isinstance(plain, type)


def member_of(obj: Any, name: str) -> Any:
    """The member by that name, where others may use it.

    It is looked for anew each time, since what an instance has may change.
    """
    if not is_private_attribute(name):
        cls = type(obj)
        own = getattr(obj, "__dict__", {})
        member = own[name] if name in own else _in_class(cls, name)
        if (
            member is not None
            and (isinstance(member, property) or _is_method(member))
            and _is_exposed(member)
        ):
            return member
    raise AttributeError(f"attempt to access unexposed or unknown remote attribute '{name}'")


def _in_class(cls: type, name: str) -> Any:
    for base in cls.__mro__[:-1]:
        if name in vars(base):
            return vars(base)[name]
    return None


def is_callback(member: Any) -> bool:
    """Whether what it raises is of interest here."""
    return any(getattr(function, "_pyroCallback", False) for function in _functions_of(member))


def is_oneway(member: Any) -> bool:
    """Whether nobody waits for it."""
    return any(getattr(function, "_pyroOneway", False) for function in _functions_of(member))
