"""The package as a process has it: the command, and what an import takes."""

import subprocess
import sys


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


def test_the_command_is_there_and_as_a_module(native, command, home):
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
