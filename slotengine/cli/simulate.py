"""``slotengine simulate``: run simulations of successive seeds until one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from slotengine.testing.simulation import Finding, Played, history, play, simulate
from slotengine.testing.simulation.faults import DESCRIPTIONS, fault


def first_failure(
    seeds: Sequence[int], steps: int, *, backend: str, broken: str | None, done: Callable[[], None]
) -> Finding | None:
    """Return the finding of the first seed that fails, None if there is none.

    Calls ``done`` after each seed that does not fail.
    """
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
    """Play some of the steps of a seed."""
    whole = history(seed, steps)
    with nullcontext() if broken is None else fault(broken):
        return play([whole[i] for i in only], backend=backend, check_every=1)


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar, if standard error is a terminal; yields the call that advances it."""
    console = Console(stderr=True)
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task("seeds", total=total)
        yield lambda: shown.advance(task)


def report(finding: Finding, more: Sequence[str]) -> str:
    """Return the report of a failure: the history, the reason, and the command to reproduce it."""
    failure = finding.played.failure
    assert failure is not None
    return (
        f"{finding.played.text}"
        f"seed {finding.seed} fails with {len(finding.only)} of {finding.steps} steps: "
        f"{failure.rule}: {failure.details}\n"
        f"to reproduce: {finding.command(*more)}"
    )


def _step_numbers(
    context: click.Context, option: click.Parameter, text: str | None
) -> list[int] | None:
    if text is None or text == "none":
        return None if text is None else []
    try:
        steps = [int(word) for word in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of steps, such as 3,17,44") from None
    if steps != sorted(set(steps)):
        raise click.BadParameter(f"{text!r} must be in ascending order, without repeats")
    return steps


@click.command()
@click.option(
    "--seeds", type=click.IntRange(1), help="The number of seeds.  [default: 100, or 1 with --seed]"
)
@click.option("--seed", "first", type=click.IntRange(0), help="The first seed.  [default: 0]")
@click.option(
    "--steps",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="The number of steps for each seed.",
)
@click.option(
    "--only", callback=_step_numbers, help="Play only these steps of the seed, such as 3,17,44."
)
@click.option(
    "--fault", "broken", help="Plant this fault in the engine, which the simulation should find."
)
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
    """Simulate many clients, and all that can go wrong, from seeds.

    Exits with 1 if an invariant is broken.  Then it prints the shortest failing
    history that it found, and the command that plays it again.
    """
    if broken is not None and broken not in DESCRIPTIONS:
        raise click.BadParameter(
            f"there is no fault {broken!r}; choose one of: {', '.join(DESCRIPTIONS)}",
            param_hint="'--fault'",
        )
    seed = first or 0
    if only is not None and seeds is not None:
        raise click.UsageError("--only selects steps of one --seed; it cannot be used with --seeds")
    if only is not None:
        if not all(0 <= step < steps for step in only):
            raise click.BadParameter(f"the steps are 0 to {steps - 1}", param_hint="'--only'")
        played = replay(seed, steps, only, backend=backend, broken=broken)
        click.echo(played.text, nl=False)
        if played.failure is not None:
            raise click.ClickException(f"{played.failure.rule}: {played.failure.details}")
        click.echo(f"no failure in {len(only)} of {steps} steps of seed {seed}")
        return
    total = seeds or (100 if first is None else 1)
    with progress(total) as done:
        finding = first_failure(
            range(seed, seed + total), steps, backend=backend, broken=broken, done=done
        )
    if finding is not None:
        more = [] if broken is None else [f"--fault {broken}"]
        more += [] if backend == "asyncio" else [f"--backend {backend}"]
        click.echo(report(finding, more))
        raise click.exceptions.Exit(1)
    click.echo(f"no failure in {total} seeds of {steps} steps, from seed {seed}")
