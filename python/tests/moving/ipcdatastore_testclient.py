"""What the button `Test client` on the page of settings runs."""

import xbmc
import xbmcgui

from andiron.compat.ipcdatastore import IPCClientX  # was: from resources.lib.ipcclientx import IPCClientX

client = IPCClientX(addon_id="service.ipcdatastore")
xbmc.log("ipcdatastore: asking the server at {0}".format(client.uri))
dialog = xbmcgui.Dialog()
if client.server_available():
    x = client.get("x", author="service.ipcdatastore", requestor="testclient")
    if x == 20:
        dialog.ok("Test", "successful")
    else:
        dialog.ok("Test", "failed")
else:
    dialog.ok("Test", "Server unavailable")
