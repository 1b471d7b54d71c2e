"""Of Kodi what the programs use: a log, and a host that ends when its input does."""

import os
import sys

LOGINFO, LOGWARNING, LOGERROR = 1, 2, 3


def log(msg, level=LOGINFO):
    print(msg, flush=True)


class Monitor:
    def __init__(self):
        self._ends = False

    def abortRequested(self):
        return self._ends

    def waitForAbort(self, seconds):
        self._ends = not sys.stdin.readline()
        return self._ends


def translatePath(path):
    return path.replace("special://masterprofile", os.environ["KODI_PROFILE"])
