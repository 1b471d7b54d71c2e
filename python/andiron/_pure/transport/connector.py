"""Connecting to a server: how one gets there, and how the session with it is to begin."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from contextlib import suppress

from andiron._pure.failure import Failure
from andiron._pure.transport import runtime, secret
from andiron._pure.transport.address import (
    DEFAULT,
    MAX_PATH,
    Address,
    as_ip,
    canonical,
    endpoint,
    is_loopback,
    parse,
)
from andiron._pure.transport.channel import Channel, wait_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    #: How both ends know each other: ``user``, ``certificate``, or the keys of secrets.
    Auth = str | Sequence[bytes]

#: An idle connection is asked whether its peer is still there after a time, again and again in an interval, and so often; and what was sent and is not confirmed within a
#: time, in milliseconds, ends it.
_TUNED = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 120_000))
#: No wait is longer without a look at whether the host ends.
_SLICE = 1.0


def connect(
    address: str,
    timeout: float,
    secret_file: str | None = None,
    authority: str | None = None,
    own: tuple[str, str] | None = None,
    plain_tcp: bool = False,
) -> tuple[Channel, Auth, bytes | None]:
    """A channel to the server at an address, how both ends know each other, and what the session is bound to; `None`: what `Channel.binding` says once it is known.

    ``authority``: whose certificates to trust, a PEM file; ``own``: the own certificate and its key. ``plain_tcp`` allows TCP without TLS beyond this machine. What is wrong is
    a `Failure`.
    """
    try:
        where = parse(address)
        where.check_reachable()
        if where.kind == "name":
            return _reach_name(address, where.place, timeout)
        if where.kind == "unix":
            return _unix(address, where.place, timeout), "user", None
        return _reach_network(where, timeout, secret_file, authority, own, plain_tcp)
    except Failure as failure:
        failure.operation = failure.operation or "connect"
        raise


def not_opened(address: str, failure: Failure) -> Failure:
    """Why the handshake with the server at an address failed, for the user."""
    kind, message = failure.kind, failure.message
    if kind == "deadline":
        kind = "unavailable"
        message = (
            f"the server at '{address}' does not answer: it is stopped or overloaded, or in Python alone and without threads "
            "where its `wait` does not run; `andiron doctor` tells more"
        )
    elif kind == "protocol" and address.startswith("tcp:"):
        message = f"{message}; if it speaks TLS, its address begins with `tls://`"
    context = dict(failure.context or ())
    if failure.kind != "deadline":
        context["address"] = address
    return Failure(
        kind,
        message,
        failure.type_name,
        failure.trace,
        failure.remote_args,
        failure.attributes,
        "connect",
        context,
    )


def plain_binding(sock: socket.socket, is_initiator: bool) -> bytes:
    """What a session over TCP without TLS is bound to.

    On this machine that are the addresses of both ends, so that a stranger who took the server's port cannot pass the proof on. Elsewhere addresses may be translated on the way.
    """
    try:
        local, peer = sock.getsockname(), sock.getpeername()
    except OSError as error:
        raise Failure("unavailable", f"the connection was lost at once: {runtime.reason(error)}") from error
    if not is_loopback(local[0]) or not is_loopback(peer[0]):
        return b"tcp\0"
    binding = b"tcp\0"
    for host, port, *_ in (local, peer) if is_initiator else (peer, local):
        text = endpoint(canonical(host), port).encode()
        binding += len(text).to_bytes(2, "big") + text
    return binding


def tune(sock: socket.socket) -> None:
    """Sets a connection over TCP up for small messages and a long life, as far as the system can.

    Nothing is held back to be sent together, and the kernel finds out within about two minutes that the peer is gone without a word.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TUNED:
        if hasattr(socket, name):
            with suppress(OSError):  # the name may be known where the system has no such thing
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def addresses_of(host: str, port: int) -> list[tuple[Any, Any]]:
    """Family and address for each of a host's, asking the system where it is a name. `localhost` is always this machine, whatever its files or a name server say."""
    if host.lower() == "localhost":
        both: list[tuple[Any, Any]] = [(socket.AF_INET, ("127.0.0.1", port))]
        return both + ([(socket.AF_INET6, ("::1", port))] if socket.has_ipv6 else [])
    ip = as_ip(host)
    if ip is not None:
        return [(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, (host, port))]
    found: list[tuple[Any, Any]] = []
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if family in (socket.AF_INET, socket.AF_INET6) and (family, address) not in found:
            found.append((family, address))
    return found


def posted_address(name: str) -> tuple[int, secret.Secret, int] | None:
    """What the file of a server without a Unix socket says: its port on this machine, its secret, and the number of its process."""
    path = os.path.join(runtime.checked(), f"{name}.addr")
    try:
        data, _ = secret.read_private(path)
        port, text, process = data.decode().split()
        return int(port), secret.Secret.parse(text), int(process)
    except Failure as failure:
        if failure.kind == "denied":
            raise
        return None
    except ValueError:
        return None


def dial(path: str, timeout: float) -> socket.socket:
    """A socket that is connected to the Unix socket at a path; an `OSError` where it cannot be."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + timeout
    try:
        while True:
            # Connecting takes no time unless the server has stopped accepting and its queue is full.
            left = deadline - time.monotonic()
            sock.settimeout(max(min(left, _SLICE), 0.001))
            try:
                sock.connect(path)
                return sock
            except TimeoutError:
                if left <= _SLICE:
                    raise BlockingIOError(errno.EAGAIN, "it did not accept in time") from None
            _look()
    except BaseException:
        sock.close()
        raise


def has_unix() -> bool:
    """True where the system has Unix sockets and Python shows them."""
    return hasattr(socket, "AF_UNIX")


def _reach_name(address: str, name: str, timeout: float) -> tuple[Channel, Auth, bytes | None]:
    """The server of a name: by its socket, or by the port in its file where it has none."""
    folder = runtime.checked()
    if has_unix():
        path = os.path.join(folder, f"{name}.sock")
        try:
            return _unix(address, path, timeout), "user", None
        except Failure as failure:
            if failure.kind != "unavailable" or not os.path.exists(os.path.join(folder, f"{name}.addr")):
                raise
    posted = posted_address(name)
    if posted is None:
        raise _no_server(address)
    port, own, _ = posted
    try:
        sock = _tcp("127.0.0.1", port, timeout)
    except ConnectionRefusedError as error:
        raise _no_server(address) from error
    channel = Channel(sock, f"'{address}'", True)
    return channel, [own.key], plain_binding(channel.sock, True)


def _unix(address: str, path: str, timeout: float) -> Channel:
    if not has_unix():
        raise Failure(
            "unsupported",
            f"this system, or its Python, has no Unix sockets, so '{address}' cannot be reached: use a name or `tcp://`",
        )
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise Failure(
            "bad arguments",
            f"the socket path {path} is {length} bytes long and {MAX_PATH} is the limit: choose a shorter name, or set XDG_RUNTIME_DIR to a folder with a shorter path",
        )
    try:
        return Channel(dial(path, timeout), f"'{address}'", True)
    except OSError as error:
        raise _not_reached(address, path, error) from error


def _not_reached(address: str, path: str, error: OSError) -> Failure:
    """Why there is no way to a socket, for the user."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return _no_server(address)
    if isinstance(error, ConnectionRefusedError):
        if not _is_socket(path):
            return Failure(
                "bad arguments", f"{path} is no socket, so no server listens there; choose another address"
            )
        return _no_server(address)
    if isinstance(error, PermissionError):
        return Failure("denied", f"no permission to connect to {path}: it belongs to another user")
    if isinstance(error, BlockingIOError):
        return Failure(
            "unavailable",
            f"the server at {path} did not accept the connection in time: it is stopped or overloaded",
        )
    return Failure("unavailable", f"cannot connect to {path}: {runtime.reason(error)}")


def _no_server(address: str) -> Failure:
    serve = "andiron serve" if address == DEFAULT else f"andiron serve --name {address}"
    return Failure("unavailable", f"no server at '{address}': start one with `{serve}`")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True


def _reach_network(
    where: Address,
    timeout: float,
    secret_file: str | None,
    authority: str | None,
    own: tuple[str, str] | None,
    plain_tcp: bool,
) -> tuple[Channel, Auth, bytes | None]:
    # All of this before anything is sent: what is refused here reaches nobody.
    encrypted = where.kind == "tls"
    loopback = is_loopback(where.host)
    if not encrypted and not loopback and not plain_tcp:
        raise plain_refused()
    keys = None
    if loopback and not encrypted and secret_file is None:
        keys = _posted_secret(where.port)
    keys = keys or secret.keyring(secret_file, authority is not None)
    if encrypted:
        if keys is None and authority is None:
            raise nothing_to_check("anybody could pose as the server")
        from andiron._pure.transport import tls

        context = tls.client_context(authority, own)
    elif keys is None:
        raise Failure(
            "authentication",
            f"no secret for {where}: its server belongs to another user or does not run; if it has a secret, give its file by "
            "`--secret-file` (`secret_file` in a program) or ANDIRON_SECRET_FILE",
        )
    auth: Auth = "certificate" if keys is None else [keys.first().key]
    try:
        sock = _tcp(where.host, where.port, timeout)
    except ConnectionRefusedError as error:
        raise Failure("unavailable", f"no server at {where}: {error}") from error
    if not encrypted:
        channel = Channel(sock, f"'{where}'", False)
        return channel, auth, plain_binding(channel.sock, True)
    return tls.TlsChannel(sock, f"'{where}'", context, where.host if authority else None), auth, None


def _posted_secret(port: int) -> secret.Keyring | None:
    """The secret of the server at this port of this machine, where it made one for itself. It is read once: the server may end, and take it away, at any moment."""
    try:
        return secret.Keyring(secret=secret.Keyring(runtime.file_of_port(runtime.checked(), port)).first())
    except Failure:
        return None


def _tcp(host: str, port: int, timeout: float) -> socket.socket:
    """Connects to the first address of ``host`` that takes the connection, each of which gets an equal share of the time; a `ConnectionRefusedError` where nobody listens."""
    deadline = time.monotonic() + timeout
    try:
        addresses = addresses_of(host, port)
    except OSError as error:
        raise Failure("unavailable", f"the host {host!r} cannot be found: {error}") from error
    failure: Exception = Failure("unavailable", f"{host} does not answer")
    for index, (family, address) in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - index)
        if share <= 0:
            break
        shown = endpoint(*address[:2])
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            if _connected(sock, address, share):
                tune(sock)
                return sock
            failure = Failure("unavailable", f"{shown} does not answer")
        except ConnectionRefusedError:
            failure = ConnectionRefusedError(f"nobody listens at {shown}")
        except OSError as error:
            failure = Failure("unavailable", f"cannot connect to {shown}: {runtime.reason(error)}")
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        if sock is not None:
            sock.close()
    raise failure


def _connected(sock: socket.socket, address: Any, timeout: float) -> bool:
    """Connects within a time; false where nothing answered."""
    deadline = time.monotonic() + timeout
    sock.setblocking(False)
    code = sock.connect_ex(address)
    while code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if wait_at(sock, False, True, min(left, _SLICE))[1]:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            break
        _look()
    if code == errno.ETIMEDOUT:
        return False
    # Where nobody listens at a port that is given out to clients, a client may be given just that, and reach itself.
    if not code and sock.getsockname() == sock.getpeername():
        code = errno.ECONNREFUSED
    if code:
        raise OSError(code, os.strerror(code))
    return True


def plain_refused() -> Failure:
    """What is said of TCP without TLS beyond this machine."""
    return Failure(
        "denied",
        "TCP without TLS is for this machine only, since others could read and change what is said: use `tls://`, "
        "or allow it by `plain_tcp` (`--plain-tcp` at the shell)",
    )


def nothing_to_check(danger: str) -> Failure:
    """What is said where neither a secret nor a certificate would be the proof."""
    return Failure(
        "authentication",
        f"there is neither a secret nor an authority, so {danger}: make a secret with `andiron secret new` and give its file to both "
        "ends by `--secret-file` (`secret_file` in a program) or ANDIRON_SECRET_FILE",
    )


def _look() -> None:
    """The host is asked in every wait."""
    from andiron import _host

    _host.check()
