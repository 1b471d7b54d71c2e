"""A proxy goes from one thread to another, and many threads call one object at once."""

import copy
import threading

from pyro_serving import serving


def main(pyro):
    barrier = threading.Barrier(3, timeout=60)

    @pyro.expose
    @pyro.behavior(instance_mode="single")
    class Meeting:
        def meet(self):
            barrier.wait()
            return "met"

        def ping(self):
            return "pong"

    said, met = [], []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Meeting)
        with serving(daemon), pyro.Proxy(uri) as proxy:
            said.append(proxy.ping())

            def take():
                proxy._pyroClaimOwnership()
                said.append(proxy.ping())

            thread = threading.Thread(target=take)
            thread.start()
            thread.join()
            proxy._pyroClaimOwnership()
            said.append(proxy.ping())

            def meet():
                with pyro.Proxy(uri) as own:
                    met.append(own.meet())

            threads = [threading.Thread(target=meet) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with copy.copy(proxy) as other:
                said += [other == proxy, other.ping()]
    return [*said, met]


GIVES = ["pong", "pong", "pong", True, "pong", ["met", "met", "met"]]
