"""`IPCClient`, which finds what an `IPCServer` offers."""

from andiron.compat.ipc import IPCClient, IPCClientError, ObjectNotSerializableError

__all__ = ["IPCClient", "IPCClientError", "ObjectNotSerializableError"]
