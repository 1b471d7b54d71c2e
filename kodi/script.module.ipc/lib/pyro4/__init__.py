"""The Pyro that came with earlier versions of this add-on, by its names: `andiron.compat.pyro`."""

import sys

from andiron.compat import pyro

_MODULES = ("client", "core", "errors", "futures", "naming", "server", "util")

for _name in _MODULES:
    sys.modules[f"{__name__}.{_name}"] = getattr(pyro, _name, None) or __import__(
        f"andiron.compat.pyro.{_name}", fromlist=["*"]
    )


def __getattr__(name):
    return getattr(pyro, name)


def __dir__():
    return dir(pyro)
