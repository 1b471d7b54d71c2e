"""Ray: its objects, which are put once and never changed."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import ray

import harness

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(start: harness.Start) -> None:
    """Starts its processes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    started: Any = ray.init(
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=1 << 30,
        logging_level=logging.ERROR,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    with open(start.path, "w") as file:
        file.write(started.address_info["gcs_address"])
    harness.say_ready()
    harness.until_gone()
    ray.shutdown()


def client(start: harness.Start) -> harness.Client:
    """A driver."""
    with open(start.path) as file:
        ray.init(address=file.read(), logging_level=logging.ERROR, log_to_driver=False)
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
