"""What the ends of a session show each other before it opens, where a secret says who is there (``spec/PROTOCOL.md``, section 2)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

_PROVES = (b"andiron proof of the acceptor\0", b"andiron proof of the initiator\0")


class Transcript:
    """What was said on the channel so far, which the proofs are over."""

    __slots__ = ("binding", "initiator", "own", "peer")

    def __init__(self, initiator: bool) -> None:
        """``initiator``: which end this is."""
        self.initiator = initiator
        self.own = b""
        self.peer = b""
        #: What ties the proof to the channel.
        self.binding = b""

    def _proof(self, key: bytes, of_initiator: bool) -> bytes:
        import hashlib
        import hmac

        said = (self.own, self.peer) if self.initiator else (self.peer, self.own)
        whole = hashlib.sha256()
        for bytes_ in said:
            whole.update(len(bytes_).to_bytes(8, "big"))
            whole.update(bytes_)
        whole.update(self.binding)
        return hmac.new(key, _PROVES[of_initiator] + whole.digest(), "sha256").digest()

    def prove(self, key: bytes) -> bytes:
        """What this end proves."""
        return self._proof(key, self.initiator)

    def verify(self, key: bytes, proof: bytes) -> bool:
        """True where the other end proved to have the key. Takes the same time for all wrong proofs."""
        import hmac

        return hmac.compare_digest(self._proof(key, not self.initiator), proof)


def of_certificate(certificate: bytes) -> bytes:
    """The binding to a TLS connection: the acceptor's certificate in DER, as this end knows it."""
    import hashlib

    return b"tls\0" + hashlib.sha256(certificate).digest()


def of_loopback(initiator: tuple[str, int], acceptor: tuple[str, int]) -> bytes:
    """The binding to TCP on the loopback interface: host and port of both ends as this end sees them."""
    return b"tcp\0" + _address(initiator) + _address(acceptor)


def _address(address: tuple[str, int]) -> bytes:
    host, port = address[:2]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]  # an IPv4 address is the same one where a socket of IPv6 took it
    text = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
    return len(text).to_bytes(2, "big") + text


def of_plain() -> bytes:
    """The binding to TCP without TLS over a network: nothing, since addresses may be translated on the way."""
    return b"tcp\0"


def of_unix() -> bytes:
    """The binding to a Unix socket."""
    return b"unx\0"
