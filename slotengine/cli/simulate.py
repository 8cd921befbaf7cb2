"""``slotengine simulate``: play seed after seed, and tell of the first that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from slotengine.testing.faults import ABOUT, fault
from slotengine.testing.simulation import Finding, Played, history, play, simulate


def first_finding(
    seeds: Sequence[int], steps: int, *, backend: str, broken: str | None, done: Callable[[], None]
) -> Finding | None:
    """Return what the first seed that fails has shown, or None; tell of each that is ``done``."""
    with nullcontext() if broken is None else fault(broken):
        for seed in seeds:
            finding = simulate(seed, steps, backend=backend)
            if finding is not None:
                return finding
            done()
    return None


def replay(
    seed: int, steps: int, only: Sequence[int], *, backend: str, broken: str | None
) -> Played:
    """Return what comes of some of the steps of a seed."""
    whole = history(seed, steps)
    with nullcontext() if broken is None else fault(broken):
        return play([whole[i] for i in only], backend=backend, look_every=1)


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """Show how far it is on a terminal's standard error; what is returned moves it on by one."""
    console = Console(stderr=True)
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task("seeds", total=total)
        yield lambda: shown.advance(task)


def report(finding: Finding, more: Sequence[str]) -> str:
    """Return what is printed of a failure: the history, why it fails, how to have it again."""
    failure = finding.played.failure
    assert failure is not None
    return (
        f"{finding.played.text}"
        f"seed {finding.seed} fails, {len(finding.only)} of {finding.steps} steps will do: "
        f"{failure.rule}: {failure.told}\n"
        f"to see it again: {finding.command(*more)}"
    )


def _indexes(context: click.Context, option: click.Parameter, text: str | None) -> list[int] | None:
    if text is None or text == "none":
        return None if text is None else []
    try:
        steps = [int(word) for word in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of steps, such as 3,17,44") from None
    if steps != sorted(set(steps)):
        raise click.BadParameter(f"{text!r} must be in order, and each step once")
    return steps


@click.command()
@click.option("--seeds", type=click.IntRange(1), help="How many.  [default: 100, or 1 with --seed]")
@click.option("--seed", "first", type=click.IntRange(0), help="The first one.  [default: 0]")
@click.option("--steps", default=100, show_default=True, type=click.IntRange(1), help="Of each.")
@click.option("--only", callback=_indexes, help="Play only these steps of the seed, as 3,17,44.")
@click.option("--fault", "broken", help="Break the engine in this way, which must be found.")
@click.option(
    "--backend",
    default="asyncio",
    show_default=True,
    type=click.Choice(["asyncio", "trio"]),
    help="The event loop to run on.",
)
def command(
    seeds: int | None,
    first: int | None,
    steps: int,
    only: list[int] | None,
    broken: str | None,
    backend: str,
) -> None:
    """Let many clients and all that can go wrong loose on an engine, from seeds.

    Exits with 1 if an invariant was broken: then it prints the shortest history
    found that does it, and the command that plays just that again.
    """
    if broken is not None and broken not in ABOUT:
        raise click.BadParameter(f"there are: {', '.join(ABOUT)}", param_hint="'--fault'")
    seed = first or 0
    if only is not None and seeds is not None:
        raise click.UsageError("--only is about the steps of one --seed, not of several --seeds")
    if only is not None:
        if not all(0 <= step < steps for step in only):
            raise click.BadParameter(f"there are steps 0 to {steps - 1}", param_hint="'--only'")
        played = replay(seed, steps, only, backend=backend, broken=broken)
        click.echo(played.text, nl=False)
        if played.failure is not None:
            raise click.ClickException(f"{played.failure.rule}: {played.failure.told}")
        click.echo(f"{len(only)} of {steps} steps of seed {seed}: nothing found.")
        return
    total = seeds or (100 if first is None else 1)
    with progress(total) as done:
        finding = first_finding(
            range(seed, seed + total), steps, backend=backend, broken=broken, done=done
        )
    if finding is not None:
        more = [] if broken is None else [f"--fault {broken}"]
        more += [] if backend == "asyncio" else [f"--backend {backend}"]
        click.echo(report(finding, more))
        raise click.exceptions.Exit(1)
    click.echo(f"{total} seeds of {steps} steps, from {seed} on: nothing found.")
