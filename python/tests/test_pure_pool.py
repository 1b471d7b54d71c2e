"""The loop of the engine in Python alone, where what it reads changes under it."""

import threading
import weakref

import pytest

import andiron
from andiron._pure import connection, pool, root, session, streams, target
from andiron._pure.line import ask
from andiron._pure.remote import Far
from andiron._pure.transport import channel

if andiron.engine != "pure":
    pytest.skip("about the pure engine", allow_module_level=True)


def link_of(end, initiator):
    link = connection.link_over(end, initiator, "user", None, 10.0, features=["names"])
    link.root = root.Directory(False).root_of(link)
    return link


@pytest.fixture
def loop():
    loop = pool.Pool()
    yield loop
    for link in loop.links():
        link.close()
    loop.stop(0.0)


def test_a_connection_that_has_the_number_of_one_that_ended_is_read(loop):
    near, far = channel.pair()
    before = link_of(far, False)
    loop.attend(before)
    loop.turn(0.0)
    number = before.channel_number
    # It ends, another gets its number, and only then the loop is told of the end.
    before.attendant = None
    before.close()
    spare = []
    while True:
        again, other = channel.pair()
        if other.fileno() == number:
            break
        if again.fileno() == number:
            again, other = other, again
            break
        spare.append((again, other))
    after = link_of(other, False)
    loop.attend(after)
    loop.wants(before)
    client = link_of(again, True)
    loop.turn(0.0)
    client.attendant = Turning(loop, client)
    client.wait_opened(10.0)
    assert ask(Far(client, 0), "names", ()) == []
    near.close()


class Turning:
    """Has the loop turn while its one client waits."""

    def __init__(self, loop, client):
        self.loop = loop
        self.client = client
        self.chains = {}

    def wants(self, link):
        pass

    def drives(self):
        return True

    def step(self, timeout):
        self.loop.turn(0.0)
        self.client.step(0.01)


def test_a_connection_that_is_closed_while_it_is_about_to_be_watched_is_no_defect(loop, monkeypatch):
    _near, far = channel.pair()
    link = link_of(far, False)
    register = loop._selector.register

    def too_late(*args):
        link.close()  # as another thread does
        return register(*args)

    monkeypatch.setattr(loop._selector, "register", too_late)
    loop.attend(link)
    loop.step(0.0)
    assert link.ended is not None
    assert not loop.links()


def test_what_was_dropped_is_told_though_nothing_else_is_sent():
    near, far = channel.pair()
    server, client = link_of(far, False), link_of(near, True)
    own = [target.Target(object(), {}, str)]
    client.root = target.Target(client, {"own": lambda: own[0]}, str)
    released = threading.Event()
    threads = pool.Pool(2)
    for link in (server, client):
        threads.attend(link)
    threads.start()
    client.wait_opened(10.0)
    held = ask(Far(server, 0), "own", ())
    assert client.objects.shown(held.far.id) is own[0]
    weakref.finalize(own.pop(), released.set)
    del held
    assert released.wait(60)
    client.close()
    threads.stop(1.0)


class Idle:
    """A connection that says nothing."""

    def stop_inflow(self, inflow):
        self.told = inflow

    def check_fork(self):
        pass


def test_items_that_come_behind_the_end_of_their_stream_are_dropped():
    inflow = streams.Inflow(Idle(), (True, 1))
    inflow.arrived(session.Payload(1, b"\x01"))
    inflow.close()
    inflow.arrived(session.Payload(1, b"\x02"))
    assert list(inflow) == []
    assert inflow.link.told is inflow


class Busy:
    """A connection with calls that nobody has taken."""

    jobs = ("one", "two")


def test_who_reads_looks_again_soon_while_a_thread_is_about_to_begin(monkeypatch):
    """Else a method that takes long, and began after the look, held up the next call of its connection for a second."""
    threads = pool.Pool(2)
    monkeypatch.setattr(threads, "begin", lambda run: None)
    first, second = Busy(), Busy()
    threads._have_run(first)
    assert threads._ought_to_hand_over()  # a thread is on its way
    run = threads._queue.popleft()
    assert threads._ought_to_hand_over()  # it is there
    run.job = "one"
    assert threads._ought_to_hand_over()  # and at the method
    threads._hand_over(first, threads._runs[first])
    threads._queue.popleft()
    assert not threads._ought_to_hand_over()  # both are
    threads._have_run(second)
    assert not threads._ought_to_hand_over()  # it waits until one of them is free
    threads._runs.clear()
    threads._queue.clear()
    threads.stop(0.0)
