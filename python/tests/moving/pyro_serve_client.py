"""The client of two: finds an object by its name, and calls it."""

import sys

import Pyro5.api
import Pyro5.errors

Pyro5.config.NS_PORT = int(sys.argv[1])
Pyro5.config.NS_LOOKUP_DELAY = 20
sys.excepthook = Pyro5.errors.excepthook

with Pyro5.api.Proxy("PYRONAME:example.warehouse") as warehouse:
    print(warehouse.list_contents())
    print(warehouse.store("Ann", "lamp"))
    print(warehouse.list_contents())
    with Pyro5.api.locate_ns() as ns:
        print(sorted(ns.list(prefix="example.")))
    warehouse.end()
