"""Two servers in one program, told apart by name and port, and a client of each."""

import sys

from andiron.compat.ipc import IPCClient, IPCServer  # was: from ipc.ipcserver and ipc.ipcclient


class Counter(object):
    def __init__(self, start):
        self.count = start

    def add(self, number):
        self.count += number
        return self.count


def main(first, second):
    servers = [
        IPCServer(Counter(0), name="first", port=first),
        IPCServer(Counter(100), "", "second", "localhost", second, "json"),
    ]
    for server in servers:
        server.start()
    one = IPCClient(name="first", port=first).get_exposed_object()
    other = IPCClient("", "second", "localhost", second, "json").get_exposed_object()
    print(one.add(1), other.add(1), one.add(1), other.add(1))
    print(IPCClient(name="second", port=first).server_available())
    for server in servers:
        server.stop()
        server.join(2)
        print(server.name, server.is_alive())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
