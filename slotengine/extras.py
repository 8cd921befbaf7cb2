"""Checks that the extra a part of the package needs is installed."""

from __future__ import annotations

from importlib.util import find_spec


def require(part: str, extra: str, *packages: str) -> None:
    """Raise `ModuleNotFoundError` with the extra to install, unless all packages are installed.

    A part calls it before its own imports, whose error would name the package but not
    the extra.

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
    """Return the error for a missing package, which names the extra to install."""
    return ModuleNotFoundError(
        f"{part} needs {package}, which is not installed; "
        f"install it with: pip install 'slotengine[{extra}]'",
        name=package,
    )
