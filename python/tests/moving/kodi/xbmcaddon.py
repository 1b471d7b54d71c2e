"""Of Kodi what the programs use: the settings of add-ons."""

import json
import os

_SETTINGS = json.loads(os.environ.get("KODI_SETTINGS", "{}"))


class Addon:
    def __init__(self, id):  # noqa: A002 - Kodi calls it so
        if id not in _SETTINGS:
            raise RuntimeError(f"Unknown addon id '{id}'.")
        self._settings = _SETTINGS[id]

    def getSetting(self, id):  # noqa: A002 - Kodi calls it so
        return self._settings.get(id, "")
