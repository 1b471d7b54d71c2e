"""The first program of a manual: an object is exposed, registered and called."""

from pyro_serving import serving


def main(pyro):
    @pyro.expose
    class GreetingMaker:
        def get_fortune(self, name):
            return f"Hello, {name}. Here is your fortune message: tomorrow's lucky number is 12."

        def add(self, first, second=1, *more, **named):
            return [first + second, more, named]

    with pyro.Daemon() as daemon:
        uri = daemon.register(GreetingMaker)
        named = daemon.register(GreetingMaker(), "greeting")
        with serving(daemon):
            with pyro.Proxy(uri) as maker:
                said = maker.get_fortune("Ann")
            maker = pyro.Proxy(str(named))
            sums = maker.add(1), maker.add(1, 2, 3), maker.add(first=5, third="x")
            maker._pyroRelease()
            location = daemon.locationStr
    return [
        said,
        [[first, list(more), named] for first, more, named in sums],
        str(uri).startswith("PYRO:obj_") and uri.object.startswith("obj_"),
        str(named) == f"PYRO:greeting@{location}",
    ]


GIVES = [
    "Hello, Ann. Here is your fortune message: tomorrow's lucky number is 12.",
    [[2, [], {}], [3, [3], {}], [6, [], {"third": "x"}]],
    True,
    True,
]
