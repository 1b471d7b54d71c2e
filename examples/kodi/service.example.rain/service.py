"""Gathers how much it rains, which takes a while for each town, and stores it for others."""

import random

import xbmc

from andiron.compat.ipcdatastore import IPCClientX

TOWNS = ["Bergen", "Cardiff", "Lisbon"]

monitor = xbmc.Monitor()
store = IPCClientX(addon_id="service.ipcdatastore")  # name, host, port and secret as its settings say
while not monitor.abortRequested():
    for town in TOWNS:
        if monitor.waitForAbort(0.5):  # as long as a slow source takes to answer
            break
        # The author is this add-on, as nothing else is said.
        store.set(town, {"mm": round(random.uniform(0, 20), 1), "towns": len(TOWNS)})
