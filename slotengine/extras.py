"""What a part of the package needs beside the base install, and which extra brings it."""

from __future__ import annotations

from importlib.util import find_spec


def require(part: str, extra: str, *packages: str) -> None:
    """Raise `ModuleNotFoundError`, which says what to install, unless all packages are there.

    A part calls it before its own imports, so that what is told first is not the
    name of some package that only this part knows.

    >>> require("slotengine.rockets", "rockets", "json", "rocket_fuel")
    Traceback (most recent call last):
        ...
    ModuleNotFoundError: slotengine.rockets needs rocket_fuel, which is not installed; install it \
with: pip install 'slotengine[rockets]'
    """
    for package in packages:
        if find_spec(package) is None:
            raise missing(part, extra, package)


def missing(part: str, extra: str, package: str) -> ModuleNotFoundError:
    """Return the error that says which extra brings a package that a part needs."""
    return ModuleNotFoundError(
        f"{part} needs {package}, which is not installed; "
        f"install it with: pip install 'slotengine[{extra}]'",
        name=package,
    )
