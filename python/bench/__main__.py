"""One end of a contestant, as the harness starts it: `PEER serve|call SOCKET CORE WORKLOAD FOLDER`."""

from __future__ import annotations

import importlib
import os
import sys

import harness

#: Where contestants are.
_MODULES = {
    "floor-python": "floor",
    "floor-python-aio": "floor",
    "andiron-python": "own",
    "andiron-python-aio": "own",
    "andiron-python-rust": "own",
    "andiron-pure": "own",
    "andiron-pure-native": "own",
    "andiron-native-pure": "own",
    "connection": "connection_peer",
    "managers": "managers_peer",
    "pyro5-msgpack": "pyro_peer",
    "pyro5-serpent": "pyro_peer",
    "pyro4-pickle": "pyro_peer",
    "ipcdatastore": "pyro_peer",
    "rpyc": "rpyc_peer",
    "redis-py": "redis_peer",
    "redis-py-cache": "redis_peer",
    "lmdb": "file_peer",
    "diskcache": "file_peer",
    "sqlite3": "file_peer",
    "ray": "ray_peer",
}

#: Of Andiron, who has the engine in Python alone.
_PURE = (
    ("andiron-pure", "serve"),
    ("andiron-pure", "call"),
    ("andiron-pure-native", "call"),
    ("andiron-native-pure", "serve"),
)

#: What programs import that use them.
_IMPORTED = {
    "andiron-python": "andiron",
    "andiron-pure": "andiron",
    "managers": "multiprocessing.managers",
    "pyro5-msgpack": "Pyro5.api",
    "rpyc": "rpyc",
    "redis-py": "redis",
}


def main() -> None:
    """Serves, or obeys."""
    peer, role, path, core, workload, folder = sys.argv[1:]
    start = harness.Start(peer, path, workload, core, folder)
    harness.run_on(core)
    os.environ["ANDIRON_PURE"] = "1" if (peer, role) in _PURE else "0"
    try:
        contestant = importlib.import_module(_MODULES[peer])
    except ImportError as error:
        raise SystemExit(print(f"{error.name} is not installed", flush=True)) from None
    if role == "call":
        starts = workload == harness.IMPORT
        client = harness.Starting(_IMPORTED.get(peer)) if starts else contestant.client(start)
        harness.obey(client, workload)
    elif workload == harness.IMPORT:
        harness.say_ready()
        harness.until_gone()
    else:
        contestant.serve(start)


main()
