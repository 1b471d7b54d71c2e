"""A plugin, which tells the service what was watched and asks it again."""

import xbmc

from andiron.compat.ipc import IPCClient  # was: from ipc.ipcclient import IPCClient


def main():
    client = IPCClient(add_on_id="service.watched", datatype="pickle")
    if not client.server_available():
        xbmc.log("Server unavailable")
        return
    watched = client.get_exposed_object()
    watched.mark("Embers", 12.5)
    watched.mark("Ash", 3)
    del watched
    xbmc.log("{0}".format(client.get_exposed_object().titles()))
    try:
        client.get_exposed_object().seconds("Smoke")
    except KeyError:
        xbmc.log(client.get_traceback())


if __name__ == "__main__":
    main()
