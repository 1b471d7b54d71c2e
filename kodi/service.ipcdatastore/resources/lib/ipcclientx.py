"""``IPCClientX``, by the name of the module that had it."""

from andiron.compat.ipcdatastore import IPCClientX

__all__ = ["IPCClientX"]
