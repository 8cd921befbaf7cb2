"""The public names of `slotengine.calcom`, with and without the client's extra."""

from __future__ import annotations

import ast
import builtins
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_origin

import pytest

import slotengine
from slotengine import calcom

WITHOUT = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError("no module named " + name)

sys.meta_path.insert(0, Forbidden())
from slotengine.calcom import RemoteError, OutcomeUnknown
{program}
"""


def run(program: str, *missing: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(program=program, missing=set(missing))],
        cwd=Path(slotengine.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FOREIGN = {"Awaitable", "Callable", "ClassVar", "Collection", "Mapping", "Sequence"} | {
    "aiohttp",
    "chance",  # the module `random`
    "datetime",
    "timedelta",
}
"""Names in signatures that come from other packages."""


@pytest.mark.parametrize("name", calcom.__all__)
def test_every_name_exists_and_is_documented(name: str) -> None:
    value = getattr(calcom, name)
    if isinstance(value, str) or get_origin(value) is not None:  # a constant, or a type alias
        return
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}(")


@pytest.mark.parametrize("name", calcom.__all__)
def test_every_name_in_a_signature_is_public(name: str) -> None:
    value = getattr(calcom, name)
    if not inspect.isclass(value):
        return
    annotations = [*_public(inspect.get_annotations(value))]
    for member, defined in vars(value).items():
        function = defined.fget if isinstance(defined, property) else defined
        called = not member.startswith("_") or (member == "__init__" and name != "Permits")
        if inspect.isfunction(function) and called:  # permits are made by their client
            annotations += inspect.get_annotations(function).values()
    known = {*calcom.__all__, *slotengine.__all__, *dir(builtins), *FOREIGN}
    for annotation in annotations:
        tree = ast.parse(annotation) if isinstance(annotation, str) else ast.Module([], [])
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert used <= known, annotation


def _public(annotations: dict[str, object]) -> Iterator[object]:
    yield from (text for field, text in annotations.items() if not field.startswith("_"))


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nobody'"):
        _ = calcom.Nobody  # type: ignore[attr-defined, unused-ignore]


def test_the_server_needs_not_the_clients_extra() -> None:
    done = run("from slotengine.calcom.server import create_app", "tenacity")
    assert done.returncode == 0, done.stderr


def test_the_errors_need_no_extra() -> None:
    done = run("", "tenacity", "aiohttp", "orjson", "pydantic", "yarl")
    assert done.returncode == 0, done.stderr


def test_the_client_says_what_is_missing() -> None:
    done = run("from slotengine.calcom import CalComClient", "tenacity")
    assert "no module named tenacity" in done.stderr


def test_plain_values_need_no_extra() -> None:
    names = "CircuitState, Difference, ReconcileReport, SyncMode, SyncedEventType"
    program = f"from slotengine.calcom import {names}"
    done = run(program, "tenacity", "aiohttp", "orjson", "pydantic", "yarl")
    assert done.returncode == 0, done.stderr
