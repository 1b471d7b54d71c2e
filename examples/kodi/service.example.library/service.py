"""Offers a library to other add-ons, under the name `example.library`."""

import xbmc
from ipc.ipcserver import IPCServer
from resources.lib.library import Library

server = IPCServer(Library(), name="example.library", port=None)  # a name, and no port that others might take
server.start()
xbmc.Monitor().waitForAbort()
server.stop()
