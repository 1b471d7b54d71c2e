"""What kaa programs say where a server is and who may connect to it, as Andiron has it."""

from __future__ import annotations

import os
import re
import socket
import stat

import andiron
from andiron.compat import _shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECRET = "andiron1-"
_HERE = "127.0.0.1"

_is_ipv4 = re.compile(r"(\d+\.\d+\.\d+\.\d+)(?::(\w+))?", re.ASCII).fullmatch
_is_endpoint = re.compile(r"(\[[\da-fA-F:.]+\]|[^:\[\]%]*):(\w+)(?:%(\w+))?", re.ASCII).fullmatch
_is_andirons = re.compile(r"(tcp|tls)://(\[[^\]]*\]|[^:]*)(?::\d+)?", re.ASCII).fullmatch


class Place:
    """Where a server is, and what it and its clients show each other.

    ``auth_secret`` is a secret of Andiron, as text or as the path of its file, or else a password: any string, which is good on this machine.

    >>> Place("beacon", "", False).address, Place(4444, "x", True).address, Place(("::1", 4444), "x", True).address
    ('beacon', 'tcp://127.0.0.1:4444', 'tcp://[::1]:4444')
    """

    def __init__(self, address: Any, auth_secret: Any, listens: bool) -> None:
        #: As Andiron writes it.
        self.address: str
        #: The file with the secret; `None`: there is none, or it is where Andiron finds it.
        self.secret_file: str | None = None
        #: What both ends have to prove to each other beside that.
        self.password = ""
        secret = _text(auth_secret)
        is_secret = secret.startswith(_SECRET) or isinstance(auth_secret, os.PathLike) or _is_file(secret)
        if not is_secret:
            self.password = secret
        self.address = _written(address, is_secret, listens)
        host = _is_andirons(self.address)
        if host is not None and not is_local(host[2].strip("[]")) and secret and not is_secret:
            raise ValueError(
                f"'{self.address}' is beyond this machine, where a password as `auth_secret` does not do, since whoever overhears it can guess: "
                "make a secret by `andiron secret new`, and give its text (`andiron1-..`) or the path of its file to both ends"
            )
        if is_secret:
            self.secret_file = _shared.secret_file(secret)

    def remove_dead(self) -> bool:
        """Takes away the socket of a server that was killed, where one is in the way. Whether it did."""
        path = self.address[5:]
        if not self.address.startswith("unix:") or not hasattr(socket, "AF_UNIX"):
            return False
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                with socket.socket(socket.AF_UNIX) as nobody:
                    nobody.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return True
        except OSError:
            pass
        return False


def in_words(error: andiron.Error) -> andiron.Error:
    """An error in the words of programs of kaa: how a secret is given, and what serves."""
    said = _shared.in_words(error).message.replace("`secret=`", "`auth_secret`")
    said = re.sub("start one with `andiron serve.*?`", "start it first", said)
    return type(error)(said.replace(" or ANDIRON_SECRET_FILE", ""))


def is_local(host: str) -> bool:
    """Whether a host is this machine, and reached by nobody from outside."""
    if host.lower() in ("", "localhost"):
        return True
    import ipaddress

    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return bool((getattr(ip, "ipv4_mapped", None) or ip).is_loopback)


def _text(auth_secret: Any) -> str:
    if auth_secret is None:
        return ""
    if isinstance(auth_secret, (str, bytes, os.PathLike)):
        return os.fsdecode(auth_secret)
    raise TypeError(f"an auth_secret is a string, or the path of a file, not {auth_secret!r}")


def _is_file(secret: str) -> bool:
    return os.path.isabs(os.path.expanduser(secret)) and os.path.isfile(os.path.expanduser(secret))


def _written(address: Any, is_secret: bool, listens: bool) -> str:
    if isinstance(address, str) and (address.startswith("unix:") or _is_andirons(address)):
        return address
    if isinstance(address, str) and ":" not in address and not _is_ipv4(address):
        return f"unix:{address}" if os.path.isabs(address) else _name(address)
    host, port = _host_and_port(address)
    if is_local(host) and (host or not is_secret):
        return f"tcp://{_endpoint(host or _HERE, port)}"
    return f"tls://{_endpoint(host or ('0.0.0.0' if listens else _HERE), port)}"


def _name(name: str) -> str:
    """A name of Andiron for a relative path, which kaa put into a folder of the user."""
    written = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:64]
    if not written:
        raise ValueError(
            f"{name!r} is no address: give a name, the path of a socket, a port, or a host and a port"
        )
    return written


def _host_and_port(address: Any) -> tuple[str, int]:
    service: Any
    scope: Any = None
    if isinstance(address, int) and not isinstance(address, bool):
        host, service = "", address
    elif isinstance(address, str):
        found = _is_ipv4(address) or _is_endpoint(address)
        if found is None or not found[2]:
            raise ValueError(
                f"{address!r} is no address: write HOST:PORT, an IPv6 address in brackets, or a name without ':'"
            )
        host, service = found[1].strip("[]"), found[2]
        scope = found[3] if found.re.groups > 2 else None
    elif isinstance(address, (tuple, list)) and len(address) in (2, 4) and isinstance(address[0], str):
        host, service = address[0].strip("[]"), address[1]
        scope = address[3] if len(address) == 4 else None
    else:
        raise ValueError(
            f"{address!r} is no address: it is a name, a port, 'HOST:PORT', or a tuple of 2 or 4"
        )
    return f"{host}%{scope}" if scope and ":" in host else host, _port(address, service)


def _port(address: Any, service: Any) -> int:
    """The number of a port, which the name of a service may stand for."""
    port = service
    if isinstance(service, str):
        try:
            port = int(service) if service.isdigit() else socket.getservbyname(service)
        except OSError:
            port = None
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(
            f"{address!r} is no address: {service!r} is neither a port, a number from 0 to 65535, nor a service that is known here"
        )
    return port


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
