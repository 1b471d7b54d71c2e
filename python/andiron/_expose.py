"""Objects that others may call."""

from __future__ import annotations

import os
import sys
import types
import weakref
from _collections_abc import Iterator
from _io import _IOBase
from _thread import allocate_lock

from andiron import _errors, _later, _values
from andiron._engine import Method, Outflow, Target, check, current, hooks
from andiron._proxy import SPECIAL, Proxy, remote_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Collection
    from functools import _lru_cache_wrapper, partial
    from typing import Any, TypeVar

    T = TypeVar("T")
else:
    # The module that has them by their public names takes long to import.
    from andiron._later import partial

    try:
        from _functools import _lru_cache_wrapper
    except ImportError:  # of PyPy, where it is a function
        _lru_cache_wrapper = types.FunctionType

_MARK = "__andiron_exposed__"
#: Instances that were exposed and take no attributes, by their number. They are kept, as their numbers would be given to others.
_marked: dict[int, object] = {}

#: Whether a class shows anything, as long as nothing more is exposed.
_shows: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()

#: What `describe` tells of functions, by name and whether they are bound.
_told: weakref.WeakKeyDictionary[types.FunctionType, dict[tuple[str, bool], dict[str, Any]]] = (
    weakref.WeakKeyDictionary()
)

#: What methods that do not say it give; others may give anything.
_GIVES = {"$len": "int", "$contains": "bool", "$set_item": "", "$delete_item": ""}

_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodWrapperType,
    _lru_cache_wrapper,
    partial,
    Method,
)


class _ExposedProperty(property):
    """A property that others may read, and write where it can be written."""


def expose(what: T) -> T:
    """Lets others call what is marked so: a method, a property, all public methods and properties of a class, or those of one instance.

    Names that begin with ``_`` are never exposed, but for what makes an object a function or a container (``__call__``, ``__len__``, ``__iter__``,
    ``__contains__``, ``__getitem__``, ``__setitem__`` and ``__delitem__``).

    >>> @expose
    ... class Player:
    ...     def seek(self, seconds: float) -> float:
    ...         return seconds
    >>> sorted(methods_of(Player()))
    ['$describe', 'seek']
    """
    _shows.clear()
    if isinstance(what, type):
        setattr(what, _MARK, True)
        return what
    if isinstance(what, property):
        _check_public(what.fget)
        exposed: Any = _ExposedProperty(what.fget, what.fset, what.fdel, what.__doc__)
        return exposed  # type: ignore[no-any-return] # it is a property still
    if isinstance(what, (staticmethod, classmethod)):
        _check_public(what.__func__)
        setattr(what.__func__, _MARK, True)
        return what
    _check_shows(what)
    try:
        setattr(what, _MARK, True)
    except (AttributeError, TypeError):  # it is frozen, or has no room
        _marked[id(what)] = what
    return what


def _check_public(method: object) -> None:
    """Refuses to mark a method by whose name nobody could call it. A function that is no method is called by names of others, and one that a decorator made has any."""
    of, _, name = getattr(method, "__qualname__", "").rpartition(".")
    if of and not of.endswith("<locals>") and not _is_public(name):
        raise TypeError(f"`{name}` cannot be exposed: names that begin with `_` never are")


def _check_shows(what: object) -> None:
    """Refuses to mark what nobody could call then."""
    cls = type(what)
    if isinstance(what, _FUNCTIONS):
        _check_public(what)
    elif not callable(what) and hasattr(cls, "__get__"):
        raise TypeError(
            f"a {cls.__name__} cannot be exposed, only methods and properties: write one that uses it"
        )
    elif cls.__module__ == "builtins" or not _names(cls, True):
        raise TypeError(
            f"{_name_of(cls)} has nothing that could be called by others: expose a class or a method, or an instance that has public ones"
        )


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name in SPECIAL


def _names(cls: type, everything: bool) -> dict[str, Any]:
    """What instances of a class show, by name: the function, or the property."""
    names: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        whole = everything or _MARK in vars(base)
        for name, member in vars(base).items():
            plain = getattr(member, "__func__", member)
            # `@property` above `@expose` has what is marked inside.
            within = member.fget if isinstance(member, property) else plain
            marked = isinstance(member, _ExposedProperty) or getattr(within, _MARK, False) is True
            callable_or_property = isinstance(member, property) or callable(plain)
            shown = (whole or marked) and callable_or_property and not isinstance(plain, type)
            if callable_or_property and (name in names or (shown and _is_public(name))):
                names[name] = member
            else:
                names.pop(name, None)  # as `name = None` takes a method away
    return names


def is_exposed(value: object) -> bool:
    """Whether an object has something that others may call."""
    cls = type(value)
    shows = _shows.get(cls)
    if shows is None:
        shows = _shows[cls] = bool(_names(cls, False))
    return shows or _is_marked(value)


def _is_marked(value: object) -> bool:
    own: dict[str, Any] = getattr(value, "__dict__", {})
    return own.get(_MARK) is True or id(value) in _marked


def methods_of(value: Any, everything: bool = False) -> dict[str, Any]:
    """What is called by which name, for an engine: what is marked, or everything that is public."""
    names = _names(type(value), everything or _is_marked(value))
    methods: dict[str, Any] = {}
    properties: dict[str, property] = {}
    for name, member in names.items():
        if isinstance(member, property):
            properties[name] = member
            methods[name] = partial(_get, value, name)
        else:
            methods[SPECIAL.get(name, name)] = _checked(getattr(value, name))
    if any(member.fset for member in properties.values()):
        methods["$set"] = partial(_set, value, properties)
    if "__iter__" in names:
        methods["$iterate"] = partial(iter, value)
    methods["$describe"] = partial(_describe, value, names)
    return methods


def _checked(method: Any) -> Any:
    """A method that refuses other arguments than those of its signature before anything runs: where a decorator takes all, that has to be done for it."""
    if not hasattr(method, "__wrapped__"):
        return method

    import functools

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        misfit = _errors.misfit_of(method, args, kwargs)
        if misfit is not None:
            raise _errors.BadArgumentsError(misfit)
        return method(*args, **kwargs)

    return checked


def _get(value: Any, name: str) -> Any:
    return getattr(value, name)


def _set(value: Any, properties: dict[str, property], name: str, new: Any) -> None:
    if name not in properties or properties[name].fset is None:
        raise _errors.NoMethodError(f"`{type(value).__name__}` has no property `{name}` that can be set")
    setattr(value, name, new)


def _describe(value: Any, names: dict[str, Any]) -> dict[str, Any]:
    import inspect

    cls = type(value)
    methods = []
    for name, member in names.items():
        if isinstance(member, property):
            kind = "read and set" if member.fset else "read"
            methods.append({**_signature(name, member.fget, True), "property": kind})
        else:
            function = getattr(member, "__func__", member)
            bound = not isinstance(member, staticmethod)
            methods.append(_signature(SPECIAL.get(name, name), function, bound))
    doc = inspect.getdoc(cls) if cls.__doc__ else ""
    return {"name": cls.__name__, "doc": doc or "", "methods": methods}


def _signature(name: str, function: Any, bound: bool) -> dict[str, Any]:
    """A method as `describe` tells it. That of a function is found once."""
    if not isinstance(function, types.FunctionType):
        return _read_signature(name, function, bound)
    known = _told.setdefault(function, {})
    told = known.get((name, bound))
    if told is None:
        told = known[name, bound] = _read_signature(name, function, bound)
    return told


def _read_signature(name: str, function: Any, bound: bool) -> dict[str, Any]:
    import inspect

    told: dict[str, Any] = {"name": name, "doc": inspect.getdoc(function) or "", "parameters": []}
    told["returns"] = _GIVES.get(name, "Any")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # nobody knows it
        return told
    parameters = list(signature.parameters.values())[1 if bound else 0 :]
    told["parameters"] = list(_parameters(parameters))
    if signature.return_annotation is not signature.empty:
        told["returns"] = _type_name(signature.return_annotation)
    return told


def _parameters(parameters: list[inspect.Parameter]) -> Iterator[dict[str, Any]]:
    """Parameters as `describe` tells them: as Python writes them, with ``*`` and ``/`` among them."""
    by_position = by_name = False
    for parameter in parameters:
        if by_position and parameter.kind is not parameter.POSITIONAL_ONLY:
            yield {"name": "/", "type": ""}
        by_position = parameter.kind is parameter.POSITIONAL_ONLY
        if parameter.kind is parameter.KEYWORD_ONLY and not by_name:
            yield {"name": "*", "type": ""}
        by_name |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else stars
        told: dict[str, Any] = {"name": stars + parameter.name, "type": _type_name(parameter.annotation)}
        if parameter.default is not parameter.empty:
            told["optional"] = True
        yield told
    if by_position:
        yield {"name": "/", "type": ""}


def _type_name(annotation: Any) -> str:
    import inspect

    if annotation in (inspect.Signature.empty, None, "None"):
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _missing(name: str, methods: dict[str, Any], method: str) -> Any:
    hint = _errors.hint(method, methods, "it has")
    raise _errors.NoMethodError(f"`{name}` has no method `{method}`: {hint}")


def target_of(value: Any) -> Target | None:
    """An object as others call it; `None` where it is nothing that is called."""
    known = value if isinstance(value, Target) else Target.known(value)
    if known is not None:
        return known
    methods: dict[str, Callable[..., Any]]
    if isinstance(value, _FUNCTIONS):
        describe = partial(_describe_function, value)
        methods = {"$call": _checked(value), "$describe": describe}
        name = getattr(value, "__name__", "function")
    elif isinstance(value, type):
        return Target(value, {}, _Instances(value).method) if _names(value, False) else None
    elif is_exposed(value):
        methods, name = methods_of(value), type(value).__name__
    else:
        return None
    return _target(value, name, methods)


def target_of_all(value: Any) -> Target | None:
    """An object as others call it with all its public methods and properties, marked or not; `None` where it has none. Nothing is marked by that, neither it nor its class."""
    if isinstance(value, (_FUNCTIONS, type, Target)):
        return target_of(value)
    if not _names(type(value), True):
        return None
    return _target(value, type(value).__name__, methods_of(value, True))


def _target(value: Any, name: str, methods: dict[str, Any]) -> Target:
    later = _later.in_loop(methods, _later.running_loop())
    return Target(value, later, partial(_missing, name, methods))


class _Instances:
    """Instances of a class that is offered: one for each connection, which ends with it."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._lock = allocate_lock()
        self._methods: dict[int, dict[str, Any]] = {}
        self._loop = _later.running_loop()

    def method(self, name: str) -> Any:
        methods = self._of_caller()
        return methods[name] if name in methods else _missing(self._cls.__name__, methods, name)

    def _of_caller(self) -> dict[str, Any]:
        context = current()
        key = 0 if context is None else context.key()
        with self._lock:
            methods = self._methods.get(key)
            if methods is not None:
                return methods
            methods = self._methods[key] = _later.in_loop(methods_of(self._cls()), self._loop)
        if context is not None:
            context.on_end(lambda: self._methods.pop(key, None))
        return methods


def can_send(value: Any) -> bool:
    """Whether a value can be an argument or a result. Of an iterator, whose items are sent one by one, nobody knows before.

    >>> can_send({"a": [1, (2,)]}), can_send(print), can_send(object())
    (True, True, False)
    """
    if _is_items(value) or _later.is_stream(value):
        return True
    try:
        check(value)
    except (_errors.Error, TypeError, ValueError):
        return False
    return True


def _describe_function(function: Callable[..., Any]) -> dict[str, Any]:
    name = getattr(function, "__name__", "function")
    return {"name": name, "doc": "", "methods": [_signature("$call", function, False)]}


def _reduce(value: Any) -> Any:
    """What stands for a value that an engine does not know."""
    if isinstance(value, Proxy):
        return remote_of(value)
    remote = getattr(type(value), "__andiron_remote__", None)
    if remote is not None:
        return remote(value)
    if _values.converters:
        converted = _values.convert(value)
        if converted is not None:
            return converted
    reduced = _values.reduce(value)
    # What is marked as something to be called is no value, whatever its class is otherwise.
    if reduced is None and not is_exposed(value):
        reduced = _values.reduce_instance(value)
    if reduced is not None:
        return reduced
    target = target_of(value)
    if target is not None:
        return target
    if _is_items(value):
        return Outflow(value)
    if _later.is_stream(value):
        return _later.fed(value)
    return _refusal(value)


def _is_items(value: object) -> bool:
    """Whether it is a stream. A file is none, though it gives lines: the other end would read the file of the caller, and close it."""
    return isinstance(value, Iterator) and not isinstance(value, _IOBase)


def _name_of(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _is_of_python(cls: type) -> bool:
    package = cls.__module__.partition(".")[0]
    names: Collection[str] | None = getattr(sys, "stdlib_module_names", None)  # from Python 3.10 on
    if names is None:
        folder = os.path.dirname(os.__file__)
        file = getattr(sys.modules.get(package), "__file__", None) or ""
        return package in sys.builtin_module_names or (
            file.startswith(folder) and "site-packages" not in file
        )
    return package in names


def _refusal(value: Any) -> str:
    cls = type(value)
    name = _name_of(cls)
    if isinstance(value, type):
        ways = "send an instance" if _is_of_python(value) else "expose it, or send an instance"
        return f"the class {_name_of(value)} is no value that travels; {ways}, or a function that makes one"
    if isinstance(value, _IOBase):
        return f"{name} is a file, and no value that travels: send what is in it"
    for plain in (bool, int, float, str, bytes, bytearray, list, dict, tuple, set, frozenset):
        if isinstance(value, plain):
            return f"{name} is a {plain.__name__} of a kind of its own: send {plain.__name__}(..) of it"
    kind = _values.kind_of(cls)
    if kind is not None:
        return f"{name} is a {kind} of a kind of its own: send {kind}(..) of it"
    if _is_of_python(cls):
        return f"{name} is no value that travels; send a list, tuple, dict, str or number of it, or a function that uses it"
    return f"{name} is no value that travels; expose it to have it called, or register its class"


hooks.reduce = _reduce
