"""The service: it hears what the script has said."""

import xbmc
import xbmcgui

import andiron
from andiron.compat.ipcdatastore import IPCClientX


def hear(store):
    """Follows the lamp until the store goes: first what was said last, also before the start of Kodi, and then what is said from now on."""
    with store.hub.store.author("script.example.lamp").watch("lamp") as changes:
        for change in changes:
            said = "off" if change.entry is None else change.entry.value
            xbmcgui.Window(10000).setProperty("example.lamp", said)


def run():
    """Until Kodi ends."""
    monitor = xbmc.Monitor()
    store = IPCClientX(addon_id="service.ipcdatastore")
    store.raise_exception = True
    while not monitor.abortRequested():
        try:
            hear(store)
        except andiron.CancelledError:
            return  # Kodi ends, and with it every wait
        except andiron.Error as error:
            xbmc.log(f"The lamp waits for the store: {error}", xbmc.LOGINFO)
        monitor.waitForAbort(1)
