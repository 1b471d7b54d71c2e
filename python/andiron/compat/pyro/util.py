"""What Pyro4 had under this name."""

from __future__ import annotations

from andiron.compat.pyro.errors import excepthook, get_pyro_traceback
from andiron.compat.pyro.serializers import SerializerBase

__all__ = ["SerializerBase", "excepthook", "getPyroTraceback", "get_pyro_traceback"]

getPyroTraceback = get_pyro_traceback
