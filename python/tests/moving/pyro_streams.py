"""Generators and iterators are streams: their items are taken one by one."""

from pyro_serving import raised, serving


def main(pyro):
    class Numbers:
        def __init__(self):
            self.last = None

        @pyro.expose
        def count(self, up_to):
            for number in range(up_to):
                self.last = number
                yield number

        @pyro.expose
        def listed(self):
            return iter(["a", ("b", 2)])

        @pyro.expose
        @property
        def endless(self):
            number = 0
            while True:
                yield number
                number += 1

        @pyro.expose
        def broken(self):
            yield 1
            raise ValueError("no more")

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Numbers())
        with serving(daemon), pyro.Proxy(uri) as numbers:
            said.append(list(numbers.count(4)))
            said.append([item if isinstance(item, str) else list(item) for item in numbers.listed()])
            endless = numbers.endless
            said.append([next(endless), next(endless), next(endless)])
            endless.close()
            broken = numbers.broken()
            said.append([next(broken), raised(ValueError, lambda: next(broken))])
            first, second = numbers.count(2), numbers.count(3)
            said.append([next(first), next(second), next(first), next(second), next(second)])
            said.append(raised(StopIteration, lambda: next(first)))
            said.append(sum(numbers.count(100)))
    return said


GIVES = [
    [0, 1, 2, 3],
    ["a", ["b", 2]],
    [0, 1, 2],
    [1, ("ValueError", "no more")],
    [0, 0, 1, 1, 2],
    ("StopIteration", ""),
    4950,
]
