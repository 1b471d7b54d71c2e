"""The two files with which everybody begins, between two processes."""

import signal
import subprocess
import sys

import pytest

import andiron
from conftest import ROOT, needs_unix

pytestmark = needs_unix

FILES = ROOT / "examples" / "python"


@pytest.mark.parametrize("first", ["server", "client", "daemon"])
def test_the_two_files_run_in_either_order_and_beside_a_daemon(processes, command, first):
    if first == "daemon":
        daemon = processes.start(command, "serve", "--no-state")
        assert "listening" in daemon.stderr.readline()
    names = ["client", "server"] if first == "client" else ["server", "client"]
    started = {name: processes.start(sys.executable, FILES / f"{name}.py") for name in names}
    out, err = started["client"].communicate(timeout=60)
    assert (out, err) == ("ok\n12.5\n", "")
    shell = subprocess.run([command, "get", "x"], capture_output=True, text=True, check=True)
    assert shell.stdout == "20\n"
    started["server"].send_signal(signal.SIGINT)
    assert started["server"].communicate(timeout=60) == ("", "")
    assert started["server"].returncode == 0


def test_a_server_that_comes_second_takes_over_when_the_first_one_goes(processes):
    code = """
        import andiron
        andiron.serve({{"{0}": lambda: "{0}"}}, state=False)
    """
    first = processes.python(code.format("one"))
    with andiron.connect(wait=30) as hub:
        assert hub["one"]() == "one"
        processes.python(code.format("two"))
        assert hub["two"]() == "two"
        assert sorted(hub) == ["one", "store", "two"]
    first.kill()
    first.wait()
    with andiron.connect(wait=30) as hub:
        assert hub["two"]() == "two"
        assert "one" not in hub
