"""Errors arrive as what they are, with the traceback of the other end."""

import contextlib
import io
import sqlite3
import sys

from pyro_serving import serving


def main(pyro):
    class Own(Exception):
        pass

    @pyro.expose
    class Failing:
        def value(self):
            raise ValueError("a value", 42)

        def key(self):
            return {}["missing"]

        def os(self):
            return open("/nonexistent/file")

        def naming(self):
            raise pyro.errors.NamingError("no such name")

        def pyro(self):
            raise pyro.errors.PyroError("of pyro")

        def attributes(self):
            error = RuntimeError("with more")
            error.code = 42
            raise error

        def inner(self):
            try:
                self.key()
            except KeyError as error:
                raise TypeError("outer") from error

        def arguments(self, one):
            return one

        def database(self):
            raise sqlite3.IntegrityError("twice")

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Failing)
        with serving(daemon), pyro.Proxy(uri) as failing:
            for name in (
                "value",
                "key",
                "os",
                "naming",
                "pyro",
                "attributes",
                "inner",
                "arguments",
                "database",
            ):
                try:
                    getattr(failing, name)()
                except Exception as error:
                    lines = "".join(error._pyroTraceback)
                    text = "".join(pyro.errors.get_pyro_traceback())
                    said.append(
                        [
                            name,
                            type(error).__module__.split(".")[0] == "builtins",
                            type(error).__name__,
                            "argument" if name == "arguments" else list(error.args)[:2],
                            f"in {name}" in lines or name == "arguments",
                            "This exception occurred remotely" in text and "End of remote traceback" in text,
                        ]
                    )
                    if name == "attributes":
                        said.append(error.code)
            try:
                failing.value()
            except ValueError:
                with contextlib.redirect_stderr(io.StringIO()) as printed:
                    pyro.errors.excepthook(*sys.exc_info())
            said.append("This exception occurred remotely" in printed.getvalue())
    said.append(issubclass(pyro.errors.TimeoutError, pyro.errors.CommunicationError))
    said.append(issubclass(pyro.errors.ConnectionClosedError, pyro.errors.CommunicationError))
    said.append(issubclass(pyro.errors.SerializeError, pyro.errors.ProtocolError))
    said.append(issubclass(pyro.errors.MessageTooLargeError, pyro.errors.ProtocolError))
    said.append(
        [
            issubclass(getattr(pyro.errors, f"{name}Error"), pyro.errors.PyroError)
            for name in ("Naming", "Daemon", "Security", "Protocol", "Communication")
        ]
    )
    return said


GIVES = [
    ["value", True, "ValueError", ["a value", 42], True, True],
    ["key", True, "KeyError", ["missing"], True, True],
    ["os", True, "FileNotFoundError", [2, "No such file or directory"], True, True],
    ["naming", False, "NamingError", ["no such name"], True, True],
    ["pyro", False, "PyroError", ["of pyro"], True, True],
    ["attributes", True, "RuntimeError", ["with more"], True, True],
    42,
    ["inner", True, "TypeError", ["outer"], True, True],
    ["arguments", True, "TypeError", "argument", True, True],
    ["database", False, "IntegrityError", ["twice"], True, True],
    True,
    True,
    True,
    True,
    True,
    [True, True, True, True, True],
]
