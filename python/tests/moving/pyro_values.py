"""Values that every serializer takes, by each of them."""

from pyro_serving import serving

NEEDS = ("msgpack",)  # where it is Pyro's
VALUES = [None, True, 7, -1, 2.5, "text é", [1, [2, "3"]], {"a": 1, "b": {"c": None}}, [], {}, ""]


def main(pyro):
    @pyro.expose
    class Echo:
        def echo(self, value):
            return value

    said = []
    before = pyro.config.SERIALIZER
    with pyro.Daemon() as daemon:
        uri = daemon.register(Echo)
        with serving(daemon):
            for serializer in ("serpent", "json", "marshal", "msgpack"):
                pyro.config.SERIALIZER = serializer
                with pyro.Proxy(uri) as echo:
                    said.append([echo.echo(value) for value in VALUES] == VALUES)
            pyro.config.SERIALIZER = before
            with pyro.Proxy(uri) as echo:
                echo._pyroSerializer = "json"
                said.append(echo.echo({"x": [1, 2]}))
            pyro.config.SERIALIZER = "unheard of"
            try:
                pyro.Proxy(uri)
            except ValueError:
                said.append("ValueError")
            finally:
                pyro.config.SERIALIZER = before
    return said


GIVES = [True, True, True, True, {"x": [1, 2]}, "ValueError"]
