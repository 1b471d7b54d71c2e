"""Where a server is, parsed once from text."""

from __future__ import annotations

import re

from andiron._pure.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The name of the server where none is given.
DEFAULT = "andiron"
#: The port where none is given.
DEFAULT_PORT = 9099
#: The longest path of a Unix socket, in bytes: the 108 of Linux with the terminating zero.
MAX_PATH = 107

#: The longest text that is quoted whole in an error.
_QUOTED = 100
_EXPECTED = (
    "expected a server's name, unix:PATH, tcp://HOST[:PORT] or tls://HOST[:PORT], an IPv6 address in brackets"
)

_is_name = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII).fullmatch
_is_host = re.compile(r"(?!-)[A-Za-z0-9._:-]{0,253}", re.ASCII).fullmatch
_is_number = re.compile(r"[0-9]+", re.ASCII).fullmatch


class Address:
    """Where a server is.

    ============================= ==============================================================================
    text                          means
    ============================= ==============================================================================
    ``NAME``                      the server of this user with that name, on this machine
    ``unix:PATH``                 the Unix socket at that path
    ``tcp://HOST[:PORT]``         TCP, without encryption: for this machine
    ``tls://HOST[:PORT]``         TLS 1.3
    ``fd:NUMBER``, ``systemd``    for listening only: sockets that were handed over; the native engine takes them
    ============================= ==============================================================================

    >>> address = parse("tls://[::1]")
    >>> address.kind, address.host, address.port, str(address)
    ('tls', '::1', 9099, 'tls://[::1]:9099')
    """

    __slots__ = "host", "kind", "place", "port"

    def __init__(self, kind: str, place: str, host: str = "", port: int = 0) -> None:
        self.kind = kind
        #: The name, the path or the number.
        self.place = place
        #: A name or an IP address, without brackets.
        self.host = host
        #: 0 only for listening.
        self.port = port

    def __str__(self) -> str:
        if self.kind in ("tcp", "tls"):
            return f"{self.kind}://{endpoint(self.host, self.port)}"
        if self.kind in ("unix", "fd"):
            return f"{self.kind}:{self.place}"
        return self.place

    def check_reachable(self) -> None:
        """Refuses what no client can connect to: port 0, what is for listening only, and a path that no socket can have."""
        if self.kind == "unix":
            length = len(_fs_bytes(self.place))
            if length > MAX_PATH:
                raise _bad(
                    f"the path of the socket has {length} bytes, and {MAX_PATH} is the limit: choose a shorter one, or a name in place of a path"
                )
        elif self.kind in ("tcp", "tls"):
            if not self.port:
                raise _bad(
                    f"{self} can be listened at only, where port 0 stands for a free one: give the port that the server took"
                )
        elif self.kind != "name":
            raise _bad(
                f"'{self}' is an address for listening only: give the one by which the socket is reached"
            )


def parse(text: str) -> Address:
    """The address that a text says; a `Failure` of the kind ``bad arguments`` where it says none."""
    if text.startswith("unix:"):
        if len(text) == 5:
            raise _bad("`unix:` is to be followed by the path of a socket")
        if "\0" in text:
            raise _bad(f"{quoted(text)} is no address: a path has no zero in it; {_EXPECTED}")
        return Address("unix", text[5:])
    if text.startswith(("tcp://", "tls://")):
        return Address(text[:3], "", *_endpoint(text, text[6:]))
    if text.startswith("fd:"):
        if not _is_number(text[3:]) or int(text[3:11]) >= 1 << 31:
            raise _bad(f"{quoted(text)} is no address: `fd:` is to be followed by the number of a descriptor")
        return Address("fd", text[3:])
    if text == "systemd":
        return Address("systemd", text)
    if ":" in text or "/" in text:
        raise _bad(f"{quoted(text)} is no address; {_EXPECTED}")
    if not _is_name(text):
        raise _bad(
            f"{quoted(text, 65, '')} is no server name: use 1 to 64 of A-Z a-z 0-9 . _ -, not beginning with . or -"
        )
    return Address("name", text)


def is_loopback(host: str) -> bool:
    """Whether all addresses of ``host`` are this machine's own, which nothing from outside reaches. Asks nobody: of names only `localhost` is one.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("example.org")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    ip = as_ip(host)
    if ip is None:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return bool((mapped or ip).is_loopback)


def as_ip(host: str) -> Any:
    """The IP address that a text is, else `None`."""
    import ipaddress

    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def canonical(host: str) -> str:
    """An IP address as both ends see it: one of IPv4 that is written as one of IPv6 as what it is, without a zone.

    >>> canonical("::ffff:127.0.0.1"), canonical("::1")
    ('127.0.0.1', '::1')
    """
    if ":" not in host:
        return host
    ip = as_ip(host.partition("%")[0])
    return host if ip is None else str(ip.ipv4_mapped or ip)


def endpoint(host: str, port: int) -> str:
    """A host and a port as text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def quoted(text: str, length: int = _QUOTED, cut: str = "...") -> str:
    """A text for an error."""
    import json

    return json.dumps(text[:length], ensure_ascii=False) + (cut if len(text) > length else "")


def _endpoint(text: str, rest: str) -> tuple[str, int]:
    """``HOST[:PORT]``, with defaults for what is not there."""

    def refused(why: str) -> Failure:
        return _bad(f"{quoted(text)} is no address: {why}; {_EXPECTED}")

    if rest.startswith("["):
        host, closed, behind = rest[1:].partition("]")
        if not closed:
            raise refused("a bracket is open")
        if ":" not in host or "%" in host or as_ip(host) is None:
            raise refused("what is in brackets is no IPv6 address")
        if behind and not behind.startswith(":"):
            raise refused("a bracket is followed by nothing but a port")
        port = behind[1:] if behind else None
    else:
        host, colon, behind = rest.partition(":")
        if ":" in behind:
            raise refused("an IPv6 address stands in brackets")
        port = behind if colon else None
    if not _is_host(host):
        raise refused("the host is neither a name nor an IP address")
    if port is None:
        return host or "localhost", DEFAULT_PORT
    if not _is_number(port) or int(port[:9]) > 65535 or len(port) > 9:
        raise refused("the port is no number from 0 to 65535")
    return host or "localhost", int(port)


def _fs_bytes(path: str) -> bytes:
    import os

    return os.fsencode(path)


def _bad(text: str) -> Failure:
    return Failure("bad arguments", text)
