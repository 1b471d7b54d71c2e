"""The name server of both, which ends when nothing more comes to it."""

import sys
import threading

import Pyro5.api

uri, daemon, _broadcast = Pyro5.api.start_ns(host="localhost", port=0)
print(daemon.locationStr.rpartition(":")[2], flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), daemon.shutdown())).start()
daemon.requestLoop()
print("ended")
