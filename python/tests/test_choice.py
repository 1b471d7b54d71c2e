"""Which engine a process has."""

import os
import shutil
import subprocess
import sys

import pytest

import andiron
from conftest import ROOT

TELLS = "import andiron; print(andiron.engine, 'andiron._native' in __import__('sys').modules)"


def told(*arguments, **options):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120, **options
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def folder(tmp_path):
    """The package as it is copied without pip: its files of Python alone."""
    copied = tmp_path / "copied" / "andiron"
    shutil.copytree(ROOT / "python" / "andiron", copied, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return {**os.environ, "PYTHONPATH": str(copied.parent), "ANDIRON_PURE": "0"}


@pytest.mark.parametrize("chosen", ["1", "yes"])
def test_who_wants_it_has_the_pure_engine(chosen):
    env = {**os.environ, "ANDIRON_PURE": chosen}
    assert told("-c", TELLS, env=env) == (0, "pure False", "")


@pytest.mark.parametrize("chosen", ["", "0"])
def test_who_does_not_has_the_native_one_where_it_can_be_loaded(native, chosen):
    env = {**os.environ, "ANDIRON_PURE": chosen}
    assert told("-c", TELLS, env=env) == (0, "native True", "")


def test_where_there_is_no_native_module_the_engine_is_pure(folder):
    assert told("-c", TELLS, env=folder) == (0, "pure False", "")


def test_a_native_module_of_another_platform_is_none(folder):
    with open(os.path.join(folder["PYTHONPATH"], "andiron", "_native.abi3.so"), "wb") as file:
        file.write(b"\x7fELF of another machine")
    assert told("-c", TELLS, env=folder) == (0, "pure False", "")


def test_the_command_says_what_it_needs_where_there_is_no_native_module(folder):
    code, out, err = told("-m", "andiron", "get", "x", env=folder)
    assert (code, out) == (1, "")
    assert err.startswith("andiron: the command needs the native module, which cannot be loaded (")
    assert "install a wheel" in err
    assert len(err.splitlines()) == 1


def test_the_engine_has_a_name():
    assert andiron.engine in ("native", "pure")
