"""The examples of ``docs/server.md`` and ``docs/calcom.md`` do what they say."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path

import pytest

from slotengine.calcom.catalog_file import catalog_from

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "server.md"
CLIENT_DOCS = ROOT / "docs" / "calcom.md"


@pytest.mark.parametrize("docs", [DOCS, CLIENT_DOCS], ids=lambda docs: docs.name)
def test_the_python_runs(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    results = doctest.testfile(str(docs), module_relative=False, encoding="utf-8")
    assert results.attempted > 0
    assert results.failed == 0


def test_the_toml_is_right() -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert repr(catalog_from(tomllib.loads(toml))) == (
        "<Catalog: 2 event types, 2 users, 1 bookings>"
    )
