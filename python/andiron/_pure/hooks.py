"""What the package gives the engine; see ``docs/design.md``, "The engines of Python"."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The functions of the package, by name in one object. Read as ``hooks.package.reduce``, since it is given late.
package: Any = None


def install(given: Any) -> None:
    """Takes them. The first ones stay: there is one package."""
    global package
    if package is None:
        package = given
