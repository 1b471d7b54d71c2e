"""The small store of a server where no daemon can run: what is called is in `wire`, what is kept in `store`, and what outlives the server in `disk`."""

from __future__ import annotations

from andiron import _errors, _log
from andiron._pure.keep.limits import Limits
from andiron._pure.keep.store import Store
from andiron._pure.keep.wire import buffer, methods_of

__all__ = ["Limits", "Store", "buffer", "methods_of", "open_store", "state_folder"]

#: So many entries that cannot be read are named in the log.
_NAMED = 8


def open_store(
    folder: str | None = None, *, limits: Limits | None = None, durability: str = "relaxed"
) -> Store:
    """A store with what is kept in a folder, if one is given. ``durability``: what a persistent write survives where its caller does not say.

    Where this Python has no `sqlite3` the store keeps nothing, and what is to be kept is answered with why.
    """
    if folder is None:
        return Store(limits)
    try:
        from andiron._pure.keep.disk import Disk
    except ImportError as error:
        _log.log("warning", f"nothing is kept in {folder}, for this Python has no sqlite3: {error}")
        return Store(
            limits,
            unkept="this daemon keeps nothing beyond its life, for its Python has no module sqlite3: use one that has it",
        )
    try:
        disk = Disk(folder)
    except _errors.Error as error:
        raise type(error)(f"the persistent entries cannot be had: {error.message}") from error
    from andiron._pure.keep.archive import put_of

    store = Store(limits, disk, durability)
    wall = store.wall()
    try:
        disk.load(lambda record: store.load(put_of(record, True, wall), record.version))
    except BaseException as error:
        disk.close()
        if isinstance(error, _errors.Error):
            raise type(error)(f"the persistent entries cannot be read: {error.message}") from error
        raise
    for at, ((author, name), why) in enumerate(disk.unreadable.items()):
        if at == _NAMED:
            _log.log("warning", f"nor can {len(disk.unreadable) - _NAMED} others")
            break
        _log.log(
            "warning",
            f'the entry "{name[:64]}" of "{author[:64]}" cannot be read and is left as it is until it is set again or deleted: {why}',
        )
    store.loaded(disk.unreadable)
    return store


def state_folder(name: str) -> str:
    """Where a server of this name keeps its persistent entries where nobody says: ``andiron/NAME`` in ``XDG_STATE_HOME`` or ``~/.local/state``."""
    import os

    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        home = os.environ.get("HOME", "") or os.environ.get("USERPROFILE", "")
        state = os.path.join(home, ".local", "state")
        if not os.path.isabs(home):
            raise _errors.UnavailableError(
                "neither XDG_STATE_HOME nor HOME says where this user's programs keep their state: set one of them to a folder"
            )
    return os.path.join(state, "andiron", name)
