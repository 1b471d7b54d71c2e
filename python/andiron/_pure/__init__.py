"""The engine in Python alone, for where the native one cannot be loaded. What it has is what ``_native.pyi`` says."""

from __future__ import annotations

from andiron._pure.codec import check, decode, encode, encode_stored
from andiron._pure.connection import Batch, Connection, connect
from andiron._pure.failure import KINDS
from andiron._pure.hooks import install
from andiron._pure.loop import Bell, Driver, open  # noqa: A004 - it is used by its module's name
from andiron._pure.memory import Memory, Room, freeze
from andiron._pure.pending import Pending
from andiron._pure.remote import Method, Remote
from andiron._pure.server import Running, serve
from andiron._pure.store import Entries, Store, Watch
from andiron._pure.streams import Feed, Inflow, Outflow
from andiron._pure.target import Answer, Later, Target, current, use_options
from andiron._pure.target import Call as Context

__all__ = [
    "KINDS",
    "Answer",
    "Batch",
    "Bell",
    "Connection",
    "Context",
    "Driver",
    "Entries",
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
    "Store",
    "Target",
    "Watch",
    "check",
    "connect",
    "current",
    "decode",
    "encode",
    "encode_stored",
    "freeze",
    "install",
    "open",
    "serve",
    "use_options",
]
