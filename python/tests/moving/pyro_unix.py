"""A daemon at a Unix socket."""

import os
import shutil
import tempfile

from pyro_serving import serving


def main(pyro):
    @pyro.expose
    class Thing:
        def ping(self):
            return "pong"

    said = []
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "daemon.sock")
    try:
        with pyro.Daemon(unixsocket=path) as daemon:
            uri = daemon.register(Thing(), "thing")
            said += [str(uri) == f"PYRO:thing@./u:{path}", uri.sockname == path, uri.host]
            with serving(daemon), pyro.Proxy(uri) as thing:
                said.append(thing.ping())
    finally:
        shutil.rmtree(folder)
    return said


GIVES = [True, True, None, "pong"]
