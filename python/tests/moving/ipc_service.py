"""A service add-on, which offers what it knows to other add-ons."""

import xbmc

from andiron.compat.ipc import IPCServer  # was: from ipc.ipcserver import IPCServer


class Watched(object):
    def __init__(self):
        self.times = {}

    def mark(self, title, seconds):
        self.times[title] = seconds

    def seconds(self, title):
        return self.times[title]

    def titles(self):
        return sorted(self.times)

    def close(self):
        xbmc.log("closed after {0} titles".format(len(self.times)))


def main():
    server = IPCServer(expose_obj=Watched(), add_on_id="service.watched", serializer="pickle")
    try:
        server.start()
    except Exception as e:
        if hasattr(e, "message"):
            xbmc.log("Error starting server: {0}".format(e.message))
        return
    monitor = xbmc.Monitor()
    while not monitor.abortRequested():
        if monitor.waitForAbort(1):
            break
    server.stop()
    xbmc.log("running: {0}, shutdown: {1}".format(server.running, server.shutdown))


if __name__ == "__main__":
    main()
