"""Turns the lamp on and off, when the script says so. It waits for that, and asks nobody meanwhile."""

from resources.lib.lamp import run

run()
