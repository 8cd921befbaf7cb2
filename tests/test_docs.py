"""The examples of the pages in ``docs`` do what these say."""

from __future__ import annotations

import asyncio
import doctest
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from slotengine import EngineClosed, EventType
from slotengine.calcom.catalog.load import catalog_from

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = {
    page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))
}


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if ">>>" in text])
def test_the_python_runs(monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.chdir(ROOT)
    results = doctest.testfile(str(ROOT / "docs" / page), module_relative=False, encoding="utf-8")
    assert results.attempted > 0
    assert results.failed == 0


def test_the_toml_is_right() -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGES["server.md"], re.DOTALL)
    assert repr(catalog_from(tomllib.loads(toml))) == (
        "<Catalog: 2 event types, 2 users, 1 bookings>"
    )


def test_every_field_of_an_event_type_is_in_the_table() -> None:
    (table,) = re.findall(r"^\| Field \|.*?\n\n", PAGES["slots.md"], re.DOTALL | re.MULTILINE)
    named = [
        name
        for row in table.strip().splitlines()[2:]
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert named == [field.name for field in fields(EventType) if field.init]


def lifecycle(name: str) -> str:
    """Return an example of the page about starting and closing."""
    (source,) = re.findall(
        rf"<!-- run: {name} -->\n```python\n(.*?)```", PAGES["lifecycle.md"], re.DOTALL
    )
    return str(source)


def test_the_lifespan_works() -> None:
    names: dict[str, Any] = {}
    exec(lifecycle("lifespan"), names)
    app = SimpleNamespace(state=SimpleNamespace())

    async def serve() -> int:
        async with names["lifespan"](app):
            return int(app.state.engine.statistics().resources)

    assert asyncio.run(serve()) == 1
    with pytest.raises(EngineClosed):
        app.state.engine.now()


@pytest.mark.parametrize("name", ["fixture", "unittest"])
def test_the_tests_pass(tmp_path: Path, name: str) -> None:
    (tmp_path / "test_it.py").write_text(lifecycle(name))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
