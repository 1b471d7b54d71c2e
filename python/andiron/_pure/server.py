"""A server of this process: its places, those who come, the names of their objects, and a store.

Locking rule: `Site._lock` guards who is connected, and nothing else is locked, called or dropped under it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from time import monotonic

from andiron import _host
from andiron._pure import hooks
from andiron._pure.connection import TIMEOUT, Connection, link_over
from andiron._pure.failure import Failure
from andiron._pure.line import Line
from andiron._pure.root import Directory
from andiron._pure.session.budget import Budget
from andiron._pure.session.wire import OVERLOADED, SHUTTING_DOWN
from andiron._pure.streams import Feed, Outflow
from andiron._pure.target import Target, current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from andiron._pure.link import Link
    from andiron._pure.loop import Bell, Driver
    from andiron._pure.transport import listener
    from andiron._pure.transport.secret import Rights

#: How long a server that stops waits for calls under way; and one whose host ends.
_DRAIN, _LAST = 5.0, 1.0
#: How many connections there may be; others are sent away as *overloaded*.
_MOST_CONNECTIONS = 16 << 10
#: So many connections over a network may be unopened at once; one more, and the oldest of them has to go. Whoever means to connect is through long before.
_MOST_GUESTS = 1024
#: Bytes of calls that are not finished, of all clients together.
_MOST_BYTES = 1 << 30
#: How many connections are accepted before other work gets its turn.
_ACCEPT_AT_ONCE = 16
#: The places are looked at this often.
_TICK = 1.0
#: So many seconds later than its time an entry may be told to be over.
_EXPIRY_SLACK = 0.001
#: The name of the object that is the store.
_STORE = "store"


def serve(
    addresses: Sequence[str],
    objects: dict[str, Target],
    *,
    state: str | None = None,
    usual_state: bool = False,
    secret_file: str | None = None,
    threads: int | None = None,
) -> Running:
    """Starts a server with a store at these addresses; without any its clients are in this process.

    ``state`` is the folder of persistent entries; ``usual_state``: the one that an ``andiron serve`` at the first address has. Without ``threads`` it serves while
    `Running.turn` runs, one call after the other.
    """
    from andiron._pure import keep
    from andiron._pure.transport import channel
    from andiron._pure.transport.address import parse

    try:
        if usual_state and addresses:
            first = parse(addresses[0])
            state = keep.state_folder(first.place) if first.kind == "name" else None
        return Running(Site(addresses, objects, state, secret_file, threads))
    except Failure as failure:
        raise failure.exception() from None
    except OSError as error:
        if not channel.is_exhausted(error):
            raise
        raise Failure("overloaded", f"the server cannot start: {error.strerror}").exception() from None


class Running:
    """A server that runs until it is stopped, or nobody has this any more."""

    __slots__ = ("__weakref__", "_site")

    def __init__(self, site: Site) -> None:
        self._site = site
        site.belong_to(self)

    def addresses(self) -> list[str]:
        """By which it is reached."""
        return self._site.addresses()

    def turn(self, seconds: float) -> bool:
        """Serves on this thread for so long at most; false at once where threads of its own do that."""
        return self._site.turn(seconds)

    def connect(self) -> Connection:
        """A connection within this process."""
        return self._site.connect()

    def open(self, bell: Bell, token: Any) -> Driver:
        """The same for a loop."""
        return self._site.open(bell, token)

    def stop(self) -> bool:
        """Takes no further calls, waits a while for those under way, and ends all connections. True if all were finished in time.

        In a forked child, whose parent the server belongs to, it does nothing.
        """
        return self._site.stop()


class Site:
    """What there is of a server, and what its threads have."""

    def __init__(
        self,
        addresses: Sequence[str],
        objects: dict[str, Target],
        state: str | None,
        secret_file: str | None,
        threads: int | None,
    ) -> None:
        # Only here, so that who serves nothing pays nothing for it.
        from andiron._pure import keep
        from andiron._pure.pool import Pool
        from andiron._pure.transport import listener

        self._process = os.getpid()
        self._lock = allocate_lock()
        self._links: set[Link] = set()
        #: Of those who may not do everything.
        self._rights: dict[Link, Rights] = {}
        #: Those over a network that are not open yet, the oldest first.
        self._guests: dict[Link, None] = {}
        self._complaints = listener.Complaints()
        self._budget = Budget(_MOST_BYTES)
        self._stopped = False
        #: Held until all connections have ended behind the stop.
        self._drained = allocate_lock()
        self._drained.acquire()
        #: Held by the thread that serves, where there are no others for it.
        self._turning = allocate_lock()
        self._directory = Directory(True)
        self._listeners: list[listener.Listener] = []
        self._pool = Pool(threads)
        self._pool.when_left = self.stop
        self._store: Any = None
        #: When what expires is to be taken out, the latest first.
        self._expiries: list[float] = []
        try:
            # The names first: once they are held, nobody else counts versions for them.
            for address in addresses:
                self._listeners += listener.listen(address, secret_file)
            self._store = keep.open_store(state)
            self._offer(objects)
            for one in self._listeners:
                self._directory.addresses.append(one.address)
                self._listen(one)
            self._pool.at(monotonic() + _TICK, self._tick)
            self._store.sooner = self._plan_expiry
            self._plan_expiry()
            if threads is not None:
                self._pool.start()
        except BaseException:
            for one in self._listeners:
                one.shut()
            self._pool.stop(0.0)
            if self._store is not None:
                self._store.close()
            raise

    def belong_to(self, owner: Running) -> None:
        """Has it stop when nobody has the owner any more."""
        self._pool.belong_to(owner, lambda: False, self.stop)

    # What is asked of `Running`.

    def addresses(self) -> list[str]:
        return [] if self._stopped else list(self._directory.addresses)

    def turn(self, seconds: float) -> bool:
        if self._pool.threads is not None:
            return False
        if self._turning.acquire(True, max(0.0, seconds)):
            try:
                self._pool.turn(seconds)
            finally:
                self._turning.release()
        return True

    def connect(self) -> Connection:
        try:
            near = self._inside()
            try:
                near.wait_opened(TIMEOUT)
            except BaseException:
                near.close()
                raise
        except Failure as failure:
            failure.throw("connect")
        connection = Connection(Line(near), None)
        if self._pool.threads is not None:
            # By threads of its own: a stream that a method takes must go on while the method occupies the server's.
            connection.attend(self._pool.threads)
        return connection

    def open(self, bell: Bell, token: Any) -> Driver:
        from andiron._pure import loop

        try:
            return loop.drive(bell, token, self._inside)
        except Failure as failure:
            failure.throw("connect")

    def stop(self) -> bool:
        if self._process != os.getpid():
            return True
        with self._lock:
            if self._stopped:
                return True
            self._stopped = True
            links = list(self._links)
            # The others are sent home, and that is not worth a complaint. Those whose end is about to be told of are.
            self._guests = {link: None for link in self._guests if link.ended is not None}
        self._leave()
        if not links:
            self._has_drained()
        for link in links:
            link.goodbye(SHUTTING_DOWN, "the server is shutting down")
        until = monotonic() + (_LAST if _host.ends() else _DRAIN)
        drained = self._drain(until)
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()
        self._pool.stop(max(0.0, until - monotonic()))
        self._directory.clear()
        self._store.close()
        return drained

    # Its end.

    def _leave(self) -> None:
        """Gives up its places, so that another server can have them."""

        def unlisten() -> None:
            for one in self._listeners:
                self._pool.unlisten(one.sock)
                one.shut()

        self._on_its_thread(unlisten)

    def _on_its_thread(self, function: Callable[[], None]) -> None:
        """Has this done by the thread that reads, where there is one."""
        if self._pool.threads is None or self._pool.drives():
            function()
            return
        done = allocate_lock()
        done.acquire()

        def do() -> None:
            try:
                function()
            finally:
                done.release()

        self._pool.at(0.0, do)
        done.acquire(True, _LAST)

    def _has_drained(self) -> None:
        """Nobody is connected any more. That is said twice where somebody came in the midst of the stop, and left."""
        try:
            self._drained.release()
        except RuntimeError:
            pass

    def _drain(self, until: float) -> bool:
        """Waits for the end of all connections; whether it came."""
        while True:
            if self._drained.acquire(False):
                return True
            left = until - monotonic()
            if left <= 0:
                return False
            serves = self._pool.threads is None and self._serves_shortly()
            if not serves and self._drained.acquire(True, min(left, _LAST)):
                return True

    def _serves_shortly(self) -> bool:
        """Serves on this thread for a moment. False where another one does so."""
        mine = self._pool.drives()
        if not mine and not self._turning.acquire(False):
            return False
        try:
            self._pool.turn_once(0.01)
        finally:
            if not mine:
                self._turning.release()
        return True

    # Its objects.

    def _offer(self, objects: dict[str, Target]) -> None:
        from andiron._pure import keep

        methods = keep.methods_of(self._store, Feed, Outflow, rights=self._rights_of_caller)
        store = Target(self._store, methods, _no_method)
        store.inline = True
        self._directory.add(_STORE, store)
        try:
            for name, target in objects.items():
                self._directory.add(name, target)
        except Failure as failure:
            failure.operation = "object"
            raise

    def _rights_of_caller(self) -> Rights | None:
        call = current()
        return None if call is None else self._rights.get(call.link)

    def _plan_expiry(self) -> None:
        """Has what expires next be taken out in time, so that who watches hears of it."""
        left = self._store.next_expiry()
        if left is None:
            return
        when = monotonic() + left
        with self._lock:
            # What is planned for before plans anew, so one plan is there for each time that is sooner than the others.
            if self._expiries and self._expiries[-1] <= when + _EXPIRY_SLACK:
                return
            self._expiries.append(when)
        self._pool.at(when, self._expire)

    def _expire(self) -> None:
        with self._lock:
            self._expiries.pop()
        self._store.expire()
        self._plan_expiry()

    # Those who come.

    def _listen(self, one: listener.Listener) -> None:
        self._pool.listen(one.sock, lambda: self._accept(one))

    def _accept(self, one: listener.Listener) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                guest = one.accept()
            except Failure as failure:  # noqa: PERF203 - it is that of one connection
                self._complaints.tell(one.address, failure.message)
            except OSError as error:
                if self._stopped:
                    return
                # The waiting client stays in the queue, and the socket readable: looking again at once would only spin.
                hooks.package.log("warning", f"{_cannot_accept(error)}; trying again in a second", None)
                self._pool.unlisten(one.sock)
                self._pool.at(monotonic() + _TICK, lambda: self._listen_again(one))
                return
            else:
                if guest is None:
                    return
                self._welcome(guest)

    def _listen_again(self, one: listener.Listener) -> None:
        if not self._stopped:
            self._listen(one)

    def _tick(self) -> None:
        """Looks after its places."""
        if self._stopped:
            return
        for one in self._listeners:
            before = one.sock
            if one.tick():
                self._pool.unlisten(before)
                before.close()
                self._listen(one)
        self._pool.at(monotonic() + _TICK, self._tick)

    def _welcome(self, guest: listener.Guest) -> Link:
        """The connection of one who came. The handshake is for whoever reads."""
        refuse = guest.refuse
        if len(self._links) >= _MOST_CONNECTIONS:
            text = f"the server has {_MOST_CONNECTIONS} connections and takes no more; try again later"
            refuse = OVERLOADED, text, Failure("overloaded", text)
        link = link_over(
            guest.channel,
            False,
            guest.auth,
            guest.binding,
            TIMEOUT,
            features=("names", "store"),
            store=self._store.incarnation,
            refuse=refuse,
            ended=guest.ended,
            budget=self._budget,
        )
        link.root = self._directory.root_of(link)
        with self._lock:
            self._links.add(link)
        link.on_end(lambda failure: self._gone(link, failure))
        if not guest.channel.is_local:
            link.on_open(lambda: self._proved(link, guest))
            self._let_in(link)
        self._pool.attend(link)
        if self._stopped:
            with self._lock:
                self._guests.pop(link, None)
            link.close()  # it stopped meanwhile, and may have closed the others before
        return link

    def _let_in(self, link: Link) -> None:
        """Lets one wait for its opening, and shows the oldest out where there are too many."""
        with self._lock:
            self._guests[link] = None
            oldest = next(iter(self._guests)) if len(self._guests) > _MOST_GUESTS else None
            if oldest is not None:
                del self._guests[oldest]
        if oldest is not None:
            text = "too many connections are being opened at once; try again"
            with oldest.lock:
                waits = oldest.session.turn_away(OVERLOADED, text, Failure("overloaded", text))
            if waits:
                oldest.step(0)  # mostly it has said all of it, and only nobody had the time to read
            oldest.goodbye(OVERLOADED, text)
            oldest.close()

    def _proved(self, link: Link, guest: listener.Guest) -> None:
        """A connection is open: what its peer proved in the handshake."""
        with self._lock:
            self._guests.pop(link, None)
        label = link.channel.label
        subject = link.channel.client_name()
        if subject is not None:
            label += f", certificate '{subject}'"
        index = link.session.proved_with()
        if index is not None and guest.secrets:
            proved = guest.secrets[index]
            if proved.name is not None:
                label += f", secret '{proved.name}'"
            if not proved.rights.are_full():
                self._rights[link] = link.root.value.rights = proved.rights
        link.channel.label = label

    def _gone(self, link: Link, failure: Failure) -> None:
        """A connection is over."""
        with self._lock:
            self._links.discard(link)
            refused = link in self._guests
            self._guests.pop(link, None)
            self._rights.pop(link, None)
            last = self._stopped and not self._links
        if refused:
            self._complaints.tell(link.label, failure.message)
        if last:
            self._has_drained()

    # Clients in this process.

    def _inside(self) -> Link:
        """The near end of a connection within this process."""
        if self._process != os.getpid():
            raise Failure(
                "unavailable",
                "this server was started before this process was forked and belongs to the parent; start another",
            )
        if self._stopped:
            raise Failure("unavailable", "the server has stopped; start another one")
        from andiron._pure.transport import channel, listener

        near, far = channel.pair()
        link = link_over(near, True, "user", None, TIMEOUT)
        link.directory = Directory(False)
        link.root = link.directory.root_of(link)
        self._welcome(listener.Guest(far))
        if self._pool.threads is None:
            link.attendant = _Beside(self, link)
        return link


class _Beside:
    """Who looks after the near end of a connection within this process, where nobody but the thread that waits there can serve."""

    def __init__(self, site: Site, near: Link) -> None:
        self._site = site
        self._near = near
        self._pool = site._pool
        #: It has to serve when a call of the chain runs, which it does not where it waits at the near end.
        self.chains: dict[int, Link] = {}
        self._pool.listen(near.channel, self._came)
        near.on_end(lambda _failure: self._pool.unlisten(near.channel_number))

    def wants(self, link: Link) -> None:
        """Its calls are run by who polls it, or waits for it."""

    def drives(self) -> bool:
        """Whether this thread serves, or could."""
        return self._pool.drives() or not self._site._turning.locked()

    def step(self, timeout: float) -> None:
        """Serves, and reads what the server said to that."""
        if self._pool.drives():
            self._pool.step(timeout)
        elif self._site._turning.acquire(False):
            try:
                self._pool.turn_once(timeout)
            finally:
                self._site._turning.release()
                self._near.step(0)
                self._near.wake(True)  # if this thread has what it waits for, another one serves on

    def _came(self) -> None:
        """Reads; and as the thread that waits for the calls that came may be deep in one of the server's own, they are run here."""
        self._near.step(0)
        self._near.run_chained()


def _no_method(name: str) -> Any:
    raise Failure("no method", f"`Store` has no method `{name}`")


def _cannot_accept(error: OSError) -> str:
    from andiron._pure.transport import channel

    if channel.is_exhausted(error):
        return f"cannot accept a connection, no descriptors or memory left ({error.strerror}): close connections or raise the limit (`ulimit -n`)"
    return f"cannot accept a connection: {error.strerror}"
