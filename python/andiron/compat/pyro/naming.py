"""What Pyro4 had under this name."""

from __future__ import annotations

from andiron.compat.pyro.core import NAMESERVER_NAME
from andiron.compat.pyro.names import NameServer, locateNS, resolve, type_meta
from andiron.compat.pyro.nameserver import NameServerDaemon, startNS, startNSloop

__all__ = [
    "NAMESERVER_NAME",
    "NameServer",
    "NameServerDaemon",
    "locateNS",
    "resolve",
    "startNS",
    "startNSloop",
    "type_meta",
]
