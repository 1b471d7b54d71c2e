"""A registered object that a method returns arrives as a proxy; one that comes home as an argument is a proxy there, too."""

from pyro_serving import serving


def main(pyro):
    @pyro.expose
    class Thing:
        def __init__(self, number):
            self.number = number

        def name(self):
            return f"thing {self.number}"

        def is_like(self, other):
            return self.name() == other.name()

    @pyro.expose
    class Factory:
        def make(self, number):
            thing = Thing(number)
            self._pyroDaemon.register(thing, f"thing-{number}")
            return thing

        def all(self):
            return [self.make(10), {"other": self.make(11)}]

        def forget(self, thing):
            self._pyroDaemon.unregister(thing._pyroUri.object)

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Factory(), "factory")
        with serving(daemon), pyro.Proxy(uri) as factory:
            one, two = factory.make(1), factory.make(2)
            said += [isinstance(one, pyro.Proxy), one.name(), two.name(), one._pyroUri.object]
            said += [one.is_like(two), one.is_like(one), one == pyro.Proxy(daemon.uriFor("thing-1"))]
            many = factory.all()
            said += [many[0].name(), many[1]["other"].name()]
            factory.forget(one)
            with pyro.Proxy(daemon.uriFor("thing-1")) as gone:
                try:
                    gone.name()
                except pyro.errors.CommunicationError as error:
                    said.append("unknown object" in str(error))
            said.append(sorted(name for name in daemon.objectsById if name.startswith("thing")))
            for proxy in (one, two, many[0], many[1]["other"]):
                proxy._pyroRelease()
    return said


GIVES = [
    True,
    "thing 1",
    "thing 2",
    "thing-1",
    False,
    True,
    True,
    "thing 10",
    "thing 11",
    True,
    ["thing-10", "thing-11", "thing-2"],
]
