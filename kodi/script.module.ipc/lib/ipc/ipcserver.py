"""`IPCServer`, which offers an object."""

from andiron.compat.ipc import AddressInUseError, IPCServer, ObjectNotSerializableError

__all__ = ["AddressInUseError", "IPCServer", "ObjectNotSerializableError"]
