"""What a client hears of objects and servers that are not there."""

import socket

from pyro_serving import serving


def main(pyro):
    @pyro.expose
    class Thing:
        def ping(self):
            return "pong"

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Thing(), "thing")
        with serving(daemon):
            try:
                pyro.Proxy(f"PYRO:nothing@{daemon.locationStr}").ping()
            except pyro.errors.CommunicationError as error:
                said.append("unknown object" in str(error))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nobody = pyro.Proxy(f"PYRO:thing@localhost:{port}")
    for attempt in (nobody._pyroBind, lambda: nobody.ping(), lambda: nobody._pyroReconnect(tries=1)):
        try:
            attempt()
        except pyro.errors.CommunicationError as error:
            said.append(type(error).__name__)
    for wrong in (
        "thing",
        "PYRO:thing",
        "HTTP:thing@localhost:1",
        "PYRO:thing@localhost:port",
        "PYRO:thing@[[::1]]:1",
    ):
        try:
            pyro.Proxy(wrong)
        except pyro.errors.PyroError as error:
            said.append(type(error).__name__)
    try:
        pyro.Proxy(7)
    except TypeError:
        said.append("TypeError")
    return [uri.object, *said]


GIVES = [
    "thing",
    True,
    "CommunicationError",
    "CommunicationError",
    "ConnectionClosedError",
    "PyroError",
    "PyroError",
    "PyroError",
    "PyroError",
    "PyroError",
    "TypeError",
]
