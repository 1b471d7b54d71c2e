"""The server of the documentation of `kaa.rpc`: it offers functions, and calls each client that comes. Before, its import was `import kaa, kaa.rpc`."""

from andiron.compat import kaa_rpc as kaa


class MyClass(object):
    @kaa.rpc.expose("do_something")
    def my_function(self, foo):
        return foo + 1

    @kaa.rpc.expose()
    def name(self):
        return "server"

    @kaa.rpc.expose("file.open")
    def open(self, path):
        return open(path).read()

    @kaa.rpc.expose("shutdown")
    def quit(self):
        kaa.main.stop()


def connected(client):
    print("client connected")
    client.signals["disconnected"].connect(disconnected)
    client.rpc("greet", "hello").connect(answered, "greet")


def disconnected():
    print("client disconnected")


def answered(result, command):
    print(command, "gave", result)


server = kaa.rpc.Server("test", "secret")
server.signals["client_connected"].connect(connected)
server.connect(MyClass())
print("ready")
kaa.main.run()
