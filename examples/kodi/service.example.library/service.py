"""Offers a library to other add-ons, under the name `example.library`."""

import xbmc
from ipc.ipcserver import IPCServer

TITLES = ["Ash", "Embers", "The Hearth", "The Last Ember"]


class Library:
    """Any object will do: its public methods are what others call."""

    def search(self, text, found):
        """Calls `found` with each title that has this text in it. Returns how many there were."""
        titles = [title for title in TITLES if text.lower() in title.lower()]
        for title in titles:
            found(title)
        return len(titles)


server = IPCServer(Library(), name="example.library", port=None)  # a name, and no port that others might take
server.start()
xbmc.Monitor().waitForAbort()
server.stop()
