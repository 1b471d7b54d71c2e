"""What users say of how instances of their classes travel, and how those of this package do."""

from __future__ import annotations

from importlib import import_module

from andiron import _values
from andiron._errors import RemoteError
from andiron._values import Record
from andiron.compat.pyro.core import URI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    ToDict = Callable[[Any], "dict[str, Any]"]
    FromDict = Callable[[str, "dict[str, Any]"], Any]

__all__ = ["SERIALIZERS", "SerializerBase", "check_serializer"]

#: The names that programs know serializers by. All of them mean Andiron's codec, which runs nothing of what it reads.
SERIALIZERS = ("serpent", "json", "marshal", "msgpack", "pickle", "dill", "cloudpickle")


def check_serializer(name: object) -> None:
    """Refuses a name that no serializer had."""
    if name not in SERIALIZERS:
        raise ValueError(f"there is no serializer {name!r}, only {', '.join(SERIALIZERS)}")


#: What makes an instance of a dict, by the name of its class.
_from_dict: dict[str, FromDict] = {}


class SerializerBase:
    """How instances of classes travel: what makes a dict of one, and of such a dict the instance again.

    >>> class Track:
    ...     def __init__(self, title):
    ...         self.title = title
    >>> SerializerBase.register_class_to_dict(Track, lambda track: {"__class__": "Track", "title": track.title})
    >>> SerializerBase.register_dict_to_class("Track", lambda name, fields: Track(fields["title"]))
    >>> import andiron
    >>> andiron.decode(andiron.encode([Track("Embers")]))[0].title
    'Embers'
    >>> SerializerBase.unregister_class_to_dict(Track)
    >>> SerializerBase.unregister_dict_to_class("Track")
    """

    @classmethod
    def register_class_to_dict(cls, clazz: type, converter: ToDict, serpent_too: bool = True) -> None:  # noqa: ARG003 - as it is named there
        """Has ``converter(instance)`` give the dict that stands for an instance; at ``"__class__"`` it has the name by which it is made again."""

        def record(value: Any) -> Record:
            fields = dict(converter(value))
            name = fields.pop("__class__", None)
            return Record(_class_name(clazz) if name is None else name, fields)

        _values.converters[clazz] = record

    @classmethod
    def unregister_class_to_dict(cls, clazz: type) -> None:
        """Forgets what was registered for the class."""
        _values.converters.pop(clazz, None)

    @classmethod
    def register_dict_to_class(cls, classname: str, converter: FromDict) -> None:
        """Has ``converter(classname, dict)`` make the instance of what came by this name."""

        def make(fields: dict[str, Any]) -> Any:
            return converter(classname, {"__class__": classname, **fields})

        _from_dict[classname] = converter
        _values.makers[classname] = make

    @classmethod
    def unregister_dict_to_class(cls, classname: str) -> None:
        """Forgets what was registered for the name."""
        _from_dict.pop(classname, None)
        _values.makers.pop(classname, None)

    @staticmethod
    def is_registered(clazz: type) -> bool:
        """Whether instances of the class, or of a base of it, are made a dict."""
        return any(base in _values.converters for base in clazz.__mro__)


def _class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def remade(error: Exception) -> Exception:
    """An error that came without its class, as what was registered for its name makes it."""
    if not isinstance(error, RemoteError):
        return error
    attributes = {
        name: value for name, value in vars(error).items() if name not in ("type_name", "remote_args")
    }
    converter = _from_dict.get(error.type_name)
    if converter is None:
        return _of_library(error, attributes)
    told = {"__class__": error.type_name, "__exception__": True, "args": error.remote_args}
    made = converter(error.type_name, {**told, "attributes": attributes})
    if not isinstance(made, Exception):
        return error
    made.__cause__ = error.__cause__
    return made


def _of_library(error: RemoteError, attributes: dict[str, Any]) -> Exception:
    """The error itself, where it is one of the modules `sqlite3` and `struct`."""
    module, _, name = error.type_name.rpartition(".")
    if module not in ("sqlite3", "struct"):
        return error
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:  # as where Python was built without it
        return error
    if not isinstance(found, type) or not issubclass(found, Exception):
        return error
    made = found(*error.remote_args)
    vars(made).update(attributes)
    made.__cause__ = error.__cause__
    return made


def _uri_of(fields: dict[str, Any]) -> URI:
    return URI(str(fields["uri"]))


_values.converters[URI] = lambda uri: Record("Pyro5.core.URI", {"uri": str(uri)})
_values.makers["Pyro5.core.URI"] = _uri_of
