"""Takes away from Python what other systems do not have: with this folder in PYTHONPATH a process is as on Windows, or nearly, as far as Andiron can see.

No Unix sockets, no descriptors that are passed, no memory that is passed by reference, no locks of records.
"""

import ctypes
import gc
import os
import socket
import sys


def _take(cls, *names):
    """Methods of a class in C."""
    (members,) = (part for part in gc.get_referents(vars(cls)) if type(part) is dict)
    for name in names:
        members.pop(name, None)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


def _pair(*_arguments):
    """What `socket.socketpair` is where there are no Unix sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        while True:
            other, address = listener.accept()
            if address == one.getsockname():
                return one, other
            other.close()


import _socket  # noqa: E402

for module in (socket, _socket):
    for name in [
        name for name in vars(module) if name.startswith(("AF_UNIX", "SCM_", "SO_PEERCRED", "CMSG_"))
    ]:
        delattr(module, name)
_take(_socket.socket, "recvmsg", "recvmsg_into", "sendmsg", "sendmsg_afalg")
for name in ("send_fds", "recv_fds"):
    if hasattr(socket, name):
        delattr(socket, name)
socket.socketpair = _pair
for name in [name for name in vars(os) if name.startswith(("memfd_", "MFD_"))]:
    delattr(os, name)
sys.modules["fcntl"] = None
