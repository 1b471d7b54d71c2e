"""Programs that were written for Pyro give with this package what they gave with Pyro, but for the line of the import."""

import importlib
import importlib.util
import re
import sys
import types

import pytest

import andiron
from conftest import NATIVE, ROOT, needs_unix

FOLDER = ROOT / "python" / "tests" / "moving"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("pyro_*.py") if "\ndef main(pyro):" in path.read_text())


@pytest.fixture
def program(monkeypatch, home):
    """Imports one by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def marked(name):
    return pytest.param(name, marks=needs_unix if name == "pyro_unix" else ())


@pytest.mark.parametrize("name", [*map(marked, PROGRAMS)])
def test_a_program_gives_what_it_gave_with_pyro(program, name):
    from andiron.compat import pyro

    chosen = program(name)
    try:
        assert chosen.main(pyro) == chosen.GIVES
    finally:
        pyro.config.reset()


@pytest.mark.parametrize("name", [*map(marked, PROGRAMS)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pyro_itself_gives_what_is_written_there(program, name):
    if andiron.engine == "pure" and NATIVE is not None:
        pytest.skip("Pyro gives the same whichever engine is here: it is asked where that is the native one")
    chosen = program(name)
    module = "Pyro4" if getattr(chosen, "GENERATION", 5) == 4 else "Pyro5"
    for needed in (module, *getattr(chosen, "NEEDS", ())):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: what {module} gives is in the program")
    assert chosen.main(real(module)) == chosen.GIVES


def real(module):
    """Pyro itself, with its errors where they are here."""
    if module == "Pyro4":
        for part in ("errors", "util", "naming"):
            importlib.import_module(f"Pyro4.{part}")
        return sys.modules["Pyro4"]
    api, errors = importlib.import_module("Pyro5.api"), importlib.import_module("Pyro5.errors")
    return types.SimpleNamespace(**{**vars(api), "errors": errors})


def with_its_import_changed(name, generation=5):
    """The text of a program with the import of this package in place of that of Pyro, and nothing else changed."""
    text = (FOLDER / f"{name}.py").read_text()
    mine = f"from andiron.compat import pyro as Pyro{generation}"
    first = text.replace(f"import Pyro{generation}.api\n", f"{mine}\n")
    return re.sub(rf"^import Pyro{generation}\.\w+\n", "", first, flags=re.MULTILINE)


def test_name_server_server_and_client_are_three_programs(processes):
    names = processes.python(with_its_import_changed("pyro_serve_names"))
    port = names.stdout.readline().strip()
    server = processes.python(with_its_import_changed("pyro_serve_server"), port)
    client = processes.python(with_its_import_changed("pyro_serve_client"), port)
    said, errors = client.communicate(timeout=60)
    assert (said, errors) == (
        "['chair', 'bike']\nAnn stored the lamp\n['chair', 'bike', 'lamp']\n['example.warehouse']\n",
        "",
    )
    said, errors = server.communicate(timeout=60)
    assert re.fullmatch(
        r"Object <class '__main__.Warehouse'>:\n    uri = PYRO:obj_\w+@localhost:\d+\n    name = example.warehouse\nPyro daemon running.\nended\n",
        said,
    ), said
    assert errors == ""
    said, errors = names.communicate(timeout=60)
    assert (said, errors) == ("ended\n", "")


def test_an_andiron_server_takes_the_place_of_the_name_server(processes):
    with andiron.Server({}, threads=4):
        server = processes.python(with_its_import_changed("pyro_serve_server"), "1")
        client = processes.python(with_its_import_changed("pyro_serve_client"), "1")
        said, errors = client.communicate(timeout=60)
        assert (said.count("\n"), errors) == (4, "")
        assert server.wait(60) == 0


@needs_unix
@pytest.mark.skipif(
    sys.version_info < (3, 9), reason="no interpreter that allows threads can be made from within"
)
def test_programs_run_in_an_interpreter_of_their_own(home):
    inside = pytest.importorskip("test_subinterpreters").Inside
    told = inside(
        home,
        """
        import importlib
        from andiron.compat import pyro
        sys.path.insert(0, programs)
        for name in ("pyro_callbacks", "pyro_4_names", "pyro_4_futures"):
            program = importlib.import_module(name)
            tell(name, program.main(pyro) == program.GIVES)
        """,
        programs=str(FOLDER),
    ).told()
    assert told == ["pyro_callbacks True", "pyro_4_names True", "pyro_4_futures True"]
