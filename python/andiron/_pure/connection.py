"""What a hub has: a connection, or those after one another that it retries."""

from __future__ import annotations

import atexit
from _weakrefset import WeakSet
from time import monotonic

from andiron import _host, _interpreter
from andiron._pure import hooks
from andiron._pure.cache import DEFAULT_LIMIT, Cache
from andiron._pure.failure import Failure
from andiron._pure.line import Line, Named, ask
from andiron._pure.link import Link
from andiron._pure.remote import Far, Remote
from andiron._pure.root import Directory
from andiron._pure.session import Config, Session
from andiron._pure.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from andiron._pure.pool import Pool
    from andiron._pure.store import Store
    from andiron._pure.transport.channel import Channel

#: How many methods a thread that was asked for has run at once, where no number is said.
THREADS = 16

#: How long connecting and the handshake may take.
TIMEOUT = 10.0

#: Over a network the other end is asked for a sign of life after so many seconds without one, while something is awaited from it; and how long that may take.
HEARTBEAT = 10.0, 20.0

#: So many descriptors may come with one message.
MOST_DESCRIPTORS = 64


def link_over(
    channel: Channel, initiator: bool, auth: Any, binding: bytes | None, timeout: float, **more: Any
) -> Link:
    """A connection over this channel. The handshake is still to be done."""
    features = ["streams", "promises", *more.pop("features", ())]
    limits = {"attachments": MOST_DESCRIPTORS if channel.passes_descriptors else 0}
    more.setdefault("heartbeat", None if channel.is_local else HEARTBEAT)
    config = Config(auth=auth, features=features, limits=limits, handshake_timeout=timeout, **more)
    session = Session(initiator, config, monotonic())
    if binding is not None:
        session.bind(binding)
    link = Link(channel, session, binding is not None or auth in ("user", "certificate"))
    link.push()
    return link


def reached(address: str, timeout: float, secret_file: str | None) -> Link:
    """A connection to a server, whose handshake has begun."""
    from andiron._pure.transport import connector

    channel, auth, binding = connector.connect(address, timeout, secret_file)
    link = link_over(channel, True, auth, binding, timeout)
    link.directory = Directory(False)
    link.root = link.directory.root_of(link)
    return link


def opened(address: str, timeout: float, secret_file: str | None) -> Link:
    """The same, whose handshake is done."""
    from andiron._pure.transport import connector

    until = monotonic() + timeout
    link = reached(address, timeout, secret_file)
    try:
        link.wait_opened(max(0.0, until - monotonic()) + 1.0)
    except Failure as failure:
        link.close()
        raise connector.not_opened(address, failure) from None
    return link


def connect(
    address: str,
    *,
    timeout: float | None = None,
    retry: float | None = None,
    cache: int | None = None,
    secret_file: str | None = None,
    pump: bool | None = None,
    threads: int | None = None,
) -> Connection:
    """Connects to a server.

    ``pump``: a thread of its own reads the connection, and up to ``threads`` others run what is called; otherwise those do who wait, and `Connection.turn`.
    """
    within = TIMEOUT if timeout is None else timeout
    try:
        link = opened(address, within, secret_file)
    except Failure as failure:
        failure.throw("connect")
    again = None if retry is None else lambda left: opened(address, min(left, within), secret_file)
    line = Line(link, again, retry, f"'{address}'")
    connection = Connection(line, cache)
    if pump or threads:
        connection.attend(threads or THREADS)
    return connection


def over(link: Link) -> Connection:
    """What a method calls back over."""
    return Connection(Line(link), None)


class Connection:
    """One connection."""

    __slots__ = ("__weakref__", "_is_attended", "_line", "_own_pool", "cache", "made_by")

    def __init__(self, line: Line, cache: int | None) -> None:
        self._line = line
        self.cache = Cache(DEFAULT_LIMIT if cache is None else cache)
        #: By what proxies and streams of what comes over it are made, where it is not the package.
        self.made_by: tuple[Any, Any] | None = None
        #: Threads read it.
        self._is_attended = False
        #: They are its own.
        self._own_pool: Pool | None = None

    @property
    def link(self) -> Link:
        """The connection that calls go over now."""
        return self._line.link

    @property
    def line(self) -> Line:
        """It, and those after it."""
        return self._line

    @property
    def retries(self) -> bool:
        """Whether another connection takes the place of one that is lost."""
        return self._line.retries

    def place(self) -> tuple[Link, bytes | None, bool]:
        """The connection that a call made now would go over, the incarnation of the store there, and whether descriptors can pass."""
        try:
            link = self._line.alive(None)
        except Failure as failure:
            failure.throw()
        return link, link.session.peer.store, link.channel.passes_descriptors

    def attend(self, threads: int) -> None:
        """Has a thread read it, and others run what is called."""
        from andiron._pure.pool import Pool

        try:
            pool = self._own_pool = Pool(threads)
        except OSError as error:  # no descriptor is left
            self.close()
            Failure("overloaded", f"no thread can read the connection: {error.strerror}").throw("connect")
        self._is_attended = True
        _attend(pool, self._line, self._line.link)
        pool.start()
        _attended.add(self)
        line = self._line
        pool.belong_to(
            self, line.is_used, lambda: _end(line, pool)
        )  # without the cache, which has an object of the other end

    def root(self) -> Remote:
        """The object that knows the names of the others."""
        far = Far(self._line.link, 0)
        named = Named(self._line, None, far) if self.retries else None
        return Remote(far, self, "server", named)

    def makes(self, proxy: Callable[[Remote], Any], stream: Callable[[Any], Any]) -> None:
        """By what proxies and streams are made of what comes over it. The first ones stay."""
        if self.made_by is None:
            self.made_by = proxy, stream

    def named(self, remote: Remote, name: str) -> Remote:
        """The same object as one that was looked up by this name here."""
        far = remote.far
        named = Named(self._line, name, far) if self.retries else None
        return Remote(far, self, name, named)

    def _ask(self, method: str, *args: Any, operation: str | None = None) -> Any:
        """Asks the root, over the next connection where one was lost."""
        try:
            far = Far(self._line.alive(None), 0)
            while True:
                try:
                    return ask(far, method, args)
                except Failure as failure:  # noqa: PERF203 - most questions are asked once
                    may_be_repeated = failure.kind in ("unavailable", "unknown") and method != "register"
                    if not (self.retries and may_be_repeated and far.link.is_leaving):
                        raise
                    far = Far(self._line.alive(None), 0)
        except Failure as failure:
            failure.throw(operation)

    def lookup(self, name: str) -> Remote:
        """The object of this name."""
        found = self._ask("lookup", name)
        if isinstance(found, Remote):
            return self.named(found, name)
        target = found if isinstance(found, Target) else Target.known(found)
        if target is None:
            raise Failure("internal", "the server answered with something else than an object").exception()
        from andiron._pure.local import Here

        return Remote(Far(Here(), target), self, name)  # type: ignore[arg-type] # it does for the two of them

    def names(self) -> list[str]:
        """The names of all objects."""
        names: list[str] = self._ask("names", operation="server.names")
        return names

    def register(self, name: str, target: Target) -> None:
        """Offers an object under a name."""
        try:
            ask(Far(self._line.alive(None), 0), "register", (name, target))
        except Failure as failure:
            context = {**(failure.context or {}), "name": name}
            told = Failure(failure.kind, failure.message, operation="register", context=context)
            told.throw()
        self._line.registered(name, target)

    def registered(self, name: str, target: Target) -> None:
        """An object was registered by the root, and is to be again where the connection is made anew."""
        self._line.registered(name, target)

    def store(self, author: str | None = None) -> Store:
        """The store as this author's."""
        from andiron._pure.store import Store

        return Store(self, "default" if author is None else author)

    def pump(self, ended: Callable[[BaseException | None], object]) -> None:
        """Has ``ended`` called when the connection is over, with the error, or with `None` where this end closed it."""
        line = self._line

        def over(failure: Failure) -> None:
            if line.closed_here:
                ended(None)
            else:
                ended(failure.exception("run"))

        if line.retries:
            line.on_over(over)
        else:
            line.link.on_end(over)

    def turn(self, seconds: float) -> bool:
        """Serves on this thread for so many seconds at most; false where threads of its own do that."""
        if self._is_attended:
            return False
        line = self._line
        link = line.link
        try:
            if link.ended is None:
                link.poll(seconds)
            elif line.retries and not line.closed_here:
                line.follow(link)
        except Failure as failure:
            if line.closed_here or line.retries or link.ended is not None:
                return True  # and whoever pumps was told why
            failure.throw("run")
        return True

    def poll(self, timeout: float) -> bool:
        """Runs the calls that come on this thread, for so long at most. Whether one came."""
        try:
            return self._line.link.poll(timeout)
        except Failure as failure:
            failure.throw("poll")

    def fileno(self) -> int:
        """The descriptor of the connection; -1 when it is over."""
        return self._line.link.fileno()

    def batch(self) -> Batch:
        """Holds back calls that this thread starts."""
        return Batch(self._line.link)

    def peer(self) -> str:
        """Who is at the other end."""
        return self._line.link.label

    def close(self) -> None:
        """Ends the connection."""
        self.cache.close()
        pool, self._own_pool = self._own_pool, None
        _end(self._line, pool)


#: Those that threads of their own read.
_attended: WeakSet[Connection] = WeakSet()


@atexit.register
def _end_threads() -> None:
    """Ends them with a sub-interpreter, whose end with a thread left would be that of the process. Behind the servers of this interpreter, which `andiron._server` stops."""
    if _interpreter.number() != 0:
        for connection in list(_attended):
            connection.close()


def _attend(pool: Pool, line: Line, link: Link) -> None:
    """Has the threads of this one read a connection, and those that take its place."""

    def follow() -> None:
        try:
            line.follow(link)
        except Exception as error:  # that the host ends is no defect
            if not _host.ends():
                hooks.package.log("error", "who connects anew met this", error)

    def lost(_failure: Failure) -> None:
        if not line.closed_here:
            try:
                pool.begin(follow)
            except RuntimeError:  # this interpreter ends, or the system has no more: who calls connects anew
                pass

    pool.attend(link)
    if line.retries:
        line.renewed = lambda following: _attend(pool, line, following)
        link.on_end(lost)


def _end(line: Line, pool: Pool | None) -> None:
    line.close()
    if pool is not None:
        pool.stop(1.0)


class Batch:
    """Calls that this thread starts are held back from ``__enter__`` to ``__exit__``."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> None:
        self._link.hold()

    def __exit__(self, *_raised: object) -> None:
        self._link.send_held()
