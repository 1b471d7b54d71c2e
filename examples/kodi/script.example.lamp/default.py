"""Is run by a key, `RunScript(script.example.lamp,on)` or `off`: says so to the service, and ends."""

import sys

from andiron.compat.ipcdatastore import IPCClientX

IPCClientX(addon_id="service.ipcdatastore").set("lamp", sys.argv[1], persist=True)
