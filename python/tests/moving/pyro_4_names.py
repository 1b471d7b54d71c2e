"""Names by the names that Pyro4 has for all of it."""

import threading

from pyro_serving import serving

GENERATION = 4


def main(pyro):
    @pyro.expose
    @pyro.behavior(instance_mode="single")
    class Thing:
        def ping(self):
            return "pong"

    @pyro.expose
    class Simple:
        def ping(self):
            return "pong too"

    said = []
    _uri, names_daemon, _broadcast = pyro.naming.startNS(host="localhost", port=0)
    with names_daemon, pyro.Daemon() as daemon:
        host, _, port = names_daemon.locationStr.rpartition(":")
        with serving(names_daemon):
            with pyro.locateNS(host, int(port)) as ns:
                thing = daemon.register(Thing, "thing")
                ns.register("one", thing, metadata={"red", "big"})
                ns.register("two", thing, metadata={"red"})
                said.append(sorted(ns.list(prefix="o")))
                said.append(sorted(ns.list(metadata_all={"red", "big"})))
                said.append(sorted(ns.list(metadata_any={"red", "big"})))
                said.append(
                    {
                        name: sorted(tags)
                        for name, (_, tags) in ns.list(metadata_any=["big"], return_metadata=True).items()
                    }
                )
                said.append(pyro.resolve(f"PYRONAME:two@{host}:{port}") == thing)
            simple = threading.Thread(
                target=pyro.Daemon.serveSimple,
                args=({Simple: "simple"},),
                kwargs={"daemon": daemon, "ns": False, "verbose": False},
            )
            simple.start()
            while "simple" not in daemon.objectsById:
                pass  # it is about to register it
            with pyro.Proxy(f"PYRONAME:one@{host}:{port}") as one, pyro.Proxy(
                daemon.uriFor("simple")
            ) as other:
                said += [one.ping(), other.ping()]
            daemon.shutdown()
            simple.join(60)
            said.append(simple.is_alive())
    return said


GIVES = [["one"], ["one"], ["one", "two"], {"one": ["big", "red"]}, True, "pong", "pong too", False]
