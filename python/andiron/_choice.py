"""Which engine moves the calls: the one in Rust, or the one in Python alone where that cannot be loaded or is not wanted (``ANDIRON_PURE=1``)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from andiron import _native

    engine = _native
    name: str


def native() -> tuple[Any, str]:
    """The engine in Rust, or `None` and why it cannot be loaded here."""
    from andiron import _interpreter

    try:
        _interpreter.check()
        import andiron._native
    except ImportError as error:
        return None, str(error)
    return andiron._native, ""


def _chosen() -> tuple[Any, str]:
    if os.environ.get("ANDIRON_PURE", "0") in ("", "0"):
        found, _ = native()
        if found is not None:
            return found, "native"
    from andiron import _pure

    return _pure, "pure"


if not TYPE_CHECKING:
    engine, name = _chosen()
