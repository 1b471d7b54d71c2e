"""redis by redis-py with hiredis, of the server that the system has, with and without the cache of its client. Values are pickled."""

from __future__ import annotations

import os
import pickle
import subprocess
import time
from typing import TYPE_CHECKING, Any

import hiredis  # noqa: F401 - redis-py takes it where it is there
import redis
from redis.cache import CacheConfig

import harness

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(start: harness.Start) -> None:
    """Starts the server."""
    path = start.path
    try:
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", path],
            stdout=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        print("redis-server is not installed (apt-get install redis-server)", flush=True)
        return
    while not os.path.exists(path) and server.poll() is None:
        time.sleep(0.01)
    harness.say_ready()
    harness.until_gone()
    server.kill()
    server.wait()


def client(start: harness.Start) -> harness.Client:
    """Who has connections to it."""
    caches: dict[str, Any] = (
        {"protocol": 3, "cache_config": CacheConfig()} if start.peer == "redis-py-cache" else {}
    )
    return _Redis(
        redis.Redis(unix_socket_path=start.path, **caches), redis.Redis(unix_socket_path=start.path)
    )


class _Redis(harness.Client):
    def __init__(self, connection: Any, writer: Any) -> None:
        self._redis = connection
        self._writer = writer
        self._changes = False

    def prepare(self) -> None:
        if self._changes:
            self._writer.set(harness.NAME, pickle.dumps(harness.SMALL, -1))

    def operation(self, workload: str) -> Callable[[], object]:
        if workload == harness.CALL:
            return lambda: self._redis.echo(b"12")
        if workload in (harness.GET_BIG, harness.SET_BIG):
            return self._big(workload)
        self._set(harness.SMALL)
        harness.expect(self._get(), harness.SMALL)
        self._changes = workload == harness.CHANGED_GET
        return (lambda: self._set(harness.SMALL)) if workload == harness.SET else self._get

    def _big(self, workload: str) -> Callable[[], object]:
        import numpy

        array = harness.big()
        self._redis.set(harness.NAME, array.data.cast("B"))
        if workload == harness.SET_BIG:
            return lambda: self._redis.set(harness.NAME, array.data.cast("B"))

        def get() -> Any:
            return numpy.frombuffer(self._redis.get(harness.NAME), dtype=numpy.int64)

        harness.expect_big(get())
        return get

    def _get(self) -> Any:
        return pickle.loads(self._redis.get(harness.NAME))

    def _set(self, value: Any) -> None:
        self._redis.set(harness.NAME, pickle.dumps(value, -1))

    def loop(self, workload: str) -> Callable[[int], object]:
        if workload == harness.BATCHED:
            return harness.together(self._batch)
        self._set(harness.cached(workload))
        return harness.reading(self._get)

    def _batch(self, calls: int) -> None:
        batch = self._redis.pipeline(transaction=False)
        for _ in range(calls):
            batch.echo(b"12")
        harness.expect(len(batch.execute()), calls)
