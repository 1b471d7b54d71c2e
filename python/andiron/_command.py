"""The `andiron` command."""

from __future__ import annotations

import signal
import sys

from andiron import _native


def main() -> int:
    """Runs the program with the arguments of this process; its exit code."""
    # It has handlers of its own, and none of Python's would ever run meanwhile.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.main(["andiron", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
