"""Instance modes: one for each connection, one for all, one for each call, and instances that a function makes."""

from pyro_serving import serving


def main(pyro):
    class Counter:
        made = 0

        def __init__(self, start=0):
            type(self).made += 1
            self.number = start

        @pyro.expose
        def count(self):
            self.number += 1
            return self.number

    @pyro.behavior(instance_mode="session")
    class PerSession(Counter):
        pass

    @pyro.behavior(instance_mode="single")
    class Single(Counter):
        pass

    @pyro.behavior(instance_mode="percall", instance_creator=lambda cls: cls(100))
    class PerCall(Counter):
        pass

    class Default(Counter):
        pass

    said = []
    with pyro.Daemon() as daemon:
        uris = [daemon.register(cls) for cls in (PerSession, Single, PerCall, Default)]
        uris.append(daemon.register(Counter(50)))
        with serving(daemon):
            for uri in uris:
                with pyro.Proxy(uri) as first, pyro.Proxy(uri) as second:
                    said.append([first.count(), first.count(), second.count(), second.count()])
                with pyro.Proxy(uri) as third:
                    said[-1].append(third.count())
    said.append([cls.made for cls in (PerSession, Single, PerCall, Default)])
    for wrong in ("often", 7):
        try:
            pyro.behavior(instance_mode=wrong)(Counter)
        except (ValueError, SyntaxError) as error:
            said.append(type(error).__name__)
    return said


GIVES = [
    [1, 2, 1, 2, 1],
    [1, 2, 3, 4, 5],
    [101, 101, 101, 101, 101],
    [1, 2, 1, 2, 1],
    [51, 52, 53, 54, 55],
    [4, 2, 6, 4],
    "ValueError",
    "SyntaxError",
]
