"""Where the native engine works."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def number() -> int:
    """Of the interpreter that runs this; 0 is the main one."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from 3.13 on, and before
        try:
            current: Any = __import__(name).get_current()
        except ImportError:
            continue
        return int(current[0] if isinstance(current, tuple) else current)
    return 0


def check() -> None:
    """Refuses to go on where it must not be loaded. In a sub-interpreter it would hand out another interpreter's objects."""
    if number() != 0:
        raise ImportError(
            "the native engine of andiron works in the main interpreter of a process only, and this is a sub-interpreter: use it from another process"
        )
    if sys.version_info < (3, 10):
        raise ImportError("the native engine of andiron is for Python 3.10 and later")
