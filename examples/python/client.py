"""Moves the player of `server.py`, and leaves a value in the store."""

import andiron

hub = andiron.connect(wait=10)  # the server may be started a little later
print(hub["player"].seek(12.5, print))  # any function is a callback
hub.store["x"] = 20  # `andiron get x` prints 20
