"""Calls whose answers are not read, in the engine of Python alone."""

import contextlib

import pytest

import andiron
from andiron._pure import codec, connection, pool, target
from andiron._pure.transport import channel
from sessions import Lone

if andiron.engine != "pure":
    pytest.skip("about the pure engine", allow_module_level=True)

CALLS, LENGTH = 500, 100_000


@pytest.mark.parametrize("inline", [True, False], ids=["of the store", "of a method"])
def test_who_asks_on_and_does_not_read_is_answered_no_further_until_he_reads(inline):
    near, far = channel.pair()
    loop = pool.Pool()
    link = connection.link_over(far, False, "user", None, 10.0)
    ran = []
    link.root = target.Target(ran, {"big": lambda number: ran.append(number) or bytes(LENGTH)}, None)
    link.root.inline = inline
    loop.attend(link)
    client = Lone(True)

    def exchange(reads):
        """Sends what is to be sent, lets the other end go on, and gives what happened."""
        rest = client.output()
        while True:
            with contextlib.suppress(BlockingIOError):
                rest = rest[near.send([rest], ()) :] if rest else rest
            loop.turn(0.0)
            with contextlib.suppress(BlockingIOError):
                while reads:
                    client.receive(near.recv()[0])
            if not rest:
                return client.events()

    events = exchange(True)
    while not events:
        events = exchange(True)
    assert events[0][0] == "opened"
    for number in range(CALLS):
        client.call("big", codec.encode_arguments((number,), {}).body, codec=1)
    for _ in range(2 * CALLS):
        exchange(False)
    assert 50 < len(ran) < 200, "about 8 MiB of answers wait"
    answers = []
    while len(answers) < CALLS:
        answers += [event for event in exchange(True) if event[0] == "answer"]
    assert ran == list(range(CALLS))
    assert all(failure is None for _, _, _, failure in answers)
    link.close()
    loop.stop(0.0)
    near.close()
