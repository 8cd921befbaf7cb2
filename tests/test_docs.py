"""The examples of the pages in ``docs`` do what these say."""

from __future__ import annotations

import doctest
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from slotengine import EventType
from slotengine.calcom.catalog_file import catalog_from

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
