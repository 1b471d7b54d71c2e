"""Looking again and again before one sleeps."""

from __future__ import annotations

import pytest

from andiron._pure.transport import eager


@pytest.fixture(name="looks")
def _looks(monkeypatch):
    """A clock that goes on by a microsecond with each look, and how often was looked, of which the one with this number finds something."""

    class Looks:
        now = 0.0
        count = 0
        found_at = 0

        def __call__(self, timeout):
            assert timeout == 0
            self.count += 1
            self.now += 1e-6
            return ["something"] if self.count == self.found_at else []

        def until(self, who, number):
            """How often was looked where the look with this number finds something, and what was found."""
            self.count, self.found_at = 0, number
            return who.look(self), self.count

    looks = Looks()
    monkeypatch.setattr(eager, "perf_counter", lambda: looks.now)
    return looks


def test_what_comes_soon_is_found_without_sleep(looks):
    who = eager.Eager()
    assert looks.until(who, 1) == (["something"], 1)
    assert looks.until(who, 30) == (["something"], 30)


def test_what_does_not_come_is_looked_for_ever_shorter_and_then_not_at_all_for_a_while(looks):
    who = eager.Eager()
    counts = []
    while True:
        found, count = looks.until(who, 0)
        assert not found
        if not count:
            break
        counts.append(count)
    assert counts == sorted(counts, reverse=True)
    assert 45 <= counts[0] <= 55
    assert sum(counts) < 110
    rests = 1
    while not looks.until(who, 0)[1]:
        rests += 1
    assert rests == 64


def test_one_success_makes_it_as_eager_as_before(looks):
    who = eager.Eager()
    assert looks.until(who, 0)[1] > 40
    assert looks.until(who, 20) == (["something"], 20)
    assert looks.until(who, 45) == (["something"], 45)
