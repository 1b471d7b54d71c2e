"""Searches the library of another add-on: `RunScript(script.example.search,ember)`."""

import sys

import xbmcgui
from ipc.ipcclient import IPCClient

found = []
library = IPCClient(name="example.library", port=None).get_exposed_object()
number = library.search(sys.argv[1], found.append)  # the library calls back, over the same connection
xbmcgui.Window(10000).setProperty("example.search", ", ".join(found))
xbmcgui.Dialog().notification(f"{number} found", ", ".join(found))
