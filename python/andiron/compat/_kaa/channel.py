"""Channels: one connection, at either end."""

from __future__ import annotations

from functools import partial

from andiron import _errors
from andiron.compat._kaa.calls import Call, Calls, End, closed
from andiron.compat._kaa.functions import Functions
from andiron.compat._kaa.inprogress import InProgress
from andiron.compat._kaa.signals import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._hub import Hub
    from andiron.compat._kaa.turns import Turns

#: The names that signals of a channel had before.
_OLDER = {"connected": "open", "authenticated": "open", "disconnected": "closed"}


class Channel:
    """One connection, at either end: calls functions of the other end, and has its own called.

    A server makes one for each client, which it gives to what is connected to its signal "client-connected". Signals: ``open`` and ``closed``.
    """

    channel_type = "server"

    def __init__(self, turns: Turns, functions: Functions | None = None) -> None:
        self.signals = Signals("open", "closed", older=_OLDER, turns=turns)
        self._turns = turns
        self._functions = Functions(functions)
        self._calls = Calls(turns)
        self._end = End(self._calls, self._function)
        self._connecting = InProgress(turns=turns)
        self._hub: Hub | None = None

    @property
    def connected(self) -> bool:
        """Whether both ends have shown who they are, and can call each other."""
        return self._calls.is_open()

    @property
    def objects(self) -> list[Any]:
        """What was registered here."""
        return self._functions.objects

    def register(self, obj: Any) -> None:
        """Has the other end call what is exposed of a function, a module or an object."""
        self._functions.register(obj)

    def connect(self, obj: Any) -> None:
        """The same, as it was named before."""
        self._functions.register(obj)

    def disconnect(self, obj: Any) -> None:
        """Takes back what was registered; what never was is left alone."""
        self._functions.forget(obj)

    def rpc(self, cmd: str, /, *args: Any, **kwargs: Any) -> Call:
        """Calls a function of the other end, which gives an in-progress object at once.

        While the channel is being opened the call waits for that. Where it is not, it raises `NotConnectedError`; what cannot be sent raises that here as well.
        """
        return self._calls.start(cmd, args, kwargs)

    def close(self) -> None:
        """Ends the channel for good. Calls that are not finished fail, with an `IOError`."""
        self._lost(None, True)
        hub = self._hub
        if hub is not None:
            hub.close()
        self._turns.close()

    def __inprogress__(self) -> InProgress:
        return self._connecting

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        return f"<kaa_rpc.Channel ({self.channel_type}), {state}>"

    def _function(self, command: str) -> Callable[..., Any]:
        found = self._functions.find(command)
        if found is None:
            hint = _errors.hint(command, self._functions.names(), "there are")
            raise _errors.NoObjectError(f"no function is exposed as '{command}': {hint}")
        return partial(found, self) if found._kaa_rpc_param[0] else found  # type: ignore[attr-defined]

    def _opened(self, end: Any, hub: Hub) -> None:
        self._calls.open(end, hub._connection)
        self._connecting._settle(self, None, None)

    def _lost(self, error: Exception | None, wanted: bool) -> None:
        """It is not open any more. Tells so, if it was. ``wanted``: it was closed here."""
        was_open = self._calls.end(error or closed(), wanted)
        self._end.end()
        if was_open:
            self._turns.soon(self.signals["closed"].emit)
