"""A server as that of `kaa.beacon`: it tells each client that comes who it is, and those who monitor something what happens."""

import sys

from andiron.compat import kaa_rpc as kaa


class Server(object):
    def __init__(self, version):
        self.version = version
        self.clients = []
        self.next_client = 0
        self.ipc = kaa.rpc.Server("beacon")
        self.ipc.signals["client-connected"].connect(self.client_connect)
        self.ipc.register(self)

    def client_connect(self, client):
        client.signals["closed"].connect(self.client_disconnect, client)
        self.next_client += 1
        self.clients.append((self.next_client, client, []))
        client.rpc("connect", self.next_client, self.version)

    def client_disconnect(self, client):
        for number, known, monitors in self.clients[:]:
            if known == client:
                print("client", number, "went")
                self.clients.remove((number, known, monitors))

    @kaa.rpc.expose("monitor.add", add_client=True)
    def monitor_add(self, client, monitor, query):
        for _id, known, monitors in self.clients:
            if known == client:
                monitors.append((monitor, query))
        return len(query)

    @kaa.rpc.expose("item.update")
    def update(self, **item):
        for _id, client, monitors in self.clients:
            for monitor, query in monitors:
                if all(item.get(key) == value for key, value in query.items()):
                    client.rpc("notify", monitor, "changed", item)


server = Server(sys.argv[1])
print("ready")
kaa.main.run()
