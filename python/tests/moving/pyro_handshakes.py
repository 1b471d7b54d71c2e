"""A daemon decides who may connect by what the client says first, and hears when a connection ends."""

import threading

from pyro_serving import serving


def main(pyro):
    left = threading.Event()

    class Guarded(pyro.Daemon):
        def validateHandshake(self, conn, data):
            if data != {"word": "open sesame"}:
                raise ValueError("wrong word")
            return ["welcome", conn is not None]

        def clientDisconnect(self, conn):
            left.set()

    class Client(pyro.Proxy):
        def _pyroValidateHandshake(self, response):
            heard.append(list(response))

    @pyro.expose
    class Thing:
        def ping(self):
            return "pong"

    said, heard = [], []
    with Guarded() as daemon:
        uri = daemon.register(Thing)
        with serving(daemon):
            with Client(uri) as thing:
                thing._pyroHandshake = {"word": "open sesame"}
                said += [thing.ping(), heard]
                said.append([thing._pyroBind(), thing._pyroConnection is not None])
                said.append(left.is_set())
            left.wait(60)
            said.append(left.is_set())
            said.append(thing._pyroConnection)
            wrong = pyro.Proxy(uri)
            try:
                wrong.ping()
            except pyro.errors.CommunicationError as error:
                said.append("wrong word" in str(error))
    return said


GIVES = ["pong", [["welcome", True]], [False, True], False, True, None, True]
