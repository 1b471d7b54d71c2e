"""A demonstration of a reader: who waits for a value is told, and shows it."""

from __future__ import annotations

import threading
from typing import Callable

import xbmcgui

import andiron

from . import texts
from .host import ID, log, own_file, text
from .video import ENTRY

_MILLISECONDS = 5000


class Notification:
    """Shows what is stored of the video that plays, until it is closed."""

    def __init__(self, connect: Callable[[], andiron.Hub]) -> None:
        self._hub = connect()
        self._thread = threading.Thread(target=self._wait, name="notification", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the wait, and its thread."""
        self._hub.close()
        self._thread.join()

    def _wait(self) -> None:
        try:
            with self._hub.store.author(ID).watch(ENTRY) as changes:
                for change in changes:
                    if change.entry is not None and change.entry.value is not None:
                        _show(change.entry.value)
        except andiron.Error as error:  # it is closed, or the store has gone, which the service sees as well
            log(f"the notification waits no more: {error}")


def _show(data: dict[str, object]) -> None:
    fps = data["fps"]
    told = text(
        texts.PLAYS,
        data["title"] or str(data["file"]).rpartition("/")[2],
        data["width"],
        data["height"],
        f"{fps:g}" if isinstance(fps, float) else fps,
        data["video_codec"],
    )
    log(f"notification: {told}")
    xbmcgui.Dialog().notification(text(texts.STATUS), told, own_file("resources", "icon.png"), _MILLISECONDS)
