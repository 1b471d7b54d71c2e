"""The package as a process has it: the command, what an import takes, sub-interpreters."""

import re
import subprocess
import sys

import pytest


def test_a_process_that_serves_and_calls_ends_by_itself(processes, home):
    code = f"""
        import andiron
        server = andiron.Server({{"f": lambda callback: callback(1)}}, "unix:{home}/socket", state=False)
        hub = andiron.connect(server.addresses[0])
        assert hub["f"](lambda x: x + 1) == 2
        hub.register("g", print)
        hub["g"]("said")
        print("done")
    """
    process = processes.python(code)
    assert process.communicate(timeout=60) == ("said\ndone\n", "")
    assert process.returncode == 0


def test_the_command_is_there_and_as_a_module(command, home):
    for program in ([command], [sys.executable, "-m", "andiron"]):
        assert subprocess.run(
            [*program, "--version"], capture_output=True, text=True, check=True
        ).stdout.startswith("andiron ")
        missing = subprocess.run([*program, "get", "x"], capture_output=True, text=True, check=False)
        assert missing.returncode == 1
        assert "no server" in missing.stderr


def test_importing_is_light():
    code = "import sys, andiron; print(*[name for name in ('asyncio', 'ssl', 'sqlite3', 'numpy', 'inspect') if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "\n"
    )


@pytest.mark.parametrize("first", ["import andiron", ""], ids=["beside the main one", "alone"])
@pytest.mark.parametrize("module", ["andiron", "andiron._native"])
def test_a_sub_interpreter_is_refused_in_words(processes, module, first):
    code = f"""
        import sys
        try:
            import _interpreters as interpreters
        except ImportError:  # before 3.13
            import _xxsubinterpreters as interpreters
        {first}
        inside = f'''
        import sys
        sys.path[:] = {{sys.path!r}}
        try:
            import {module}
        except ImportError as error:
            print("ImportError:", error, flush=True)
        '''
        import textwrap
        told = interpreters.run_string(interpreters.create(), textwrap.dedent(inside))
        assert told is None, told
        import andiron
        print(andiron.decode(andiron.encode("the main one works")))
    """
    out, err = processes.python(code).communicate(timeout=60)
    refused, works = out.splitlines()
    assert re.fullmatch("ImportError: the native engine of andiron works in the main interpreter .*", refused)
    assert (works, err) == ("the main one works", "")
