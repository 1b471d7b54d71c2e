"""Does what a button of the settings page asks for."""

import sys

from resources.lib.store_service.actions import run

run(sys.argv[1:])
