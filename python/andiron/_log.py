"""What nobody asked for and somebody should know, by the logger ``andiron``."""

from __future__ import annotations

import sys


def log(level: str, text: str, error: BaseException | None = None) -> None:
    """Logs it; ``logging`` is imported with the first. Where that fails, as without a descriptor to read it by, the text is printed: who logs has to go on."""
    try:
        import logging

        getattr(logging.getLogger("andiron"), level)("%s", text, exc_info=error)
    except Exception:  # of whatever handles it, too
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
