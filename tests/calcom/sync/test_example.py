"""The example shows what it claims, and the benchmark runs."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.sync import measure
from examples import sync


def test_the_example_shows_what_it_claims(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(sync.main())
    said = capsys.readouterr().out
    for line in (
        "talk at 10:00: yes",
        "talk at 10:00: no. RemoteConflict",
        "reason=<RevokeReason.REFUSED",
        "talk at 11:00: no. RemoteUncertain",
        "strict: no response 4 times; now refused at once: reserve: the remote is down",
        "background has caught up",
        "there 13:00, 14:00, 15:00",
    ):
        assert line in said
    assert "orphan" in said.rpartition("compared")[2]


def test_the_benchmark_runs() -> None:
    ((bare, synced),) = measure(callers=2, holds=2, runs=1)
    assert min(bare, synced) > 0
