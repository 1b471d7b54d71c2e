"""A dispatcher passes on what it does not read."""

from pyro_serving import serving


def main(pyro):
    @pyro.expose
    class Listener:
        def __init__(self):
            self.heard = []

        def process(self, blob):
            self.heard.append([blob.info, list(blob.deserialized())])

    @pyro.expose
    @pyro.behavior(instance_mode="single")
    class Dispatcher:
        def __init__(self):
            self.listeners = {}

        def register(self, topic, listener):
            self.listeners.setdefault(topic, []).append(listener)

        def process(self, blob):
            for listener in self.listeners.get(blob.info, []):
                listener._pyroClaimOwnership()
                listener.process(blob)

    listener = Listener()
    with pyro.Daemon() as daemon, pyro.Daemon() as own:
        uri = daemon.register(Dispatcher)
        own.register(listener)
        with serving(daemon, own), pyro.Proxy(uri) as dispatcher:
            dispatcher.register("topic", listener)
            dispatcher.process(pyro.SerializedBlob("topic", [1, "two", {"three": 3}]))
            dispatcher.process(pyro.SerializedBlob("nobody", ["never"]))
    return listener.heard


GIVES = [["topic", [1, "two", {"three": 3}]]]
