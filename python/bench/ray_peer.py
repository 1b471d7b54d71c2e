"""Ray: its objects, which are put once and never changed."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import ray

import harness

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(start: harness.Start) -> None:
    """Its processes are the client's."""
    harness.say_ready()
    harness.until_gone()


def client(start: harness.Start) -> harness.Client:
    """A driver, and the processes that it starts: on the other core."""
    if "RAY_USAGE_STATS_ENABLED" not in os.environ:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # It listens at whatever address the machine has. Here that has none.
        up = 'ip link set lo up && exec "$0" "$@"'
        alone = ["unshare", "--map-root-user", "--net", "sh", "-c", up, sys.executable, *sys.argv]
        os.execvp(alone[0], alone)
    os.sched_setaffinity(0, {1})
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=1 << 30,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    harness.run_on(start.core)
    return _Ray()


class _Ray(harness.Client):
    def operation(self, workload: str) -> Callable[[], object]:
        value: Any = harness.big() if workload in (harness.GET_BIG, harness.SET_BIG) else harness.SMALL
        if workload in (harness.SET, harness.SET_BIG):
            return lambda: ray.put(value)
        place = ray.put(value)
        return lambda: ray.get(place)

    def loop(self, workload: str) -> Callable[[int], object]:
        place = ray.put(harness.cached(workload))
        return harness.reading(lambda: ray.get(place))
