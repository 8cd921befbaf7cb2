"""What ``slotengine simulate`` does: play seed after seed, and tell of the first that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from slotengine.testing.faults import fault
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
