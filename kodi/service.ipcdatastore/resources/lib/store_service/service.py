"""What runs from the start of Kodi until its end: it has the store, and says how it is."""

from __future__ import annotations

import time
import traceback
from typing import Any

import xbmc

import andiron
from andiron.compat import _shared
from andiron.compat.ipcdatastore import IPCClientX

from . import selftest, texts, ways
from .host import ID, Settings, folder, log, settings, tell, text
from .notification import Notification
from .video import ENTRY, Video

#: Seconds between two looks at what is to be done.
_SLICE = 0.25
#: Seconds between two looks whether the store should be begun anew.
_LOOK = 3.0
#: Seconds until what failed is tried again: the first pause, and the longest.
_PAUSES = 1.0, 30.0
#: Seconds that the store may take to answer this service.
_ANSWER = 5.0


def run() -> None:
    """Runs until Kodi ends this."""
    monitor = Monitor()
    service = Service(monitor)
    try:
        while not monitor.abortRequested():
            try:
                service.turn()
            except andiron.CancelledError:
                break  # Kodi ends
            except Exception:  # whatever it is, the next turn may be better
                log(traceback.format_exc(), xbmc.LOGERROR)
            if monitor.waitForAbort(_SLICE):
                break
    finally:
        service.close()
        log("the service has ended")


class Monitor(xbmc.Monitor):
    """Hears of settings that have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = True

    def onSettingsChanged(self) -> None:  # noqa: N802 - Kodi calls it so
        """Hears that some have."""
        self.changed = True


class Service:
    """The store, the demonstrations, and what the settings page tells of them."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._settings: Settings | None = None
        self._way: ways.Way | None = None
        self._notification: Notification | None = None
        self._client: IPCClientX | None = None
        self._video = Video(self._store_video, self._video_is_wanted)
        self._pause = _PAUSES[0]
        self._try_at = 0.0
        self._look_at = 0.0

    def turn(self) -> None:
        """Does what is to be done now."""
        if self._monitor.changed:
            self._monitor.changed = False
            self._take(settings())
        now = time.monotonic()
        way, trouble = self._way, None
        if way is not None and not way.is_open():
            trouble = "it has gone"
        elif way is not None and now >= self._look_at:
            trouble = way.trouble()
            self._look_at = time.monotonic() + _LOOK
        if trouble is not None:
            log(f"the store is begun anew: {trouble}", xbmc.LOGWARNING)
            self._leave()
        if self._way is None and self._settings.serve and now >= self._try_at:
            self._begin(self._settings)
        self._video.turn()

    def close(self) -> None:
        """Ends all of it."""
        self._leave()

    def _take(self, new: Settings) -> None:
        """Does what these settings ask for, and the ones before did not."""
        old, self._settings = self._settings, new
        if old is None or old._replace(video=new.video, shown=new.shown) != new:
            self._leave()
            self._pause, self._try_at = _PAUSES[0], 0.0
            if not new.serve:
                log(text(texts.IS_OFF))
                self._tell(text(texts.IS_OFF))
        elif self._way is not None:
            if old.video != new.video:
                (self._video.begin if new.video else self._video.end)()
            self._show_or_not()

    def _begin(self, given: Settings) -> None:
        self._tell(text(texts.BEGINS))
        begun = time.monotonic()
        try:
            self._way = way = ways.opened(given, folder("store"), self._monitor.waitForAbort)
        except andiron.CancelledError:
            raise
        except Exception as error:  # whatever is in the way of it
            self._pause, pause = min(2 * self._pause, _PAUSES[1]), self._pause
            self._try_at = time.monotonic() + pause
            said = str(error).replace("secret=", text(texts.SECRET))  # as the page calls it
            why = f"{said}. {text(texts.AGAIN, int(pause))}"
            log(f"{text(texts.IS_NOT)}: {why}", xbmc.LOGERROR)
            self._tell(text(texts.IS_NOT), why)
            return
        self._pause = _PAUSES[0]
        uri = _shared.uri_of(given.place())
        log(f"the store is at {uri} after {time.monotonic() - begun:.3f} s. {way.what}: {way.why}")
        self._client = IPCClientX(addon_id=ID)
        self._client.raise_exception = True
        self._client.timeout = _ANSWER
        self._tell(way.what, way.why, uri, self._test(self._client))
        self._show_or_not()
        self._video.begin_anew()

    def _test(self, client: IPCClientX) -> str:
        """How the self-test went."""
        try:
            said = text(texts.TESTED, f"{selftest.short(client):.1f}")
        except andiron.CancelledError:
            raise
        except Exception as error:  # whatever it is, it is what the test found
            said = text(texts.TEST_FAILED, error)
            log(said, xbmc.LOGERROR)
        else:
            log(said)
        return said

    def _leave(self) -> None:
        """Ends the store, and what uses it."""
        notification, self._notification = self._notification, None
        client, self._client = self._client, None
        way, self._way = self._way, None
        for one in (notification, client, way):
            if one is not None:
                try:
                    one.close()
                except Exception:  # the others are to end all the same
                    log(traceback.format_exc(), xbmc.LOGERROR)

    def _show_or_not(self) -> None:
        """Has notifications where they are wanted."""
        wanted = self._settings.video and self._settings.shown and self._way is not None
        if wanted and self._notification is None and self._way is not None:
            self._notification = Notification(self._way.connect)
        elif not wanted and self._notification is not None:
            self._notification.close()
            self._notification = None

    def _video_is_wanted(self) -> bool:
        return self._settings is not None and self._settings.video and self._client is not None

    def _store_video(self, data: dict[str, Any] | None) -> None:
        if self._client is None:
            return  # there is no store now
        try:
            self._client.set(ENTRY, data, author=ID)
        except Exception as error:  # there is another video, and another store
            log(f"what plays is not stored: {error}", xbmc.LOGWARNING)

    def _tell(self, status: str, why: str = "", where: str = "", tested: str = "") -> None:
        """Has the settings page tell this."""
        tell(status=status, why=why, at=where, test=tested)
