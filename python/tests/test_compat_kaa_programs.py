"""Programs that were written for `kaa.rpc`, and the page on how they move."""

import errno
import os
import re
import signal
import sys

import pytest

from conftest import ROOT
from kaa_house import LONG

MOVING = ROOT / "python" / "tests" / "moving"


def started(processes, name, *arguments):
    return processes.start(sys.executable, "-u", str(MOVING / f"{name}.py"), *arguments)


def test_the_programs_of_the_documentation_run(processes):
    server = started(processes, "kaa_rpc_server")
    assert server.stdout.readline() == "ready\n"
    client = started(processes, "kaa_rpc_client")
    said, wrong = client.communicate(timeout=LONG)
    assert wrong == ""
    assert sorted(said.splitlines()[:2]) == ["5 in a callback", "7"]
    assert said.splitlines()[2:] == [
        "server",
        "it says hello",
        f"{errno.ENOENT} /nowhere/at/all",
        "Exception during RPC call 'file.open'; remote traceback follows:",
    ]
    said, wrong = server.communicate(timeout=LONG)
    assert wrong == ""
    assert said.splitlines()[0] == "client connected"


def test_a_client_finds_its_server_before_and_behind(processes):
    client = started(processes, "kaa_beacon_client")
    for version in ("one", "two"):
        server = started(processes, "kaa_beacon_server", version)
        assert client.stdout.readline() == f"client 1 of {version}\n"
        assert (
            client.stdout.readline()
            == "monitor 1 changed [('name', 'film'), ('parts', 1), ('type', 'video')]\n"
        )
        server.send_signal(signal.SIGINT)
        said, wrong = server.communicate(timeout=LONG)
        assert (said.splitlines()[0], wrong, server.returncode) == ("ready", "", 0)
        assert client.stdout.readline() == "server went\n"
    client.send_signal(signal.SIGINT)
    assert client.communicate(timeout=LONG)[0] == ""
    assert client.returncode == 0


def test_a_program_of_coroutines_runs(processes):
    said, wrong = started(processes, "kaa_coroutines").communicate(timeout=LONG)
    assert wrong == ""
    assert said.splitlines() == [
        "True",
        "ValueError: there are no feeds",
        "[1, 2, 3]",
        "['One', 'Six', 'Two']",
        "timed out",
        "1 3",
        "done",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_connects_anew(processes):
    child = processes.python(
        """
        import os
        from andiron.compat import kaa_rpc as kaa
        server = kaa.rpc.Server("parent")
        server.register(kaa.rpc.expose("echo")(lambda word: word))
        client = kaa.rpc.connect("parent")
        client.rpc("echo", "parent").connect(lambda _: None)  # a thread begins for that
        client.rpc("echo", 0).wait()
        if os.fork() == 0:
            try:
                client.rpc("echo", 1).wait()
            except IOError as error:
                print("belongs to the parent" in str(error))
            print(kaa.rpc.connect("parent").rpc("echo", "child").wait())
        else:
            os.wait()
            print(client.rpc("echo", "again").wait())
        """
    )
    said, _ = child.communicate(timeout=LONG)
    assert sorted(said.split()) == ["True", "again", "child"]


def test_the_examples_of_the_page_run(home):
    page = ROOT / "docs" / "moving" / "kaa_rpc.md"
    text = page.read_text()
    names = {"__name__": "page"}
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(page), "exec"), names)
