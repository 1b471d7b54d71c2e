"""A proxy connects when it is used, may be released, and finds a daemon that was started anew."""

from pyro_serving import serving


def main(pyro):
    @pyro.expose
    class Thing:
        def ping(self):
            return "pong"

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Thing(), "thing")
        port = int(daemon.locationStr.rpartition(":")[2])
        thing = pyro.Proxy(uri)
        said.append(thing._pyroConnection)
        with serving(daemon):
            said += [thing._pyroBind(), thing._pyroBind(), thing.ping()]
            thing._pyroRelease()
            said += [thing._pyroConnection, thing.ping()]
            said.append(thing._pyroReconnect())
            said.append(thing.ping())
            thing._pyroRelease()
    try:
        thing.ping()
    except pyro.errors.CommunicationError:
        said.append("gone")
    with pyro.Daemon(port=port) as daemon:
        daemon.register(Thing(), "thing")
        with serving(daemon):
            thing._pyroReconnect(tries=3)
            said.append(thing.ping())
            thing._pyroRelease()
    return said


GIVES = [None, True, False, "pong", None, "pong", None, "pong", "gone", "pong"]
