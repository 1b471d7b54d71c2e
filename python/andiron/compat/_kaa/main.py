"""What stands in place of the main loop, which there is none of."""

from __future__ import annotations

import threading

from andiron import _errors
from andiron._hub import wait_for


class Main:
    """A program that only serves waits here for its end."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._is_running = False

    def run(self) -> None:
        """Waits until `stop` is called, or a callback raises `SystemExit`, or Ctrl-C, or the host ends (`andiron.abort_when`)."""
        self._is_running = True
        try:
            wait_for(self._stopped, lambda _: False)
        except (KeyboardInterrupt, _errors.CancelledError):
            pass
        finally:
            self._is_running = False
            self._stopped.clear()

    def stop(self) -> None:
        """Has `run` come back, from any thread; at once where it is called later."""
        self._stopped.set()

    def is_running(self) -> bool:
        """Whether the program waits in `run`."""
        return self._is_running


#: What programs call `kaa.main`.
main = Main()
