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
import threading

from andiron import _errors
from andiron._hub import wait_for
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


class _Main:
    """In place of the main loop, which there is none of: a program that only serves waits here for its end."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._is_running = False

    def run(self) -> None:
        """Waits until `stop` is called, or Ctrl-C, or the host ends (`andiron.abort_when`)."""
        self._is_running = True
        try:
            wait_for(self._stopped, lambda _: False)
        except (KeyboardInterrupt, _errors.CancelledError):
            pass
        finally:
            self._is_running = False
            self._stopped.clear()

    def stop(self) -> None:
        """Has `run` come back, from any thread; at once where it is called later."""
        self._stopped.set()

    def is_running(self) -> bool:
        """Whether the program waits in `run`."""
        return self._is_running


#: What programs call `kaa.main`.
main = _Main()
