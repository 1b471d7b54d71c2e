"""The engine, and what the package gives it.

An engine moves calls and values; it knows nothing of what users see. What it has is written down in ``docs/design.md``, "The engines of Python", and in ``_native.pyi``.
"""

from __future__ import annotations

import contextvars

from andiron import _errors, _log, _values
from andiron._choice import engine

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

Answer = engine.Answer
Bell = engine.Bell
Connection = engine.Connection
Context = engine.Context
Driver = engine.Driver
Feed = engine.Feed
Inflow = engine.Inflow
Later = engine.Later
Memory = engine.Memory
Method = engine.Method
Outflow = engine.Outflow
Pending = engine.Pending
Remote = engine.Remote
Room = engine.Room
Running = engine.Running
Target = engine.Target
Watch = engine.Watch
StoreEngine = engine.Store

connect = engine.connect
open_for_loop = engine.open
current = engine.current
serve = engine.serve
encode = engine.encode
decode = engine.decode
encode_stored = engine.encode_stored
freeze = engine.freeze
check = engine.check
use_options = engine.use_options

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
    engine.install(hooks)
