"""Calls that wait because the other end does not read the answers to those before them: else whoever asks on and on would have this end keep all the answers."""

from __future__ import annotations

from _collections import deque

from andiron._pure.target import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from andiron._pure.link import Link


class Held:
    """Those of one connection."""

    __slots__ = ("_inline", "_link", "_others", "_runs")

    def __init__(self, link: Link) -> None:
        self._link = link
        #: For who reads, in the order in which they came.
        self._inline: deque[Call] = deque()
        #: Whether somebody runs these, or will.
        self._runs = False
        self._others: list[Call] = []

    def run(self, call: Call) -> None:
        """Runs a call that is for who reads, or has it wait. Not under the lock."""
        link = self._link
        if self._inline or link.session.is_congested:
            with link.lock:
                if link.ended is None and (self._inline or link.session.is_congested):
                    self._inline.append(call)
                    link._stuck = True
                    return
        call.object.run(call)

    def hold(self, jobs: deque[Any]) -> None:
        """Has the calls among these wait. Under the lock."""
        self._others += [job for job in jobs if type(job) is Call]
        self._link._stuck = True
        rest = [job for job in jobs if type(job) is not Call]
        jobs.clear()
        jobs.extend(rest)

    def go_on(self) -> bool:
        """The other end has read. Whether there are still some that wait. Under the lock."""
        link = self._link
        if self._others:
            link.jobs.extendleft(reversed(self._others))  # ahead of what came meanwhile
            self._others.clear()
            if link.attendant is not None:
                link.attendant.wants(link)
        if self._inline and not self._runs:
            self._runs = True
            link._undone.append((self._run_all, ()))
        return bool(self._inline)

    def _run_all(self) -> None:
        link = self._link
        try:
            while True:
                with link.lock:
                    if not self._inline or link.session.is_congested:
                        return
                    call = self._inline[0]
                try:
                    call.object.run(call)
                finally:
                    # Only now, so that none that comes meanwhile overtakes it.
                    with link.lock:
                        if self._inline and self._inline[0] is call:
                            self._inline.popleft()
        finally:
            self._runs = False

    def end(self) -> list[Call]:
        """Those that wait still, where the connection is over. Under the lock."""
        calls = [*self._inline, *self._others]
        self._inline.clear()
        self._others.clear()
        return calls
