"""Has the store, from the start of Kodi until its end."""

from resources.lib.store_service.service import run

run()
