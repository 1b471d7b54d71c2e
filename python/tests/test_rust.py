"""Between this package and programs in Rust: the example of the README, and the daemon."""

import json
import subprocess

import pytest

import andiron
from conftest import ROOT


@pytest.fixture
def rust(processes):
    """Starts an example in Rust by its name."""
    folder = ROOT / "target" / "debug"
    if not (folder / "player").exists():
        subprocess.run(
            ["cargo", "build", "--quiet", "--locked", "-p", "andiron-examples"], cwd=ROOT, check=True
        )
    return lambda name, **options: processes.start(folder / name, **options)


@pytest.fixture
def daemon(processes, command):
    daemon = processes.start(command, "serve", "--no-state")
    assert "listening" in daemon.stderr.readline()
    return daemon


def test_python_calls_an_object_in_rust(daemon, rust):
    rust("player")
    with andiron.connect(wait=30) as hub:
        player = hub["player"]
        assert dir(player) == ["seek"]
        assert player.seek(12.5) == 12.5
        assert player.seek(seconds=20) == 7.5
        with pytest.raises(TypeError, match="expected f64"):
            player.seek("far")
        with pytest.raises(AttributeError, match="do you mean `seek`"):
            player.seak


def test_rust_calls_an_object_in_python(daemon, rust):
    @andiron.expose
    class Player:
        def seek(self, seconds: float) -> float:
            return seconds / 2

    with andiron.connect() as hub:
        hub.register("player", Player())
        remote = rust("remote")
        assert remote.communicate(timeout=60) == ("moved by 6.25 s\n", "")
        assert hub.store["moved"] == 6.25


def test_the_shell_sees_values_objects_and_errors_of_python(daemon, command):
    class Shelf:
        @andiron.expose
        def discs(self, first: int = 0):
            """All discs."""
            yield from range(first, 3)

        @andiron.expose
        def fail(self):
            raise KeyError("no such disc")

    def shell(*arguments):
        return subprocess.run([command, *arguments], capture_output=True, text=True, check=False)

    with andiron.connect() as hub:
        hub.register("shelf", Shelf())
        hub.store["x"] = (1, 2**70, {"a": b"x"})
        assert json.loads(shell("get", "x", "--json").stdout)["value"] == {
            "$tuple": [1, {"$int": str(2**70)}, {"a": {"$bytes": "eA=="}}]
        }
        assert shell("set", "y", '{"$tuple": [1, {"$set": [2]}]}').returncode == 0
        assert hub.store["y"] == (1, {2})
        assert "discs(first: int)" in shell("describe", "shelf").stdout
        assert shell("call", "shelf", "discs", "1").stdout == "1\n2\n"
        failed = shell("call", "shelf", "fail")
        assert failed.returncode == 1
        assert "KeyError: 'no such disc'" in failed.stderr
        assert "no method `fale`" in shell("call", "shelf", "fale").stderr
