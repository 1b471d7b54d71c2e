"""Lists the rain of each town, as the service has gathered it. It asks no slow source, so it opens at once."""

import sys

import xbmcgui
import xbmcplugin

from andiron.compat.ipcdatastore import IPCClientX

AUTHOR = "service.example.rain"

handle = int(sys.argv[1])
store = IPCClientX(addon_id="service.ipcdatastore")
towns = (store.get_data_list(AUTHOR) or {}).get(AUTHOR, [])
for town in sorted(towns):
    rain = store.get(town, author=AUTHOR)
    xbmcplugin.addDirectoryItem(handle, "", xbmcgui.ListItem("{}: {} mm".format(town, rain["mm"])))
xbmcplugin.endOfDirectory(handle, cacheToDisc=False)
