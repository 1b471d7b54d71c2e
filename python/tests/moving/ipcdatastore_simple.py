"""As the documentation of service.ipcdatastore shows its use, in another add-on."""

import xbmc

from andiron.compat.ipcdatastore import IPCClientX  # was: from resources.lib.ipcclientx import IPCClientX

client = IPCClientX(addon_id="service.ipcdatastore")
if client.server_available():
    x = client.set("x", 20, author="service.ipcdatastore")
    xbmc.log("set: {0}".format(x))

if client.server_available():
    x = client.get("x", author="service.ipcdatastore", requestor="testclient")
    xbmc.log("service.ipcdatastore variable 'x' = {0}".format(x))
else:
    xbmc.log("service.ipcdatastore server unavailable")

if client.server_available():
    nt = client.get("x", author="service.ipcdatastore", requestor="testclient", return_tuple=True)
    x = nt.value
    ts = nt.ts
    cached = nt.cached
    xbmc.log("{0}, {1}, {2}".format(x, type(ts).__name__, cached))

# One waits for data of the other.
client.set("videodata", {"dwidth": 1920, "dheight": 1080, "fps": 23.976}, author="service.ipcdatastore")
for _ in range(8):
    data = client.get("videodata", author="service.ipcdatastore", requestor="player")
    if data is not None:
        xbmc.log("{0}x{1} @ {2}".format(data["dwidth"], data["dheight"], data["fps"]))
        break
