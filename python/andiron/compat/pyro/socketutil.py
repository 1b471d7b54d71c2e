"""What programs used of Pyro's module of this name: the addresses of this machine."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["getIpAddress", "get_ip_address"]

#: Addresses that are there for documents: nobody is reached, but the system says by which of its own it would try.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def getIpAddress(hostname: str | None, workaround127: bool = False, ipVersion: int | None = None) -> str:
    """The address of a host as text; without a name that of this machine.

    ``workaround127``: where it is one that only this machine can reach, the one by which others are reached. ``ipVersion``: 4 or 6; without it whichever the system names first.

    >>> getIpAddress("localhost", ipVersion=4)
    '127.0.0.1'
    """
    family = {None: socket.AF_UNSPEC, 0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}.get(
        ipVersion
    )
    if family is None:
        raise ValueError(f"ipVersion is 4 or 6, not {ipVersion!r}")
    found = socket.getaddrinfo(hostname or socket.gethostname(), None, family, socket.SOCK_STREAM)[0]
    address = str(found[4][0])
    if not workaround127 or not (address.startswith("127.") or address == "::1"):
        return address
    with socket.socket(found[0], socket.SOCK_DGRAM) as asking:
        asking.connect((_ELSEWHERE[found[0]], 9))  # which sends nothing
        return str(asking.getsockname()[0])


def get_ip_address(hostname: str | None, workaround127: bool = False, version: int | None = None) -> Any:
    """The same as an address of `ipaddress`.

    >>> get_ip_address("localhost", version=4)
    IPv4Address('127.0.0.1')
    """
    import ipaddress

    return ipaddress.ip_address(getIpAddress(hostname, workaround127, version).partition("%")[0])
