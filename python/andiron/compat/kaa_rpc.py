"""Programs that used `kaa.rpc`: calls both ways over one channel, with signals and in-progress objects.

`andiron.compat.kaa_rpc` has the names of `kaa.rpc`, and those of `kaa` that programs with it use::

    from andiron.compat import kaa_rpc as kaa

    class Player:
        @kaa.rpc.expose("player.seek")
        def seek(self, seconds):
            return seconds

    server = kaa.rpc.Server("player")
    server.register(Player())

and in another process::

    client = kaa.rpc.connect("player")
    print(client.rpc("player.seek", 12.5).wait())

What is different, and what the program looks like without this module, says ``docs/moving/kaa_rpc.md``. There is no main loop: callbacks run one after the other on a thread of the
channel, or in the loop of `asyncio` in which the server or client was made; exposed functions run on threads, several at once.
"""

from __future__ import annotations

import sys

from andiron.compat._kaa.calls import NotConnectedError, RemoteException
from andiron.compat._kaa.channel import Channel
from andiron.compat._kaa.client import CONNECTED, CONNECTING, DISCONNECTED, Client
from andiron.compat._kaa.coroutines import NotFinished, coroutine
from andiron.compat._kaa.functions import expose
from andiron.compat._kaa.inprogress import (
    FINISH_IDX,
    FINISH_IDX_RESULT,
    FINISH_RESULT,
    FINISH_SELF,
    InProgress,
    InProgressAborted,
    InProgressAll,
    InProgressAny,
    InProgressCallable,
    TimeoutException,
    delay,
    inprogress,
)
from andiron.compat._kaa.main import main
from andiron.compat._kaa.server import Server
from andiron.compat._kaa.signals import Signal, Signals

__all__ = [
    "CONNECTED",
    "CONNECTING",
    "DISCONNECTED",
    "FINISH_IDX",
    "FINISH_IDX_RESULT",
    "FINISH_RESULT",
    "FINISH_SELF",
    "Channel",
    "Client",
    "InProgress",
    "InProgressAborted",
    "InProgressAll",
    "InProgressAny",
    "InProgressCallable",
    "NotConnectedError",
    "NotFinished",
    "RemoteException",
    "Server",
    "Signal",
    "Signals",
    "TimeoutException",
    "connect",
    "coroutine",
    "delay",
    "expose",
    "inprogress",
    "main",
    "rpc",
]

#: This module, for programs that have it in place of `kaa`.
rpc = sys.modules[__name__]

#: The name that programs should use.
connect = Client
