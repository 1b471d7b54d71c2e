"""The engine, and what the package gives it.

An engine moves calls and values; it knows nothing of what users see. What it has is written down in ``docs/design.md``, "The engines of Python", and in ``_native.pyi``.
"""

from __future__ import annotations

import contextvars

# In this order: where the engine cannot be loaded, the second one says so.
from andiron import _errors, _interpreter, _log, _native, _values  # noqa: F401
from andiron._native import (
    Answer,
    Bell,
    Connection,
    Context,
    Driver,
    Feed,
    Inflow,
    Later,
    Memory,
    Method,
    Outflow,
    Pending,
    Remote,
    Room,
    Running,
    Target,
    Watch,
)
from andiron._native import Store as StoreEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "Answer",
    "Bell",
    "Connection",
    "Context",
    "Driver",
    "Feed",
    "Inflow",
    "Later",
    "Memory",
    "Method",
    "Outflow",
    "Pending",
    "Remote",
    "Room",
    "Running",
    "StoreEngine",
    "Target",
    "Watch",
    "annotated",
    "check",
    "connect",
    "current",
    "deadline",
    "decode",
    "encode",
    "encode_stored",
    "freeze",
    "hooks",
    "open_for_loop",
    "running",
    "serve",
    "use_options",
]

connect = _native.connect
open_for_loop = _native.open
current = _native.current
serve = _native.serve
encode = _native.encode
decode = _native.decode
encode_stored = _native.encode_stored
freeze = _native.freeze
check = _native.check
use_options = _native.use_options

#: Until when, by `time.monotonic`, the calls that are made now may take.
deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("andiron.deadline", default=None)

#: The call whose ``async def`` method the present task runs.
running: contextvars.ContextVar[RunningCall | None] = contextvars.ContextVar("andiron.running", default=None)


class RunningCall:
    """A call that is handled in a task, until it is answered: then what the task began goes on for itself."""

    __slots__ = ("context",)

    def __init__(self, context: Context | None) -> None:
        self.context = context


#: What calls that are made now say beside their arguments: an encoded map.
annotated: contextvars.ContextVar[bytes | None] = contextvars.ContextVar("andiron.annotations", default=None)


class _Hooks:
    """What an engine calls. The modules of proxies and of exposed objects put theirs here."""

    restore = staticmethod(_values.restore)
    foreign = staticmethod(_values.foreign)
    unreadable = staticmethod(_errors.unreadable)
    failure = staticmethod(_errors.failure)
    error = staticmethod(_errors.failed)
    log = staticmethod(_log.log)
    deadline = deadline
    annotations = annotated
    coroutine: Callable[[Any, Answer], None]
    reduce: Callable[[Any], Any]
    proxy: Callable[[Remote], Any]
    stream: Callable[[Inflow], Any]


hooks = _Hooks()


def install() -> None:
    """Gives the engine the hooks."""
    _native.install(hooks)
