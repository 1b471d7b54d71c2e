"""A client as that of `kaa.beacon`: it connects as soon as there is a server, and again when that went."""

from andiron.compat import kaa_rpc as kaa


class Client(object):
    def __init__(self):
        self.channel = kaa.rpc.connect("beacon", retry=0.1)
        self.channel.register(self)
        self.channel.signals["closed"].connect(self.disconnected)

    def disconnected(self):
        print("server went")

    @kaa.rpc.expose("connect")
    @kaa.coroutine()
    def connected(self, number, version):
        print("client", number, "of", version)
        length = yield self.channel.rpc("monitor.add", 1, {"type": "video"})
        self.channel.rpc("item.update", type="audio", name="song")
        self.channel.rpc("item.update", type="video", name="film", parts=length)

    @kaa.rpc.expose("notify")
    def notify(self, monitor, what, item):
        print("monitor", monitor, what, sorted(item.items()))


client = Client()
kaa.main.run()
