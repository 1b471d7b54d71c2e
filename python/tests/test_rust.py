"""Between this package and programs in Rust: the example of the README, and the daemon."""

import json
import shutil
import subprocess
import sys

import pytest

import andiron
import peer
from conftest import ROOT, environment, needs_unix


@pytest.fixture
def rust(processes):
    """Starts an example in Rust by its name."""
    folder = ROOT / "target" / "debug"
    if not all((folder / name).exists() for name in ("player", "remote", "peer")):
        if not shutil.which("cargo"):
            pytest.skip("the examples in Rust were not built, and there is no cargo to do it")
        subprocess.run(
            ["cargo", "build", "--quiet", "--locked", "-p", "andiron-examples"], cwd=ROOT, check=True
        )
    return lambda name, args=(), **options: processes.start(folder / name, *args, **options)


@pytest.fixture
def daemon(processes, command):
    daemon = processes.start(command, "serve", "--no-state")
    assert "listening" in daemon.stderr.readline()
    return daemon


pytestmark = needs_unix

ENGINES = ["native", "pure", "rust"]


@pytest.fixture
def program(rust, processes):
    """Starts what is the same in either language and engine."""
    python = ROOT / "python" / "tests" / "peer.py"

    def start(engine, what):
        if engine == "rust":
            return rust("peer", args=[what])
        return processes.start(sys.executable, "-u", python, what, env=environment(engine))

    return start


def check(program, engine):
    """Has a client see each behaviour."""
    with andiron.connect(wait=60) as hub:
        assert hub["peer"] is not None
    client = program(engine, "check")
    out, err = client.communicate(timeout=120)
    assert (client.returncode, err) == (0, "")
    told = [] if engine == "rust" else [engine]
    assert out.splitlines() == [*told, *peer.BEHAVIOURS]


@pytest.mark.parametrize("server", ENGINES)
@pytest.mark.parametrize("client", ENGINES)
def test_each_engine_does_what_the_others_do(daemon, program, client, server):
    program(server, "serve")
    check(program, client)


@pytest.mark.parametrize("server", ["native", "pure"])
@pytest.mark.parametrize("client", ENGINES)
def test_each_engine_calls_a_server_in_python(program, client, server):
    program(server, "serve")
    check(program, client)


@pytest.mark.parametrize("server", ENGINES)
@pytest.mark.parametrize("behaviour", peer.BEHAVIOURS)
def test_this_engine_and_each_other(daemon, program, server, behaviour):
    program(server, "serve")
    with andiron.connect(wait=60) as hub:
        peer.BEHAVIOURS[behaviour](hub["peer"])


def test_rust_and_the_shell_read_properties_and_containers_of_python(daemon, command):
    class Shelf:
        def __init__(self):
            self._owner = "me"

        @andiron.expose
        @property
        def owner(self) -> str:
            return self._owner

        @owner.setter
        def owner(self, owner):
            self._owner = owner

        @andiron.expose
        def __len__(self):
            return 3

        @andiron.expose
        def __getitem__(self, index):
            return ["a", "b", "c"][index]

        @andiron.expose
        def __iter__(self):
            return iter("abc")

    def shell(*arguments):
        done = subprocess.run(
            [command, "call", "shelf", *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout or done.stderr

    with andiron.connect() as hub:
        hub.register("shelf", Shelf())
        assert shell("owner") == '"me"\n'
        assert shell("$set", "owner", "you") == ""
        assert shell("owner") == '"you"\n'
        assert "no property `size` that can be set" in shell("$set", "size", "1")
        assert shell("$len") == "3\n"
        assert shell("$item", "1") == '"b"\n'
        assert "IndexError" in shell("$item", "9")
        assert shell("$iterate") == '"a"\n"b"\n"c"\n'


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


def test_the_shell_writes_a_typed_class_of_an_object(daemon, rust, command, tmp_path):
    @andiron.expose
    class Shelf:
        """Holds discs."""

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> str:
            return "Embers"

        def __iter__(self):
            yield "Embers"

        @property
        def owner(self) -> str:
            return "me"

        @owner.setter
        def owner(self, owner: str) -> None: ...

        @property
        def size(self):
            return 3

        def discs(self, first: int = 0, *, titles: "list[str] | None" = None) -> "Iterator[int]":  # noqa: F821
            """All discs.

            From the `first` on.
            """
            yield from range(first, 3)

        def put(self, disc, /, *more, **further: int):
            return disc

    with andiron.connect(wait=30) as hub:
        hub.register("shelf", Shelf())
        rust("player")
        assert hub["player"] is not None or andiron.connect(wait=30)["player"]
        written = subprocess.run(
            [command, "describe", "--python"], capture_output=True, text=True, check=True
        ).stdout
        one = subprocess.run(
            [command, "describe", "shelf", "--python"], capture_output=True, text=True, check=True
        )
    assert "class Shelf(Protocol):" in one.stdout
    assert "class Player(Protocol):" in written
    assert "    def seek(self, seconds: float) -> float:" in written
    assert (
        "    def discs(self, first: int = ..., *, titles: list[str] | None = ...) -> Iterator[int]:"
        in written
    )
    assert "    def put(self, disc: Any, /, *more: Any, **further: int) -> Any: ..." in written
    assert "    @owner.setter" in written
    assert "    def size(self) -> Any: ..." in written
    (tmp_path / "written.py").write_text(written)
    (tmp_path / "use.py").write_text(
        "import andiron\n"
        "from written import Player, Shelf\n"
        "shelf: Shelf = andiron.connect()['shelf']\n"
        "player: Player = andiron.connect()['player']\n"
        "length: int = len(shelf)\n"
        "title: str = shelf[0]\n"
        "shelf.owner = shelf.owner.upper()\n"
        "numbers: list[int] = list(shelf.discs(titles=['x']))\n"
        "there: float = player.seek(1)\n"
        "there = player.seak(1)\n"
    )
    pytest.importorskip("mypy")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "use.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in checked.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, checked.stdout
    assert 'use.py:10: error: "Player" has no attribute "seak"' in errors[0]


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
        assert "discs(first: int = ..)" in shell("describe", "shelf").stdout
        assert shell("call", "shelf", "discs", "1").stdout == "1\n2\n"
        failed = shell("call", "shelf", "fail")
        assert failed.returncode == 1
        assert "KeyError: 'no such disc'" in failed.stderr
        assert "no method `fale`" in shell("call", "shelf", "fale").stderr
