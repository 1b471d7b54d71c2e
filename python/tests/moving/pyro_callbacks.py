"""A server calls its client back: the client has a daemon of its own, and passes an object that is registered there."""

from pyro_serving import serving


def main(pyro):
    class Worker:
        @pyro.expose
        def work(self, handler, number):
            handler.progress(number // 2)
            done = handler.done(number)
            try:
                handler.fail(number)
            except ValueError as error:
                return [done, str(error)]

    class Handler:
        def __init__(self):
            self.heard = []

        @pyro.expose
        def progress(self, number):
            self.heard.append(number)

        @pyro.expose
        @pyro.callback
        def fail(self, number):
            raise ValueError(f"not {number}")

        @pyro.expose
        @pyro.callback
        def done(self, number):
            self.heard.append(number)
            return f"done {number}"

    handler = Handler()
    with pyro.Daemon() as server, pyro.Daemon() as own:
        uri = server.register(Worker)
        own.register(handler)
        with serving(server, own), pyro.Proxy(uri) as worker:
            said = worker.work(handler, 10)
    return [said, handler.heard]


GIVES = [["done 10", "not 10"], [5, 10]]
