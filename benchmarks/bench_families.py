"""Every family of benchmarks at a tiny size: that it runs, and finds what it should.

Nothing here depends on speed.  Peers whose packages are installed take part, servers
included, and must decide the storm as the ledger does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import arrivals, http, load, peers, storm, workloads
from benchmarks.families import FAMILIES, Failed, measure, measure_apart
from benchmarks.measure import TINY, Findings, Say, Scale
from benchmarks.peers import PEERS, Peer, in_process
from benchmarks.pictures import draw
from benchmarks.report import circumstances, markdown, write
from benchmarks.targets import LedgerTarget
from benchmarks.workloads import Storm

BARS = {
    "storm": 1 + len(PEERS),
    "await": 3 * 4,
    "growth": 4,
    "memory": 2,
    "lapsing": 5,
    "replay": 1,
    "listing": 4,
    "pools": 20,
    "beside": 5,
    "paths": 5,
    "collector": 4,
    "http": 2,
}
"""The number of bars of each family."""


@pytest.fixture(scope="module")
def found() -> dict[str, Findings]:
    return {name: measure(name, TINY, lambda _: None) for name in FAMILIES}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_measures_all_that_it_is_to(found: dict[str, Findings], name: str) -> None:
    findings = found[name]
    # Everything in the extra that supports this machine is installed.
    assert all(reason.endswith("is not installed (extra: bench)") for reason in findings.skipped)
    assert name == "storm" or not findings.skipped
    assert len(findings.bars) == BARS[name] - len(findings.skipped)
    assert all(bar.measured > 0 for bar in findings.bars)
    assert findings.runs


def test_the_server_is_compared_verb_by_verb(capsys: pytest.CaptureFixture[str]) -> None:
    http.compare("asyncio", rounds=1, requests=20, connections=4)
    rows = capsys.readouterr().out.splitlines()[2:]
    verbs = ["POST, accepted", "POST, refused", "GET", "PATCH, renewed", "GET /v2/slots, a week"]
    assert [row[:24].strip() for row in rows] == [*verbs, "DELETE"]


def test_results_are_kept_with_what_they_depend_on_and_drawn(
    found: dict[str, Findings], tmp_path: Path
) -> None:
    written = write(tmp_path, found, TINY)
    assert json.loads((tmp_path / "results.json").read_text()) == written
    assert written.keys() == {"circumstances", "families"}
    page = (tmp_path / "bars.md").read_text()
    for findings in found.values():
        for bar in findings.bars:
            assert f"| {bar.name} |" in page
    drawn = draw(written, tmp_path)
    assert {path.name for path in drawn} == {"throughput.svg", "latency.svg", "growth.svg"}
    assert all("slotengine" in path.read_text() for path in drawn)
    assert all(path.stat().st_size < 100_000 for path in drawn)


class Overbooking(LedgerTarget):
    """A target that accepts every request."""

    def __init__(self, storm: Storm) -> None:
        super().__init__(storm)
        self.count = 0

    def reserve(self, resource: str, start: int, end: int, now: int) -> str | None:
        self.count += 1
        return super().reserve(resource, start, end, now) or f"no hold {self.count}"

    def confirm(self, token: str, now: int) -> None:
        if not token.startswith("no hold"):
            super().confirm(token, now)

    release = confirm


def test_who_decides_otherwise_does_not_get_away_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "import_module", lambda _: _Module())
    wrong = Peer("a peer", "module.wrong")
    stream = workloads.storm(requests=400, resources=2, days=2)
    with pytest.raises(AssertionError, match="a peer decides differently"):
        storm.against_peer(stream, wrong, 1, lambda _: None)


class _Module:
    wrong = staticmethod(in_process(Overbooking))


def test_a_peer_that_cannot_run_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = Peer("a peer", "nowhere.at_all", ("no_such_package",))
    monkeypatch.setattr(storm, "PEERS", (absent,))
    findings = storm.measure(TINY, lambda _: None)
    assert findings.skipped == ["a peer: no_such_package is not installed (extra: bench)"]
    assert len(findings.bars) == 1
    assert "Skipped: a peer: no_such_package" in markdown({"storm": findings}, circumstances(TINY))


def test_a_family_that_fails_says_so() -> None:
    with pytest.raises(Failed, match=r"(?s)^listing: .*Traceback"):
        measure_apart("listing", Scale(runs=0), lambda _: None)


def test_the_command_writes_and_prints_what_it_found(tmp_path: Path) -> None:
    arguments = ["--quick", "--only", "paths", "--output", str(tmp_path)]
    result = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Bars" in result.output
    assert json.loads((tmp_path / "results.json").read_text())["families"].keys() == {"paths"}


def test_the_command_ends_with_1_if_a_family_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(name: str, scale: Scale, say: Say) -> Findings:
        raise Failed(f"{name}: it rained")

    monkeypatch.setattr(command, "measure_apart", fail)
    result = CliRunner().invoke(command.main, ["--only", "memory", "--output", str(tmp_path)])
    assert result.exit_code == 1
    assert "Failed: memory: it rained" in result.output


def test_a_late_answer_counts_from_when_it_was_due() -> None:
    rung = anyio.run(arrivals.engine_rung, 5e6, 0.01)  # more than any system can answer
    assert rung.saturated
    assert rung.ms["p50"] > 1


def test_the_ladders_show_every_rate() -> None:
    for arguments in (
        ["engine", "--rate", "500", "--seconds", "0.1"],
        ["http", "--rate", "100", "--seconds", "0.1"],
    ):
        result = CliRunner().invoke(load.cli, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        assert re.search(arguments[2], result.output)
