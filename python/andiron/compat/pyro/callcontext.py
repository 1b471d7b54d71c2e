"""What Pyro5 had under this name."""

from __future__ import annotations

from andiron.compat.pyro.core import current_context

__all__ = ["current_context"]
