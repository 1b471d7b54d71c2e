"""What the README shows is what is tested."""

import re

import pytest

from conftest import ROOT


@pytest.mark.parametrize("name", ["server", "client"])
def test_the_readme_shows_the_two_files(name):
    readme = (ROOT / "README.md").read_text()
    shown = re.search(rf"```python\n# examples/python/{name}.py\n(.*?)```", readme, re.DOTALL).group(1)
    assert shown == (ROOT / "examples" / "python" / f"{name}.py").read_text()
