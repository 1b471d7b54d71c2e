"""What daemons know of their objects."""

import gc

from pyro_serving import raised, serving


def main(pyro):
    @pyro.expose
    class Thing:
        def ping(self):
            return "pong"

    said = []
    with pyro.Daemon() as daemon:
        thing = Thing()
        uri = daemon.register(thing, "thing")
        said.append([thing._pyroId, thing._pyroDaemon.locationStr == daemon.locationStr])
        said.append(
            [
                daemon.uriFor(thing) == uri,
                daemon.uriFor("other").object,
                daemon.uriFor("other").location == uri.location,
            ]
        )
        said.append(raised(pyro.errors.DaemonError, lambda: daemon.register(thing))[0])
        said.append(raised(pyro.errors.DaemonError, lambda: daemon.register(Thing(), "thing"))[0])
        said.append(daemon.register(Thing(), "thing", force=True) == uri)
        said.append(raised(TypeError, lambda: daemon.register(Thing(), 7))[0])
        weak = Thing()
        daemon.register(weak, "weak", weak=True)
        said.append(sorted(daemon.objectsById))
        del weak
        gc.collect()
        said.append(sorted(daemon.objectsById))
        said.append(raised(pyro.errors.DaemonError, lambda: daemon.uriFor(Thing()))[0])
        with serving(daemon):
            with pyro.Proxy(f"PYRO:Pyro.Daemon@{uri.location}") as itself:
                said += [sorted(itself.registered()), itself.ping(), "bound on" in itself.info()]
                meta = itself.get_metadata("thing")
                said.append({name: sorted(names) for name, names in meta.items()})
            with daemon.proxyFor("thing") as proxy:
                said.append(proxy.ping())
            daemon.unregister("thing")
            said.append(sorted(daemon.objectsById))
    return said


GIVES = [
    ["thing", True],
    [True, "other", True],
    "DaemonError",
    "DaemonError",
    True,
    "TypeError",
    ["Pyro.Daemon", "thing", "weak"],
    ["Pyro.Daemon", "thing"],
    "DaemonError",
    ["Pyro.Daemon", "thing"],
    None,
    True,
    {"attrs": [], "methods": ["ping"], "oneway": []},
    "pong",
    ["Pyro.Daemon"],
]
