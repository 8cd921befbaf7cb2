"""The examples of the pages in ``docs`` do what these say."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path

import pytest

from slotengine.calcom.catalog_file import catalog_from

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "server.md"


@pytest.mark.parametrize("page", ["calcom.md", "server.md", "standin.md"])
def test_the_python_runs(monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.chdir(ROOT)
    results = doctest.testfile(str(DOCS.parent / page), module_relative=False, encoding="utf-8")
    assert results.attempted > 0
    assert results.failed == 0


def test_the_toml_is_right() -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert repr(catalog_from(tomllib.loads(toml))) == (
        "<Catalog: 2 event types, 2 users, 1 bookings>"
    )
