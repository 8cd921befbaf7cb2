"""The examples of the pages in ``docs`` do what these say."""

from __future__ import annotations

import asyncio
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
from tests.pages import Script, printed_by, scripts

ROOT: Final = Path(__file__).parents[1]
PATHS: Final = {
    path.name: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
PAGES: Final = {name: path.read_text(encoding="utf-8") for name, path in PATHS.items()}


SCRIPTS: Final = [
    pytest.param(name, script, id=f"{name}:{script.line}")
    for name, text in PAGES.items()
    for script in scripts(text)
    if script.name is None
]


@pytest.mark.parametrize(("page", "script"), SCRIPTS)
def test_a_script_prints_what_its_page_shows(
    monkeypatch: pytest.MonkeyPatch, page: str, script: Script
) -> None:
    monkeypatch.chdir(ROOT)
    assert printed_by(script, PATHS[page]) == script.output


def test_named_scripts_have_tests_of_their_own() -> None:
    named = {(name, script.name) for name, text in PAGES.items() for script in scripts(text)} - {
        (name, None) for name in PAGES
    }
    assert named == {("lifecycle.md", name) for name in ("lifespan", "fixture", "unittest")}


def test_no_page_shows_a_session_of_the_interpreter() -> None:
    assert [name for name, text in PAGES.items() if ">>>" in text] == []


def test_scripts_are_found_with_their_outputs() -> None:
    page = (
        "# A page\n\n```python\nprint(1)\n```\n\nIt prints:\n\n```text\n1\n```\n\n"
        "<!-- run: quiet -->\n```python\nx = 2\n```\n\n```sh\nls\n```\n"
    )
    assert scripts(page) == [Script(4, "print(1)\n", "1\n"), Script(15, "x = 2\n", "", "quiet")]


@pytest.mark.parametrize("before", ["", "```sh\nls\n```\n", "```python\n```\n```text\n```\n"])
def test_an_output_without_a_script_is_an_error(before: str) -> None:
    with pytest.raises(ValueError, match="this output follows no script"):
        scripts(before + "```text\n1\n```\n")


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("print(2)\n", "1\n"),
        ("print(1)\n", ""),  # output that the page does not show
        ("pass\n", "1\n"),
        ("print(1)\nprint(2)\n", "1\n"),
    ],
)
def test_another_output_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, source: str, output: str
) -> None:
    """Goal: a page that shows what does not happen fails the test above."""
    monkeypatch.setitem(PATHS, "page.md", ROOT / "docs" / "page.md")
    with pytest.raises(AssertionError):
        test_a_script_prints_what_its_page_shows(monkeypatch, "page.md", Script(1, source, output))


def test_an_error_in_a_script_is_a_failure_that_names_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        printed_by(Script(7, "print(1)\n1 / 0\n", "1\n"), ROOT / "docs" / "page.md")
    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 8)


def test_each_script_begins_anew() -> None:
    """Goal: what a script uses it imports itself."""
    printed_by(Script(1, "x = 1\n", ""), ROOT / "docs" / "page.md")
    with pytest.raises(NameError):
        printed_by(Script(1, "x\n", ""), ROOT / "docs" / "page.md")


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
    """Return a named script of the page about starting and closing."""
    (source,) = [one.source for one in scripts(PAGES["lifecycle.md"]) if one.name == name]
    return source


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
        [sys.executable, "-m", "pytest", "-q", "-p", "pytest_asyncio.plugin", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
