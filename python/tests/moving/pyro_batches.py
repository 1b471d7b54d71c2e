"""Many calls in one message: in their order, up to the first that fails."""

from pyro_serving import serving


def main(pyro):
    class Thing:
        def __init__(self):
            self.done = []

        @pyro.expose
        def add(self, first, second=0):
            self.done.append(first + second)
            return first + second

        @pyro.expose
        def divide(self, first, second):
            return first // second

        @pyro.expose
        def so_far(self):
            return self.done

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Thing())
        with serving(daemon), pyro.Proxy(uri) as thing:
            batch = pyro.BatchProxy(thing)
            said.append([batch.add(1), batch.add(2, 3), batch.add(4, second=5), batch.divide(100, 5)])
            results = batch()
            said.append(type(results).__name__)
            said.append(list(results))
            said.append(list(batch()))  # it is empty again

            batch.add(10)
            batch.divide(1, 0)
            batch.add(20)
            results = batch()
            said.append(next(results))
            try:
                next(results)
            except ZeroDivisionError as error:
                said.append([str(error), any("divide" in line for line in error._pyroTraceback)])
            said.append(list(results))
            said.append(thing.so_far())  # what came behind the error was not done

            batch.add(100)
            batch.add(200)
            said.append(batch(oneway=True))
            said.append(thing.divide(7, 2))

            batch.nothing(1)
            try:
                list(batch())
            except AttributeError:
                said.append("AttributeError")
    return said


GIVES = [
    [None, None, None, None],
    "generator",
    [1, 5, 9, 20],
    [],
    10,
    ["integer division or modulo by zero", True],
    [],
    [1, 5, 9, 10],
    None,
    3,
    "AttributeError",
]
