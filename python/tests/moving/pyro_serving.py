"""What the programs beside this have in common: a daemon that serves on a thread of its own."""

import contextlib
import threading


@contextlib.contextmanager
def serving(*daemons):
    """Runs the loops of daemons for the time of a block, and ends them."""
    threads = [threading.Thread(target=daemon.requestLoop) for daemon in daemons]
    for thread in threads:
        thread.start()
    try:
        yield daemons[0]
    finally:
        for daemon in daemons:
            daemon.shutdown()
        for thread in threads:
            thread.join()


def raised(errors, work):
    """The class and the words of what a call raises."""
    try:
        work()
    except errors as error:
        return type(error).__name__, str(error)
    return None
