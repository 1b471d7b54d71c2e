"""What a type checker sees of the package."""

import pathlib
import re
import subprocess
import sys

import pytest

import andiron
from conftest import ROOT

PROGRAM = ROOT / "python" / "tests" / "typed.py"


def test_the_package_says_that_it_has_types():
    package = pathlib.Path(andiron.__file__)
    assert package.with_name("py.typed").is_file()
    assert package.with_name("_native.pyi").is_file()


def test_a_program_with_types_is_checked():
    pytest.importorskip("mypy")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT / "python",
    )
    found = re.findall(r"typed\.py:(\d+): error: (.*)", checked.stdout)
    expected = [
        (number, re.search(r"# error: (.*)", line))
        for number, line in enumerate(PROGRAM.read_text().splitlines(), 1)
    ]
    expected = [(str(number), why.group(1)) for number, why in expected if why]
    assert [number for number, _ in found] == [number for number, _ in expected], checked.stdout
    for (_, told), (_, why) in zip(found, expected):
        assert why in told
