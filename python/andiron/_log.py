"""What nobody asked for and somebody should know, by the logger ``andiron``."""

from __future__ import annotations


def log(level: str, text: str, error: BaseException | None = None) -> None:
    """Logs it; ``logging`` is imported with the first."""
    import logging

    getattr(logging.getLogger("andiron"), level)("%s", text, exc_info=error)
