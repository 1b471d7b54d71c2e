"""A server of the package in place of `andiron serve`, with the options that the tests of the store use: so these run against the store in Python too (`ANDIRON_TEST_SERVE`)."""

import argparse
import functools
import logging
import os
import signal
import sys

import andiron
from andiron._pure import keep
from andiron._pure.failure import Failure
from andiron._pure.transport.address import parse

_END = {signal.SIGTERM, signal.SIGINT}
#: More than a test has calls that wait for each other.
_THREADS = 8


def main() -> int:
    given = _arguments()
    local = [] if given.no_local else [given.address or os.environ.get("ANDIRON_ADDRESS") or "andiron"]
    addresses = local + given.listen
    if not addresses:
        return _misused("there is no address to listen at: give one by `--listen`")
    try:
        for address in map(parse, addresses):
            if address.kind == "unix":
                address.check_reachable()
    except Failure as failure:
        return _misused(failure.message)
    # The package has no words for these: a program that hosts a store of its own has nobody else to set bounds to.
    limits = {name: getattr(given, name) for name in keep.Limits.__slots__ if getattr(given, name, None)}
    keep.open_store = functools.partial(
        keep.open_store, limits=keep.Limits(**limits), durability=given.durability
    )
    # Before there are threads, which have it from here: a signal waits until it is asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, _END)
    logging.basicConfig(format="%(message)s")
    try:
        server = andiron.Server(
            {}, addresses, state=given.state, secret_file=given.secret_file, threads=_THREADS
        )
    except andiron.Error as error:
        print(f"andiron: {error.message}", file=sys.stderr)
        return 1
    for address in server.addresses:
        print(f"listening at {address}", file=sys.stderr, flush=True)
    signal.sigwait(_END)
    for number in _END:  # the second one ends it at once
        signal.signal(number, lambda *_: os._exit(1))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _END)
    if not server.stop():
        print("andiron: some calls did not end in time", file=sys.stderr)
    return 0


def _misused(why: str) -> int:
    print(f"andiron: {why}", file=sys.stderr)
    return 2


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
