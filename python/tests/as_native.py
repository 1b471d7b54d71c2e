"""Has the pure engine begin by itself the threads that the native one begins, for the tests that rely on them: they are about what both do.

Where Unix sockets were taken away (`without`), their paths are names. What the pure engine does where no threads are asked for is tested by `test_pure.py`, which uses `bare`.
"""

import contextlib
import socket

import andiron
from andiron import _engine

#: More than a test has calls that wait for each other.
_THREADS = 32

_serve, _connect, _open = _engine.serve, _engine.connect, _engine.open_for_loop


def _here(address):
    """Where there are no Unix sockets a name stands for the path of one."""
    path = address[5:] if address.startswith("unix:") else ""
    return address if not path or hasattr(socket, "AF_UNIX") else path[-60:].replace("/", "-").lstrip("-.")


#: Whether the threads begin.
_begin = True


def _serve_by_threads(addresses, *args, threads=None, **options):
    threads = threads or (_THREADS if _begin else None)
    return _serve(list(map(_here, addresses)), *args, threads=threads, **options)


def _connect_with_a_thread(address, *args, pump=None, **options):
    pump = pump if pump is not None or not _begin else True
    return _connect(_here(address), *args, pump=pump, **options)


def _open_here(bell, token, address, **options):
    return _open(bell, token, _here(address), **options)


@contextlib.contextmanager
def bare():
    """The engine as it is by itself."""
    global _begin
    _begin = False
    try:
        yield
    finally:
        _begin = True


if andiron.engine == "pure":
    _engine.serve, _engine.connect = _serve_by_threads, _connect_with_a_thread
    _engine.open_for_loop = _open_here
