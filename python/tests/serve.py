"""A server of the package in place of `andiron serve`, with the options that the tests of the store use: so these run against the store in Python too (`ANDIRON_TEST_SERVE`)."""

import argparse
import functools
import logging
import os
import signal
import sys

import andiron
from andiron._pure import keep

_END = {signal.SIGTERM, signal.SIGINT}
#: More than a test has calls that wait for each other.
_THREADS = 8


def main() -> int:
    given = _arguments()
    if given.listen == [] and given.no_local:
        print("andiron: there is no address to listen at: give one by `--listen`", file=sys.stderr)
        return 2
    # The package has no words for these: a program that hosts a store of its own has nobody else to set bounds to.
    limits = {name: getattr(given, name) for name in keep.Limits.__slots__ if getattr(given, name, None)}
    keep.open_store = functools.partial(
        keep.open_store, limits=keep.Limits(**limits), durability=given.durability
    )
    local = [] if given.no_local else [given.address or os.environ.get("ANDIRON_ADDRESS") or "andiron"]
    # Before there are threads, which have it from here: a signal waits until it is asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, _END)
    logging.basicConfig(format="%(message)s")
    try:
        server = andiron.Server(
            {}, local + given.listen, state=given.state, secret_file=given.secret_file, threads=_THREADS
        )
    except andiron.Error as error:
        print(f"andiron: {error}", file=sys.stderr)
        return 1
    for address in server.addresses:
        print(f"listening at {address}", file=sys.stderr, flush=True)
    signal.sigwait(_END)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _END)
    server.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--address", "--name")
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--no-local", action="store_true")
    parser.add_argument("--secret-file")
    parser.add_argument("--state", default=True)
    parser.add_argument("--no-state", dest="state", action="store_false")
    parser.add_argument("--durability", default="relaxed", choices=["relaxed", "sync"])
    for most in ("--max-bytes", "--max-author-bytes"):
        parser.add_argument(most, type=_size)
    for most in ("--max-entries", "--max-author-entries"):
        parser.add_argument(most, type=int)
    parser.add_argument("--evict", choices=["none", "oldest"])
    return parser.parse_args()


def _size(text: str) -> int:
    """A number, or one and K, M or G."""
    shift = 10 * (1 + "KMG".index(text[-1])) if text[-1] in "KMG" else 0
    return int(text[:-1] if shift else text) << shift


if __name__ == "__main__":
    sys.exit(main())
