"""A soak test in one command: ``python -m benchmarks.soak --minutes 20 --rate 1000``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.measure import missing
from benchmarks.report import table
from benchmarks.soak.plan import QUICK, Plan
from benchmarks.soak.run import Soak, Told
from benchmarks.soak.verdict import findings, write

RESULTS: Final = Path(__file__).parents[1] / "results"
TRIAL: Final = RESULTS / "trial"
WHOLE: Final = Plan()
"""The results of shorter soaks are not kept."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(0.01, 7 * 24 * 60), help="[default: 20]")
@click.option("--rate", type=click.FloatRange(1, 20_000), help="Calls a second.  [default: 1000]")
@click.option("--seed", type=int, help="Seed of the customers' choices.  [default: 1]")
@click.option("--quick", is_flag=True, help="Two seconds, at small sizes: only to try it.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write.  [default: benchmarks/results, or its trial/ if it is shorter]",
)
def main(
    minutes: float | None, rate: float | None, seed: int | None, quick: bool, output: Path | None
) -> None:
    """Keep an engine busy for a long time, and report whether it grows, drifts, lags or breaks.

    Ctrl-C ends it early, and writes the results so far.  A second Ctrl-C also skips the wait
    until everything has lapsed and is forgotten.  Exits with 1 if an invariant was broken or
    anything was left over.  What is slow is reported, but is not an error.
    """
    said = {"seconds": minutes and minutes * 60, "rate": rate, "seed": seed}
    given = {name: value for name, value in said.items() if value is not None}
    plan = replace(QUICK if quick else WHOLE, **given)  # type: ignore[arg-type]
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    # Redrawn when something changes; a refresh thread would disturb the measurements.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task("", total=plan.seconds)

        def told(second: float, text: str) -> None:
            progress.update(task, completed=second, description=text, refresh=True)

        soak = soaked(plan, told)
    whole = not soak.interrupted and plan.seconds >= WHOLE.seconds
    sys.exit(0 if conclude(soak, output or (RESULTS if whole else TRIAL), console) else 1)


def soaked(plan: Plan, told: Told) -> Soak:
    """Run a soak, and return it."""
    soak = Soak(plan, told)
    anyio.run(soak.run)
    return soak


def conclude(soak: Soak, folder: Path, console: Console) -> bool:
    """Write and print the results, and return whether everything that must hold does."""
    found = findings(soak)
    written = write(folder, soak, found)
    console.print(table({"soak": found}))
    for told in soak.audit.broken.told:
        console.print(f"Broken: {told}", markup=False)
    for reason in found.skipped:
        console.print(f"Skipped: {reason}")
    lacking = missing("matplotlib")
    if lacking is not None:
        console.print(f"No picture: {lacking}")
    elif soak.rows:
        from benchmarks.soak.picture import draw

        draw(written, folder)
    console.print(f"Written to {folder}")
    return soak.audit.broken.count == 0 and not any(soak.left.values())


if __name__ == "__main__":
    main()
