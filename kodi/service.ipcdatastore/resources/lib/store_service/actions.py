"""What the buttons of the settings page do, each in a script of its own, as any other add-on would."""

from __future__ import annotations

import contextlib
import os
import time

import xbmc
import xbmcaddon
import xbmcgui

import andiron
from andiron.compat.ipcdatastore import IPCClientX, ServerUnavailableError

from . import selftest, texts
from .host import ID, folder, log, settings, text, told


def run(arguments: list[str]) -> None:
    """Does what is asked for."""
    actions = {"simple": _simple, "detailed": _detailed, "status": _status}
    actions.get(arguments[0] if arguments else "status", _status)()


def _simple() -> None:
    """Has the store that is in use keep a value, and says how that went."""
    client = IPCClientX(addon_id=ID)
    client.timeout = 5.0
    client.num_of_server_retries = 1  # who pressed the button waits
    try:
        said = text(texts.SIMPLE_PASSED, client.uri, f"{selftest.short(client):.1f}")
    except ServerUnavailableError as error:
        said = text(texts.SIMPLE_UNAVAILABLE, error)
    except Exception as error:  # whatever it is, who pressed the button wants to know
        said = text(texts.SIMPLE_FAILED, error)
    finally:
        client.close()
    log(said)
    xbmcgui.Dialog().ok(text(texts.SIMPLE_TEST), said)


def _detailed() -> None:
    """Runs the detailed tests, with their progress, and leaves a log file."""
    monitor = xbmc.Monitor()  # hears of nothing that was before it
    progress = xbmcgui.DialogProgress()
    progress.create(text(texts.DETAILED_TESTS), "")
    results = []
    cancelled = False
    try:
        with contextlib.closing(selftest.detailed(settings())) as tests:
            for done, title, result in tests:
                if result is not None:
                    results.append(result)
                progress.update(int(100 * done), title)
                cancelled = done < 1 and progress.iscanceled()
                if cancelled:
                    break
    finally:
        progress.close()
    if monitor.abortRequested():
        return  # what fails now fails because Kodi ends
    failed = [result for result in results if result.failure]
    if failed:
        said = text(texts.DETAILED_FAILED, len(failed), len(results), failed[0].title)
    elif cancelled:
        said = text(texts.DETAILED_CANCELLED, len(results))
    else:
        said = text(texts.DETAILED_PASSED, len(results))
    version = xbmcaddon.Addon(ID).getAddonInfo("version")
    lines = [f"{time.strftime('%Y-%m-%d %H:%M:%S')} {ID} {version}, engine {andiron.engine}", said, ""]
    lines += [result.lines() for result in results]
    where: object = xbmcaddon.Addon(ID).getAddonInfo("profile") + "selftest.log"
    try:
        with open(os.path.join(folder(), "selftest.log"), "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
    except OSError as error:  # no room for it, for example, which is what the tests found, too
        where = error
    log(said, xbmc.LOGERROR if failed else xbmc.LOGINFO)
    shown = [said, text(texts.LOG_FILE, where), "", *lines[3:]]
    xbmcgui.Dialog().textviewer(text(texts.DETAILED_TESTS), "[CR]".join(shown).replace("\n", "[CR]"))


def _status() -> None:
    """Shows what the settings page has too little room for."""
    lines = "[CR][CR]".join(filter(None, map(told, ("status", "at", "why", "test"))))
    xbmcgui.Dialog().textviewer(text(texts.STATUS), lines)
