"""What proxies are for Python: equal, copied, pickled, sent, and looked at."""

import copy
import pickle

from pyro_serving import raised, serving


def main(pyro):
    @pyro.expose
    class Thing:
        def __init__(self):
            self._number = 7

        def ping(self):
            return "pong"

        @property
        def number(self):
            return self._number

        def call(self, proxy):
            return proxy.ping()

        def same(self, proxy):
            return proxy

    said = []
    with pyro.Daemon() as daemon:
        uri, other_uri = daemon.register(Thing(), "thing"), daemon.register(Thing(), "other")
        with serving(daemon), pyro.Proxy(uri) as thing, pyro.Proxy(other_uri) as other:
            said += [
                thing == pyro.Proxy(str(uri)),
                thing == other,
                len({thing, pyro.Proxy(uri), other}),
                thing == 7,
            ]
            said.append(str(thing._pyroUri) == str(uri))
            said += [thing._pyroConnection, thing.ping(), thing._pyroConnection is not None]
            for twin in (copy.copy(thing), pickle.loads(pickle.dumps(thing))):
                with twin:
                    said += [twin == thing, twin.ping(), twin.number]
            said.append(other.call(thing))
            with other.same(thing) as back:
                said += [isinstance(back, pyro.Proxy), back == thing, back.ping()]
            said += [
                {"ping", "number", "call"} <= set(dir(thing)),
                hasattr(thing, "ping"),
                hasattr(thing, "pong"),
            ]
            said.append(raised(AttributeError, lambda: thing.pong)[0])
            said.append(raised(AttributeError, lambda: getattr(thing, "ping.real"))[0])
            said += [sorted(thing._pyroMethods), sorted(thing._pyroAttrs), sorted(thing._pyroOneway)]
            said.append(bool(thing))
    return said


GIVES = [
    True,
    False,
    2,
    False,
    True,
    None,
    "pong",
    True,
    True,
    "pong",
    7,
    True,
    "pong",
    7,
    "pong",
    True,
    True,
    "pong",
    True,
    True,
    False,
    "AttributeError",
    "AttributeError",
    ["call", "ping", "same"],
    ["number"],
    [],
    True,
]
