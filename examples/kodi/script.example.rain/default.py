"""Tells where it rains most. It reads what the plugin reads, too: there is one that gathers, and any number of readers."""

import xbmcgui

from andiron.compat.ipcdatastore import IPCClientX

store = IPCClientX(addon_id="service.ipcdatastore")
rain = dict(store.hub.store.author("service.example.rain").items())  # all of it as it was at one moment
wettest = max(rain, key=lambda town: rain[town]["mm"], default="nowhere")
xbmcgui.Dialog().notification("Rain", f"Most of it falls in {wettest}")
