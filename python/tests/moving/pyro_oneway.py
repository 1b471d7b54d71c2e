"""One-way methods are not waited for."""

import threading

from pyro_serving import serving


def main(pyro):
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def __init__(self):
            self.done = []

        @pyro.expose
        @pyro.oneway
        def work(self, what):
            begun.set()
            go_on.wait(60)
            self.done.append(what)
            ended.set()

        @pyro.oneway
        @pyro.expose
        def fail(self):
            raise ValueError("nobody hears of this")

        @pyro.expose
        def so_far(self):
            return self.done

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Slow())
        with serving(daemon), pyro.Proxy(uri) as slow:
            said.append(slow.work("a"))
            begun.wait(60)
            said.append(slow.so_far())
            go_on.set()
            ended.wait(60)
            said.append(slow.so_far())
            said.append(slow.fail())
            said.append(sorted(slow._pyroOneway))
            said.append(slow.so_far())
    return said


GIVES = [None, [], ["a"], None, ["fail", "work"], ["a"]]
