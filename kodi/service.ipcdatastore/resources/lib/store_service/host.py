"""What this add-on has of Kodi: its log, its texts, its settings and its folder. Other modules ask Kodi for these here alone."""

from __future__ import annotations

import os
from typing import NamedTuple

import xbmc
import xbmcaddon
import xbmcgui
import xbmcvfs

from andiron.compat import _shared

ID = "service.ipcdatastore"

#: The window that is always there.
_HOME = 10000

#: The values of the setting `way`.
AUTOMATIC, PROGRAM, RUNNING, INSIDE = range(4)


class Settings(NamedTuple):
    """The settings as they were at one moment."""

    name: str
    host: str
    port: int
    #: The text of a secret, or the path of its file; `None` for none.
    secret: str | None
    serve: bool
    persistence: bool
    way: int
    #: The path of a program; empty for none.
    program: str
    video: bool
    shown: bool

    def place(self) -> _shared.Place:
        """Where the store is."""
        return _shared.checked(_shared.Place(self.name, self.host, self.port, self.secret))

    def is_here(self) -> bool:
        """Whether the store is on this machine."""
        return _shared.is_this_machine(self.host) or self.host in ("0.0.0.0", "::")


def settings() -> Settings:
    """The settings as they are now."""
    addon = xbmcaddon.Addon(ID)  # which has them as they were when it was made
    return Settings(
        name=addon.getSetting("data_name") or "kodi-IPC",
        host=addon.getSetting("host").strip() or "localhost",
        port=addon.getSettingInt("port"),
        secret=addon.getSetting("secret").strip() or None,
        serve=addon.getSettingBool("startserver"),
        persistence=addon.getSettingBool("persistence"),
        way=addon.getSettingInt("way"),
        program=addon.getSetting("program"),
        video=addon.getSettingBool("servevideo"),
        shown=addon.getSettingBool("showdata"),
    )


def tell(**told: str) -> None:
    """Says what the settings page shows. It is no setting, since whoever writes one writes all of them, also those that a user changes just then."""
    window = xbmcgui.Window(_HOME)
    for name, said in told.items():
        window.setProperty(f"{ID}.{name}", said)


def told(name: str) -> str:
    """What was said last, by this interpreter or another one."""
    said: str = xbmcgui.Window(_HOME).getProperty(f"{ID}.{name}")
    return said


def text(number: int, *parts: object) -> str:
    """A text in the language of the user, with these parts in it."""
    found: str = xbmcaddon.Addon(ID).getLocalizedString(number)
    return found.format(*parts)


def log(said: str, level: int = xbmc.LOGINFO) -> None:
    """Says something in the log of Kodi."""
    xbmc.log(f"{ID}: {said}", level)


def folder(*names: str) -> str:
    """A folder of the user's profile that is this add-on's own. It is made where it is not there."""
    path = os.path.join(xbmcvfs.translatePath(xbmcaddon.Addon(ID).getAddonInfo("profile")), *names)
    os.makedirs(path, exist_ok=True)
    return path


def own_file(*names: str) -> str:
    """The path of a file that came with this add-on."""
    return os.path.join(xbmcvfs.translatePath(xbmcaddon.Addon(ID).getAddonInfo("path")), *names)
