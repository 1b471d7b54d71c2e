"""The `andiron` command."""

from __future__ import annotations

import signal
import sys

from andiron import _choice


def main() -> int:
    """Runs the program with the arguments of this process; its exit code."""
    native, why = _choice.native()
    if native is None:
        needs = "install a wheel that is for this platform, or the command alone by `cargo install --path crates/cli` of its sources"
        print(
            f"andiron: the command needs the native module, which cannot be loaded ({why}): {needs}",
            file=sys.stderr,
        )
        return 1
    # It has handlers of its own, and none of Python's would ever run meanwhile.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code: int = native.main(["andiron", *sys.argv[1:]])
    return code


if __name__ == "__main__":
    sys.exit(main())
