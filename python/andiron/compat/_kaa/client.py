"""Clients."""

from __future__ import annotations

import threading

from andiron import _engine, _errors, _log
from andiron._hub import Hub
from andiron.compat._kaa import proof
from andiron.compat._kaa import turns as _turns
from andiron.compat._kaa.addresses import Place, in_words
from andiron.compat._kaa.calls import End, closed
from andiron.compat._kaa.channel import Channel
from andiron.compat._kaa.ending import close_at_exit
from andiron.compat._kaa.inprogress import InProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What `Client.status` says.
DISCONNECTED = "DISCONNECTED"
CONNECTING = "CONNECTING"
CONNECTED = "CONNECTED"

#: How many exposed functions of one client run at once; further calls wait.
_THREADS = 256
#: For so many seconds at most an attempt to connect that is under way at the end is waited for.
_PATIENCE = 10.0


class Client(Channel):
    """Connects to a server, meanwhile and again where that is wanted: `inprogress` of it tells when it is connected, or why not.

    ``address`` and ``auth_secret`` are those of `Server`. ``retry``: where there is no server, or the connection is lost, it is tried again every so many seconds, until the client
    is closed.
    """

    channel_type = "client"

    def __init__(
        self, address: Any, auth_secret: Any = "", buffer_size: int | None = None, retry: float | None = None
    ) -> None:
        super().__init__(_turns.chosen())
        if retry is not None:
            _errors.check_seconds("retry=", retry)
        self.buffer_size = buffer_size
        #: Whether it connects again.
        self.monitoring = retry is not None
        #: `CONNECTING`, `CONNECTED` or `DISCONNECTED`.
        self.status = CONNECTING
        self._retry = retry
        self._place = Place(address, auth_secret, False)
        self._closing = threading.Event()
        self._over = threading.Event()
        self._reason = ""
        self._thread = threading.Thread(target=self._keep, name="andiron-kaa_rpc", daemon=True)
        self._thread.start()
        close_at_exit(self)

    def close(self) -> None:
        """Ends the channel for good: it is not connected again. Calls that are not finished fail, with an `IOError`."""
        self._closing.set()
        self._over.set()
        self._lost(None, True)
        hub = self._hub
        if hub is not None:
            hub.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)
        self._turns.close()

    def _keep(self) -> None:
        """Connects, and connects again."""
        while True:
            self._over.clear()
            if self._closing.is_set():  # looked at behind that, as `close` sets both
                break
            error: Exception | None = None
            try:
                self._dial()
                self._over.wait()
            except Exception as failed:
                error = failed.with_traceback(None)  # which has this frame, that has it
            self._drop(error)
            if self._retry is None or self._closing.wait(self._retry):
                break
            self._calls.expect()
            self.status = CONNECTING
        self._drop(None)
        self._turns.end()

    def _dial(self) -> None:
        place = self._place
        try:
            connection = _engine.connect(
                place.address, secret_file=place.secret_file, pump=True, threads=_THREADS
            )
        except (_errors.AuthenticationError, _errors.UnavailableError) as error:
            raise in_words(error) from None
        hub = self._hub = Hub(connection)
        if self._closing.is_set():
            return
        try:
            door = hub[proof.DOOR]
        except _errors.NoObjectError:
            raise _errors.UnavailableError(f"the server at '{place.address}' is none of kaa_rpc") from None
        self._end = End(self._calls, self._function)
        end = proof.enter(door, place.password, self._end)
        connection.pump(lambda _: self._over.set())
        self.status, self._reason = CONNECTED, ""
        self._opened(end, hub)
        self._turns.soon(self.signals["open"].emit)

    def _drop(self, error: Exception | None) -> None:
        """What there was of a connection is over."""
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.close()
        self.status = DISCONNECTED
        reason, wanted = error or closed(), self._closing.is_set()
        connecting = self._connecting
        if self.monitoring and not wanted:
            self._connecting = InProgress(turns=self._turns)  # of the next attempt
        self._lost(reason, wanted)
        if not connecting.finished:
            connecting._exception.handled = True  # it is logged here, or nobody wants to know
            connecting._settle(None, reason, None)
            self._log(reason, wanted)

    def _log(self, reason: Exception, wanted: bool) -> None:
        """Logs why it cannot connect, once for each reason."""
        known, self._reason = self._reason, str(reason)
        if not wanted and known != self._reason:
            again = "" if self._retry is None else f"; it tries again every {self._retry:g} seconds"
            _log.log("warning", f"kaa_rpc cannot connect to '{self._place.address}': {reason}{again}")
