"""``DataObjects``, by the name of the module that had it."""

from andiron.compat.ipcdatastore import DataObject, DataObjects

__all__ = ["DataObject", "DataObjects"]
