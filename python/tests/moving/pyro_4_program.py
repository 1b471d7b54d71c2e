"""A program of Pyro4's days: nothing is marked, values are pickled, a proxy goes from thread to thread."""

import threading

from pyro_serving import serving

GENERATION = 4


def main(pyro):
    pyro.config.REQUIRE_EXPOSE = False
    pyro.config.SERIALIZERS_ACCEPTED.add("pickle")
    pyro.config.SERIALIZER = "pickle"

    class Thing:
        def __init__(self):
            self._number = 1

        @property
        def number(self):
            return self._number

        @number.setter
        def number(self, number):
            self._number = number

        def echo(self, value):
            return value

        def fail(self):
            raise ValueError("of the other end")

    said = []
    try:
        with pyro.Daemon() as daemon:
            uri = daemon.register(Thing(), "thing")
            with serving(daemon), pyro.Proxy(uri) as thing:
                value = {"tuple": (1, 2), "set": {3}, 4: b"bytes", "inner": [(5,), {6: "x"}]}
                said.append(thing.echo(value) == value)
                thing.number += 1
                said.append(thing.number)

                def other_thread():
                    said.append(thing.echo("other thread"))

                thread = threading.Thread(target=other_thread)
                thread.start()
                thread.join()
                try:
                    thing.fail()
                except ValueError:
                    text = "".join(pyro.util.getPyroTraceback())
                    said.append(
                        "in fail" in text
                        and "This exception occured remotely" in text.replace("occurred", "occured")
                    )
                said.append(thing._pyroHmacKey)
    finally:
        pyro.config.REQUIRE_EXPOSE = True
        pyro.config.SERIALIZER = "serpent"
        pyro.config.SERIALIZERS_ACCEPTED.discard("pickle")
    return said


GIVES = [True, 2, "other thread", True, None]
