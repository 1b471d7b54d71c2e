"""The server of two: offers an object by name until it is asked to end."""

import sys

import Pyro5.api


@Pyro5.api.expose
@Pyro5.api.behavior(instance_mode="single")
class Warehouse:
    def __init__(self):
        self.contents = ["chair", "bike"]

    def list_contents(self):
        return self.contents

    def store(self, name, item):
        self.contents.append(item)
        return f"{name} stored the {item}"

    @Pyro5.api.oneway
    def end(self):
        self._pyroDaemon.shutdown()


Pyro5.config.NS_PORT = int(sys.argv[1])
Pyro5.api.serve({Warehouse: "example.warehouse"}, use_ns=True, verbose=True)
print("ended")
