"""The `andiron` command."""

from __future__ import annotations

import signal
import sys

from andiron import _choice


def main() -> int:
    """Runs the program with the arguments of this process; its exit code."""
    native, why = _choice.native()
    if native is None:
        print(
            f"andiron: the command is a part of the native module, which cannot be loaded here ({why}): install the package from a wheel for this platform, or the command itself with `cargo install andiron-cli`",
            file=sys.stderr,
        )
        return 1
    # It has handlers of its own, and none of Python's would ever run meanwhile.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code: int = native.main(["andiron", *sys.argv[1:]])
    return code


if __name__ == "__main__":
    sys.exit(main())
