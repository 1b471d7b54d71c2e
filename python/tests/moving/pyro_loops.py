"""A daemon that ends by a condition, and one that a method of its own ends."""

import threading


def main(pyro):
    class Thing:
        asked = 0

        def __init__(self, daemon):
            self.daemon = daemon

        @pyro.expose
        def ping(self):
            Thing.asked += 1
            return Thing.asked

        @pyro.expose
        @pyro.oneway
        def stop(self):
            self.daemon.shutdown()

    said = []
    before = pyro.config.POLLTIMEOUT
    pyro.config.POLLTIMEOUT = 0.1
    for server_type in ("thread", "multiplex"):
        pyro.config.SERVERTYPE = server_type
        Thing.asked = 0
        with pyro.Daemon() as daemon:
            uri = daemon.register(Thing(daemon))
            loop = threading.Thread(
                target=daemon.requestLoop, kwargs={"loopCondition": lambda: Thing.asked < 2}
            )
            loop.start()
            with pyro.Proxy(uri) as thing:
                said += [thing.ping(), thing.ping()]
            loop.join(60)
            said.append(loop.is_alive())
        with pyro.Daemon() as daemon:
            uri = daemon.register(Thing(daemon))
            loop = threading.Thread(target=daemon.requestLoop)
            loop.start()
            with pyro.Proxy(uri) as thing:
                thing.stop()
            loop.join(60)
            said.append(loop.is_alive())
    pyro.config.SERVERTYPE = "thread"
    pyro.config.POLLTIMEOUT = before
    return said


GIVES = [1, 2, False, False, 1, 2, False, False]
