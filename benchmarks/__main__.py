"""All benchmarks, in one command: ``python -m benchmarks``.

It runs every family, shows the progress, writes the results, the table of bars and the
pictures, and prints the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.families import FAMILIES, Failed, measure_apart
from benchmarks.measure import FULL, QUICK, Findings, missing
from benchmarks.report import table, write

RESULTS = Path(__file__).parent / "results"
TRIAL = RESULTS / "trial"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Small sizes, in less than a minute: only to try it.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(FAMILIES)), help="This family; repeatable."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write.  [default: benchmarks/results, or its trial/ if not all is measured]",
)
def main(quick: bool, only: tuple[str, ...], output: Path | None) -> None:
    """Measure slotengine against its peers, and against every bar.

    Exits with 1 if a family failed.  A bar that is not met is reported, but is not an error.
    """
    names = only or tuple(FAMILIES)
    scale = QUICK if quick else FULL
    folder = output or (TRIAL if quick or only else RESULTS)
    console = Console()
    findings: dict[str, Findings] = {}
    failures: list[str] = []
    columns = TextColumn("{task.fields[family]}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), TextColumn("{task.description}"), console=console
    ) as progress:
        task = progress.add_task("", total=len(names), family="")
        for name in names:
            progress.update(task, family=name, description="")
            try:
                findings[name] = measure_apart(
                    name, scale, lambda text: progress.update(task, description=text)
                )
            except Failed as failed:
                failures.append(str(failed))
            progress.advance(task)
    results = write(folder, findings, scale)
    console.print(table(findings))
    skipped = [reason for one in findings.values() for reason in one.skipped]
    lacking = missing("matplotlib")
    if lacking is None:
        from benchmarks.pictures import draw

        draw(results, folder)
    else:
        skipped.append(f"pictures: {lacking}")
    for reason in skipped:
        console.print(f"Skipped: {reason}")
    for failure in failures:
        console.print(f"Failed: {failure}", markup=False)
    console.print(f"Written to {folder}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
