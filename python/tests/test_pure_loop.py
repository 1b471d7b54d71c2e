"""What an event loop has of the pure engine, without a loop: which steps it makes, and when it is told to make one."""

import os
import select
import time

import pytest

import andiron
from andiron import _engine
from andiron._pure import codec, connection, hooks, loop, remote, server

hooks.install(_engine.hooks)

TOKEN = object()


@pytest.fixture
def address(home):
    running = server.serve(["loop"], {}, threads=1)
    yield "loop"
    running.stop()


@pytest.fixture
def drive(address):
    """Connects, and makes steps as a loop does until the handshake is done."""
    drivers = []

    def driven(**options):
        bell = loop.Bell()
        driver = loop.open(bell, TOKEN, address, **options)
        drivers.append(driver)
        make_steps(driver, driver.is_open)
        return bell, driver

    yield driven
    for driver in drivers:
        driver.close()


def make_steps(driver, until):
    """Makes steps when bytes come, until something is so; gives the tokens of what is there."""
    tokens = list(driver.step()[3])
    while not until():
        assert select.select([driver.fileno()], [], [], 60)[0], "nothing came"
        tokens += driver.step()[3]
    return tokens


def is_rung(bell):
    return bool(select.select([bell.fileno()], [], [], 0)[0])


def test_who_waits_for_a_call_has_its_token_when_the_answer_was_read(drive):
    bell, driver = drive()
    pending = driver.connection().root().method("names").start()
    mine = object()
    number = bell.attend(pending, mine)
    assert number
    assert make_steps(driver, lambda: pending.ready) == [mine]
    assert pending.result() == ["store"]
    assert bell.attend(pending, mine) == 0


def test_who_does_not_wait_any_more_has_no_token(drive):
    bell, driver = drive()
    pending = driver.connection().root().method("names").start()
    bell.forget(bell.attend(pending, object()))
    assert make_steps(driver, lambda: pending.ready) == []


def test_the_bell_rings_for_what_happens_between_two_steps(drive):
    bell, driver = drive()
    bell.rung()
    assert not is_rung(bell)
    pending = driver.connection().root().method("names").start()
    mine = object()
    bell.attend(pending, mine)
    pending.cancel()
    assert is_rung(bell)
    assert mine in bell.rung()
    assert not is_rung(bell)


def test_a_call_with_a_time_limit_has_a_step_made_that_looks_at_it(drive):
    bell, driver = drive()
    assert driver.step()[0] is None
    bell.rung()
    link = driver._steps.link
    waiting = remote.Waiting()
    until = time.monotonic() + 30
    link.call(waiting, 0, "names", codec.encode_arguments((), None), 0, until)
    assert is_rung(bell)
    assert bell.rung() == [TOKEN]
    assert link.next_timeout() == until


def test_a_loop_hears_that_a_connection_is_over_before_it_has_the_next(drive, address):
    _, driver = drive(retry=5)
    steps, lost = driver._steps, driver._steps.link
    lost.channel.sock.shutdown(2)
    steps.take_over(connection.reached(address, 5, None))
    until, _, over, _ = driver.step()
    assert (until, over, driver.fileno()) == (0.0, True, -1)
    _, _, over, _ = driver.step()
    assert not over
    assert driver.fileno() >= 0
    make_steps(driver, driver.is_open)
    assert steps.link is not lost


def test_what_was_closed_is_over_and_watches_nothing(drive):
    bell, driver = drive()
    pending = driver.connection().root().method("names").start()
    mine = object()
    bell.attend(pending, mine)
    number = driver.fileno()
    driver.close()
    assert driver.step() == (None, False, True, [mine])
    assert driver.fileno() == -1
    assert driver.ended() is None
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(number)
    with pytest.raises(andiron.UnavailableError, match="closed here"):
        driver.is_open()
    with pytest.raises(andiron.Error):
        pending.result()


def test_why_a_connection_is_over_is_told(drive):
    _, driver = drive()
    driver._steps.link.channel.sock.shutdown(2)
    assert driver.step()[2]
    assert isinstance(driver.ended(), andiron.Error)
