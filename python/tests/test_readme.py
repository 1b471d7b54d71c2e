"""What the README and the pages show is what is tested."""

import re

import pytest

import andiron
from conftest import ROOT

PAGES = {page: (ROOT / page).read_text() for page in ("README.md", "docs/python.md")}


def blocks_of(page):
    """The blocks of Python of a page, with the lines at which they begin."""
    text = PAGES[page]
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        yield text[: block.start(1)].count("\n"), block[1]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ["server", "client"])
def test_the_two_files_are_shown(page, name):
    path = f"examples/python/{name}.py"
    shown = [block for _, block in blocks_of(page) if block.startswith(f"# {path}\n")]
    assert shown == [f"# {path}\n" + (ROOT / path).read_text()]


def test_the_examples_of_the_guide_run(home):
    names = {"__name__": "guide"}
    for line, block in blocks_of("docs/python.md"):
        if not block.startswith("# examples/"):
            exec(compile("\n" * line + block, str(ROOT / "docs/python.md"), "exec"), names)


def test_the_guide_has_every_kind_of_error():
    rows = re.findall(r"^\| ([a-z ]+) \| `(\w+)` \| (?:`(\w+)`)? ?\|", PAGES["docs/python.md"], re.MULTILINE)

    def builtin(cls):
        return "".join(base.__name__ for base in cls.__bases__ if base.__module__ == "builtins")

    known = {cls.kind: cls for cls in vars(andiron).values() if is_error(cls)}
    assert {row[0] for row in rows} == set(known)
    for kind, name, also in rows:
        assert (known[kind].__name__, builtin(known[kind])) == (name, also)


def is_error(value):
    return isinstance(value, type) and issubclass(value, andiron.Error) and value is not andiron.Error
