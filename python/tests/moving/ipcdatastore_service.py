"""The service add-on: it offers the store while Kodi runs, and sees whether that works."""

import os

import xbmc

from andiron.compat.ipc import IPCServer  # was: from ipc.ipcserver import IPCServer
from andiron.compat.ipcdatastore import (
    DataObjects,
    IPCClientX,
)  # was: of resources.lib.datastore, .ipcclientx

ADDON = "service.ipcdatastore"
server = None


def start_server():
    global server
    folder = xbmc.translatePath("special://masterprofile/addon_data/service.ipcdatastore")
    if not os.path.exists(folder):
        os.makedirs(folder)
    server = IPCServer(DataObjects(persist_dir=folder), add_on_id=ADDON)
    server.start()
    xbmc.log("ipcdatastore: server started at {0}".format(server.uri))


def see():
    client = IPCClientX(addon_id=ADDON)
    if not client.server_available():
        raise RuntimeError("the server does not answer")
    client.set("x", 20, persist=True)
    if client.get("x") != 20:
        raise ValueError("x is not 20")


def main():
    start_server()
    see()
    xbmc.log("ready")
    monitor = xbmc.Monitor()
    while not monitor.abortRequested():
        if monitor.waitForAbort(1):
            break
    server.stop()
    xbmc.log("ipcdatastore: server stopped")


if __name__ == "__main__":
    main()
