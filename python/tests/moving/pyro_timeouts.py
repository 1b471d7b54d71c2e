"""A call that takes too long ends with an error, and the proxy goes on."""

import threading

from pyro_serving import serving


def main(pyro):
    done = threading.Event()

    @pyro.expose
    class Slow:
        calls = 0

        def work(self):
            Slow.calls += 1
            done.wait(60)
            return "worked"

        def quick(self):
            return "quick"

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Slow)
        with serving(daemon):
            with pyro.Proxy(uri) as slow:
                said.append(slow.quick())
                slow._pyroTimeout = 0.1
                said.append(slow._pyroTimeout)
                try:
                    slow.work()
                except pyro.errors.TimeoutError as error:
                    said.append(isinstance(error, pyro.errors.CommunicationError))
                slow._pyroTimeout = None
                said.append(slow.quick())
                done.set()
                said.append(slow.work())
            before = pyro.config.COMMTIMEOUT
            pyro.config.COMMTIMEOUT = 5.5
            with pyro.Proxy(uri) as slow:
                said.append(slow._pyroTimeout)
            pyro.config.COMMTIMEOUT = before
    return [*said, Slow.calls <= 2]  # where time was over before it began, 1


GIVES = ["quick", 0.1, True, "quick", "worked", 5.5, True]
