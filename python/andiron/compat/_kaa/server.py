"""Servers, and their channels."""

from __future__ import annotations

import errno
import threading
from weakref import WeakSet

import andiron
from andiron import _errors
from andiron.compat._kaa import proof
from andiron.compat._kaa import turns as _turns
from andiron.compat._kaa.addresses import Place, in_words
from andiron.compat._kaa.channel import Channel
from andiron.compat._kaa.ending import close_at_exit
from andiron.compat._kaa.functions import Functions
from andiron.compat._kaa.signals import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from andiron.compat._kaa.calls import End

#: How many exposed functions of one server run at once; further calls wait.
_THREADS = 256
#: For so many seconds at most a client waits for what is connected to "client-connected".
_PATIENCE = 10.0


class _Accepted(Channel):
    """A channel of a server."""

    def __init__(self, server: Server, hub: andiron.Caller) -> None:
        super().__init__(_turns.ThreadTurns() if server._loop is None else server._loop, server._functions)
        self._hub = hub
        self._server = server
        #: Those who wait for clients know of it.
        self._told = threading.Event()

    def _begin(self, end: Any) -> End:
        """Opens it, and has what waits for clients know of it before this one calls anything."""
        if self._hub is not None:
            self._opened(end, self._hub)
        self._turns.soon(self._tell)
        self._told.wait(_PATIENCE)
        return self._end

    def _tell(self) -> None:
        try:
            self._server.signals["client-connected"].emit(self)
            self.signals["open"].emit()
        finally:
            self._told.set()

    def _gone(self) -> None:
        self._server._channels.discard(self)
        self._lost(None, False)
        self._turns.end()


class Server:
    """Listens at an address, from the beginning on until it is closed.

    ``address``: a name, on this machine and for programs of the same user; a path (``/..``) of a Unix socket; a port; ``"HOST:PORT"`` or a tuple of both; or an address as Andiron
    writes it. ``auth_secret``: what clients have to know. A password, or nothing, is good on this machine only, and a port alone is one of this machine then; a secret that
    ``andiron secret new`` made, as text or as the path of its file, is for all others too, over TLS. ``buffer_size`` is not needed any more.

    Signal: ``client-connected``, with the `Channel`.
    """

    def __init__(self, address: Any, auth_secret: Any = "", buffer_size: int | None = None) -> None:
        chosen = _turns.chosen()
        self.signals = Signals(
            "client-connected", older={"client_connected": "client-connected"}, turns=_turns.here()
        )
        self.buffer_size = buffer_size
        self._functions = Functions()
        self._channels: set[_Accepted] = set()
        #: Where callbacks of channels run, of those that are over as well: their threads are waited for at the end.
        self._turns: WeakSet[_turns.Turns] = WeakSet()
        self._is_closed = False
        self._loop = chosen if isinstance(chosen, _turns.LoopTurns) else None
        self._place = Place(address, auth_secret, True)
        door = proof.Door(self._place.password, self._open)
        try:
            self._server = self._listen(door)
        except _errors.ConflictError as error:
            raise OSError(errno.EADDRINUSE, error.message) from error
        except _errors.AuthenticationError as error:
            raise in_words(error) from error
        close_at_exit(self)

    def _listen(self, door: proof.Door) -> andiron.Server:
        place = self._place
        while True:
            try:
                return andiron.Server(
                    {proof.DOOR: door},
                    place.address,
                    state=False,
                    secret_file=place.secret_file,
                    threads=_THREADS,
                )
            except _errors.ConflictError:  # noqa: PERF203 - once more at most
                if not place.remove_dead():
                    raise

    @property
    def addresses(self) -> list[str]:
        """By which it is reached, as Andiron writes it."""
        return self._server.addresses

    @property
    def objects(self) -> list[Any]:
        """What was registered here."""
        return self._functions.objects

    def register(self, obj: Any) -> None:
        """Has all clients call what is exposed of a function, a module or an object: those that are connected as well."""
        self._functions.register(obj)

    def connect(self, obj: Any) -> None:
        """The same, as it was named before."""
        self._functions.register(obj)

    def disconnect(self, obj: Any) -> None:
        """Takes back what was registered; what never was is left alone."""
        self._functions.forget(obj)

    def close(self) -> None:
        """Listens no more, and closes all channels. In an exposed function it comes back before that is done."""
        if self._is_closed:
            return
        self._is_closed = True
        if andiron.caller() is None:
            self._stop()
        else:  # it would wait for the call that it is in
            threading.Thread(target=self._stop, name="andiron-kaa_rpc", daemon=True).start()

    def _stop(self) -> None:
        channels = list(self._channels)
        for channel in channels:
            channel._told.set()  # it is not worth waiting for any more
            channel._lost(None, True)
        self._server.stop()
        for turns in list(self._turns):
            turns.close()

    def _open(self, end: Any) -> End:
        hub = andiron.caller()
        if hub is None or self._is_closed:
            raise _errors.UnavailableError("the server is closed")
        channel = _Accepted(self, hub)
        self._channels.add(channel)
        self._turns.add(channel._turns)
        hub.on_end(channel._gone)
        return channel._begin(end)

    def __repr__(self) -> str:
        return f"<kaa_rpc.Server {', '.join(self.addresses)}>"
