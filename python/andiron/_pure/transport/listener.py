"""Where a server listens, and how it takes connections in."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from time import monotonic

from andiron._pure import hooks
from andiron._pure.failure import Failure
from andiron._pure.transport import names, runtime, secret
from andiron._pure.transport.address import Address, canonical, endpoint, is_loopback, parse
from andiron._pure.transport.channel import Channel
from andiron._pure.transport.connector import (
    addresses_of,
    has_unix,
    nothing_to_check,
    plain_binding,
    plain_refused,
    tune,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.transport.connector import Auth

#: How often a free port is looked for that is free at all addresses of a host.
_ATTEMPTS = 20
#: What accept says of connections that are none, or none any more.
_GONE = {
    getattr(errno, name, 0)
    for name in (
        "ECONNABORTED",
        "EPROTO",
        "ENETDOWN",
        "ENETUNREACH",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENONET",
        "ENOPROTOOPT",
    )
}


class Guest:
    """A connection that was taken in, on which nothing was said yet."""

    __slots__ = "auth", "binding", "channel", "ended", "refuse", "secrets"

    def __init__(
        self,
        channel: Channel,
        auth: Auth = "user",
        binding: bytes | None = None,
        taken: secret.Taken | None = None,
        refuse: tuple[int, str, Failure] | None = None,
    ) -> None:
        self.channel = channel
        self.auth = auth
        #: What the session is bound to.
        self.binding = binding
        #: Of these the peer is to prove that it has one, in the order in which the session knows their keys.
        self.secrets = [] if taken is None else taken.valid
        #: The keys that are taken no more, each with what is said to who has it.
        self.ended = [] if taken is None else taken.ended
        #: Why nobody can be taken in: reason of the goodbye, what the peer is told, and what is known here.
        self.refuse = refuse


class Listener:
    """One listening socket, and what is demanded of those who connect."""

    _open = False

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock = sock
        #: Where it listens.
        self.address = address
        self._process = os.getpid()
        self._open = True

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self.sock.fileno()

    def accept(self) -> Guest | None:
        """The next connection, `None` when nobody waits. A `Failure` where this one may not come in; an `OSError` where no descriptors are left."""
        while True:
            try:
                sock, _ = self.sock.accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise
            try:
                return self.welcome(sock)
            except OSError as error:
                sock.close()
                raise Failure("unavailable", f"it is gone: {runtime.reason(error)}") from error
            except BaseException:
                sock.close()
                raise

    def welcome(self, sock: socket.socket) -> Guest:
        """Takes a connection in: how its session is to begin. Nothing is read or written."""
        raise NotImplementedError

    def post(self) -> None:
        """Puts what clients need to know where they look for it."""

    def tick(self) -> bool:
        """Looks whether the place is its own still, about once a second, and makes it anew. True where the socket is another one now."""
        return False

    def shut(self) -> None:
        """Gives the place back; in a forked child, which has none, only the descriptor."""
        if self._open:
            self._open = False
            if self._process == os.getpid():
                self.withdraw()
            self.sock.close()

    def __del__(self) -> None:
        """Gives the place of a server back that nobody has any more."""
        self.shut()

    def withdraw(self) -> None:
        """Takes away what leads others here."""


class _Unix(Listener):
    """A Unix socket: of the same user, as the kernel says."""

    def __init__(self, path: str) -> None:
        self._path = path
        super().__init__(_listen_at_path(path), f"unix:{path}")

    def welcome(self, sock: socket.socket) -> Guest:
        return of_this_user(sock)

    def withdraw(self) -> None:
        runtime.remove(self._path)


class _Named(Listener):
    """A name: a Unix socket in the runtime folder, or a port that a file there tells."""

    def __init__(self, name: str) -> None:
        self._claim = names.Claim(name)
        super().__init__(self._claim.listener, "")
        self._tell()

    def welcome(self, sock: socket.socket) -> Guest:
        own = self._claim.secret
        if own is None:
            return of_this_user(sock)
        tune(sock)
        channel = Channel(sock, f"tcp {_peer(sock)}", True)
        return Guest(channel, [own.key], plain_binding(channel.sock, False), secret.Taken([own]))

    def tick(self) -> bool:
        if self._claim.still_mine() or self._process != os.getpid():
            return False
        try:
            sock = self._claim.renew()
        except Failure as failure:
            log(
                f"the socket was removed and cannot be made anew: {failure.message}; trying again in a second"
            )
            return False
        self.sock.close()
        self.sock = sock
        self._tell()
        log(f"the socket was removed; made anew at {self._claim.path}")
        return True

    def withdraw(self) -> None:
        self._claim.release()

    def _tell(self) -> None:
        if self._claim.secret is None:
            self.address = f"unix:{self._claim.path}"
        else:
            self.address = self._claim.name


class _Tcp(Listener):
    """TCP as it is: a secret is the proof."""

    def __init__(self, sock: socket.socket, keys: secret.Keyring, own: secret.Secret | None) -> None:
        """``own``: the secret that the server made for itself, where it has no other."""
        super().__init__(sock, f"tcp://{_own(sock)}")
        self._own = own
        self._keys = keys
        self._posted: str | None = None

    def post(self) -> None:
        # What another server at this port left there is not true any more in any case.
        port = self.sock.getsockname()[1]
        if self._own is None:
            runtime.remove(runtime.file_of_port(runtime.checked(), port))
            return
        path = runtime.file_of_port(runtime.ensured(), port)
        try:
            runtime.write_private(path, self._own.text() + "\n")
        except OSError as error:
            raise Failure(
                "denied", f"cannot write the secret of port {port} to {path}: {runtime.reason(error)}"
            ) from error
        self._posted = path

    def welcome(self, sock: socket.socket) -> Guest:
        tune(sock)
        channel = Channel(sock, f"tcp {_peer(sock)}", False)
        return _with_secret(channel, self._keys, plain_binding(channel.sock, False))

    def withdraw(self) -> None:
        path, self._posted = self._posted, None
        if path is None or self._own is None:
            return
        with suppress(OSError):
            with open(path, encoding="utf-8") as file:
                is_own = file.read().strip() == self._own.text()
            if is_own:
                os.unlink(path)


class _Tls(Listener):
    """TLS: a secret is the proof, a certificate of the authority, or both."""

    def __init__(self, sock: socket.socket, keys: secret.Keyring | None, context: Any, der: bytes) -> None:
        super().__init__(sock, f"tls://{_own(sock)}")
        self._keys = keys
        self._context = context
        self._der = der

    def welcome(self, sock: socket.socket) -> Guest:
        from andiron._pure.transport.tls import TlsChannel

        tune(sock)
        channel = TlsChannel(sock, f"tls {_peer(sock)}", self._context, certificate=self._der)
        if self._keys is None:
            return Guest(channel, "certificate", channel.binding())
        return _with_secret(channel, self._keys, channel.binding())


def listen(
    text: str,
    secret_file: str | None = None,
    certificate: str | None = None,
    key: str | None = None,
    authority: str | None = None,
    plain_tcp: bool = False,
) -> list[Listener]:
    """Listens at an address: one socket for each place that it stands for.

    ``certificate`` and ``key``: what a ``tls://`` address shows, PEM files; where none is given the file that ``ANDIRON_CERTIFICATE_FILE`` names, which has both, or
    ``andiron/certificate.pem`` beside the secret. ``authority``: whose certificates clients have to show.
    """
    try:
        address = parse(text)
        if address.kind == "name":
            return [_Named(address.place)]
        if address.kind == "unix":
            address.check_reachable()
            return [_Unix(address.place)]
        if address.kind in ("tcp", "tls"):
            return _listen_network(address, secret_file, certificate, key, authority, plain_tcp)
        raise Failure(
            "unsupported",
            f"'{address}': sockets that were handed over are taken by the native engine only; give an address",
        )
    except Failure as failure:
        failure.operation = failure.operation or "bind"
        failure.context = {**(failure.context or {}), "address": text}
        raise


def of_this_user(sock: socket.socket) -> Guest:
    """A connection over a Unix socket, if its peer is of this user."""
    process, user = names.peer_of(sock)
    own = None if runtime.user is None else runtime.user()
    if user is not None and user != own:
        raise Failure("denied", f"user {user} is not user {own}, to whom this server belongs")
    return Guest(Channel(sock, f"process {process}" if process else "a local process", True))


class Complaints:
    """Lines about refused connections, limited in number: whoever can connect could otherwise fill a disk with them."""

    #: One line in this time is written about connections that were refused for the same reason, and so many for different ones.
    _QUIET, _MOST = 1.0, 8

    def __init__(self) -> None:
        self._latest: dict[str, float] = {}
        self._untold = 0

    def tell(self, of: str, why: str) -> None:
        """Says that a connection was refused."""
        now = monotonic()
        self._latest = {other: at for other, at in self._latest.items() if now - at < self._QUIET}
        if why in self._latest or len(self._latest) >= self._MOST:
            self._untold += 1
            return
        self._latest[why] = now
        more = f" (and {self._untold} more before it)" if self._untold else ""
        self._untold = 0
        # One line, whatever the peer put into its words.
        words = "".join(char if char.isprintable() else " " for char in why[:300])
        log(f"a connection was refused: {of}: {words}{more}")


def log(text: str) -> None:
    """Tells the operator."""
    hooks.package.log("warning", text, None)


def _with_secret(channel: Channel, keys: secret.Keyring, binding: bytes | None) -> Guest:
    try:
        taken = keys.taken()
    except Failure as failure:
        # What is wrong with the server's files is for its operator alone.
        told = "the server cannot check secrets at present, whatever yours is: ask its operator to look into its log"
        known = Failure("unavailable", f"nobody can be let in until this is mended: {failure.message}")
        return Guest(channel, [os.urandom(32)], binding, None, (0, told, known))
    return Guest(channel, [one.key for one in taken.valid], binding, taken)


def _listen_network(
    address: Address,
    secret_file: str | None,
    certificate: str | None,
    key: str | None,
    authority: str | None,
    plain_tcp: bool,
) -> list[Listener]:
    # First: what is refused takes no port.
    keys = secret.keyring(secret_file, authority is not None)
    loopback = is_loopback(address.host)
    make: Callable[[socket.socket], Listener]
    if address.kind == "tls":
        if keys is None and authority is None:
            raise nothing_to_check("anybody could connect")
        from andiron._pure.transport import tls

        shown, its_key = (certificate, key) if certificate else (_certificate_file(address), None)
        context, der = tls.server_context(shown, its_key, authority)

        def make(sock: socket.socket) -> Listener:
            return _Tls(sock, keys, context, der)

    else:
        if not loopback and not plain_tcp:
            raise plain_refused()
        if keys is None and not loopback:
            raise nothing_to_check("anybody could connect")
        own = secret.Secret.new() if keys is None else None
        taken = keys or secret.Keyring(secret=own)

        def make(sock: socket.socket) -> Listener:
            return _Tcp(sock, taken, own)

    try:
        socks = _listen_at(address.host, address.port)
    except OSError as error:
        raise _cannot_listen(endpoint(address.host, address.port), error) from error
    listeners = [make(sock) for sock in socks]
    try:
        # All places of an address have one port, and one secret.
        listeners[0].post()
    except BaseException:
        for listener in listeners:
            listener.shut()
        raise
    return listeners


def _certificate_file(address: Address) -> str:
    """The file with the certificate and the key of this user's servers. There is nothing in Python that could make one."""
    path = os.environ.get("ANDIRON_CERTIFICATE_FILE")
    if not path:
        folder = secret.own_folder()
        path = None if folder is None else os.path.join(folder, "certificate.pem")
    if path is None or not os.path.exists(path):
        path = path or "certificate.pem"
        raise Failure(
            "unavailable",
            f"there is no certificate at {path} for {address}, and Python alone can make none: make it, for instance with `openssl req -x509 -newkey ec "
            f"-pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=andiron -keyout {path} -out {path}`, or give its path by ANDIRON_CERTIFICATE_FILE",
        )
    secret.read_private(path, "key")
    return path


def _listen_at(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at every address of a host. Port 0 takes a free one, the same at all of them."""
    addresses = addresses_of(host, port)
    attempts = _ATTEMPTS if port == 0 and len(addresses) > 1 else 1
    while True:
        attempts -= 1
        try:
            return _listen_once_at_each(addresses, port)
        except OSError as error:
            # A port that is free at the first address may be taken at the second.
            if error.errno != errno.EADDRINUSE or not attempts:
                raise


def _listen_once_at_each(addresses: list[tuple[Any, Any]], port: int) -> list[socket.socket]:
    listening: list[socket.socket] = []
    missing: OSError | None = None
    for family, place in addresses:
        try:
            sock = _listen_once(family, (place[0], port, *place[2:]))
            listening.append(sock)
            port = sock.getsockname()[1]
        except OSError as error:  # noqa: PERF203 - there are one or two
            # A machine may have no IPv6, or not the address that another one knows it by.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for sock in listening:
                    sock.close()
                raise
            missing = error
    if not listening:
        raise missing or OSError(errno.EADDRNOTAVAIL, "it has no address")
    return listening


def _listen_once(family: Any, place: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "nt":
            # There the other option lets two listen at one port.
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", 0), 1)
        else:
            # Connections of a server that has ended may still be winding up at this port; one that listens is in the way all the same.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        sock.listen(names.BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _cannot_listen(place: str, error: OSError) -> Failure:
    if error.errno == errno.EADDRINUSE:
        return Failure("conflict", f"the port {place} is taken by another server; choose another port")
    if error.errno == errno.EADDRNOTAVAIL:
        return Failure("bad arguments", f"{place} is no address of this machine; listen at one that is")
    if isinstance(error, PermissionError):
        return Failure("denied", f"this user may not listen at {place}; choose a port from 1024 up")
    return Failure("unavailable", f"cannot listen at {place}: {runtime.reason(error)}")


def _listen_at_path(path: str) -> socket.socket:
    if not has_unix():
        raise Failure(
            "unsupported",
            f"this system, or its Python, has no Unix sockets, so nobody can listen at {path}: use a name or `tcp://`",
        )
    try:
        return names.listen_unix(path)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure("conflict", f"{path} {_what_is_at(path)}") from error
        raise Failure("unavailable", f"cannot make a socket at {path}: {runtime.reason(error)}") from error


def _what_is_at(path: str) -> str:
    """What is where a socket was to be made. A dead one is not replaced: without a lock another server may be about to."""
    with suppress(OSError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return "is there already and is no socket; choose another path"
    if names.is_answered(path) is None:
        return "is there already, left by a server that was killed; remove it"
    return "is there already, and a server listens there; choose another path"


def _own(sock: socket.socket) -> str:
    host, port, *_ = sock.getsockname()
    return endpoint(canonical(host), port)


def _peer(sock: socket.socket) -> str:
    host, port, *_ = sock.getpeername()
    return endpoint(canonical(host), port)
