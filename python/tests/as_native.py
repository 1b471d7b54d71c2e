"""Has the pure engine begin by itself the threads that the native one begins, for the tests that rely on them: they are about what both do.

Where Unix sockets were taken away (`without`), their paths are names. What the pure engine does where no threads are asked for is tested by `test_pure.py`, which uses `bare`.
"""

import contextlib
import socket

import andiron
from andiron import _engine

#: More than a test has calls that wait for each other.
_THREADS = 32

_serve, _connect = _engine.serve, _engine.connect


def _here(address):
    """Where there are no Unix sockets a name stands for the path of one."""
    path = address[5:] if address.startswith("unix:") else ""
    return address if not path or hasattr(socket, "AF_UNIX") else path[-60:].strip("/").replace("/", "-")


def _serve_by_threads(addresses, *args, threads=None, **options):
    return _serve(list(map(_here, addresses)), *args, threads=threads or _THREADS, **options)


def _connect_with_a_thread(address, *args, pump=None, **options):
    return _connect(_here(address), *args, pump=True if pump is None else pump, **options)


def apply():
    if andiron.engine == "pure":
        _engine.serve, _engine.connect = _serve_by_threads, _connect_with_a_thread


@contextlib.contextmanager
def bare():
    """The engine as it is by itself."""
    _engine.serve, _engine.connect = _serve, _connect
    try:
        yield
    finally:
        apply()


apply()
