"""The names of Pyro5's ``api``, and of Pyro4, for programs that move to Andiron.

::

    import andiron.compat.pyro as Pyro5  # or Pyro4

    @Pyro5.expose
    class Player:
        def seek(self, seconds):
            return seconds

    with Pyro5.Daemon(port=9999) as daemon:
        daemon.register(Player(), "player")
        daemon.requestLoop()

What goes over the wire is Andiron's own protocol: both ends have to move. ``docs/moving/pyro.md`` has old and new side by side.
"""

from __future__ import annotations

import sys

from andiron.compat.pyro import client, core, errors, serializers, server, util
from andiron.compat.pyro._config import config
from andiron.compat.pyro.client import Proxy, SerializedBlob
from andiron.compat.pyro.core import URI, current_context
from andiron.compat.pyro.errors import get_pyro_traceback
from andiron.compat.pyro.serializers import SerializerBase
from andiron.compat.pyro.server import Daemon, DaemonObject, behavior, callback, expose, oneway, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "URI",
    "Daemon",
    "DaemonObject",
    "Proxy",
    "SerializedBlob",
    "SerializerBase",
    "api",
    "behavior",
    "callback",
    "client",
    "config",
    "core",
    "current_context",
    "errors",
    "expose",
    "get_pyro_traceback",
    "oneway",
    "register_class_to_dict",
    "register_dict_to_class",
    "serializers",
    "serve",
    "server",
    "unregister_class_to_dict",
    "unregister_dict_to_class",
    "util",
]

register_class_to_dict = SerializerBase.register_class_to_dict
register_dict_to_class = SerializerBase.register_dict_to_class
unregister_class_to_dict = SerializerBase.unregister_class_to_dict
unregister_dict_to_class = SerializerBase.unregister_dict_to_class

#: ``from andiron.compat.pyro.api import expose``, as ``from Pyro5.api import expose``.
api = sys.modules[f"{__name__}.api"] = sys.modules[__name__]

#: Names that are loaded when they are asked for, and where they are.
_LATER = {
    "BatchProxy": "batches",
    "batch": "batches",
    "Future": "futures",
    "asyncproxy": "futures",
    "locate_ns": "names",
    "locateNS": "names",
    "resolve": "names",
    "start_ns": "nameserver",
    "start_ns_loop": "nameserver",
    "type_meta": "names",
}

__all__ += [*_LATER]  # for ``from andiron.compat.pyro.api import *``


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("batches", "callcontext", "futures", "names", "nameserver", "naming", "socketutil"):
        return import_module(f"{__name__}.{name}")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
