"""TLS between socket and session, by `ssl.MemoryBIO`, so that every driver can use it.

Only TLS 1.3, and each connection begins anew: no tickets, no resumption, no early data. A certificate is checked in one of two ways. Where an authority is named it is what
says who may speak, for which host and until when. Where a secret is the proof, any certificate will do, whatever host or date it names: the other end shows that it has its
key, as in every handshake, and the proof of the secret covers the certificate, so nobody in between can put another one in its place.
"""

from __future__ import annotations

import ssl
from _thread import allocate_lock
from contextlib import suppress

from andiron._pure.failure import Failure
from andiron._pure.transport.channel import NO_SIGNAL, Channel, joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from _typeshed import ReadableBuffer

#: So many bytes are read of the socket at once, and so many encrypted at once.
_ROOM = 64 << 10
#: What waits for the socket, beyond which nothing more is taken.
_MOST_WAITING = 256 << 10


class TlsChannel(Channel):
    """A channel through TLS, whose handshake happens while it is read and written."""

    __slots__ = (
        "_certificate",
        "_incoming",
        "_is_server",
        "_lock",
        "_open",
        "_over",
        "_tls",
        "_waiting",
        "failure",
    )

    def __init__(
        self,
        sock: socket.socket,
        label: str,
        context: ssl.SSLContext,
        host: str | None = None,
        certificate: bytes | None = None,
    ) -> None:
        """``host``: of a client, whom the certificate has to be for, where that is looked at. ``certificate``: of a server, its own in DER."""
        super().__init__(sock, label, False)
        self.passes_descriptors = False
        self._is_server = certificate is not None
        self._certificate = certificate
        self._incoming = ssl.MemoryBIO()
        self._waiting = ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(
                self._incoming, self._waiting, server_side=self._is_server, server_hostname=host
            )
        except ValueError as error:
            raise Failure(
                "bad arguments", f"{host!r} is no name that a certificate could be for: {error}"
            ) from error
        #: One at a time: two threads in the same connection of OpenSSL are its end.
        self._lock = allocate_lock()
        self._open = False
        self._over = False
        #: Why TLS itself ended the connection, where it did.
        self.failure: Failure | None = None
        if not self._is_server:
            self._go_on()
            self._send_quietly()

    @property
    def wants_write(self) -> bool:  # type: ignore[override]
        """True where something waits for the socket."""
        return self._waiting.pending > 0

    @property
    def end_of_stream(self) -> str:  # type: ignore[override]
        """What it means that the stream is over."""
        if not self._open and not self._is_server:
            return "the other end closed it before TLS began; if it does not speak TLS, its address begins with `tcp://`"
        return "the other end closed it"

    def recv(self) -> tuple[bytes, Sequence[int], bool]:
        """What has come. What TLS itself has to say to the other end is sent meanwhile."""
        with self._lock:
            return self._received(), (), False

    def _received(self) -> bytes:
        if self.failure is not None:
            raise self.failure
        if self._over:
            return b""
        received = self.sock.recv(_ROOM)
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()
            self._over = True
        plain = self._plain()
        self._send_quietly()
        if plain or (self._over and self.failure is None):
            return plain
        if self.failure is not None:
            raise self.failure
        raise BlockingIOError("more of it has to come")

    def send(self, buffers: Sequence[ReadableBuffer], _descriptors: Sequence[Any] = ()) -> int:
        """Takes as much as it has room for; a `BlockingIOError` where something waits for the socket, or for the handshake."""
        with self._lock:
            return self._taken(buffers)

    def _taken(self, buffers: Sequence[ReadableBuffer]) -> int:
        if self.failure is not None:
            raise ConnectionAbortedError(self.failure.message)
        self._flush()
        if self._waiting.pending:
            raise BlockingIOError("what was taken before waits for the socket")
        if not self._open:
            raise BlockingIOError("the handshake is under way")
        if not buffers:
            return 0
        # Together, since each piece would be a record of its own. There is always room for one piece.
        view = memoryview(joined(buffers)).cast("B")
        taken = 0
        while taken < len(view) and self._waiting.pending < _MOST_WAITING:
            taken += self._write(view[taken : taken + _ROOM])
        self._send_quietly()
        return taken

    def flush(self) -> None:
        """Sends what waits for the socket."""
        with self._lock:
            self._flush()

    def wait(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        """As of any channel; until the handshake is done nothing can be written before something is read."""
        if self._over or self.failure is not None:
            return read, write
        write = write and (self._open or self._waiting.pending > 0)
        return super().wait(read or not (self._open or write), write, timeout)

    def binding(self) -> bytes | None:
        """The certificate of the end that listens, once it is known."""
        if self._certificate is None:
            return None
        from hashlib import sha256

        return b"tls\0" + sha256(self._certificate).digest()

    def client_name(self) -> str | None:
        """At a server: whom the client's certificate is for, where it showed one."""
        if not self._is_server or not self._open or self._tls.getpeercert(True) is None:
            return None
        subject: Any = (self._tls.getpeercert() or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        name = "".join(char for char in names[0] if char.isprintable())[:100] if names else ""
        return name or "without a name"

    def close(self, is_waited_at: bool = False) -> None:
        """Tells the other end that nothing more comes, and ends it."""
        with self._lock:
            if self._open and self.failure is None:
                with suppress(OSError):  # it does not wait for the answer
                    self._tls.unwrap()
            self._send_quietly()
        super().close(is_waited_at)

    def _plain(self) -> bytes:
        """What can be read of all that came. What came before a failure counts, and that is told when it was read."""
        if not self._open:
            self._go_on()
        parts = []
        try:
            while self._open and self.failure is None:
                part = self._tls.read(_ROOM)
                if not part:
                    self._over = True
                    break
                parts.append(part)
                # To find out that there is no more by asking for it costs an exception.
                if not self._incoming.pending and not self._tls.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._over = True
        except ssl.SSLError as error:
            self.failure = failure_of(error)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _go_on(self) -> None:
        """The next step of the handshake."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # the first one before Python 3.9
            self._over = True
            return
        except ssl.SSLError as error:
            self.failure = failure_of(error)
            if error.reason in _NOT_TLS and not self._waiting.pending:
                self._waiting.write(_UNEXPECTED)  # so that who speaks something else hears that this is TLS
            return
        self._open = True
        if not self._is_server:
            self._certificate = self._tls.getpeercert(True)

    def _write(self, view: memoryview) -> int:
        try:
            return self._tls.write(view)
        except ssl.SSLError as error:
            self.failure = failure_of(error)
            raise ConnectionAbortedError(self.failure.message) from None

    def _flush(self) -> None:
        while self._waiting.pending:
            data = self._waiting.read(_MOST_WAITING)
            count = 0
            with suppress(BlockingIOError):
                count = self.sock.send(data, NO_SIGNAL)
            if count < len(data):
                # What did not go stands ahead of the rest again.
                rest = self._waiting.read()
                self._waiting.write(data[count:] + rest)
                return

    def _send_quietly(self) -> None:
        """Sends what goes now; who comes next sees what is wrong with the socket."""
        with suppress(OSError):
            self._flush()


def client_context(authority: str | None = None, own: tuple[str, str] | None = None) -> ssl.SSLContext:
    """How a client speaks TLS. Without an authority any certificate of a server will do, since a secret is the proof."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, authority)
    if own is not None:
        _show(context, *own)
    return context


def server_context(
    certificate: str, key: str | None, authority: str | None = None
) -> tuple[ssl.SSLContext, bytes]:
    """How a server speaks TLS, and its certificate in DER. With an authority clients have to show a certificate signed by it."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _show(context, certificate, key)
    context.num_tickets = 0
    if authority is not None:
        _trust(context, authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context, _first_certificate(certificate)


def failure_of(error: ssl.SSLError) -> Failure:
    """What ended the connection, for a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(
            "authentication", f"the other end's certificate is refused: {error.verify_message or error}"
        )
    reason = error.reason or ""
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return Failure("authentication", "the other end shows no certificate, which is asked for here")
    if "ALERT" in reason:
        return _refusal(reason)
    if reason in _NOT_TLS:
        return Failure("protocol", "the other end does not speak TLS; is its address one of `tcp://`?")
    if reason in _NOT_TLS_1_3:
        return Failure("unsupported", f"the other end does not speak TLS 1.3 as it is spoken here ({reason})")
    return Failure("protocol", f"TLS failed: {error}")


_NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "BAD_RECORD_TYPE",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "RECORD_TOO_SMALL",
    "NOT_SSL_RECORD_OR_HELLO",
}
#: The alert *unexpected message*.
_UNEXPECTED = b"\x15\x03\x03\0\2\2\x0a"
_NOT_TLS_1_3 = {
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "NO_SHARED_CIPHER",
    "NO_SUITABLE_SIGNATURE_ALGORITHM",
    "NO_SUITABLE_KEY_SHARE",
}
#: Alerts by which the other end refuses who this one is.
_REFUSING = (
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "DECRYPT_ERROR",
    "ACCESS_DENIED",
)


def _refusal(reason: str) -> Failure:
    """The other end says that it will not have this."""
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return Failure("authentication", "the other end asks for a certificate: give one and its key")
    if reason.endswith(_REFUSING):
        return Failure("authentication", f"the other end refuses the certificate of this one ({reason})")
    if reason.endswith("PROTOCOL_VERSION"):
        return Failure("unsupported", "the other end does not speak TLS 1.3")
    return Failure("protocol", f"the other end ended the TLS connection ({reason})")


def _context(protocol: int) -> ssl.SSLContext:
    if not ssl.HAS_TLSv1_3:
        raise Failure(
            "unsupported", f"this Python's {ssl.OPENSSL_VERSION} does not speak TLS 1.3: use another Python"
        )
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    return context


def _trust(context: ssl.SSLContext, authority: str) -> None:
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise _unreadable(authority, "certificate", error) from error


def _show(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    try:
        # A key that is locked is not asked for: nobody may be there to answer.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise _unreadable(key or certificate, "certificate and its private key", error) from error


def _first_certificate(path: str) -> bytes:
    """The end's own certificate, the first in a file."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        first = text[text.index(begin) : text.index(end) + len(end)]
        return ssl.PEM_cert_to_DER_cert(first)
    except (OSError, ValueError) as error:
        raise _unreadable(path, "certificate", error) from error


def _unreadable(path: str, what: str, error: Exception) -> Failure:
    return Failure("bad arguments", f"cannot read the {what} in {path}: {error}")
