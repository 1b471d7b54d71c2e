"""What goes wrong, and how a program hears of it."""

import socket
import sys

from andiron.compat.ipc import IPCClient, IPCServer  # was: from ipc.ipcserver and ipc.ipcclient


class Library(object):
    def find(self, title):
        raise LookupError("no such title: " + title)


def main(port):
    client = IPCClient(port=port)
    print("available:", client.server_available())

    server = IPCServer(Library(), port=port)
    server.start()
    print("available:", client.server_available())

    try:
        IPCServer(Library(), port=port).start()
    except socket.error as e:
        print(e.message)

    try:
        client.get_exposed_object().find("Embers")
    except LookupError as e:
        print(e)
        print(client.get_traceback())

    print("can be sent:", IPCServer.test_pickle({"title": "Embers"}), IPCServer.test_pickle(Library()))
    server.stop()

    try:
        client.get_exposed_object().find("Embers")
    except Exception:
        print("the server is gone")


if __name__ == "__main__":
    main(int(sys.argv[1]))
